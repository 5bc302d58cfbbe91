"""What must hold when providers misbehave, played in virtual time: primary and fallback, in a chain of two."""

from __future__ import annotations

import pytest

from sidecar.model.failures import Failure, Kind
from sidecar.model.settings import AutoLimit, Balance
from sidecar.model.topology import Route
from sidecar.routing.breaker import BreakerState
from tests.routing.simulator import (
    HEAD_ONLY,
    SILENT,
    World,
    always,
    breaks,
    call,
    chain,
    fails,
    first,
    ok,
    pool,
    target,
    until,
    with_client,
    with_timeouts,
)

PRIMARY, FALLBACK = target("a/m"), target("b/n")


def two(**scripts: object) -> World:
    return World(chain(PRIMARY, FALLBACK), **scripts)  # type: ignore[arg-type]


def test_a_short_retry_after_is_waited_for_at_the_same_target() -> None:
    world = two(a=first(fails(Kind.RATE_LIMITED, retry_after_s=2.0)))
    request = world.request()
    world.run()
    assert request.keys == ["a/m", "a/m"]
    assert request.tried[1].at - request.tried[0].at >= 2.0
    assert request.served_by == "a/m"
    assert world.idle()


def test_rate_limited_for_ever_is_answered_by_the_fallback_with_few_attempts() -> None:
    world = two(a=always(fails(Kind.RATE_LIMITED)))
    start = world.now
    requests = [world.request(start + i) for i in range(20)]
    world.run()
    assert all(request.served_by == "b/n" for request in requests)
    assert len(world.attempts_at("a", start, start + 3)) <= 4
    assert len(world.attempts_at("a")) <= 6


def test_a_single_500_is_retried_at_the_same_target() -> None:
    world = two(a=first(fails(Kind.SERVER_ERROR)))
    request = world.request()
    world.run()
    assert request.keys == ["a/m", "a/m"]
    assert request.served_by == "a/m"


def test_503_for_ever_is_answered_by_the_fallback() -> None:
    world = two(a=always(fails(Kind.OVERLOADED)))
    request = world.request()
    world.run()
    assert request.served_by == "b/n"
    assert request.keys == ["a/m", "a/m", "b/n"]


def test_a_reset_before_the_head_is_answered() -> None:
    world = two(a=first(fails(Kind.UNREACHABLE, head_s=9.0)))
    request = world.request()
    world.run()
    assert request.served_by == "a/m"


@pytest.mark.parametrize("stream", [True, False])
def test_a_silent_primary_gets_exactly_one_attempt(stream: bool) -> None:
    route = with_timeouts(chain(PRIMARY, FALLBACK), answer=AutoLimit(fixed_s=12.0))
    world = World(route, a=always(SILENT))
    request = world.request(asked=call(stream=stream))
    world.run()
    assert request.keys == ["a/m", "b/n"]
    assert request.served_by == "b/n"
    assert request.tried[1].at - request.tried[0].at == pytest.approx(12.0)


def test_a_head_and_then_nothing_is_answered_within_15_s() -> None:
    world = two(a=always(ok(after_s=25.0, first_s=20.0)))
    request = world.request()
    world.run()
    assert request.served_by == "b/n"
    assert request.ended_at is not None
    assert request.ended_at - request.at < 15


def test_a_slow_model_costs_one_needless_failover() -> None:
    world = two(a=always(ok(after_s=25.0, first_s=20.0)))
    requests = [world.request(world.now + 60 * i) for i in range(5)]
    world.run()
    assert [request.served_by for request in requests] == ["b/n"] + ["a/m"] * 4


def test_an_overlong_context_goes_to_another_target_once() -> None:
    world = two(a=always(fails(Kind.CONTEXT_LENGTH)))
    request = world.request()
    world.run()
    assert request.keys == ["a/m", "b/n"]
    assert world.state("a/m").breaker.consecutive == 0


def test_a_refused_content_is_told_and_not_shopped_around() -> None:
    world = two(a=always(fails(Kind.CONTENT_POLICY)))
    request = world.request()
    world.run()
    assert request.keys == ["a/m"]
    assert request.failure.kind is Kind.CONTENT_POLICY


@pytest.mark.parametrize("seed", range(20))
def test_an_outage_of_a_minute_costs_few_attempts_and_ends_quickly(seed: int) -> None:
    world = World(chain(PRIMARY, FALLBACK), seed=seed, a=until(1060.0, fails(Kind.OVERLOADED)))
    requests = [world.request(1000.0 + 4 * i) for i in range(25)]
    for i in range(100):  # the model list stays green
        world.at(1000.0 + i, lambda: world.book.observe_probe("a", None, began=world.now, now=world.now))
    world.run()
    assert all(request.served_by for request in requests)
    assert len(world.attempts_at("a", 1000.0, 1060.0)) <= 12
    assert world.attempts_at("a", 1060.0)[0].at <= 1075.0


