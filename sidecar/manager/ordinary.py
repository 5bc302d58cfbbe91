"""The most ordinary request: one whole answer from the first target of its route, with nothing in its way.

Nearly every request without a stream is one of these, so it is spared what it does not need: the engine
and its plan, which choose among many, and the exchange, which waits, times and reads streams. As soon as
anything is not ordinary after all (the target refuses, breaks off, is late; the client leaves; somebody
stops it), `going_on` makes an `Answer` of it that goes on from where it is, as if it had been one from the
beginning. So this file knows the one good way, and no rule about any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from sidecar.manager.answer import Answer
from sidecar.manager.recorder import Recorder
from sidecar.manager.rooms import Rooms
from sidecar.model.errors import LLMError
from sidecar.model.failures import Failure
from sidecar.model.hub import Loss
from sidecar.model.records import Outcome, Selection
from sidecar.model.request import NEEDLESS, Call
from sidecar.model.settings import OnLoss
from sidecar.model.topology import Operation, Route
from sidecar.routing.breaker import BreakerState
from sidecar.routing.commands import UNTIMED, Try
from sidecar.routing.health import AdminState
from sidecar.routing.plan import suits
from sidecar.upstream.call import form_for
from sidecar.upstream.prompt import Sent
from sidecar.upstream.transport import UpstreamRequest

__all__ = ["Ordinary", "ordinary"]

_OPERATIONS = frozenset({Operation.CHAT, Operation.COMPLETIONS, Operation.MESSAGES, Operation.GENERATE})
_READY, _CLOSED, _PRIMARY = AdminState.READY, BreakerState.CLOSED, Selection.PRIMARY
_GATHERED_BYTES = 128 * 1024  # of an answer that nobody waits for; a longer one is read piece by piece
_NEVER = float("inf")


def ordinary(rooms: Rooms, call: Call, active: set[Any]) -> Ordinary | None:
    """The request as an ordinary one, which is then sent; None if it is not, and then nothing was done.

    Args:
        rooms: Those of the snapshot in force when the request came.
        call: What is asked.
        active: Holds every answer that is not closed yet.
    """
    peek, now = call.peek, monotonic()
    if peek.stream or call.strict or call.operation not in _OPERATIONS:
        return None
    try:
        route = rooms.router.resolve(peek.model, override=call.route)
    except LLMError:
        return None
    members = route.chain[0].members
    if len(members) != 1 or members[0].weight <= 0:
        return None
    target = members[0].target
    state = rooms.book.state(target, now)
    if state.admin is not _READY or state.breaker.state is not _CLOSED or state.refusal(now) is not None:
        return None
    if peek.needs is not NEEDLESS and not suits(target, call):
        return None
    account = rooms.registry.account(target.provider)
    way = account.way(call.operation, target.model, call.headers, stream=False)
    if way.endpoint is None or way.path is None or way.losses or account.prompt is None:
        return None
    try:
        form = form_for(call, way.endpoint, way)
        if form.losses and route.on_loss is OnLoss.REJECT:
            return None
        request = UpstreamRequest("POST", way.path, way.headers, form.body)
        launched = account.prompt.launch(request)
    except Exception:  # noqa: BLE001 - whatever it is: an `Answer` meets it too, and tells of it
        return None
    if launched is None:
        return None
    rooms.budget.deposit(now)
    command = Try(target, state, _PRIMARY, 1, UNTIMED, _CLOSED)
    sent = Sent(form, request, launched, way.dialect)
    return Ordinary(rooms, call, active, route, command, began=now, sent=sent)


class Ordinary:
    """Such a request, sent; to be treated as an `Answer` is that was not `open`ed, until it goes on as one."""

    # One name a line would fill a screen.
    # fmt: off
    __slots__ = (
        "_active", "_asked", "_call", "_command", "_epoch", "_listener", "_recorder", "_rooms", "_route", "_sent",
        "_stopped", "began", "body", "bytes_out", "dialect", "due", "finish_reason", "first_token_s", "headers",
        "losses", "model_served", "provider_headers", "status", "translates", "usage", "waited_s",
    )
    # fmt: on

    # The same of all of these.
    connect_s: float | None = None
    failure: Failure | None = None
    malformed_events = 0
    reused: bool | None = True
    served = True
    streams = False

    def __init__(
        self, rooms: Rooms, call: Call, active: set[Any], route: Route, command: Try, *, began: float, sent: Sent
    ) -> None:
        self._rooms = rooms
        self._call = call
        self._active = active
        self._route = route
        self._command = command
        self._epoch = command.state.begin(began)
        self._sent: Sent | None = sent  # None: the answer has come
        self._recorder = recorder = Recorder(call, rooms.snapshot.generation, rooms.log, rooms.metrics, began)
        recorder.request.route = route.name
        self._stopped: Failure | None = None
        self._listener: Callable[[], None] | None = None
        self.dialect = sent.dialect
        self.translates = sent.form.translates
        self.losses: Sequence[Loss] = sent.form.losses
        self.began = began
        self._asked = asked = monotonic()
        # No later than the true deadline, which whoever goes on finds out.
        own_s, theirs = command.state.speed.answer_limit(route.timeouts.answer), call.limits
        self.due = asked + min(own_s, route.timeouts.total_s, theirs.read_s or _NEVER, theirs.total_s or _NEVER)
        self.status: int | None = None
        self.first_token_s: float | None = None
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        active.add(self)

    @property
    def total_s(self) -> float:
        """See `Answer.total_s`."""
        return min(self._route.timeouts.total_s, self._call.limits.total_s or _NEVER)

    def launch(self, listener: Callable[[], None]) -> bool | None:
        """See `Answer.launch`; it was sent already."""
        assert self._sent is not None
        launched = self._sent.launched
        launched.listen(listener)
        self._listener = listener
        return None if launched.broken else False

    def opened(self) -> bool | None:
        """See `Answer.opened`; what is not ordinary is left untouched for whoever goes on."""
        sent = self._sent
        if sent is None or self._stopped is not None:
            return None
        launched = sent.launched
        whole = launched.whole_now()
        if whole is None:
            return None if launched.broken or launched.held_bytes > _GATHERED_BYTES else False
        status, headers, body = whole
        self.waited_s = monotonic() - self._asked
        self.provider_headers: Mapping[str, str] = dict(headers)
        if status != 200 or self.provider_headers.get("content-type", "").startswith("text/event-stream"):
            return None
        answer = sent.form.whole(body, streamed=False)
        if isinstance(answer, Failure):
            return None
        launched.take_whole()
        self._sent = self._listener = None  # who listens holds this: the circle would wait for the collector
        now = monotonic()
        self.body, self.status, self.bytes_out = answer.body, status, len(body)
        self.model_served, self.finish_reason, self.usage = answer.model, answer.finish_reason, answer.usage
        self.first_token_s = duration_s = now - self.began
        command, recorder = self._command, self._recorder
        command.state.release(self._epoch)
        command.state.succeed(self._epoch, now, alone=len(self._route.chain) == 1, answer_s=duration_s)
        recorder.serves(self, command, now)
        recorder.attempted(self, command, Outcome.OK, None, now=now)
        self.headers = recorder.headers(self, command)
        return True

    def going_on(self) -> Answer:
        """The same as an `Answer`, which takes everything over."""
        answer = Answer(self._rooms, self._call, self._active, recorder=self._recorder)
        self._active.discard(self)
        sent, self._sent, self._listener = self._sent, None, None
        if sent is not None:
            answer.resume(self._command, self._epoch, sent, began=self.began, asked=self._asked)
        if self._stopped is not None:
            answer.stop(self._stopped)
        return answer

    def stop(self, failure: Failure) -> None:
        """See `Answer.stop`."""
        self._stopped = failure
        if self._listener is not None:
            self._listener()

    def close(self, *, bytes_out: int = 0, gone: bool = False) -> None:
        """See `Answer.close`."""
        if self._sent is not None:
            self.going_on().close(bytes_out=bytes_out, gone=gone)
        elif self in self._active:
            self._active.discard(self)
            self._recorder.close(bytes_out=bytes_out, gone=gone)
