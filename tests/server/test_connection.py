"""One connection: deadlines and sizes of heads, what is no HTTP, one connection too many, going away."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress

import pytest

from tests.fake_provider import FakeProvider, ok, silence
from tests.server.house import House, config, open_house
from tests.server.raw import RawClient, chat_body, head, post

LIMITS = "{header_timeout: 100ms, keepalive: 250ms, max_header: 4KiB, max_connections: 5}"


@pytest.fixture
async def strict(fake: FakeProvider):
    """Heads are no matter of the wire: one of them is enough."""
    async with open_house(config(fake.base_url, limits=LIMITS)) as opened:
        yield opened


# -- what is no HTTP

NONSENSE = {
    "no http": b"hello\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "control in the path": b"GET /\x00\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no version": b"GET /healthz\r\nHost: localhost\r\n\r\n",
    "odd version": b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "odd method": b"G=T /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "space in a name": b"GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "NUL in a value": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: a\x00b\r\n\r\n",
    "bare CR in a value": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: a\rX-B: b\r\n\r\n",
    "folded line": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: a\r\n b\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.com\r\n\r\n",
    "two lengths": b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "length and chunks": b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "length of words": b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x10\r\n\r\n",
    "odd coding": b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    "a key in a bad line": b"GET /healthz HTTP/1.1\r\nAuthorization: Bearer sk-canary-0123456789\x00\r\n\r\n",
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_what_is_no_http_is_400_in_json_or_closed_and_one_line(
    house: House, fake: FakeProvider, via: str, name: str
) -> None:
    async with await RawClient.to(house.where(via)) as client:
        await client.send(NONSENSE[name])
        try:
            reply = await client.reply()
        except (asyncio.IncompleteReadError, ConnectionError):
            reply = None
        if reply is not None:
            assert reply.status in (400, 421)
            assert reply.error["message"]
            assert reply.header("server") is None
            assert "canary" not in str(reply.json)
        assert await client.rest() == b""
    lines = house.lines("request.refused")
    assert len(lines) <= 1
    for line in lines:
        assert "traceback" not in line
        assert "canary" not in json.dumps(line)
    assert not fake.calls
    assert (await house.once(via, post(chat_body(), host=house.host(via)))).status == 200


async def test_nonsense_after_a_good_request_ends_the_connection(house: House, via: str) -> None:
    async with await RawClient.to(house.where(via)) as client:
        assert (await client.ask(head("GET", "/healthz", host=house.host(via)))).status == 200
        reply = await client.ask(b"nonsense\r\n\r\n")
        assert reply.status == 400
        assert reply.error["message"]
        assert await client.rest() == b""


async def test_a_flood_of_nonsense_is_a_few_lines_and_a_count(house: House) -> None:
    for _ in range(40):
        async with await RawClient.to(house.socket) as client:
            await client.send(b"nonsense\r\n\r\n")
            await client.rest()
    assert 1 <= len(house.lines("request.refused")) <= 30
    house.manager.log.flush()
    [limited] = house.lines("log.limited")[:1]
    assert limited["count"] >= 10


# -- heads


async def test_a_head_that_never_ends_is_closed_after_its_deadline(strict: House, via: str) -> None:
    began = asyncio.get_running_loop().time()
    async with await RawClient.to(strict.where(via)) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\nHost: loc")
        reply = await client.reply()
        assert reply.status == 408
        assert "0.1 s" in reply.error["message"]
        assert await client.rest() == b""
    assert asyncio.get_running_loop().time() - began < 8


async def test_a_head_that_comes_byte_by_byte_is_closed_after_its_deadline(strict: House, via: str) -> None:
    where, loop = strict.where(via), asyncio.get_running_loop()
    family = socket.AF_INET if isinstance(where, int) else socket.AF_UNIX
    with socket.socket(family) as client:  # bare: a stream of asyncio drops the answer when its next write fails
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", where) if isinstance(where, int) else where)
        answer = asyncio.create_task(loop.sock_recv(client, 4096))
        for byte in b"GET /healthz HTTP/1.1\r\n" + b"X-Slow: very\r\n" * 100:
            if answer.done():
                break
            with suppress(OSError):  # it was closed a moment ago
                await loop.sock_sendall(client, bytes([byte]))
            await asyncio.wait({answer}, timeout=0.02)
        assert (await answer).startswith(b"HTTP/1.1 408 ")


async def test_the_deadline_holds_for_every_head_of_a_connection(strict: House, via: str) -> None:
    good = head("GET", "/healthz", host=strict.host(via))
    async with await RawClient.to(strict.where(via)) as client:
        for _ in range(3):  # each in two parts, together longer than one deadline
            await client.send(good[:20])
            await asyncio.sleep(0.05)
            await client.send(good[20:])
            assert (await client.reply()).status == 200
        await client.send(good[:20])
        assert (await client.reply()).status == 408
        assert await client.rest() == b""


async def test_a_client_that_never_speaks_is_closed_without_a_word(strict: House, via: str) -> None:
    async with await RawClient.to(strict.where(via)) as client:
        assert await client.rest(2) == b""
    assert not strict.lines("request.refused")


async def test_an_idle_connection_is_closed_after_its_time(strict: House, via: str) -> None:
    async with await RawClient.to(strict.where(via)) as client:
        began = asyncio.get_running_loop().time()
        assert (await client.ask(head("GET", "/healthz", host=strict.host(via)))).status == 200
        assert await client.rest(20) == b""
        assert 0.2 < asyncio.get_running_loop().time() - began < 15


async def test_a_slow_answer_is_not_taken_for_a_slow_head(strict: House, fake: FakeProvider, via: str) -> None:
    fake.script(ok("slow", first_token_delay_s=0.3))
    requests = [post(chat_body(stream=stream), host=strict.host(via)) for stream in (False, True)]
    for reply in await asyncio.gather(*(strict.once(via, request) for request in requests)):
        assert (reply.status, reply.complete) == (200, True)


async def test_a_slow_body_is_not_taken_for_a_slow_head(strict: House, via: str) -> None:
    request = post(chat_body(), host=strict.host(via))
    async with await RawClient.to(strict.where(via)) as client:
        await client.send(request[:-5])
        await asyncio.sleep(0.2)
        assert (await client.ask(request[-5:])).status == 200


@pytest.mark.parametrize(
    "request_",
    [
        head("GET", "/" + "x" * 5000),
        head("GET", "/healthz", ("X-Long", "x" * 5000)),
        head("GET", "/healthz", ("X" * 5000, "x")),
    ],
)
async def test_a_line_that_is_too_long_is_431(strict: House, via: str, request_: bytes) -> None:
    async with await RawClient.to(strict.where(via)) as client:
        reply = await client.ask(request_.replace(b"Host: localhost", b"Host: " + strict.host(via).encode()))
        assert reply.status == 431
        assert "limits.max_header" in reply.error["message"]
        assert await client.rest() == b""


async def test_many_short_lines_are_too_long_together(fake: FakeProvider, via: str) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 90) for number in range(30))
    calm = config(fake.base_url, limits="{max_header: 4KiB}")
    async with open_house(calm) as house, await RawClient.to(house.where(via)) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\n" + lines)
        await asyncio.sleep(0.05)
        reply = await client.ask(lines)
        assert reply.status == 431
        assert "4096" in reply.error["message"]
        assert await client.rest() == b""


async def test_too_many_lines_are_refused(house: House, via: str) -> None:
    lines = [(f"X-{number}", "y") for number in range(200)]
    assert (await house.once(via, head("GET", "/healthz", *lines, host=house.host(via)))).status == 400


async def test_empty_lines_for_ever_are_no_head(strict: House, via: str) -> None:
    async with await RawClient.to(strict.where(via)) as client:
        await client.send(b"\r\n" * 10_000)
        assert (await client.reply()).status in (400, 408, 431)


# -- how many


async def test_one_connection_too_many_is_503_and_the_others_go_on(strict: House, via: str) -> None:
    good = head("GET", "/healthz", host=strict.host(via))
    clients = [await RawClient.to(strict.where(via)) for _ in range(5)]
    try:
        for client in clients:
            assert (await client.ask(good)).status == 200
        other = "unix" if via == "tcp" else "tcp"  # all doors count together
        async with await RawClient.to(strict.where(other)) as late:
            reply = await late.reply()
            assert (reply.status, reply.closes, reply.header("retry-after")) == (503, True, "1")
            assert "limits.max_connections" in reply.error["message"]
            assert await late.rest() == b""
        assert (await clients[0].ask(good)).status == 200
        clients.pop().abort()
        await asyncio.sleep(0.05)
        async with await RawClient.to(strict.where(via)) as next_one:
            assert (await next_one.ask(good)).status == 200
    finally:
        for client in clients:
            client.abort()


async def test_connections_that_ended_are_not_counted(strict: House, via: str) -> None:
    for number in range(30):
        async with await RawClient.to(strict.where(via)) as client:
            match number % 3:
                case 0:
                    await client.send(b"nonsense\r\n\r\n")
                    await client.rest()
                case 1:
                    assert (await client.ask(head("GET", "/healthz", host=strict.host(via)))).status == 200
                case _:
                    await client.send(b"GET /")
        await asyncio.sleep(0.005)


# -- going away


async def test_an_open_connection_gets_one_more_answer_from_a_door_that_closes(
    house: House, fake: FakeProvider, via: str
) -> None:
    host = house.host(via)
    async with await RawClient.to(house.where(via)) as idle, await RawClient.to(house.where(via)) as streaming:
        assert not (await idle.ask(head("GET", "/healthz", host=host))).closes
        fake.script(ok("one two three four five six seven eight nine ten", gap_s=0.02))
        await streaming.send(post(chat_body(stream=True), host=host))
        began = await streaming.head()
        assert began.status == 200
        house.doors.stop_accepting()
        house.manager.draining = True
        with pytest.raises(OSError):  # noqa: PT011 - refused, or the socket's path is gone
            await RawClient.to(house.where(via))
        reply = await idle.ask(head("GET", "/readyz", host=host))
        assert (reply.status, reply.closes, reply.json["ready"]) == (503, True, False)
        assert await idle.rest() == b""
        stream = b""
        while piece := await streaming.chunk():
            stream += piece
        assert stream.endswith(b"data: [DONE]\n\n")
        assert await streaming.rest() == b""


async def test_an_upload_is_under_way_too(house: House, fake: FakeProvider, via: str) -> None:
    request = post(chat_body(), host=house.host(via))
    async with await RawClient.to(house.where(via)) as client:
        await client.send(request[:-5])
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(house.doors.drained(5))
        house.doors.stop_accepting()
        await asyncio.sleep(0.1)
        assert not draining.done()
        reply = await client.ask(request[-5:])
        assert (reply.status, reply.closes) == (200, True)
        await asyncio.wait_for(draining, 2)


async def test_closing_ends_what_is_left_with_an_error_event(house: House, fake: FakeProvider, via: str) -> None:
    fake.script(ok(gap_s=0.05))
    async with await RawClient.to(house.where(via)) as client:
        await client.send(post(chat_body(stream=True), host=house.host(via)))
        await client.head()
        await client.chunk()
        await house.doors.drained(0.05)
        house.manager.stop_active()
        await house.doors.close(2)
        rest = await client.rest()
        last = rest.decode().rpartition("data: ")[2].partition("\n")[0]
        assert "stopping" in json.loads(last)["error"]["message"]
        assert b"[DONE]" not in rest
        assert not rest.endswith(b"0\r\n\r\n")


async def test_closing_waits_no_longer_than_it_may(house: House, fake: FakeProvider, via: str) -> None:
    fake.script(silence())
    async with await RawClient.to(house.where(via)) as busy, await RawClient.to(house.where(via)) as idle:
        await busy.send(post(chat_body(), host=house.host(via)))
        await fake.wait_calls(1)
        await idle.ask(head("GET", "/healthz", host=house.host(via)))
        began = asyncio.get_running_loop().time()
        await house.doors.close(0)
        assert asyncio.get_running_loop().time() - began < 5
        assert await busy.rest() == b""
        assert await idle.rest() == b""


async def test_the_last_bytes_reach_a_client_that_reads_late(house: House, fake: FakeProvider, via: str) -> None:
    words = tuple(f"word{number}" for number in range(150_000))
    fake.script(ok(words=words))
    async with await RawClient.to(house.where(via), limit=2048) as client:
        await client.send(post(chat_body(), host=house.host(via)))
        await fake.wait_idle()
        closing = asyncio.create_task(house.doors.close(5))
        await asyncio.sleep(0.2)
        client.reader._limit = 2**20  # type: ignore[attr-defined]
        reply = await client.reply()
        assert reply.json["choices"][0]["message"]["content"] == " ".join(words)
        await closing
    assert house.doors._hall.crowd.count == 0


async def test_a_door_is_closed_when_its_last_connection_is(house: House, via: str) -> None:
    async with await RawClient.to(house.where(via)) as client:
        await client.ask(head("GET", "/healthz", host=house.host(via)))
        assert house.doors._hall.crowd.count == 1
        await house.doors.close(2)
        assert house.doors._hall.crowd.count == 0
