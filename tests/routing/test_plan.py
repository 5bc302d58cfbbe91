from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from sidecar.model.failures import Failure, Kind, UpstreamError
from sidecar.model.request import Needs
from sidecar.model.topology import Auth, AuthScheme, Member, ModelFacts, Operation, Route, Target
from sidecar.routing.breaker import BreakerEvent, BreakerState, Signal
from sidecar.routing.commands import Answer, End
from sidecar.routing.explain import explain
from sidecar.routing.health import AdminState
from tests.routing.simulator import (
    World,
    always,
    call,
    chain,
    fails,
    first,
    ok,
    pool,
    provider,
    target,
    until,
    with_attempts,
    with_client,
)

SERVER_ERROR, OVERLOADED = always(fails(Kind.SERVER_ERROR)), always(fails(Kind.OVERLOADED))
BLIND = provider("a", models={"m": ModelFacts(tools=False, images=False)})


def open_it(world: World, key: str, kind: Kind = Kind.OVERLOADED, for_s: float = 100.0) -> None:
    event = BreakerEvent.RATE_LIMITED if kind is Kind.RATE_LIMITED else BreakerEvent.FORBIDDEN
    world.state(key).apply(Signal(event, kind, retry_after_s=for_s), world.now)


def played(world: World, **fields: object) -> list[str]:
    request = world.request(asked=call(**fields))  # type: ignore[arg-type]
    world.run()
    return request.keys


# Order.


def test_the_order_is_the_chains() -> None:
    world = World(chain(*map(target, ("a/m", "b/m", "c/m", "d/m"))), a=OVERLOADED, b=OVERLOADED, c=OVERLOADED)
    request = world.request()
    world.run()
    assert request.keys == ["a/m", "b/m", "c/m", "d/m"]
    assert [one.command.selection for one in request.tried] == ["primary", "fallback", "fallback", "fallback"]
    assert [one.command.number for one in request.tried] == [1, 2, 3, 4]


def test_a_retry_is_not_taken_where_it_would_cost_another_its_turn() -> None:
    world = World(chain(*map(target, ("a/m", "b/m", "c/m"))), a=SERVER_ERROR, b=SERVER_ERROR, c=SERVER_ERROR)
    assert played(world) == ["a/m", "b/m", "c/m"]


def test_the_next_pool_waits_until_this_one_is_exhausted() -> None:
    pools = (pool("r[0]", target("a/m"), target("b/m")), pool("r[1]", target("c/m"), target("d/m")))
    world = World(Route("r", pools), rng=lambda: 0.0, a=SERVER_ERROR, b=SERVER_ERROR)
    assert played(world) == ["a/m", "b/m", "c/m"]


def test_weights_hold_for_first_picks() -> None:
    weighted = pool("r[0]", Member(target("a/m"), 70), Member(target("b/m"), 30))
    world = World(Route("r", (weighted, pool("r[1]", target("c/m")))))
    for _ in range(100):
        world.request()
    world.run()
    assert Counter(request.served_by for request in world.requests) == {"a/m": 70, "b/m": 30}


def test_a_pattern_shares_one_rotation_over_its_models() -> None:
    routes = [Route(f"gpt-{n}", (pool("gpt-*[0]", target(f"a/gpt-{n}"), target(f"b/gpt-{n}")),)) for n in range(2)]
    world = World(*routes, rng=lambda: 0.0)
    requests = [world.request(route=f"gpt-{n % 2}") for n in range(4)]
    world.run()
    assert [request.served_by for request in requests] == ["a/gpt-0", "b/gpt-1", "a/gpt-0", "b/gpt-1"]


