"""The most ordinary stream: it begins with content, its events pass, and it ends as it should.

All else is for the `Answer` that it goes on as, which takes over what has come of it: see `ordinary`.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from sidecar.dialects.forms import StreamTap, Whole
from sidecar.manager.answer import Answer
from sidecar.manager.ordinary import Ordinary
from sidecar.manager.rooms import Rooms
from sidecar.manager.trail import Trail
from sidecar.model.request import Call
from sidecar.upstream.call import GRACE_S
from sidecar.upstream.prompt import Come, Sent
from sidecar.upstream.transport import PromptReply, TransportError

__all__ = ["OrdinaryStream"]


class OrdinaryStream(Ordinary):
    """Such a stream, asked for; `opened` gives its first content, `read_now` the rest."""

    __slots__ = ("_come_last", "_idle_s", "_total_at", "ending", "head_at", "heard_at", "reply", "tap")

    streams = True

    def __init__(self, rooms: Rooms, call: Call, active: set[Any], trail: Trail, *, began: float, sent: Sent) -> None:
        super().__init__(rooms, call, active, trail, began=began, sent=sent)
        idle_s, read_s = trail.route.timeouts.idle_s, call.limits.read_s
        self._idle_s = idle_s if read_s is None else min(idle_s, read_s)
        self._total_at = began + self.total_s
        self._come_last = b""  # it does not just pass, and is still to be read
        self.reply: PromptReply | None = None  # when its head has come
        self.tap: StreamTap
        self.head_at: float
        self.heard_at: float
        self.ending = False

    def opened(self) -> bool | None:
        """See `Answer.opened`."""
        if self._stopped is not None or self.content_at is not None:
            return None
        launched, reply = self._sent.launched, self.reply
        if reply is None:
            reply = launched.response_now()
            if reply is None:
                return None if launched.broken else False
            headers = self._trail.account.shown(reply.headers)
            if reply.status != 200 or not headers.get("content-type", "").startswith("text/event-stream"):
                return None
            self.reply, self.provider_headers, self.tap = reply, headers, self._sent.form.tap()
            self.head_at = self.heard_at = monotonic()
        data = self._taken(reply)
        if not data:
            return False if data is None else None
        tap = self.tap
        self.body = self._fed(data)
        if tap.fault is not None or (tap.done and not tap.committed):
            return None
        if not tap.committed:
            return None if reply.over else False
        self.content_at = now = self.heard_at
        self.waited_s = now - self._asked
        self._trail.state.speed.content_came(now - self.began, self.head_at - self.began, now)
        self._tell()
        self._progress(now)
        return True

    def flow(self, taker: Callable[[bytes, bytes], None]) -> None:
        """Have this called with whatever comes of the rest; it must ask whether that `passes`."""
        self._sent.launched.flow(taker)

    def passes(self, come: bytes) -> bool:
        """Whether this goes to the client as it is, and says nothing new; else `read_now` gives what does."""
        self.provider_bytes += len(come)
        self.heard_at = now = monotonic()
        self.due = due = now + self._idle_s
        mould = self.tap.mould
        if mould is not None and due < self._total_at and mould.fits(come):
            return True
        self._come_last = come
        return False

    def read_now(self) -> bytes | None:
        """See `Answer.read_now`."""
        come, reply = self._come_last, self.reply
        if come:
            self._come_last = b""
        elif reply is None or self.ending or self._stopped is not None:
            return b""
        else:
            taken = self._taken(reply)
            if not taken:
                return taken
            come = taken
        passed = self._fed(come)
        self._progress(self.heard_at)
        return passed or (b"" if self.ending else None)

    def ended_now(self) -> bytes | None:
        """See `Answer.ended_now`."""
        tap, reply = self.tap, self.reply
        if tap.fault is not None or not (tap.done and tap.complete) or reply is None or reply.take_rest() is None:
            return None
        closing = tap.closing()
        self.waited_s = self.heard_at - self._asked
        self.malformed = tap.malformed
        self._end_well(Whole(b"", tap.model, tap.finish_reason, tap.usage), monotonic(), answer_s=None)
        return closing

    def going_on(self) -> Answer:
        """See `Ordinary.going_on`."""
        if self.content_at is not None and self._recorder is None:
            self._serve()
        return super().going_on()

    def _come(self) -> Come | None:
        return None if self.reply is None else self  # type: ignore[return-value]  # its reply has come

    def _taken(self, reply: PromptReply) -> bytes | None:
        """What has come; b"" when there will be no more, or not what is due."""
        try:
            data = reply.take()
        except TransportError:
            return b""
        if data:
            self.provider_bytes += len(data)
            self.heard_at = monotonic()
        return data

    def _fed(self, data: bytes) -> bytes:
        form, passed = self._sent.form, self.tap.feed(data)
        return form.shaped(passed) if form.translates else passed

    def _progress(self, now: float) -> None:
        """Something came: the next silence is counted from now, as `Exchange` does it."""
        tap, reply = self.tap, self.reply
        self.due = min(now + (GRACE_S if tap.complete else self._idle_s), self._total_at)
        # If it is over, nobody will be told of it.
        self.ending = tap.done or tap.fault is not None or reply is None or reply.over
