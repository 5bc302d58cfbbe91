"""The embedded provider: its wire shapes, its tool calls, its faults, and its manners when cancelled."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import selectors
import struct
from collections.abc import Coroutine
from typing import Any, TypeVar

import jsonschema
import pytest

from sidecar.model.errors import ConfigurationError
from sidecar.model.topology import Dialect, Provider, TransportName
from sidecar.upstream.embedded import MODELS, EmbeddedTransport, Pace
from sidecar.upstream.transport import Breach, Reply, TransportError, UpstreamRequest

BOTH_LOOPS = True  # the daemon runs on uvloop, an embedding app perhaps not

T = TypeVar("T")

HELLO = [{"role": "user", "content": "hello there"}]


class _Skipping(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """A selector that never waits: it says how long it would have."""

    skipped_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("everybody waits for ever")
        self.skipped_s += 0 if ready or timeout is None else timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped_s


def play(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def now() -> float:
    return asyncio.get_running_loop().time()


async def ask(transport: EmbeddedTransport, path: str = "/v1/chat/completions", **body: Any) -> Reply:
    request = UpstreamRequest("POST", path, (), json.dumps(body).encode())
    return await transport.send(request, connect_s=1)


async def chat(transport: EmbeddedTransport, model: str = "ok", **body: Any) -> Reply:
    return await ask(transport, **{"model": model, "messages": HELLO, **body})


async def drained(reply: Reply) -> bytes:
    body = b""
    while part := await reply.read():
        body += part
    reply.close()
    return body


async def answered(reply: Reply) -> dict[str, Any]:
    body = await drained(reply)
    assert dict(reply.headers)["content-length"] == str(len(body))
    return json.loads(body)


def frames(body: bytes) -> list[Any]:
    """The data of an SSE body; text that is not JSON is left as it is."""
    found = []
    for block in body.split(b"\n\n")[:-1]:
        assert block.startswith(b"data: ")
        try:
            found.append(json.loads(block[6:]))
        except ValueError:
            found.append(block[6:].decode())
    return found


def spoken(chunks: list[Any]) -> str:
    choices = [c for chunk in chunks if isinstance(chunk, dict) for c in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.fixture
def transport() -> EmbeddedTransport:
    return EmbeddedTransport("demo")


# -- good answers


async def test_a_plain_answer_names_who_answered_and_quotes_the_last_user_message(transport: EmbeddedTransport) -> None:
    messages = [{"role": "user", "content": "first"}, *HELLO, {"role": "assistant", "content": "mine"}]
    reply = await chat(transport, messages=messages)
    answer = await answered(reply)
    assert reply.status == 200
    text = answer["choices"][0]["message"]["content"]
    assert text.startswith('Hello from demo/ok. You said: "hello there".')
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {
        "prompt_tokens": 4,
        "completion_tokens": len(text.split()),
        "total_tokens": 4 + len(text.split()),
    }


async def test_a_stream_says_what_the_plain_answer_says_in_openais_order(transport: EmbeddedTransport) -> None:
    plain = await answered(await chat(transport))
    reply = await chat(transport, stream=True)
    chunks = frames(await drained(reply))
    assert dict(reply.headers)["content-type"].startswith("text/event-stream")
    assert chunks.pop() == "[DONE]"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert {c["id"] for c in chunks} == {"chatcmpl-embedded-2"}
    assert not any("usage" in c for c in chunks)
    assert spoken(chunks) == plain["choices"][0]["message"]["content"]


async def test_usage_is_streamed_when_it_is_asked_for(transport: EmbeddedTransport) -> None:
    reply = await chat(transport, stream=True, stream_options={"include_usage": True})
    *chunks, usage, _ = frames(await drained(reply))
    assert all(c["usage"] is None for c in chunks)
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == len(chunks) - 2


async def test_text_parts_and_long_messages_are_quoted_on_one_line(transport: EmbeddedTransport) -> None:
    parts = [{"type": "text", "text": "see\nthis"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    answer = await answered(await chat(transport, messages=[{"role": "user", "content": parts}]))
    assert '"see this"' in answer["choices"][0]["message"]["content"]
    answer = await answered(await chat(transport, messages=[{"role": "user", "content": "word " * 10_000}]))
    assert len(answer["choices"][0]["message"]["content"]) < 600


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_is_kept_and_told(transport: EmbeddedTransport, limit: str) -> None:
    answer = await answered(await chat(transport, **{limit: 3}))
    assert answer["choices"][0]["message"]["content"] == "Hello from demo/ok."
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3


async def test_completions_are_text_completions(transport: EmbeddedTransport) -> None:
    path = "/v1/completions"
    answer = await answered(await ask(transport, path, model="ok", prompt="Once upon"))
    assert answer["object"] == "text_completion"
    assert 'You wrote: "Once upon".' in answer["choices"][0]["text"]
    reply = await ask(
        transport, path, model="ok", prompt="Once upon", stream=True, stream_options={"include_usage": True}
    )
    *chunks, last, usage, done = frames(await drained(reply))
    assert done == "[DONE]"
    assert "".join(c["choices"][0]["text"] for c in chunks) == answer["choices"][0]["text"]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"] == answer["usage"]


@pytest.mark.parametrize(
    ("given", "count", "tokens"),
    [("a b", 1, 2), (["a", "b c"], 2, 3), ([1, 2, 3], 1, 3), ([[1], [2, 3]], 2, 3)],
)
async def test_embeddings_are_unit_vectors(transport: EmbeddedTransport, given: Any, count: int, tokens: int) -> None:
    answer = await answered(await ask(transport, "/v1/embeddings", model="ok", input=given, dimensions=5))
    assert [row["index"] for row in answer["data"]] == list(range(count))
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    for row in answer["data"]:
        assert len(row["embedding"]) == 5
        assert math.hypot(*row["embedding"]) == pytest.approx(1)


async def test_embeddings_are_equal_for_equal_texts_only_and_come_as_base64_too(transport: EmbeddedTransport) -> None:
    answer = await answered(await ask(transport, "/v1/embeddings", model="ok", input=["a", "b", "a"]))
    first, second, third = (row["embedding"] for row in answer["data"])
    assert first == third != second
    answer = await answered(await ask(transport, "/v1/embeddings", model="ok", input="a", encoding_format="base64"))
    packed = base64.b64decode(answer["data"][0]["embedding"])
    assert struct.unpack("<8f", packed) == pytest.approx(first)


async def test_the_model_list_holds_every_behaviour(transport: EmbeddedTransport) -> None:
    reply = await transport.send(UpstreamRequest("GET", "/v1/models?limit=5", ()), connect_s=1)
    assert [row["id"] for row in (await answered(reply))["data"]] == list(MODELS)


# -- tools

CITY = {
    "type": "object",
    "properties": {
        "city": {"$ref": "#/$defs/City"},
        "days": {"type": "integer", "minimum": 2},
        "unit": {"enum": ["celsius", "kelvin"]},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "wind": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "note": {"type": "string"},
    },
    "required": ["city", "days", "unit", "tags", "wind"],
    "additionalProperties": False,
    "$defs": {"City": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
}
TOOLS = [
    {"type": "function", "function": {"name": "clock"}},
    {"type": "function", "function": {"name": "get_weather", "parameters": CITY}},
]
NAMED = {"type": "function", "function": {"name": "get_weather"}}
MENTION = [{"role": "user", "content": "please call get_weather"}]


@pytest.mark.parametrize("body", [{"tool_choice": NAMED}, {"messages": MENTION}])
async def test_a_tool_that_is_asked_for_is_called_with_valid_arguments(
    transport: EmbeddedTransport, body: dict[str, Any]
) -> None:
    answer = await answered(await chat(transport, tools=TOOLS, **body))
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    arguments = json.loads(call["function"]["arguments"])
    jsonschema.validate(arguments, CITY)
    assert "note" not in arguments


async def test_a_streamed_tool_call_names_itself_once_and_its_arguments_join(transport: EmbeddedTransport) -> None:
    chunks = frames(await drained(await chat(transport, tools=TOOLS, tool_choice=NAMED, stream=True)))
    assert chunks.pop() == "[DONE]"
    assert chunks[0]["choices"][0]["delta"]["content"] is None
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    named, *rest = [c["choices"][0]["delta"]["tool_calls"][0] for c in chunks[1:-1]]
    assert named["id"].startswith("call_")
    assert all("id" not in part and part["index"] == 0 for part in rest)
    jsonschema.validate(json.loads("".join(part["function"]["arguments"] for part in rest)), CITY)


@pytest.mark.parametrize(
    ("body", "finish"),
    [
        ({"tool_choice": "required"}, "tool_calls"),
        ({"tool_choice": "auto"}, "stop"),
        ({"tool_choice": "none", "messages": MENTION}, "stop"),
        ({"messages": [*MENTION, {"role": "tool", "content": "get_weather: It rains", "tool_call_id": "x"}]}, "stop"),
    ],
)
async def test_tools_are_called_only_when_asked_for(
    transport: EmbeddedTransport, body: dict[str, Any], finish: str
) -> None:
    answer = await answered(await chat(transport, tools=TOOLS, **body))
    assert answer["choices"][0]["finish_reason"] == finish
    if "messages" in body and len(body["messages"]) == 2:
        assert 'The tool said: "get_weather: It rains".' in answer["choices"][0]["message"]["content"]


async def test_a_schema_that_refers_to_itself_ends(transport: EmbeddedTransport) -> None:
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    tools = [{"type": "function", "function": {"name": "loop", "parameters": schema}}]
    assert (await chat(transport, tools=tools, tool_choice="required")).status == 200


# -- refusals


async def error_of(reply: Reply) -> dict[str, Any]:
    error = (await answered(reply))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"model":"ok"}',
        b'{"model":"ok","messages":[]}',
        b'{"model":7,"messages":[{"role":"user"}]}',
        b'{"model":"\xff","messages":[{"role":"user"}]}',
        b'{"model":"ok","messages":[{"role":"user","content":[' + b'{"a":[' * 5_000,
    ],
)
async def test_a_body_that_is_not_a_request_is_refused(transport: EmbeddedTransport, body: bytes) -> None:
    reply = await transport.send(UpstreamRequest("POST", "/v1/chat/completions", (), body), connect_s=1)
    assert reply.status == 400
    assert (await error_of(reply))["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "body",
    [
        {"tool_choice": {"type": "function", "function": {"name": "nobody"}}},
        {
            "tools": [
                {"type": "function", "function": {"name": "odd", "parameters": {"type": "array", "minItems": "x"}}}
            ],
            "tool_choice": "required",
        },
    ],
)
async def test_tools_that_make_no_sense_are_refused(transport: EmbeddedTransport, body: dict[str, Any]) -> None:
    assert (await chat(transport, **{"tools": TOOLS, **body})).status == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/models"), ("GET", "/v1/chat/completions"), ("POST", "/v1/images"), ("GET", "/models"), ("GET", "/")],
)
async def test_an_unknown_path_is_not_found(transport: EmbeddedTransport, method: str, path: str) -> None:
    reply = await transport.send(UpstreamRequest(method, path, ()), connect_s=1)
    assert reply.status == 404
    assert "/v1/chat/completions" in (await error_of(reply))["message"]


async def test_an_unknown_model_is_told_which_there_are(transport: EmbeddedTransport) -> None:
    reply = await chat(transport, "gpt-9")
    assert reply.status == 404
    error = await error_of(reply)
    assert error["code"] == "model_not_found"
    assert all(model in error["message"] for model in MODELS)


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("down", 503, "service_unavailable"),
        ("ratelimited", 429, "rate_limit_exceeded"),
        ("context", 400, "context_length_exceeded"),
        ("policy", 400, "content_policy_violation"),
    ],
)
async def test_a_refusing_model_refuses_every_call(
    transport: EmbeddedTransport, model: str, status: int, code: str
) -> None:
    for stream in (False, True):
        reply = await chat(transport, model, stream=stream)
        assert reply.status == status
        assert dict(reply.headers).get("retry-after") == ("2" if model == "ratelimited" else None)
        assert (await error_of(reply))["code"] == code


async def test_flaky_fails_every_second_call_of_its_own_transport(transport: EmbeddedTransport) -> None:
    other = EmbeddedTransport("other")
    statuses = []
    for _ in range(4):
        statuses.append((await chat(transport, "flaky")).status)
        await chat(transport, "ok")
    assert statuses == [200, 500, 200, 500]
    assert (await chat(other, "flaky")).status == 200


# -- faults


async def test_reset_has_no_head(transport: EmbeddedTransport) -> None:
    with pytest.raises(TransportError) as caught:
        await chat(transport, "reset")
    assert caught.value.breach is Breach.RESET


async def test_a_cut_stream_has_half_the_text_and_no_end(transport: EmbeddedTransport) -> None:
    whole = spoken(frames(await drained(await chat(transport, "ok", stream=True))))
    chunks = frames(await drained(await chat(transport, "cut", stream=True)))
    assert "[DONE]" not in chunks
    assert all(c["choices"][0]["finish_reason"] is None for c in chunks)
    assert 5 < len(spoken(chunks).split()) < len(whole.split())


async def test_a_cut_plain_answer_breaks_its_framing(transport: EmbeddedTransport) -> None:
    reply = await chat(transport, "cut")
    part = await reply.read()
    assert 0 < len(part) < int(dict(reply.headers)["content-length"])
    with pytest.raises(TransportError) as caught:
        await reply.read()
    assert caught.value.breach is Breach.CUT


async def test_a_malformed_stream_has_one_bad_chunk_and_all_the_text(transport: EmbeddedTransport) -> None:
    plain = (await answered(await chat(transport, "ok")))["choices"][0]["message"]["content"]
    chunks = frames(await drained(await chat(transport, "malformed", stream=True)))
    assert [c for c in chunks if isinstance(c, str)] == [chunks[len(chunks) // 2 - 1], "[DONE]"]
    assert spoken(chunks) == plain.replace("/ok", "/malformed")


async def test_a_malformed_plain_answer_is_half_a_json(transport: EmbeddedTransport) -> None:
    with pytest.raises(json.JSONDecodeError):
        await answered(await chat(transport, "malformed"))


@pytest.mark.parametrize("stream", [True, False])
def test_a_stalled_answer_stays_silent_after_its_half_also_when_asked_again(stream: bool) -> None:
    async def story() -> None:
        reply = await chat(EmbeddedTransport("demo"), "stall", stream=stream)
        assert await reply.read()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reply.read(), 3600)

    play(story())


def test_silent_never_answers_and_lets_go_when_cancelled() -> None:
    async def story() -> None:
        transport = EmbeddedTransport("demo")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(chat(transport, "silent"), 3600)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(story())


# -- pace


def test_slow_sends_its_head_at_once_its_first_token_after_two_seconds_and_drips() -> None:
    async def story() -> None:
        reply = await chat(EmbeddedTransport("demo"), "slow", stream=True)
        assert b'"role"' in await reply.read()
        assert now() == 0
        assert spoken(frames(await reply.read())) == "Hello"
        assert now() == pytest.approx(2)
        assert spoken(frames(await reply.read())) == " from"
        assert now() == pytest.approx(2.125)

    play(story())


def test_a_plain_answer_takes_as_long_as_its_stream() -> None:
    async def story() -> None:
        transport = EmbeddedTransport("demo", pace=Pace(words_per_s=10, first_token_s=1))
        answer = await answered(await chat(transport))
        assert now() == pytest.approx(1 + answer["usage"]["completion_tokens"] / 10)

    play(story())


def test_an_answer_without_a_pace_takes_no_time_and_one_read() -> None:
    async def story() -> None:
        reply = await chat(EmbeddedTransport("demo"), stream=True)
        assert (await reply.read()).endswith(b"data: [DONE]\n\n")
        assert await reply.read() == b""
        assert now() == 0

    play(story())


def test_a_cancelled_read_loses_nothing() -> None:
    async def story() -> None:
        transport = EmbeddedTransport("demo", pace=Pace(words_per_s=1))
        reply = await chat(transport, stream=True)
        body = await reply.read()
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reply.read(), 0.5)
        body += await drained(reply)
        text = (await answered(await chat(transport)))["choices"][0]["message"]["content"]
        assert spoken(frames(body)) == text

    play(story())


# -- life


async def test_a_chunked_request_body_is_gathered(transport: EmbeddedTransport) -> None:
    async def parts() -> Any:
        yield b'{"model":"ok",'
        yield b'"messages":[{"role":"user","content":"x"}]}'

    request = UpstreamRequest("POST", "/v1/chat/completions", (), parts())
    assert (await transport.send(request, connect_s=1)).status == 200


async def test_a_closed_reply_cannot_be_read(transport: EmbeddedTransport) -> None:
    reply = await chat(transport, stream=True)
    reply.close()
    reply.close()
    with pytest.raises(TransportError):
        await reply.read()


async def test_closing_the_transport_breaks_what_is_running(transport: EmbeddedTransport) -> None:
    await transport.check(connect_s=1)
    stalled = await chat(transport, "stall", stream=True)
    await stalled.read()
    reading = asyncio.ensure_future(stalled.read())
    waiting = asyncio.ensure_future(chat(transport, "silent"))
    await asyncio.sleep(0)
    await transport.aclose()
    await transport.aclose()
    for task, breach in ((reading, Breach.CUT), (waiting, Breach.RESET)):
        with pytest.raises(TransportError) as caught:
            await asyncio.wait_for(task, 5)
        assert caught.value.breach is breach
    for work in (chat(transport), transport.check(connect_s=1)):
        with pytest.raises(TransportError) as caught:
            await work
        assert caught.value.breach is Breach.CONNECT


def provider(**options: Any) -> Provider:
    return Provider(
        name="demo",
        type="embedded",
        base_url="http://embedded.invalid/api/v2",
        dialects=(Dialect.OPENAI_CHAT,),
        paths={},
        transport=TransportName.EMBEDDED,
        options=options,
    )


async def test_a_configured_provider_gives_prefix_and_pace() -> None:
    reply = await ask(
        EmbeddedTransport.of(provider(words_per_s=1000)),
        "/api/v2/chat/completions",
        model="ok",
        messages=HELLO,
        stream=True,
    )
    assert spoken(frames(await reply.read() + await reply.read())) == "Hello from"


@pytest.mark.parametrize("options", [{"words_per_s": 0}, {"words_per_s": "fast"}, {"word_per_s": 1}])
def test_options_that_are_not_known_say_which_are(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"providers\.demo: .*words_per_s, first_token_s"):
        EmbeddedTransport.of(provider(**options))
