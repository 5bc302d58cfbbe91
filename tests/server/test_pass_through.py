"""`/providers/NAME/...`: whatever a provider has beside answers, as it is, with our key and none of the client's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import openai
import pytest
from aiohttp import ClientSession, web

from tests.fake_provider import FakeProvider, raw
from tests.server.house import House, config, open_house
from tests.server.raw import RawClient, head, post

PIECE = b"x" * 40_000


class Upstream:
    """A provider that keeps what it was sent and answers in its own ways."""

    def __init__(self) -> None:
        self.seen: list[tuple[web.Request, bytes]] = []
        self.left = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append((request, body))
        if request.path.endswith("/files") and request.method == "POST":
            return web.json_response(
                _FILE, headers={"x-request-id": "up_1", "set-cookie": "a=b", "openai-version": "v"}
            )
        if request.method == "HEAD":
            return web.Response(headers={"content-type": "text/plain", "content-length": "1234"})
        if request.path.endswith("/content"):
            quoted = {"openai-organization": request.headers["Authorization"]}
            response = web.StreamResponse(headers={"content-type": "application/octet-stream", **quoted})
            await response.prepare(request)
            for _ in range(50):
                await response.write(PIECE)
            return response
        if request.path.endswith("/cut"):
            response = web.StreamResponse(headers={"content-type": "text/plain", "content-length": "100"})
            await response.prepare(request)
            await response.write(b"half")
            assert request.transport is not None
            request.transport.close()
            return response
        if request.path.endswith("/never"):
            try:
                await asyncio.sleep(60)
            finally:
                self.left.set()
        return web.json_response({"error": {"message": "no such thing", "type": "invalid_request_error"}}, status=404)


_FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 5,
    "created_at": 1,
    "filename": "a.jsonl",
    "purpose": "batch",
    "status": "processed",
}


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, str]]:
    own = Upstream()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{rest:.*}", own.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield own, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


@pytest.fixture
async def passing(upstream: tuple[Upstream, str], wire: str) -> AsyncIterator[House]:
    async with open_house(config(upstream[1], wire=wire)) as opened:
        yield opened


def base(house: House) -> str:
    return f"http://localhost:{house.port}/providers/fake"


async def test_the_sdk_uploads_a_file_and_reads_one(passing: House, upstream: tuple[Upstream, str]) -> None:
    async with openai.AsyncOpenAI(base_url=base(passing), api_key="the-clients-own", max_retries=0) as client:
        made = await client.files.create(file=("a.jsonl", b"{}\n{}\n"), purpose="batch")
        assert made.id == "file-1"
        content = await client.files.content("file-1")
        assert content.content == PIECE * 50
        assert content.response.headers["openai-organization"] == "Bearer ***"
    request, body = upstream[0].seen[0]
    assert request.path == "/v1/files"
    assert request.headers["Authorization"] == "Bearer k-fake"
    assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert b'filename="a.jsonl"' in body
    assert "the-clients-own" not in str(request.headers)
    lines = await passing.wait_lines("attempt", 2)
    assert [line["operation"] for line in lines] == ["pass_through"] * 2
    assert [line["outcome"] for line in lines] == ["ok"] * 2
    assert lines[0]["upstream_request_id"] == "up_1"
    assert len(await passing.wait_lines("request", 2)) == 2


async def test_headers_go_by_an_allow_list_and_a_key_in_the_query_stays_here(
    passing: House, upstream: tuple[Upstream, str]
) -> None:
    async with ClientSession() as session:
        sent = {
            "Range": "bytes=0-9",
            "Cookie": "a=b",
            "X-Api-Key": "secret",
            "X-Custom": "1",
            "OpenAI-Beta": "assistants=v2",
        }
        asked = session.get(f"{base(passing)}/none?key=secret&limit=2&a=b%26c", headers=sent)
        async with asked as reply:
            assert reply.status == 404
            assert (await reply.json())["error"]["message"] == "no such thing"
            assert reply.headers["x-sidecar-target"] == "fake"
    request, _ = upstream[0].seen[0]
    assert request.raw_path == "/v1/none?limit=2&a=b%26c"
    assert (request.headers["Range"], request.headers["OpenAI-Beta"]) == ("bytes=0-9", "assistants=v2")
    assert not {"Cookie", "X-Api-Key", "X-Custom"} & set(request.headers)
    (line,) = await passing.wait_lines("attempt")
    assert (line["outcome"], line["status"], line["kind"]) == ("failed", 404, "invalid_request")


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_the_head_alone_tells_how_long_the_body_would_be(passing: House, version: str) -> None:
    async with await RawClient.to(passing.socket) as client:
        await client.send(head("HEAD", "/providers/fake/files/1", version=version))
        reply = await client.head()
        assert (reply.status, reply.version) == (200, f"HTTP/{version}")
        assert (reply.header("content-length"), reply.header("transfer-encoding")) == ("1234", None)
        if version == "1.1":  # nothing follows it but the next answer
            assert (await client.ask(head("GET", "/providers/fake/files/1"))).status == 404
    assert (await passing.wait_lines("attempt"))[0]["outcome"] == "ok"


async def test_a_large_body_is_streamed(passing: House, upstream: tuple[Upstream, str]) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield PIECE

    async with ClientSession() as session:
        kind = {"Content-Type": "application/octet-stream"}
        async with session.post(f"{base(passing)}/files", data=pieces(), headers=kind) as reply:
            assert reply.status == 200
            assert "set-cookie" not in reply.headers
            assert reply.headers["openai-version"] == "v"
    assert upstream[0].seen[0][1] == PIECE * 100


async def test_an_answer_that_breaks_is_not_ended_as_a_whole_one(passing: House) -> None:
    async with ClientSession() as session, session.get(f"{base(passing)}/cut") as reply:
        with pytest.raises(Exception, match="payload"):
            await reply.read()
    (line,) = await passing.wait_lines("attempt")
    assert (line["outcome"], line["kind"]) == ("truncated", "truncated")


async def test_a_client_that_leaves_ends_the_upload(passing: House, upstream: tuple[Upstream, str]) -> None:
    async with ClientSession() as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), session.get(f"{base(passing)}/never"):
                pass
    async with asyncio.timeout(5):
        await upstream[0].left.wait()
    (line,) = await passing.wait_lines("attempt")
    assert (line["outcome"], line["kind"]) == ("cancelled", "client_gone")
    assert not passing.manager.active


@pytest.mark.parametrize(
    "path",
    ["/providers/fake/../../etc", "/providers/fake/%2e%2e/x", "/providers/fake/a/..%2f..", "/providers/fake/..%5cx"],
)
async def test_nobody_climbs_out_of_the_providers_path(
    passing: House, upstream: tuple[Upstream, str], path: str
) -> None:
    reply = await passing.once("unix", f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert reply.status == 400
    assert not upstream[0].seen


async def test_a_provider_that_is_not_there_is_named(passing: House) -> None:
    reply = await passing.once("unix", b"GET /providers/fakt/files HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert reply.status == 404
    assert 'did you mean "fake"' in json.loads(reply.body)["error"]["message"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
async def test_a_form_is_not_passed_on(passing: House, upstream: tuple[Upstream, str], kind: str) -> None:
    sent = {"Content-Type": kind}
    async with ClientSession() as session, session.post(f"{base(passing)}/files", data=b"x", headers=sent) as reply:
        assert reply.status == 415
    assert not upstream[0].seen


async def test_a_provider_that_cannot_be_reached_is_told_in_its_dialect(wire: str) -> None:
    async with open_house(config("http://127.0.0.1:1/v1", wire=wire)) as house:
        reply = await house.once("unix", b"GET /providers/fake/files HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert reply.status == 502
        assert json.loads(reply.body)["error"]["kind"] == "unreachable"


@pytest.mark.parametrize("status", [204, 304])
async def test_nothing_follows_the_head_of_an_answer_that_has_no_body(
    fake: FakeProvider, wire: str, status: int
) -> None:
    fake.script(raw(b"HTTP/1.1 %d Fine\r\netag: x\r\n\r\n" % status))
    async with open_house(config(fake.base_url, wire=wire)) as house, await RawClient.to(house.socket) as client:
        for _ in range(2):
            reply = await client.ask(post(b"{}", path="/providers/fake/chat/completions"))
            assert (reply.status, reply.header("etag")) == (status, "x")
            assert reply.header("transfer-encoding") is None
        lines = await house.wait_lines("request", 2)
        assert [(line["outcome"], line["status"]) for line in lines] == [("ok", status)] * 2


@pytest.mark.parametrize("status", [520, 529, 799])
async def test_a_status_that_http_does_not_know_is_passed_on(fake: FakeProvider, wire: str, status: int) -> None:
    fake.script(raw(b"HTTP/1.1 %d Odd\r\ncontent-length: 2\r\n\r\n{}" % status))
    async with open_house(config(fake.base_url, wire=wire)) as house:
        reply = await house.once("unix", post(b"{}", path="/providers/fake/chat/completions"))
        assert (reply.status, reply.body) == (status, b"{}")
        [line] = await house.wait_lines("request")
        assert (line["outcome"], line["status"]) == ("failed", status)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_what_would_show_our_key_is_not_passed_on(house: House, fake: FakeProvider, method: str) -> None:
    reply = await house.once("unix", head(method, "/providers/fake/chat/completions"))
    assert reply.status == 405
    assert not fake.requests


@pytest.mark.parametrize(
    ("rest", "status", "message"),
    [
        (b"zz\r\n", 400, "the body's chunks are not valid HTTP"),
        (b"", 408, "the body stalled for 0.2 s (limits.body_idle)"),
    ],
)
async def test_an_upload_that_breaks_is_the_clients_error(
    fake: FakeProvider, wire: str, rest: bytes, status: int, message: str
) -> None:
    async with open_house(config(fake.base_url, wire=wire, limits="{body_idle: 200ms}")) as house:
        chunked = ("Transfer-Encoding", "chunked")
        sent = head("POST", "/providers/fake/files", ("Content-Type", "application/json"), chunked)
        async with await RawClient.to(house.socket) as client:
            await client.send(sent + b"5\r\nhello\r\n")
            await asyncio.sleep(0.05)
            await client.send(rest)
            reply = await client.reply()
        assert (reply.status, reply.error["code"], reply.error["message"]) == (status, "invalid_request", message)
        assert reply.closes
        [line] = await house.wait_lines("request")
        assert (line["status"], line["kind"], line["error"]) == (status, "invalid_request", message)


async def test_an_error_is_logged_with_what_it_says(fake: FakeProvider, wire: str) -> None:
    error = {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}
    said = json.dumps({"error": error}).encode()
    fake.script(raw(b"HTTP/1.1 429 No\r\ncontent-length: %d\r\n\r\n%b" % (len(said), said)))
    async with open_house(config(fake.base_url, wire=wire)) as house:
        assert (await house.once("unix", post(b"{}", path="/providers/fake/chat/completions"))).status == 429
        for line in *await house.wait_lines("attempt"), *await house.wait_lines("request"):
            assert (line["kind"], line["error"]) == ("quota_exhausted", "You exceeded your current quota")


async def test_a_key_that_the_provider_quotes_does_not_come_through(fake: FakeProvider, wire: str) -> None:
    key = "sk-a-key-of-ours-0123456789"
    said = json.dumps({"error": {"message": f"wrong key: {key}"}}).encode()
    fake.script(raw(b"HTTP/1.1 401 No\r\ncontent-length: %d\r\n\r\n%b" % (len(said), said)))
    provider = f'{{fake: {{type: openai-compatible, base_url: "{fake.base_url}", api_key: {key}}}}}'
    async with open_house(config(fake.base_url, wire=wire, providers=provider)) as house:
        reply = await house.once("unix", post(b"{}", path="/providers/fake/chat/completions"))
        assert (reply.status, reply.complete) == (401, True)
        assert b"wrong key: " in reply.body
        assert key.encode() not in reply.body
        [line] = await house.wait_lines("attempt")
        assert line["error"].startswith("wrong key: ")
        assert key not in line["error"]


async def test_a_small_body_that_stalls_is_told_how_long_it_may(upstream: tuple[Upstream, str], wire: str) -> None:
    async with open_house(config(upstream[1], wire=wire, limits="{body_idle: 200ms}")) as house:
        head = "POST /providers/fake/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        reply = await house.once("unix", f"{head}Content-Length: 10\r\n\r\n{{".encode())
        assert reply.status == 408
        assert "0.2 s (limits.body_idle)" in json.loads(reply.body)["error"]["message"]
    assert not upstream[0].seen


async def test_an_answer_that_is_never_read_is_given_up(upstream: tuple[Upstream, str], wire: str) -> None:
    async with open_house(config(upstream[1], wire=wire, limits="{body_idle: 200ms}")) as house:
        async with await RawClient.to(house.socket, limit=1024) as client:
            await client.send(b"GET /providers/fake/files/1/content HTTP/1.1\r\nHost: localhost\r\n\r\n")
            (line,) = await house.wait_lines("attempt")
        assert (line["outcome"], line["kind"]) == ("cancelled", "client_gone")
        assert not house.manager.active
