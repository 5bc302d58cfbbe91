"""The most ordinary request: one whole answer from the first target of its route, or from the one whose turn it is.

There is nothing in its way. Nearly every request without a stream is one of these, so it is spared what it
does not need: the engine and its plan, which choose among many, and the exchange, which waits, times and reads
streams. What does not change from one to the next while a snapshot is in force is found out once: that is a
`Trail`. Where a pool takes turns the trail forks, to each of its members.

As soon as anything is not ordinary after all (the target refuses, breaks off, is late; the client leaves;
somebody stops it), `going_on` makes an `Answer` of it that goes on from where it is, as if it had been one
from the beginning. So this file knows the one good way, and no rule about any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import msgspec

from sidecar.dialects.dialect import Untranslatable
from sidecar.dialects.forms import Whole
from sidecar.manager.answer import Answer
from sidecar.manager.headers import ReplyHeaders
from sidecar.manager.recorder import Recorder
from sidecar.manager.rooms import Rooms
from sidecar.manager.stencil import Stencil
from sidecar.manager.trail import Fork, Trail, branch, trail_for
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure
from sidecar.model.hub import Loss
from sidecar.model.records import Outcome, Usage
from sidecar.model.request import NEEDLESS, UNLIMITED, Call
from sidecar.model.settings import OnLoss
from sidecar.model.topology import Dialect
from sidecar.routing.breaker import BreakerState
from sidecar.routing.plan import suits
from sidecar.upstream.prompt import GATHERED_BYTES, Sent

__all__ = ["Ordinary", "ordinary"]

_CLOSED = BreakerState.CLOSED
_NEVER = float("inf")


def ordinary(rooms: Rooms, call: Call, active: set[Any]) -> Ordinary | None:
    """The request as an ordinary one, which is then sent; None if it is not, and then nothing was done.

    Args:
        rooms: Those of the snapshot in force when the request came.
        call: What is asked.
        active: Holds every answer that is not closed yet.
    """
    peek = call.peek
    if peek.stream or call.strict:
        return None
    now = monotonic()
    key: tuple[object, ...] = (peek.model, call.operation, call.route, call.headers)
    trail: Trail | Fork | None = rooms.trails.get(key) or trail_for(rooms, call, key)
    pool, place = None, None
    if type(trail) is Fork:
        pool, route = trail.pool, trail.route
        place = rooms.balances.next(pool)
        if place is None:
            return None
        key = (key, place)
        trail = rooms.trails.get(key) or branch(rooms, call, key, route, pool.members[place])
    if type(trail) is not Trail or not trail.state.is_ordinary:
        return None
    target = trail.command.target
    if peek.needs is not NEEDLESS and not suits(target, call):
        return None
    if rooms.registry.account(target.provider) is not trail.account:  # its connections were closed
        rooms.trails.pop(key, None)
        return None
    try:
        form, request = trail.asked(call)
        launched = None if form.losses and trail.route.on_loss is OnLoss.REJECT else trail.prompt.launch(request)
    except (ValidationError, Untranslatable):
        return None
    except Exception as error:  # noqa: BLE001 - a bug, or an account's header that is none: an `Answer` tells the client
        context = {"message": f"request {call.request_id} is no ordinary one by a bug", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
        return None
    if launched is None:
        return None
    if pool is not None and place is not None:
        rooms.balances.took(pool, place)
    rooms.budget.deposit(now)
    return Ordinary(rooms, call, active, trail, began=now, sent=Sent(form, request, launched, trail.way.dialect))


class _Heard(msgspec.Struct):
    """A good answer, as a `Recorder` reads attempts."""

    began: float
    waited_s: float
    first_token_s: float | None
    bytes_out: int
    provider_headers: Mapping[str, str]
    dialect: Dialect
    translates: bool
    losses: Sequence[Loss]
    model_served: str | None
    finish_reason: str | None
    usage: Usage | None
    connect_s: float | None = None
    malformed_events: int = 0
    reused: bool | None = True
    served: bool = True
    status: int | None = 200


class Ordinary:
    """Such a request, sent; to be treated as an `Answer` is that was not `open`ed, until it goes on as one."""

    # One name a line would fill a screen.
    # fmt: off
    __slots__ = (
        "_active", "_asked", "_attempt", "_epoch", "_listener", "_recorder", "_rooms", "_sent", "_stopped", "_trail",
        "answered", "began", "body", "call", "due", "headers", "provider_bytes", "provider_headers", "waited_s",
        "whole",
    )
    # fmt: on

    status = 200  # of all that it answers itself
    streams = False

    def __init__(self, rooms: Rooms, call: Call, active: set[Any], trail: Trail, *, began: float, sent: Sent) -> None:
        self._rooms = rooms
        self.call = call
        self._active = active
        self._trail = trail
        self._sent = sent
        self._epoch = trail.state.begin(began)
        self.whole: Whole | None = None  # the answer, when it has come
        self._recorder: Recorder | None = None
        self._stopped: Failure | None = None
        self._listener: Callable[[], None] | None = None
        self.began = began
        self._asked = monotonic()
        self.due = began + trail.patience_s
        limits = call.limits
        if limits is not UNLIMITED:
            self.due = min(self.due, began + (limits.read_s or _NEVER), began + (limits.total_s or _NEVER))
        self.headers: ReplyHeaders | Sequence[tuple[str, str]] = ()
        self.body = b""
        active.add(self)

    @property
    def total_s(self) -> float:
        """See `Answer.total_s`."""
        return min(self._trail.route.timeouts.total_s, self.call.limits.total_s or _NEVER)

    def launch(self, listener: Callable[[], None]) -> bool | None:
        """See `Answer.launch`; it was sent already."""
        launched = self._sent.launched
        launched.listen(listener)
        self._listener = listener
        return None if launched.broken else False

    def opened(self) -> bool | None:
        """See `Answer.opened`; what is not ordinary is left untouched for whoever goes on."""
        if self.whole is not None or self._stopped is not None:
            return None
        sent, trail = self._sent, self._trail
        launched = sent.launched
        come = launched.whole_now()
        if come is None:
            return None if launched.broken or launched.held_bytes > GATHERED_BYTES else False
        status, headers, body = come
        self.waited_s = monotonic() - self._asked
        provider_headers = dict(headers)
        if status != 200 or provider_headers.get("content-type", "").startswith("text/event-stream"):
            return None
        whole = sent.form.whole(body, streamed=False)
        if isinstance(whole, Failure):
            return None
        launched.take_whole()
        self._listener = None  # who listens holds this: the circle would wait for the collector
        self.answered = now = monotonic()
        self.whole, self.body = whole, whole.body
        self.provider_headers: Mapping[str, str] = provider_headers
        self.provider_bytes = len(body)
        trail.state.release(self._epoch)
        trail.state.succeed(self._epoch, now, alone=trail.alone, answer_s=now - self.began)
        if trail.stencil is None or sent.form.losses:
            self._record(whole)
        else:
            self.headers = trail.stencil.headers(self.call, provider_headers)
        return True

    def going_on(self) -> Answer:
        """The same as an `Answer`, which takes everything over."""
        recorder = self._recorder
        if recorder is None:
            recorder = self._recorder_of_its_own() if self.whole is None else self._record(self.whole)
        answer = Answer(self._rooms, self.call, self._active, recorder=recorder)
        self._active.discard(self)
        self._listener = None
        if self.whole is None:
            answer.resume(self._trail.command, self._epoch, self._sent, began=self.began, asked=self._asked)
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
        if self not in self._active:
            return
        whole, recorder, trail = self.whole, self._recorder, self._trail
        if whole is None:
            self.going_on().close(bytes_out=bytes_out, gone=gone)
            return
        self._active.discard(self)
        stencil = trail.stencil
        if recorder is None and stencil is not None and not gone and trail.state.breaker.state is _CLOSED:
            stencil.write(self, bytes_out=bytes_out)
            return
        recorder = recorder or self._record(whole)
        recorder.close(bytes_out=bytes_out, gone=gone)
        if stencil is None and Stencil.fits(self._attempt, recorder.request):
            rooms, facts, headers = self._rooms, trail.way.wire.facts, self.headers
            assert isinstance(headers, ReplyHeaders)
            trail.stencil = Stencil(
                self._attempt, recorder.request, headers.shared, facts, log=rooms.log, metrics=rooms.metrics
            )

    def _recorder_of_its_own(self) -> Recorder:
        rooms = self._rooms
        recorder = Recorder(self.call, rooms.snapshot.generation, rooms.log, rooms.metrics, self.began)
        self._recorder = recorder
        recorder.request.route = self._trail.route.name
        return recorder

    def _record(self, whole: Whole) -> Recorder:
        """Write the answer down as that of any request: it is the first of its trail, or not like the others."""
        recorder, command, form = self._recorder_of_its_own(), self._trail.command, self._sent.form
        heard = _Heard(
            self.began,
            self.waited_s,
            self.answered - self.began,
            self.provider_bytes,
            self.provider_headers,
            self._sent.dialect,
            form.translates,
            form.losses,
            whole.model,
            whole.finish_reason,
            whole.usage,
        )
        recorder.serves(heard, command, self.answered)
        self._attempt = recorder.attempted(heard, command, Outcome.OK, None, now=self.answered)
        self.headers = recorder.headers(heard, command)
        return recorder
