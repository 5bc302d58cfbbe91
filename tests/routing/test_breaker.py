from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.failures import Kind
from sidecar.model.settings import BreakerSettings, FailurePercentage
from sidecar.routing.breaker import (
    RESET,
    REVIVED,
    SUCCESS,
    SUCCESS_ALONE,
    TABLE,
    TIMER,
    Breaker,
    BreakerEvent,
    BreakerState,
    Signal,
)
from sidecar.routing.window import Window

CLOSED, OPEN, HALF_OPEN, SLOW_START = BreakerState
FAILURE = Signal(BreakerEvent.FAILURE, Kind.SERVER_ERROR, 0.03)
GATEWAY = Signal(BreakerEvent.GATEWAY_FAILURE, Kind.OVERLOADED, 0.03)
LIMITED = Signal(BreakerEvent.RATE_LIMITED, Kind.RATE_LIMITED, 0.03, 20.0)
FORBIDDEN = Signal(BreakerEvent.FORBIDDEN, Kind.CREDENTIAL, 0.03)


def breaker(*signals: Signal, at: float = 0.0, rng: float = 0.5, **settings: object) -> Breaker:
    made = Breaker(msgspec.structs.replace(BreakerSettings(), **settings), lambda: rng)
    for signal in signals:
        made.apply(signal, at)
    return made


def test_the_table_has_every_cell() -> None:
    assert set(TABLE) == set(BreakerState)
    for row in TABLE.values():
        assert set(row) == set(BreakerEvent)


@pytest.mark.parametrize(
    ("signals", "state"),
    [
        ([FAILURE] * 4, CLOSED),
        ([FAILURE] * 5, OPEN),
        ([GATEWAY] * 2, CLOSED),
        ([GATEWAY] * 3, OPEN),
        ([GATEWAY, GATEWAY, SUCCESS, GATEWAY], CLOSED),
        ([GATEWAY, GATEWAY, FAILURE, GATEWAY], CLOSED),
        ([FAILURE, FAILURE, GATEWAY, FAILURE, FAILURE], OPEN),
        ([SUCCESS, FAILURE] * 4, CLOSED),
        ([SUCCESS, FAILURE] * 5, OPEN),  # half of ten
        ([SUCCESS, SUCCESS, FAILURE] * 10, CLOSED),  # a third
        ([LIMITED], OPEN),
        ([FORBIDDEN], OPEN),
        ([LIMITED, TIMER], HALF_OPEN),
        ([LIMITED, REVIVED], HALF_OPEN),
        ([LIMITED, FAILURE], OPEN),
        ([LIMITED, SUCCESS], HALF_OPEN),  # of a panic attempt: one of two
        ([LIMITED, SUCCESS, SUCCESS], SLOW_START),
        ([LIMITED, TIMER, SUCCESS], HALF_OPEN),
        ([LIMITED, TIMER, SUCCESS, SUCCESS], SLOW_START),
        ([LIMITED, TIMER, SUCCESS, SUCCESS_ALONE], CLOSED),
        ([LIMITED, TIMER, FAILURE], OPEN),
        ([LIMITED, TIMER, GATEWAY], OPEN),
        ([LIMITED, TIMER, LIMITED], OPEN),
        ([LIMITED, TIMER, SUCCESS, SUCCESS, TIMER], CLOSED),
        ([LIMITED, TIMER, SUCCESS, SUCCESS, GATEWAY, GATEWAY, GATEWAY], OPEN),
        ([LIMITED, RESET], CLOSED),
        ([LIMITED, TIMER, RESET], CLOSED),
        ([TIMER, REVIVED, RESET], CLOSED),
    ],
)
def test_the_breaker_moves_by_its_table(signals: list[Signal], state: BreakerState) -> None:
    assert breaker(*signals).state is state


def test_failures_older_than_the_window_are_forgotten() -> None:
    made = breaker(consecutive_failures=100, failure_percentage=FailurePercentage(50, 10, 30))
    for second in range(0, 120, 4):  # eight in any 30 s
        made.apply(FAILURE, float(second))
    assert made.state is CLOSED


def test_every_transition_starts_an_epoch_and_clears_the_counts() -> None:
    made = breaker(GATEWAY, GATEWAY, GATEWAY)
    assert made.epoch == 1
    made.apply(TIMER, 9.0)
    assert (made.epoch, made.consecutive, made.consecutive_gateway, made.window.requests) == (2, 0, 0, 0)


def test_openings_grow_from_the_cost_of_the_failed_attempt_to_its_cap() -> None:
    hung = Signal(BreakerEvent.FAILURE, Kind.FIRST_TOKEN_TIMEOUT, 12.0)
    for failed, expected in ((FAILURE, [2, 4, 8, 10, 10]), (hung, [48, 96, 192, 300, 300])):
        made = breaker(LIMITED, TIMER, rng=0.999999)
        made.openings = 0
        stays = []
        for _ in expected:
            made.apply(failed, 0.0)
            stays.append(made.until)
            made.apply(TIMER, 0.0)
        assert stays == pytest.approx(expected, rel=1e-3)


def test_a_rate_limit_is_never_shortened() -> None:
    made = breaker(LIMITED, rng=0.0)
    assert made.until == 20.0
    made.apply(Signal(BreakerEvent.RATE_LIMITED, Kind.RATE_LIMITED, 0.03, 5.0), 1.0)
    assert made.until == 20.0
    made.apply(FORBIDDEN, 1.0)
    assert (made.until, made.kind) == (301.0, Kind.CREDENTIAL)


