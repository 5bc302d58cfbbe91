from __future__ import annotations

import pytest

from sidecar.model.failures import Kind
from sidecar.model.request import Needs
from sidecar.model.settings import AutoLimit
from sidecar.model.topology import ModelFacts, Target
from sidecar.routing.breaker import TIMER, BreakerEvent, Signal
from sidecar.routing.commands import Limits
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
    provider,
    target,
    with_client,
    with_timeouts,
)

TWO = chain(target("a/m"), target("b/n"))


def learnt(first_s: float | None = None, head_s: float | None = None, answer_s: float | None = None) -> World:
    """A world whose first target is known to be so fast."""
    world = World(TWO)
    speed = world.state("a/m").speed
    for average, value in ((speed.first_contents, first_s), (speed.heads, head_s), (speed.answers, answer_s)):
        if value is not None:
            average.add(value)
    return world


def limits_of(world: World, **fields: object) -> Limits:
    request = world.request(asked=call(**fields))  # type: ignore[arg-type]
    world.run(world.now)
    return request.tried[0].command.limits


@pytest.mark.parametrize(("first_s", "limit_s"), [(None, 12.0), (0.5, 12.0), (10.0, 30.0), (99.0, 120.0)])
def test_the_limit_on_the_first_content_is_learnt(first_s: float | None, limit_s: float) -> None:
    assert limits_of(learnt(first_s)).first_token_s == limit_s


@pytest.mark.parametrize(("answer_s", "limit_s"), [(None, 120.0), (1.0, 120.0), (60.0, 180.0), (200.0, 300.0)])
def test_the_limit_on_a_whole_answer_is_learnt_from_whole_answers(answer_s: float | None, limit_s: float) -> None:
    assert limits_of(learnt(10.0, answer_s=answer_s), stream=False).answer_s == limit_s


def test_a_silent_target_is_left_before_a_slow_one() -> None:
    limits = limits_of(learnt(first_s=30.0, head_s=0.2))
    assert (limits.head_s, limits.first_token_s) == (12.0, 90.0)


def test_where_heads_were_never_timed_first_contents_stand_in() -> None:
    limits = limits_of(learnt(first_s=30.0))
    assert (limits.head_s, limits.first_token_s) == (None, 90.0)


def test_reasoning_starts_at_the_maximum() -> None:
    slow = provider("a", models={"m": ModelFacts(reasoning=True)})
    world = World(chain(Target(slow, "m"), target("b/n")))
    assert limits_of(world).first_token_s == 120.0
    world.state("a/m").speed.first_contents.add(5.0)
    assert limits_of(world).first_token_s == 15.0
    assert limits_of(world, needs=Needs(reasoning=True)).first_token_s == 120.0


def test_the_last_that_can_be_asked_gets_all_the_time_there_is() -> None:
    world = World(TWO, a=always(HEAD_ONLY), b=always(ok(after_s=400.0, first_s=300.0)))
    request = world.request()
    world.run()
    assert request.served_by == "b/n"
    assert request.tried[1].command.limits.first_token_s == pytest.approx(590 - 12)


def test_a_fixed_time_holds_for_the_last_too() -> None:
    world = World(with_timeouts(chain(target("a/m")), first_token=AutoLimit(fixed_s=7.0)), a=always(HEAD_ONLY))
    request = world.request()
    world.run()
    assert request.failure.kind is Kind.FIRST_TOKEN_TIMEOUT
    assert request.ended_at == request.at + 7.0


def test_an_abandoned_head_raises_the_limit_once_a_minute() -> None:
    world = World(TWO, a=always(HEAD_ONLY))
    limits = []
    for gap in (0.0, 20.0, 61.0):
        request = world.request(world.now + gap)
        world.run()
        limits.append(request.tried[0].command.limits.first_token_s)
    assert limits == [12.0, 36.0, 36.0]
    assert world.state("a/m").speed.raised(12.0, AutoLimit()) == 108.0


def test_a_raise_ends_at_the_maximum() -> None:
    world = learnt(first_s=20.0)
    world.state("a/m").speed.abandon(60.0, world.now)
    assert limits_of(world).first_token_s == 120.0


def test_a_success_takes_the_raise_back() -> None:
    world = World(TWO, a=first(HEAD_ONLY))
    for _ in range(3):
        request = world.request()
        world.run()
    assert request.tried[0].command.limits.first_token_s == 12.0


def test_silence_without_a_head_raises_nothing() -> None:
    world = World(TWO, a=always(SILENT))
    for _ in range(2):
        request = world.request()
        world.run()
        assert request.tried[0].command.limits.first_token_s == 12.0


@pytest.mark.parametrize("route", [TWO, chain(target("a/m"))])
def test_a_half_open_probe_gets_no_raise_and_no_rest(route: object) -> None:
    world = World(route)  # type: ignore[arg-type]
    world.state("a/m").speed.abandon(12.0, world.now)
    world.state("a/m").apply(Signal(BreakerEvent.RATE_LIMITED, Kind.RATE_LIMITED), world.now)
    world.state("a/m").apply(TIMER, world.now)
    assert limits_of(world).first_token_s == 12.0


def test_the_clients_patience_shortens_waits_and_is_called_its_own() -> None:
    world = World(TWO)
    request = world.request(asked=with_client(read_s=5.0))
    patient = world.request(asked=with_client(read_s=20.0))
    world.run(world.now)
    limits = request.tried[0].command.limits
    assert (limits.first_token_s, limits.idle_s, limits.total_at - request.at) == (5.0, 5.0, 590.0)
    assert (limits.read_is_clients, limits.idle_is_clients, limits.total_is_clients) == (True, True, False)
    limits = patient.tried[0].command.limits
    assert (limits.first_token_s, limits.idle_s) == (12.0, 20.0)
    assert (limits.read_is_clients, limits.idle_is_clients) == (False, True)


def test_the_clients_total_is_never_longer_than_ours() -> None:
    world = World(TWO)
    requests = [world.request(asked=with_client(total_s=total_s)) for total_s in (3.0, 6000.0)]
    world.run(world.now)
    limits = [request.tried[0].command.limits for request in requests]
    assert [one.total_at - world.now for one in limits] == [3.0, 590.0]
    assert [one.total_is_clients for one in limits] == [True, False]


def test_answers_teach_heads_first_contents_and_wholes_apart() -> None:
    world = World(TWO, a=always(ok(after_s=9.0, first_s=2.0, head_s=1.0)))
    world.request()
    world.run()
    speed = world.state("a/m").speed
    assert (speed.heads.value_s, speed.first_contents.value_s, speed.answers.value_s) == pytest.approx((1.0, 2.0, None))
    world.request(asked=call(stream=False))
    world.run()
    assert speed.answers.value_s == pytest.approx(9.0)
    assert speed.first_contents.value_s == pytest.approx(2.0)


@pytest.mark.parametrize("reply", [fails(Kind.SERVER_ERROR), breaks(Kind.TRUNCATED)])
def test_failures_teach_no_whole_answer(reply: object) -> None:
    world = World(TWO, a=always(reply))  # type: ignore[arg-type]
    world.request()
    world.run()
    assert world.state("a/m").speed.answers.value_s is None
