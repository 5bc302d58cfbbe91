"""One client's connection: aiohttp's server protocol, with what it lacks at a door that strangers knock at.

- A head has a deadline and a size, however slowly it comes. aiohttp has neither: it bounds each line,
  and the silence between requests.
- There is a limit of connections over all doors; one too many is answered 503 and closed.
- What is no HTTP is answered 400 in the dialect's shape, logged as one line, and never shown again:
  a broken request may hold a key.
- A client who does not read is not waited for without end: neither with an answer under way, nor with
  the rest of one when the connection is to be closed.
- A handler that met a client who had left is no error.

Costs a comparison for each read, and one timer for each connection and each head that comes in parts.
Leans on semi-private attributes of aiohttp's protocol, as `wire` does: the minor version is pinned.
"""

from __future__ import annotations

import asyncio
import resource
from time import monotonic
from typing import cast

from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

from sidecar.model.failures import Failure, Kind
from sidecar.model.settings import LimitSettings
from sidecar.server import web
from sidecar.server.intake import new_request_id
from sidecar.server.lane import Crossing, Known, Lane
from sidecar.server.peer import peer_uid
from sidecar.server.refusal import Refusals, refused
from sidecar.server.wire import WholeResponse, encode_head

__all__ = ["Connection", "Crowd"]

_SPARE_DESCRIPTORS = 40  # for files, providers, and who comes to look what is wrong
_GATHER_S = 0.2  # for the rest of a request whose head has come
_LINGER_S = 2.0  # a refused body is read this long, because a close with unread bytes would reset the answer away


