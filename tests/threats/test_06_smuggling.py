"""Threat 6: two readers of one byte stream disagree on where a message ends, or a value becomes a header.

Requests of a stranger and answers of a provider, byte by byte. What the guard says to odd hosts, origins and
targets is in `tests/server/test_refused.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fake_behaviours import Canned
from tests.fake_provider import FakeProvider, ok, raw
from tests.server.house import House, config, open_house
from tests.server.raw import RawClient, chat_body, head, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

_BODY = chat_body()
_START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_OLD = _START.replace(b"/1.1", b"/1.0")
_SECOND = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
_LENGTH = b"Content-Length: %d\r\n" % len(_BODY)
_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(_BODY), _BODY)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["direct", "plain"])
async def house(fake: FakeProvider, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    async with open_house(config(fake.base_url, wire=request.param, limits="{body_idle: 300ms}")) as opened:
        yield opened


# Each would let two readers disagree; what follows is meant to be taken for a second request.
AMBIGUOUS = {
    "length and chunks": _START + _LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + _CHUNKS,
    "chunks and length": _START + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + _CHUNKS,
    "two lengths": _START + b"Content-Length: 0\r\n" + _LENGTH + b"\r\n" + _BODY,
    "two lengths in one": _START + b"Content-Length: 0, %d\r\n\r\n" % len(_BODY) + _BODY,
    "the same length twice": _START + _LENGTH + _LENGTH + b"\r\n" + _BODY,
    "a signed length": _START + b"Content-Length: +%d\r\n\r\n" % len(_BODY) + _BODY,
    "a negative length": _START + b"Content-Length: -1\r\n\r\n" + _BODY,
    "a length in hex": _START + b"Content-Length: 0x%x\r\n\r\n" % len(_BODY) + _BODY,
    "a length with an underscore": _START + b"Content-Length: 1_0\r\n\r\n" + _BODY,
    "a length in other digits": _START + b"Content-Length: \xd9\xa1\xd9\xa0\r\n\r\n" + _BODY,
    "an empty length": _START + b"Content-Length: \r\n\r\n" + _BODY,
    "another encoding": _START + b"Transfer-Encoding: gzip\r\n\r\n" + _CHUNKS,
    "chunks that are not last": _START + b"Transfer-Encoding: chunked, identity\r\n\r\n" + _CHUNKS,
    "chunks twice": _START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKS,
    "chunks in disguise": _START + b"Transfer-Encoding: xchunked\r\n\r\n" + _CHUNKS,
    "chunks in HTTP/1.0": _OLD + b"Transfer-Encoding: chunked\r\n" + _LENGTH + b"\r\n" + _BODY,
    "a space before the colon": _START + b"Content-Length : %d\r\n\r\n" % len(_BODY) + _BODY,
    "a folded header": _START + b"X-A: b\r\n Content-Length: 3\r\n" + _LENGTH + b"\r\n" + _BODY,
    "a line that begins with a space": _START + b" Transfer-Encoding: chunked\r\n" + _LENGTH + b"\r\n" + _BODY,
    "a header without a colon": _START + b"Transfer-Encoding chunked\r\n" + _LENGTH + b"\r\n" + _BODY,
    "a header without a name": _START + b": chunked\r\n" + _LENGTH + b"\r\n" + _BODY,
    "NUL in a value": _START + b"X-A: a\x00b\r\n" + _LENGTH + b"\r\n" + _BODY,
    "NUL in a name": _START + b"X-\x00A: b\r\n" + _LENGTH + b"\r\n" + _BODY,
    "a bare CR in a value": _START + b"X-A: a\rContent-Length: 3\r\n" + _LENGTH + b"\r\n" + _BODY,
    "a chunk's size with a sign": _START + b"Transfer-Encoding: chunked\r\n\r\n+" + _CHUNKS,
    "a chunk's size in 0x": _START + b"Transfer-Encoding: chunked\r\n\r\n0x" + _CHUNKS,
    "a chunk longer than its size": _START + b"Transfer-Encoding: chunked\r\n\r\n1\r\n" + _BODY + b"\r\n0\r\n\r\n",
    "a chunk's size beyond all sizes": _START + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + _BODY,
    "two versions": b"POST /v1/chat/completions HTTP/1.1 HTTP/1.1\r\nHost: localhost\r\n" + _LENGTH + b"\r\n" + _BODY,
    "no version": b"POST /v1/chat/completions\r\nHost: localhost\r\n" + _LENGTH + b"\r\n" + _BODY,
    "another version": _START.replace(b"HTTP/1.1", b"HTTP/9.9") + _LENGTH + b"\r\n" + _BODY,
    "HTTP/2's greeting": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a greeting of TLS": bytes.fromhex("16030100050100000100") + b"\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_06_what_two_could_read_differently_is_read_once_or_not_at_all(
    house: House, fake: FakeProvider, name: str
) -> None:
    """Either it is refused and the connection ends, or it is one request: what follows never is a second one."""
    before = len(fake.requests)
    async with await RawClient.to(house.socket) as client:
        await client.send(AMBIGUOUS[name] + _SECOND)
        said = await client.rest()
    statuses = [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]]
    assert b"smuggled" not in said, said
    assert statuses in ([], [b"400"], [b"413"], [b"408"], [b"415"], [b"505"]), said
    assert len(fake.requests) == before


async def test_06_what_is_clear_is_two_requests(house: House, fake: FakeProvider) -> None:
    for framing in (_LENGTH + b"\r\n" + _BODY, b"Transfer-Encoding: chunked\r\n\r\n" + _CHUNKS):
        async with await RawClient.to(house.socket) as client:
            assert (await client.ask(_START + framing + _SECOND)).status == 200
            reply = await client.reply()
            assert reply.status == 404
            assert b"/smuggled" in reply.body


@pytest.mark.parametrize(
    "path",
    ["/v1/chat%2fcompletions", "/v1/./chat/completions", "/v1/x/../chat/completions", "/v1/%2e%2e/v1/chat/completions",
     "/v1//chat/completions", "/V1/chat/completions", "/v1/chat/completions;x", "/v1/chat/completions%00",
     "/v1/chat/completions%20", "\\v1\\chat\\completions"],
)  # fmt: skip
async def test_06_a_path_is_taken_as_it_is(house: House, fake: FakeProvider, path: str) -> None:
    before = len(fake.requests)
    reply = await house.once("unix", post(_BODY, path=path))
    assert reply.status in (400, 404)
    assert len(fake.requests) == before


_TEXT = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30)
_NAME = st.text("abcXYZ0189-_", min_size=1, max_size=20)


async def test_06_no_header_of_a_client_goes_up_but_those_that_may(house: House, fake: FakeProvider) -> None:
    cases: list[dict[str, str]] = []

    @settings(max_examples=25, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(_NAME, _TEXT, max_size=6))
    def collect(headers: dict[str, str]) -> None:
        cases.append(headers)

    collect()
    ours = {"host", "content-length", "transfer-encoding", "content-type", "expect", "upgrade", "content-encoding"}
    for headers in cases:
        named = [(name, value.encode("latin-1")) for name, value in headers.items() if name.lower() not in ours]
        reply = await house.once("unix", post(_BODY, *named, ("Connection", ", ".join(headers) or "x")))
        if reply.status != 200:
            assert reply.status == 400
            continue
        sent = fake.requests[-1].headers
        assert set(sent) <= {"host", "content-type", "authorization", "accept", "accept-encoding", "content-length",
                             "user-agent", "idempotency-key", "openai-beta"}  # fmt: skip
        assert sent["content-length"] == str(len(fake.requests[-1].body))


async def test_06_no_header_of_a_provider_comes_down_but_those_that_may(house: House, fake: FakeProvider) -> None:
    odd = {"connection": "x-secret", "x-secret": "1", "server": "nginx", "via": "1.1 x", "keep-alive": "timeout=5",
           "access-control-allow-origin": "*", "alt-svc": 'h3=":443"', "strict-transport-security": "max-age=1",
           "x-request-id": "up-1", "openai-version": "1", "x-ratelimit-limit-requests": "9"}  # fmt: skip
    fake.script(ok("fine", headers=odd))
    for stream in (False, True):
        reply = await house.once("unix", post(chat_body(stream=stream)))
        names = {name for name, _ in reply.headers}
        assert reply.header("x-sidecar-upstream-request-id") == "up-1"
        assert {"openai-version", "x-ratelimit-limit-requests"} <= names
        assert not names & (set(odd) - {"x-request-id", "openai-version", "x-ratelimit-limit-requests", "connection"})
    fake.script(ok("fine"))


# Answers in which a second one could hide; whoever asks next must not get it.
_HIDDEN = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{"smuggled": 1}'
ANSWERS = {
    "more than its length": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}" + _HIDDEN,
    "length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}" + _HIDDEN,
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 90\r\n\r\n{}" + _HIDDEN,
    "a 204 with a body": b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n{}" + _HIDDEN,
    "an interim answer": b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}" + _HIDDEN,
    "an answer before it was asked": _HIDDEN + _HIDDEN,
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
async def test_06_an_answer_never_reaches_another_request(house: House, fake: FakeProvider, name: str) -> None:
    fake.script(raw(ANSWERS[name], then=None), ok("fine"))
    first = await house.once("unix", post(_BODY))
    await asyncio.sleep(0.02)
    second = await house.once("unix", post(_BODY))
    assert second.status == 200
    assert second.json["choices"][0]["message"]["content"] == "fine"
    assert b"smuggled" not in first.body or name == "an answer before it was asked"
    fake.script(ok("fine"))


async def test_06_a_value_never_becomes_a_header(house: House, fake: FakeProvider) -> None:
    """Line breaks in what is sent back: a model's name, an id, a provider's own words."""
    fake.script(
        Canned(400, b'{"error": {"message": "a\\r\\nX-Evil: 1\\r\\n\\r\\nHTTP/1.1 200 OK", "code": "\\r\\nX-Evil: 1"}}')
    )
    for request in (
        post(chat_body("fake/a\r\nX-Evil: 1\r\n\r\n")),
        post(_BODY, ("X-Request-Id", b"a\x0bX-Evil: 1")),
        head("GET", "/v1/models/%0d%0aX-Evil:%201"),
        head("GET", "/%0d%0aX-Evil:%201"),
    ):
        reply = await house.once("unix", request)
        assert reply.header("x-evil") is None
        assert reply.complete
    fake.script(ok("fine"))
