"""Requests of the Anthropic dialect as clients make them: read, given back, refused, cleaned on their way through."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from sidecar.dialects import anthropic_messages as dialect
from sidecar.dialects.anthropic_thoughts import without_foreign_thoughts
from sidecar.dialects.body import peek
from sidecar.dialects.dialect import Codec
from sidecar.dialects.forms import form_of
from sidecar.model.blocks import (
    CacheMark,
    Media,
    MediaKind,
    Message,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from sidecar.model.errors import ValidationError
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
from sidecar.model.request import Call
from sidecar.model.topology import Dialect, Operation, Params

codec: Codec = dialect
OWN = Dialect.ANTHROPIC_MESSAGES
PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOSED = {**SCHEMA, "additionalProperties": False}
NEW = "claude-opus-4-8"


def read(**fields: Any) -> HubRequest:
    body = {"max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return dialect.decode_request(body, "claude", stream=False)


def refused(**fields: Any) -> str:
    with pytest.raises(ValidationError) as error:
        read(**fields)
    assert error.value.failure.param is not None
    assert error.value.failure.param in error.value.failure.message
    return error.value.failure.param


def written(request: HubRequest, model: str = "m") -> tuple[dict[str, Any], list[Loss]]:
    losses: list[Loss] = []
    return dialect.encode_request(request, Wire(model), losses), losses


# -- from a client


def test_a_documented_request_is_read() -> None:
    body = {
        "model": "claude-opus-4-5",
        "max_tokens": 1024,
        "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Ask.", "signature": "EqQB"},
                    {"type": "redacted_thinking", "data": "EmwK"},
                    {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "15°", "is_error": False},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                ],
            },
        ],
        "tools": [
            {"name": "get_weather", "input_schema": SCHEMA, "strict": True, "cache_control": {"type": "ephemeral"}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        ],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": CLOSED}},
        "metadata": {"user_id": "u"},
        "stop_sequences": ["END"],
        "service_tier": "auto",
        "container": "c_1",
    }
    request = dialect.decode_request(body, "claude-opus-4-5", stream=True)
    system, _, assistant, results = request.messages
    assert system == Message(Role.SYSTEM, (Text("Be kind.", cache=CacheMark("1h")),), bare=False)
    assert assistant.blocks == (
        Thinking("Ask.", "EqQB", OWN),
        Thinking("", "EmwK", OWN, redacted=True),
        ToolUse("toolu_1", "get_weather", '{"city":"Paris"}'),
    )
    result, image = results.blocks
    assert isinstance(result, ToolResult)
    assert (result.id, result.blocks, result.name, result.bare) == ("toolu_1", (Text("15°"),), "get_weather", True)
    assert image == Media(MediaKind.IMAGE, "image/png", inline=PNG)
    assert request.tools[0] == Tool("get_weather", None, SCHEMA, strict=True, cache=CacheMark())
    assert request.tools[1].builtin == body["tools"][1]  # type: ignore[index]
    assert request.tool_choice == ToolChoice(ChoiceMode.ANY)
    assert request.parallel_tools is False
    assert request.reasoning == Reasoning(True, "high", 2000, shown=False)
    assert request.format == OutputFormat(FormatKind.SCHEMA, schema=CLOSED)
    assert (request.user, request.stop, request.service_tier) == ("u", ("END",), "auto")
    assert (request.stream, request.wants_usage, request.extra) == (True, True, {"container": "c_1"})
    assert written(request, "claude-opus-4-5") == ({**body, "stream": True}, [])


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": False},
        {"system": "", "tools": [], "stop_sequences": [], "metadata": {}, "output_config": {}},
        {"temperature": None, "system": None, "thinking": None, "tool_choice": None},
        {"tools": [{"type": "custom", "name": "f", "input_schema": {}, "defer_loading": True}]},
        {"output_format": {"type": "json_schema", "schema": CLOSED}},
        {"output_config": {"task_budget": {"total": 5}, "effort": "low"}},
        {"thinking": {"type": "between_tools"}},
        {"thinking": {"type": "adaptive", "display": "summarized"}},
        {"thinking": {"type": "disabled"}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": None}]}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": False}},
        {"cache_control": {"type": "ephemeral"}, "mcp_servers": [{"type": "url", "url": "u", "name": "n"}]},
    ],
    ids=lambda fields: "+".join(fields),
)
def test_a_request_comes_back_as_it_was(fields: dict[str, Any]) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **fields}
    assert written(dialect.decode_request(body, "m", stream=False)) == (body, [])


DOCUMENTS: list[dict[str, Any]] = [
    {"source": {"type": "url", "url": "https://example.com/a.pdf"}, "title": "A", "citations": {"enabled": True}},
    {"source": {"type": "text", "media_type": "text/plain", "data": "Grün"}},
    {"source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}, "context": "c"},
    {"source": {"type": "file", "file_id": "file_1"}},
    {"source": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document["source"]["type"])
def test_documents_come_back_as_they_were(document: dict[str, Any]) -> None:
    block = {"type": "document", **document}
    request = read(messages=[{"role": "user", "content": [block]}])
    assert written(request)[0]["messages"][0]["content"] == [block]


def test_a_document_of_text_is_base64_in_the_hub() -> None:
    request = read(messages=[{"role": "user", "content": [{"type": "document", **DOCUMENTS[1]}]}])
    media = request.messages[0].blocks[0]
    assert isinstance(media, Media)
    assert base64.b64decode(media.inline or "").decode() == "Grün"


def test_an_id_used_once_more_is_another_one() -> None:
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "a"}
    turns = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}] * 2
    request = read(messages=turns)
    ids = [block.id for message in request.messages for block in message.blocks if not isinstance(block, Text)]  # type: ignore[union-attr]
    assert ids == ["a", "a", "a_2", "a_2"]
    assert written(request)[0]["messages"] == turns


def turn(*blocks: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


CALL = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "a", "content": "1"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [turn({"text": "x"})]}, "messages[0].content[0].type"),
        ({"messages": [turn({"type": "text"})]}, "messages[0].content[0].text"),
        ({"messages": [turn(RESULT)]}, "messages[0].content[0].tool_use_id"),
        ({"messages": [turn(CALL)]}, "messages[0].content[0].type"),
        ({"messages": [turn(CALL, CALL, role="assistant")]}, "messages[0].content[1].id"),
        ({"messages": [turn(CALL, role="assistant"), turn(RESULT, RESULT)]}, "messages[1].content[1].tool_use_id"),
        ({"messages": [turn({**CALL, "input": "{}"}, role="assistant")]}, "messages[0].content[0].input"),
        (
            {
                "messages": [
                    turn({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}})
                ]
            },
            "messages[0].content[0].source.data",
        ),
        ({"system": 1}, "system"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"stop_sequences": ["a", 1]}, "stop_sequences[1]"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "required"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": "many"}}, "thinking.budget_tokens"),
    ],
)
def test_what_is_wrong_is_told_by_its_path(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields) == param


def test_a_signature_of_another_keeps_its_signer() -> None:
    block = {"type": "thinking", "thinking": "Hm", "signature": "gemini-generate:c2ln"}
    request = read(messages=[turn(block, role="assistant")])
    assert request.messages[0].blocks == (Thinking("Hm", "c2ln", Dialect.GEMINI_GENERATE),)


# -- on the way through


def test_thoughts_of_others_do_not_pass() -> None:
    losses: list[Loss] = []
    messages = (
        b'[{"role":"user","content":"Hi"},{"role":"assistant","content":['
        b'{"type":"thinking","thinking":"a","signature":"openai-responses:xyz"},'
        b'{"type":"thinking","thinking":"b","signature":""},{"type":"thinking","thinking":"c","signature":"Eq"},'
        b'{"type":"text","text":"Hello"}]}]'
    )
    claude = without_foreign_thoughts(messages, NEW, losses)
    assert claude is not None
    assert b'"c"' in claude
    assert b'"a"' not in claude
    assert b'"b"' not in claude
    assert [loss.path for loss in losses] == ["messages[1].content[0]", "messages[1].content[1]"]
    imitation = without_foreign_thoughts(messages, "deepseek-chat", losses)
    assert imitation is not None
    assert b'"b"' in imitation


def test_a_turn_that_another_vendor_answered_does_not_spoil_the_next() -> None:
    operation = Operation.MESSAGES
    thought = b'{"type":"thinking","thinking":"a","signature":"openai-responses:xyz"},'
    body = (
        b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":['
        + thought
        + b'{"type":"text","text":"Hello"}]},{"role":"user","content":"And?"}]}'
    )
    form = form_of(Call(operation, OWN, peek(body, operation), "r"), operation, Wire(NEW), Params())
    assert form.body == body.replace(thought, b"").replace(b'"m"', b'"claude-opus-4-8"')
    assert [loss.path for loss in form.losses] == ["messages[1].content[0]"]


@pytest.mark.parametrize("messages", [b"[]", b'{"thinking":"signature":""', b'[{"thinking":{"signature":""}}]', b"1"])
def test_other_conversations_pass_as_they_are(messages: bytes) -> None:
    assert without_foreign_thoughts(messages, NEW, []) is None
