"""A cancelled exchange leaves nothing, wherever it was: the server sees the end, the pool holds no connection."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme

from sidecar.model.topology import Tls
from sidecar.upstream.pool import Pool
from sidecar.upstream.transport import Origin, Transport, TransportError, UpstreamRequest
from tests.upstream.scripted import BOUND_S, OK, Peer, answering, get, post, serving
from tests.upstream.test_pool import fetch, text

BOTH_LOOPS = True

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65536


async def stalled() -> AsyncIterator[bytes]:
    yield b"x"
    await asyncio.Event().wait()


STAGES: dict[str, tuple[bytes, Callable[[], UpstreamRequest]]] = {
    "before the head": (b"", get),
    "in the head": (b"HTTP/1.1 200 OK\r\nX:", get),
    "in the body": (HEAD + b"x", get),
    "before the body": (HEAD, get),
    "while a large body is sent": (b"", lambda: post(b"x" * (32 << 20))),
    "while an iterated body is held back": (b"", lambda: post(endless())),
    "while an iterated body has nothing": (b"", lambda: post(stalled())),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_the_server_sees_the_end(opened: Callable[..., Transport], stage: str) -> None:
    answer, request = STAGES[stage]
    said = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer)
        said.set()
        await asyncio.sleep(0.02)
        await peer.gone()

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        transport = opened(server.origin)

        async def exchange() -> None:
            await text(await transport.send(request(), connect_s=BOUND_S))

        running = asyncio.ensure_future(exchange())
        await said.wait()
        await asyncio.sleep(0.02)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await server.emptied()
        if isinstance(transport, Pool):
            assert (transport.idle, transport.in_use) == (0, 0)


@pytest.mark.parametrize("turns", range(12))
async def test_at_any_turn_of_the_loop(pooled: Callable[..., Pool], turns: int) -> None:
    async with serving(answering(OK)) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin)
        running = asyncio.ensure_future(fetch(pool, post(b"{}")))
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        assert pool.in_use == 0
        assert await fetch(pool) == b"ok"
        await pool.aclose()
        await server.emptied()


async def test_in_the_handshake(opened: Callable[..., Transport]) -> None:
    began = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.reader.readexactly(1)
        began.set()
        await peer.gone()

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        transport = opened(Origin("https", "127.0.0.1", server.origin.port))
        running = asyncio.ensure_future(transport.send(get(), connect_s=BOUND_S))
        await began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await server.emptied()


async def test_over_tls_in_the_body(opened: Callable[..., Transport], tmp_path: object) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"x")
        await peer.gone()

    with authority.cert_pem.tempfile() as ca_file:
        async with serving(script, context=context, tls=Tls(ca_file)) as server, asyncio.timeout(BOUND_S):
            reply = await opened(server.origin).send(get(), connect_s=BOUND_S)
            assert await reply.read() == b"x"
            reading = asyncio.ensure_future(reply.read())
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            with pytest.raises(TransportError):
                await reply.read()
            await server.emptied()
