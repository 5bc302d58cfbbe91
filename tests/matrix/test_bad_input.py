"""Requests that cannot be understood or said, and providers that answer no sense: a clear error in the client's words.

Each has a kind, and each attempt its line in the log, for all four client dialects against all four of providers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.daemon import Reply, RunningDaemon

pytestmark = [pytest.mark.asyncio(loop_scope="module")]

NAMES = ("chat", "responses", "messages", "gemini")
CROSSINGS = [pair for pair in itertools.product(NAMES, NAMES) if pair[0] != pair[1]]
ACROSS = pytest.mark.parametrize(("client", "provider"), CROSSINGS, ids=["-".join(pair) for pair in CROSSINGS])
PAIRS = list(itertools.product(NAMES, NAMES))
SIDES = pytest.mark.parametrize(("client", "provider"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
_CONFIG = """
resilience:
  max_attempts: 1
  breaker:
    consecutive_failures: 1000
    consecutive_gateway_failures: 1000
    failure_percentage: {{min_requests: 1000}}
health: {{mode: "off"}}
providers:
  chat: {{type: openai, dialects: [openai-chat], base_url: "{at}/chat", api_key: "sk-provider-key-1"}}
  responses: {{type: openai, dialects: [openai-responses], base_url: "{at}/responses", api_key: "sk-provider-key-2"}}
  messages: {{type: anthropic, base_url: "{at}/messages", api_key: "sk-ant-provider-key"}}
  gemini: {{type: gemini, base_url: "{at}/gemini", api_key: "AIza-provider-key"}}
  down: {{type: openai, base_url: "http://127.0.0.1:9", api_key: "sk-provider-key-3"}}
routes:
  strict-chat: {{chain: [chat/m], on_loss: reject}}
  strict-responses: {{chain: [responses/m], on_loss: reject}}
  strict-messages: {{chain: [messages/m], on_loss: reject}}
  strict-gemini: {{chain: [gemini/m], on_loss: reject}}
  pinned: {{chain: [down/m, responses/m, messages/m]}}
