from __future__ import annotations

import random
from collections import Counter
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.errors import ConfigurationError
from sidecar.model.settings import Balance
from sidecar.model.topology import Member, Pool, Route
from sidecar.routing.balance import STRATEGIES, Balances, Candidate, rendezvous
from sidecar.routing.by_name import NameBalancer
from sidecar.routing.rotation import Rotation
from sidecar.routing.state import TargetState
from tests.routing.simulator import pool, provider, snapshot, target

NAMES = list("abcde")


def turns(rotation: Rotation, members: dict[str, float], count: int) -> list[str]:
    names = list(members)
    return [names[rotation.turn(names, list(members.values()))] for _ in range(count)]


def test_five_to_one_to_one_is_smooth() -> None:
    rotation = Rotation()
    for _ in range(50):
        assert " ".join(turns(rotation, {"a": 5, "b": 1, "c": 1}, 7)) == "a a b a c a a"


@pytest.mark.parametrize("weights", [(7.0, 3.0, 3.0), (70.0, 30.0, 30.0), (10.0, 3.0, 3.0, 3.0), (0.3, 0.1, 0.1)])
def test_every_cycle_is_the_same_in_spite_of_rounding(weights: tuple[float, ...]) -> None:
    members = dict(zip(NAMES, weights, strict=False))
    length = round(sum(weights) / min(1.0, *weights))
    rotation = Rotation()
    cycles = {tuple(turns(rotation, members, length)) for _ in range(50)}
    assert len(cycles) == 1


@given(st.lists(st.sampled_from([0.5, 1, 2, 3, 5, 30, 70]), min_size=2, max_size=5))
def test_constant_members_get_exactly_their_shares(weights: list[float]) -> None:
    members = dict(zip(NAMES, weights, strict=False))
    cycle_length = round(2 * sum(weights))
    for _ in range(2):
        taken = Counter(turns(rotation := Rotation(), members, cycle_length))
        assert taken == {name: round(2 * weight) for name, weight in members.items()}
        assert Counter(turns(rotation, members, cycle_length)) == taken


subsets = st.lists(st.sets(st.sampled_from(NAMES), min_size=1).map(sorted), min_size=1, max_size=80)


@given(subsets)
def test_equal_members_that_are_always_there_take_turns_strictly(flapping: list[list[str]]) -> None:
    rotation = Rotation()
    taken = []
    for others in flapping:
        names = sorted({"x", "y", *others})
        taken.append(names[rotation.turn(names, [1.0] * len(names))])
    pair = [name for name in taken if name in "xy"]
    assert pair == [name for name, _ in zip(cycle("xy"), pair, strict=False)]


@given(subsets, st.sets(st.sampled_from(NAMES), min_size=1).map(sorted))
def test_equal_members_have_one_turn_each_in_a_cycle_whatever_came_before(
    flapping: list[list[str]], names: list[str]
) -> None:
    rotation = Rotation()
    for others in flapping:
        rotation.turn(others, [1.0] * len(others))
    for _ in range(3):
        assert sorted(turns(rotation, dict.fromkeys(names, 1.0), len(names))) == names


@given(subsets)
def test_nobody_starves_however_they_flap(flapping: list[list[str]]) -> None:
    rotation = Rotation()
    missed: Counter[str] = Counter()
    for names in flapping:
        taken = names[rotation.turn(names, [1.0] * len(names))]
        missed.update(names)
        missed[taken] = 0
        assert max(missed.values()) < len(NAMES)


@given(st.lists(st.sets(st.sampled_from(NAMES), min_size=1).map(sorted), max_size=300))
def test_flapping_members_stay_near_the_sum_of_their_shares(flapping: list[list[str]]) -> None:
    weights = dict(zip(NAMES, (5.0, 3.0, 2.0, 1.0, 0.5), strict=True))
    rotation = Rotation()
    owed = dict.fromkeys(NAMES, 0.0)
    for names in flapping:
        own = [weights[name] for name in names]
        taken = names[rotation.turn(names, own)]
        for name, weight in zip(names, own, strict=True):
            owed[name] += weight / sum(own) if len(names) > 1 else 0
        owed[taken] -= len(names) > 1
        assert max(map(abs, owed.values())) < len(NAMES)


def test_a_single_equal_turn_charges_no_credit() -> None:
    rotation = Rotation()
    turns(rotation, {"a": 1.0}, 100)
    assert Counter(turns(rotation, {"a": 2.0, "b": 1.0}, 3)) == {"a": 2, "b": 1}


def idle(name: str, weight: float = 1.0, in_flight: int = 0) -> Candidate:
    state = TargetState(f"{name}/m", provider(name), minted=False, rng=random.random, notify=lambda _: None)
    state.in_flight = in_flight
    return Candidate(name, weight, state=state)


def test_least_busy_goes_by_what_is_in_flight_for_the_weight() -> None:
    balancer = STRATEGIES[Balance.LEAST_BUSY](random.Random(1).random, 0)
    assert balancer.pick([idle("a", in_flight=3), idle("b", in_flight=1), idle("c", in_flight=2)], 0.0) == 1
    assert balancer.pick([idle("a", weight=4, in_flight=3), idle("b", in_flight=1)], 0.0) == 0
    even = [idle("c"), idle("d")]
    assert [balancer.pick(even, 0.0) for _ in range(4)] == [0, 1, 0, 1]


def test_random_draws_by_weight() -> None:
    balancer = STRATEGIES[Balance.RANDOM](random.Random(1).random, 0)
    taken = Counter(balancer.pick([idle("a", 3.0), idle("b", 1.0)], 0.0) for _ in range(4000))
    assert 2800 < taken[0] < 3200


