"""Gemini's whole answers: what they mean, that they come back, and what the SDK makes of others'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from google.genai import types as sdk

from sidecar.dialects.gemini_parts import SKIP
from sidecar.model.blocks import Opaque, Text, Thinking, ToolUse
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import (
    HubResponse,
    Loss,
    StopReason,
)
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect
from tests.dialects.test_gemini_generate import CALL, codec, decoded, model, user

OWN = Dialect.GEMINI_GENERATE


ANSWER: dict[str, Any] = {
    "candidates": [
        {
            "content": {
                "parts": [
                    {"text": "Hm.", "thought": True},
                    {"text": "It is"},
                    {"text": " sunny.", "thoughtSignature": "c2ln"},
                ],
                "role": "model",
            },
            "finishReason": "STOP",
            "index": 0,
            "avgLogprobs": -0.1,
            "groundingMetadata": {"webSearchQueries": ["weather"]},
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 5,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 6,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 24,
    },
    "modelVersion": "gemini-2.5-flash",
    "responseId": "abc",
}


def answered(body: Mapping[str, Any]) -> HubResponse:
    response = codec.decode_response(body)
    assert isinstance(response, HubResponse), response
    return response


def test_an_answer_is_understood_and_comes_back() -> None:
    response = answered(ANSWER)
    assert response.blocks == (
        Thinking("Hm.", None, OWN),
        Text("It is"),
        Text(" sunny.", signature="c2ln"),
    )
    assert (response.stop, response.stop_native) == (StopReason.END, "STOP")
    assert response.usage == Usage(15, 9, 4, None, 3)
    assert (response.id, response.model) == ("abc", "gemini-2.5-flash")
    assert response.extra["candidates[0].groundingMetadata"] == {"webSearchQueries": ["weather"]}
    assert codec.encode_response(response, []) == ANSWER


def test_calls_in_an_answer_mean_tool_use_and_get_ids_of_their_own() -> None:
    body = {**ANSWER, "candidates": [{"content": model({"text": "So:"}, CALL, CALL), "finishReason": "STOP"}]}
    response = answered(body)
    assert response.stop is StopReason.TOOL_USE
    assert [block.id for block in response.blocks if isinstance(block, ToolUse)] == ["call_abc_0", "call_abc_1"]
    assert codec.encode_response(response, []) == body
    told = {**CALL, "functionCall": {**CALL["functionCall"], "id": "x"}}
    (call,) = answered({**ANSWER, "candidates": [{"content": model(told)}]}).blocks
    assert isinstance(call, ToolUse)
    assert call.id == "x"


@pytest.mark.parametrize("word", ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "IMAGE_SAFETY", 8])
def test_filters_are_refusals(word: str | int) -> None:
    body = {"candidates": [{"finishReason": word, "index": 0}]}
    response = answered(body)
    assert response.stop is StopReason.REFUSAL
    assert codec.encode_response(response, []) == body


@pytest.mark.parametrize("word", ["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", 10])
def test_a_call_that_cannot_be_read_is_a_failure(word: str | int) -> None:
    failure = codec.decode_response({"candidates": [{"finishReason": word, "finishMessage": "print(f("}]})
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.MALFORMED
    assert "print(f(" in failure.message


def test_a_refused_prompt_has_no_candidate_and_is_a_refusal() -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}, "responseId": "a"}
    response = answered(body)
    assert (response.stop, response.stop_native, response.blocks) == (StopReason.REFUSAL, "SAFETY", ())
    assert codec.encode_response(response, []) == body


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, Kind.MALFORMED),
        ({"candidates": [{}]}, Kind.MALFORMED),
        ({"candidates": "x"}, Kind.MALFORMED),
        ({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}, Kind.OVERLOADED),
        ({"error": {"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED"}}, Kind.RATE_LIMITED),
    ],
)
def test_what_is_no_answer_is_a_failure(body: dict[str, Any], kind: Kind) -> None:
    failure = codec.decode_response(body)
    assert isinstance(failure, Failure)
    assert failure.kind is kind


def test_an_answer_of_another_dialect_is_one_that_the_sdk_reads() -> None:
    losses: list[Loss] = []
    body = codec.encode_response(
        HubResponse(
            Dialect.ANTHROPIC_MESSAGES,
            "msg_1",
            "claude",
            (
                Thinking("Hm.", "RXJDUA==", Dialect.ANTHROPIC_MESSAGES),
                Thinking("", "c2Vj", Dialect.ANTHROPIC_MESSAGES, redacted=True),
                Text("So:"),
                ToolUse("toolu_1", "f", '{"x":1}'),
                ToolUse("toolu_2", "f"),
            ),
            StopReason.TOOL_USE,
            "tool_use",
            usage=Usage(15, 9, 4, 2, 3),
            created_s=7,
        ),
        losses,
    )
    assert losses == []
    seen = sdk.GenerateContentResponse.model_validate(json.loads(json.dumps(body)))
    assert seen.function_calls is not None
    assert [(call.id, call.name, call.args) for call in seen.function_calls] == [
        ("toolu_1", "f", {"x": 1}),
        ("toolu_2", "f", {}),
    ]
    assert seen.usage_metadata is not None
    assert (seen.usage_metadata.candidates_token_count, seen.usage_metadata.total_token_count) == (6, 24)
    assert (seen.response_id, seen.model_version) == ("msg_1", "claude")

    # What the SDK hands back in the next turn.
    assert seen.candidates is not None
    content = seen.candidates[0].content
    assert content is not None
    handed = content.model_dump(mode="json", exclude_none=True)
    blocks = decoded({"contents": [user({"text": "Hi"}), handed]}).messages[1].blocks
    assert blocks[0] == Thinking("Hm.", "RXJDUA==", Dialect.ANTHROPIC_MESSAGES)
    assert blocks[1] == Thinking("", "c2Vj", Dialect.ANTHROPIC_MESSAGES, redacted=True)
    call = blocks[3]
    assert isinstance(call, ToolUse)
    assert (call.id, call.signature) == ("toolu_1", None)
    # Google is told that the call is not its own, also where the client's bytes reach it untouched.
    assert [part.get("thought_signature") for part in handed["parts"]] == [None, None, None, SKIP, None]


def test_what_an_answer_cannot_say_is_a_loss() -> None:
    losses: list[Loss] = []
    blocks = (Text("No.", refusal=True), Opaque(Dialect.OPENAI_RESPONSES, {"type": "web_search_call"}))
    response = HubResponse(Dialect.OPENAI_RESPONSES, "r", "m", blocks, StopReason.PAUSE, extra={"service_tier": "flex"})
    body = codec.encode_response(response, losses)
    assert body["candidates"][0]["finishReason"] == "OTHER"
    assert [loss.path for loss in losses] == ["content[0]", "content[1]", "stop_reason", "service_tier"]
