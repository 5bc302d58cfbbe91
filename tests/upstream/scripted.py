"""A server that plays a script on every connection: exact bytes, exact moments, no HTTP library.

A script is a coroutine function of a `Peer`. What it raises fails the test that uses the server, except
that the client went away.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from sidecar.model.topology import Tls
from sidecar.upstream.transport import Origin, UpstreamRequest

BOUND_S = 10.0  # of everything that is awaited
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> tuple[bytes, bytes]:
        """The next request: its head as it came, and its body, which may be chunked."""
        head = await self.head()
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        if fields.get(b"transfer-encoding") == b"chunked":
            return head, await self._chunked()
        return head, await self.reader.readexactly(int(fields.get(b"content-length", b"0")))

    async def _chunked(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readexactly(2) == b"\r\n"
        return body

    async def send(self, *parts: bytes) -> None:
        """Send each part by itself: it is on its way before the next one is written."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            if len(parts) > 1:
                await asyncio.sleep(0)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """End with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Until the client has hung up, by FIN or by RST."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass


Script = Callable[[Peer], Awaitable[None]]


class Server:
    """A running server."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.accepted = 0
        self.open = 0
        self.scripts: set[asyncio.Task[None]] = set()
        self.failures: list[BaseException] = []
        self.origin: Origin

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        task = asyncio.ensure_future(asyncio.wait_for(self._script(Peer(reader, writer)), BOUND_S))
        self.scripts.add(task)
        try:
            await asyncio.wait([task])
            await task
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away
        except asyncio.CancelledError:
            pass  # the test is over
        except Exception as failure:
            self.failures.append(failure)
        finally:
            self.scripts.discard(task)
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def emptied(self) -> None:
        """Until every connection's script is over."""
        async with asyncio.timeout(BOUND_S):
            while self.open:
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def serving(
    script: Script, *, context: ssl.SSLContext | None = None, tls: Tls | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Server]:
    """A server that plays `script` until the block ends; `tls` is what its origin says."""
    server = Server(script)
    listening = await asyncio.start_server(server, "127.0.0.1", 0, ssl=context, limit=1 << 20)
    port = listening.sockets[0].getsockname()[1]
    server.origin = Origin("https" if context else "http", host, port, tls or Tls())
    try:
        yield server
    finally:
        listening.close()
        for running in server.scripts:
            running.cancel()
        await server.emptied()
    assert server.failures == []


def answering(*parts: bytes, close: bool = False, reset: bool = False) -> Script:
    """Answers every request with these parts; `close` and `reset` end the connection after them."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*parts)
            if reset:
                return peer.reset()
            if close:
                return peer.close()

    return script


def get(path: str = "/", headers: Iterable[tuple[str, str]] = ()) -> UpstreamRequest:
    return UpstreamRequest("GET", path, tuple(headers))


def post(body: bytes | AsyncIterator[bytes], path: str = "/") -> UpstreamRequest:
    return UpstreamRequest("POST", path, [("Content-Type", "application/json")], body)