def test_a_sticky_client_stays_and_falls_to_the_next_by_hash() -> None:
    sticky = pool("r[0]", *map(target, ("a/m", "b/m", "c/m")), sticky="x-user")
    world = World(Route("r", (sticky,)))
    served = {}
    for user in map(str, range(30)):
        seen = {played(world, sticky={"x-user": user})[0] for _ in range(5)}
        assert len(seen) == 1
        served[user] = seen.pop()
    assert len(set(served.values())) == 3
    world.state("a/m").admin = AdminState.MAINT
    for user, key in served.items():
        assert key == "a/m" or played(world, sticky={"x-user": user}) == [key]


def test_without_the_header_a_sticky_pool_rotates() -> None:
    world = World(Route("r", (pool("r[0]", target("a/m"), target("b/m"), sticky="x-user"),)), rng=lambda: 0.0)
    assert [played(world)[0] for _ in range(4)] == ["a/m", "b/m", "a/m", "b/m"]


def test_slow_start_takes_a_small_share() -> None:
    world = World(Route("r", (pool("r[0]", target("a/m"), target("b/m")),)))
    open_it(world, "a/m", Kind.RATE_LIMITED, 1.0)
    state = world.state("a/m")
    state.apply(Signal(BreakerEvent.TIMER), world.now)
    for _ in range(2):
        state.apply(Signal(BreakerEvent.SUCCESS), world.now)
    assert state.breaker.state is BreakerState.SLOW_START
    for _ in range(110):
        world.request()
    world.run()
    assert Counter(request.served_by for request in world.requests)["a/m"] == 10


# What is passed over.


def test_what_is_passed_over_is_told_once_with_its_reason() -> None:
    keyless = Target(provider("c", auth=Auth(AuthScheme.BEARER, None)), "m")
    world = World(chain(target("a/m"), target("b/m"), keyless, target("d/m"), target("e/m")), d=SERVER_ERROR)
    open_it(world, "a/m", Kind.RATE_LIMITED)
    world.state("b/m").admin = AdminState.MAINT
    request = world.request()
    world.run()
    told = [(one.target.key, one.reason, one.breaker) for one in request.tried[0].command.skipped]
    assert told == [
        ("a/m", "open: rate_limited", "open"),
        ("b/m", "maint", "closed"),
        ("c/m", "no key", "closed"),
    ]
    assert all(one.command.skipped == () for one in request.tried[1:])
    assert request.tried[0].command.selection == "fallback"


def test_of_a_pool_is_told_who_was_passed_over_and_not_who_stands_behind() -> None:
    world = World(Route("r", (pool("r[0]", *map(target, ("a/m", "b/m", "c/m"))),)), rng=lambda: 0.0)
    world.state("b/m").admin = AdminState.MAINT
    requests = [world.request() for _ in range(5)]
    world.run()
    assert [request.served_by for request in requests] == ["a/m", "c/m", "a/m", "c/m", "a/m"]
    told = [[skipped.target.key for skipped in request.tried[0].command.skipped] for request in requests]
    assert told == [[], ["b/m"], ["b/m"], ["b/m"], ["b/m"]]


def test_a_large_pool_shares_equally_while_members_come_and_go() -> None:
    names = [f"p{index}" for index in range(50)]
    world = World(Route("r", (pool("r[0]", *(target(f"{name}/m") for name in names)),)))
    for count in range(2000):
        flapping = world.state(f"{names[count % 25]}/m")
        flapping.admin = AdminState.MAINT if flapping.admin is AdminState.READY else AdminState.READY
        world.request(world.now)
        world.run()
    taken = Counter(request.served_by for request in world.requests)
    steady = [taken[f"{name}/m"] for name in names[25:]]
    assert max(steady) - min(steady) <= 1
    assert all(0 < taken[f"{name}/m"] <= max(steady) for name in names[:25])


def test_many_that_are_passed_over_are_told_once_each() -> None:
    members = [target(f"p{index}/m") for index in range(1000)]
    world = World(Route("r", (pool("r[0]", *members, target("z/m")),)), rng=lambda: 0.0)
    for one in members:
        world.state(one.key).admin = AdminState.MAINT
    request = world.request()
    world.run()
    assert request.served_by == "z/m"
    assert [skipped.target.key for skipped in request.tried[0].command.skipped] == [one.key for one in members]


