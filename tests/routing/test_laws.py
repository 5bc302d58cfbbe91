"""What holds whatever the targets do, in whatever order: the engine against random scripts."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.model.failures import POLICY, Kind, Next
from sidecar.model.settings import Balance
from sidecar.model.topology import Member, Route
from sidecar.routing.breaker import BreakerState
from tests.routing.simulator import Reply, World, call, chain, ok, pool, target, with_attempts, with_client

NAMES = list("abcdefgh")
OURS = {Kind.DEADLINE, Kind.CLIENT_DEADLINE, Kind.CLIENT_GONE, Kind.NO_ROUTE, Kind.NO_TARGET, Kind.INTERNAL}
UPSTREAM = sorted(set(Kind) - OURS)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    if draw(st.booleans()):
        return ok(after_s=draw(st.sampled_from([0.3, 5.0, 40.0])), first_s=draw(st.sampled_from([0.1, 4.0, 30.0])))
    return Reply(
        draw(st.sampled_from(UPSTREAM)),
        draw(st.sampled_from([0.03, 1.0, math.inf])),
        draw(st.sampled_from([0.02, math.inf])),
        draw(st.sampled_from([None, None, 0.1])),
        draw(st.sampled_from([None, None, 1.0, 2.0, 60.0])),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    names = NAMES[: draw(st.integers(1, 5))]
    targets = [target(f"{name}/m") for name in names]
    max_attempts = draw(st.sampled_from([None, None, 1, 2, 4]))
    balance = draw(st.sampled_from(list(Balance)))
    weights = [draw(st.sampled_from([0.0, 1.0, 5.0])) for _ in names]
    pools = pool("r[0]", *map(Member, targets, weights), balance=balance)
    route = draw(st.sampled_from([chain(*targets), Route("r", (pools,)), Route("r", (pools, *chain(*targets).chain))]))
    if max_attempts is not None:
        route = with_attempts(route, max_attempts=max_attempts)
    scripts = {name: draw(st.lists(replies(), min_size=1, max_size=6)) for name in names}
    world = World(route, seed=draw(st.integers(0, 999)))
    world.scripts = {
        name: lambda _now, count, own=own: own[count % len(own)]  # type: ignore[misc]
        for name, own in scripts.items()
    }
    for gap in draw(st.lists(st.sampled_from([0.0, 0.0, 1.0, 15.0, 100.0]), min_size=1, max_size=12)):
        asked = draw(st.sampled_from([call(), call(stream=False), call(fallback=False), with_client(total_s=8.0)]))
        request = world.request(world.requests[-1].at + gap if world.requests else None, asked=asked)
        if draw(st.integers(0, 3)) == 0:
            world.leave(request, request.at + draw(st.sampled_from([0.0, 0.01, 0.7, 2.0, 13.0])))
    return world


def is_stopping(kind: Kind) -> bool:
    return POLICY[kind].next is Next.STOP


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_whatever_happens(world: World) -> None:
    route = world.routes["r"]
    targets = len(route.targets)
    allowed = route.attempts.max_attempts or max(3, min(targets, 6))
    world.run()
    for request in world.requests:
        # Every request comes to an end, one way or another, and not after its deadline.
        assert request.ended_at is not None
        assert request.ended_at - request.at <= 590.0 + 1e-6
        assert len(request.tried) <= allowed
        # No target is asked again later, and none more than once again at once.
        assert all(request.keys.count(key) <= 2 for key in request.keys)
        runs = [key for key, following in pairwise([*request.keys, None]) if key != following]
        assert len(runs) == len(set(runs))
        if not request.call.fallback:
            assert len(runs) <= 1
        assert sum(one.command.selection == "panic" for one in request.tried) <= 1
    # Nothing is held any more, anywhere.
    assert world.idle()


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_no_history_blocks_a_target_for_ever(world: World) -> None:
    world.run()
    later = world.now + 451.0
    for state in world.book.states:
        assert state.refusal(later) is None


@settings(max_examples=100, deadline=None)
@given(worlds(), st.sampled_from([kind for kind in UPSTREAM if is_stopping(kind)]))
def test_a_callers_error_reaches_exactly_one_target(world: World, kind: Kind) -> None:
    world.scripts = {name: lambda _now, _count: Reply(kind, 0.03, 0.02, None) for name in NAMES}
    before = {state.key: state.breaker.epoch for state in world.book.states}
    world.run()
    for request in world.requests:
        assert len(request.tried) == 1 or request.left
    assert {state.key: state.breaker.epoch for state in world.book.states} == before


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_an_open_target_is_asked_in_panic_only(world: World) -> None:
    begun: list[tuple[BreakerState, str]] = []
    original = world._try

    def watch(request: object, command: object) -> None:
        state = world.state(command.target.key)  # type: ignore[attr-defined]
        begun.append((state.breaker.state, command.selection))  # type: ignore[attr-defined]
        original(request, command)  # type: ignore[arg-type]

    world._try = watch  # type: ignore[method-assign, assignment]
    world.run()
    # Once an attempt has begun its target is open only if it began in panic: else its time had come.
    assert all(selection == "panic" for state, selection in begun if state is BreakerState.OPEN)


def test_a_healthy_chain_asks_the_first_only() -> None:
    world = World(chain(target("a/m"), target("b/m")))
    requests = [world.request(world.now + i) for i in range(50)]
    world.run()
    assert {tuple(request.keys) for request in requests} == {("a/m",)}