class Crowd:
    """How many connections there are over all doors."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def most(self, allowed: int) -> int:
        """How many there may be: as many as the config allows, if descriptors are left for what they ask for.

        Without any left, nothing could be asked of a provider, and providers would be judged by that.
        """
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors == resource.RLIM_INFINITY:
            return allowed
        return min(allowed, descriptors - max(descriptors // 4, _SPARE_DESCRIPTORS))


class _Queue(list[tuple[RawRequestMessage, StreamReader]]):
    """Requests that wait for the one before them, which are hardly ever any: an empty deque takes 760 bytes."""

    __slots__ = ()

    def popleft(self) -> tuple[RawRequestMessage, StreamReader]:
        """The oldest."""
        return self.pop(0)


class Connection(RequestHandler):
    """Lives from accept to close.

    Args:
        server: Whose requests it takes.
        limits: Those of the moment.
        crowd: Counts it.
        refusals: Says no.
        mine: The connections of the same door; this one enters and leaves by itself.
        lane: The door's short way, if it has one.
    """

    __slots__ = (
        "_crowd",
        "_gather_timer",
        "_gathered",
        "_head_bytes",
        "_head_number",
        "_head_timer",
        "_held",
        "_known",
        "_lane",
        "_limits",
        "_mine",
        "_missing_bytes",
        "_refusals",
        "answer_by",
        "crossing",
        "leaving",
        "peer_uid",
    )

    def __init__(
        self,
        server: web.Server,
        limits: LimitSettings,
        crowd: Crowd,
        refusals: Refusals,
        mine: set[Connection],
        *,
        lane: Lane | None = None,
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # None is how aiohttp itself is told to write none
            keepalive_timeout=limits.keepalive_s,
            max_line_size=limits.max_header_bytes,
            max_field_size=limits.max_header_bytes,
            auto_decompress=False,
            lingering_time=_LINGER_S,
        )
        self._messages = _Queue()  # type: ignore[assignment] # see there
        self._limits = limits
        self._crowd = crowd
        self._refusals = refusals
        self._mine = mine
        self._lane = lane
        self._known: Known | None = None  # what the last head meant that went the short way
        self._gathered: list[bytes] = []  # of a request that has not come whole
        self._missing_bytes = 0  # of it
        self._gather_timer: asyncio.TimerHandle | None = None
        self._held = b""  # came while a request is on it
        self.crossing: Crossing | None = None  # that request
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_number = 0  # which request's head comes in parts
        self._head_bytes = 0
        self.leaving = False  # close after the answer under way, or the next one
        self.peer_uid: int | None = None
        self.answer_by: float | None = None  # of the monotonic clock: when the answer under way must be read

    @property
    def busy(self) -> bool:
        """Whether a request is under way, its body included."""
        return self._request_in_progress or bool(self._messages)

    @property
    def silent(self) -> bool:
        """Whether nothing was ever asked here."""
        return not self._request_count

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, unless there are too many."""
        self._crowd.count += 1
        self._mine.add(self)
        if self._crowd.count > self._crowd.most(self._limits.max_connections):
            self._one_too_many(cast(asyncio.Transport, transport))
            return
        self.peer_uid = peer_uid(cast(asyncio.Transport, transport))
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Its end, whoever ended it."""
        if self in self._mine:
            self._mine.discard(self)
            self._crowd.count -= 1
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self.crossing is not None:
            self.crossing.leave()
        self._ungathered()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came; nearly always whole requests."""
        if self.crossing is not None:
            self._hold(data)
            return
        if self._gathered:
            self._gathered.append(data)
            self._missing_bytes -= len(data)
            if self._missing_bytes > 0:
                return
            data = self._ungathered()
        if self._lane is not None and self._is_free:
            known = self._lane.enter(self, data, self._known)
            if known is not None:
                self._known = known
                return
        super().data_received(data)
        waiter = self._waiter
        if waiter is not None and data and not waiter.done():
            self._head_goes_on(len(data))
        elif self._request_in_progress and self._messages:
            self._break_body()
        elif not self._request_count:  # the first bytes can be faster than aiohttp's task, which waits for them
            self._head_goes_on(len(data))

    # The short way, of which aiohttp is told no more than that a request is under way.

    @property
    def _is_free(self) -> bool:
        """Whether nothing is under way, not even a part of a head."""
        if self._request_in_progress or self._messages or self._paused or self._close or self._force_close:
            return False
        if self._head_bytes and self._head_number == self._request_count:
            return False
        return self._waiter is not None or not self._request_count  # aiohttp's task may not have begun yet

    def gather(self, data: bytes, missing_bytes: int) -> None:
        """A request has not come whole; what takes long goes the long way, where somebody waits for it."""
        self._gathered.append(data)
        self._missing_bytes = missing_bytes
        self._request_in_progress = True
        self._gather_timer = self._loop.call_later(_GATHER_S, self._gathers_no_more)

    def _gathers_no_more(self) -> None:
        super().data_received(self._ungathered())

    def _ungathered(self) -> bytes:
        if self._gather_timer is not None:
            self._gather_timer.cancel()
            self._gather_timer = None
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._request_in_progress = False
        return data

    def enter(self, crossing: Crossing) -> None:
        """A request goes the short way; what comes now waits for its end."""
        self.crossing = crossing
        if self._head_timer is not None:  # its head has come; a stream need not hold the timer
            self._head_timer.cancel()
            self._head_timer = None
        self._request_count += 1
        self._request_in_progress = True

    def settle(self) -> None:
        """It takes long: until its end there is nothing to be kept alive, and no timer for that."""
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
            self._keepalive_handle = None

    def crossed(self, *, keep_alive: bool) -> None:
        """Its end."""
        self.crossing = None
        self.answer_by = None
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if not keep_alive or self._close or self._force_close:
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None and self._keepalive_timeout > 0:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        if self._held:
            held, self._held = self._held, b""
            self._resume_transport_reading()
            self.data_received(held)

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > self._read_bufsize:
            self._pause_transport_reading()

    def _process_keepalive(self) -> None:
        if self.crossing is not None or self._gathered:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    async def _drain_helper(self) -> None:
        """Wait until the client has read most of what was written; everything that writes waits here.

        Raises:
            ConnectionResetError: It has not read in time, or is gone; the connection is closed.
        """
        if self.transport is None or not self._paused:
            await super()._drain_helper()
            return
        patience_s = self._limits.body_idle_s if self.answer_by is None else self.answer_by - monotonic()
        try:
            async with asyncio.timeout(patience_s):
                await super()._drain_helper()
        except TimeoutError:
            if self.transport is not None:
                self.transport.abort()
            raise ConnectionResetError("the client did not read its answer in time") from None

    def force_close(self) -> None:
        """Close the connection, once what was written has left."""
        transport = self.transport
        super().force_close()
        self._see_off(transport)

    async def start(self) -> None:
        """Take requests until the end; aiohttp's own loop."""
        try:
            await super().start()
        finally:
            self._see_off(self.transport)

    def _see_off(self, transport: asyncio.Transport | None) -> None:
        """Close for good what closes only when its last bytes have left: the client may never read them."""
        if transport is not None and transport.get_write_buffer_size():
            self._loop.call_later(self._limits.body_idle_s, transport.abort)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002 - aiohttp's signature; both follow from the exception
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """The answer to what is no HTTP, or to a request that a bug of ours has ended.

        Raises:
            ConnectionError: When there is nobody to tell, or half an answer was sent.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if isinstance(exc, HttpProcessingError):
            failure = _malformed(exc)
        else:
            context = {"message": "a request failed by a bug", "exception": exc}
            self._loop.call_exception_handler(context)
            name = type(exc or TimeoutError()).__name__  # the one exception that aiohttp keeps to itself
            failure = Failure(Kind.INTERNAL, f"the sidecar failed: {name}; its log tells more")
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer was sent")
        response = WholeResponse(*self._refusals.told(failure, new_request_id()))
        response.force_close()
        return response

    def _expect_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._head_timer = self._loop.call_later(self._limits.header_timeout_s, self._head_is_late)

    def _head_goes_on(self, size_bytes: int) -> None:
        """What came did not complete a head."""
        if self._head_number != self._request_count:
            self._head_number = self._request_count
            self._head_bytes = 0
            self._expect_head()
        self._head_bytes += size_bytes
        if self._head_bytes > self._limits.max_header_bytes:
            most_bytes = self._limits.max_header_bytes
            self._turn_away(refused(431, f"the head is larger than {most_bytes} bytes (limits.max_header)"))

    def _break_body(self) -> None:
        """Tell who reads a body that its framing is broken; aiohttp tells it to the next request only."""
        request = self._current_request
        if request is not None and not request.content.is_eof() and isinstance(self._messages[-1][0], _ErrInfo):
            request.content.set_exception(RequestPayloadError("the body's framing is broken"))
            request.content.feed_eof()

    def _head_is_late(self) -> None:
        self._head_timer = None
        waiter = self._waiter
        if self._gathered:
            return
        if self._head_number != self._request_count or waiter is None or waiter.done():
            return
        if not self._head_bytes:  # a client that never spoke would take an answer for one to its first request
            self.force_close()
            return
        patience_s = self._limits.header_timeout_s
        self._turn_away(refused(408, f"the head took longer than {patience_s:g} s (limits.header_timeout)"))

    def _turn_away(self, failure: Failure) -> None:
        if self.transport is not None:
            self.transport.write(self._told(failure))
        self.force_close()

    def _one_too_many(self, transport: asyncio.Transport) -> None:
        allowed = self._limits.max_connections
        most = self._crowd.most(allowed)
        bound = "limits.max_connections" if most == allowed else "the process's limit of open files"
        message = f"there are {most} connections already ({bound}); use fewer, and keep them open"
        transport.write(self._told(Failure(Kind.NO_TARGET, message, retry_after_s=1.0)))
        transport.close()

    def _told(self, failure: Failure) -> bytes:
        status, headers, body = self._refusals.told(failure, new_request_id())
        return encode_head(status, headers, f"content-length: {len(body)}\r\n", close=True) + body


def _malformed(error: HttpProcessingError) -> Failure:
    """What was wrong, without what was sent."""
    if isinstance(error, LineTooLong):
        return refused(431, "a line of the request's head is too long (limits.max_header)")
    reason = error.message.partition("\n")[0].rstrip(":") or "bad request"
    quoted = any(mark in reason for mark in ("'", '"'))
    return refused(400, "the request is not valid HTTP" if quoted else f"the request is not valid HTTP: {reason[:100]}")
