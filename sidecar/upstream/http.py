"""Our own HTTP/1.1 connection: one request and its response at a time, over an asyncio transport.

Knows bytes, framing and back-pressure; must not know pools (a `Keeper` is told when the connection is
free or gone), dialects or deadlines. It is the hottest code of the house, so the exchange's state lives
in the connection, whose parser and callbacks are made once, and a future is made only when there is
nothing to hand over yet. Who does not want to wait at all gives `listen` a callback: it is told of
everything that comes, and asks with `take`.

    idle --exchange--> sent --head--> open --message complete, read to its end--> idle
      any byte or EOF while idle, any failure, any close before the end: aborted

Three rules keep a connection honest:

- It is used again only if its request was sent whole, its response was complete and read to the end,
  not a byte came after it, and the parser said keep-alive. The parser must be asked inside
  `on_message_complete`: a moment later its answer is about the next message, and is no.
- What came is delivered before what went wrong: a body that breaks is first read as far as it came, and
  an answer that overtakes its request's body is an answer.
- Every await aborts the connection when it is cancelled.

A body without length or chunks ends with the connection (RFC 9112 section 6.3); the parser cannot know
that end, so it is decided here, from the head.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from sidecar.upstream.framing import ends_a_chunk, head_bytes, sole_chunk, until_close
from sidecar.upstream.names import field_name
from sidecar.upstream.reply import HttpReply
from sidecar.upstream.tls import handshake_error
from sidecar.upstream.transport import Breach, TransportError

__all__ = ["Connection", "Keeper"]

HEAD_BYTES_MAX = 64 * 1024  # of heads, trailers and chunk extensions without a byte of body between them
BODY_HELD_BYTES_MAX = 256 * 1024  # above it the socket is not read until the reader has caught up
JOINED_BYTES_MAX = 64 * 1024  # a body up to this size is copied behind its head, larger ones are not


class Keeper(Protocol):
    """Who owns connections between exchanges."""

    def keep(self, connection: Connection) -> None:
        """The exchange ended well: the connection can carry another."""

    def forget(self, connection: Connection) -> None:
        """The connection is gone; may be told twice."""


class _Dialling:
    """Stands for the transport of a connection that is not there yet, of which it can only be asked to give up."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def abort(self) -> None:
        """See `Transport.abort`."""
        self._task.cancel()


