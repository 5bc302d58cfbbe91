"""What ordinary requests have in common while a snapshot is in force, found out once and kept with its rooms.

Knows what makes a request's first attempt the same as the one before; knows nothing of what becomes of it.
"""

from __future__ import annotations

from time import monotonic
from typing import TypeVar

from sidecar.dialects.forms import Form, PlainRelay, plain_relay, takes_long
from sidecar.manager.rooms import Rooms
from sidecar.manager.stencil import Stencil
from sidecar.model.errors import LLMError
from sidecar.model.records import Selection
from sidecar.model.request import Call, recurs
from sidecar.model.settings import Rescue, StreamMode, StreamSettings
from sidecar.model.topology import Member, Operation, Pool, Route
from sidecar.routing.breaker import BreakerState
from sidecar.routing.commands import UNTIMED, Try
from sidecar.routing.plan import suits
from sidecar.upstream.account import Account, Way
from sidecar.upstream.asking import form_for
from sidecar.upstream.transport import UpstreamRequest

__all__ = ["Fork", "Trail", "branch", "trail_for"]

_OPERATIONS = frozenset({Operation.CHAT, Operation.COMPLETIONS, Operation.MESSAGES, Operation.GENERATE})
_CLOSED, _PRIMARY = BreakerState.CLOSED, Selection.PRIMARY
_TRAILS_MAX = 2048  # a client can make up headers


class Trail:
    """What ordinary requests for one model have in common while a snapshot is in force.

    Args:
        route: What the model means.
        command: The attempt that each of them begins with.
        account: Of the target's provider.
        way: How it is asked, which can be done without waiting.
        relay: The form of all of them, if there is such a one.
        stream: They ask for one.
    """

    # fmt: off
    __slots__ = (
        "_endpoint", "_path", "_relay", "account", "alone", "command", "patience_s", "prompt", "route", "state",
        "stencil", "way",
    )
    # fmt: on

    def __init__(
        self, route: Route, command: Try, account: Account, way: Way, relay: PlainRelay | None, *, stream: bool
    ) -> None:
        assert way.endpoint is not None
        assert way.path is not None
        assert account.prompt is not None
        self._endpoint = way.endpoint
        self._path = way.path
        self._relay = relay
        self.route = route
        self.command = command
        self.state = command.state
        self.account = account
        self.prompt = account.prompt
        self.way = way
        self.alone = len(route.chain) == 1 and len(route.chain[0].members) == 1
        # The least that an answer, or the first of it, is waited for; who goes on then finds out how much longer.
        limit = route.timeouts.first_token if stream else route.timeouts.answer
        self.patience_s = min(route.timeouts.total_s, limit.min_s if limit.fixed_s is None else limit.fixed_s)
        self.stencil: Stencil | None = None  # of lines and headers, when the first of them were written

    def asked(self, call: Call) -> tuple[Form, UpstreamRequest] | None:
        """How a call is asked, unless that takes long to find out; raises as `form_of` does."""
        relay = self._relay
        if relay is not None:
            return relay, UpstreamRequest("POST", self._path, self.way.headers, relay.asked(call.peek))
        if takes_long(call, self._endpoint):
            return None
        form = form_for(call, self._endpoint, self.way)
        return form, UpstreamRequest("POST", self._path, self.way.headers, form.body)


class Fork:
    """What ordinary requests for one model have in common whose route begins with a pool."""

    __slots__ = ("pool", "route")

    def __init__(self, route: Route, pool: Pool) -> None:
        self.route = route
        self.pool = pool

    def next(self, rooms: Rooms, call: Call, now: float) -> int | None:
        """The place of the member to ask if it is well; None if the engine must choose."""
        members = self.pool.members

        def is_well(place: int) -> bool:
            target = members[place].target
            return rooms.book.state(target, now).is_ordinary and suits(target, call)

        return rooms.balances.next(self.pool, is_well)


_Made = TypeVar("_Made", Trail, Fork)


def trail_for(rooms: Rooms, call: Call, key: tuple[object, ...]) -> Trail | Fork | None:
    """The trail of such requests, or where it forks, which is kept under this key; None if there is none."""
    if call.operation not in _OPERATIONS:
        return None
    try:
        route = rooms.router.resolve(call.peek.model, override=call.route)
    except LLMError:
        return None
    if call.stream and not _flows(route.stream):
        return None
    pool = route.chain[0]
    if len(pool.members) == 1:
        return branch(rooms, call, key, route, pool.members[0])
    if pool.sticky is not None:
        return None
    return _kept(rooms, call, key, Fork(route, pool))


def branch(rooms: Rooms, call: Call, key: tuple[object, ...], route: Route, member: Member) -> Trail | None:
    """The trail to one target, which is kept under this key; None if there is none."""
    if member.weight <= 0:
        return None
    target = member.target
    account = rooms.registry.account(target.provider)
    way = account.way(call.operation, target.model, call.headers, stream=call.stream)
    if way.endpoint is None or way.path is None or way.losses or account.prompt is None:
        return None
    command = Try(target, rooms.book.state(target, monotonic()), _PRIMARY, 1, UNTIMED, _CLOSED)
    relay = plain_relay(call, way.endpoint, way.wire, way.params)
    trail = Trail(route, command, account, way, relay, stream=call.stream)
    return _kept(rooms, call, key, trail)


def _flows(stream: StreamSettings) -> bool:
    """Whether such streams are given as they come, by one target, and nothing else is done for them."""
    asks_more = stream.hedge is not None or stream.rescue is Rescue.CONTINUE or stream.sse_keepalive_s is not None
    return stream.mode is StreamMode.LIVE and not asks_more


def _kept(rooms: Rooms, call: Call, key: tuple[object, ...], made: _Made) -> _Made:
    if not made.route.minted and recurs(call.headers):
        if len(rooms.trails) >= _TRAILS_MAX:
            rooms.trails.clear()
        rooms.trails[key] = made
    return made
