"""Bodies of every size both ways: whole, bounded in memory, and never an obstacle to an early answer."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator, Callable

import pytest

from sidecar.upstream import http
from sidecar.upstream.pool import Pool
from sidecar.upstream.transport import Breach, Transport, TransportError
from tests.upstream.scripted import BOUND_S, OK, Peer, answering, get, post, serving
from tests.upstream.test_pool import fetch, text

BOTH_LOOPS = True

MB = 1 << 20
BODY = bytes(range(256)) * 4096 + b"more than 1 MiB"
TOO_LARGE = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    yield b""  # must not look like the last chunk
    for at in range(0, len(body), size):
        yield body[at : at + size]
        if at % (size * 8) == 0:
            await asyncio.sleep(0)


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, len(BODY)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_request_bodies_arrive(opened: Callable[..., Transport], size: int, chunked: bool) -> None:
    got = []

    async def script(peer: Peer) -> None:
        while True:
            got.append((await peer.request())[1])
            await peer.send(OK)

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        transport = opened(server.origin)
        for _ in range(2):
            body = pieces(BODY[:size], 3000) if chunked else BODY[:size]
            assert await fetch(transport, post(body)) == b"ok"
        await transport.aclose()
    assert [len(body) for body in got] == [size] * 2
    assert all(body == BODY[:size] for body in got)
    assert server.accepted == 1


async def test_response_bodies_arrive(opened: Callable[..., Transport]) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    async with serving(answering(head, *[BODY[at : at + 7001] for at in range(0, len(BODY), 7001)])) as server:
        async with asyncio.timeout(BOUND_S):
            transport = opened(server.origin)
            assert await fetch(transport) == BODY
            assert await fetch(transport) == BODY
            await transport.aclose()
    assert server.accepted == 1


async def test_chunks_of_one_read_come_joined(pooled: Callable[..., Pool]) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(answering(head + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n")) as server, asyncio.timeout(BOUND_S):
        reply = await pooled(server.origin).send(get(), connect_s=BOUND_S)
        assert await reply.read() == b"x" * 1000
        assert await reply.read() == b""


async def test_a_slow_reader_holds_back_the_server(pooled: Callable[..., Pool]) -> None:
    """A body of 64 MB waits in the sockets and at the server, not in this process."""
    total = 64 * MB
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        peer.writer.transport.set_write_buffer_limits(high=MB)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            await peer.send(b"x" * 65536)
            sent += 65536

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        reply = await pooled(server.origin).send(get(), connect_s=BOUND_S)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.05)
        assert 0 < sent < total / 2
        largest = received = 0
        while data := await reply.read():
            largest = max(largest, len(data))
            received += len(data)
        assert received == total
    assert largest <= 2 * http.BODY_HELD_BYTES_MAX + 65536


async def test_a_slow_server_holds_back_an_iterated_body(pooled: Callable[..., Pool]) -> None:
    total = 64 * MB
    produced = 0
    go = asyncio.Event()
    digest = hashlib.sha256()

    async def source() -> AsyncIterator[bytes]:
        nonlocal produced
        while produced < total:
            produced += 65536
            yield b"x" * 65536

    async def script(peer: Peer) -> None:
        await peer.head()
        await go.wait()
        while size := int(await peer.reader.readuntil(b"\r\n"), 16):
            digest.update((await peer.reader.readexactly(size + 2))[:-2])
        await peer.send(OK)

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        tracemalloc.start()
        sending = asyncio.ensure_future(fetch(pooled(server.origin), post(source())))
        before = -1
        while produced != before or not produced:
            before = produced
            await asyncio.sleep(0.05)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert produced < total / 2
        assert held < 8 * MB
        go.set()
        assert await sending == b"ok"
    assert digest.digest() == hashlib.sha256(b"x" * total).digest()


@pytest.mark.parametrize("iterated", [False, True])
@pytest.mark.parametrize("reset", [False, True])
async def test_an_early_answer_is_delivered(pooled: Callable[..., Pool], iterated: bool, reset: bool) -> None:
    """The server answers after the head and goes; what it did not read must not hide what it said."""
    stopped = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            stopped.set()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(TOO_LARGE)
        if reset:
            await asyncio.sleep(0.05)
            peer.reset()
        else:
            await peer.gone()

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin)
        reply = await pool.send(post(endless() if iterated else b"x" * 32 * MB), connect_s=BOUND_S)
        assert reply.status == 413
        assert await text(reply) == b"big"
        if iterated:
            await stopped.wait()
        await server.emptied()
        assert (pool.idle, pool.in_use) == (0, 0)


async def test_a_body_that_fails_fails_its_request(pooled: Callable[..., Pool]) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise LookupError("the client went away")

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin)
        with pytest.raises(LookupError):
            await pool.send(post(broken()), connect_s=BOUND_S)
        await server.emptied()


async def test_a_body_that_fails_after_the_head_cuts_the_answer(pooled: Callable[..., Pool]) -> None:
    answered = asyncio.Event()

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        await answered.wait()
        raise LookupError("the client went away")

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nok")
        await peer.gone()

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        reply = await pooled(server.origin).send(post(broken()), connect_s=BOUND_S)
        answered.set()
        with pytest.raises(TransportError) as caught:
            await text(reply)
        assert caught.value.breach is Breach.CUT
        await server.emptied()


async def test_trailers_without_end_are_refused(pooled: Callable[..., Pool]) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head)
        while True:
            await peer.send(b"X: " + b"x" * 8000)

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        reply = await pooled(server.origin).send(get(), connect_s=BOUND_S)
        assert await reply.read() == b"hello"
        with pytest.raises(TransportError) as caught:
            await reply.read()
        assert caught.value.breach is Breach.PROTOCOL
