"""New snapshots from the current one: what the Python API's names do."""

from __future__ import annotations

import math

import pytest

from sidecar.config import balanced, chain_text, with_chain, with_weight
from sidecar.model.errors import ConfigurationError
from sidecar.model.settings import Rescue

TEXT = """
providers: {a: {type: ollama, model: m}, b: {type: vllm}, c: {type: vllm, model: n}}
routes:
  default: {chain: [a, {b/x: 3, c: 1}, a], sticky: x-session}
  other: {chain: [c/z, a/m]}
"""


@pytest.fixture
def now(snapshot):
    return snapshot(TEXT, generation=4)


def shown(snapshot, route="default"):
    return chain_text(snapshot.routes[route].chain)


def test_a_chain_is_exactly_as_given(now):
    derived = with_chain(now, ["c", "b/x/y", "a"])
    assert shown(derived) == "[c/n, b/x/y, a/m]"
    assert [pool.key for pool in derived.routes["default"].chain] == ["default[0]", "default[1]", "default[2]"]
    assert derived.generation == 5
    assert derived.routes["other"] is now.routes["other"]
    assert shown(now) == "[a/m, {b/x: 3, c/n: 1}, a/m]"


def test_a_route_that_is_missing_is_made(snapshot):
    text = "timeouts: {total: 9s}\nrescue: continue\nproviders: {a: {type: ollama}}"
    made = with_chain(snapshot(text), ["a/x"]).routes["default"]
    assert (made.timeouts.total_s, made.stream.rescue) == (9, Rescue.CONTINUE)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "the chain is empty; name at least one provider or provider/model"),
        (["nobody"], 'unknown target "nobody": there is no provider "nobody"; known: a, b, c'),
        (["a", "b"], '"b" has no default model; write "b/MODEL", or set providers.b.model'),
        (["a/*"], '"a/*" holds a "*", but the route "default" is no pattern'),
    ],
)
def test_a_chain_that_cannot_be(now, names, message):
    with pytest.raises(ConfigurationError) as raised:
        with_chain(now, names)
    assert str(raised.value) == message


def test_balancing_makes_one_pool_of_each_target_once(now):
    derived = balanced(now, "least_busy")
    (pool,) = derived.routes["default"].chain
    assert [(member.target.key, member.weight) for member in pool.members] == [("a/m", 1), ("b/x", 3), ("c/n", 1)]
    assert (pool.key, pool.balance, pool.sticky) == ("default[0]", "least_busy", "x-session")


def test_weights_of_a_provider_and_of_one_target(now):
    assert shown(with_weight(now, "c", 5)) == "[a/m, {b/x: 3, c/n: 5}, a/m]"
    assert shown(with_weight(now, "c", 5), "other") == "[{c/z: 5}, a/m]"
    assert shown(with_weight(now, "c/z", 0), "other") == "[{c/z: 0}, a/m]"
    assert shown(with_weight(now, "c/z", 0)) == shown(now)


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, 10**400, True, "5", None])
def test_what_is_no_weight(now, weight):
    with pytest.raises(ConfigurationError, match="a weight is a finite number"):
        with_weight(now, "a", weight)


def test_unknown_names_are_answered_with_the_known_ones(now):
    with pytest.raises(ConfigurationError, match=r'no route has a target "b/xx"; did you mean "b/x"\?'):
        with_weight(now, "b/xx", 1)
    with pytest.raises(ConfigurationError, match=r'unknown strategy "rnd"; known: fastest, least_busy, random'):
        balanced(now, "rnd")
    with pytest.raises(ConfigurationError, match=r'there is no route "othr"; did you mean "other"\?'):
        balanced(now, "random", route="othr")
