"""The fake provider is faithful when it is told to be, and breaks exactly as told otherwise."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from collections.abc import Callable
from typing import Any

import openai
import pytest
import trustme
import uvloop

from tests.fake_behaviours import Exchange
from tests.fake_provider import (
    WORDS,
    Behaviour,
    FakeProvider,
    Request,
    cut_after,
    drip,
    empty,
    error_event_in_200,
    half_json,
    html,
    malformed_chunk_at,
    no_done,
    ok,
    raw,
    reset,
    silence,
    slow_headers,
    stall_after,
    status,
)

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TEXT = " ".join(WORDS)


def post(path: str = "/v1/chat/completions", **body: Any) -> bytes:
    sent = json.dumps({**BODY, **body}).encode()
    return f"POST {path} HTTP/1.1\r\nHost: fake\r\nContent-Length: {len(sent)}\r\n\r\n".encode() + sent


async def everything(fake: FakeProvider, asked: bytes) -> tuple[bytes, bool]:
    """What one connection brings until it ends, and whether it ended by a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", fake.port)
    writer.write(asked)
    came = b""
    try:
        async with asyncio.timeout(20):
            while part := await reader.read(65536):
                came += part
    except ConnectionResetError:
        return came, True
    finally:
        writer.close()
    return came, False


async def asked_once(fake: FakeProvider, path: str = "/v1/chat/completions", **body: Any) -> tuple[bytes, bool]:
    return await everything(fake, post(path, **body).replace(b"Host:", b"Connection: close\r\nHost:"))