"""

# What providers say, each in its own dialect.
_WHOLE: Mapping[str, Any] = {
    "chat": {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    },
    "responses": {
        "id": "r1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "m",
        "output": [
            {
                "type": "message",
                "id": "m1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
            }
        ],
    },
    "messages": {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "gemini": {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]},
}
# How their streams begin.
_BEGUN: Mapping[str, list[dict[str, Any]]] = {
    "chat": [{**_WHOLE["chat"], "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}],
    "responses": [
        {"type": "response.created", "response": {**_WHOLE["responses"], "status": "in_progress", "output": []}},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"type": "message", "id": "m1", "role": "assistant", "content": []},
        },
        {"type": "response.output_text.delta", "item_id": "m1", "output_index": 0, "content_index": 0, "delta": "Hi"},
    ],
    "messages": [
        {"type": "message_start", "message": {**_WHOLE["messages"], "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    ],
    "gemini": [{"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}}]}],
}
_HTML = b"<!doctype html><html><body>Please sign in to the guest network</body></html>"


def _nonsense(provider: str, what: str) -> tuple[str, bytes]:
    """The content type and body of an answer that is none."""
    match what:
        case "html":
            return "text/html", _HTML
        case "empty":
            return "application/json", b""
        case "half":
            return "application/json", json.dumps(_WHOLE[provider]).encode()[:40]
        case "empty-stream":
            return "text/event-stream", b""
        case "half-stream":
            return "text/event-stream", b"data: " + json.dumps(_WHOLE[provider]).encode()[:40]
        case "cut-stream":
            frames = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in _BEGUN[provider]]
            return "text/event-stream", b"".join(frames)
        case _:
            other = json.dumps(_WHOLE[what.removesuffix("-stream")]).encode()
            return (
                ("text/event-stream", b"data: " + other + b"\n\n")
                if what.endswith("-stream")
                else (
                    "application/json",
                    other,
                )
            )


@dataclass
class House:
    daemon: RunningDaemon
    asked: list[tuple[str, bytes]]  # provider and body

    async def ask(self, client: str, model: str, body: Mapping[str, Any], *, stream: bool = False) -> Reply:
        path = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}.get(client)
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        url = f"{self.daemon.base_url}{path or f'/v1beta/models/{model}:{verb}'}"
        whole = {**body, "model": model, **({"stream": True} if stream else {})} if path else body
        async with asyncio.timeout(10), self.daemon.session().post(url, json=whole) as response:
            read = b""
            with contextlib.suppress(aiohttp.ClientPayloadError):  # an answer that broke has no end
                async for piece in response.content.iter_any():
                    read += piece
            return response.status, response.headers, read

    async def lines(self, reply: Reply) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The request's line of the log, and those of its attempts."""
        id_ = reply[1]["x-request-id"]
        (line,) = await self.daemon.wait_log("request", request_id=id_)
        return line, self.daemon.log_lines("attempt", request_id=id_)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    asked: list[tuple[str, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        provider, body = request.path.split("/")[1], await request.read()
        asked.append((provider, body))
        model = request.path.partition("models/")[2].partition(":")[0] or json.loads(body)["model"]
        type_, text = _nonsense(provider, model)
        return web.Response(body=text, content_type=type_)

    app = web.Application()
    app.router.add_post("/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        config = _CONFIG.format(at=f"http://127.0.0.1:{runner.addresses[0][1]}")
        async with RunningDaemon(tmp_path_factory.mktemp("bad"), config) as daemon:
            yield House(daemon, asked)
    finally:
        await runner.cleanup()


def message_of(client: str, body: bytes) -> str:
    """The message of an error in the client's dialect."""
    value = json.loads(body)
    error = value["error"]
    match client:
        case "messages":
            assert value["type"] == "error"
            assert isinstance(error["type"], str)
        case "gemini":
            assert isinstance(error["code"], int)
            assert error["status"].isupper()
        case _:
            assert {"message", "type", "param", "code"} <= error.keys()
    return str(error["message"])


# -- bodies of clients

_CALL = {"name": "add", "arguments": '{"x":1}'}
_SAY: Mapping[str, Any] = {
    "chat": {"messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"input": "Hi"},
    "messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}
_UNKNOWN_ROLE: Mapping[str, Any] = {
    "chat": {"messages": [{"role": "wizard", "content": "Hi"}]},
    "responses": {"input": [{"role": "wizard", "content": "Hi"}]},
    "messages": {"messages": [{"role": "wizard", "content": "Hi"}], "max_tokens": 10},
    "gemini": {"contents": [{"role": "wizard", "parts": [{"text": "Hi"}]}]},
}
_NO_BASE64: Mapping[str, Any] = {
    "chat": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,@@no@@"}}],
            }
        ]
    },
    "responses": {
        "input": [
            {
                "role": "user",
                "content": [{"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,@@no@@"}],
            }
        ]
    },
    "messages": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "@@no@@"}}
                ],
            }
        ],
        "max_tokens": 10,
    },
    "gemini": {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "@@no@@"}}]}]},
}
_NO_CALL: Mapping[str, Any] = {
    "chat": {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "tool", "tool_call_id": "call_7", "content": "2"}]
    },
    "responses": {"input": [{"type": "function_call_output", "call_id": "call_7", "output": "2"}]},
    "messages": {
        "messages": [
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_7", "content": "2"}]},
        ],
        "max_tokens": 10,
    },
    "gemini": {
        "contents": [
            {
                "role": "user",
                "parts": [{"functionResponse": {"id": "call_7", "name": "add", "response": {"output": "2"}}}],
            }
        ]
    },
}
_ORPHAN: Mapping[str, Any] = {
    "chat": {
        "messages": [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": _CALL}],
            },
            {"role": "tool", "tool_call_id": "call_7", "content": "2"},
        ]
    },
    "responses": {
        "input": [
            {"type": "function_call", "call_id": "call_1", **_CALL},
            {"type": "function_call_output", "call_id": "call_7", "output": "2"},
        ]
    },
    "messages": {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "add", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_7", "content": "2"}]},
        ],
        "max_tokens": 10,
    },
    "gemini": {
        "contents": [
            {"role": "model", "parts": [{"functionCall": {"id": "call_1", "name": "add", "args": {}}}]},
            {
                "role": "user",
                "parts": [{"functionResponse": {"id": "call_7", "name": "subtract", "response": {"output": "2"}}}],
            },
        ]
    },
}
_BAD = {
    "unknown role": (_UNKNOWN_ROLE, "wizard"),
    "no base64": (_NO_BASE64, "base64"),
    "no call": (_NO_CALL, "call_7"),
    "orphaned id": (_ORPHAN, "call_7"),
}


