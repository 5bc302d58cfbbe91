"""Chains, balancing and weights set by hand: how they are adopted, and how they end."""

from __future__ import annotations

from collections import Counter

import pytest

from sidecar import ConfigurationError, LLMManager
from tests.fake_provider import FakeProvider, status
from tests.manager.managing import HI, Managed, listed

CHAIN = "routes: {default: {chain: [a, b]}}\n"


async def asked(manager: LLMManager) -> str:
    return (await manager.chat(HI)).provider


def chain(manager: LLMManager, route: str = "default") -> list[list[str]]:
    return [[member.target.key for member in pool.members] for pool in manager.snapshot.routes[route].chain]


async def test_a_chain_is_taken_exactly_as_given(a: FakeProvider, b: FakeProvider) -> None:
    b.script(status(500))
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        manager = managed.manager
        manager.set_fallback_chain(["b/x", "a/y", "b"])
        assert chain(manager) == [["b/x"], ["a/y"], ["b/m"]]
        answer = await manager.chat(HI)
        manager.set_fallback_chain(["b"])
        assert chain(manager) == [["b/m"]]
    assert [(each["provider"], each["model"]) for each in answer.metadata["attempts"]] == [("b", "x"), ("a", "y")]


async def test_it_is_adopted_as_an_edit_of_the_file_is(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        manager = managed.manager
        assert manager.snapshot.generation == 1
        manager.set_fallback_chain(["b"])
        assert manager.snapshot.generation == 2
        (line,) = managed.lines("config.applied")
    assert (line["generation"], line["source"]) == (2, "override")
    assert line["changes"] == ["routes.default: chain [a/m, b/m] -> [b/m]"]


@pytest.mark.parametrize(
    ("names", "said"),
    [([], "empty"), (["a", "nobody"], "known: a, b"), (["a/"], "names no model"), (["bb"], "known|mean")],
)
async def test_a_chain_that_is_wrong_changes_nothing(
    a: FakeProvider, b: FakeProvider, names: list[str], said: str
) -> None:
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        with pytest.raises(ConfigurationError, match=said):
            managed.manager.set_fallback_chain(names)
        assert managed.manager.snapshot.generation == 1
        assert await asked(managed.manager) == "a"


async def test_a_default_route_is_made_where_there_is_none(a: FakeProvider) -> None:
    async with Managed(listed(a=a) + "routes: {}\n") as managed:
        managed.manager.set_fallback_chain(["a"])
        assert await asked(managed.manager) == "a"


async def test_the_next_edit_of_the_route_replaces_it_and_says_so(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        manager = managed.manager
        manager.set_fallback_chain(["b"])
        managed.adopt(listed(a=a, b=b) + CHAIN.replace("a, b", "a"))
        assert await asked(manager) == "a"
        (line,) = managed.lines("override.ended")
    assert (line["level"], line["kind"], line["name"]) == ("warning", "chain", "default")
    assert line["override"] == "chain [b]"


@pytest.mark.parametrize(
    "key", ["stream: hold", "rescue: continue", "timeouts: {idle: 9s}", "sse_keepalive: 5s", "sticky: x-user",
            "attempts: {max_attempts: 2}", "hold: {events: 3}", "hedge: {after: 1s}", "fallback_on: [invalid_request]",
            "balance: random"],
)  # fmt: skip
async def test_an_edit_of_any_key_of_the_route_ends_it(a: FakeProvider, b: FakeProvider, key: str) -> None:
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        managed.manager.set_fallback_chain(["b"])
        managed.adopt(listed(a=a, b=b) + CHAIN.replace("[a, b]", f"[a, b], {key}"))
        assert chain(managed.manager) == [["a/m"], ["b/m"]]
        assert [line["override"] for line in managed.lines("override.ended")] == ["chain [b]"]


async def test_an_edit_of_anything_else_keeps_it(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        manager = managed.manager
        manager.set_fallback_chain(["b"])
        managed.adopt(listed(a=a, b=b).replace("key-of-a", "another") + CHAIN)
        managed.adopt(listed(a=a, b=b) + "routes: {default: {chain: [a, b]}, fast: {chain: [a]}}\n")
        assert chain(manager) == [["b/m"]]
        assert chain(manager, "fast") == [["a/m"]]
        assert not managed.lines("override.ended")
        await asked(manager)
    assert b.calls[0].headers["authorization"] == "Bearer key-of-b"


async def test_a_new_key_reaches_a_chain_set_by_hand(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        managed.manager.set_fallback_chain(["b"])
        managed.adopt(listed(a=a, b=b).replace("key-of-b", "another") + CHAIN)
        await asked(managed.manager)
    assert b.calls[0].headers["authorization"] == "Bearer another"


async def test_it_ends_when_its_provider_goes(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + "routes: {default: {chain: [a]}}\n") as managed:
        managed.manager.set_fallback_chain(["b"])
        managed.adopt(listed(a=a) + "routes: {default: {chain: [a]}}\n")
        assert await asked(managed.manager) == "a"
        assert [line["override"] for line in managed.lines("override.ended")] == ["chain [b]"]


async def test_balancing_turns_the_chain_into_one_pool_and_back(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        manager = managed.manager
        manager.enable_load_balancing()
        assert chain(manager) == [["a/m", "b/m"]]
        assert Counter([await asked(manager) for _ in range(6)]) == {"a": 3, "b": 3}
        manager.enable_load_balancing("weighted")
        manager.balancer.set_provider_weight("b", 2)
        assert Counter([await asked(manager) for _ in range(6)]) == {"a": 2, "b": 4}
        manager.disable_load_balancing()
        assert chain(manager) == [["a/m"], ["b/m"]]
        assert {await asked(manager) for _ in range(4)} == {"a"}


async def test_balancing_fails_over_within_the_pool(a: FakeProvider, b: FakeProvider) -> None:
    a.script(status(503))
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        managed.manager.enable_load_balancing("round_robin")
        assert {await asked(managed.manager) for _ in range(4)} == {"b"}


async def test_disabling_what_is_not_enabled_changes_nothing(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        managed.manager.disable_load_balancing()
        assert managed.manager.snapshot.generation == 1


async def test_an_unknown_strategy_changes_nothing(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        with pytest.raises(ConfigurationError, match="sideways"):
            managed.manager.enable_load_balancing("sideways")
        assert managed.manager.snapshot.generation == 1


async def test_a_weight_of_what_is_no_longer_in_the_chain_ends_and_does_not_hinder(
    a: FakeProvider, b: FakeProvider
) -> None:
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        manager = managed.manager
        manager.balancer.set_provider_weight("a", 0)
        manager.set_fallback_chain(["b"])
        assert chain(manager) == [["b/m"]]
        assert [line["override"] for line in managed.lines("override.ended")] == ["weight 0"]


async def test_a_providers_weight_replaces_those_of_its_targets(a: FakeProvider, b: FakeProvider) -> None:
    config = listed(a=a, b=b) + "routes: {default: {chain: [{a/x: 1, a/y: 1, b/m: 1}]}}\n"
    async with Managed(config) as managed:
        balancer = managed.manager.balancer
        balancer.set_provider_weight("a", 5)
        balancer.set_provider_weight("a/x", 0)

        def weights() -> list[float]:
            return [member.weight for member in managed.manager.snapshot.routes["default"].chain[0].members]

        assert weights() == [0, 5, 1]
        balancer.set_provider_weight("a", 2)
        assert weights() == [2, 2, 1]