def body_of(answer: bytes) -> bytes:
    """The body of a whole answer, unchunked; fails when its framing is broken."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head:
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        assert len(body) == length
        return body
    parts = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        count = int(size, 16)
        assert body[count : count + 2] == b"\r\n"
        if not count:
            assert body == b"\r\n"
            return parts
        parts, body = parts + body[:count], body[count + 2 :]


def said(answer: bytes) -> str:
    """The text of every content delta that came, however broken the rest."""
    text = ""
    for line in answer.split(b"\n"):
        try:
            choices = json.loads(line.removeprefix(b"data: "))["choices"]
        except (ValueError, KeyError, TypeError):
            continue
        text += "".join(choice["delta"].get("content") or "" for choice in choices)
    return text


def sdk(fake: FakeProvider, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=fake.base_url, api_key="key", max_retries=0, timeout=10, **options)


@pytest.fixture
async def fake() -> Any:
    async with FakeProvider() as fake:
        yield fake


# -- faithful


async def test_the_sdk_reads_a_plain_answer(fake: FakeProvider) -> None:
    async with sdk(fake) as client:
        answer = await client.chat.completions.create(**BODY)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "m"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 60


async def test_the_sdk_reads_a_stream_with_usage(fake: FakeProvider) -> None:
    async with sdk(fake) as client:
        stream = await client.chat.completions.create(**BODY, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == TEXT
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 67


async def test_the_sdk_reads_tool_calls_streamed_and_not(fake: FakeProvider) -> None:
    fake.script(ok(tool_calls=[("weather", '{"city": "Rome"}'), ("clock", "{}")]))
    async with sdk(fake) as client:
        answer = await client.chat.completions.create(**BODY)
        calls = answer.choices[0].message.tool_calls
        assert [(c.function.name, c.function.arguments) for c in calls] == [
            ("weather", '{"city": "Rome"}'),
            ("clock", "{}"),
        ]
        async with client.chat.completions.stream(**BODY) as stream:
            final = await stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    assert [c.function.arguments for c in final.choices[0].message.tool_calls] == ['{"city": "Rome"}', "{}"]


async def test_the_sdk_raises_its_typed_errors(fake: FakeProvider) -> None:
    fake.script(
        status(429, code="rate_limit_exceeded", retry_after=2), status(400, "no", code="context_length_exceeded")
    )
    async with sdk(fake) as client:
        with pytest.raises(openai.RateLimitError) as limited:
            await client.chat.completions.create(**BODY)
        assert limited.value.response.headers["retry-after"] == "2"
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(**BODY)
    assert refused.value.code == "context_length_exceeded"


async def test_the_sdk_uses_completions_embeddings_and_the_model_list(fake: FakeProvider) -> None:
    fake.on("m", ok("just this"))
    async with sdk(fake) as client:
        assert (await client.completions.create(model="m", prompt="x")).choices[0].text == "just this"
        stream = await client.completions.create(model="m", prompt="x", stream=True)
        assert "".join([c.choices[0].text async for c in stream]) == "just this"
        vectors = await client.embeddings.create(model="m", input=["a", "b"], encoding_format="float")
        assert [row.index for row in vectors.data] == [0, 1]
        assert [model.id async for model in client.models.list()] == ["fake", "m"]
        fake.models_status = 503
        with pytest.raises(openai.InternalServerError):
            await client.models.list()
        fake.on_models(status(401))
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


async def test_http_client_reads_it_over_one_connection(fake: FakeProvider) -> None:
    def story() -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", fake.port, timeout=10)
        statuses = []
        for stream in (False, True, False):
            connection.request("POST", "/v1/chat/completions", json.dumps({**BODY, "stream": stream}))
            answer = connection.getresponse()
            statuses.append(answer.status)
            assert answer.read()
        connection.close()
        return statuses

    assert await asyncio.to_thread(story) == [200, 200, 200]
    assert fake.accepted == 1
    assert [call.connection for call in fake.calls] == [1, 1, 1]


async def test_it_serves_tls() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with FakeProvider(tls=context) as fake:
        assert fake.base_url.startswith("https://")

        def story() -> bytes:
            connection = http.client.HTTPSConnection("127.0.0.1", fake.port, timeout=10, context=trusting)
            connection.request("POST", "/v1/chat/completions", json.dumps(BODY))
            body = connection.getresponse().read()
            connection.close()
            return body

        assert json.loads(await asyncio.to_thread(story))["choices"][0]["message"]["content"] == TEXT
        fake.script(reset())
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            await asyncio.to_thread(story)


# -- scripts and records


async def test_a_script_is_consumed_a_request_at_a_time_and_its_last_behaviour_repeats(fake: FakeProvider) -> None:
    fake.script(status(500), status(503), ok("fine"))
    heads = [(await asked_once(fake))[0][:12] for _ in range(4)]
    assert heads == [b"HTTP/1.1 500", b"HTTP/1.1 503", b"HTTP/1.1 200", b"HTTP/1.1 200"]


async def test_a_model_has_its_own_script_and_a_callable_sees_the_request(fake: FakeProvider) -> None:
    def by_size(request: Request) -> Behaviour:
        return status(400) if len(request.body) > 200 else ok("small")

    fake.on("sized", by_size)
    assert b"small" in (await asked_once(fake, model="sized"))[0]
    assert (await asked_once(fake, model="sized", padding="x" * 200))[0].startswith(b"HTTP/1.1 400")
    assert b"amber" in (await asked_once(fake))[0]
    assert len(fake.calls_of("sized")) == 2


async def test_a_request_is_recorded_whole(fake: FakeProvider) -> None:
    before = asyncio.get_running_loop().time()
    await everything(
        fake, post("/v1/chat/completions?a=b").replace(b"Host", b"Connection: close\r\nX-Odd: 1:2\r\nHost")
    )
    (call,) = fake.calls
    assert (call.method, call.path, call.operation) == ("POST", "/v1/chat/completions?a=b", "/chat/completions")
    assert call.headers["x-odd"] == "1:2"
    assert call.json == BODY
    assert before <= call.at <= call.ended_at
    assert call.peer_closed_at is None


async def test_a_chunked_body_and_expect_continue_are_understood(fake: FakeProvider) -> None:
    body = json.dumps(BODY).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nConnection: close\r\nExpect: 100-continue\r\n"
    chunks = b"%x\r\n%b\r\n%x;ext=1\r\n%b\r\n0\r\n\r\n" % (5, body[:5], len(body) - 5, body[5:])
    chunks = chunks.replace(b";ext=1", b"")
    answer, _ = await everything(fake, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    assert fake.calls[0].json == BODY


async def test_an_unknown_path_is_404_and_nonsense_ends_the_connection(fake: FakeProvider) -> None:
    assert (await asked_once(fake, "/v1/nothing"))[0].startswith(b"HTTP/1.1 404")
    assert await everything(fake, b"nonsense\r\n\r\n") == (b"", False)


@pytest.mark.parametrize("behaviour", [silence(), silence(head=True), stall_after(3), ok(first_token_delay_s=60)])
async def test_a_peer_that_leaves_is_noticed_at_once(fake: FakeProvider, behaviour: Behaviour) -> None:
    fake.script(behaviour)
    _, writer = await asyncio.open_connection("127.0.0.1", fake.port)
    writer.write(post(stream=True))
    await fake.wait_calls(1)
    assert (fake.open, fake.active) == (1, 1)
    assert fake.calls[0].peer_closed_at is None
    left = asyncio.get_running_loop().time()
    writer.close()
    await fake.wait_closed_connections()
    await fake.wait_idle()
    assert left <= fake.calls[0].peer_closed_at < left + 1
    assert fake.calls[0].ended_at is not None


async def test_waiting_for_what_does_not_come_fails_with_the_counts(fake: FakeProvider) -> None:
    with pytest.raises(AssertionError, match=r"0 requests, 0 active, 0 accepted, 0 open"):
        await fake.wait_calls(1, timeout_s=0.05)


async def test_a_behaviour_that_breaks_fails_the_test() -> None:
    def broken(request: Request) -> Behaviour:
        raise LookupError("mistake in a test")

    async def story() -> None:
        async with FakeProvider() as fake:
            fake.script(broken)
            assert await asked_once(fake) == (b"", True)

    with pytest.raises(LookupError, match="mistake in a test"):
        await story()


async def test_a_script_without_behaviours_is_refused(fake: FakeProvider) -> None:
    with pytest.raises(ValueError, match="needs a behaviour"):
        fake.script()


# -- faults


async def test_reset_comes_before_any_byte(fake: FakeProvider) -> None:
    fake.script(reset())
    assert await asked_once(fake) == (b"", True)


async def test_a_silence_ends_with_nothing_or_with_a_head_alone(fake: FakeProvider) -> None:
    fake.script(silence(0.01), silence(0.01, head=True))
    assert await asked_once(fake) == (b"", False)
    answer, reset_ = await asked_once(fake, stream=True)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")
    assert not reset_


@pytest.mark.parametrize(("cut", "by_reset"), [("fin", False), ("rst", True), ("clean", False)])
async def test_a_cut_stream_has_exactly_so_many_tokens(fake: FakeProvider, cut: Any, by_reset: bool) -> None:
    fake.script(cut_after(40, cut))
    answer, was_reset = await asked_once(fake, stream=True)
    assert was_reset is by_reset
    assert said(answer) == " ".join(WORDS[:40])
    assert b"[DONE]" not in answer
    assert b'"stop"' not in answer
    assert answer.endswith(b"0\r\n\r\n") is (cut == "clean")


async def test_a_cut_plain_answer_is_shorter_than_it_said(fake: FakeProvider) -> None:
    fake.script(cut_after(1))
    answer, _ = await asked_once(fake)
    with pytest.raises(AssertionError):
        body_of(answer)


async def test_a_malformed_chunk_is_one_more(fake: FakeProvider) -> None:
    fake.script(malformed_chunk_at(10))
    body = body_of((await asked_once(fake, stream=True))[0])
    assert said(body) == TEXT
    assert body.count(b'[{"ind\n\n') == 1
    assert said(body.partition(b'[{"ind\n')[0]) == " ".join(WORDS[:10])


async def test_done_may_be_missing_and_usage_may_be_anywhere(fake: FakeProvider) -> None:
    fake.script(no_done(), ok(usage_chunk="always"), ok(usage_chunk="on_finish"), ok(usage_chunk="never"))
    bodies = [body_of((await asked_once(fake, stream=True))[0]) for _ in range(4)]
    assert [b"[DONE]" in body for body in bodies] == [False, True, True, True]
    assert [b'"completion_tokens":60' in body for body in bodies] == [False, True, True, False]
    assert b'"choices":[],"usage"' in bodies[1]
    assert b'"finish_reason":"stop"}],"usage"' in bodies[2]


@pytest.mark.parametrize("at", [0, 5])
async def test_an_error_event_ends_a_stream_that_began_well(fake: FakeProvider, at: int) -> None:
    fake.script(error_event_in_200("overloaded", at=at))
    body = body_of((await asked_once(fake, stream=True))[0])
    assert b'"role":"assistant"' in body
    assert said(body) == " ".join(WORDS[:at])
    assert json.loads(body.strip().rpartition(b"data: ")[2])["error"]["message"] == "overloaded"


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (html(), b"<!doctype html>"),
        (empty(), b""),
        (half_json(), b'{"id": "chatcmpl-fake", "choices": [{"mess'),
        (ok(malformed_at=0), b'{"id":"chatcmpl-fake"'),
        (ok(error_at=0), b'{"error":'),
    ],
)
async def test_a_200_may_hold_anything(fake: FakeProvider, behaviour: Behaviour, expected: bytes) -> None:
    fake.script(behaviour)
    answer, _ = await asked_once(fake)
    assert answer.startswith(b"HTTP/1.1 200")
    assert body_of(answer).startswith(expected)


async def test_an_answer_may_come_in_the_form_that_was_not_asked_for(fake: FakeProvider) -> None:
    fake.script(ok(stream=True), ok(stream=False))
    assert b"text/event-stream" in (await asked_once(fake))[0]
    assert b"application/json" in (await asked_once(fake, stream=True))[0]


@pytest.mark.parametrize("behaviour", [slow_headers(2000), drip(60_000), ok(gap_s=0.001), ok(head_delay_s=0.05)])
async def test_a_slow_answer_is_whole_in_the_end(fake: FakeProvider, behaviour: Behaviour) -> None:
    fake.script(behaviour)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert said(body_of((await asked_once(fake, stream=True))[0])) == TEXT
    assert loop.time() - began >= 0.03


async def test_raw_bytes_go_out_as_they_are(fake: FakeProvider) -> None:
    fake.script(raw(b"SSH-2.0-", b"fake\r\n"), raw(b"HTTP/1.1 204 N\r\n\r\n", then=None), raw(b"x", then="rst"))
    assert await asked_once(fake) == (b"SSH-2.0-fake\r\n", False)
    assert await everything(fake, post() + post()) == (b"HTTP/1.1 204 N\r\n\r\nx", True)


# -- the server


async def test_down_refuses_and_severs_and_up_is_the_same_port(fake: FakeProvider) -> None:
    fake.script(silence(), ok())
    waiting = asyncio.create_task(asked_once(fake))
    await fake.wait_calls(1)
    port = fake.port
    for _ in range(2):
        await fake.down()
        await fake.down()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await fake.up()
        await fake.up()
        assert (await asked_once(fake))[0].startswith(b"HTTP/1.1 200")
    assert await waiting == (b"", True)
    assert fake.port == port


class Gated(Behaviour):
    """Answers once everybody has come."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def play(self, exchange: Exchange) -> None:
        await self.gate.wait()
        await ok(gap_s=0.001, words=WORDS[:10]).play(exchange)


