"""Answers of chat completions: read whatever their server calls what, and written so that the SDK reads them."""

# ruff: noqa: E501 - one row of a table is one line

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion

from sidecar.dialects import openai_chat
from sidecar.dialects.openai_chat_parts import FORMATS
from sidecar.dialects.openai_stops import FINISH_REASONS
from sidecar.model.blocks import (
    Logprob,
    Media,
    MediaKind,
    Opaque,
    Text,
    Thinking,
    ToolUse,
)
from sidecar.model.failures import POLICY, Failure, Kind, UpstreamError
from sidecar.model.hub import (
    HubResponse,
    Loss,
    StopReason,
)
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect

CHAT, RESPONSES, ANTHROPIC, GEMINI = (
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI_GENERATE,
)
PNG = "iVBORw0KGgo="
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def bare(block: Any) -> Any:
    """Without what only this dialect needs."""
    return msgspec.structs.replace(block, extra={})


def answer(message: dict[str, Any], finish: str | None = "stop", **choice: Any) -> dict[str, Any]:
    return {
        "id": "a-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}],
    }


def read(body: dict[str, Any]) -> HubResponse:
    """The answer in the hub; it must go back as it came."""
    response = openai_chat.decode_response(body)
    assert isinstance(response, HubResponse), response
    assert openai_chat.encode_response(response, []) == body
    return response


TOKEN = {
    "token": "Hi",
    "logprob": -0.5,
    "bytes": [72, 105],
    "top_logprobs": [{"token": "Ho", "logprob": -1, "bytes": None}],
}
HI_TOKEN = Logprob("Hi", -0.5, (72, 105), (Logprob("Ho", -1.0),))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (answer({"content": "Hi"}), [Text("Hi")]),
        (answer({"content": None, "tool_calls": [CALL]}), [ToolUse("c1", "f", '{"a":1}')]),
        (answer({"content": None, "refusal": "no"}), [Text("no", refusal=True)]),
        (answer({"content": "Hi", "reasoning_content": "t"}), [Thinking("t"), Text("Hi")]),
        (answer({"content": "Hi", "reasoning": "t"}), [Thinking("t"), Text("Hi")]),
        (
            answer({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}]}),
            [Thinking("t"), Text("a")],
        ),
        (answer({"content": "Hi"}, logprobs={"content": [TOKEN], "refusal": None}), [Text("Hi", logprobs=(HI_TOKEN,))]),
        (answer({"function_call": {"name": "f", "arguments": "{}"}}, "function_call"), [ToolUse("call_0", "f")]),
        (answer({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}), [ToolUse("call_0", "f", '{"a":1}')]),
        (
            answer({"content": None, "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]}),
            [Media(MediaKind.IMAGE, "image/png", inline=PNG)],
        ),
        (answer({"content": ""}), []),
    ],
)  # fmt: skip
def test_answers_are_read(body: dict[str, Any], said: list[Any]) -> None:
    assert [bare(block) for block in read(body).blocks] == said


@pytest.mark.parametrize(
    ("message", "finish", "more", "stop"),
    [
        ({"content": "a"}, "stop", {}, StopReason.END),
        ({"content": "a"}, "length", {}, StopReason.LENGTH),
        ({"content": "a"}, "model_length", {}, StopReason.CONTEXT),
        ({"content": None}, "content_filter", {}, StopReason.REFUSAL),
        ({"refusal": "no"}, "stop", {}, StopReason.REFUSAL),
        ({"tool_calls": [CALL]}, "tool_calls", {}, StopReason.TOOL_USE),
        ({"tool_calls": [CALL]}, "stop", {}, StopReason.TOOL_USE),
        ({"tool_calls": [CALL]}, "length", {}, StopReason.LENGTH),
        ({"content": "a"}, "stop", {"stop_reason": "END"}, StopReason.STOP_SEQUENCE),
        ({"content": "a"}, "stop", {"stop_reason": None}, StopReason.END),
        ({"content": "a"}, "eos", {}, StopReason.END),
        ({"content": "a"}, None, {}, StopReason.END),
        ({"content": "a"}, "cosmic_ray", {}, StopReason.OTHER),
    ],
)
def test_why_an_answer_ended(
    message: dict[str, Any], finish: str | None, more: dict[str, Any], stop: StopReason
) -> None:
    response = read(answer(message, finish, **more))
    assert (response.stop, response.stop_native) == (stop, finish)
    assert response.stop_sequence == more.get("stop_reason")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, Kind.MALFORMED),
        ({"choices": []}, Kind.MALFORMED),
        ({"choices": "x"}, Kind.MALFORMED),
        ({"error": {"message": "busy", "code": 429}}, Kind.RATE_LIMITED),
        ({"choices": [{"error": {"message": "down", "code": 502}, "finish_reason": "error"}]}, Kind.GATEWAY_ERROR),
    ],
)
def test_what_is_no_answer_is_a_failure(body: dict[str, Any], kind: Kind) -> None:
    failure = openai_chat.decode_response(body)
    assert isinstance(failure, Failure)
    assert failure.kind is kind