def test_who_lacks_what_is_needed_is_not_asked() -> None:
    world = World(chain(Target(BLIND, "m"), target("b/m")))
    assert played(world) == ["a/m"]
    assert played(world, needs=Needs(tools=True)) == ["b/m"]
    assert played(world, needs=Needs(images=True)) == ["b/m"]
    assert played(world, operation=Operation.EMBEDDINGS) == ["a/m"]


def test_completions_are_asked_of_whoever_chats() -> None:
    mute = Target(provider("mute", paths={Operation.EMBEDDINGS: "/embeddings"}), "m")
    world = World(chain(mute, target("b/m")))
    assert played(world, operation=Operation.COMPLETIONS) == ["b/m"]
    assert played(World(chain(mute)), operation=Operation.COMPLETIONS) == []


def test_nobody_capable_is_the_requests_own_error_and_names_who_lacks_what() -> None:
    world = World(chain(Target(BLIND, "m")))
    request = world.request(asked=call(needs=Needs(tools=True)))
    world.run()
    assert (request.failure.kind, request.failure.client_status) == (Kind.INVALID_REQUEST, 400)
    assert "a/m (no tools)" in request.failure.message


def test_embeddings_never_go_to_another_model() -> None:
    world = World(chain(target("a/e1"), target("b/e2"), target("c/e1")), a=OVERLOADED)
    assert played(world, operation=Operation.EMBEDDINGS, stream=False) == ["a/e1", "a/e1", "c/e1"]


def test_an_answer_is_a_rate_limit_only_if_every_reason_is_one() -> None:
    world = World(chain(target("a/m"), target("b/m")))
    open_it(world, "a/m", Kind.RATE_LIMITED, 60.0)
    world.state("b/m").admin = AdminState.MAINT
    request = world.request()
    world.run()
    assert (request.failure.kind, request.failure.client_status) == (Kind.NO_TARGET, 503)


def test_what_does_not_fit_is_not_sent_to_what_is_known_to_be_no_larger() -> None:
    sizes = {"a": 100, "c": 50, "d": 200}
    known = {name: provider(name, models={"x": ModelFacts(context_tokens=size)}) for name, size in sizes.items()}
    too_long = always(fails(Kind.CONTEXT_LENGTH))
    route = chain(target("e/m"), target("b/m"), *(Target(known[name], "x") for name in "acd"))
    world = World(route, a=too_long, e=too_long)
    assert played(world) == ["e/m", "b/m"]  # nothing is known of either: an equal name is no reason
    world = World(route, a=too_long, b=too_long, e=too_long)
    assert played(world) == ["e/m", "b/m", "a/x", "d/x"]


def sized(name: str, context: int | None, **facts: bool) -> Target:
    return Target(provider(name, models={"x": ModelFacts(context_tokens=context, **facts)}), "x")


LONG = Needs(input_bytes=800_001)


@pytest.mark.parametrize(
    ("targets", "needs", "expected"),
    [
        ((sized("a", 100_000), sized("b", 200_000)), LONG, "b/x"),
        ((sized("a", 100_000), sized("b", None)), LONG, "b/x"),
        ((sized("a", 100_001), sized("b", 200_000)), LONG, "a/x"),  # some text might just fit
        ((sized("a", 100_000), sized("b", 50_000)), LONG, "a/x"),  # nobody could take it: it is theirs to say
        ((sized("a", 100_000), sized("b", None, tools=False)), Needs(tools=True, input_bytes=800_001), "a/x"),
        ((sized("a", 100_000),), LONG, "a/x"),
    ],
)
def test_what_clearly_exceeds_a_known_context_goes_to_a_target_that_could_take_it(
    targets: tuple[Target, ...], needs: Needs, expected: str
) -> None:
    assert played(World(chain(*targets)), needs=needs) == [expected]


