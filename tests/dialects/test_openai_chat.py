"""Requests of chat completions: what their clients say, and what is wrong with it."""

# ruff: noqa: E501 - one row of a table is one line

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sidecar.dialects import openai_chat
from sidecar.dialects.dialect import Codec
from sidecar.model.blocks import (
    CacheMark,
    Media,
    MediaKind,
    Opaque,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Kind
from sidecar.model.hub import (
    ChoiceMode,
    FormatKind,
    HubRequest,
    Loss,
    OutputFormat,
    Reasoning,
    Tool,
    ToolChoice,
    Wire,
)
from sidecar.model.topology import Dialect

codec: Codec = openai_chat
CHAT, RESPONSES, ANTHROPIC, GEMINI = (
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI_GENERATE,
)
HI = {"role": "user", "content": "Hi"}
PNG = "iVBORw0KGgo="
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
CALLED = [HI, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "42"}


def decoded(*messages: dict[str, Any], stream: bool = False, **fields: Any) -> HubRequest:
    """The request in the hub; it must go back as it came."""
    body = {"model": "m", "messages": list(messages) or [HI], **fields}
    request = codec.decode_request(body, "m", stream=stream)
    losses: list[Loss] = []
    assert codec.encode_request(request, Wire("m"), losses) == body
    assert losses == []
    return request


def blocks(message: dict[str, Any]) -> tuple[Any, ...]:
    return decoded(message).messages[0].blocks


def bare(block: Any) -> Any:
    """Without what only this dialect needs."""
    return msgspec.structs.replace(block, extra={})


def test_every_parameter_has_its_place() -> None:
    request = decoded(
        HI,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        presence_penalty=1,
        frequency_penalty=-1,
        seed=7,
        n=2,
        logprobs=True,
        top_logprobs=3,
        user="ada",
        store=False,
        service_tier="flex",
        metadata={"a": "b"},
        max_tokens=10,
        stop=["x", "y"],
        parallel_tool_calls=False,
        reasoning_effort="high",
        logit_bias={"5": 1},
        verbosity="low",
        stream_options={"include_usage": True},
    )
    assert (request.temperature, request.top_p, request.top_k) == (0.5, 0.9, 40)
    assert (request.presence_penalty, request.frequency_penalty, request.seed) == (1, -1, 7)
    assert (request.logprobs, request.top_logprobs, request.choices) == (True, 3, 2)
    assert (request.user, request.store, request.service_tier) == ("ada", False, "flex")
    assert (request.metadata, request.max_tokens, request.stop) == ({"a": "b"}, 10, ("x", "y"))
    assert (request.parallel_tools, request.reasoning) == (False, Reasoning(effort="high"))
    assert request.wants_usage
    assert {name for name in request.extra if request.extra[name] != ()} == {"logit_bias", "verbosity"}


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"max_completion_tokens": 9}, {"max_tokens": 9}),
        ({"max_completion_tokens": 9, "max_tokens": 5}, {"max_tokens": 9}),
        ({"max_tokens": None}, {"max_tokens": None}),
        ({"safety_identifier": "ada"}, {"user": "ada"}),
        ({"safety_identifier": "ada", "user": "bob"}, {"user": "bob"}),
        ({"stop": "x"}, {"stop": ("x",)}),
        ({"stop": []}, {"stop": ()}),
        ({"stream": False}, {"stream": False}),
        ({"stream_options": {}}, {"wants_usage": False}),
        ({"stream_options": {"include_usage": True, "include_obfuscation": False}}, {"wants_usage": True}),
        ({"temperature": None, "tools": None, "tool_choice": None}, {"temperature": None, "tools": ()}),
        ({"reasoning": {"effort": "low", "exclude": True}}, {"reasoning": Reasoning(effort="low", shown=False)}),
        ({"reasoning": {"max_tokens": 2000}}, {"reasoning": Reasoning(budget_tokens=2000)}),
        ({"thinking": {"type": "enabled"}}, {"reasoning": Reasoning(True)}),
        ({"thinking": {"type": "disabled"}}, {"reasoning": Reasoning(False)}),
        ({"reasoning_effort": "low", "reasoning": {"effort": "high"}}, {"reasoning": Reasoning(effort="low")}),
        ({"response_format": {"type": "text"}}, {"format": OutputFormat(FormatKind.TEXT)}),
        ({"response_format": {"type": "json_object"}}, {"format": OutputFormat(FormatKind.JSON)}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "description": "d", "schema": {"type": "object"}, "strict": True},
                }
            },
            {"format": OutputFormat(FormatKind.SCHEMA, "n", "d", {"type": "object"}, True)},
        ),
        ({"response_format": {"type": "regex", "pattern": "a+"}}, {"format": None}),
        ({"tool_choice": "auto"}, {"tool_choice": ToolChoice(ChoiceMode.AUTO)}),
        ({"tool_choice": "required"}, {"tool_choice": ToolChoice(ChoiceMode.ANY)}),
        ({"tool_choice": "none"}, {"tool_choice": ToolChoice(ChoiceMode.NONE)}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": ToolChoice(ChoiceMode.NAMED, ("f",))},
        ),
    ],
)
def test_a_field_means_what_it_says(fields: dict[str, Any], meant: dict[str, Any]) -> None:
    request = decoded(HI, **fields)
    assert {name: getattr(request, name) for name in meant} == meant