def test_fastest_prefers_the_lower_peak_and_tries_the_unknown() -> None:
    balancer = STRATEGIES[Balance.FASTEST](random.Random(1).random, 0)
    slow, fast = idle("a"), idle("b")
    assert slow.state is not None
    assert fast.state is not None
    slow.state.speed.peak.add(2.0, 0.0)
    assert {balancer.pick([slow, fast], 0.0) for _ in range(20)} == {1}
    fast.state.speed.peak.add(5.0, 0.0)
    assert {balancer.pick([slow, fast], 0.0) for _ in range(20)} == {0}
    slow.state.in_flight = 4
    assert {balancer.pick([slow, fast], 0.0) for _ in range(20)} == {1}


def test_a_peak_decays_unasked() -> None:
    state = idle("a").state
    assert state is not None
    state.speed.peak.add(5.0, 0.0)
    assert state.speed.peak.value(0.0) == 5.0
    assert 1.8 < state.speed.peak.value(60.0) < 1.9


@given(st.text(), st.integers(0, 4))
def test_losing_a_member_moves_only_its_own_clients(value: str, lost: int) -> None:
    members = [idle(name) for name in NAMES]
    owner = members[rendezvous(value, members)]
    rest = [member for index, member in enumerate(members) if index != lost]
    if owner is not members[lost]:
        assert rest[rendezvous(value, rest)] is owner


def test_rendezvous_spreads_by_weight() -> None:
    members = [idle("a", 3.0), idle("b", 1.0)]
    taken = Counter(rendezvous(f"client {i}", members) for i in range(2000))
    assert 1400 < taken[0] < 1600


def picks(balances: Balances, of: Pool, count: int) -> list[str]:
    candidates = [Candidate(name, member.weight) for name, member in zip(balances.names(of), of.members, strict=True)]
    return [candidates[balances.pick(of, candidates, 0.0)].name for _ in range(count)]


def test_counters_survive_a_reload_for_unchanged_members() -> None:
    before = pool("r[0]", Member(target("a/m"), 5), Member(target("b/m"), 1), Member(target("c/m"), 1))
    after = pool("r[0]", *before.members, balance=Balance.WEIGHTED)
    balances = Balances(lambda: 0.0)
    taken = picks(balances, before, 4)
    balances.adopt(snapshot(Route("r", (after,)), generation=2))
    taken += picks(balances, after, 3)
    assert " ".join(taken) == "a a b a c a a"


def test_a_pool_that_left_the_config_is_forgotten() -> None:
    one = pool("r[0]", Member(target("a/m"), 5), Member(target("b/m"), 1))
    balances = Balances(lambda: 0.0)
    picks(balances, one, 2)
    balances.adopt(snapshot())
    assert picks(balances, one, 2) == ["a", "a"]


def test_processes_start_apart() -> None:
    one = pool("r[0]", target("a/m"), target("b/m"), target("c/m"))
    starts = {picks(Balances(random.Random(seed).random), one, 1)[0] for seed in range(20)}
    assert starts == {"a", "b", "c"}


def test_two_models_of_one_provider_are_two_members() -> None:
    one = pool("r[0]", Member(target("a/m"), 3), Member(target("a/n"), 1))
    assert Counter(picks(Balances(lambda: 0.0), one, 8)) == {"a": 6, "a#2": 2}


# By name.


def test_weights_by_name_are_exact() -> None:
    balancer = NameBalancer(random.Random(1).random)
    balancer.set_provider_weight("a", 5)
    assert " ".join(balancer.select_provider(["a", "b", "c"], "weighted") for _ in range(7)) == "a a b a c a a"


def test_round_robin_by_name_is_fair_while_members_flap() -> None:
    balancer = NameBalancer(random.Random(1).random)
    taken = Counter(balancer.select_provider(["a", "b", "c"] if i % 2 else ["a", "b"]) for i in range(300))
    assert abs(taken["a"] - taken["b"]) <= 1
    assert taken["c"] >= 50


def test_round_robin_by_name_knows_no_weights_but_drains_at_zero() -> None:
    balancer = NameBalancer(random.Random(1).random)
    balancer.set_provider_weight("a", 5)
    assert [balancer.select_provider(["a", "b"]) for _ in range(4)] == ["a", "b", "a", "b"]
    balancer.set_provider_weight("a", 0)
    assert {balancer.select_provider(["a", "b"]) for _ in range(4)} == {"b"}
    assert balancer.select_provider(["a"]) == "a"


def test_the_unhealthy_are_passed_over_unless_nobody_else_is_there() -> None:
    balancer = NameBalancer(random.Random(1).random)
    balancer.select_provider(["a", "b"])
    balancer.update_provider_health("a", False)
    assert {balancer.select_provider(["a", "b"]) for _ in range(4)} == {"b"}
    balancer.update_provider_health("b", False)
    assert {balancer.select_provider(["a", "b"]) for _ in range(4)} == {"a", "b"}
    balancer.update_provider_health("a", True)
    assert {balancer.select_provider(["a", "b"]) for _ in range(4)} == {"a"}


@pytest.mark.parametrize("strategy", list(Balance))
def test_every_strategy_works_by_name(strategy: Balance) -> None:
    balancer = NameBalancer(random.Random(1).random)
    assert {balancer.select_provider(["a", "b"], strategy) for _ in range(40)} == {"a", "b"}


def test_what_is_wrong_by_name_is_said() -> None:
    balancer = NameBalancer(random.Random(1).random)
    with pytest.raises(ValueError, match="at least one"):
        balancer.select_provider([])
    with pytest.raises(ConfigurationError, match=r'"fairest"; known: weighted, round_robin'):
        balancer.select_provider(["a"], "fairest")
    with pytest.raises(ConfigurationError, match='"z"'):
        balancer.update_provider_health("z", True)
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match="finite"):
            balancer.set_provider_weight("a", weight)