@pytest.mark.parametrize("what", _BAD)
@ACROSS
async def test_what_cannot_be_understood_is_refused(house: House, client: str, provider: str, what: str) -> None:
    bodies, named = _BAD[what]
    before = len(house.asked)
    reply = await house.ask(client, f"{provider}/m", bodies[client])
    status, _, body = reply
    assert status == 400
    assert named in message_of(client, body)
    assert len(house.asked) == before
    line, attempts = await house.lines(reply)
    assert line["kind"] == "invalid_request"
    assert [attempt["kind"] for attempt in attempts] == ["invalid_request"]


_CHOICES: Mapping[str, Any] = {
    "chat": {**_SAY["chat"], "n": 2},
    "gemini": {**_SAY["gemini"], "generationConfig": {"candidateCount": 2}},
}


@pytest.mark.parametrize(("client", "provider"), [pair for pair in CROSSINGS if pair[0] in _CHOICES])
async def test_several_answers_cannot_cross(house: House, client: str, provider: str) -> None:
    before = len(house.asked)
    reply = await house.ask(client, f"{provider}/m", _CHOICES[client])
    status, _, body = reply
    assert status == 400
    assert "2" in message_of(client, body)
    assert len(house.asked) == before
    line, attempts = await house.lines(reply)
    assert (line["kind"], [attempt["kind"] for attempt in attempts]) == ("lossy", ["lossy"])


# Something that no other dialect can say.
_RARE: Mapping[str, Any] = {
    "chat": {**_SAY["chat"], "logit_bias": {"50256": -100}},
    "responses": {**_SAY["responses"], "max_tool_calls": 3},
    "messages": {**_SAY["messages"], "container": "c1"},
    "gemini": {**_SAY["gemini"], "safetySettings": [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "OFF"}]},
}
_RARE_NAME = {"chat": "logit_bias", "responses": "max_tool_calls", "messages": "container", "gemini": "safetySettings"}


@ACROSS
async def test_what_would_be_lost_is_rejected_on_demand(house: House, client: str, provider: str) -> None:
    before = len(house.asked)
    reply = await house.ask(client, f"strict-{provider}", _RARE[client])
    status, _, body = reply
    assert status == 400
    message = message_of(client, body)
    assert "on_loss" in message
    assert _RARE_NAME[client] in message
    assert len(house.asked) == before
    line, attempts = await house.lines(reply)
    assert (line["kind"], [attempt["kind"] for attempt in attempts]) == ("lossy", ["lossy"])


async def test_a_pinned_request_whose_provider_is_down_says_why_nobody_else_is_asked(house: House) -> None:
    before = len(house.asked)
    reply = await house.ask("responses", "pinned", {**_SAY["responses"], "previous_response_id": "resp_1"})
    status, headers, body = reply
    assert status == 502
    message = message_of("responses", body)
    assert "previous_response_id" in message
    assert "down/m" in message
    assert len(house.asked) == before
    assert headers["x-sidecar-attempts"] == "down/m=unreachable"
    line, attempts = await house.lines(reply)
    assert (line["kind"], [attempt["kind"] for attempt in attempts]) == ("unreachable", ["unreachable"])


_NONSENSE = ("html", "empty", "half", "empty-stream", "half-stream")


@SIDES
async def test_a_provider_that_answers_no_sense_is_malformed(house: House, client: str, provider: str) -> None:
    aliens = [name + form for name in NAMES if name != provider for form in ("", "-stream")]
    for what, stream in itertools.product((*_NONSENSE, *aliens), (False, True)):
        before = len(house.asked)
        reply = await house.ask(client, f"{provider}/{what}", _SAY[client], stream=stream)
        status, _, body = reply
        assert status == 502, (what, stream, body)
        assert message_of(client, body), (what, stream)
        assert len(house.asked) == before + 1
        line, attempts = await house.lines(reply)
        kinds = {"malformed", "truncated"} if what.endswith("stream") else {"malformed"}
        assert line["kind"] in kinds, (what, stream, body)
        assert [attempt["kind"] for attempt in attempts] == [line["kind"]], (what, stream)


@SIDES
async def test_a_stream_that_ends_too_early_is_told_at_once(house: House, client: str, provider: str) -> None:
    """Its content and its end come in one piece: nothing more will come that could wake anybody."""
    reply = await house.ask(client, f"{provider}/cut-stream", _SAY[client], stream=True)
    status, _, body = reply
    assert status == 200
    assert b"Hi" in body
    assert b"error" in body.split(b"data: ")[-1]
    line, attempts = await house.lines(reply)
    assert (line["kind"], [attempt["outcome"] for attempt in attempts]) == ("truncated", ["truncated"])
