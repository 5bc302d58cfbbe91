"""A scriptable OpenAI-compatible provider on a real socket, for the whole suite.

Its HTTP is written by hand, so that it can misbehave at any byte. What it does with a request is a
`Behaviour` (see `fake_behaviours`, whose names are here too); what came in is in `requests`.

    async with FakeProvider() as fake:
        fake.script(status(503), ok())          # one behaviour a request; the last one repeats
        fake.on("tiny", silence())              # this model's own script
        ... ask fake.base_url ...
        assert [call.model for call in fake.calls] == [...]

A peer that closes (FIN or RST) ends the exchange at once: the fake does not serve half-closed peers.
Everything happens on the loop that entered it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import struct
from collections.abc import Callable
from types import TracebackType
from typing import cast

from tests.fake_behaviours import (
    WORDS,
    Behaviour,
    Cut,
    Request,
    cut_after,
    drip,
    empty,
    error_event_in_200,
    half_json,
    html,
    malformed_chunk_at,
    model_list,
    no_done,
    ok,
    raw,
    reset,
    silence,
    slow_headers,
    stall_after,
    status,
)

__all__ = [
    "WORDS",
    "Behaviour",
    "FakeProvider",
    "Request",
    "cut_after",
    "drip",
    "empty",
    "error_event_in_200",
    "half_json",
    "html",
    "malformed_chunk_at",
    "model_list",
    "no_done",
    "ok",
    "raw",
    "reset",
    "silence",
    "slow_headers",
    "stall_after",
    "status",
]

Move = Behaviour | Callable[[Request], Behaviour]

_OPERATIONS = ("/chat/completions", "/completions", "/embeddings")
_BACKLOG = 4096


class FakeProvider:
    """One provider; lives as long as its `async with`.

    Args:
        tls: Serve https with this context.
        host: Where to listen; also the host of `base_url`.
        port: The same; 0 is any.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self._tls = tls
        self._host = host
        self._holder: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._moved = asyncio.Event()
        self._script = _Script((ok(),))
        self._by_model: dict[str, _Script] = {}
        self._models: _Script | None = None
        self.models_status = 200
        self.port = port
        self.requests: list[Request] = []
        self.accepted = 0  # connections, ever
        self.active = 0  # answers under way
        self.peak_active = 0
        self.faults: list[BaseException] = []  # of behaviours; the first is raised at the end

    # -- what it does

    def script(self, *moves: Move) -> None:
        """The behaviours of the requests to come, one each; the last repeats."""
        self._script = _Script(moves)

    def on(self, model: str, *moves: Move) -> None:
        """The same for requests that name this model."""
        self._by_model[model] = _Script(moves)

    def on_models(self, *moves: Move) -> None:
        """The same for GET /models, instead of `models_status`."""
        self._models = _Script(moves)

    async def down(self) -> None:
        """Refuse connections, and reset those that are open. The port stays ours."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.hang_up("rst")
        await self.wait_closed_connections()

    async def up(self) -> None:
        """Listen (again) on the same port."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                lambda: _Connection(self), self._host, self.port, ssl=self._tls, backlog=_BACKLOG
            )

    # -- what it saw

    @property
    def base_url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}/v1"

    @property
    def calls(self) -> list[Request]:
        """The requests that ask a model: not the model lists."""
        return [request for request in self.requests if request.method == "POST"]

    def calls_of(self, model: str) -> list[Request]:
        """Those of one model."""
        return [call for call in self.calls if call.model == model]

    @property
    def open(self) -> int:
        """Connections open now."""
        return len(self._connections)

    async def wait_for(self, condition: Callable[[FakeProvider], bool], timeout_s: float = 20.0) -> None:
        """Wait until the condition holds; it is asked again whenever a connection or request comes or goes.

        Raises:
            AssertionError: When it does not hold in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not condition(self):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise AssertionError(f"not within {timeout_s} s: {self!r}") from None

    async def wait_calls(self, count: int, timeout_s: float = 20.0) -> None:
        """Wait until so many calls have come."""
        await self.wait_for(lambda fake: len(fake.calls) >= count, timeout_s)

    async def wait_idle(self, timeout_s: float = 20.0) -> None:
        """Wait until no answer is under way."""
        await self.wait_for(lambda fake: fake.active == 0, timeout_s)

    async def wait_closed_connections(self, timeout_s: float = 20.0) -> None:
        """Wait until no connection is open."""
        await self.wait_for(lambda fake: fake.open == 0, timeout_s)

    def __repr__(self) -> str:
        counts = f"{len(self.requests)} requests, {self.active} active, {self.accepted} accepted, {self.open} open"
        return f"<FakeProvider :{self.port} {counts}>"

    # -- its life

    async def __aenter__(self) -> FakeProvider:
        # Bound but never listening: while we are down the port refuses connections and nobody takes it.
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._holder = socket.socket(family)
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind((self._host, self.port))
        self.port = self._holder.getsockname()[1]
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [connection.task for connection in self._connections if connection.task]
        await self.down()
        if self._holder is not None:
            self._holder.close()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        if self.faults and error is None:
            raise self.faults[0]

    def moved(self) -> None:
        """Something that a condition may look at has changed."""
        self._moved.set()

    def entered(self, connection: _Connection) -> None:
        self.accepted += 1
        connection.number = self.accepted
        self._connections.add(connection)
        self.moved()

    def left(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self.moved()

    async def answer(self, connection: _Connection) -> None:
        """Record the connection's request and play what is due for it."""
        request = connection.request
        self.requests.append(request)
        self.active += 1
        self.peak_active = max(self.peak_active, self.active)
        self.moved()
        try:
            await self._behaviour(request).play(connection)
        finally:
            self.active -= 1
            request.ended_at = asyncio.get_running_loop().time()
            self.moved()

    def _behaviour(self, request: Request) -> Behaviour:
        if request.method == "GET" and request.operation == "/models":
            if self._models is not None:
                return self._models.next(request)
            listed = model_list("fake", *self._by_model)
            return listed if self.models_status == 200 else status(self.models_status)
        if request.method != "POST" or request.operation not in _OPERATIONS:
            return status(404, f"no {request.method} {request.path} here")
        return self._by_model.get(request.model, self._script).next(request)


