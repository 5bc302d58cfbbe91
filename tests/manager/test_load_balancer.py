"""`LoadBalancer`: alone it knows the names it has seen, with a manager what the manager knows."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from sidecar import ConfigurationError, LoadBalancer
from tests.fake_provider import FakeProvider
from tests.manager.managing import HI, Managed, listed


def seeded() -> LoadBalancer:
    return LoadBalancer(random.Random(1).random)


# -- alone


def test_round_robin_takes_turns() -> None:
    balancer = LoadBalancer()
    assert [balancer.select_provider(["a", "b", "c"]) for _ in range(6)] == ["a", "b", "c"] * 2


def test_weights_are_shares_and_exact_within_one_round() -> None:
    balancer = LoadBalancer()
    balancer.set_provider_weight("a", 5)
    names = ["a", "b", "c"]
    for _ in range(10):
        picked = [balancer.select_provider(names, "weighted") for _ in range(7)]
        assert picked == ["a", "a", "b", "a", "c", "a", "a"]


def test_round_robin_stays_fair_while_members_flap() -> None:
    balancer = LoadBalancer()
    picked = Counter(balancer.select_provider(["a", "b", "c"] if turn % 2 else ["a", "b"]) for turn in range(600))
    assert picked["c"] >= 150
    assert abs(picked["a"] - picked["b"]) <= 1


def test_members_that_come_and_go_leave_the_shares_of_the_others_alone() -> None:
    balancer = LoadBalancer()
    balancer.set_provider_weight("a", 3)
    picked = Counter(
        balancer.select_provider(["a", "b", "c"] if turn % 3 == 0 else ["a", "b"], "weighted") for turn in range(1200)
    )
    # 3:1:1 in a third of the turns, 3:1 in the others.
    assert picked["a"] == pytest.approx(400 * 3 / 5 + 800 * 3 / 4, abs=3)
    assert picked["c"] == pytest.approx(400 / 5, abs=3)


def test_random_follows_the_weights() -> None:
    balancer = seeded()
    balancer.set_provider_weight("a", 9)
    picked = Counter(balancer.select_provider(["a", "b"], "random") for _ in range(1000))
    assert 850 < picked["a"] < 950


@pytest.mark.parametrize("strategy", ["round_robin", "weighted", "random", "least_busy", "fastest"])
def test_every_strategy_uses_every_member_and_never_an_unhealthy_one(strategy: str) -> None:
    balancer = seeded()
    names = ["a", "b", "c"]
    assert {balancer.select_provider(names, strategy) for _ in range(100)} == set(names)
    balancer.update_provider_health("b", False)
    assert {balancer.select_provider(names, strategy) for _ in range(100)} == {"a", "c"}
    balancer.update_provider_health("b", True)
    assert {balancer.select_provider(names, strategy) for _ in range(100)} == set(names)


def test_a_weight_of_0_drains_but_is_a_last_resort() -> None:
    balancer = LoadBalancer()
    balancer.set_provider_weight("a", 0)
    assert {balancer.select_provider(["a", "b"], "weighted") for _ in range(20)} == {"b"}
    balancer.update_provider_health("b", False)
    assert balancer.select_provider(["a", "b"], "weighted") == "a"


def test_when_all_are_unhealthy_somebody_is_asked_all_the_same() -> None:
    balancer = LoadBalancer()
    balancer.select_provider(["a", "b"])
    balancer.update_provider_health("a", False)
    balancer.update_provider_health("b", False)
    assert {balancer.select_provider(["a", "b"]) for _ in range(4)} == {"a", "b"}


def test_an_empty_list_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        LoadBalancer().select_provider([])


def test_an_unknown_strategy_names_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"\"sideways\".*weighted.*round_robin"):
        LoadBalancer().select_provider(["a"], "sideways")


@pytest.mark.parametrize("weight", [-1, -0.001, math.nan, math.inf, -math.inf])
def test_a_weight_is_finite_and_not_negative(weight: float) -> None:
    balancer = LoadBalancer()
    balancer.set_provider_weight("a", 3)
    with pytest.raises(ConfigurationError, match="finite"):
        balancer.set_provider_weight("a", weight)
    picked = Counter(balancer.select_provider(["a", "b"], "weighted") for _ in range(40))
    assert picked == {"a": 30, "b": 10}


def test_alone_it_knows_the_names_it_has_seen() -> None:
    balancer = LoadBalancer()
    with pytest.raises(ConfigurationError, match="known: none"):
        balancer.update_provider_health("a", False)
    balancer.select_provider(["b", "a"])
    balancer.set_provider_weight("c", 1)
    with pytest.raises(ConfigurationError, match="known: a, b, c"):
        balancer.update_provider_health("d", False)
    balancer.update_provider_health("a", False)
    balancer.update_provider_health("c", False)


# -- with a manager

POOL = "routes: {default: {balance: weighted, chain: [{a/m: 1, b/m: 1}]}}\n"


async def test_health_said_of_a_provider_counts_for_requests_and_for_picks(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + "routes: {default: {chain: [a, b]}}\n") as managed:
        balancer = managed.manager.balancer
        balancer.update_provider_health("a", False)
        assert (await managed.manager.chat(HI)).provider == "b"
        assert {balancer.select_provider(["a", "b"]) for _ in range(4)} == {"b"}
        with pytest.raises(ConfigurationError, match="known: a, b"):
            balancer.update_provider_health("nobody", True)
        assert managed.manager.get_provider_status()["a"]["health_status"] is False
        assert managed.manager.get_provider_status()["a"]["targets"]["a/m"]["health_source"] == "operator"


async def test_an_operators_word_outlives_checks_until_a_reset(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + "routes: {default: {chain: [a, b]}}\n") as managed:
        manager = managed.manager
        manager.balancer.update_provider_health("a", False)
        for _ in range(3):
            assert await manager.health_check_all() == {"a": False, "b": True}
        assert (await manager.chat(HI)).provider == "b"
        assert await manager.reset_provider("a")
        assert (await manager.chat(HI)).provider == "a"
        assert await manager.health_check_all() == {"a": True, "b": True}


async def test_an_operators_word_ends_with_the_next_edit_of_the_provider(a: FakeProvider, b: FakeProvider) -> None:
    config = listed(a=a, b=b) + "routes: {default: {chain: [a, b]}}\n"
    async with Managed(config) as managed:
        managed.manager.balancer.update_provider_health("a", False)
        managed.adopt(config.replace("key-of-b", "another"))
        assert (await managed.manager.chat(HI)).provider == "b"
        managed.adopt(config.replace("key-of-a", "another"))
        assert (await managed.manager.chat(HI)).provider == "a"


async def test_a_weight_set_by_name_moves_requests_and_picks(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + POOL) as managed:
        manager = managed.manager
        manager.balancer.set_provider_weight("a", 3)
        asked = Counter([(await manager.chat(HI)).provider for _ in range(8)])
        assert asked == {"a": 6, "b": 2}
        picked = Counter(manager.balancer.select_provider(["a", "b"], "weighted") for _ in range(8))
        assert picked == {"a": 6, "b": 2}
        manager.balancer.set_provider_weight("b", 0)
        assert {(await manager.chat(HI)).provider for _ in range(4)} == {"a"}
        assert manager.get_provider_status()["b"]["targets"]["b/m"]["weight"] == 0


async def test_a_weight_ends_with_the_next_edit_for_requests_and_picks(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + POOL) as managed:
        manager = managed.manager
        manager.balancer.set_provider_weight("a", 0)
        managed.adopt(listed(a=a, b=b) + POOL.replace("a/m: 1", "a/m: 2"))
        assert manager.balancer.weight_of("a") == 2
        assert [line["override"] for line in managed.lines("override.ended")] == ["weight 0"]
        assert manager.get_provider_status()["a"]["targets"]["a/m"]["weight"] == 2


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf])
async def test_with_a_manager_too_a_weight_is_finite_and_not_negative(
    a: FakeProvider, b: FakeProvider, weight: float
) -> None:
    async with Managed(listed(a=a, b=b) + POOL) as managed:
        manager = managed.manager
        with pytest.raises(ConfigurationError, match="finite"):
            manager.balancer.set_provider_weight("a", weight)
        with pytest.raises(ConfigurationError, match="nobody"):
            manager.balancer.set_provider_weight("nobody", 1)
        assert manager.snapshot.generation == 1
        assert manager.balancer.weight_of("a") == 1