def test_an_allow_list_names_tools() -> None:
    allowed = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
    must = decoded(tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": allowed}})
    assert must.tool_choice is not None
    assert (must.tool_choice.mode, must.tool_choice.names) == (ChoiceMode.NAMED, ("f", "g"))
    may = decoded(tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": allowed}})
    assert may.tool_choice is not None
    assert may.tool_choice.mode is ChoiceMode.AUTO


def test_tools_are_functions_or_built_in() -> None:
    custom = {"type": "custom", "custom": {"name": "grep", "format": {"type": "text"}}}
    tools = decoded(
        tools=[
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {}, "strict": True}},
            {"function": {"name": "g"}},
            {"type": "function", "function": {"name": "h"}, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            custom,
        ]
    ).tools
    assert tools[0] == Tool("f", "d", {}, True)
    assert (tools[1].name, tools[1].schema) == ("g", None)
    assert tools[2].cache == CacheMark("1h")
    assert (tools[3].name, tools[3].builtin) == ("grep", custom)


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ({"type": "text", "text": "a"}, Text("a")),
        (
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            Text("a", cache=CacheMark("1h")),
        ),
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            Media(MediaKind.IMAGE, "image/png", inline=PNG),
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}},
            Media(MediaKind.IMAGE, url="https://a/b.png"),
        ),
        ({"type": "image_url", "image_url": "https://a/b.png"}, Media(MediaKind.IMAGE, url="https://a/b.png")),
        (
            {"type": "input_audio", "input_audio": {"data": PNG, "format": "mp3"}},
            Media(MediaKind.AUDIO, "audio/mpeg", inline=PNG),
        ),
        (
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PNG}", "filename": "a.pdf"}},
            Media(MediaKind.DOCUMENT, "application/pdf", inline=PNG, name="a.pdf"),
        ),
        ({"type": "file", "file": {"file_data": PNG}}, Media(MediaKind.DOCUMENT, inline=PNG)),
        ({"type": "file", "file": {"file_id": "file-1"}}, Media(MediaKind.DOCUMENT, file_id="file-1")),
        ({"type": "video_url", "video_url": {"url": "https://a/b"}}, Media(MediaKind.VIDEO, url="https://a/b")),
    ],
)
def test_parts_are_read(part: dict[str, Any], block: Any) -> None:
    assert bare(blocks({"role": "user", "content": [part]})[0]) == block


def test_a_part_of_unknown_kind_stays_whole() -> None:
    part = {"type": "document_url", "document_url": "https://a/b.pdf"}
    assert blocks({"role": "user", "content": [part]}) == (Opaque(CHAT, part),)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "", "name": "ada"},
        {"role": "user", "content": []},
        {"role": "user", "content": "a", "cache_control": {"type": "ephemeral"}},
        {"role": "user", "content": [{"type": "text", "text": "a", "x": None}], "y": {"z": 1}},
        {"role": "developer", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": "a", "refusal": None, "tool_calls": None},
        {"role": "assistant", "content": "a", "prefix": True},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [{**CALL, "index": 0}]},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "g", "input": "x"}}]},
        {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": ""}}]},
        {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "no json"}}]},
        {"role": "assistant", "content": "a", "reasoning_content": "t"},
        {"role": "assistant", "content": "a", "reasoning": "t"},
        {"role": "assistant", "content": "a", "reasoning": "t", "reasoning_content": "t"},
        {"role": "assistant", "content": "a", "reasoning": "t", "reasoning_content": "other"},
        {"role": "assistant", "content": "a", "reasoning_details": [{"type": "reasoning.summary", "summary": "t"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}]},
        {"role": "assistant", "content": "a", "audio": {"id": "audio_1"}},
        {"role": "assistant", "content": "a", "extra_content": {"google": {"thought_signature": "s", "x": 1}}},
    ],
)
def test_messages_come_back_as_they_were(message: dict[str, Any]) -> None:
    decoded(message)


def test_results_are_one_message_of_the_user() -> None:
    calls = [{**CALL, "id": id_} for id_ in ("c1", "c2")]
    request = decoded(
        HI,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {**RESULT, "tool_call_id": "c2", "name": "f"},
        {**RESULT, "content": [{"type": "text", "text": "a"}]},
        HI,
    )
    assert [message.role for message in request.messages] == [Role.USER, Role.ASSISTANT, Role.USER, Role.USER]
    second, first = map(bare, request.messages[2].blocks)
    assert second == ToolResult("c2", (Text("42"),), name="f")
    assert first == ToolResult("c1", (Text("a"),), name="f", bare=False)


