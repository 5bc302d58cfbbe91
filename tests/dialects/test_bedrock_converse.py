"""Converse, as its documentation has it: what is asked, what is answered, and what cannot be said."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from sidecar.dialects import bedrock_converse as dialect
from sidecar.dialects.bedrock_models import traits_of
from sidecar.dialects.dialect import ProviderCodec, Untranslatable
from sidecar.dialects.table import codec, provider_codec
from sidecar.model.blocks import CacheMark, Media, MediaKind, Message, Role, Text, Thinking, ToolResult, ToolUse
from sidecar.model.events import Delta, Fault, Start, Stop, fold
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import (
    ChoiceMode,
    FormatKind,
    HubRequest,
    HubResponse,
    Loss,
    OutputFormat,
    Reasoning,
    StopReason,
    Tool,
    ToolChoice,
    Wire,
)
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect, ModelFacts
from tests.dialects import values
from tests.dialects.codecs import keeps_grammar, read_stream
from tests.dialects.test_laws import few

NOVA, CLAUDE, LLAMA = "us.amazon.nova-2-lite-v1:0", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "meta.llama3-8b"


def asked(model: str = NOVA, /, **given: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The body for a request, and its losses by their paths."""
    given.setdefault("messages", (Message(Role.USER, (Text("hi"),)),))
    facts = given.pop("facts", ModelFacts())
    losses: list[Loss] = []
    body = dialect.encode_request(HubRequest(Dialect.OPENAI_CHAT, "m", **given), Wire(model, facts), losses)
    return body, {loss.path: loss.how.value for loss in losses}


def user(*blocks: Any) -> Message:
    return Message(Role.USER, blocks)


def test_it_is_a_dialect_of_providers() -> None:
    module: ProviderCodec = provider_codec(Dialect.BEDROCK_CONVERSE)
    assert module is dialect
    for name in ("decode_request", "encode_response", "StreamEncoder", "encode_failure", "fault_event"):
        assert not hasattr(module, name)
        assert hasattr(codec(Dialect.OPENAI_CHAT), name)


# -- requests


def test_a_whole_request() -> None:
    weather = Tool("weather", "Tells it.", {"type": "object", "properties": {"city": {"type": "string"}}})
    body, losses = asked(
        messages=(
            Message(Role.SYSTEM, (Text("Be brief."),)),
            user(Text("Weather?"), Media(MediaKind.IMAGE, "image/jpeg", inline="aGk=")),
            Message(Role.ASSISTANT, (Text("Let me see."), ToolUse("c1", "weather", '{"city":"Rome"}'))),
            user(ToolResult("c1", (Text("sunny"),))),
        ),
        tools=(weather,),
        tool_choice=ToolChoice(ChoiceMode.AUTO),
        max_tokens=100,
        temperature=0.5,
        top_p=0.9,
        stop=("END",),
        metadata={"team": "a"},
        service_tier="flex",
    )
    assert losses == {}
    assert body == {
        "system": [{"text": "Be brief."}],
        "messages": [
            {
                "role": "user",
                "content": [{"text": "Weather?"}, {"image": {"format": "jpeg", "source": {"bytes": "aGk="}}}],
            },
            {
                "role": "assistant",
                "content": [
                    {"text": "Let me see."},
                    {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Rome"}}},
                ],
            },
            {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "sunny"}]}}]},
        ],
        "inferenceConfig": {"maxTokens": 100, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": "weather",
                        "description": "Tells it.",
                        "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}},
                    }
                }
            ],
            "toolChoice": {"auto": {}},
        },
        "requestMetadata": {"team": "a"},
        "serviceTier": {"type": "flex"},
    }


