from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice

import msgspec
import pytest
from hypothesis import given, settings
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


def turn(rotation: Rotation, members: dict[str, float]) -> str:
    rotation.seat(members)
    name = rotation.first(lambda name: 1.0 if name in members else 0.0)
    assert name is not None
    return name


def turns(rotation: Rotation, members: dict[str, float], count: int) -> list[str]:
    return [turn(rotation, members) for _ in range(count)]


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
        taken.append(turn(rotation, dict.fromkeys(names, 1.0)))
    pair = [name for name in taken if name in "xy"]
    assert pair == [name for name, _ in zip(cycle("xy"), pair, strict=False)]


@given(subsets, st.sets(st.sampled_from(NAMES), min_size=1).map(sorted))
def test_equal_members_have_one_turn_each_in_a_cycle_whatever_came_before(
    flapping: list[list[str]], names: list[str]
) -> None:
    rotation = Rotation()
    for others in flapping:
        turn(rotation, dict.fromkeys(others, 1.0))
    for _ in range(3):
        assert sorted(turns(rotation, dict.fromkeys(names, 1.0), len(names))) == names


@given(subsets)
def test_nobody_starves_however_they_flap(flapping: list[list[str]]) -> None:
    rotation = Rotation()
    missed: Counter[str] = Counter()
    for names in flapping:
        taken = turn(rotation, dict.fromkeys(names, 1.0))
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
        taken = turn(rotation, dict(zip(names, own, strict=True)))
        for name, weight in zip(names, own, strict=True):
            owed[name] += weight / sum(own) if len(names) > 1 else 0
        owed[taken] -= len(names) > 1
        assert max(map(abs, owed.values())) < len(NAMES)


def smooth(weights: dict[str, float]) -> Iterator[str]:
    """The smooth rotation that looks at everybody; of those that are owed most, whose turn is longest ago."""
    credit = dict.fromkeys(weights, 0.0)
    line = list(weights)
    while True:
        for name, weight in weights.items():
            credit[name] += weight / sum(weights.values())
        most = max(credit.values())
        taken = next(name for name in line if credit[name] > most - 1e-9)
        credit[taken] -= 1
        line.append(line.pop(line.index(taken)))
        yield taken


@settings(max_examples=40)
@given(st.lists(st.sampled_from([0.5, 1, 2, 3, 5, 30, 70]), min_size=2, max_size=12))
def test_a_few_members_rotate_as_if_everybody_was_compared(weights: list[float]) -> None:
    members = {f"m{index}": weight for index, weight in enumerate(weights)}
    assert turns(Rotation(), members, 200) == list(islice(smooth(members), 200))


@settings(max_examples=20)
@given(st.lists(st.sampled_from([0.5, 1, 2, 3, 5, 30]), min_size=17, max_size=40))
def test_many_members_are_never_far_from_their_shares(weights: list[float]) -> None:
    members = {f"m{index}": weight for index, weight in enumerate(weights)}
    total = sum(weights)
    rotation, taken = Rotation(), Counter[str]()
    for count in range(1, 400):
        taken[turn(rotation, members)] += 1
        assert all(abs(taken[name] - count * weight / total) < 2 for name, weight in members.items())


