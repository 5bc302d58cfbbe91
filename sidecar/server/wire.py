"""How an answer's bytes reach the client's socket: two ways that must agree byte for byte in meaning.

`DirectWire` writes the head and the body straight to the connection's transport, a whole answer in one
write. It leans on semi-private behaviour of aiohttp's server, here and in `connection` only and with
aiohttp's minor version pinned: that a handler's result needs no more than `prepare`, `write_eof` and
`keep_alive`, and that requests of one connection are handled one after the other. `PlainWire` goes
through aiohttp's responses, and also serves what is rare: HEAD and HTTP/1.0.

Both close the connection after an answer when it is `leaving`, asked when the answer ends: a drain may
have begun meanwhile.

A broken stream is ended without the last chunk and the connection closed with FIN after everything was
flushed, never with RST, which would discard the error event.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, cast

from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion11

from sidecar.manager.headers import BODYLESS, ReplyHeaders, header_lines
from sidecar.model.settings import Wire as WireSetting
from sidecar.server import web

if TYPE_CHECKING:
    from sidecar.server.connection import Connection

__all__ = ["DirectWire", "Headers", "PlainWire", "ResponseWire", "WholeResponse", "encode_head", "wire_for"]

Headers = ReplyHeaders | Sequence[tuple[str, str]]

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_STATUS_LINES[499] = "HTTP/1.1 499 Client Closed Request\r\n"


class ResponseWire(Protocol):
    """One response: `whole`, or `begin`, `write` ... `end`. What it returns goes back to aiohttp."""

    async def whole(self, status: int, headers: Headers, body: bytes) -> web.StreamResponse:
        """Send a complete response; where the request's body was not read to its end, the connection ends with it."""

    async def begin(self, status: int, headers: Headers, first: bytes) -> None:
        """Send the head of a stream and its first bytes; may be called once."""

    async def write(self, data: bytes) -> None:
        """Send more; waits while the client is slow."""

    async def end(self, *, complete: bool) -> web.StreamResponse:
        """End the stream; an incomplete one without the mark of a complete one."""


def wire_for(request: web.BaseRequest, setting: WireSetting) -> ResponseWire:
    """The wire for a request's response."""
    if setting is WireSetting.DIRECT and request.version == HttpVersion11 and request.method != "HEAD":
        return DirectWire(_connection_of(request), request)
    return PlainWire(request)


def encode_head(status: int, headers: Headers, framing: str, *, close: bool) -> bytes:
    """The head of a response, its empty line included; `framing` is a line of its own."""
    lines = headers.shared + headers.own if isinstance(headers, ReplyHeaders) else header_lines(headers)
    connection = "connection: close\r\n" if close else ""
    date = f"date: {rfc822_formatted_time()}\r\n"
    first = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"  # a provider may have one that HTTP does not know
    return f"{first}{lines}{framing}{date}{connection}\r\n".encode("latin-1")