def test_results_of_several_calls_are_one_turn_and_come_first() -> None:
    body, _ = asked(
        messages=(
            user(Text("go")),
            Message(Role.ASSISTANT, (ToolUse("a b", "f"), ToolUse("a_b", "f"))),
            user(Text("and?"), ToolResult("a b", (Text("1"),), is_error=True)),
            user(ToolResult("a_b")),
        )
    )
    calls = [block["toolUse"]["toolUseId"] for block in body["messages"][1]["content"]]
    results = body["messages"][2]["content"]
    assert len(set(calls)) == 2
    assert [block["toolResult"]["toolUseId"] for block in results[:2]] == calls
    assert results[0]["toolResult"]["status"] == "error"
    assert results[2] == {"text": "and?"}
    assert body["toolConfig"]["tools"][0]["toolSpec"]["name"] == "f"  # what was called has to be known


@pytest.mark.parametrize(
    ("media", "written"),
    [
        (Media(MediaKind.IMAGE, url="s3://bucket/a.png"), {"image": {"format": "png"}}),
        (Media(MediaKind.VIDEO, "video/mp4", inline="AA=="), {"video": {"format": "mp4"}}),
        (Media(MediaKind.AUDIO, "audio/mpeg", inline="AA=="), {"audio": {"format": "mp3"}}),
        (Media(MediaKind.DOCUMENT, "application/pdf", inline="AA==", name="a_b?.pdf"), {"document": {"name": "a b"}}),
        (Media(MediaKind.DOCUMENT, "text/x-python", inline="AA=="), {"document": {"format": "txt"}}),
    ],
)
def test_media(media: Media, written: dict[str, Any]) -> None:
    body, _ = asked(messages=(user(media),))
    ((kind, inner),) = written.items()
    found = body["messages"][0]["content"][0][kind]
    assert inner.items() <= found.items()
    if kind == "document":  # there has to be text beside it
        assert body["messages"][0]["content"][1]["text"]


@pytest.mark.parametrize(
    "media",
    [
        Media(MediaKind.IMAGE, url="https://x.test/a.png"),
        Media(MediaKind.IMAGE, "image/tiff", inline="AA=="),
        Media(MediaKind.AUDIO, inline="AA=="),
        Media(MediaKind.DOCUMENT, file_id="file-1"),
    ],
)
def test_media_that_cannot_be_said_are_losses(media: Media) -> None:
    body, losses = asked(messages=(user(Text("see"), media),))
    assert body["messages"][0]["content"] == [{"text": "see"}]
    assert losses == {"messages[0].content[1]": "dropped"}


def test_two_documents_of_one_name_have_two() -> None:
    document = Media(MediaKind.DOCUMENT, "application/pdf", inline="AA==")
    body, _ = asked(messages=(user(Text("x"), document, document),))
    names = [block["document"]["name"] for block in body["messages"][0]["content"] if "document" in block]
    assert names == ["document", "document 2"]