async def thousand_streams() -> None:
    gated = Gated()
    async with FakeProvider() as fake, asyncio.timeout(30):
        fake.script(gated)
        clients = [asyncio.create_task(asked_once(fake, stream=True)) for _ in range(1000)]
        await fake.wait_for(lambda fake: fake.active == 1000, timeout_s=20)
        gated.gate.set()
        answers = await asyncio.gather(*clients)
        assert {said(answer) for answer, _ in answers} == {" ".join(WORDS[:10])}
        assert (fake.accepted, fake.peak_active) == (1000, 1000)
        await fake.wait_closed_connections()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_thousand_streams_at_once(run: Callable[[Any], None]) -> None:
    run(thousand_streams())


def test_resets_and_being_down_work_on_uvloop_too() -> None:
    async def story() -> None:
        async with FakeProvider() as fake:
            fake.script(reset(), cut_after(40, "rst"))
            assert await asked_once(fake) == (b"", True)
            answer, was_reset = await asked_once(fake, stream=True)
            assert (said(answer), was_reset) == (" ".join(WORDS[:40]), True)
            await fake.down()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", fake.port)
            await fake.up()
            fake.script(ok())
            assert (await asked_once(fake))[0].startswith(b"HTTP/1.1 200")

    uvloop.run(story())
