"""An attempt that is driven without waiting, by whoever is told what comes.

What is ordinary is done at once. Of all else these methods say that `start` or `read` must find out, which
go on from here: no rule about what is rare has a second home in this file.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol, cast

import msgspec

from sidecar.dialects.forms import Form, StreamTap
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure
from sidecar.model.settings import StreamMode
from sidecar.model.topology import Dialect
from sidecar.upstream.call import Exchange
from sidecar.upstream.transport import Launched, PromptReply, TransportError, UpstreamRequest

__all__ = ["GATHERED_BYTES", "Come", "PromptExchange", "Sent"]

GATHERED_BYTES = 128 * 1024  # of an answer that nobody waits for; a longer one is read piece by piece


class Sent(msgspec.Struct, frozen=True):
    """What is on its way to a provider."""

    form: Form
    request: UpstreamRequest
    launched: Launched
    dialect: Dialect  # of the request


class Come(Protocol):
    """What has come of a stream, as far as whoever sent its request has read it; moments are of the monotonic clock."""

    body: bytes  # what has passed the tap and was not sent
    content_at: float | None  # when its first content came, which was sent
    head_at: float
    heard_at: float  # when anything came last
    provider_bytes: int  # of its body
    reply: PromptReply
    tap: StreamTap


class PromptExchange(Exchange):
    """An exchange that can be launched, and then asked what has come."""

    __slots__ = ()

    def launch(self, listener: Callable[[], None]) -> bool:
        """Send without waiting, if that can be done; the listener is then called for whatever comes.

        Ask `started` whenever the listener is called.
        """
        prompt = self._account.prompt
        if prompt is None or self._stream.mode is not StreamMode.LIVE or self._asking.takes_long:
            return False
        try:
            request = self._take_up(*self._asking.put())
        except ValidationError:
            return False
        launched = None if isinstance(request, Failure) else prompt.launch(request, connect_s=self._limits.connect_s)
        if launched is None:
            return False
        self._launched, self._listener, self._asked = launched, listener, monotonic()
        launched.listen(listener)
        if launched.broken:  # the server had hung up: somebody who can wait must begin anew
            self._unlisten()
            return False
        self._await_head(self._asked)
        return True

    def adopt(self, sent: Sent, come: Come | None, *, began: float, asked: float) -> None:
        """Take over what was begun and sent at these moments, and what has come of it if that was read.

        `start` waits for the rest; `read` does if content has come.
        """
        form = sent.form
        self._form, self._request, self._launched = form, sent.request, sent.launched
        self.translates, self.losses = form.translates, form.losses
        sent.launched.listen(None)
        self.began, self._asked, self.waited_s = began, asked, monotonic() - asked
        self._await_head(asked)
        if come is None:
            return
        self._tap, self.body, self.bytes_out = come.tap, come.body, come.provider_bytes
        self._headed(come.reply)
        self.head_s = come.head_at - began
        if come.content_at is not None:
            self.first_token_s = come.content_at - began
            self.served = True
            self._progress(come.tap, come.heard_at)

    def started(self) -> bool | None:
        """Whether there is what `start` waits for; None when `start` must find out."""
        launched, reply = self._launched, self._prompt_reply
        if launched is None or self._stopped is not None:
            return self._unlisten()
        if reply is None:
            reply = launched.response_now()
            if reply is None:
                return self._unlisten() if launched.broken else False
            self._prompt_reply = reply
            self._headed(reply)
        if self.status != 200:
            return self._unlisten()
        if self._call.peek.stream and self._streams:
            return self._committed_now(reply)
        rest = reply.take_rest()
        if rest is None:
            return self._unlisten() if launched.broken or launched.held_bytes > GATHERED_BYTES else False
        self._count_wait()
        self.bytes_out += len(rest)
        self.failure = self._judged(rest)
        return True

    def _committed_now(self, reply: PromptReply) -> bool | None:
        tap = self._tap
        if tap is None:
            assert self._form is not None
            self._tap = tap = self._form.tap()
        data = self._taken(reply)
        if not data:
            return self._unlisten() if data is not None else False
        self.body = self._form_shaped(tap.feed(data))
        if tap.fault is not None or (tap.done and not tap.committed):
            return self._unlisten()
        if not tap.committed:
            return self._unlisten() if reply.over else False
        self._content_came(tap)
        self.ending = reply.over or _is_over(tap)
        return True

    def relaunch(self, listener: Callable[[], None]) -> bool:
        """Have the listener called for the rest of a stream that was waited for; False where waiting must go on."""
        tap, reply = self._tap, self._reply
        if self._account.prompt is None or self._stream.mode is not StreamMode.LIVE or self._stopped is not None:
            return False
        if tap is None or _is_over(tap) or self._ended or self.failure is not None:
            return False
        prompt_reply = cast(PromptReply, reply)  # as prompt transports give them
        launched = prompt_reply.launched
        if launched is None or prompt_reply.over:
            return False
        if self._own_watchdog is not None:
            self._own_watchdog.close()
            self._own_watchdog = None
        self._prompt_reply, self._launched, self._listener = prompt_reply, launched, listener
        self._asked = monotonic()
        launched.listen(listener)
        return True

    def read_now(self) -> bytes | None:
        """As `read`; None when nothing has come yet, b"" when `read` must find out."""
        tap, launched = self._tap, self._launched
        if tap is None or launched is None or self._stopped is not None or self.ending:
            return b""
        data = launched.more()
        if data is None:
            return self._read_last(tap)
        now, limits = monotonic(), self._limits
        self.waited_s += now - self._asked
        self._asked = now
        self.bytes_out += len(data)
        passed = self._form_shaped(tap.feed(data)) if self.translates else tap.feed(data)
        idle_at = now + limits.idle_s
        if tap.finish_reason is None and not tap.done and tap.fault is None and idle_at < limits.total_at:
            self.due = idle_at  # as `_progress` would have it
        else:
            self._progress(tap, now)
            self.ending = _is_over(tap)
        return passed or (b"" if self.ending else None)

    def _read_last(self, tap: StreamTap) -> bytes | None:
        """As `read_now`, of what is not just more of a body that goes on: nothing, its end, or a fault."""
        reply = self._prompt_reply
        data = b"" if reply is None else self._taken(reply)
        if reply is None or not data:
            return data
        passed = self._form_shaped(tap.feed(data)) if self.translates else tap.feed(data)
        self._progress(tap, self._asked)
        self.ending = reply.over or _is_over(tap)  # if it is over, nobody will be told of it
        return passed or (b"" if self.ending else None)

    def client_waited(self, seconds: float) -> None:
        """The client was waited for meanwhile, and not the provider, though a listener may have been kept."""
        self._asked += seconds

    def ended_now(self) -> bool:
        """Whether the stream has come to a good end, connection included; else `read` must find out."""
        tap, reply = self._tap, self._prompt_reply
        if tap is None or reply is None or self._stopped is not None:
            return False
        if not (tap.done and tap.complete) or tap.fault is not None:
            return False
        if reply.take_rest() is None:
            return False
        self.body = self._end()
        return True

    def _taken(self, reply: PromptReply) -> bytes | None:
        """What has come; b"" when there will be no more, or not what is due."""
        now = monotonic()
        self.waited_s += now - self._asked
        self._asked = now
        try:
            data = reply.take()
        except TransportError:
            return b""
        if data:
            self.bytes_out += len(data)
        return data

    def _form_shaped(self, frames: bytes) -> bytes:
        assert self._form is not None
        return self._form.shaped(frames)

    def _unlisten(self) -> bool | None:
        """Somebody will wait now; gives what `started` then gives."""
        if self._launched is not None:
            self._launched.listen(None)
        self._count_wait()
        return None


def _is_over(tap: StreamTap) -> bool:
    return tap.done or tap.fault is not None