@pytest.mark.parametrize("kinds", [(1.0, 3.0), (1.0, 1.0, 1.0, 7.0), (5.0, 3.0, 2.0, 1.0)])
def test_an_outage_of_a_whole_line_and_its_end_skew_no_share(kinds: tuple[float, ...]) -> None:
    members = {f"m{index}": kinds[index % len(kinds)] for index in range(40)}
    lost = [name for name, weight in members.items() if weight == kinds[-1]]
    rotation = Rotation()
    rotation.seat(members)
    owed = dict.fromkeys(members, 0.0)
    for count in range(4000):
        there = {name: weight for name, weight in members.items() if count // 200 % 2 == 0 or name not in lost[1:]}
        taken = rotation.first(lambda name, there=there: 1.0 if name in there else 0.0)  # type: ignore[misc]
        assert taken is not None
        for name, weight in there.items():
            owed[name] += weight / sum(there.values())
        owed[taken] -= 1
        assert max(map(abs, owed.values())) < 6  # in ten outages


def looked_at(rotation: Rotation, parts: dict[str, float]) -> tuple[str | None, list[str]]:
    seen: list[str] = []

    def part(name: str) -> float:
        seen.append(name)
        return parts[name]

    return rotation.first(part), seen


def test_a_turn_looks_at_nobody_behind_the_one_who_takes_it() -> None:
    parts = {f"m{index}": 1.0 for index in range(1000)}
    rotation = Rotation()
    rotation.seat(dict.fromkeys(parts, 1.0))
    for count in range(3000):
        assert looked_at(rotation, parts) == (f"m{count % 1000}", [f"m{count % 1000}"])
    parts["m3"] = parts["m5"] = 0.0
    for _ in range(998):
        looked_at(rotation, parts)
    assert [looked_at(rotation, parts) for _ in range(4)] == [
        (name, ["m3", "m5", name]) for name in ("m0", "m1", "m2", "m4")
    ]
    parts["m3"] = 1.0
    assert looked_at(rotation, parts) == ("m3", ["m3", "m5"])


def test_a_turn_among_many_weights_looks_at_the_first_of_each() -> None:
    parts = {f"m{index}": 1.0 for index in range(900)}
    rotation = Rotation()
    rotation.seat({name: 1.0 + index % 3 for index, name in enumerate(parts)})
    assert {len(looked_at(rotation, parts)[1]) for _ in range(2000)} == {3}


def test_slow_start_has_the_share_of_its_part_in_a_line() -> None:
    parts = {"a": 0.25, "b": 1.0, "c": 1.0, "d": 1.0}
    rotation = Rotation()
    rotation.seat(dict.fromkeys(parts, 1.0))
    assert Counter(looked_at(rotation, parts)[0] for _ in range(130)) == {"a": 10, "b": 40, "c": 40, "d": 40}


def test_where_all_start_slowly_their_parts_are_their_weights() -> None:
    parts = {"a": 0.2, "b": 0.4, "c": 0.4}
    rotation = Rotation()
    rotation.seat(dict.fromkeys(parts, 1.0))
    assert Counter(looked_at(rotation, parts)[0] for _ in range(100)) == {"a": 20, "b": 40, "c": 40}


def test_slow_start_has_the_share_of_its_part_among_unequal_weights() -> None:
    parts = {"a": 0.5, "b": 1.0, "c": 1.0}
    rotation = Rotation()
    rotation.seat({"a": 4.0, "b": 2.0, "c": 1.0})
    assert Counter(looked_at(rotation, parts)[0] for _ in range(50)) == {"a": 20, "b": 20, "c": 10}


def test_nobody_there_leaves_everything_as_it_was() -> None:
    for weights in ({"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 1.0}):
        rotation, undisturbed = Rotation(), Rotation()
        taken = []
        for _ in range(6):
            assert looked_at(rotation, {"a": 0.0, "b": 0.0} | dict.fromkeys(weights, 0.0))[0] is None
            taken.append(turn(rotation, weights))
        assert taken == turns(undisturbed, weights, 6)


def test_members_that_drain_leave_the_others_one_line() -> None:
    parts = {f"m{index}": 1.0 for index in range(5)} | {"x": 0.0}
    rotation = Rotation()
    rotation.seat(dict.fromkeys(parts, 1.0) | {"x": 0.0})
    assert [looked_at(rotation, parts) for _ in range(3)] == [(f"m{index}", [f"m{index}"]) for index in range(3)]
    assert rotation.next(lambda _: False) == "m3"


@settings(max_examples=200)
@given(
    weights=st.lists(st.sampled_from([0, 1, 1, 3, 5]), min_size=1, max_size=20),
    odd=st.lists(st.dictionaries(st.integers(0, 19), st.sampled_from([0.0, 0.5, 0.7]), max_size=2), max_size=12),
)
def test_whose_turn_it_is_takes_no_look_at_those_behind(weights: list[float], odd: list[dict[int, float]]) -> None:
    """Asked beforehand or not: the same members take the same turns, while others come, go and start slowly."""
    rotation, looking = Rotation(), Rotation()
    for each in (rotation, looking):
        each.seat({f"m{index}": weight for index, weight in enumerate(weights)})
    for absent in [*odd, *[{}] * 40]:
        parts = {f"m{index}": absent.get(index, 1.0) for index in range(len(weights))}
        name = rotation.next(lambda name, parts=parts: parts[name] == 1)  # type: ignore[misc]
        if name is not None and parts[name] == 1:
            rotation.take(name)
        else:
            name = rotation.first(parts.__getitem__)
        assert name == looking.first(parts.__getitem__)


def test_whose_turn_it_is_can_be_said_as_soon_as_all_are_well_again() -> None:
    rotation = Rotation()
    rotation.seat({"a": 5.0, "b": 1.0, "c": 1.0})
    for parts in ({"a": 0.3, "b": 1.0, "c": 0.7}, {"a": 1.0, "b": 0.0, "c": 1.0}):
        for _ in range(7):
            assert rotation.next(lambda name, parts=parts: parts[name] == 1) is None  # type: ignore[misc]
            rotation.first(parts.__getitem__)
    for _ in range(2):
        rotation.first(lambda _: 1.0)
    taken = []
    for _ in range(700):
        name = rotation.next(lambda _: True)
        assert name is not None
        rotation.take(name)
        taken.append(name)
    assert Counter(taken) == {"a": 500, "b": 100, "c": 100}


def test_a_member_with_another_weight_goes_over_to_its_line() -> None:
    members = {f"m{index}": 1.0 for index in range(20)}
    rotation = Rotation()
    turns(rotation, members, 30)
    members["m0"] = 21.0
    assert Counter(turns(rotation, members, 400))["m0"] == 210
    rotation.keep(name for name in members if name != "m0")
    del members["m0"]
    assert set(Counter(turns(rotation, members, 190)).values()) == {10}


def test_those_that_stay_keep_what_they_are_owed() -> None:
    members = {"a": 5.0, "b": 1.0, "c": 1.0}
    rotation = Rotation()
    taken = []
    for count in range(14):
        rotation.seat(members | {f"new {count}": 1.0})
        taken += turns(rotation, members, 1)
        rotation.keep(members)
    assert " ".join(taken) == "a a b a c a a a a b a c a a"


def test_who_is_new_comes_first() -> None:
    members = dict.fromkeys("abc", 1.0)
    rotation = Rotation()
    turns(rotation, members, 4)
    assert "".join(turns(rotation, members | dict.fromkeys("xy", 1.0), 6)) == "xybcax"


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
    roster = balances.roster(of)

    def look(place: int) -> Candidate:
        return Candidate(roster.names[place], of.members[place].weight)

    found = [balances.find(of, look, 0.0) for _ in range(count)]
    return [roster.names[place] for place in found if place is not None]


def test_what_cannot_be_asked_is_drawn_for_nobody_and_takes_no_share_from_the_others() -> None:
    one = pool(
        "r[0]", *(Member(target(f"{name}/m"), weight) for name, weight in zip("abcd", (4, 2, 1, 1), strict=True))
    )
    one = msgspec.structs.replace(one, balance=Balance.RANDOM)
    balances = Balances(random.Random(1).random)
    factors = {"a": 0.0, "b": 0.5, "c": 1.0, "d": 1.0}

    def look(place: int) -> Candidate | None:
        name = balances.roster(one).names[place]
        return Candidate(name, one.members[place].weight, factors[name]) if factors[name] else None

    taken = Counter(balances.find(one, look, 0.0) for _ in range(3000))
    assert taken.keys() == {1, 2, 3}
    assert all(900 < count < 1100 for count in taken.values())


def test_of_two_at_random_none_is_one_that_cannot_be_asked() -> None:
    one = msgspec.structs.replace(pool("r[0]", *(target(f"{name}/m") for name in "abcd")), balance=Balance.FASTEST)
    balances = Balances(random.Random(1).random)
    members = {name: idle(name) for name in "abc"}
    taken = Counter(balances.find(one, lambda place: members.get("abcd"[place]), 0.0) for _ in range(600))
    assert taken.keys() == {0, 1, 2}
    assert all(150 < count < 250 for count in taken.values())
    assert balances.find(one, lambda place: members["a"] if place == 0 else None, 0.0) == 0
    assert balances.find(one, lambda _: None, 0.0) is None


def test_who_is_idle_is_the_least_busy_and_nobody_else_is_looked_at() -> None:
    names = [f"p{index}" for index in range(100)]
    one = msgspec.structs.replace(pool("r[0]", *(target(f"{name}/m") for name in names)), balance=Balance.LEAST_BUSY)
    balances = Balances(lambda: 0.0)
    members = [idle(name) for name in names]
    seen: list[int] = []

    def look(place: int) -> Candidate:
        seen.append(place)
        return members[place]

    for place in range(100):
        assert balances.find(one, look, 0.0) == place
    assert len(seen) == 100
    for place, member in enumerate(members):
        assert member.state is not None
        member.state.in_flight = 2 if place != 77 else 1
    assert balances.find(one, look, 0.0) == 77


def test_who_is_idle_is_not_the_least_busy_for_a_small_weight() -> None:
    one = pool("r[0]", Member(target("a/m"), 1), Member(target("b/m"), 4))
    one = msgspec.structs.replace(one, balance=Balance.LEAST_BUSY)
    members = [idle("a"), idle("b", 4.0, in_flight=1)]
    assert Balances(lambda: 0.0).find(one, members.__getitem__, 0.0) == 1


def test_who_is_idle_is_not_the_least_busy_while_starting_slowly() -> None:
    one = msgspec.structs.replace(pool("r[0]", target("a/m"), target("b/m")), balance=Balance.LEAST_BUSY)
    members = [Candidate("a", factor=0.5, state=idle("a").state), idle("b")]
    balances = Balances(lambda: 0.0)
    assert [balances.find(one, members.__getitem__, 0.0) for _ in range(3)] == [1] * 3


def test_counters_survive_a_reload_for_unchanged_members() -> None:
    before = pool("r[0]", Member(target("a/m"), 5), Member(target("b/m"), 1), Member(target("c/m"), 1))
    after = pool("r[0]", *before.members, balance=Balance.WEIGHTED)
    balances = Balances(lambda: 0.0)
    taken = picks(balances, before, 4)
    balances.adopt(snapshot(Route("r", (after,)), generation=2))
    taken += picks(balances, after, 3)
    assert " ".join(taken) == "a a b a c a a"


@pytest.mark.parametrize("balance", [Balance.WEIGHTED, Balance.ROUND_ROBIN])
def test_whose_turn_it_is_can_be_said_though_somebody_drains(balance: Balance) -> None:
    members = (Member(target("a/m"), 2), Member(target("x/m"), 0), Member(target("b/m"), 2))
    one = pool("r[0]", *members, balance=balance)
    balances = Balances(lambda: 0.0)
    for place in (0, 2) * 3:
        assert balances.next(one, lambda _: False) == place
        balances.took(one, place)


def test_with_unequal_weights_it_matters_how_the_others_are() -> None:
    one = pool("r[0]", Member(target("a/m"), 5), Member(target("b/m"), 1), Member(target("c/m"), 1))
    balances, taken = Balances(lambda: 0.0), []
    for _ in range(7):
        assert balances.next(one, lambda place: place != 2) is None
        place = balances.next(one, lambda _: True)
        assert place is not None
        balances.took(one, place)
        taken.append("abc"[place])
    assert " ".join(taken) == "a a b a c a a"


@pytest.mark.parametrize("weight_of_the_one_that_goes", [1, 5])
def test_a_request_of_the_config_before_leaves_nobody_in_the_line(weight_of_the_one_that_goes: float) -> None:
    after = pool("r[0]", target("a/m"), target("b/m"))
    before = pool("r[0]", Member(target("gone/m"), weight_of_the_one_that_goes), *after.members)
    balances = Balances(lambda: 0.0)
    picks(balances, before, 3)
    balances.adopt(snapshot(Route("r", (after,)), generation=2))
    picks(balances, before, 1)
    taken = []
    for _ in range(6):
        place = balances.next(after, lambda _: True)
        assert place is not None
        balances.took(after, place)
        taken.append(place)
    assert taken in ([0, 1] * 3, [1, 0] * 3)


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