def test_ids_may_repeat_in_another_turn() -> None:
    decoded(*CALLED, RESULT, *CALLED, RESULT)


def test_signatures_come_back_from_their_extensions() -> None:
    signed = {**CALL, "extra_content": {"google": {"thought_signature": "s"}}}
    details = [
        {"type": "reasoning.text", "text": "t", "signature": "s1", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "s2", "format": "anthropic-claude-v1", "index": 1},
        {"type": "reasoning.summary", "summary": "u", "format": "openai-responses-v1", "index": 2},
        {"type": "reasoning.encrypted", "data": "s3", "format": "openai-responses-v1", "index": 2, "id": "rs_1"},
        {"type": "reasoning.text", "text": "v", "format": "unknown", "index": 3},
        {"type": "reasoning.encrypted", "data": "s4", "format": "xai-responses-v1", "index": 4},
    ]
    message = {"role": "assistant", "content": None, "tool_calls": [signed], "reasoning_details": details}
    assert [bare(block) for block in blocks(message)] == [
        Thinking("t", "s1", ANTHROPIC),
        Thinking("", "s2", ANTHROPIC, redacted=True),
        Thinking("u", "s3", RESPONSES),
        Thinking("v"),
        Thinking("", "s4", CHAT, redacted=True),  # only who speaks this dialect could know whose it is
        ToolUse("c1", "f", '{"a":1}', signature="s"),
    ]


@pytest.mark.parametrize(
    ("words", "details", "thoughts"),
    [
        ("ab", [("b", "s")], ["a", "b"]),
        ("ab", [("a", "s")], ["a", "b"]),
        ("abc", [("b", "s")], ["a", "b", "c"]),
        ("ab", [("ab", "s")], ["ab"]),
        ("a b", [("a", "s"), ("b", "s")], ["a", " ", "b"]),
        ("x", [("other", "s")], ["other"]),
        ("a", [], ["a"]),
    ],
)
def test_a_thought_is_not_read_twice(words: str, details: list[tuple[str, str]], thoughts: list[str]) -> None:
    listed = [{"type": "reasoning.text", "text": text, "signature": signature} for text, signature in details]
    message = {"role": "assistant", "content": "a", "reasoning": words, "reasoning_details": listed}
    assert [block.text for block in blocks(message) if isinstance(block, Thinking)] == thoughts


BAD: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": ["a"]}, "messages[0]"),
    ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "function", "name": "f", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,x"}}]}]},
        "messages[0].content[0].image_url.url",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}]}]},
        "messages[0].content[0].input_audio.data",
    ),
    ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file.file_id"),
    ({"messages": [{"role": "user", "content": "a", "name": 5}]}, "messages[0].name"),
    ({"messages": [RESULT]}, "messages[0].tool_call_id"),
    ({"messages": [*CALLED, {**RESULT, "tool_call_id": None}]}, "messages[2].tool_call_id"),
    ({"messages": [*CALLED, {**RESULT, "tool_call_id": "c9"}]}, "messages[2].tool_call_id"),
    ({"messages": [*CALLED, RESULT, RESULT]}, "messages[3].tool_call_id"),
    ({"messages": [*CALLED, {**RESULT, "content": 5}]}, "messages[2].content"),
    ({"messages": [{"role": "assistant", "tool_calls": 5}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [CALL, CALL]}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [{**CALL, "id": ""}]}]}, "messages[0].tool_calls[0].id"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages[0].tool_calls[0].function"),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {}}}]}]},
        "messages[0].tool_calls[0].function.arguments",
    ),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"n": "2"}, "n"),
    ({"stop": [5]}, "stop"),
    ({"logprobs": 1}, "logprobs"),
    ({"user": 5}, "user"),
    ({"metadata": []}, "metadata"),
    ({"stream_options": True}, "stream_options"),
    ({"reasoning_effort": 5}, "reasoning_effort"),
    ({"response_format": "json"}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"tools": {}}, "tools"),
    ({"tools": [5]}, "tools[0]"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]}, "tools[0].function.parameters"),
    ({"tool_choice": "always"}, "tool_choice"),
    ({"tool_choice": {"type": "function"}}, "tool_choice"),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": [5]}}}, "tool_choice"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "path"), BAD)
def test_what_is_wrong_is_told_with_its_path(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        codec.decode_request({"model": "m", "messages": [HI], **fields}, "m", stream=False)
    failure = caught.value.failure
    assert (failure.kind, failure.param) == (Kind.INVALID_REQUEST, path)
    assert failure.message.startswith(f"{path} ")
