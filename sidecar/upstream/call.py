"""One attempt at one target: encode, send, judge the head, wait for the first content, relay, judge the end.

An attempt is judged twice. `start` gives None when it is good so far (the whole answer is there, or a
stream's first content), else the `Failure`; `read` gives the rest of a stream, and `failure` tells at
its end whether it was one. Whatever happens, `close` leaves nothing open.

Knows nothing of other targets, breakers or the client's socket.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from types import MappingProxyType

import msgspec

from sidecar.dialects.forms import Form, StreamTap
from sidecar.dialects.rescue import Continuation
from sidecar.dialects.table import provider_errors
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import Loss
from sidecar.model.records import Usage
from sidecar.model.request import Call
from sidecar.model.settings import OnLoss, StreamMode, StreamSettings
from sidecar.model.topology import Dialect
from sidecar.routing.commands import Limits
from sidecar.upstream.account import Account
from sidecar.upstream.asking import Asking, aside
from sidecar.upstream.transport import Breach, Launched, PromptReply, Reply, TransportError, UpstreamRequest
from sidecar.upstream.watchdog import Expired, Watchdog

__all__ = ["BREACHES", "GRACE_S", "MAX_ANSWER_BYTES", "MAX_ERROR_BYTES", "Exchange"]

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
GRACE_S = 0.5  # for the usage chunk and `[DONE]` after a finish reason, and for the last chunk after `[DONE]`

BREACHES: Mapping[Breach, Kind] = MappingProxyType(
    {
        Breach.RESOLVE: Kind.UNREACHABLE,
        Breach.CONNECT: Kind.UNREACHABLE,
        Breach.CONNECT_TIMEOUT: Kind.UNREACHABLE,
        Breach.TLS: Kind.UNREACHABLE,
        Breach.RESET: Kind.UNREACHABLE,
        Breach.CUT: Kind.TRUNCATED,
        Breach.PROTOCOL: Kind.MALFORMED,
        Breach.CREDENTIAL: Kind.CREDENTIAL,
    }
)


class Exchange:
    """One attempt; lives from its `Try` to its end.

    Args:
        account: The target's provider.
        model: The model's name upstream.
        call: The client's request.
        limits: The attempt's deadlines.
        stream: How the route gives streams to its clients.
        on_loss: What becomes of a request that a translation would not keep whole.
        rescue: What the client has of a stream that broke, to be gone on from.
    """

    # One name a line would fill a screen.
    # fmt: off
    __slots__ = (
        "_account", "_asked", "_asking", "_call", "_ended", "_form", "_late", "_launched", "_limits", "_listener",
        "_own_watchdog", "_prompt_reply", "_reading", "_reply", "_request", "_since", "_stopped", "_stream",
        "_streams", "_tap", "began", "body", "bytes_out", "connect_s", "dialect", "due", "ending", "failure",
        "finish_reason", "first_token_s", "head_s", "id", "losses", "model_served", "provider_headers", "reused",
        "served", "status", "translates", "usage", "waited_s",
    )
    # fmt: on

    def __init__(
        self,
        account: Account,
        model: str,
        call: Call,
        limits: Limits,
        stream: StreamSettings,
        *,
        on_loss: OnLoss = OnLoss.ALLOW,
        rescue: Continuation | None = None,
    ) -> None:
        self._account = account
        self._call = call
        self._limits = limits
        self._stream = stream
        self._reading: asyncio.Task[bytes] | None = None  # a read that outlived the time to hold
        self._own_watchdog: Watchdog | None = None  # made when something is waited for
        self.due = float("inf")  # when what is waited for must have come; who does not wait must look here
        self._late: Kind = Kind.DEADLINE  # what it is then
        self._request: UpstreamRequest | None = None
        self._launched: Launched | None = None  # sent without waiting
        self._listener: Callable[[], None] | None = None
        self._prompt_reply: PromptReply | None = None  # the reply, while nobody waits for it
        self._asked = 0.0  # since when a listener waits for the provider; until then it was counted
        self._since: float | None = None  # the same of who waits by waiting, if somebody does
        self._reply: Reply | None = None
        self._form: Form | None = None
        self._tap: StreamTap | None = None
        self._ended = False
        self._stopped: Failure | None = None
        self._asking = asking = Asking(account, model, call, on_loss=on_loss, rescue=rescue)
        self.dialect: Dialect = asking.way.dialect  # that the provider is asked in
        self.translates = False  # the provider is asked in another form than the client asked in
        self.losses: Sequence[Loss] = ()  # what did not survive its translation
        self.began = monotonic()
        self.waited_s = 0.0  # of its duration: waiting for the provider
        self._streams = False  # the answer comes as events
        self.ending = False  # `read_now` has given all that will come
        self.status: int | None = None
        self.provider_headers: Mapping[str, str] = {}
        self.connect_s: float | None = None
        self.reused: bool | None = None
        self.head_s: float | None = None
        self.first_token_s: float | None = None
        self.bytes_out = 0
        self.body = b""  # the whole answer, or a stream's first bytes
        self.served = False  # something of it was sent to the client; said by the caller
        self.failure: Failure | None = None
        self.model_served: str | None = None
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.id: str | None = None  # of the answer, where its dialect refers to answers by it

    @property
    def streaming(self) -> bool:
        """Whether more is to come from `read`."""
        return self._tap is not None and self.failure is None

    @property
    def malformed_events(self) -> int:
        """How many events of the stream were skipped because they were not JSON."""
        return self._tap.malformed if self._tap else 0

    async def start(self) -> Failure | None:
        """Send, and wait for the whole answer or the first content; the failure if there is none."""
        self._count_wait()
        try:
            self.failure = await self._begin()
        except TransportError as error:
            self.failure = self._broken(error)
        except Expired as expired:
            self.failure = self._expired(expired.kind)
        except ValidationError as error:
            self.failure = error.failure
        return self.failure

    async def read(self) -> bytes:
        """The next bytes for the client; b"" at the end, when `failure` says what it came to."""
        if self._ended:
            return b""
        if self._listener is not None:
            self._count_wait()
        try:
            return await self._next()
        except TransportError as error:
            return self._end(error=self._broken(error))
        except Expired as expired:
            tap = self._tap
            if tap is not None and (tap.complete or tap.settles()):
                return self._end()
            return self._end(error=self._expired(expired.kind))

    async def settle(self) -> None:
        """After a complete stream: take in the last chunk, so that the connection can be used again."""
        if self._reply is None or self._tap is None or not self._tap.complete:
            return
        self._since = now = monotonic()
        self._due(now + GRACE_S, Kind.IDLE_TIMEOUT)
        try:
            with self._watchdog:
                while await self._reply.read():
                    pass
        except (TransportError, Expired):
            return

    def stop(self, failure: Failure) -> None:
        """Fail now: whoever waits in `start` or `read` gets this failure."""
        self._stopped = failure
        self._watchdog.expire(Kind.DEADLINE)
        if self._listener is not None:
            self._listener()

    def close(self) -> None:
        """Idempotent. A connection whose answer was not read to its end is aborted at once."""
        self._ended = True
        self._count_wait()
        if self._own_watchdog is not None:
            self._own_watchdog.close()
        if self._reading is not None and not self._reading.cancel() and not self._reading.cancelled():
            self._reading.exception()  # it ended by itself, and nobody will ask any more
        if self._reply is not None:
            self._reply.close()
        elif self._launched is not None:
            self._launched.abort()

    def _count_wait(self) -> None:
        """Nobody waits for the provider any more, or somebody else will: what went by until now was its time."""
        since = self._since if self._listener is None else self._asked
        self._listener = self._since = None
        if since is not None:
            self.waited_s += monotonic() - since

    async def _begin(self) -> Failure | None:
        request: UpstreamRequest | Failure | None = self._request
        if request is None:
            asking = self._asking
            request = self._take_up(*(await self._put_aside() if asking.takes_long else asking.put()))
        if isinstance(request, Failure):
            return request
        if self._reply is None:
            await self._send(request)
        if self.status != 200:
            return await self._error()
        if self._call.peek.stream and self._streams:
            return await self._first_content()
        return await self._whole()

    async def _put_aside(self) -> tuple[Form | None, UpstreamRequest | Failure]:
        self._due(float("inf"), Kind.DEADLINE)
        with self._watchdog:
            return await aside(self._asking.put)

    async def _send(self, request: UpstreamRequest) -> None:
        """Until the head has come."""
        connect_s, prompt = self._limits.connect_s, self._account.prompt
        self._since = asked = monotonic()
        if self._launched is None:
            self._asked = asked
            self._await_head(asked)
        try:
            with self._watchdog:
                if self._launched is None or prompt is None:
                    reply = await self._account.transport.send(request, connect_s=connect_s)
                else:
                    reply = await prompt.land(self._launched, request, connect_s=connect_s)
        finally:
            self._count_wait()
        self._headed(reply)

    def _headed(self, reply: Reply) -> None:
        """The head has come."""
        self._reply = reply
        self.head_s = monotonic() - self.began
        if self._limits.head_s is not None:
            self._await_content(self._asked)
        self.status = reply.status
        self.provider_headers = headers = self._account.shown(reply.headers)
        self._streams = headers.get("content-type", "").startswith("text/event-stream")
        self.connect_s = reply.connect_s
        self.reused = reply.connect_s is None

    def _take_up(self, form: Form | None, request: UpstreamRequest | Failure) -> UpstreamRequest | Failure:
        """What is asked, or why it cannot be, as `Asking.put` gives it."""
        if form is not None:
            self._form, self.translates, self.losses = form, form.translates, form.losses
        if not isinstance(request, Failure):
            self._request = request
        return request

    def _await_head(self, asked: float) -> None:
        """The deadline of the head, which is that of the content where it has none of its own."""
        if self._limits.head_s is not None:
            self._due(asked + self._limits.head_s, Kind.FIRST_TOKEN_TIMEOUT)
        else:
            self._await_content(asked)

    def _await_content(self, asked: float) -> None:
        """The deadline of the first content, or of the whole answer where it is not streamed."""
        limits = self._limits
        patience_s = limits.first_token_s if self._call.peek.stream else limits.answer_s
        self._due(asked + patience_s, Kind.CLIENT_DEADLINE if limits.read_is_clients else Kind.FIRST_TOKEN_TIMEOUT)

    async def _error(self) -> Failure:
        body = await self._take(MAX_ERROR_BYTES)
        assert self.status is not None
        return self._decoded(self.status, self._account.hide(body))

    def _decoded(self, status: int, body: bytes) -> Failure:
        return provider_errors(self.dialect).decode_failure(status, self.provider_headers, body, time.time())

    async def _whole(self) -> Failure | None:
        return self._judged(await self._take(MAX_ANSWER_BYTES + 1))

    def _judged(self, body: bytes) -> Failure | None:
        """An answer that has come whole: why it is none, or None."""
        if len(body) > MAX_ANSWER_BYTES:
            return Failure(
                Kind.MALFORMED, f"the provider's answer is larger than {MAX_ANSWER_BYTES} bytes", self.status
            )
        assert self._form is not None
        whole = self._form.whole(body, streamed=self._streams)
        if isinstance(whole, Failure) and (hidden := self._account.hide(body)) != body:
            whole = self._form.whole(hidden, streamed=self._streams)
        if isinstance(whole, Failure):
            return whole if whole.status is not None else msgspec.structs.replace(whole, status=self.status)
        self.body, self.model_served, self.id = whole.body, whole.model, whole.id
        self.finish_reason, self.usage = whole.finish_reason, whole.usage
        self.first_token_s = monotonic() - self.began
        self.close()
        return None

    async def _take(self, most_bytes: int) -> bytes:
        """The body, or its start if it is longer than that."""
        pieces = []
        size = 0
        while size < most_bytes:
            piece = await self._wait()
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _first_content(self) -> Failure | None:
        assert self._form is not None
        if self._tap is None:
            self._tap = self._form.tap()
        tap, more = self._tap, True
        while True:
            if tap.fault is not None:
                return self._faulted(tap)
            if tap.committed:
                break
            if tap.done or not more:
                return tap.verdict() or Failure(Kind.MALFORMED, "the provider's stream held no answer")
            data = await self._wait()
            self.body = self._form.shaped(tap.feed(data) if data else tap.end())
            more = bool(data)
        self._content_came(tap)
        if self._stream.mode is not StreamMode.LIVE:
            await self._hold()
        return self.failure

    def _content_came(self, tap: StreamTap) -> None:
        now = monotonic()
        self.first_token_s = now - self.began
        self._progress(tap, now)

    async def _hold(self) -> None:
        """Keep back what has come until the route lets it go: what breaks before can still fail over."""
        held = [self.body]
        release_at = monotonic() + self._stream.hold.time_s
        size = len(self.body)
        while size <= MAX_ANSWER_BYTES:
            if self._stream.mode is StreamMode.HOLD:
                events = sum(piece.count(b"data:") for piece in held)
                if events >= self._stream.hold.events or not await self._comes_before(release_at):
                    break
            data = await self.read()
            if not data:
                break
            held.append(data)
            size += len(data)
        self.body = b"".join(held)

    async def _comes_before(self, moment: float) -> bool:
        """Whether more has come by then; a read that takes longer goes on."""
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._receive())
        await asyncio.wait({self._reading}, timeout=max(0.0, moment - monotonic()))
        return self._reading.done()

    async def _next(self) -> bytes:
        tap, form = self._tap, self._form
        if tap is None or form is None:
            return self._end()
        while tap.fault is None and not tap.done:
            data = await self._wait()
            passed = form.shaped(tap.feed(data) if data else tap.end())
            self._progress(tap, monotonic())
            if passed:
                return passed
            if not data:
                break
        return self._end(error=None if tap.fault is None else self._faulted(tap))

    def _faulted(self, tap: StreamTap) -> Failure:
        """What the error event of a stream means."""
        assert tap.fault is not None
        hidden = self._account.hide(tap.fault)
        if tap.failure is not None and hidden == tap.fault:
            return tap.failure
        return self._decoded(200, hidden)

    async def _wait(self) -> bytes:
        if self._reading is None:
            return await self._receive()
        reading, self._reading = self._reading, None
        try:
            return await reading
        finally:
            reading.cancel()

    async def _receive(self) -> bytes:
        assert self._reply is not None
        self._since = monotonic()
        try:
            with self._watchdog:
                data = await self._reply.read()
        finally:
            self._count_wait()
        self.bytes_out += len(data)
        return data

    def _progress(self, tap: StreamTap, now: float) -> None:
        """Something came: the next silence is counted from now."""
        if tap.complete:
            self._due(now + GRACE_S, Kind.IDLE_TIMEOUT)
        else:
            kind = Kind.CLIENT_DEADLINE if self._limits.idle_is_clients else Kind.IDLE_TIMEOUT
            self._due(now + self._limits.idle_s, kind)

    def _due(self, moment: float, kind: Kind) -> None:
        """The next deadline: this one, or the total if that comes first."""
        limits = self._limits
        if moment >= limits.total_at:
            moment, kind = limits.total_at, Kind.CLIENT_DEADLINE if limits.total_is_clients else Kind.DEADLINE
        self.due, self._late = moment, kind
        if self._own_watchdog is not None:
            self._own_watchdog.due, self._own_watchdog.kind = moment, kind

    @property
    def _watchdog(self) -> Watchdog:
        watchdog = self._own_watchdog
        if watchdog is None:
            watchdog = self._own_watchdog = Watchdog(asyncio.get_running_loop())
            watchdog.due, watchdog.kind = self.due, self._late
        return watchdog

    def _end(self, *, error: Failure | None = None) -> bytes:
        """The stream is over; what it still lacks for the client, if it is complete."""
        tap = self._tap
        self._ended = True
        if tap is None:
            return b""
        self.model_served, self.finish_reason, self.usage = tap.model, tap.finish_reason, tap.usage
        self.id = tap.id
        complete = tap.complete and (error is None or error.kind is not Kind.CLIENT_DEADLINE)
        self.failure = None if complete else error or tap.verdict()
        return tap.closing() if complete else b""

    def _broken(self, error: TransportError) -> Failure:
        kind = BREACHES[error.breach]
        if kind is Kind.TRUNCATED and self.status is not None and self.status >= 400:
            return self._decoded(self.status, b"")
        return Failure(kind, f"{self._account.provider.name}: {error}", self.status)

    def _expired(self, kind: Kind) -> Failure:
        if self._stopped is not None:
            return self._stopped
        name = self._account.provider.name
        patience_s = self._limits.first_token_s if self._call.stream else self._limits.answer_s
        messages = {
            Kind.FIRST_TOKEN_TIMEOUT: f"{name} gave no answer within {patience_s:g} s",
            Kind.IDLE_TIMEOUT: f"{name} went silent in the middle of its answer for {self._limits.idle_s:g} s",
            Kind.CLIENT_DEADLINE: f"the client's own deadline passed while {name} was answering",
            Kind.DEADLINE: f"the total deadline passed while {name} was answering",
        }
        return Failure(kind, messages[kind], self.status)
