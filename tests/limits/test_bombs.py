"""What grows without end, in either direction: compressed, chunked, in a head, in a line."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from dataclasses import dataclass

import pytest

from tests.daemon import RunningDaemon
from tests.fake_behaviours import Behaviour, Exchange
from tests.fake_provider import FakeProvider, ok
from tests.limits.bounds import MIB, bounded
from tests.server.raw import RawClient, chat_body, head, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

_BLOCK = b"x" * 65536
_CHUNK = b"10000\r\n" + _BLOCK + b"\r\n"
_CHUNKED = b"HTTP/1.1 %d OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n%b\r\n"


@dataclass(frozen=True)
class Flood(Behaviour):
    """A beginning, and then the same again until the peer has left."""

    begin: bytes
    again: bytes

    async def play(self, exchange: Exchange) -> None:
        await exchange.send(self.begin)
        while True:
            await exchange.send(self.again)
            await asyncio.sleep(0)


def _gzipped(mib: int) -> bytes:
    body = gzip.compress(bytes(mib * MIB), 1)
    start = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
    return start + b"content-length: %d\r\n\r\n" % len(body) + body


FLOODS = {
    "the answer's head": Flood(b"HTTP/1.1 200 OK\r\n", b"x-name: " + b"y" * 1000 + b"\r\n"),
    "one line of the head": Flood(b"HTTP/1.1 200 OK\r\nx-name: ", b"y" * 10_000),
    "one event": Flood(_CHUNKED % (200, b"text/event-stream", b"") + b"6\r\ndata: \r\n", _CHUNK),
    "comments": Flood(_CHUNKED % (200, b"text/event-stream", b""), b"2000\r\n" + b": wait\n\n" * 1024 + b"\r\n"),
    "an error": Flood(_CHUNKED % (500, b"application/json", b""), _CHUNK),
    "a chunk's extension": Flood(_CHUNKED % (200, b"application/json", b"") + b"1;", b"y" * 10_000),
    "interim answers": Flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "a body for which nobody asked": Flood(b"HTTP/1.1 204 No Content\r\n\r\n", _BLOCK),
    "a whole answer": Flood(_CHUNKED % (200, b"application/json", b""), _CHUNK),
}


@pytest.mark.parametrize("what", FLOODS)
async def test_a_provider_that_never_ends(daemon: RunningDaemon, fake: FakeProvider, what: str) -> None:
    fake.script(FLOODS[what])
    # The other transport is for proxies; its library takes interim answers as fast as they come.
    routes = ("default",) if what == "interim answers" else ("default", "aiohttp")
    async with bounded(daemon, 250 * MIB if what == "a whole answer" else 60 * MIB, f"from a provider: {what}"):
        stream = what in ("one event", "comments")
        assert not any(await asyncio.gather(*(_answered(daemon, route, stream=stream) for route in routes)))
        await fake.wait_closed_connections()
    fake.script(ok("fine"))


async def _answered(daemon: RunningDaemon, route: str, *, stream: bool) -> bool:
    """Whether the client got what looks like an answer; one that breaks off does not."""
    async with await RawClient.to(daemon.socket) as client:
        reply = await client.ask(post(chat_body(route, stream=stream)))
        return reply.status == 200 and reply.complete


async def test_an_answer_that_is_a_bomb_is_never_unpacked(daemon: RunningDaemon, fake: FakeProvider) -> None:
    for route in ("default", "aiohttp"):
        fake.script(Once(_gzipped(100)))
        async with bounded(daemon, 30 * MIB, f"an answer of 100 MiB in 450 KiB, by {route}"):
            status, _, _ = await daemon.chat(route)
            assert status != 200
    fake.script(ok("fine"))


@dataclass(frozen=True)
class Once(Behaviour):
    """Some bytes, and then a FIN."""

    said: bytes

    async def play(self, exchange: Exchange) -> None:
        await exchange.send(self.said)
        exchange.hang_up("fin")


async def test_a_request_that_is_a_bomb_is_never_unpacked(daemon: RunningDaemon) -> None:
    bomb = gzip.compress(bytes(100 * MIB), 1)
    async with bounded(daemon, 20 * MIB, "a request of 100 MiB in 450 KiB"):
        for encoding in ("gzip", "deflate", "br", "identity, gzip"):
            async with await RawClient.to(daemon.socket) as client:
                assert (await client.ask(post(bomb, ("Content-Encoding", encoding)))).status == 415


async def test_uploads_without_end(daemon: RunningDaemon) -> None:
    """Eight at once; what each may hold is `limits.max_body`, here its default of 32 MiB."""
    start = head("POST", "/v1/chat/completions", ("Content-Type", "application/json"), ("Transfer-Encoding", "chunked"))

    async def upload() -> int:
        async with await RawClient.to(daemon.socket) as client:
            await client.send(start)
            with contextlib.suppress(ConnectionError):
                for _ in range(40 * MIB // len(_BLOCK)):
                    await client.send(_CHUNK)
            return (await client.reply()).status

    async with bounded(daemon, 8 * 2 * 32 * MIB + 40 * MIB, "8 uploads without end"):
        assert set(await asyncio.gather(*(upload() for _ in range(8)))) == {413}


async def test_a_body_of_small_chunks_costs_no_more_than_its_size(daemon: RunningDaemon) -> None:
    """A chunk of one byte is the dearest way to send one."""
    start = head("POST", "/v1/chat/completions", ("Content-Type", "application/json"), ("Transfer-Encoding", "chunked"))
    async with bounded(daemon, 60 * MIB, "a body in chunks of one byte"), await RawClient.to(daemon.socket) as client:
        await client.send(start)
        for _ in range(20):
            await client.send(b"1\r\n \r\n" * 10_000)
        await client.send(b"0\r\n\r\n")
        assert (await client.reply()).status == 400


async def test_long_names_are_not_kept(daemon: RunningDaemon, fake: FakeProvider) -> None:
    """A model's name is the client's text; neither the log nor the metrics may keep megabytes of it."""
    fake.script(ok("fine"))
    async with bounded(daemon, 60 * MIB, "50 models' names of 1 MB"):
        for number in range(50):
            async with await RawClient.to(daemon.socket) as client:
                reply = await client.ask(post(chat_body(f"fake/{number}-{'n' * 1_000_000}")))
                assert reply.error["param"] == "model"
        assert len((await daemon.admin("GET", "/metrics"))[1]) < MIB
