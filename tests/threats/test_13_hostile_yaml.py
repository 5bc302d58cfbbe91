"""Threat 13: a config that is made to harm whoever reads it."""

from __future__ import annotations

import resource
import time

import pytest

from sidecar.config import ConfigErrors, Source, load
from tests.config.conftest import outside

_LAUGHS = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
HOSTILE = {
    "a billion laughs": _LAUGHS,
    "a billion laughs as keys": _LAUGHS.replace("[lol", "{lol").replace("lol]", "lol: x}"),
    "depth": "a: " + "[" * 50_000,
    "depth by maps": "".join(f"{' ' * n}a:\n" for n in range(2000)),
    "an alias of itself": "providers: &a {x: *a}",
    "an object": "providers: !!python/object/apply:os.system ['touch /tmp/owned']",
    "a name": "providers: !!python/name:os.system",
    "another tag": "providers: !custom {}",
    "a merge": "a: &a {type: openai}\nproviders: {<<: *a}",
    "two documents": "routes: {}\n---\nroutes: {}\n",
    "duplicate keys": "routes: {}\nroutes: {}\n",
    "unknown keys": "listne: []\n",
    "many keys": "".join(f"k{n}: 1\n" for n in range(20_000)),
    "a long number": "limits: {max_connections: " + "9" * 5000 + "}",
    "a number that no float holds": "resilience: {max_attempts: " + "9" * 400 + "}",
    "a number in an exponent": "limits: {max_connections: 1e999999999}",
    "control characters": "routes: {a\x07b: {chain: [x/y]}}",
    "a byte order mark inside": "routes: {}\n\ufeffroutes: {}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_13_a_hostile_config_is_refused_quickly_and_cheaply(name: str) -> None:
    began = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigErrors) as refused:
        load([Source("sidecar.yaml", HOSTILE[name])], outside())
    assert time.monotonic() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024  # KiB
    assert str(refused.value).startswith("sidecar.yaml")
    assert len(str(refused.value)) < 20_000_000