def test_a_target_passed_over_for_its_context_says_why() -> None:
    world = World(chain(sized("a", 100_000), sized("b", None)))
    request = world.request(asked=call(needs=LONG))
    world.run()
    assert [(skipped.target.key, skipped.reason) for skipped in request.tried[0].command.skipped] == [
        ("a/x", "context: about 200000 of 100000 tokens")
    ]


def test_pictures_and_sounds_are_not_measured_by_their_bytes() -> None:
    said = b'[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"..."}}]}]'
    asked = call(needs=LONG)
    asked = msgspec.structs.replace(
        asked, peek=msgspec.structs.replace(asked.peek, fields={"messages": msgspec.Raw(said)})
    )
    world = World(chain(sized("a", 100_000), sized("b", None)))
    request = world.request(asked=asked)
    world.run()
    assert request.keys == ["a/x"]


def test_missing_keys_are_told_without_a_time() -> None:
    world = World(chain(Target(provider("a", auth=Auth(AuthScheme.BEARER, None)), "m")))
    request = world.request()
    world.run()
    assert request.tried == []
    assert (request.failure.kind, request.failure.retry_after_s) == (Kind.NO_TARGET, None)
    assert "a/m (no key)" in request.failure.message


# Last resorts.


def test_those_that_drain_come_last() -> None:
    weightless = pool("r[0]", Member(target("a/m"), 0), Member(target("b/m"), 1))
    world = World(Route("r", (weightless, *chain(target("c/m"), target("d/m")).chain)), b=OVERLOADED, d=OVERLOADED)
    world.state("c/m").admin = AdminState.DRAIN
    assert played(world) == ["b/m", "d/m", "a/m"]
    world.state("b/m").admin = world.state("d/m").admin = AdminState.MAINT
    world.state("a/m").admin = AdminState.MAINT
    assert played(world) == ["c/m"]


def test_those_that_drain_come_before_panic() -> None:
    world = World(chain(target("a/m"), target("b/m")))
    open_it(world, "a/m")
    world.state("b/m").admin = AdminState.DRAIN
    request = world.request()
    world.run()
    assert [(one.key, one.command.selection) for one in request.tried] == [("b/m", "fallback")]


def test_panic_takes_the_one_whose_time_ends_soonest() -> None:
    world = World(chain(target("a/m"), target("b/m")))
    open_it(world, "a/m", for_s=100.0)
    open_it(world, "b/m", for_s=50.0)
    request = world.request()
    world.run()
    assert request.served_by == "b/m"
    assert (request.tried[0].command.selection, request.tried[0].command.breaker) == ("panic", "open")
    assert world.state("b/m").breaker.state is BreakerState.HALF_OPEN


@pytest.mark.parametrize(
    ("kind", "for_s", "panics"),
    [
        (Kind.CREDENTIAL, 1.5, False),
        (Kind.RATE_LIMITED, 60.0, False),
        (Kind.RATE_LIMITED, 1.5, True),
        (Kind.OVERLOADED, 60.0, True),
        (Kind.QUOTA_EXHAUSTED, 60.0, True),
    ],
)
def test_panic_spares_who_cannot_or_asked_not_to_be_asked(kind: Kind, for_s: float, panics: bool) -> None:
    world = World(chain(target("a/m")), rng=lambda: 0.0)
    open_it(world, "a/m", kind, for_s)
    assert bool(played(world)) is panics


def test_panic_is_once_a_second() -> None:
    world = World(chain(target("a/m")), a=OVERLOADED)
    open_it(world, "a/m")
    requests = [world.request(world.now + 0.1 * i) for i in range(35)]
    world.run()
    assert sum(len(request.tried) for request in requests) == 4