class _Script:
    """Behaviours to come."""

    def __init__(self, moves: tuple[Move, ...]) -> None:
        if not moves:
            raise ValueError("a script needs a behaviour")
        self._moves = list(moves)

    def next(self, request: Request) -> Behaviour:
        move = self._moves.pop(0) if len(self._moves) > 1 else self._moves[0]
        return move if isinstance(move, Behaviour) else move(request)


class _Connection(asyncio.Protocol):
    """One accepted connection: an `Exchange` for one request after the other."""

    def __init__(self, fake: FakeProvider) -> None:
        self.request = Request("", "", {}, b"", at=0, connection=0, ended_at=0)  # nothing asked yet
        self._fake = fake
        self._buffer = bytearray()
        self._came = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False  # by either side
        self.number = 0
        self.task: asyncio.Task[None] | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._fake.entered(self)
        self.task = asyncio.get_running_loop().create_task(self._serve())
        self.task.add_done_callback(self._served)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._came.set()

    def eof_received(self) -> None:
        self._peer_left()

    def connection_lost(self, error: Exception | None) -> None:
        self._peer_left()
        self._fake.left(self)
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # -- Exchange

    async def send(self, data: bytes) -> None:
        if self._ended:
            raise ConnectionResetError("the peer has left")
        self._transport.write(data)
        await self._writable.wait()

    def hang_up(self, how: Cut) -> None:
        self._ended = True
        if how != "rst":
            self._transport.close()
            return
        # A copy of the descriptor: uvloop's transports give no socket that takes options.
        raw_socket = self._transport.get_extra_info("socket")
        if raw_socket is not None and raw_socket.fileno() >= 0:
            with socket.socket(fileno=os.dup(raw_socket.fileno())) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # -- requests

    async def _serve(self) -> None:
        try:
            while not self._ended:
                await self._receive()
                await self._fake.answer(self)
                if self.request.headers.get("connection", "").lower() == "close":
                    self.hang_up("fin")
        except (ConnectionError, _BadRequest):
            self.hang_up("fin")

    def _served(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._fake.faults.append(fault)
            self.hang_up("rst")

    def _peer_left(self) -> None:
        if not self._ended and self.request.ended_at is None:
            self.request.peer_closed_at = asyncio.get_running_loop().time()
        self._ended = True

    async def _receive(self) -> None:
        lines = (await self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        try:
            method, path, _ = lines[0].split(" ")
            headers = {
                name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])
            }
        except ValueError:
            raise _BadRequest(lines) from None
        if headers.get("expect", "").lower() == "100-continue":
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = await self._chunks()
        else:
            body = await self._exactly(int(headers.get("content-length", 0)))
        now = asyncio.get_running_loop().time()
        self.request = Request(method, path, headers, body, now, self.number, _parsed(body))

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self._until(b"\r\n"), 16):
            body += await self._exactly(size)
            await self._until(b"\r\n")
        await self._until(b"\r\n")
        return body

    async def _until(self, mark: bytes) -> bytes:
        searched = 0
        while (at := self._buffer.find(mark, searched)) < 0:
            searched = max(0, len(self._buffer) - len(mark) + 1)
            await self._more()
        found = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return found

    async def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._more()
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return found

    async def _more(self) -> None:
        self._came.clear()
        await self._came.wait()


class _BadRequest(Exception):
    """What came is not HTTP."""


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None
