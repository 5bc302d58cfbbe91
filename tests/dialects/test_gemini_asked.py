"""What other dialects ask, said in Gemini's; what cannot be said is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.dialects.dialect import Untranslatable
from sidecar.dialects.gemini_parts import SKIP
from sidecar.model.blocks import CacheMark, Media, MediaKind, Message, Opaque, Role, Text, Thinking, ToolResult, ToolUse
from sidecar.model.hub import (
    ChoiceMode,
    FormatKind,
    Loss,
    OutputFormat,
    Reasoning,
    Tool,
    ToolChoice,
    Wire,
)
from sidecar.model.topology import Dialect, ModelFacts
from tests.dialects.test_gemini_generate import PNG, SCHEMA, asked, codec, model, said, user

OWN = Dialect.GEMINI_GENERATE


def test_a_conversation_of_another_dialect_is_said_in_turns() -> None:
    body, losses = said(
        asked(
            messages=(
                Message(Role.SYSTEM, (Text("Be terse."),)),
                Message(Role.DEVELOPER, (Text("In French."),)),
                Message(Role.USER, (Text("Weather?"),)),
                Message(Role.ASSISTANT, (Text(""), ToolUse("a", "f", '{"x":1}'), ToolUse("b", "g"))),
                Message(Role.USER, (ToolResult("b", (Text("sun"),)),)),
                Message(Role.USER, (ToolResult("a", (Text('{"t": 20}'),), is_error=True), Text("And now?"))),
            )
        )
    )
    assert body == {
        "systemInstruction": {"parts": [{"text": "Be terse."}, {"text": "In French."}]},
        "contents": [
            user({"text": "Weather?"}),
            model(
                {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": SKIP},
                {"functionCall": {"id": "b", "name": "g", "args": {}}},
            ),
            user(
                {"functionResponse": {"id": "b", "name": "g", "response": {"output": "sun"}}},
                {"functionResponse": {"id": "a", "name": "f", "response": {"error": {"t": 20}}}},
            ),
            user({"text": "And now?"}),
        ],
    }
    assert losses == ["messages[3].thought_signature added"]


def test_a_call_that_gemini_signed_keeps_its_signature() -> None:
    call = Message(Role.ASSISTANT, (ToolUse("a", "f", signature="c2ln"), ToolUse("b", "f")))
    body, losses = said(asked(messages=(Message(Role.USER, (Text("Hi"),)), call)))
    assert [part.get("thoughtSignature") for part in body["contents"][1]["parts"]] == ["c2ln", None]
    assert losses == []


def test_thoughts_of_others_are_dropped_and_its_own_are_sent() -> None:
    thoughts = (
        Thinking("hm", "x", Dialect.ANTHROPIC_MESSAGES),
        Thinking("hm"),
        Thinking("ah", "c2ln", OWN),
        Text("Hi"),
    )
    body, losses = said(asked(messages=(Message(Role.USER, (Text("Hi"),)), Message(Role.ASSISTANT, thoughts))))
    assert body["contents"][1] == model({"text": "ah", "thought": True, "thoughtSignature": "c2ln"}, {"text": "Hi"})
    assert losses == ["messages[1].content[0] dropped", "messages[1].content[1] dropped"]


@pytest.mark.parametrize(
    ("arguments", "args", "lossy"),
    [("", {}, False), ("null", {}, True), ("[1", {"arguments": "[1"}, True), ('{"a":1}', {"a": 1}, False)],
)
def test_arguments_are_an_object_whatever_they_were(arguments: str, args: dict[str, Any], *, lossy: bool) -> None:
    call = Message(Role.ASSISTANT, (ToolUse("a", "f", arguments, signature="c2ln"),))
    body, losses = said(asked(messages=(Message(Role.USER, (Text("Hi"),)), call)))
    assert body["contents"][1]["parts"][0]["functionCall"]["args"] == args
    assert bool(losses) is lossy


def test_media_of_any_kind_and_what_their_type_is() -> None:
    body, losses = said(
        asked(
            Media(MediaKind.IMAGE, url="https://example.com/cat.png"),
            Media(MediaKind.DOCUMENT, "application/pdf", inline="JVBERg==", name="a.pdf"),
            Media(MediaKind.DOCUMENT, file_id="file-1"),
            Media(MediaKind.AUDIO, "audio/wav", inline="UklG", cache=CacheMark()),
        )
    )
    assert body["contents"][0]["parts"] == [
        {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/cat.png"}},
        {"inlineData": {"mimeType": "application/pdf", "displayName": "a.pdf", "data": "JVBERg=="}},
        {"inlineData": {"mimeType": "audio/wav", "data": "UklG"}},
    ]
    assert losses == [
        "messages[0].content[0].mimeType added",
        "messages[0].content[2] dropped",
        "messages[0].content[3].cache_control dropped",
    ]


def test_media_in_results_stand_where_the_model_takes_them() -> None:
    image = Media(MediaKind.IMAGE, "image/png", inline=PNG)
    messages = (
        Message(Role.USER, (Text("Hi"),)),
        Message(Role.ASSISTANT, (ToolUse("a", "f", signature="c2ln"),)),
        Message(Role.USER, (ToolResult("a", (Text("here"), image)),)),
    )
    inline = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    newer, _ = said(asked(messages=messages))
    assert newer["contents"][2]["parts"][0]["functionResponse"]["parts"] == [inline]
    older, losses = said(asked(messages=messages), "gemini-2.5-flash")
    assert older["contents"][3] == user(inline)
    assert losses == ["messages[2].content[0] changed"]


SAID: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"tool_choice": ToolChoice(ChoiceMode.ANY)}, {}, ["tool_choice dropped"]),
    ({"tool_choice": ToolChoice(ChoiceMode.AUTO)}, {}, []),
    (
        {"tools": (Tool("f", strict=True),), "tool_choice": ToolChoice(ChoiceMode.NAMED, ("f",))},
        {
            "tools": [{"functionDeclarations": [{"name": "f"}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        },
        ["tools[0].strict dropped"],
    ),
    ({"tools": (Tool("web_search", builtin={"type": "web_search"}),)}, {}, ["tools[0] dropped"]),
    ({"parallel_tools": False, "user": "ada"}, {}, ["user dropped", "parallel_tools dropped"]),
    (
        {"format": OutputFormat(FormatKind.SCHEMA, "answer", schema=SCHEMA, strict=False)},
        {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
        [],
    ),
    (
        {"format": OutputFormat(FormatKind.SCHEMA, "answer", "What it is.", SCHEMA)},
        {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
        ["response_format.description dropped"],
    ),
    (
        {"format": OutputFormat(FormatKind.JSON), "choices": 1, "top_logprobs": 0, "logprobs": True},
        {"generationConfig": {"responseMimeType": "application/json", "responseLogprobs": True}},
        [],
    ),
    (
        {"stop": tuple("abcdef"), "seed": 2**40, "temperature": 3.0},
        {"generationConfig": {"stopSequences": list("abcde"), "temperature": 2}},
        ["stop[5:] dropped", "seed dropped", "temperature changed"],
    ),
    ({"service_tier": "default"}, {"serviceTier": "standard"}, ["service_tier changed"]),
    ({"service_tier": "auto", "store": True}, {}, ["store dropped", "service_tier dropped"]),
    ({"metadata": {"a": "b"}, "extra": {"logit_bias": {"5": 1}}}, {}, ["metadata dropped", "logit_bias dropped"]),
]


@pytest.mark.parametrize(("fields", "expected", "losses"), SAID)
def test_what_other_dialects_ask_is_said_or_told(
    fields: dict[str, Any], expected: dict[str, Any], losses: list[str]
) -> None:
    body, noted = said(asked(**fields))
    assert body == {"contents": [user({"text": "Hi"})], **expected}
    assert noted == losses


THINKING: list[tuple[str, Reasoning, dict[str, Any], bool]] = [
    ("gemini-3-pro-preview", Reasoning(effort="medium"), {"thinkingLevel": "HIGH"}, True),
    ("gemini-3-pro-preview", Reasoning(effort="low"), {"thinkingLevel": "LOW"}, False),
    ("gemini-3-pro-preview", Reasoning(enabled=False), {"thinkingLevel": "LOW"}, True),
    ("gemini-3-flash-preview", Reasoning(effort="minimal"), {"thinkingLevel": "MINIMAL"}, False),
    ("gemini-3-flash-preview", Reasoning(effort="max"), {"thinkingLevel": "HIGH"}, True),
    ("gemini-3-flash-preview", Reasoning(True, budget_tokens=2000), {"thinkingLevel": "MEDIUM"}, True),
    ("gemini-3-flash-preview", Reasoning(True, adaptive=True, shown=True), {"includeThoughts": True}, False),
    ("gemini-2.5-pro", Reasoning(effort="none"), {"thinkingBudget": 128}, True),
    ("gemini-2.5-flash", Reasoning(effort="none"), {"thinkingBudget": 0}, False),
    ("gemini-2.5-flash", Reasoning(effort="high"), {"thinkingBudget": 24576}, True),
    ("models/gemini-2.5-flash-lite", Reasoning(True, budget_tokens=100), {"thinkingBudget": 512}, True),
    ("gemini-2.5-flash", Reasoning(True, adaptive=True), {"thinkingBudget": -1}, False),
    ("gemini-2.0-flash", Reasoning(effort="high"), {}, True),
    ("gemini-2.0-flash", Reasoning(effort="none"), {}, False),
    ("tuned", Reasoning(effort="high", budget_tokens=5), {"thinkingBudget": 5, "thinkingLevel": "HIGH"}, False),
]


@pytest.mark.parametrize(("name", "reasoning", "expected", "lossy"), THINKING)
def test_each_family_is_told_how_much_to_think_in_its_own_way(
    name: str, reasoning: Reasoning, expected: dict[str, Any], *, lossy: bool
) -> None:
    body, losses = said(asked(reasoning=reasoning), name)
    assert body.get("generationConfig", {}).get("thinkingConfig", {}) == expected
    assert bool(losses) is lossy


def test_a_model_that_is_known_not_to_think_is_not_asked_to() -> None:
    losses: list[Loss] = []
    wire = Wire("tuned", ModelFacts(reasoning=False))
    body = codec.encode_request(asked(reasoning=Reasoning(effort="high")), wire, losses)
    assert "generationConfig" not in body
    assert [loss.path for loss in losses] == ["reasoning"]


def test_a_system_message_alone_or_late_is_still_heard() -> None:
    alone, losses = said(asked(messages=(Message(Role.SYSTEM, (Text("Say hi."),)),)))
    assert alone == {"contents": [user({"text": "Say hi."})]}
    assert losses == ["messages[0].role changed"]
    late = (Message(Role.USER, (Text("Hi"),)), Message(Role.SYSTEM, (Text("Be terse."),)))
    body, losses = said(asked(messages=late))
    assert body["systemInstruction"] == {"parts": [{"text": "Be terse."}]}
    assert losses == ["messages[1] changed"]


def test_what_cannot_be_asked_at_all_is_not_asked() -> None:
    with pytest.raises(Untranslatable, match="3 answers"):
        said(asked(choices=3))
    with pytest.raises(Untranslatable, match='"a" answers'):
        said(asked(ToolResult("a", (Text("sun"),))))
    with pytest.raises(Untranslatable, match="nothing is left"):
        said(asked(Opaque(Dialect.ANTHROPIC_MESSAGES, {"type": "container"})))


def test_older_models_get_the_schema_that_they_know() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "kind": {"const": "a"},
            "size": {"type": ["integer", "null"], "exclusiveMinimum": 0},
            "where": {"$ref": "#/$defs/Place"},
            "tree": {"$ref": "#/$defs/Node"},
            "either": {"oneOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]},
            "list": {"type": "array"},
        },
        "additionalProperties": False,
        "$defs": {
            "Place": {"type": "object", "properties": {"city": {"type": "string"}}},
            "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}},
        },
    }
    before = json.dumps(schema)
    body, losses = said(asked(tools=(Tool("f", schema=schema),)), "gemini-2.0-flash")
    assert json.dumps(schema) == before
    assert body["tools"][0]["functionDeclarations"][0]["parameters"] == {
        "type": "OBJECT",
        "properties": {
            "kind": {"type": "STRING", "enum": ["a"]},
            "size": {"type": "INTEGER", "nullable": True},
            "where": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}},
            "tree": {"type": "OBJECT", "properties": {"next": {"type": "OBJECT"}}},
            "either": {"type": "STRING", "nullable": True},
            "list": {"type": "ARRAY", "items": {"type": "STRING"}},
        },
    }
    at = "tools[0].parameters"
    assert sorted(losses) == sorted(
        [
            f"{at}.additionalProperties dropped",
            f"{at}.size.exclusiveMinimum dropped",
            f"{at}.tree.next changed",
            f"{at}.either.oneOf[0].format dropped",
            f"{at}.either.oneOf changed",
            f"{at}.list.items added",
        ]
    )
    whole, losses = said(asked(tools=(Tool("f", schema=schema),)))
    assert whole["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"] == schema
    assert losses == []


def test_references_that_multiply_come_to_an_end() -> None:
    names = [f"d{number}" for number in range(40)]
    definitions: dict[str, Any] = {
        name: {"type": "object", "properties": {"a": {"$ref": f"#/$defs/{after}"}, "b": {"$ref": f"#/$defs/{after}"}}}
        for name, after in zip(names, [*names[1:], "end"], strict=True)
    }
    schema = {"$ref": "#/$defs/d0", "$defs": {**definitions, "end": {"type": "string"}}}
    body, losses = said(asked(tools=(Tool("f", schema=schema),)), "gemini-2.0-flash")
    assert len(json.dumps(body)) < 1_000_000
    assert losses