def test_a_target_that_checks_call_unhealthy_is_asked_in_panic() -> None:
    world = World(chain(target("a/m")))
    for _ in range(3):
        world.book.observe_probe("a", Failure(Kind.MALFORMED, "no list"), began=world.now, now=world.now)
    assert played(world) == ["a/m"]
    assert world.state("a/m").refusal(world.now) is None


def test_a_target_that_an_operator_calls_unhealthy_is_not_asked() -> None:
    world = World(chain(target("a/m")))
    world.book.update_provider_health("a", False)
    assert played(world) == []


# What ends a request.


def test_without_fallback_only_the_first_is_asked_but_again() -> None:
    world = World(chain(target("a/m"), target("b/m")), a=SERVER_ERROR)
    assert played(world, fallback=False) == ["a/m", "a/m"]


def test_a_route_may_fall_back_on_what_stops_elsewhere() -> None:
    route = msgspec.structs.replace(chain(target("a/m"), target("b/m")), fallback_on=frozenset({"content_policy"}))
    assert played(World(route, a=always(fails(Kind.CONTENT_POLICY)))) == ["a/m", "b/m"]
    assert played(World(route, a=always(fails(Kind.INVALID_REQUEST)))) == ["a/m"]


def test_the_most_telling_failure_is_told_with_the_smallest_retry_after() -> None:
    world = World(
        chain(target("a/m"), target("b/m"), target("c/m")),
        a=always(fails(Kind.RATE_LIMITED, retry_after_s=60.0)),
        b=always(fails(Kind.RATE_LIMITED, retry_after_s=20.0)),
        c=OVERLOADED,
    )
    request = world.request()
    world.run()
    assert (request.failure.kind, request.failure.retry_after_s) == (Kind.RATE_LIMITED, 20.0)


def test_a_callers_mistake_wins_over_a_later_outage() -> None:
    world = World(chain(target("a/m"), target("b/m")), a=always(fails(Kind.CONTEXT_LENGTH)), b=OVERLOADED)
    request = world.request()
    world.run()
    assert request.failure.kind is Kind.CONTEXT_LENGTH
    assert request.failure.retry_after_s is None


def test_a_rate_limit_without_a_time_is_told_with_ours() -> None:
    world = World(chain(target("a/m")), a=always(fails(Kind.RATE_LIMITED)))
    request = world.request()
    world.run()
    assert request.failure.retry_after_s is not None
    assert 10 <= request.failure.retry_after_s <= 15


def test_no_attempt_begins_in_the_last_moments() -> None:
    world = World(chain(target("a/m"), target("b/m")), a=always(fails(Kind.OVERLOADED, after_s=4.0)))
    request = world.request(asked=with_client(total_s=5.0))
    world.run()
    assert request.keys == ["a/m"]
    assert request.failure.kind is Kind.OVERLOADED


def test_old_requests_fail_over_and_do_not_retry() -> None:
    world = World(chain(target("a/m"), target("b/m")), a=always(fails(Kind.SERVER_ERROR, after_s=61.0, head_s=61.0)))
    assert played(world, stream=False) == ["a/m", "b/m"]


def test_an_empty_budget_turns_retries_into_failovers() -> None:
    world = World(chain(target("a/m"), target("b/m")), a=SERVER_ERROR)
    while world.budget.withdraw(world.now):
        pass
    assert played(world) == ["a/m", "b/m"]


def test_every_retry_at_the_same_target_is_paid_for() -> None:
    world = World(chain(target("a/m"), target("b/m")), a=SERVER_ERROR)
    before = world.budget.available(world.now)
    played(world)
    assert world.budget.available(world.now) == pytest.approx(before + 0.2 - 1)


def test_each_target_has_its_own_retry() -> None:
    route = with_attempts(chain(target("a/m"), target("b/m")), max_attempts=6)
    assert played(World(route, a=SERVER_ERROR, b=SERVER_ERROR)) == ["a/m", "a/m", "b/m", "b/m"]


