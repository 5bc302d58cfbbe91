"""Threat 10: a stranger writes lines into our log, or floods it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.daemon import RunningDaemon
from tests.fake_behaviours import Canned
from tests.fake_provider import FakeProvider, ok, raw
from tests.server.house import config
from tests.server.raw import RawClient, chat_body, head, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

_FAKE_LINE = '\n{"ts":"2026-01-01T00:00:00Z","level":"info","event":"injected"}\n'
_ODD = "\x00\x01\x07\x08\x0b\x1b[31m\x7f\x85\u2028\u2029\ufeff\u202e" + _FAKE_LINE
_BYTES = bytes(range(1, 256)).replace(b"\r", b"").replace(b"\n", b"").replace(b" ", b"")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(fake: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningDaemon]:
    async with RunningDaemon(tmp_path_factory.mktemp("log"), config(fake.base_url)) as running:
        yield running


async def _send(daemon: RunningDaemon, *requests: bytes) -> None:
    for request in requests:
        async with await RawClient.to(daemon.socket) as client:
            await client.send(request)
            client.writer.write_eof()
            await client.rest()


async def test_10_every_line_parses_whatever_strangers_say(daemon: RunningDaemon, fake: FakeProvider) -> None:
    error = json.dumps({"error": {"message": _ODD, "code": _ODD, "type": _ODD, "param": _ODD}}).encode()
    fake.script(Canned(400, error), Canned(500, _ODD.encode()), raw(_ODD.encode()), ok(_ODD))
    await _send(
        daemon,
        *(post(chat_body("default")) for _ in range(4)),
        post(chat_body(_ODD)),
        post(chat_body(f"fake/{_ODD}")),
        post(_ODD.encode()),
        post(b'{"model": "\\ud800\\n\\u0000", "messages": []}'),
        *(post(chat_body(), (name, _BYTES)) for name in
          ("X-Request-Id", "X-Sidecar-Route", "X-Sidecar-Timeout", "User-Agent", "Content-Encoding", "Origin",
           "X-Stainless-Retry-Count", "Idempotency-Key", "X-Api-Key")),
        head("GET", "/X").replace(b"/X", b"/" + _BYTES),
        head("GET", "/v1/models/X").replace(b"/X", b"/" + _BYTES),
        head("GET", "/%0a%7b%22event%22:%22injected%22%7d"),
        _BYTES + b" / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + _BYTES + b": x\r\n\r\n",
        _FAKE_LINE.encode() * 3 + b"\r\n\r\n",
        b"\x16\x03\x01" + _FAKE_LINE.encode(),
    )  # fmt: skip
    fake.script(ok("fine"))
    assert (await daemon.chat())[0] == 200
    await daemon.wait_log("request.refused", count=5)
    for line in daemon.stderr.split("\n")[:-1]:
        assert "ts" in json.loads(line)
        assert not any(ord(character) < 32 for character in line), line
        assert len(line) < 4096
    assert not daemon.log_lines("injected")
    assert {line["event"] for line in daemon.log_lines()} <= {
        "daemon.started", "attempt", "request", "request.refused", "log.limited", "target.opened", "target.closed",
        "target.half_opened", "target.slow_started", "config.warned",
    }  # fmt: skip


async def test_10_an_id_is_ours_unless_the_client_s_is_well_formed(daemon: RunningDaemon) -> None:
    for given in (b"a" * 129, b"a b", b'a"b', b"a\tb", "é".encode(), b"{}", b"", _BYTES):
        async with await RawClient.to(daemon.socket) as client:
            reply = await client.ask(post(chat_body(), ("X-Request-Id", given)))
        if reply.status == 200:
            assert (reply.header("x-request-id") or "").startswith("req_")


async def test_10_a_flood_of_wrong_requests_is_a_few_lines_and_a_number(daemon: RunningDaemon) -> None:
    before = len(daemon.log_lines("request.refused"))
    count = 400
    async with await RawClient.to(daemon.socket) as client:
        for _ in range(count):
            assert (await client.ask(head("GET", "/nowhere"))).status == 404
    limited = await daemon.wait_log("log.limited", key="request.refused")
    said = len(daemon.log_lines("request.refused")) - before
    assert said < count / 4
    assert said + sum(line["count"] for line in limited) <= count + before + 40