def test_the_cache_is_marked_where_the_model_has_one() -> None:
    marked = (user(Text("long", cache=CacheMark("1h")), Text("q")),)
    mark = {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert asked(CLAUDE, messages=marked)[0]["messages"][0]["content"] == [{"text": "long"}, mark, {"text": "q"}]
    body, losses = asked(NOVA, messages=marked)
    assert body["messages"][0]["content"][1] == {"cachePoint": {"type": "default"}}
    assert losses == {"messages[0].content[0].cache_control.ttl": "changed"}
    body, losses = asked(LLAMA, messages=marked)
    assert body["messages"][0]["content"] == [{"text": "long"}, {"text": "q"}]
    assert losses == {"messages[0].content[0].cache_control": "dropped"}


@pytest.mark.parametrize(
    ("model", "written"),
    [
        (NOVA, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}),
        (CLAUDE, {"thinking": {"type": "enabled", "budget_tokens": 24576}}),
        ("us.anthropic.claude-opus-4-7", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ("openai.gpt-oss-120b-1:0", {"reasoning_effort": "high"}),
    ],
)
def test_thinking_is_asked_in_the_models_own_words(model: str, written: dict[str, Any]) -> None:
    body, losses = asked(model, reasoning=Reasoning(effort="high"))
    assert body["additionalModelRequestFields"] == written
    assert set(losses) <= {"max_tokens"}
    if "budget_tokens" in str(written):
        assert body["inferenceConfig"]["maxTokens"] > written["thinking"]["budget_tokens"]


def test_thinking_that_cannot_be_asked_is_a_loss() -> None:
    body, losses = asked(LLAMA, reasoning=Reasoning(effort="high"), top_k=5)
    assert "additionalModelRequestFields" not in body
    assert losses == {"reasoning": "dropped", "top_k": "dropped"}
    assert asked(LLAMA, reasoning=Reasoning(effort="none"))[1] == {}


def test_who_cannot_but_think_is_told_to_think_little() -> None:
    body, losses = asked("openai.gpt-oss-20b-1:0", reasoning=Reasoning(enabled=False))
    assert body["additionalModelRequestFields"] == {"reasoning_effort": "low"}
    assert losses == {"reasoning": "changed"}


def test_thoughts_go_back_to_who_signed_them() -> None:
    signed = [
        Thinking("a", "s", Dialect.BEDROCK_CONVERSE),
        Thinking("", "e", Dialect.ANTHROPIC_MESSAGES, redacted=True),
    ]
    foreign = [Thinking("b", "s", Dialect.GEMINI_GENERATE), Thinking("c")]
    said = Message(Role.ASSISTANT, (Text("x"), *signed, *foreign))
    body, losses = asked(CLAUDE, messages=(user(Text("q")), said, user(Text("r"))))
    assert body["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "a", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": "e"}},
        {"text": "x"},
    ]
    assert losses == {"messages[1].content[3]": "dropped", "messages[1].content[4]": "dropped"}


def test_a_schema_that_says_nothing_is_that_of_any_object() -> None:
    system = asked(NOVA, format=OutputFormat(FormatKind.SCHEMA, schema={}))[0]["system"][0]["text"]
    assert '{"type":"object","properties":{}}' in system


def test_a_schema_is_asked_as_a_format_or_in_words() -> None:
    format_ = OutputFormat(FormatKind.SCHEMA, "city", schema={"type": "object"})
    body, losses = asked(CLAUDE, format=format_)
    assert body["outputConfig"] == {
        "textFormat": {
            "type": "json_schema",
            "structure": {"jsonSchema": {"schema": '{"type":"object"}', "name": "city"}},
        }
    }
    assert losses == {}
    body, losses = asked(NOVA, format=format_)
    assert '{"type":"object"}' in body["system"][0]["text"]
    assert losses == {"format": "changed"}
    assert "JSON" in asked(CLAUDE, format=OutputFormat(FormatKind.JSON))[0]["system"][0]["text"]


def test_tool_choice() -> None:
    tools = (Tool("f"), Tool("g"), Tool("web", builtin={"type": "web"}))
    named = asked(tools=tools, tool_choice=ToolChoice(ChoiceMode.NAMED, ("g",)))
    assert named[0]["toolConfig"]["toolChoice"] == {"tool": {"name": "g"}}
    assert named[1] == {"tools[2]": "dropped"}
    assert asked(tools=tools, tool_choice=ToolChoice(ChoiceMode.ANY))[0]["toolConfig"]["toolChoice"] == {"any": {}}
    body, losses = asked(tools=tools[:2], tool_choice=ToolChoice(ChoiceMode.NAMED, ("f", "h")))
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["f"]
    assert losses == {"tools[1]": "changed"}
    body, losses = asked(tools=tools[:1], tool_choice=ToolChoice(ChoiceMode.NONE))
    assert "toolConfig" not in body
    assert losses == {"tool_choice": "changed"}


def test_who_speaks_first_and_last() -> None:
    body, losses = asked(LLAMA, messages=(Message(Role.ASSISTANT, (Text("Well "),)),))
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert losses == {"messages[0]": "added"}
    body, losses = asked(CLAUDE, messages=(user(Text("q")), Message(Role.ASSISTANT, (Text("Well "),))))
    assert body["messages"][-1] == {"role": "assistant", "content": [{"text": "Well"}]}
    assert losses == {"messages[1]": "changed"}


