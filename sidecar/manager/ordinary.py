"""The most ordinary request: answered by the first target of its route, or by the one whose turn it is.

There is nothing in its way. Nearly every request is one of these, so it is spared what it does not need: the
engine and its plan, which choose among many, and the exchange, which waits and times. What does not change from
one to the next while a snapshot is in force is found out once: that is a `Trail`. Where a pool takes turns the
trail forks, to each of its members.

As soon as anything is not ordinary after all (the target refuses, breaks off, is late; the client leaves;
somebody stops it), `going_on` makes an `Answer` of it that goes on from where it is, as if it had been one
from the beginning. So this file knows the one good way of a whole answer, `ordinary_stream` that of a stream,
and neither any rule about another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import msgspec

from sidecar.dialects.forms import Whole
from sidecar.manager.answer import Answer
from sidecar.manager.headers import ReplyHeaders
from sidecar.manager.recorder import Recorder
from sidecar.manager.rooms import Rooms
from sidecar.manager.stencil import Stencil
from sidecar.manager.trail import Trail
from sidecar.model.failures import Failure
from sidecar.model.hub import Loss
from sidecar.model.records import AttemptRecord, Outcome, Usage
from sidecar.model.request import UNLIMITED, Call
from sidecar.model.topology import Dialect
from sidecar.routing.breaker import BreakerState
from sidecar.upstream.prompt import GATHERED_BYTES, Come, Sent

__all__ = ["Ordinary"]

_CLOSED = BreakerState.CLOSED
_NEVER = float("inf")
_NOTHING_YET = Whole(b"")


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
    malformed_events: int
    connect_s: float | None = None
    reused: bool | None = True
    served: bool = True
    status: int | None = 200


class Ordinary:
    """Such a request, sent; to be treated as an `Answer` is that was not `open`ed, until it goes on as one."""

    # One name a line would fill a screen.
    # fmt: off
    __slots__ = (
        "_active", "_asked", "_attempt", "_epoch", "_listener", "_recorder", "_rooms", "_sent", "_stopped", "_trail",
        "answered", "began", "body", "call", "content_at", "due", "headers", "malformed", "provider_bytes",
        "provider_headers", "waited_s", "whole",
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
        self._attempt: AttemptRecord | None = None
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
        self.malformed = 0
        self.provider_headers: Mapping[str, str]
        self.provider_bytes = 0
        self.content_at: float | None = None
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
        sent = self._sent
        launched = sent.launched
        come = launched.whole_now()
        if come is None:
            return None if launched.broken or launched.held_bytes > GATHERED_BYTES else False
        status, headers, body = come
        self.waited_s = monotonic() - self._asked
        self.provider_headers = provider_headers = self._trail.account.shown(headers)
        if status != 200 or provider_headers.get("content-type", "").startswith("text/event-stream"):
            return None
        whole = sent.form.whole(body, streamed=False)
        if isinstance(whole, Failure):
            return None
        launched.take_whole()
        self.body = whole.body
        self.provider_bytes = len(body)
        self.content_at = now = monotonic()
        self._end_well(whole, now, answer_s=now - self.began)
        self._tell()
        return True

    def going_on(self) -> Answer:
        """The same as an `Answer`, which takes everything over."""
        is_over = self.whole is not None
        recorder = self._recorded() if is_over else self._recorder or self._recorder_of_its_own()
        answer = Answer(self._rooms, self.call, self._active, recorder=recorder)
        self._active.discard(self)
        self._listener = None
        if not is_over:
            command, come = self._trail.command, self._come()
            answer.resume(command, self._epoch, self._sent, come, began=self.began, asked=self._asked)
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
        if self.whole is None:
            self.going_on().close(bytes_out=bytes_out, gone=gone)
            return
        self._active.discard(self)
        trail = self._trail
        stencil, is_like_others = trail.stencil, not (gone or self.malformed or self._sent.form.losses)
        if self._recorder is None and stencil is not None and is_like_others and trail.state.breaker.state is _CLOSED:
            stencil.write(self, bytes_out=bytes_out)
            return
        recorder = self._recorded()
        recorder.close(bytes_out=bytes_out, gone=gone)
        attempt, request = self._attempt, recorder.request
        if stencil is None and attempt is not None and Stencil.fits(attempt, request):
            rooms, facts, headers = self._rooms, trail.way.wire.facts, self.headers
            assert isinstance(headers, ReplyHeaders)
            trail.stencil = Stencil(attempt, request, headers.shared, facts, log=rooms.log, metrics=rooms.metrics)

    def _come(self) -> Come | None:
        """What has come of it and was taken, if it is not over."""
        return None

    def _end_well(self, whole: Whole, now: float, *, answer_s: float | None) -> None:
        """The provider has given all of a good answer."""
        self._listener = None  # who listens holds this: the circle would wait for the collector
        self.whole = whole
        self.answered = now
        trail = self._trail
        trail.state.release(self._epoch)
        trail.state.succeed(self._epoch, now, alone=trail.alone, answer_s=answer_s)

    def _tell(self) -> None:
        """There is something to send: its headers, from the stencil or, if it is the first of its trail, by itself."""
        stencil = self._trail.stencil
        if stencil is None or self._sent.form.losses:
            self._serve()
        else:
            self.headers = stencil.headers(self.call, self.provider_headers)

    def _recorder_of_its_own(self) -> Recorder:
        rooms = self._rooms
        recorder = Recorder(self.call, rooms.snapshot.generation, rooms.log, rooms.metrics, self.began)
        self._recorder = recorder
        recorder.request.route = self._trail.route.name
        return recorder

    def _serve(self) -> Recorder:
        """Write down, as of any request, that there is something to send."""
        recorder, command, heard = self._recorder_of_its_own(), self._trail.command, self._heard()
        assert self.content_at is not None
        recorder.serves(heard, command, self.content_at)
        self.headers = recorder.headers(heard, command)
        return recorder

    def _recorded(self) -> Recorder:
        """The attempt has its line, as that of any request."""
        recorder = self._recorder or self._serve()
        if self._attempt is None:
            self._attempt = recorder.attempted(self._heard(), self._trail.command, Outcome.OK, None, now=self.answered)
        return recorder

    def _heard(self) -> _Heard:
        whole, form = self.whole or _NOTHING_YET, self._sent.form
        return _Heard(
            self.began,
            self.waited_s,
            None if self.content_at is None else self.content_at - self.began,
            self.provider_bytes,
            self.provider_headers,
            self._sent.dialect,
            form.translates,
            form.losses,
            whole.model,
            whole.finish_reason,
            whole.usage,
            self.malformed,
        )