def test_max_attempts_holds_over_the_whole_request() -> None:
    route = with_attempts(chain(target("a/m"), target("b/m"), target("c/m")), max_attempts=2)
    assert played(World(route, a=OVERLOADED, b=OVERLOADED, c=OVERLOADED)) == ["a/m", "b/m"]


def test_one_who_waits_inline_is_the_probe_and_the_others_move_on() -> None:
    world = World(chain(target("a/m"), target("b/m")), a=until(1001.0, fails(Kind.RATE_LIMITED, retry_after_s=2.0)))
    requests = [world.request() for _ in range(10)]
    early = world.request(world.now + 1.99)
    world.run()
    waited = [request for request in requests if request.waits]
    assert [request.keys for request in waited] == [["a/m", "a/m"]]
    assert waited[0].tried[1].command.selection == "retry"
    assert waited[0].tried[1].command.breaker == "half_open"
    assert waited[0].tried[1].command.backoff_s == 2.0
    assert early.keys == ["b/m"]
    assert all(request.served_by for request in requests)


def test_nobody_panics_while_one_waits_inline() -> None:
    world = World(chain(target("a/m")), rng=lambda: 0.0, a=first(fails(Kind.RATE_LIMITED, 0.03, 2.0)))
    waiting = world.request()
    hasty = world.request(world.now + 1.0)
    world.run()
    assert hasty.tried == []
    assert waiting.served_by == "a/m"


def test_a_waiter_that_leaves_gives_the_probe_back() -> None:
    world = World(chain(target("a/m"), target("b/m")), rng=lambda: 0.0, a=first(fails(Kind.RATE_LIMITED, 0.03, 2.0)))
    request = world.request()
    world.leave(request, world.now + 1.0)
    late = world.request(world.now + 2.5)
    world.run()
    assert late.keys == ["a/m"]
    assert world.idle()


def test_an_answer_of_the_upstream_is_kept() -> None:
    told = Failure(Kind.INVALID_REQUEST, "m", status=422, upstream=UpstreamError(422, b"{}", "application/json"))
    world = World(chain(target("a/m"), target("b/m")))
    request = world.request()
    world.run(world.now)
    answer = request.engine.send(End(world.now, 0.1, told, True))
    assert answer == Answer(told)


# Explaining.


def test_explain_tells_every_target_and_changes_nothing() -> None:
    weighted = pool("r[0]", Member(target("a/m"), 70), Member(target("b/m"), 30), Member(target("c/m"), 0))
    route = Route("r", (weighted, pool("r[1]", Target(BLIND, "other")), pool("r[2]", target("x/minted"))))
    world = World(Route("other", (weighted,)))
    open_it(world, "b/m")
    before = len(world.book.states)
    rows = explain(route, world.book, world.now, Needs())
    assert [(row.pool, row.target, row.share, row.skipped, row.breaker) for row in rows] == [
        ("r[0]", "a/m", 1.0, None, "closed"),
        ("r[0]", "b/m", 0.0, "open: overloaded", "open"),
        ("r[0]", "c/m", 0.0, "weight 0", "closed"),
        ("r[1]", "a/other", 1.0, None, "closed"),
        ("r[2]", "x/minted", 1.0, None, "closed"),
    ]
    assert len(world.book.states) == before
    assert [row.share for row in explain(route, world.book, world.now + 101, Needs())][:2] == [0.7, 0.3]
    assert world.state("b/m").breaker.state is BreakerState.OPEN


def test_explain_tells_what_is_lacking() -> None:
    world = World(chain(Target(BLIND, "m")))
    [row] = explain(world.routes["r"], world.book, world.now, Needs(tools=True))
    assert (row.skipped, row.share) == ("no tools", 0.0)


def test_a_plain_answer_serves_without_content() -> None:
    world = World(chain(target("a/m")), a=always(ok(after_s=3.0)))
    request = world.request(asked=call(stream=False))
    world.run()
    assert (request.served_by, request.ended_at) == ("a/m", request.at + 3.0)