def test_a_lone_system_prompt_is_said_by_the_user() -> None:
    body, _ = asked(messages=(Message(Role.SYSTEM, (Text("hi"),)),))
    assert body == {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}


def test_what_nobody_can_say() -> None:
    with pytest.raises(Untranslatable, match="2 answers"):
        asked(choices=2)
    with pytest.raises(Untranslatable, match="nothing is left"):
        asked(messages=(user(Text(" ")),))


def test_limits_are_kept() -> None:
    body, losses = asked(temperature=1.7, max_tokens=9999, facts=ModelFacts(max_output_tokens=500), seed=1, user="u")
    assert body["inferenceConfig"] == {"maxTokens": 500, "temperature": 1.0}
    assert losses == {"temperature": "changed", "max_tokens": "changed", "seed": "dropped", "user": "dropped"}


@given(values.rich_requests(Dialect.OPENAI_CHAT))
@few
def test_every_request_is_asked_or_refused(request: HubRequest) -> None:
    losses: list[Loss] = []
    try:
        body = dialect.encode_request(request, Wire(NOVA), losses)
    except Untranslatable:
        return
    roles = [turn["role"] for turn in body["messages"]]
    assert roles[0] == "user"
    assert all(first != second for first, second in pairwise(roles))
    assert all(turn["content"] for turn in body["messages"])
    json.dumps(body)


def test_models_are_known_by_marks() -> None:
    assert traits_of("arn:aws:bedrock:us-east-1:1:application-inference-profile/x").thinks is None
    assert traits_of("eu.anthropic.claude-3-7-sonnet-20250219-v1:0").formats is False
    assert traits_of("anthropic.claude-opus-4-7").prefill is False


# -- answers


def test_a_whole_answer() -> None:
    body = {
        "output": {
            "message": {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
                    {"text": "ok"},
                    {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}},
                ],
            }
        },
        "stopReason": "tool_use",
        "usage": {
            "inputTokens": 5,
            "outputTokens": 7,
            "totalTokens": 22,
            "cacheReadInputTokens": 8,
            "cacheWriteInputTokens": 2,
        },
        "metrics": {"latencyMs": 9},
    }
    assert dialect.decode_response(body) == HubResponse(
        Dialect.BEDROCK_CONVERSE,
        "",
        "",
        (Thinking("hm", "s", Dialect.BEDROCK_CONVERSE), Text("ok"), ToolUse("t", "f", '{"a":1}')),
        StopReason.TOOL_USE,
        "tool_use",
        usage=Usage(15, 7, 8, 2),
    )


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_output_that_could_not_be_read_is_a_failure(reason: str) -> None:
    body = {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": reason}
    failure = dialect.decode_response(body)
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.MALFORMED


@pytest.mark.parametrize("body", [{}, {"output": 1}, {"output": {"message": {}}, "usage": []}, {"message": "no"}])
def test_what_is_no_answer_is_a_failure(body: dict[str, Any]) -> None:
    assert isinstance(dialect.decode_response(body), Failure)


def stream(*events: tuple[str, dict[str, Any]]) -> bytes:
    return b"".join(f"event: {name}\ndata: {json.dumps(value)}\n\n".encode() for name, value in events)


def test_a_stream() -> None:
    events = read_stream(
        dialect,
        stream(
            ("messageStart", {"role": "assistant", "p": "abc"}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "s"}}}),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "o"}}),
            ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "k"}}),
            ("contentBlockStop", {"contentBlockIndex": 1}),
            ("contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}),
            ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '{"a":'}}}),
            ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": "1}"}}}),
            ("contentBlockStop", {"contentBlockIndex": 2}),
            ("messageStop", {"stopReason": "tool_use"}),
            ("metadata", {"usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}}),
        ),
    )
    assert keeps_grammar(events)
    assert fold(events) == HubResponse(
        Dialect.BEDROCK_CONVERSE,
        "",
        "",
        (Thinking("hm", "s", Dialect.BEDROCK_CONVERSE), Text("ok"), ToolUse("t", "f", '{"a":1}')),
        StopReason.TOOL_USE,
        "tool_use",
        usage=Usage(5, 7),
    )


