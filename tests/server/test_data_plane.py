"""Good requests, by both wires and both kinds of listener: what comes back, and what is kept open."""

from __future__ import annotations

import asyncio
import json
import os
import re

import pytest
from msgspec.structs import replace

from sidecar.model.settings import LimitSettings
from tests.fake_provider import FakeProvider, ok, raw, status
from tests.server.house import House, config, open_house
from tests.server.raw import RawClient, chat_body, head, post


async def test_a_plain_answer_goes_through_and_says_where_it_came_from(
    house: House, fake: FakeProvider, via: str
) -> None:
    fake.script(ok("hello there"))
    reply = await house.once(via, post(chat_body(), host=house.host(via)))
    assert reply.status == 200
    assert reply.json["choices"][0]["message"]["content"] == "hello there"
    assert reply.header("content-type") == "application/json"
    assert reply.header("content-length") == str(len(reply.body))
    assert reply.header("x-sidecar-target") == "fake/m"
    assert reply.header("x-sidecar-attempts") == "fake/m=200"
    assert reply.header("x-sidecar-generation") == "1"
    assert re.fullmatch(r"req_[0-9a-f]+", reply.header("x-request-id") or "")
    assert reply.header("date")
    assert reply.header("server") is None
    assert not reply.closes


async def test_a_stream_goes_through_whole(house: House, fake: FakeProvider, via: str) -> None:
    fake.script(ok("one two three", gap_s=0.01))
    reply = await house.once(via, post(chat_body(stream=True), host=house.host(via)))
    assert (reply.status, reply.complete) == (200, True)
    assert (reply.header("content-type") or "").startswith("text/event-stream")
    assert reply.header("x-sidecar-target") == "fake/m"
    assert reply.header("server") is None
    assert reply.events[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"] for event in reply.events[:-1]]
    assert "".join(each[0]["delta"].get("content", "") for each in deltas if each) == "one two three"
    [line] = await house.wait_lines("request")
    assert (line["outcome"], line["bytes_out"]) == ("ok", len(reply.body))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_well_formed_request_id_is_echoed_and_logged(house: House, via: str, stream: bool) -> None:
    given = "trace:4f.A-b_9"
    request = post(chat_body(stream=stream), ("X-Request-Id", given), host=house.host(via))
    reply = await house.once(via, request)
    assert reply.header("x-request-id") == given
    [line] = await house.wait_lines("request")
    assert (line["request_id"], line["client_request_id"]) == (given, given)


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a,b", b"\xff\xfe", "<script>", 'a"b', "a/b", "é"])
async def test_any_other_request_id_is_replaced(house: House, given: str | bytes) -> None:
    reply = await house.once("unix", post(chat_body(), ("X-Request-Id", given)))
    assert re.fullmatch(r"req_[0-9a-f]+", reply.header("x-request-id") or "")
    [line] = await house.wait_lines("request")
    assert line.get("client_request_id") is None


async def test_request_ids_differ(house: House) -> None:
    ids = {(await house.once("unix", post(chat_body()))).header("x-request-id") for _ in range(20)}
    assert len(ids) == 20


async def test_a_hundred_requests_share_one_connection_upstream(house: House, fake: FakeProvider, via: str) -> None:
    async with await RawClient.to(house.where(via)) as client:
        for number in range(100):
            reply = await client.ask(post(chat_body(stream=number % 2 == 1), host=house.host(via)))
            assert (reply.status, reply.complete) == (200, True)
    assert len(fake.calls) == 100
    assert fake.accepted == 1


async def test_pipelined_requests_are_answered_in_their_order(house: House, fake: FakeProvider, via: str) -> None:
    for number in range(6):
        delay_s = 0.05 if number % 2 == 0 else 0.0
        fake.on(f"m{number}", ok(f"answer {number}", first_token_delay_s=delay_s))
    requests = [
        post(
            chat_body(f"fake/m{number}", stream=number in (1, 2)), ("X-Request-Id", f"r{number}"), host=house.host(via)
        )
        for number in range(6)
    ]
    async with await RawClient.to(house.where(via)) as client:
        await client.send(b"".join(requests))
        replies = [await client.reply() for _ in requests]
    assert [reply.header("x-request-id") for reply in replies] == [f"r{number}" for number in range(6)]
    for number, reply in enumerate(replies):
        assert f"{number}".encode() in reply.body
        assert reply.complete


@pytest.mark.parametrize("stream", [False, True])
async def test_http_1_0_gets_an_answer_without_chunks_and_a_close(house: House, via: str, stream: bool) -> None:
    async with await RawClient.to(house.where(via)) as client:
        reply = await client.ask(post(chat_body(stream=stream), host=house.host(via), version="1.0"))
        assert (reply.version, reply.status) == ("HTTP/1.0", 200)
        assert reply.header("transfer-encoding") is None
        assert b"amber" in reply.body
        assert await client.rest() == b""


async def test_http_1_0_can_ask_to_be_kept(house: House, via: str) -> None:
    async with await RawClient.to(house.where(via)) as client:
        for _ in range(2):
            request = post(chat_body(), ("Connection", "keep-alive"), host=house.host(via), version="1.0")
            reply = await client.ask(request)
            assert (reply.status, reply.header("connection")) == (200, "keep-alive")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_wants_a_close_gets_it_after_the_answer(house: House, via: str, stream: bool) -> None:
    async with await RawClient.to(house.where(via)) as client:
        reply = await client.ask(post(chat_body(stream=stream), ("Connection", "close"), host=house.host(via)))
        assert (reply.status, reply.complete, reply.closes) == (200, True, True)
        assert await client.rest() == b""


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/v1/models", "/v1/models/default", "/v1/models/fake/m"])
async def test_head_is_get_without_the_body(house: House, via: str, path: str) -> None:
    host = house.host(via)
    async with await RawClient.to(house.where(via)) as client:
        got = await client.ask(head("GET", path, host=host))
        headed = await client.ask(head("HEAD", path, host=host), head_only=True)
        assert got.status == headed.status == 200
        assert headed.header("content-length") == str(len(got.body))
        assert (await client.ask(head("GET", "/healthz", host=host))).status == 200


async def test_head_of_a_place_that_takes_post_is_405_without_a_body(house: House, via: str) -> None:
    host = house.host(via)
    async with await RawClient.to(house.where(via)) as client:
        reply = await client.ask(head("HEAD", "/v1/chat/completions", host=host), head_only=True)
        assert (reply.status, reply.header("allow")) == (405, "POST")
        assert (await client.ask(head("GET", "/healthz", host=host))).status == 200


async def test_a_client_that_waits_to_be_invited_is_invited(house: House, fake: FakeProvider, via: str) -> None:
    body = chat_body()
    request = post(body, ("Expect", "100-continue"), host=house.host(via)).removesuffix(body)
    async with await RawClient.to(house.where(via)) as client:
        await client.send(request)
        assert (await client.head()).status == 100
        reply = await client.ask(body)
        assert (reply.status, reply.interim) == (200, ())
        again = await client.ask(post(body, ("Expect", "100-continue"), host=house.host(via)))
        assert (again.status, again.interim) == (200, ())  # the body was there: nothing to invite
    assert len(fake.calls) == 2


async def test_a_body_may_come_in_chunks_and_in_pieces(house: House, fake: FakeProvider, via: str) -> None:
    body = chat_body(padding="x" * 5000)
    typed = ("Content-Type", "application/json")
    request = head("POST", "/v1/chat/completions", typed, ("Transfer-Encoding", "chunked"), host=house.host(via))
    framed = b"".join(
        b"%x\r\n%b\r\n" % (len(body[at : at + 999]), body[at : at + 999]) for at in range(0, len(body), 999)
    )
    whole = request + framed + b"0\r\n\r\n"
    async with await RawClient.to(house.where(via)) as client:
        assert (await client.ask(whole)).status == 200
        for at in range(0, len(whole), 700):
            await client.send(whole[at : at + 700])
            await asyncio.sleep(0)
        assert (await client.reply()).status == 200
    assert [call.json["padding"] for call in fake.calls] == ["x" * 5000] * 2


async def test_a_request_may_come_byte_by_byte(house: House, via: str) -> None:
    async with await RawClient.to(house.where(via)) as client:
        for byte in post(chat_body(), host=house.host(via)):
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.reply()).status == 200


