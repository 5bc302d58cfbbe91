"""What is not let in: told in the dialect's shape, with the right status, on one line of the log."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from msgspec.structs import replace

from tests.fake_provider import FakeProvider, ok
from tests.server.house import House, config, open_house
from tests.server.raw import RawClient, chat_body, head, post

JSON = ("Content-Type", "application/json")


@pytest.mark.parametrize(
    ("body", "said", "param"),
    [
        (b"", "empty", None),
        (b"{", "not valid JSON", None),
        (b'{"model": "default"} trailing', "not valid JSON", None),
        (b"\xff\xfe", "not valid JSON", None),
        (b"[]", "must be a JSON object, not a list", None),
        (b"null", "must be a JSON object", None),
        (b"7", "must be a JSON object", None),
        (b'{"messages": []}', '"model" is missing', "model"),
        (b'{"model": "", "messages": []}', '"model" is missing', "model"),
        (b'{"model": 5, "messages": []}', '"model" must be a string', "model"),
        (b'{"model": "default", "messages": [], "stream": "yes"}', '"stream" must be', "stream"),
        (b'{"model": "default"}', '"messages" is missing', "messages"),
        (b'{"model": "default", "messages": {}}', '"messages" must be a list', "messages"),
        (b'{"model": "\xff", "messages": []}', "model", None),
        (b"[" * 100_000, "", None),
        (b'{"a":' * 400_000, "nested too deeply", None),
    ],
)
async def test_a_wrong_body_is_400_and_the_connection_goes_on(
    house: House, fake: FakeProvider, via: str, body: bytes, said: str, param: str | None
) -> None:
    host = house.host(via)
    async with await RawClient.to(house.where(via)) as client:
        reply = await client.ask(post(body, host=host))
        assert reply.status == 400
        assert said in reply.error["message"]
        if param:
            assert reply.error["param"] == param
        assert not reply.closes
        assert (await client.ask(post(chat_body(), host=host))).status == 200
    assert len(fake.calls) == 1
    [line] = house.lines("request.refused")
    assert (line["status"], line["method"], line["path"]) == (400, "POST", "/v1/chat/completions")


async def test_an_unknown_model_is_404_and_lists_what_there_is(fake: FakeProvider, wire: str, via: str) -> None:
    text = config(fake.base_url, wire=wire, routes="{fast: {chain: [fake/m]}, smart: {chain: [fake/n]}}")
    async with open_house(text) as house:
        reply = await house.once(via, post(chat_body("nope"), host=house.host(via)))
        assert reply.status == 404
        assert "fast" in reply.error["message"]
        assert "smart" in reply.error["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1/../admin",
        "/v1/chat%2Fcompletions",
        "/metrics",
    ],
)
async def test_an_unknown_place_is_404_and_lists_what_there_is(house: House, via: str, path: str) -> None:
    for request in (head("GET", path, host=house.host(via)), post(chat_body(), path=path, host=house.host(via))):
        reply = await house.once(via, request)
        assert reply.status == 404
        assert "/v1/chat/completions" in reply.error["message"]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/chat/completions", "did you mean /v1/chat/completions (add /v1 to the base URL)?"),
        ("/v1/v1/messages", "did you mean /v1/messages (leave /v1 out of the base URL)?"),
        ("//v1/messages", "did you mean /v1/messages (leave / out of the base URL)?"),
        ("/v1/messages/v1/messages?beta=true", "did you mean /v1/messages (leave /v1/messages out of the base URL)?"),
        ("/v1/v1beta/models/a/b:generateContent", "(leave /v1 out of the base URL)?"),
        ("/models/m:streamGenerateContent?alt=sse", "(add /v1 to the base URL)?"),
        ("/api/v3/responses", "did you mean /v1/responses (put /v1 in place of /api/v3 in the base URL)?"),
        ("/v1/chat/completions/", "did you mean /v1/chat/completions?"),
        ("/models", "did you mean /v1/models (add /v1 to the base URL)?"),
        ("/api/chat", None),
    ],
)
async def test_a_wrong_base_url_is_told_how_to_be_right(house: House, via: str, path: str, hint: str | None) -> None:
    reply = await house.once(via, post(chat_body(), path=path, host=house.host(via)))
    assert reply.status == 404
    message = reply.json["error"]["message"]
    assert hint in message if hint else "did you mean" not in message


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_another_method_is_405_and_never_a_cors_answer(house: House, via: str, method: str) -> None:
    reply = await house.once(via, head(method, "/v1/chat/completions", JSON, host=house.host(via)))
    assert (reply.status, reply.header("allow")) == (405, "POST")
    assert not [name for name, _ in reply.headers if name.startswith("access-control")]
    if method != "GET":
        reply = await house.once(via, head(method, "/healthz", JSON, host=house.host(via)))
        assert (reply.status, reply.header("allow")) == (405, "GET")


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp", "",
     "text/plain; application/json", "text/plain;charset=application/json", b"\xff\xfe"],
)  # fmt: skip
async def test_a_post_that_is_not_json_is_415(
    house: House, fake: FakeProvider, via: str, content_type: str | bytes | None
) -> None:
    typed = [] if content_type is None else [("Content-Type", content_type)]
    request = post(chat_body(), *typed, content_type=None, host=house.host(via))
    reply = await house.once(via, request)
    assert reply.status == 415
    assert "application/json" in reply.error["message"]
    assert not fake.calls


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json_may_be_spelled_in_more_than_one_way(house: House, via: str, content_type: str) -> None:
    assert (await house.once(via, post(chat_body(), content_type=content_type, host=house.host(via)))).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity"])
async def test_a_compressed_body_is_refused_and_never_unpacked(
    house: House, fake: FakeProvider, via: str, encoding: str
) -> None:
    bomb = gzip.compress(b"0" * 5_000_000)
    reply = await house.once(via, post(bomb, ("Content-Encoding", encoding), host=house.host(via)))
    assert reply.status == 415
    assert f"content-encoding {encoding!r}" in reply.error["message"]
    assert reply.header("accept-encoding") == "identity"
    assert not fake.calls


@pytest.mark.parametrize("value", ["false", "0", "", "offf"])
async def test_a_word_that_does_not_say_whether_to_fall_back_is_not_guessed_at(house: House, value: str) -> None:
    reply = await house.once("unix", post(chat_body(), ("X-Sidecar-Fallback", value)))
    assert (reply.status, reply.error["param"]) == (400, "x-sidecar-fallback")
    assert reply.error["message"] == f"x-sidecar-fallback must be on or off, not {value!r}"


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1e3", "1h", "", "inf", "nan", "10 s", "\uff11\uff10"])
@pytest.mark.parametrize("name", ["x-sidecar-timeout", "X-Stainless-Read-Timeout"])
async def test_a_timeout_that_is_none_is_400_and_says_how_to_write_one(house: House, name: str, value: str) -> None:
    reply = await house.once("unix", post(chat_body(), (name, value)))
    assert reply.status == 400
    assert name.lower() in reply.error["message"]


@pytest.mark.parametrize("value", ["30", "1.5", "500ms", "2s", " 5 "])
async def test_a_timeout_may_be_written_in_seconds_or_with_a_unit(house: House, value: str) -> None:
    assert (await house.once("unix", post(chat_body(), ("x-sidecar-timeout", value)))).status == 200


# -- a page in a browser


def _own(port: int) -> list[str]:
    return [f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", f"LOCALHOST:{port}"]


def _foreign(port: int) -> list[str | None]:
    return [
        "evil.com", f"evil.com:{port}", "127.0.0.1:evil.com", f"localhost.evil.com:{port}",
        f"127.0.0.1.evil.com:{port}", "localhost", "127.0.0.1", "[::1]", f"localhost:{port + 1}",
        f"localhost:0{port}", f"localhost:{port}.", f"0.0.0.0:{port}", f"127.1:{port}", f"2130706433:{port}",
        f"localhost:{port}@evil.com", f"evil.com#localhost:{port}", f"user@localhost:{port}", f"localhost.:{port}",
        f"[::ffff:127.0.0.1]:{port}", "", f"localhost:{port},evil.com", None,
    ]  # fmt: skip


async def test_only_a_host_that_is_ours_is_served(house: House, fake: FakeProvider) -> None:
    for host in _own(house.port):
        assert (await house.once("tcp", head("GET", "/healthz", host=host))).status == 200
        assert (await house.once("tcp", post(chat_body(), host=host))).status == 200
    served = len(fake.calls)
    for stranger in _foreign(house.port):
        for request in (
            head("GET", "/healthz", host=stranger),
            head("GET", "/v1/models", host=stranger),
            head("GET", "/nowhere", host=stranger),
            head("OPTIONS", "/v1/chat/completions", host=stranger),
            head("DELETE", "/v1/chat/completions", host=stranger),
            post(chat_body(), host=stranger),
        ):
            reply = await house.once("tcp", request)
            assert reply.status in ((421,) if stranger is not None else (421, 400)), stranger
            assert reply.status == 400 or f"use localhost:{house.port}" in reply.error["message"]
    assert len(fake.calls) == served


async def test_a_unix_socket_takes_any_host(house: House) -> None:
    for host in ("localhost", "evil.com", "sidecar"):
        assert (await house.once("unix", head("GET", "/healthz", host=host))).status == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.com", "null", "http://localhost:1", "https://localhost", "", "file://", "http://127.0.0.1"]
)
async def test_a_page_of_any_origin_is_refused(house: House, fake: FakeProvider, origin: str) -> None:
    host = house.host("tcp")
    wish = (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
    for request in (
        post(chat_body(), ("Origin", origin), host=host),
        head("GET", "/v1/models", ("Origin", origin), host=host),
        head(
            "OPTIONS", "/v1/chat/completions", ("Origin", origin), ("Access-Control-Request-Method", "POST"), host=host
        ),
        head("GET", "/v1/chat/completions", ("Origin", origin), *wish, host=host),
    ):
        reply = await house.once("tcp", request)
        assert reply.status == 403
        assert not [name for name, _ in reply.headers if name.startswith("access-control")]
    assert not fake.calls


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("x", 403), ("none", 200)])
async def test_a_request_from_another_site_is_refused(house: House, site: str, status: int) -> None:
    request = head("GET", "/v1/models", ("Sec-Fetch-Site", site), host=house.host("tcp"))
    assert (await house.once("tcp", request)).status == status


async def test_hosts_and_origins_can_be_allowed(fake: FakeProvider, wire: str) -> None:
    async with open_house(config(fake.base_url, wire=wire)) as house:
        listen = tuple(
            replace(each, allowed_hosts=("sidecar.local",), allowed_origins=("http://app.local:3000",))
            for each in house.manager.snapshot.settings.listen
        )
        await house.doors.commit(house.doors.prepare(listen), linger_s=0)
        origin = ("Origin", "http://app.local:3000")
        request = post(chat_body(), origin, ("Sec-Fetch-Site", "cross-site"), host=f"sidecar.local:{house.port}")
        reply = await house.once("tcp", request)
        assert reply.status == 200
        assert not [name for name, _ in reply.headers if name.startswith("access-control")]
        evil = post(chat_body(), ("Origin", "http://app.local:3001"), host=f"sidecar.local:{house.port}")
        assert (await house.once("tcp", evil)).status == 403
        assert (await house.once("tcp", head("GET", "/healthz", host="sidecar.local.evil.com"))).status == 421


@pytest.mark.parametrize(
    "target", ["http://evil.com/v1/models", "http://localhost/healthz", "*", "evil.com:443", "healthz", "?x"]
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "CONNECT", "POST"])
async def test_a_target_that_is_no_path_is_refused(
    house: House, fake: FakeProvider, via: str, target: str, method: str
) -> None:
    reply = await house.once(via, head(method, target, JSON, ("Content-Length", "0"), host=house.host(via)))
    assert reply.status == 400
    assert reply.error["message"]
    assert not fake.calls


# -- sizes


@pytest.fixture
async def small(fake: FakeProvider, wire: str):
    async with open_house(config(fake.base_url, wire=wire, limits="{max_body: 4KiB, body_idle: 150ms}")) as opened:
        yield opened


async def test_a_body_announced_too_large_is_413_before_it_comes(small: House, fake: FakeProvider, via: str) -> None:
    request = head("POST", "/v1/chat/completions", JSON, ("Content-Length", "5000"), host=small.host(via))
    async with await RawClient.to(small.where(via)) as client:
        reply = await client.ask(request)
        assert (reply.status, reply.closes) == (413, True)
        assert "4096" in reply.error["message"]
    assert not fake.calls


async def test_a_body_that_turns_out_too_large_is_413(small: House, fake: FakeProvider, via: str) -> None:
    chunked = ("Transfer-Encoding", "chunked")
    request = head("POST", "/v1/chat/completions", JSON, chunked, host=small.host(via))
    async with await RawClient.to(small.where(via)) as client:
        await client.send(request)
        for _ in range(5):
            await client.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        reply = await client.reply()
        assert (reply.status, reply.closes) == (413, True)
    assert not fake.calls


async def test_a_client_that_sends_on_still_gets_its_413(small: House, via: str) -> None:
    size = 8_000_000
    request = head("POST", "/v1/chat/completions", JSON, ("Content-Length", str(size)), host=small.host(via))
    async with await RawClient.to(small.where(via)) as client:
        await client.send(request + b"x" * size)  # all of it, before it reads
        reply = await client.reply()
        assert reply.status == 413
        assert await client.rest() == b""  # a FIN: a RST would have taken the answer with it


async def test_a_body_of_just_the_limit_is_taken(small: House, via: str) -> None:
    body = chat_body(padding="")
    body = chat_body(padding="x" * (4096 - len(body)))
    assert len(body) == 4096
    assert (await small.once(via, post(body, host=small.host(via)))).status == 200
    assert (await small.once(via, post(body + b" ", host=small.host(via)))).status == 413


async def test_a_body_that_stalls_is_408(small: House, fake: FakeProvider, via: str) -> None:
    request = post(chat_body(), host=small.host(via))
    async with await RawClient.to(small.where(via)) as client:
        reply = await client.ask(request[:-3])
        assert (reply.status, reply.closes) == (408, True)
        assert "0.15 s" in reply.error["message"]
    assert not fake.calls


async def test_a_body_with_broken_chunks_is_400(house: House, fake: FakeProvider, via: str) -> None:
    chunked = ("Transfer-Encoding", "chunked")
    request = head("POST", "/v1/chat/completions", JSON, chunked, host=house.host(via))
    async with await RawClient.to(house.where(via)) as client:
        await client.send(request + b"5\r\nhel")
        await asyncio.sleep(0.05)
        reply = await client.ask(b"lo\r\nzz\r\n")
        assert (reply.status, reply.closes) == (400, True)
        assert reply.error["message"]
    assert not fake.calls


async def test_a_sticky_header_of_odd_bytes_is_a_value_like_any_other(fake: FakeProvider, wire: str) -> None:
    routes = "{default: {sticky: x-user, chain: [{fake/m: 1, fake/n: 1}]}}"
    async with open_house(config(fake.base_url, wire=wire, routes=routes)) as house:
        targets = {
            (await house.once("unix", post(chat_body(), ("X-User", b"\xff\x80")))).header("x-sidecar-target")
            for _ in range(5)
        }
        assert len(targets) == 1


async def test_what_strangers_send_never_breaks_a_line_of_the_log(house: House, fake: FakeProvider, via: str) -> None:
    odd = b"\xff\xfe\xe6\x97\xa5\x80"
    host = house.host(via)
    fake.script(ok("fine"))
    requests = [
        head("GET", "/PLACE", ("X", "y"), host=host).replace(b"PLACE", odd),
        head("GET", "/v1/models/PLACE", host=host).replace(b"PLACE", odd),
        head("GET", "/PLACE?key=sk-secret-1234567890abcdef", host=host).replace(b"PLACE", odd),
        post(chat_body(), ("Origin", odd), host=host),
        post(chat_body(), ("Content-Encoding", odd), host=host),
        post(chat_body(), ("X-Sidecar-Route", odd), host=host),
        post(chat_body(), ("X-Sidecar-Timeout", odd), host=host),
        post(chat_body(), ("X-Sidecar-Fallback", odd), host=host),
        post(chat_body(), ("User-Agent", odd), ("Idempotency-Key", odd), ("OpenAI-Beta", odd), host=host),
        post(chat_body(), ("X-Stainless-Retry-Count", "٣"), host=host),
        post(b'{"model": "\\ud800", "messages": []}', host=host),
        post(b'{"model": "a\\u0000\\r\\n\\u001b[31m\\u2028b", "messages": []}', host=host),
        post(b'{"model": "%b", "messages": []}' % (b"x" * 100_000), host=host),
    ]
    for request in requests:
        reply = await house.once(via, request)
        assert reply.status in (200, 400, 403, 404, 415), (request[:200], reply, house.faults)
        assert reply.json
    assert len(house.lines("request.refused")) >= 5
    said = b"".join(house._written)
    assert b"sk-secret" not in said
    assert b"task.failed" not in said
