"""Who is slow on purpose: with the head, with the body, or in reading what was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from time import monotonic

import pytest

from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider, ok
from tests.limits.bounds import MIB, Torrent, bounded, connected
from tests.server.raw import RawClient, chat_body, head, post

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _host(daemon: RunningDaemon) -> str:
    return f"127.0.0.1:{daemon.port}"


async def _ended(socks: list[socket.socket], timeout_s: float) -> None:
    """Every one of them was closed by the other side, whatever it had to say."""
    loop = asyncio.get_running_loop()

    async def end(sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            while await loop.sock_recv(sock, 65536):
                pass
        except ConnectionError:
            pass
        finally:
            sock.close()

    async with asyncio.timeout(timeout_s):
        await asyncio.gather(*map(end, socks))


async def test_slowloris(daemon: RunningDaemon) -> None:
    async with bounded(daemon, 40 * MIB, "slowloris, 500 heads"):
        socks = [connected(daemon) for _ in range(500)]
        for drop in range(4):
            for sock in socks:
                sock.send(b"GET / HTTP/1.1\r\n" if not drop else b"X-%d: y\r\n" % drop)
            await asyncio.sleep(0.1)
        await _ended(socks, 4)


async def test_slow_bodies(daemon: RunningDaemon) -> None:
    start = post(chat_body(), host=_host(daemon))[:-20]
    async with bounded(daemon, 40 * MIB, "slow bodies, 300"):
        socks = [connected(daemon) for _ in range(300)]
        for sock in socks:
            sock.send(start)
        await _ended(socks, 4)


async def test_a_stream_that_is_never_read_ends_with_the_total_deadline(
    daemon: RunningDaemon, fake: FakeProvider
) -> None:
    fake.script(Torrent())
    async with bounded(daemon, 40 * MIB, "20 streams never read"):
        socks = [connected(daemon, buffer_bytes=4096) for _ in range(20)]
        before = len(fake.calls)
        for sock in socks:
            sock.send(post(chat_body(stream=True), host=_host(daemon)))
        await fake.wait_calls(before + 20)
        await fake.wait_idle(15)
        for sock in socks:
            sock.close()
    fake.script(ok("fine"))


async def test_a_whole_answer_that_is_never_read_does_not_hold_its_connection(
    daemon: RunningDaemon, fake: FakeProvider
) -> None:
    words = tuple(f"word{number}" for number in range(200_000))
    fake.script(ok(words=words))
    async with bounded(daemon, 120 * MIB, "10 answers of 2 MB never read"):
        clients = [await RawClient.to(daemon.socket, limit=1024) for _ in range(10)]  # the kernel holds little of these
        for client in clients:
            await client.send(post(chat_body()))
        cancelled = await daemon.wait_log("request", count=10, stream=False, outcome="cancelled", timeout_s=6)
        assert {line["kind"] for line in cancelled} == {"client_gone"}
        for client in clients:
            with contextlib.suppress(ConnectionError):
                assert len(await client.rest(2)) < 10 * len(words) / 2
            client.abort()
    fake.script(ok("fine"))


async def test_requests_without_end_whose_answers_are_never_read(daemon: RunningDaemon) -> None:
    request = head("GET", "/v1/models") * 200
    async with bounded(daemon, 40 * MIB, "pipelining without reading"):
        socks = [socket.socket(socket.AF_UNIX) for _ in range(10)]  # the kernel holds little of these
        for sock in socks:
            sock.connect(daemon.socket)
            sock.setblocking(False)
        until = monotonic() + 5.0
        gone: set[socket.socket] = set()
        while monotonic() < until and len(gone) < len(socks):
            for sock in socks:
                try:
                    sock.send(request)
                except BlockingIOError:
                    pass
                except ConnectionError:
                    gone.add(sock)
            await asyncio.sleep(0.01)
        assert len(gone) == len(socks)
        for sock in socks:
            sock.close()


async def test_a_slow_reader_who_reads_gets_all(daemon: RunningDaemon, fake: FakeProvider) -> None:
    fake.script(ok(words=tuple(f"word{number}" for number in range(30_000))))
    async with await RawClient.to(daemon.socket, limit=4096) as client:
        await client.send(post(chat_body()))
        await asyncio.sleep(0.3)
        reply = await client.reply()
        assert reply.complete
        assert reply.json["choices"][0]["message"]["content"].endswith("word29999")
    fake.script(ok("fine"))