def test_only_the_first_choice_crosses() -> None:
    body = answer({"content": "a"})
    body["choices"].append({**body["choices"][0], "index": 1, "message": {"role": "assistant", "content": "b"}})
    assert read(body).blocks == (Text("a"),)


def test_another_dialects_answer_is_one_that_the_sdk_reads() -> None:
    losses: list[Loss] = []
    response = HubResponse(
        ANTHROPIC,
        "msg_1",
        "claude",
        (
            Thinking("t", "s1", ANTHROPIC),
            Thinking("", "s2", ANTHROPIC, redacted=True),
            Text("Hi", logprobs=(HI_TOKEN,)),
            ToolUse("c1", "f", '{"a":1}', signature="g"),
            Opaque(ANTHROPIC, {"type": "server_tool_use"}),
        ),
        StopReason.TOOL_USE,
        "tool_use",
        usage=Usage(10, 5, 3, 2, 1),
        created_s=7,
        extra={"container": {"id": "x"}},
    )
    body = openai_chat.encode_response(response, losses)
    assert body["choices"][0]["message"] == {
        "role": "assistant",
        "content": "Hi",
        "reasoning_content": "t",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "t", "signature": "s1", "format": "anthropic-claude-v1", "index": 0},
            {"type": "reasoning.encrypted", "data": "s2", "format": "anthropic-claude-v1", "index": 1},
        ],
        "tool_calls": [{**CALL, "extra_content": {"google": {"thought_signature": "g"}}}],
    }
    assert [loss.path for loss in losses] == ["container", "content[4]"]
    read_by_sdk = ChatCompletion.model_validate(body, strict=True)
    assert read_by_sdk.choices[0].finish_reason == "tool_calls"
    assert read_by_sdk.choices[0].logprobs is not None
    assert read_by_sdk.usage is not None
    assert (read_by_sdk.usage.prompt_tokens, read_by_sdk.usage.completion_tokens) == (10, 5)
    assert read_by_sdk.usage.prompt_tokens_details is not None
    assert read_by_sdk.usage.prompt_tokens_details.cached_tokens == 3
    handed_back = openai_chat.decode_request({"messages": [body["choices"][0]["message"]]}, "m", stream=False)
    assert [bare(block) for block in handed_back.messages[0].blocks] == [
        Thinking("t", "s1", ANTHROPIC),
        Thinking("", "s2", ANTHROPIC, redacted=True),
        Text("Hi"),
        ToolUse("c1", "f", '{"a":1}', signature="g"),
    ]


@pytest.mark.parametrize("stop", list(StopReason))
def test_every_end_has_its_word(stop: StopReason) -> None:
    losses: list[Loss] = []
    body = openai_chat.encode_response(HubResponse(GEMINI, "a", "m", (Text("x"),), stop), losses)
    ChatCompletion.model_validate(body, strict=True)
    assert body["choices"][0]["finish_reason"] == FINISH_REASONS[stop]
    assert bool(losses) is (stop in (StopReason.CONTEXT, StopReason.PAUSE, StopReason.OTHER))


def test_every_signer_has_a_format_of_its_own() -> None:
    assert set(FORMATS) == set(Dialect)
    assert len(set(FORMATS.values())) == len(FORMATS)


# -- failures


@pytest.mark.parametrize("kind", list(Kind))
def test_every_failure_has_its_type(kind: Kind) -> None:
    body, _ = openai_chat.encode_failure(Failure(kind, "why"))
    assert json.loads(body)["error"]["type"] == POLICY[kind].error_type


@pytest.mark.parametrize(("dialect", "own"), [(CHAT, True), (ANTHROPIC, False)])
def test_a_providers_words_stay_in_their_dialect(dialect: Dialect, own: bool) -> None:
    upstream = UpstreamError(400, b'{"error": "their words"}', "application/json", dialect)
    body, _ = openai_chat.encode_failure(Failure(Kind.INVALID_REQUEST, "why", 400, upstream=upstream))
    assert (body == upstream.body) is own
