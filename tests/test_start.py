"""What a start imports and makes: counts, which are the same on every machine, where times are not.

A start is mostly imports. Whoever adds one that a first answer does not need finds it here.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_CODE = """
import gc, json, ssl, sys
from sidecar.daemon import run
from sidecar.config import load, Source
from sidecar.config.shape import fields_of
config = '''
listen: ["127.0.0.1:4141"]
providers: {up: {type: openai-compatible, base_url: "https://example.org/v1", api_key: key}}
routes: {default: {chain: [up/model]}}
'''
load([Source("sidecar.yaml", config)], lambda *_: None)
print(json.dumps({
    "modules": sorted(sys.modules),
    "contexts": sum(isinstance(each, ssl.SSLContext) for each in gc.get_objects()),
    "maps": fields_of.cache_info().currsize,
}))
"""

_FAILING = """
import asyncio, sys
from tests.fake_behaviours import cut_after, ok, status
from tests.fake_provider import FakeProvider
from tests.server.house import config, open_house
from tests.server.raw import RawClient, chat_body, post

async def use():
    async with FakeProvider() as fake:
        fake.on("m", ok(), status(500), cut_after(3))
        async with open_house(config(fake.base_url)) as house, await RawClient.to(house.socket) as client:
            known = set(sys.modules)
            said = [(await client.ask(post(chat_body(stream=number == 2)))).status for number in range(3)]
            print(said, sorted(set(sys.modules) - known))

asyncio.run(use())
"""

# Each was once part of every start, or is what a rarely used part of the product would bring.
_DEAR = (
    "aiohttp.client",
    "aiohttp.connector",
    "botocore",
    "google.auth",
    "multiprocessing",
    "opentelemetry",
    "prometheus_client",
    "pygments",
    "rich",
    "sidecar.dialects.anthropic_messages",
    "sidecar.dialects.bedrock_converse",
    "sidecar.dialects.gemini_generate",
    "sidecar.dialects.openai_chat",
    "sidecar.dialects.openai_responses",
    "sidecar.upstream.aws",
    "sidecar.upstream.client",
    "sidecar.upstream.embedded",
    "sidecar.upstream.entra",
    "sidecar.upstream.google",
    "structlog",
    "watchfiles",
    "zoneinfo",
)
_OWN_MODULES_MAX = 200
_ALL_MODULES_MAX = 620


@pytest.fixture(scope="module")
def started() -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def _modules(started: dict[str, object]) -> list[str]:
    modules = started["modules"]
    assert isinstance(modules, list)
    return modules


@pytest.mark.parametrize("name", _DEAR)
def test_nothing_dear_is_imported_before_it_is_needed(started: dict[str, object], name: str) -> None:
    assert name not in _modules(started)


def test_a_start_imports_no_more_than_it_did(started: dict[str, object]) -> None:
    modules = _modules(started)
    assert len([name for name in modules if name.startswith("sidecar")]) <= _OWN_MODULES_MAX
    assert len(modules) <= _ALL_MODULES_MAX


def test_no_certificate_authority_is_read_before_a_connection_is_made(started: dict[str, object]) -> None:
    assert started["contexts"] == 0


def test_only_the_maps_of_the_config_are_described(started: dict[str, object]) -> None:
    assert started["maps"] == 3  # the whole, a provider, a route


def test_nothing_is_imported_on_the_loop_because_a_provider_fails() -> None:
    """The first failure must not hold up what goes well meanwhile."""
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", _FAILING], capture_output=True, text=True, timeout=60, check=False, cwd=root
    )
    assert done.stdout == "[200, 502, 200] []\n", done.stderr