def test_a_rate_limited_probe_waits_for_the_larger_of_both_times() -> None:
    made = breaker(LIMITED, TIMER, rng=0.0)
    made.apply(Signal(BreakerEvent.RATE_LIMITED, Kind.RATE_LIMITED, 10.0, 1.0), 0.0)
    assert made.until == 40.0  # half of min(2 x 40 s, 250 s)


def test_calm_times_forget_openings_one_by_one() -> None:
    made = breaker(*[GATEWAY] * 3, TIMER, GATEWAY, TIMER, SUCCESS, SUCCESS_ALONE)
    assert made.openings == 2
    made.apply(SUCCESS, 9.0)
    assert made.openings == 2
    made.apply(SUCCESS, 10.0)
    assert made.openings == 1
    made.apply(FAILURE, 19.0)
    made.apply(SUCCESS, 21.0)
    assert made.openings == 1
    made.apply(SUCCESS, 29.0)
    made.apply(SUCCESS, 99.0)
    assert made.openings == 0


def test_slow_start_grows_the_weight_back() -> None:
    made = breaker(LIMITED, TIMER, SUCCESS, SUCCESS)
    assert [made.weight_factor(t) for t in (0, 1, 15, 30, 40)] == [0.1, 0.1, 0.5, 1.0, 1.0]
    made.tick(29.9)
    assert made.state is SLOW_START
    made.tick(30.0)
    assert made.state is CLOSED


def test_one_probe_at_a_time_and_its_slot_comes_back() -> None:
    made = breaker(LIMITED, rng=0.0)
    assert not made.admits(19.9)
    assert made.admits(20.0)
    epoch = made.begin(20.0)
    assert not made.admits(20.0)
    made.end(epoch)
    assert made.admits(20.0)


def test_the_one_who_waits_inline_owns_the_probe() -> None:
    made = Breaker(BreakerSettings(), lambda: 0.99)
    made.apply(Signal(BreakerEvent.RATE_LIMITED, Kind.RATE_LIMITED, 0.03, 2.0), 0.0)
    assert made.reserve(2.0, 0.0)
    assert not made.reserve(2.0, 0.0)
    assert not made.admits(99.0)  # kept for the one who waits
    made.claim(made.epoch, 2.0)
    assert made.state is HALF_OPEN
    assert made.admits(2.0)


def test_a_short_wait_does_not_reserve_a_long_opening() -> None:
    assert not breaker(LIMITED).reserve(2.0, 0.0)


def test_an_extension_voids_a_reservation() -> None:
    made = breaker(Signal(BreakerEvent.RATE_LIMITED, Kind.RATE_LIMITED, 0.03, 2.0))
    epoch = made.epoch
    assert made.reserve(2.0, 0.0)
    made.apply(FORBIDDEN, 1.0)
    made.claim(epoch, 2.0)
    assert made.state is OPEN


def test_a_waiter_of_a_shorter_opening_gives_up_only_its_own_reservation() -> None:
    made = breaker(Signal(BreakerEvent.RATE_LIMITED, Kind.RATE_LIMITED, 0.03, 1.0), rng=0.0)
    early = made.epoch
    assert made.reserve(1.0, 0.0)
    made.apply(Signal(BreakerEvent.RATE_LIMITED, Kind.RATE_LIMITED, 0.03, 2.0), 0.0)
    assert made.reserve(2.0, 0.0)
    made.abandon(early)
    assert not made.admits(99.0)


def test_a_probe_of_an_older_half_open_holds_no_slot_of_a_newer_one() -> None:
    made = breaker(LIMITED, TIMER)
    old = made.begin(0.0)
    made.apply(GATEWAY, 0.0)  # of another target at the same address
    made.apply(TIMER, 0.0)
    assert made.admits(0.0)
    new = made.begin(0.0)
    made.end(old)
    assert not made.admits(0.0)
    made.end(new)
    assert made.admits(0.0)


signals = st.sampled_from([SUCCESS, SUCCESS_ALONE, FAILURE, GATEWAY, LIMITED, FORBIDDEN, TIMER, REVIVED, RESET])


@given(st.lists(st.tuples(signals, st.floats(0, 50))), st.integers(0, 99))
def test_no_sequence_of_outcomes_blocks_for_ever(steps: list[tuple[Signal, float]], seed: int) -> None:
    made = Breaker(BreakerSettings(), random.Random(seed).random)
    now = 0.0
    for signal, passed in steps:
        now += passed
        epoch, state = made.epoch, made.state
        made.apply(signal, now)
        assert made.state is state or made.epoch > epoch
        assert made.until - now <= 450.0
    assert made.admits(now + 450.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 20)), max_size=60))
def test_the_window_counts_what_is_younger_than_it(steps: list[tuple[bool, float]]) -> None:
    window, now, seen = Window(30.0), 0.0, []
    for failed, passed in steps:
        now += passed
        (window.add_failure if failed else window.add_success)(now)
        seen.append((now, failed))
    window.slide(now)
    young = [failed for at, failed in seen if now - at < 27.0]
    old = [failed for at, failed in seen if now - at <= 30.0]
    assert len(young) <= window.requests <= len(old)
    assert sum(young) <= window.failures <= sum(old)
