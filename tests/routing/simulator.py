"""Plays scripted targets through the failover engine, in virtual time.

A `World` holds one book, one set of balances and one budget; requests are put into it at moments of
its clock, and `run` plays them together, as a driver on an event loop would: commands become events
at later moments. A target is a function from (now, how often it was asked before) to a `Reply`.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import msgspec

from sidecar.model.failures import Failure, Kind
from sidecar.model.request import Call, ClientLimits, Needs, Peek
from sidecar.model.settings import AttemptSettings, BudgetSettings, Settings, Timeouts
from sidecar.model.topology import Dialect, Member, Operation, Pool, Provider, Route, Snapshot, Target
from sidecar.routing.balance import Balances
from sidecar.routing.budget import RetryBudget
from sidecar.routing.commands import Answer, Content, Elapsed, End, Limits, Relay, Try, Wait
from sidecar.routing.failover import failover
from sidecar.routing.health import HealthBook, TargetState, Transition

PATHS = {Operation.CHAT: "/chat/completions", Operation.EMBEDDINGS: "/embeddings"}


def provider(name: str, **fields: Any) -> Provider:
    """A provider at an address of its own, without a key."""
    given = {"type": "openai", "base_url": f"http://{name}", "dialects": (Dialect.OPENAI_CHAT,), "paths": PATHS}
    return Provider(name=name, **(given | fields))


def target(key: str, **fields: Any) -> Target:
    """`provider/model` as a target."""
    name, _, model = key.partition("/")
    return Target(provider(name, **fields), model)


def pool(key: str, *members: Target | Member, **fields: Any) -> Pool:
    """A pool; members without a weight have 1."""
    placed = tuple(member if isinstance(member, Member) else Member(member) for member in members)
    return Pool(key=key, members=placed, **fields)


def chain(*targets: Target, name: str = "r", **fields: Any) -> Route:
    """A route of pools of one."""
    return Route(name, tuple(pool(f"{name}[{i}]", one) for i, one in enumerate(targets)), **fields)


def snapshot(*routes: Route, generation: int = 1, providers: Sequence[Provider] = (), **fields: Any) -> Snapshot:
    """A snapshot of these routes and their providers."""
    named = {one.provider.name: one.provider for route in routes for one in route.targets}
    named |= {one.name: one for one in providers}
    return Snapshot(generation, named, {route.name: route for route in routes}, Settings(), **fields)


NO_NEEDS = Needs()


def call(*, stream: bool = True, needs: Needs = NO_NEEDS, operation: Operation = Operation.CHAT, **fields: Any) -> Call:
    """A request."""
    return Call(operation, Dialect.OPENAI_CHAT, Peek({}, "r", stream=stream, needs=needs), "id", **fields)


@dataclass(frozen=True)
class Reply:
    """What a target does with one attempt; times are since it was sent."""

    kind: Kind | None = None  # how it fails, or None
    after_s: float = 0.3  # until it ends, however it does
    head_s: float = 0.05  # until the response's head; inf: never
    first_s: float | None = 0.1  # until the first content; None: it fails before
    retry_after_s: float | None = None


def ok(after_s: float = 0.3, first_s: float = 0.1, head_s: float = 0.05) -> Reply:
    return Reply(None, after_s, min(head_s, first_s), first_s)


def fails(kind: Kind, after_s: float = 0.03, retry_after_s: float | None = None, head_s: float = 0.02) -> Reply:
    return Reply(kind, after_s, head_s, None, retry_after_s)


def breaks(kind: Kind, after_s: float = 0.5) -> Reply:
    """Fails after its first content."""
    return Reply(kind, after_s, 0.05, 0.1)


SILENT = Reply(Kind.IDLE_TIMEOUT, math.inf, math.inf, None)  # accepts, and nothing more
HEAD_ONLY = Reply(Kind.IDLE_TIMEOUT, math.inf, 0.05, None)

Script = Callable[[float, int], Reply]


def always(reply: Reply) -> Script:
    return lambda _now, _count: reply


def first(*replies: Reply, then: Reply | None = None) -> Script:
    last = then or ok()
    return lambda _now, count: replies[count] if count < len(replies) else last


def until(moment: float, before: Reply, after: Reply | None = None) -> Script:
    later = after or ok()
    return lambda now, _count: before if now < moment else later


@dataclass
class Tried:
    """One attempt that was made."""

    at: float
    key: str
    command: Try


@dataclass
class Request:
    """One request in the world, and what came of it."""

    at: float
    engine: Generator[Any, Any, None]
    call: Call
    tried: list[Tried] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    answer: Answer | None = None
    served_by: str | None = None
    ended_at: float | None = None
    left: bool = False

    @property
    def keys(self) -> list[str]:
        return [one.key for one in self.tried]

    @property
    def failure(self) -> Failure:
        assert self.answer is not None, "the request was answered"
        return self.answer.failure


class World:
    """Targets, the state about them, and a clock."""

    def __init__(
        self, *routes: Route, seed: int = 1, rng: Callable[[], float] | None = None, **scripts: Script
    ) -> None:
        self.now = 1000.0
        self.rng = rng or random.Random(seed).random
        self.transitions: list[Transition] = []
        self.book = HealthBook(self.rng, self.transitions.append)
        self.balances = Balances(self.rng)
        self.budget = RetryBudget(BudgetSettings())
        self.routes = {route.name: route for route in routes}
        self.snapshot = snapshot(*routes)
        self.book.adopt(self.snapshot, self.now)
        self.scripts: dict[str, Script] = scripts  # by provider
        self.counts: dict[str, int] = {}
        self.tried: list[Tried] = []
        self.requests: list[Request] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def state(self, key: str) -> TargetState:
        found = self.book.find(key)
        assert found is not None, key
        return found

    def at(self, moment: float, act: Callable[[], None]) -> None:
        """Have something done at a moment of the clock."""
        heapq.heappush(self._queue, (moment, next(self._order), act))

    def request(self, at: float | None = None, route: str = "r", asked: Call | None = None) -> Request:
        """Put a request into the world, now or later."""
        moment = self.now if at is None else at
        made = asked or call()
        engine = failover(self.routes[route], made, self.book, self.balances, self.budget, now=moment, rng=self.rng)
        request = Request(moment, engine, made)
        self.requests.append(request)
        self.at(moment, lambda: self._send(request, None))
        return request

    def leave(self, request: Request, at: float) -> None:
        """Its client goes away at that moment."""

        def go() -> None:
            if request.ended_at is None:
                request.left = True
                request.ended_at = self.now
                request.engine.close()

        self.at(at, go)

    def run(self, until: float = math.inf) -> None:
        """Let the clock run until nothing is left to happen, or until that moment."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, act = heapq.heappop(self._queue)
            act()
        if until < math.inf:
            self.now = until

    def attempts_at(self, name: str, since: float = 0.0, before: float = math.inf) -> list[Tried]:
        return [one for one in self.tried if one.key.startswith(f"{name}/") and since <= one.at < before]

    def idle(self) -> bool:
        """Whether no slot is held anywhere."""
        return all(
            state.in_flight == 0 and state.breaker.probes == 0 and not state.breaker.reserved
            for state in self.book.states
        )

    # The driver.

    def _send(self, request: Request, event: Any) -> None:
        if request.left:
            return
        try:
            command = next(request.engine) if event is None else request.engine.send(event)
        except StopIteration:
            request.served_by = request.tried[-1].key
            request.ended_at = self.now
            return
        if isinstance(command, Try):
            self._try(request, command)
        elif isinstance(command, Wait):
            request.waits.append(command.seconds)
            moment = self.now + command.seconds
            self.at(moment, lambda: self._send(request, Elapsed(moment)))
        elif isinstance(command, Answer):
            request.answer = command
            request.ended_at = self.now
            assert next(request.engine, None) is None, "an answer is the last command"

    def _try(self, request: Request, command: Try) -> None:
        name, sent = command.target.provider.name, self.now
        nth = self.counts[name] = self.counts.get(name, 0) + 1
        reply = self.scripts.get(name, always(ok()))(sent, nth - 1)
        tried = Tried(sent, command.target.key, command)
        self.tried.append(tried)
        request.tried.append(tried)
        moment, kind, is_content = _first_event(reply, command.limits, request.call, sent)
        head = reply.head_s <= moment - sent

        def end(at: float, how: Kind | None) -> None:
            failure = None if how is None else Failure(how, str(how), retry_after_s=reply.retry_after_s)
            self.at(at, lambda: self._send(request, End(at, at - sent, failure, head)))

        if not is_content:
            end(moment, kind)
            return

        def content() -> None:
            if request.left:
                return
            relay = request.engine.send(Content(moment, moment - sent, reply.head_s))
            assert isinstance(relay, Relay)
            expires = sent + reply.after_s > command.limits.total_at
            end(min(sent + reply.after_s, command.limits.total_at), Kind.DEADLINE if expires else reply.kind)

        self.at(moment, content)


