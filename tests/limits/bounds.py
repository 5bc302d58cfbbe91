"""What every limit is held to: the memory that an assault may cost, and that the next request is answered soon."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from time import monotonic

from tests.daemon import RunningDaemon
from tests.fake_behaviours import Behaviour, Exchange
from tests.server.raw import RawClient, chat_body, head, post

__all__ = ["MIB", "Torrent", "bounded", "connected", "many_descriptors", "well"]

MIB = 1024 * 1024
_SOON_S = 1.0
_SLOWER = 10  # than in calm: on a busy machine even that takes a while
_LOOK_S = 0.02


@contextlib.asynccontextmanager
async def bounded(daemon: RunningDaemon, most_bytes: int, what: str) -> AsyncIterator[None]:
    """What happens inside may not make the daemon larger than that at any time; afterwards it is well."""
    calm_s = await well(daemon, 10.0)
    before, largest, over = daemon.rss_bytes, 0, asyncio.Event()

    async def watch() -> None:
        nonlocal largest
        while not over.is_set():
            largest = max(largest, daemon.rss_bytes - before)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), _LOOK_S)

    watching = asyncio.create_task(watch())
    try:
        yield
        largest = max(largest, daemon.rss_bytes - before)
        await well(daemon, _SOON_S + _SLOWER * calm_s)
    finally:
        over.set()
        await watching
    print(f"{what}: {largest / MIB:.1f} MiB of {most_bytes / MIB:.0f} MiB")
    assert largest < most_bytes, f"{what} cost {largest / MIB:.1f} MiB"


async def well(daemon: RunningDaemon, soon_s: float = 5.0) -> float:
    """Requests of somebody new are answered soon; how soon, in seconds."""
    began = monotonic()
    async with await RawClient.to(daemon.socket) as client:
        for request in (head("GET", "/healthz"), post(chat_body("well"))):
            reply = await client.ask(request)
            assert reply.status == 200, reply
    assert monotonic() - began < soon_s
    return monotonic() - began


@contextlib.contextmanager
def many_descriptors(wanted: int) -> Iterator[int]:
    """Let this process, and this alone, open more files; how many it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        yield max(soft, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connected(daemon: RunningDaemon, *, buffer_bytes: int | None = None) -> socket.socket:
    """A connection by TCP, without an event loop: thousands of them cost the test little."""
    sock = socket.socket()
    if buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    sock.settimeout(5)
    sock.connect(("127.0.0.1", daemon.port))
    return sock


class Torrent(Behaviour):
    """A stream that never ends, as fast as it may."""

    async def play(self, exchange: Exchange) -> None:
        delta = {"choices": [{"index": 0, "delta": {"content": "w" * 4000}}]}
        frame = b"data: " + json.dumps(delta).encode() + b"\n\n"
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await exchange.send(b"%x\r\n%b\r\n" % (len(frame), frame))
            await asyncio.sleep(0)