class Connection(asyncio.Protocol):
    """One TCP or TLS connection, from before its handshake until it is aborted or lost."""

    __slots__ = (
        "_bare_bytes",
        "_between",
        "_bodiless",
        "_chunks",
        "_complete",
        "_drained",
        "_error",
        "_head",
        "_headers",
        "_held_bytes",
        "_keep_alive",
        "_keeper",
        "_listener",
        "_loop",
        "_parser",
        "_paused",
        "_sender",
        "_sent",
        "_source_error",
        "_status",
        "_taker",
        "_transport",
        "_waiter",
        "_where",
        "connect_s",
        "fresh",
        "idle_since",
        "on_body",
    )

    def __init__(self, keeper: Keeper, where: str) -> None:
        self.idle_since = 0.0
        self.fresh = True  # its first exchange is not over
        self.connect_s: float | None = None  # that it took to get, while it is fresh
        self._keeper = keeper
        self._where = where  # for messages
        self._loop = asyncio.get_running_loop()
        self._chunks: list[bytes] = []
        # What the parser calls for a part of the body: no function of ours, because a burst has hundreds of parts.
        self.on_body = self._chunks.append
        self._parser: HttpResponseParser  # made when there is something to come
        self._transport: asyncio.Transport
        self._status = 0  # of the final head; 0 until it has come
        self._headers: list[tuple[str, str]] = []  # of the head (or the trailers) that is being parsed
        self._head: list[tuple[str, str]] = []  # of the final head
        self._complete = True  # between exchanges too, so that a byte that nobody asked for is one too many
        self._keep_alive = True
        self._bodiless = False
        self._sent = True
        self._paused = False
        self._held_bytes = 0
        self._bare_bytes = 0  # came since the last byte of a body
        self._error: TransportError | None = None
        self._source_error: BaseException | None = None
        self._sender: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._listener: Callable[[], None] | None = None
        self._taker: Callable[[bytes, bytes], None] | None = None
        self._between = False  # the parser stands between two chunks of what the taker takes
        self._drained: asyncio.Future[None] | None = None

    # -- before it is there

    def await_transport(self, dialling: asyncio.Task[None]) -> None:
        """It is being dialled: whoever gives it up ends that."""
        self._transport = cast(asyncio.Transport, _Dialling(dialling))

    def fail(self, error: Exception) -> None:
        """It cannot be dialled, or what was to be sent cannot."""
        if not isinstance(error, TransportError):
            self._source_error, error = error, TransportError(Breach.CONNECT, f"{self._where}: {error}")
        if self._error is None:
            self._error = error
        self._drop(self._error.breach, "")

    # -- the exchange

    def begin(self, head: bytes, body: bytes | AsyncIterator[bytes], *, bodiless: bool) -> None:
        """Send a request; what becomes of it is told by `response`.

        Args:
            head: As `encode_head` gives it.
            body: What the head announces.
            bodiless: The response has no body whatever its head says (HEAD).
        """
        self._status = self._bare_bytes = 0
        self._complete = False
        self._bodiless = bodiless
        self._send(head, body)

    async def response(self) -> HttpReply:
        """Wait for the response's head.

        Raises:
            TransportError: RESET when nothing came, else CUT or PROTOCOL; why it could not be dialled.
        """
        while (reply := self.response_now()) is None:
            if self._error is not None:
                raise self._source_error or self._error
            await self.wait()
        return reply

    def response_now(self) -> HttpReply | None:
        """The response whose head has come; None when none has, for now or for good."""
        return HttpReply(self, self._status, self._head, self.connect_s) if self._status else None

    def whole_now(self) -> tuple[int, Sequence[tuple[str, str]], bytes] | None:
        """The response whose end has come; see `Launched.whole_now`."""
        if not self._complete or not self._status:
            return None
        chunks = self._chunks
        if len(chunks) > 1:
            chunks[:] = (b"".join(chunks),)
        return self._status, self._head, chunks[0] if chunks else b""

    def take_whole(self) -> None:
        """See `Launched.take_whole`."""
        self._chunks.clear()
        self._held_bytes = 0
        self._finish()

    @property
    def held_bytes(self) -> int:
        """How much of the body has come and was not taken."""
        return self._held_bytes

    @property
    def broken(self) -> bool:
        """Whether the exchange has failed; what came before may still be taken."""
        return self._error is not None

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Have this called whenever something has come or happened, instead of waiting; None: no more."""
        self._listener, self._taker = listener, None

    def flow(self, taker: Callable[[bytes, bytes], None]) -> None:
        """See `Launched.flow`."""
        self._taker = taker
        self._between = False

    def _send(self, head: bytes, body: bytes | AsyncIterator[bytes]) -> None:
        try:
            if not isinstance(body, bytes):
                self._sent = False
                self._transport.write(head)
                self._sender = self._loop.create_task(self._send_chunks(body))
                self._sender.add_done_callback(self._sender_done)
            elif len(body) <= JOINED_BYTES_MAX:
                self._transport.write(head + body)
            else:
                self._transport.writelines((head, body))
        except (OSError, RuntimeError):  # uvloop raises RuntimeError for a transport that is closed
            self._drop(Breach.RESET, "the connection was closed before the request was sent")

    async def _send_chunks(self, body: AsyncIterator[bytes]) -> None:
        """Send a body whose length is not known, no faster than the connection takes it."""
        try:
            async for chunk in body:
                if chunk:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                if self._drained is not None:
                    await self._drained
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
        self._transport.write(b"0\r\n\r\n")
        self._sent = True

    def _sender_done(self, sender: asyncio.Task[None]) -> None:
        self._sender = None
        if sender.cancelled() or (error := sender.exception()) is None or self._complete:
            return
        if self._transport.is_closing():
            return  # connection_lost tells how it ended, and what of the answer came
        self._source_error = error
        self._drop(Breach.CUT, "the request's body failed before its end")

    # -- what the reply asks

    @property
    def over(self) -> bool:
        """Whether the listener will not be called again for this exchange: its end, or a fault, has come."""
        return self._complete or self._error is not None

    def take(self) -> bytes | None:
        """The body bytes that have come; b"" at the clean end, None when there is nothing to say yet.

        Raises:
            TransportError: The body will not go on.
        """
        chunks = self._chunks
        if chunks:
            data = self._all()
            self._held_bytes = 0
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            return data
        if self._complete:
            self._finish()
            return b""
        if self._error is not None:
            raise self._error
        return None

    def more(self) -> bytes | None:
        """See `Launched.more`."""
        chunks = self._chunks
        if not chunks or self._complete or self._paused or self._error is not None:
            return None
        self._held_bytes = 0
        return chunks.pop() if len(chunks) == 1 else self._all()

    def take_rest(self) -> bytes | None:
        """All that is left of the body, if its end has come, which also ends the exchange; else None."""
        if not self._complete:
            return None
        rest = self._all()
        self._held_bytes = 0
        self._finish()
        return rest

    def _all(self) -> bytes:
        """The parts that have come, as one."""
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        return data

    async def wait(self) -> None:
        """Until something has come or happened; aborts when it is cancelled. Nobody listens any more."""
        self._listener = self._taker = None
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except BaseException:
            self.abort()
            raise

    def close(self) -> None:
        """End the exchange: give the connection back if everything was read, else abort it."""
        if self._complete and not self._chunks:
            self._finish()
        else:
            self.abort()

    def abort(self) -> None:
        """Drop the connection now, with all that is under way on it."""
        self._chunks.clear()
        self._listener = self._taker = None  # whoever does this knows
        self._drop(Breach.CUT, "the exchange was closed")

    def hang_up(self) -> None:
        """Break off whatever is under way, because the transport is being closed."""
        self._drop(Breach.CUT if self._status else Breach.RESET, "the transport was closed")

    def _finish(self) -> None:
        self._listener = self._taker = None
        if self._keep_alive and self._sent and not self._transport.get_write_buffer_size():
            self._keeper.keep(self)
        else:
            self.abort()

    # -- what the parser says

    def on_message_begin(self) -> None:
        """A head begins."""
        if self._complete:
            raise ValueError("a message that nobody asked for")
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which goes to a list that nobody reads."""
        text = field_name(name)
        if text:
            self._headers.append((text, value.strip().decode("latin-1")))

    def on_headers_complete(self) -> None:
        """A head has come; those of 1xx are passed over."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        self._status = status
        self._head, self._headers = self._headers, []
        if self._bodiless:
            self._complete = True
            raise ValueError("stop: what the head announces does not follow")

    def on_message_complete(self) -> None:
        """A message ended: the response, or a 1xx before it."""
        if self._status:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()

    # -- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, TLS included."""
        self._parser = HttpResponseParser(self)
        self._transport = transport  # type: ignore[assignment]  # uvloop's is not a subclass of asyncio's

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._between and self._taker is not None:
            part = sole_chunk(data)
            if part:  # the parser need not see it
                self._taker(part, data)
                return
            self._between = False
        if self._complete:
            self._drop(Breach.PROTOCOL, "bytes that nobody asked for")
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._keep_alive = False
            if not self._complete:  # else the answer is whole, and only what follows it is not
                self._drop(Breach.PROTOCOL, f"the answer is not HTTP/1.1: {_complaint(error)}")
        taker, chunks = self._taker, self._chunks
        if taker is not None and chunks:
            self._bare_bytes = 0
            part = chunks.pop() if len(chunks) == 1 else self._all()
            self._between = ends_a_chunk(data, part)
            taker(part, b"")
            if self._complete:  # the parser has found the end
                self._tell()  # type: ignore[unreachable]
            return
        held_bytes = self._held_bytes + len(data)
        if chunks and not self._bare_bytes and held_bytes <= HEAD_BYTES_MAX:
            self._held_bytes = held_bytes  # nearly always: no limit is near
        else:
            self._measure(len(data))
        if self._listener is not None:
            self._listener()
        else:
            self._tell()

    def _measure(self, received: int) -> None:
        """Hold the limits: what is kept for a slow reader, and what comes without being a body."""
        bare_bytes = self._bare_bytes + received
        if bare_bytes > HEAD_BYTES_MAX and (not self._chunks or head_bytes(self._head) > HEAD_BYTES_MAX):
            self._status = 0
            self._complete = False
            self._drop(Breach.PROTOCOL, f"more than {HEAD_BYTES_MAX} bytes of head")
        elif not self._chunks:
            self._bare_bytes = bare_bytes
        else:
            self._bare_bytes = 0
            self._held_bytes += received
            if self._held_bytes > BODY_HELD_BYTES_MAX and not self._paused and not self._complete:
                self._paused = True
                self._transport.pause_reading()

    def eof_received(self) -> None:
        """The server will send nothing more; nothing that is still to be sent can matter."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._end(exc)
        del self._parser  # it holds this connection's methods: the cycle would wait for the collector

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # -- ends

    def _end(self, error: Exception | None) -> None:
        """Nothing more will come: decide whether that was the body's end, or what was broken."""
        if self._error is None and not self._complete:  # else it was decided before, maybe by ourselves
            if error is None and self._status and until_close(self._head):
                self._complete = True
            if isinstance(error, ssl.SSLError) and not self._status:
                self._error = handshake_error(self._where, error)
        if self._status:
            self._drop(Breach.CUT, "the connection ended inside the response's body")
        elif self._bare_bytes:
            self._drop(Breach.CUT, "the connection ended inside the response's head")
        else:
            self._drop(Breach.RESET, "the connection ended before the response began")

    def _drop(self, breach: Breach, why: str) -> None:
        """Abort the connection; an exchange that is not complete has failed, for the first reason told."""
        self._keep_alive = False
        if self._error is None:
            self._error = TransportError(breach, f"{self._where}: {why}")
        if self._sender is not None:
            self._sender.cancel()
        self._transport.abort()
        self._keeper.forget(self)
        self._tell()

    def _tell(self) -> None:
        """Something has come or happened."""
        if self._listener is not None:
            self._listener()
            return
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)


def _complaint(error: Exception) -> str:
    """What the parser did not like: its own fixed sentences, never the bytes."""
    return "it changes the protocol" if isinstance(error, HttpParserUpgrade) else str(error)
