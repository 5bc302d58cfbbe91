"""The two transports read the same bytes in the same way; where they may differ, the table says so."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import pytest

from sidecar.upstream.transport import Breach, Transport, TransportError, UpstreamRequest
from tests.upstream.scripted import BOUND_S, Script, answering, get, serving

BOTH_LOOPS = True

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Outcome(NamedTuple):
    """What an exchange came to: the status (None: no head), the body as far as it came, and how it ended."""

    status: int | None
    body: bytes = b""
    breach: Breach | None = None


class Case(NamedTuple):
    script: Script
    expected: Outcome
    method: str = "GET"
    aiohttp: Outcome | None = None  # where it legitimately differs


def answer(body: bytes = b"hello", status: int = 200) -> Outcome:
    return Outcome(status, body)


def cut(body: bytes = b"") -> Outcome:
    return Outcome(200, body, Breach.CUT)


def none(breach: Breach) -> Outcome:
    return Outcome(None, b"", breach)


def bytewise(text: bytes) -> list[bytes]:
    return [text[i : i + 1] for i in range(len(text))]


HELLO = CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"

CASES = {
    "length": Case(answering(LENGTH + b"hello"), answer()),
    "length, head and body apart": Case(answering(LENGTH, b"he", b"llo"), answer()),
    "length, byte by byte": Case(answering(*bytewise(LENGTH + b"hello")), answer()),
    "chunks in one read": Case(answering(HELLO), answer()),
    "chunks, byte by byte": Case(answering(*bytewise(HELLO)), answer()),
    "chunk extensions": Case(answering(CHUNKED + b"5;a=b;c\r\nhello\r\n0;last\r\n\r\n"), answer()),
    "trailers": Case(answering(CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), answer()),
    "close-delimited": Case(answering(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo", close=True), answer()),
    "close-delimited and empty": Case(answering(b"HTTP/1.1 200 OK\r\n\r\n", close=True), answer(b"")),
    "close-delimited, reset": Case(answering(b"HTTP/1.1 200 OK\r\n\r\n", reset=True), cut(), aiohttp=answer(b"")),
    "HTTP/1.0": Case(answering(b"HTTP/1.0 200 OK\r\n\r\nhello", close=True), answer()),
    "Connection: close": Case(answering(LENGTH[:-2] + b"Connection: close\r\n\r\nhello", close=True), answer()),
    "length 0": Case(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), answer(b"")),
    "204": Case(answering(b"HTTP/1.1 204 No Content\r\n\r\n"), answer(b"", 204)),
    "304 with a length": Case(answering(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), answer(b"", 304)),
    "HEAD": Case(answering(LENGTH), answer(b""), "HEAD"),
    "1xx heads": Case(
        answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", LENGTH + b"hello"),
        answer(),
    ),
    "101": Case(
        answering(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), none(Breach.PROTOCOL)
    ),
    "no reason phrase": Case(answering(b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello"), answer()),
    "redirect": Case(
        answering(b"HTTP/1.1 307 Temporary\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"), answer(b"", 307)
    ),
    "gzip as it came": Case(
        answering(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x8b\x08\x00x"),
        answer(b"\x1f\x8b\x08\x00x"),
    ),
    "closed before the head": Case(answering(close=True), none(Breach.RESET)),
    "reset before the head": Case(answering(reset=True), none(Breach.RESET)),
    "closed in the head": Case(
        answering(b"HTTP/1.1 200 OK\r\nConte", close=True), none(Breach.CUT), aiohttp=none(Breach.RESET)
    ),
    "closed after a 1xx": Case(
        answering(b"HTTP/1.1 100 Continue\r\n\r\n", close=True), none(Breach.CUT), aiohttp=none(Breach.RESET)
    ),
    "length too large": Case(answering(LENGTH + b"hel", close=True), cut(b"hel")),
    "length too small": Case(answering(LENGTH + b"hello world"), answer(), aiohttp=none(Breach.PROTOCOL)),
    "chunks without the last": Case(answering(CHUNKED + b"5\r\nhello\r\n", close=True), cut(b"hello")),
    "closed in a chunk": Case(answering(CHUNKED + b"5\r\nhel", close=True), cut(b"hel")),
    "reset in the body": Case(answering(LENGTH, reset=True), cut()),
    "garbage": Case(answering(b"SSH-2.0-OpenSSH_9.2\r\n"), none(Breach.PROTOCOL)),
    "garbage in the chunks": Case(
        answering(CHUNKED + b"5\r\nhello\r\nzz\r\n"),
        Outcome(200, b"hello", Breach.PROTOCOL),
        aiohttp=none(Breach.PROTOCOL),
    ),
    "two lengths": Case(answering(LENGTH[:-2] + b"Content-Length: 6\r\n\r\nhello!"), none(Breach.PROTOCOL)),
    "a length and chunks": Case(
        answering(LENGTH[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), none(Breach.PROTOCOL)
    ),
    "a huge header": Case(
        answering(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n"), none(Breach.PROTOCOL)
    ),
    "a huge head of small headers": Case(
        answering(b"HTTP/1.1 200 OK\r\n" + b"X: 0123456789\r\n" * 10_000 + b"Content-Length: 0\r\n\r\n"),
        none(Breach.PROTOCOL),
    ),
}


async def exchanged(transport: Transport, request: UpstreamRequest) -> Outcome:
    """What came of one exchange."""
    try:
        reply = await transport.send(request, connect_s=BOUND_S)
    except TransportError as error:
        return none(error.breach)
    body = b""
    try:
        while data := await reply.read():
            body += data
        assert await reply.read() == b""
    except TransportError as error:
        return Outcome(reply.status, body, error.breach)
    finally:
        reply.close()
        reply.close()
    return Outcome(reply.status, body)


@pytest.mark.parametrize("name", CASES)
async def test_reads_the_same(opened: Callable[..., Transport], name: str) -> None:
    case = CASES[name]
    expected = case.aiohttp if opened.kind == "aiohttp" and case.aiohttp else case.expected  # type: ignore[attr-defined]
    async with serving(case.script) as server, asyncio.timeout(BOUND_S):
        transport = opened(server.origin)
        assert await exchanged(transport, UpstreamRequest(case.method, "/", [])) == expected
        await transport.aclose()


async def test_headers_keep_their_order_and_repeats(opened: Callable[..., Transport]) -> None:
    head = b"HTTP/1.1 200 OK\r\nX-B: 1\r\nX-A:  two words \r\nx-b: \xe9\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(head)) as server, asyncio.timeout(BOUND_S):
        transport = opened(server.origin)
        reply = await transport.send(get(), connect_s=BOUND_S)
        reply.close()
        await transport.aclose()
    assert list(reply.headers) == [
        ("x-b", "1"),
        ("x-a", "two words"),
        ("x-b", "é"),
        ("x-empty", ""),
        ("content-length", "0"),
    ]