def _first_event(reply: Reply, limits: Limits, asked: Call, sent: float) -> tuple[float, Kind | None, bool]:
    """When the first thing happens, what it is, and whether it is content."""
    total = Kind.CLIENT_DEADLINE if limits.total_is_clients else Kind.DEADLINE
    silence = Kind.CLIENT_DEADLINE if limits.read_is_clients else Kind.FIRST_TOKEN_TIMEOUT
    wait_s = limits.first_token_s if asked.stream else limits.answer_s
    if asked.stream and reply.first_s is not None:
        happens = (sent + reply.first_s, 3, reply.kind, True)
    else:
        happens = (sent + reply.after_s, 3, reply.kind, False)
    ends = [happens, (sent + wait_s, 1, silence, False), (limits.total_at, 2, total, False)]
    if limits.head_s is not None and reply.head_s > limits.head_s:
        ends.append((sent + limits.head_s, 0, Kind.FIRST_TOKEN_TIMEOUT, False))
    at, _, kind, is_content = min(ends, key=lambda one: one[:2])
    return at, kind, is_content


def with_attempts(route: Route, **fields: Any) -> Route:
    return msgspec.structs.replace(route, attempts=msgspec.structs.replace(AttemptSettings(), **fields))


def with_timeouts(route: Route, **fields: Any) -> Route:
    return msgspec.structs.replace(route, timeouts=msgspec.structs.replace(Timeouts(), **fields))


def with_client(**limits: float) -> Call:
    return call(limits=ClientLimits(**limits))