async def test_a_large_body_goes_through_whole(house: House, fake: FakeProvider, via: str) -> None:
    text = "0123456789abcdef" * 262_144  # 4 MiB
    fake.script(ok("fine"))
    reply = await house.once(via, post(chat_body(padding=text), host=house.host(via)))
    assert reply.status == 200
    assert fake.calls[0].json["padding"] == text


async def test_a_large_answer_goes_through_whole_to_a_client_that_reads_late(
    house: House, fake: FakeProvider, via: str
) -> None:
    words = tuple(f"word{number}" for number in range(400_000))
    fake.script(ok(words=words))
    async with await RawClient.to(house.where(via)) as client:
        await client.send(post(chat_body(), host=house.host(via)) + post(chat_body(), host=house.host(via)))
        await fake.wait_idle()
        await asyncio.sleep(0.05)
        for _ in range(2):
            reply = await client.reply()
            assert reply.json["choices"][0]["message"]["content"] == " ".join(words)


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
async def test_an_upgrade_is_declined_by_an_ordinary_answer(house: House, via: str, upgrade: str) -> None:
    wish = (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", upgrade), ("HTTP2-Settings", "AAMAAABkAAQAoAAA"))
    host = house.host(via)
    async with await RawClient.to(house.where(via)) as client:
        reply = await client.ask(head("GET", "/v1/models", *wish, host=host))
        assert (reply.status, reply.header("upgrade")) == (200, None)
        assert (await client.ask(head("GET", "/healthz", host=host))).status == 200


async def test_who_wants_a_websocket_for_answers_is_told_at_once_to_post(house: House, via: str) -> None:
    wish = (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
    host = house.host(via)
    async with await RawClient.to(house.where(via)) as client:
        reply = await client.ask(head("GET", "/v1/responses", *wish, host=host))
        assert (reply.status, reply.header("upgrade"), reply.header("allow")) == (426, "HTTP/1.1", "POST")
        assert "POST" in reply.error["message"]
        assert (await client.ask(post(chat_body(), host=host))).status == 200


async def test_a_post_that_offers_h2c_is_answered_over_http_1_1(house: House, via: str) -> None:
    wish = (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAoAAA"))
    async with await RawClient.to(house.where(via)) as client:
        for _ in range(2):
            reply = await client.ask(post(chat_body(), *wish, host=house.host(via)))
            assert (reply.status, reply.version) == (200, "HTTP/1.1")


async def test_completions_and_embeddings_have_their_places(house: House, via: str) -> None:
    host = house.host(via)
    asked = post(b'{"model": "default", "prompt": "Hi"}', path="/v1/completions", host=host)
    assert (await house.once(via, asked)).json["object"] == "text_completion"
    asked = post(b'{"model": "default", "input": "Hi"}', path="/v1/embeddings", host=host)
    assert (await house.once(via, asked)).json["object"] == "list"


async def test_models_are_listed_by_route_and_target(house: House, via: str) -> None:
    host = house.host(via)
    listed = (await house.once(via, head("GET", "/v1/models?limit=5", host=host))).json
    assert [model["id"] for model in listed["data"]] == ["default", "fake/m"]
    assert (await house.once(via, head("GET", "/v1/models/fake%2Fm", host=host))).json["id"] == "fake/m"
    missing = await house.once(via, head("GET", "/v1/models/nope", host=host))
    assert missing.status == 404
    assert "nope" in missing.error["message"]


async def test_every_small_answer_carries_the_request_id(house: House, via: str) -> None:
    for path in ("/healthz", "/readyz", "/v1/models", "/nowhere"):
        reply = await house.once(via, head("GET", path, ("X-Request-Id", "r-1"), host=house.host(via)))
        assert reply.header("x-request-id") == "r-1"
        assert reply.header("server") is None


async def test_of_the_providers_headers_only_the_allowed_come_through(
    house: House, fake: FakeProvider, via: str
) -> None:
    sent = {
        "set-cookie": "a=b",
        "server": "nginx",
        "x-powered-by": "php",
        "access-control-allow-origin": "*",
        "x-ratelimit-remaining-tokens": "42",
        "openai-processing-ms": "7",
        "x-request-id": "upstream-1",
    }
    fake.script(ok("hi", headers=sent))
    reply = await house.once(via, post(chat_body(), host=house.host(via)))
    names = {name for name, _ in reply.headers}
    assert {"x-ratelimit-remaining-tokens", "openai-processing-ms", "x-sidecar-upstream-request-id"} <= names
    assert not {"set-cookie", "server", "x-powered-by", "access-control-allow-origin"} & names
    assert reply.header("x-sidecar-upstream-request-id") == "upstream-1"


async def test_odd_bytes_in_a_providers_header_do_not_break_the_answer(
    house: House, fake: FakeProvider, via: str
) -> None:
    message = {"role": "assistant", "content": "ok"}
    body = json.dumps({"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    framing = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
    odd = b"openai-odd: caf\xc3\xa9 \xff\x80 \xe6\x97\xa5\r\n"
    fake.script(raw(b"HTTP/1.1 200 OK\r\n" + framing + odd + b"\r\n" + body, then=None))
    reply = await house.once(via, post(chat_body(), host=house.host(via)))
    assert reply.status == 200
    assert (reply.header("openai-odd") or "").startswith("caf")
    assert (reply.header("openai-odd") or "").isascii()


@pytest.mark.parametrize(
    "model",
    [
        "fake/日本",
        "fake/a\r\nX-Evil: 1",
        "fake/a\x00b",
        "fake/a,b=200",
        "fake/" + "x" * 500,
        "fake/\u2028",
        "fake/\x1b[31m",
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_no_model_name_breaks_the_head_or_the_log(
    house: House, fake: FakeProvider, model: str, stream: bool
) -> None:
    fake.script(ok("fine"), status(429))
    async with await RawClient.to(house.socket) as client:
        good = await client.ask(post(chat_body(model, stream=stream)))
        bad = await client.ask(post(chat_body(model, stream=stream)))
        assert (good.status, bad.status) == (200, 429)
        for reply in (good, bad):
            assert reply.header("x-evil") is None
            assert (reply.header("x-sidecar-attempts") or "").count(",") == 0
    assert {call.model for call in fake.calls} == {model.removeprefix("fake/")}
    assert len(await house.wait_lines("request", 2)) == 2


async def test_a_peer_is_known_by_its_uid_on_a_unix_socket_only(house: House) -> None:
    await house.once("unix", post(chat_body()))
    await house.once("tcp", post(chat_body(), host=house.host("tcp")))
    lines = await house.wait_lines("request", 2)
    assert [line.get("peer_uid") for line in lines] == [os.getuid(), None]


async def test_limits_of_a_live_edit_hold_for_the_next_request(house: House, fake: FakeProvider) -> None:
    snapshot = house.manager.snapshot
    settings = replace(snapshot.settings, limits=LimitSettings(max_body_bytes=10))
    house.manager.adopt(replace(snapshot, settings=settings))
    assert (await house.once("unix", post(chat_body()))).status == 413


async def test_the_wires_agree(fake: FakeProvider, via: str) -> None:
    """Same status, same headers but those of the connection, same body, for everything that can be asked."""
    fake.on("cut", ok(cut_after=3))
    fake.on("bad", status(400, "no"))
    fake.on("busy", status(429, retry_after=30))
    requests = [
        lambda host: post(chat_body(), ("X-Request-Id", "r"), host=host),
        lambda host: post(chat_body(stream=True), ("X-Request-Id", "r"), host=host),
        lambda host: post(chat_body("fake/cut", stream=True), ("X-Request-Id", "r"), host=host),
        lambda host: post(chat_body("fake/bad"), ("X-Request-Id", "r"), host=host),
        lambda host: post(chat_body("fake/busy"), ("X-Request-Id", "r"), host=host),
        lambda host: post(b"{", ("X-Request-Id", "r"), host=host),
        lambda host: post(b"{}", ("X-Request-Id", "r"), host=host, content_type="text/plain"),
        lambda host: head("GET", "/v1/models", ("X-Request-Id", "r"), host=host),
        lambda host: head("GET", "/nowhere", ("X-Request-Id", "r"), host=host),
        lambda host: head("DELETE", "/v1/chat/completions", ("X-Request-Id", "r"), host=host),
        lambda host: head("GET", "/healthz", ("X-Request-Id", "r"), host="evil.com"),
    ]
    replies = []
    for wire in ("direct", "plain"):
        async with open_house(config(fake.base_url, wire=wire)) as house:
            for request in requests:
                reply = await house.once(via, request(house.host(via)))
                headers = {name: value for name, value in reply.headers if name not in ("date", "connection")}
                told = re.sub(rb'"duration_s":[0-9.e-]+', b"", reply.body)
                headers["content-length"] = "" if b'"attempts"' in told else headers.get("content-length", "")
                replies.append(
                    (wire, reply.status, headers, told.replace(b"localhost:%d" % house.port, b""), reply.complete)
                )
    half = len(requests)
    for direct, plain in zip(replies[:half], replies[half:], strict=True):
        assert direct[1:] == plain[1:]