def test_what_nobody_may_read_and_what_the_host_does_come_whole() -> None:
    called = {"toolUse": {"toolUseId": "t", "name": "nova_grounding", "type": "server_tool_use"}}
    events = read_stream(
        dialect,
        stream(
            ("messageStart", {"role": "assistant"}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"redactedContent": "YQ=="}}}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"redactedContent": "Yg=="}}}),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("contentBlockStart", {"contentBlockIndex": 1, "start": called}),
            ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{}"}}}),
            ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"text": "ok"}}),
            ("messageStop", {"stopReason": "end_turn"}),
        ),
    )
    assert keeps_grammar(events)
    response = fold(events)
    assert isinstance(response, HubResponse)
    assert response.blocks[0] == Thinking("", "YWI=", Dialect.BEDROCK_CONVERSE, redacted=True)
    assert response.blocks[1].raw["toolUse"] == called["toolUse"]  # type: ignore[union-attr]
    assert response.blocks[2] == Text("ok")
    assert (response.stop, response.usage) == (StopReason.END, None)


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([], Kind.MALFORMED),
        ([("messageStart", {"role": "assistant"})], Kind.TRUNCATED),
        ([("messageStart", {}), ("messageStop", {"stopReason": "malformed_tool_use"})], Kind.MALFORMED),
        ([("error", {"error": {"type": "throttlingException", "status": 429, "message": "slow"}})], Kind.RATE_LIMITED),
    ],
)
def test_streams_that_break(events: list[tuple[str, dict[str, Any]]], kind: Kind) -> None:
    read = read_stream(dialect, stream(*events))
    assert keeps_grammar(read)
    assert isinstance(read[-1], Fault)
    assert read[-1].failure.kind is kind


def test_a_stream_without_its_beginning_is_read() -> None:
    events = read_stream(dialect, stream(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "a"}})))
    assert isinstance(events[0], Start)
    assert Delta("a") in events
    assert not any(isinstance(event, Stop) for event in events)


# -- errors


@pytest.mark.parametrize(
    ("status", "name", "message", "kind"),
    [
        (429, "ThrottlingException", "Too many requests", Kind.RATE_LIMITED),
        (400, "ValidationException", "The provided model identifier is invalid.", Kind.MODEL_UNAVAILABLE),
        (400, "ValidationException", "Invocation with on-demand throughput isn't supported.", Kind.MODEL_UNAVAILABLE),
        (400, "ValidationException", "Input is too long for requested model.", Kind.CONTEXT_LENGTH),
        (400, "ValidationException", "The text field is blank.", Kind.INVALID_REQUEST),
        (403, "AccessDeniedException", "You don't have access to the model with ...", Kind.MODEL_UNAVAILABLE),
        (403, "UnrecognizedClientException", "The security token is invalid.", Kind.CREDENTIAL),
        (404, "ResourceNotFoundException", "gone", Kind.MODEL_UNAVAILABLE),
        (424, "ModelErrorException", "it failed", Kind.SERVER_ERROR),
        (408, "ModelTimeoutException", "slow", Kind.GATEWAY_ERROR),
        (500, "InternalServerException", "oops", Kind.SERVER_ERROR),
        (503, "ServiceUnavailableException", "busy", Kind.OVERLOADED),
    ],
)
def test_errors_by_their_names(status: int, name: str, message: str, kind: Kind) -> None:
    headers = {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    failure = dialect.decode_failure(status, headers, json.dumps({"message": message}).encode(), 0.0)
    assert (failure.kind, failure.message, failure.status, failure.upstream) == (kind, message, status, None)


def test_an_error_that_is_none_is_still_one() -> None:
    assert dialect.decode_failure(502, {}, b"<html>", 0.0).kind is Kind.GATEWAY_ERROR