class _Written:
    """What aiohttp's server is handed when the response is already written."""

    __slots__ = ("body_length", "keep_alive", "status")

    def __init__(self, status: int, *, keep_alive: bool) -> None:
        self.status = status
        self.keep_alive = keep_alive
        self.body_length = 0

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to prepare."""

    async def write_eof(self) -> None:
        """Nothing is left to write."""


class DirectWire:
    """Straight to the transport."""

    __slots__ = ("_connection", "_request", "_status", "keep_alive")

    def __init__(self, connection: Connection, request: web.BaseRequest | None = None) -> None:
        self._connection = connection
        self._request = request  # None: aiohttp knows nothing of it
        self.keep_alive = request is None or request.keep_alive
        self._status = 0

    # Without waiting for the client to take what is written; `is_slow` tells whether one must.

    @property
    def is_slow(self) -> bool:
        """Whether the client has yet to take much of what was written."""
        return self._connection._paused

    def whole_now(self, status: int, headers: Headers, body: bytes) -> None:
        """As `whole`."""
        if self._connection.leaving:
            self.keep_alive = False
        self._begin(status, headers, "" if status in BODYLESS else f"content-length: {len(body)}\r\n", body)

    def begin_now(self, status: int, headers: Headers, first: bytes) -> None:
        """As `begin`."""
        chunk = b"%x\r\n%b\r\n" % (len(first), first) if first else b""
        self._begin(status, headers, "transfer-encoding: chunked\r\n", chunk)

    def write_now(self, data: bytes, chunk: bytes = b"") -> bool:
        """As `write`, of what may be at hand as a chunk, too; gives `is_slow`."""
        connection = self._connection
        transport = connection.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client closed its connection")
        transport.write(chunk or b"%x\r\n%b\r\n" % (len(data), data))
        return connection._paused

    def end_now(self) -> None:
        """As `end`, of a complete stream."""
        self._send(b"0\r\n\r\n")
        if self._connection.leaving:
            self.keep_alive = False

    async def room(self) -> None:
        """Wait until the client has taken most of what was written."""
        if self._connection.writing_paused:
            await self._connection._drain_helper()

    # The wire.

    async def whole(self, status: int, headers: Headers, body: bytes) -> web.StreamResponse:
        """See `ResponseWire.whole`."""
        self.keep_alive = self.keep_alive and not _unread(self._request)
        self.whole_now(status, headers, body)
        await self.room()
        return self._written()

    async def begin(self, status: int, headers: Headers, first: bytes) -> None:
        """Send the head of a stream and its first bytes; may be called once."""
        self.begin_now(status, headers, first)
        await self.room()

    async def write(self, data: bytes) -> None:
        """Send more; waits while the client is slow."""
        self.write_now(data)
        await self.room()

    async def end(self, *, complete: bool) -> web.StreamResponse:
        """End the stream; an incomplete one without the mark of a complete one."""
        if complete:
            self._send(b"0\r\n\r\n")
        if not complete or self._connection.leaving:
            self.keep_alive = False
        return self._written()

    def _begin(self, status: int, headers: Headers, framing: str, body: bytes) -> None:
        self._status = status
        head = encode_head(status, headers, framing, close=not self.keep_alive)
        if self._request is not None:
            self._request.writer.output_size = len(head)  # lets aiohttp know that no error page can follow
        self._send(head + body)

    def _send(self, data: bytes) -> None:
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client closed its connection")
        transport.write(data)

    def _written(self) -> web.StreamResponse:
        # A duck of the three things that aiohttp's server asks of a response (see the module's docstring).
        return cast(web.StreamResponse, _Written(self._status, keep_alive=self.keep_alive))


def _unread(request: web.BaseRequest | None) -> bool:
    """Whether the request's body has not come whole, so that nothing can follow it."""
    return request is not None and (not request.content.is_eof() or request.content.exception() is not None)


def _connection_of(request: web.BaseRequest) -> Connection:
    return cast("Connection", request.protocol)


class WholeResponse(web.Response):
    """A complete response that does not tell what software sent it."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        super().__init__(status=status, headers=list(headers), body=body)

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        del self.headers["Server"]


class _Stream(web.StreamResponse):
    """A stream whose end can be left out."""

    complete = True

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        del self.headers["Server"]

    async def write_eof(self, data: bytes = b"") -> None:
        """End the stream if it is complete; else leave the last chunk out."""
        if self.complete:
            await super().write_eof(data)


class PlainWire:
    """Through aiohttp's own responses."""

    __slots__ = ("_connection", "_request", "_stream")

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._connection = _connection_of(request)
        self._stream: _Stream | None = None

    async def whole(self, status: int, headers: Headers, body: bytes) -> web.StreamResponse:
        """See `ResponseWire.whole`."""
        response = WholeResponse(status, headers, body)
        if self._connection.leaving or _unread(self._request):
            response.force_close()
        await response.prepare(self._request)
        await response.write_eof()
        return response

    async def begin(self, status: int, headers: Headers, first: bytes) -> None:
        """Send the head of a stream and its first bytes; may be called once."""
        self._stream = _Stream(status=status, headers=list(headers))
        if self._request.version == HttpVersion11:
            if self._request.method != "HEAD":
                self._stream.enable_chunked_encoding()
        else:
            self._stream.force_close()
        await self._stream.prepare(self._request)
        if first:
            await self._stream.write(first)

    async def write(self, data: bytes) -> None:
        """Send more; waits while the client is slow."""
        assert self._stream is not None
        await self._stream.write(data)

    async def end(self, *, complete: bool) -> web.StreamResponse:
        """End the stream; an incomplete one without the mark of a complete one."""
        stream = self._stream
        assert stream is not None
        stream.complete = complete
        if not complete or self._connection.leaving:
            stream.force_close()
        return stream
