"""Who may be raced by whom, command by command: what `failover` says when a target is late."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec
import pytest

from sidecar.model.failures import Failure, Kind
from sidecar.model.records import Selection
from sidecar.model.settings import HedgeSettings, StreamSettings
from sidecar.model.topology import Route
from sidecar.routing.breaker import BreakerState
from sidecar.routing.commands import Answer, Content, End, Keep, Late, Race, Relay, Try
from sidecar.routing.failover import failover
from tests.routing.simulator import World, call, pool, target

A, B = target("a/m"), target("b/m")
HEDGE = HedgeSettings(after_s=0.5, max_extra_load=100.0)
ROUTE = Route("r", (pool("r[0]", A, B),), stream=StreamSettings(hedge=HEDGE))
DOWN = Failure(Kind.GATEWAY_ERROR, "down")

Engine = Generator[Any, Any, None]


def begun(world: World, *, stream: bool = True, fields: dict[str, msgspec.Raw] | None = None) -> tuple[Engine, Try]:
    """A request, and whom it asks first."""
    route = world.routes["r"]
    asked = call(stream=stream)
    asked = msgspec.structs.replace(asked, peek=msgspec.structs.replace(asked.peek, fields=fields or {}))
    engine = failover(route, asked, world.book, world.balances, world.budget, now=world.now, rng=world.rng)
    command = next(engine)
    assert isinstance(command, Try)
    return engine, command


def opened(world: World, key: str) -> None:
    state = world.state(key)
    while state.breaker.state is not BreakerState.OPEN:
        epoch = state.begin(world.now)
        state.release(epoch)
        world.book.fail(state, epoch, DOWN, duration_s=0.03, now=world.now)


def other(first: Try) -> str:
    return B.key if first.target.key == A.key else A.key


def end(world: World, number: int, failure: Failure | None = None) -> End:
    return End(world.now, 0.6, failure, number=number)


@pytest.mark.parametrize(
    ("field", "value", "raced"),
    [
        ("background", True, False),
        ("background", False, True),
        ("web_search_options", {}, False),
        ("mcp_servers", [{"url": "https://example.org"}], False),
        ("tools", None, True),
        ("tools", [], True),
        ("tools", [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "name": "g"}], True),
        ("tools", [{"name": "f", "input_schema": {}}], True),
        ("tools", [{"functionDeclarations": [{"name": "f"}]}], True),
        ("tools", [{"type": "function", "name": "f"}, {"type": "web_search"}], False),
        ("tools", [{"type": "code_execution_20250825", "name": "code_execution"}], False),
        ("tools", [{"googleSearch": {}}], False),
        ("tools", "nonsense", False),
    ],
)
def test_what_has_effects_at_the_provider_is_asked_of_one_at_a_time(field: str, value: object, raced: bool) -> None:
    _, first = begun(World(ROUTE), fields={field: msgspec.Raw(msgspec.json.encode(value))})
    assert (first.hedge_after_s is not None) is raced


def test_who_is_late_is_raced_by_another_of_the_pool() -> None:
    world = World(ROUTE)
    engine, first = begun(world)
    assert first.hedge_after_s == 0.5
    race = engine.send(Late(world.now + 0.5))
    assert isinstance(race, Race)
    second = race.second
    assert (second.target.key, second.selection, second.number) == (other(first), Selection.HEDGE, 2)


@pytest.mark.parametrize("winner", [1, 2])
def test_the_first_content_wins_and_the_other_is_free(winner: int) -> None:
    world = World(ROUTE)
    engine, first = begun(world)
    engine.send(Late(world.now))
    assert isinstance(engine.send(Content(world.now, 0.6, 0.1, number=winner)), Relay)
    won = first.target.key if winner == 1 else other(first)
    assert {state.key: state.in_flight for state in world.book.states}[won] == 1
    assert sum(state.in_flight for state in world.book.states) == 1
    with pytest.raises(StopIteration):
        engine.send(end(world, winner))
    assert world.idle()
    assert {state.breaker.window.requests for state in world.book.states} == {0, 1}  # the loser counts nothing


@pytest.mark.parametrize("loser", [1, 2])
def test_who_fails_first_counts_and_the_other_goes_on(loser: int) -> None:
    world = World(ROUTE)
    engine, first = begun(world)
    engine.send(Late(world.now))
    assert isinstance(engine.send(end(world, loser, DOWN)), Keep)
    failed = first.target.key if loser == 1 else other(first)
    assert world.state(failed).breaker.consecutive == 1
    assert isinstance(engine.send(Content(world.now, 0.6, 0.1, number=3 - loser)), Relay)
    with pytest.raises(StopIteration):
        engine.send(end(world, 3 - loser))
    assert world.idle()


def test_when_both_fail_that_is_told() -> None:
    world = World(ROUTE)
    engine, _ = begun(world)
    engine.send(Late(world.now))
    engine.send(end(world, 1, DOWN))
    told = engine.send(end(world, 2, Failure(Kind.TRUNCATED, "cut")))
    assert isinstance(told, Answer)
    assert told.failure.kind is Kind.TRUNCATED
    assert world.idle()


def test_a_client_that_leaves_a_race_frees_both() -> None:
    world = World(ROUTE)
    engine, _ = begun(world)
    engine.send(Late(world.now))
    assert sum(state.in_flight for state in world.book.states) == 2
    engine.close()
    assert world.idle()


def test_a_recovering_target_may_race() -> None:
    world = World(ROUTE)
    for state in world.book.states:
        state.breaker._enter(BreakerState.SLOW_START, world.now)
    engine, first = begun(world)
    assert first.hedge_after_s == 0.5
    assert isinstance(engine.send(Late(world.now)), Race)


def test_a_probe_is_never_raced() -> None:
    world = World(ROUTE)
    opened(world, A.key)
    opened(world, B.key)
    world.now += 400
    _, first = begun(world)
    assert first.hedge_after_s is None


def test_a_target_that_awaits_its_probe_races_with_nobody() -> None:
    world = World(ROUTE)
    opened(world, A.key)
    opened(world, B.key)
    world.now += 400
    world.state(A.key).reset(world.now)
    engine, first = next(each for each in (begun(world) for _ in range(4)) if each[1].target.key == A.key)
    assert first.hedge_after_s == 0.5
    assert isinstance(engine.send(Late(world.now)), Keep)


def test_panic_is_never_raced() -> None:
    world = World(ROUTE)
    opened(world, A.key)
    opened(world, B.key)
    _, first = begun(world)
    assert (first.selection, first.hedge_after_s) == (Selection.PANIC, None)


def test_a_plain_request_is_never_raced() -> None:
    _, first = begun(World(ROUTE), stream=False)
    assert first.hedge_after_s is None


def test_a_target_of_the_next_pool_does_not_race() -> None:
    route = msgspec.structs.replace(ROUTE, chain=(pool("r[0]", A), pool("r[1]", B)))
    world = World(route)
    engine, _ = begun(world)
    assert isinstance(engine.send(Late(world.now)), Keep)


def test_hedges_are_a_share_of_the_requests() -> None:
    hedge = msgspec.structs.replace(HEDGE, max_extra_load=10.0)
    world = World(msgspec.structs.replace(ROUTE, stream=StreamSettings(hedge=hedge)))
    raced = [isinstance(begun(world)[0].send(Late(world.now)), Race) for _ in range(40)]
    assert raced.index(True) == 9
    assert sum(raced) == 4


def test_usual_is_what_95_of_100_answers_took() -> None:
    hedge = msgspec.structs.replace(HEDGE, after_s=None)
    world = World(msgspec.structs.replace(ROUTE, stream=StreamSettings(hedge=hedge)))
    assert begun(world)[1].hedge_after_s is None  # too little is known
    for state in world.book.states:
        for place in range(100):
            state.speed.content_came(place / 100, None, world.now)
    assert begun(world)[1].hedge_after_s == pytest.approx(0.95)