def test_a_client_that_leaves_counts_nothing_and_leaves_nothing() -> None:
    world = two(a=always(SILENT))
    request = world.request()
    world.leave(request, world.now + 5)
    world.run()
    assert request.keys == ["a/m"]
    assert world.idle()
    state = world.state("a/m")
    assert (state.breaker.state, state.breaker.epoch, state.breaker.window.requests) == (BreakerState.CLOSED, 0, 0)


def test_a_hundred_short_deadlines_of_the_client_eject_nobody() -> None:
    world = two(a=always(ok(after_s=4.0, first_s=3.0)))
    requests = [world.request(world.now + 0.01 * i, asked=with_client(total_s=1.0)) for i in range(100)]
    world.run()
    assert {request.failure.kind for request in requests} == {Kind.CLIENT_DEADLINE}
    assert {tuple(request.keys) for request in requests} == {("a/m",)}
    assert world.state("a/m").breaker.state is BreakerState.CLOSED


def opened(world: World, key: str) -> None:
    """Open one target's breaker: attempts that did not get through a gateway."""
    state = world.state(key)
    while state.breaker.state is not BreakerState.OPEN:
        epoch = state.begin(world.now)
        state.release(epoch)
        world.book.fail(state, epoch, Failure(Kind.GATEWAY_ERROR, "down"), duration_s=0.03, now=world.now)


def test_a_hundred_at_half_open_are_one_probe() -> None:
    world = two(a=always(ok(after_s=5.0, first_s=4.0)))
    opened(world, "a/m")
    world.run(world.now + 400)
    requests = [world.request() for _ in range(100)]
    world.run()
    assert len(world.attempts_at("a")) == 1
    assert all(request.served_by for request in requests)
    assert world.idle()


def test_the_probes_slot_is_free_after_a_cancel() -> None:
    world = two(a=first(SILENT, then=ok()))
    opened(world, "a/m")
    world.run(world.now + 400)
    probe = world.request()
    world.leave(probe, world.now + 1)
    late = world.request(world.now + 2)
    world.run()
    assert probe.keys == ["a/m"]
    assert late.served_by == "a/m"
    assert world.state("a/m").breaker.state is BreakerState.HALF_OPEN
    assert world.idle()


def test_with_everything_open_one_panics_and_the_rest_is_answered_at_once() -> None:
    world = two(a=always(fails(Kind.GATEWAY_ERROR, after_s=0.5)), b=always(fails(Kind.GATEWAY_ERROR, after_s=0.5)))
    opened(world, "a/m")
    opened(world, "b/n")
    requests = [world.request() for _ in range(100)]
    world.run()
    assert len(world.tried) == 1
    local = [request for request in requests if not request.tried]
    assert len(local) == 99
    for request in local:
        assert request.ended_at == request.at
        assert request.failure.kind is Kind.NO_TARGET
        assert request.failure.retry_after_s is not None
        assert request.failure.retry_after_s >= 1


def test_rate_limits_everywhere_are_answered_as_a_rate_limit() -> None:
    limited = always(fails(Kind.RATE_LIMITED, retry_after_s=60.0))
    world = two(a=limited, b=limited)
    world.request()
    late = world.request(world.now + 5)
    world.run()
    assert late.tried == []
    assert late.failure.kind is Kind.RATE_LIMITED
    assert late.failure.client_status == 429
    assert late.failure.retry_after_s is not None
    assert 50 <= late.failure.retry_after_s <= 90


def test_everything_failing_is_at_most_max_attempts_calls() -> None:
    world = two(a=always(fails(Kind.SERVER_ERROR)), b=always(fails(Kind.SERVER_ERROR)))
    request = world.request()
    world.run()
    assert len(request.tried) == 3
    assert request.failure.kind is Kind.SERVER_ERROR


@pytest.mark.parametrize("balance", list(Balance))
def test_a_member_that_fails_fast_gains_no_share(balance: Balance) -> None:
    members = pool("r[0]", target("a/m"), target("b/m"), target("c/m"), balance=balance)
    world = World(Route("r", (members,)), a=always(fails(Kind.RATE_LIMITED)))
    start = world.now
    for i in range(300):
        world.request(start + 0.5 * i)
    world.run()
    shares = [len(world.attempts_at("a", t, t + 50)) / 100 for t in (start, start + 50, start + 100)]
    assert max(shares) < 0.15
    assert all(request.served_by in {"b/m", "c/m"} for request in world.requests)


def test_a_broken_stream_is_told_as_broken_and_nobody_else_is_asked() -> None:
    world = two(a=always(breaks(Kind.TRUNCATED)))
    request = world.request()
    world.run()
    assert request.keys == ["a/m"]
    assert request.answer is not None
    assert request.answer.committed
    assert request.failure.kind is Kind.TRUNCATED
    assert world.state("a/m").breaker.consecutive == 1


def test_a_hundred_that_hang_together_are_one_round_of_failures() -> None:
    world = two(a=always(HEAD_ONLY))
    requests = [world.request() for _ in range(100)]
    world.run()
    assert all(request.served_by == "b/n" for request in requests)
    assert world.state("a/m").breaker.openings == 1
