"""Connections are used again exactly when they may be, and nothing is left when they are not."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from sidecar.upstream.http import Connection
from sidecar.upstream.pool import Pool
from sidecar.upstream.transport import Breach, Reply, Transport, TransportError, UpstreamRequest
from tests.upstream.scripted import BOUND_S, OK, Peer, Script, answering, get, post, serving

BOTH_LOOPS = True

CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
CLOSING_OK = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
OLD_OK = OK.replace(b"HTTP/1.1", b"HTTP/1.0")


async def text(reply: Reply) -> bytes:
    body = b""
    while data := await reply.read():
        body += data
    return body


async def fetch(transport: Transport, request: UpstreamRequest | None = None) -> bytes:
    """One exchange, read to its end."""
    reply = await transport.send(request or get(), connect_s=BOUND_S)
    return await text(reply)


async def breach_of(transport: Transport, request: UpstreamRequest) -> Breach:
    with pytest.raises(TransportError) as caught:
        await fetch(transport, request)
    return caught.value.breach


@pytest.mark.parametrize("answer", [OK, CHUNKED_OK])
async def test_a_hundred_requests_use_one_connection(opened: Callable[..., Transport], answer: bytes) -> None:
    async with serving(answering(answer)) as server, asyncio.timeout(BOUND_S):
        transport = opened(server.origin)
        for _ in range(100):
            assert await fetch(transport, post(b"{}")) == b"ok"
        await transport.aclose()
    assert server.accepted == 1


@pytest.mark.parametrize("answer", [CLOSING_OK, OLD_OK])
async def test_an_answer_that_ends_its_connection_is_believed(opened: Callable[..., Transport], answer: bytes) -> None:
    async with serving(answering(answer)) as server, asyncio.timeout(BOUND_S):
        transport = opened(server.origin)
        assert [await fetch(transport) for _ in range(3)] == [b"ok"] * 3
        await transport.aclose()
    assert server.accepted == 3


async def test_the_first_connection_took_time_and_the_second_was_there(opened: Callable[..., Transport]) -> None:
    async with serving(answering(OK)) as server, asyncio.timeout(BOUND_S):
        transport = opened(server.origin)
        replies = []
        for _ in range(2):
            replies.append(await transport.send(get(), connect_s=BOUND_S))
            await text(replies[-1])
        await transport.aclose()
    first, second = (reply.connect_s for reply in replies)
    assert first is not None
    assert 0 < first < BOUND_S
    assert second is None


async def test_cookies_are_not_replayed(opened: Callable[..., Transport]) -> None:
    heads = []

    async def script(peer: Peer) -> None:
        while True:
            heads.append((await peer.request())[0])
            await peer.send(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n"))

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        transport = opened(server.origin)
        await fetch(transport)
        await fetch(transport)
        await transport.aclose()
    assert len(heads) == 2
    assert b"cookie" not in heads[1].lower()


async def test_nothing_is_added_to_a_request_but_its_framing(opened: Callable[..., Transport]) -> None:
    heads = []

    async def script(peer: Peer) -> None:
        heads.append((await peer.request())[0])
        await peer.send(OK)

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        transport = opened(server.origin)
        headers = [("X-Twice", "1"), ("Accept", "*/*"), ("X-Twice", "2")]
        await fetch(transport, UpstreamRequest("POST", "/a%2Fb?c=%20d", headers, b"{}"))
        await transport.aclose()
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "POST /a%2Fb?c=%20d HTTP/1.1"
    assert [line for line in lines if line.startswith(("X-", "Accept"))] == ["X-Twice: 1", "Accept: */*", "X-Twice: 2"]
    assert sorted(line.split(":")[0] for line in lines[1:-2]) == [
        *("Accept", "Content-Length", "Host", "X-Twice", "X-Twice"),
    ]


async def test_the_last_connection_used_is_the_first_used_again(pooled: Callable[..., Pool]) -> None:
    ports = []

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            ports.append(peer.writer.get_extra_info("peername")[1])
            await peer.send(OK)

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin)
        first, second = [await pool.send(get(), connect_s=BOUND_S) for _ in range(2)]
        assert (pool.opened, pool.in_use, pool.idle) == (2, 2, 0)
        await text(first)
        await text(second)
        assert (pool.opened, pool.in_use, pool.idle) == (2, 0, 2)
        await fetch(pool)
        await pool.aclose()
    assert ports[2] == ports[1] != ports[0]


async def test_idle_connections_expire(pooled: Callable[..., Pool]) -> None:
    async with serving(answering(OK)) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin, idle_s=0.02)
        replies = [await pool.send(get(), connect_s=BOUND_S) for _ in range(3)]
        for reply in replies:
            await text(reply)
        assert pool.idle == 3
        await server.emptied()
        assert pool.idle == 0


async def test_no_more_than_max_idle_are_kept(pooled: Callable[..., Pool]) -> None:
    async with serving(answering(OK)) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin, max_idle=1)
        replies = [await pool.send(get(), connect_s=BOUND_S) for _ in range(3)]
        for reply in replies:
            await text(reply)
        assert (pool.idle, pool.in_use) == (1, 0)
        await pool.aclose()


@pytest.mark.parametrize("last_words", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"\r\n"])
async def test_an_idle_connection_that_stirs_is_dropped(pooled: Callable[..., Pool], last_words: bytes) -> None:
    stir = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await stir.wait()
        await peer.send(last_words)

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin)
        await fetch(pool)
        assert pool.idle == 1
        stir.set()
        await server.emptied()
        while pool.idle:
            await asyncio.sleep(0.001)
        assert await fetch(pool) == b"ok"
        assert pool.opened == 2


def silent_from(turn: int, *parts: bytes) -> Script:
    """Answers the first `turn - 1` requests of all connections; takes each later one, sends `parts` and hangs up."""
    served = 0

    async def script(peer: Peer) -> None:
        nonlocal served
        while True:
            await peer.request()
            served += 1
            if served >= turn:
                await peer.send(*parts)
                return peer.close()
            await peer.send(OK)

    return script


@pytest.mark.parametrize("reset", [False, True])
async def test_a_stale_connection_is_replaced_once(pooled: Callable[..., Pool], reset: bool) -> None:
    served = 0

    async def script(peer: Peer) -> None:
        nonlocal served
        while True:
            await peer.request()
            served += 1
            if served == 2:
                return peer.reset() if reset else peer.close()
            await peer.send(OK)

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin)
        assert [await fetch(pool, post(b"{}")) for _ in range(2)] == [b"ok"] * 2
        await pool.aclose()
    assert (server.accepted, served) == (2, 3)


async def test_a_second_silence_is_the_answer(pooled: Callable[..., Pool]) -> None:
    async with serving(silent_from(2)) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin)
        await fetch(pool, post(b"{}"))
        assert await breach_of(pool, post(b"{}")) is Breach.RESET
    assert server.accepted == 2


async def test_a_new_connection_that_says_nothing_is_not_tried_again(pooled: Callable[..., Pool]) -> None:
    async with serving(silent_from(1)) as server, asyncio.timeout(BOUND_S):
        assert await breach_of(pooled(server.origin), post(b"{}")) is Breach.RESET
    assert server.accepted == 1


async def test_a_request_is_not_sent_again_after_one_byte_of_an_answer(pooled: Callable[..., Pool]) -> None:
    async with serving(silent_from(2, b"H")) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin)
        await fetch(pool, post(b"{}"))
        assert await breach_of(pool, post(b"{}")) is Breach.CUT
    assert server.accepted == 1


async def test_a_body_that_cannot_be_sent_twice_is_not(pooled: Callable[..., Pool]) -> None:
    async def once() -> AsyncIterator[bytes]:
        yield b"{}"

    async with serving(silent_from(2)) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin)
        await fetch(pool)
        assert await breach_of(pool, post(once())) is Breach.RESET
    assert server.accepted == 1


async def test_bytes_after_the_answer_cost_the_connection(pooled: Callable[..., Pool]) -> None:
    async with serving(answering(OK + OK)) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin)
        assert [await fetch(pool) for _ in range(3)] == [b"ok"] * 3
        assert pool.opened == 3


async def test_head_requests_do_not_take_a_body_for_the_next_answer(pooled: Callable[..., Pool]) -> None:
    async with serving(answering(OK)) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin)
        assert await fetch(pool, UpstreamRequest("HEAD", "/", [])) == b""
        assert await fetch(pool) == b"ok"


async def test_a_reply_closed_before_its_end_costs_the_connection(opened: Callable[..., Transport]) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
        await peer.gone()

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        transport = opened(server.origin)
        for _ in range(2):
            reply = await transport.send(get(), connect_s=BOUND_S)
            reply.close()
            reply.close()
            with pytest.raises(TransportError):
                await reply.read()
            await server.emptied()
        await transport.aclose()
    assert server.accepted == 2


async def test_closing_breaks_what_runs_and_refuses_what_comes(opened: Callable[..., Transport]) -> None:
    async def script(peer: Peer) -> None:
        head, _ = await peer.request()
        if b"/body" in head:
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
        await peer.gone()

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        transport = opened(server.origin)
        reply = await transport.send(get("/body"), connect_s=BOUND_S)
        assert await reply.read() == b"ok"
        reading = asyncio.ensure_future(reply.read())
        waiting = asyncio.ensure_future(transport.send(get("/head"), connect_s=BOUND_S))
        while server.accepted < 2:
            await asyncio.sleep(0.001)
        await transport.aclose()
        await transport.aclose()
        for running, breach in ((reading, Breach.CUT), (waiting, Breach.RESET)):
            with pytest.raises(TransportError) as caught:
                await running
            assert caught.value.breach is breach
        with pytest.raises(TransportError):
            await transport.send(get(), connect_s=BOUND_S)
        await server.emptied()
        reply.close()


async def test_closing_does_not_pass_for_the_end_of_a_close_delimited_body(pooled: Callable[..., Pool]) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nok")
        await peer.gone()

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        pool = pooled(server.origin)
        reply = await pool.send(get(), connect_s=BOUND_S)
        assert await reply.read() == b"ok"
        await pool.aclose()
        with pytest.raises(TransportError) as caught:
            await reply.read()
        assert caught.value.breach is Breach.CUT


async def _news(connection: Connection, until: Callable[[Connection], bool]) -> None:
    """Until its listener was told often enough."""
    told = asyncio.Event()
    connection.listen(told.set)
    async with asyncio.timeout(BOUND_S):
        while not until(connection):
            await told.wait()
            told.clear()


async def test_what_is_launched_is_sent_on_a_new_connection_as_soon_as_it_is_there(pooled: Callable[..., Pool]) -> None:
    async with serving(answering(OK)) as server:
        pool = pooled(server.origin)
        assert pool.launch(post(b"{}")) is None  # none is idle
        for number in (1, 2):
            launched = pool.launch(post(b"{}"), connect_s=BOUND_S)
            assert launched is not None
            assert pool.in_use == 1
            await _news(launched, lambda each: each.whole_now() is not None)
            reply = launched.response_now()
            assert reply is not None
            assert (reply.connect_s is not None) is (number == 1)
            assert reply.take_rest() == b"ok"
        await pool.aclose()
    assert (server.accepted, pool.opened) == (1, 1)


async def test_who_listens_is_told_that_there_will_be_no_connection(pooled: Callable[..., Pool]) -> None:
    async with serving(answering(OK)) as server:
        origin = server.origin
    pool = pooled(origin)
    launched = pool.launch(post(b"{}"), connect_s=BOUND_S)
    assert launched is not None
    await _news(launched, lambda each: each.broken)
    with pytest.raises(TransportError) as caught:
        await pool.land(launched, post(b"{}"), connect_s=BOUND_S)
    assert (caught.value.breach, pool.in_use) == (Breach.CONNECT, 0)


async def test_a_launch_that_is_given_up_leaves_no_connection(pooled: Callable[..., Pool]) -> None:
    async with serving(answering(OK)) as server:
        pool = pooled(server.origin)
        launched = pool.launch(post(b"{}"), connect_s=BOUND_S)
        assert launched is not None
        launched.abort()
        assert (launched.broken, pool.in_use) == (True, 0)
        assert await fetch(pool) == b"ok"
        await pool.aclose()
        await server.emptied()
    assert pool.opened == 1
