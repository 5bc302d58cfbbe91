"""Clients who do not stop: new connections, kept ones, and streams, and what became of every request.

A client here is as strict as one may be. It never connects twice for one request, and sends a request again
only if it was the second or a later one of its connection and not a byte of an answer had come: then the
server had closed an idle connection, which HTTP lets it do at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.server.raw import chat_body, post

__all__ = ["Load", "loaded"]

_PATIENCE_S = 20.0
_PAUSE_S = 0.01

Where = str | int  # a path, or a port on loopback


class _Unanswered(Exception):
    """The connection ended before a byte of an answer."""


class Load:
    """What became of the requests so far."""

    def __init__(self) -> None:
        self.good: Counter[str] = Counter()  # by kind of client
        self.repeated = 0
        self.refused: list[str] = []
        self.broken: list[str] = []
        self.over = False

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.good.items()))
        return f"{counts}; {self.repeated} repeated, {len(self.refused)} refused, {len(self.broken)} broken"

    async def grown(self, by: int) -> None:
        """Wait until so many more requests of each kind were answered."""
        aim = {kind: count + by for kind, count in self.good.items()}
        async with asyncio.timeout(_PATIENCE_S):
            while any(self.good[kind] < count for kind, count in aim.items()):
                await asyncio.sleep(_PAUSE_S)


class _Client:
    """One connection at a time to one place."""

    def __init__(self, load: Load, where: Where) -> None:
        self._load = load
        self._where = where
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._asked = 0  # on this connection

    async def ask(self, kind: str, request: bytes, *, last: bytes) -> None:
        """Send a request and read its answer, which is good when it is a 200 that ends with `last`."""
        while True:
            if self._writer is None and not await self._connect():
                return
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    problem = await self._exchange(request, last)
            except _Unanswered as error:
                again = self._asked > 1
                await self.close()
                if again:
                    self._load.repeated += 1
                    continue
                problem = f"{kind}: a new connection: {error}"
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                problem = f"{kind}: {error!r}"
            if problem is None:
                self._load.good[kind] += 1
            else:
                self._load.broken.append(problem)
                await self.close()
            return

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        self._writer = None

    async def _connect(self) -> bool:
        try:
            if isinstance(self._where, int):
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._where)
            else:
                self._reader, self._writer = await asyncio.open_unix_connection(self._where)
        except OSError as error:
            self._load.refused.append(repr(error))
            return False
        self._asked = 0
        return True

    async def _exchange(self, request: bytes, last: bytes) -> str | None:
        """What is wrong with the answer, if anything."""
        assert self._reader is not None
        assert self._writer is not None
        self._asked += 1
        try:
            self._writer.write(request)
            await self._writer.drain()
            first = await self._reader.readexactly(1)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise _Unanswered(repr(error)) from error
        head = (first + await self._reader.readuntil(b"\r\n\r\n")).lower()
        body = await self._body(self._reader, head)
        if b"\r\nconnection: close\r\n" in head:
            await self.close()
        return None if head.startswith(b"http/1.1 200 ") and body.endswith(last) else f"{head!r} {body[-300:]!r}"

    @staticmethod
    async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
        if b"\r\ntransfer-encoding: chunked\r\n" not in head:
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
            return await reader.readexactly(int(length.partition(b":")[2]))
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return body


@asynccontextmanager
async def loaded(*places: Where) -> AsyncIterator[Load]:
    """Clients at work on each place, until the end of the block; it then waits for their last answers."""
    load = Load()
    workers = [
        asyncio.create_task(work)
        for place in places
        for work in (
            *(_asking(load, place, "on new connections", keep=False) for _ in range(2)),
            *(_asking(load, place, "on kept connections", keep=True) for _ in range(2)),
            *(_streaming(load, place) for _ in range(3)),
        )
    ]
    load.good.update(dict.fromkeys(("on new connections", "on kept connections", "streams"), 0))
    try:
        yield load
        load.over = True
        await asyncio.wait_for(asyncio.gather(*workers), _PATIENCE_S)
    finally:
        for worker in workers:
            worker.cancel()


async def _asking(load: Load, where: Where, kind: str, *, keep: bool) -> None:
    client = _Client(load, where)
    request = _request(where, "fast")
    while not load.over:
        await client.ask(kind, request, last=b"}")
        if not keep:
            await client.close()
        await asyncio.sleep(_PAUSE_S)
    await client.close()


async def _streaming(load: Load, where: Where) -> None:
    client = _Client(load, where)
    while not load.over:
        await client.ask("streams", _request(where, "slow", stream=True), last=b"data: [DONE]\n\n")
        await client.close()
        await asyncio.sleep(_PAUSE_S)


def _request(where: Where, model: str, *, stream: bool = False) -> bytes:
    host = f"localhost:{where}" if isinstance(where, int) else "localhost"
    return post(chat_body(model, stream=stream), host=host)
