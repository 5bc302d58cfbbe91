"""Gemini's dialect by examples from its documentation: JSON to the hub and back, and what is lost where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from google.genai import types as sdk

from sidecar.dialects import gemini_generate
from sidecar.dialects.dialect import Codec, Untranslatable
from sidecar.dialects.gemini_parts import SKIP
from sidecar.model.blocks import CacheMark, Media, MediaKind, Message, Opaque, Role, Text, Thinking, ToolResult, ToolUse
from sidecar.model.errors import ValidationError
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

codec: Codec = gemini_generate
OWN = Dialect.GEMINI_GENERATE
PNG = "iVBORw0KGgo="
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def decoded(body: Mapping[str, Any]) -> HubRequest:
    return codec.decode_request(body, "gemini-2.5-flash", stream=False)


def same(body: dict[str, Any]) -> HubRequest:
    """The request in the hub, which gives the body back as it was."""
    request = decoded(body)
    losses: list[Loss] = []
    assert codec.encode_request(request, Wire("gemini-2.5-flash"), losses) == body
    assert losses == []
    return request


def said(request: HubRequest, model: str = "gemini-3-flash-preview") -> tuple[dict[str, Any], list[str]]:
    losses: list[Loss] = []
    body = codec.encode_request(request, Wire(model), losses)
    return json.loads(json.dumps(body)), [f"{loss.path} {loss.how.value}" for loss in losses]


def asked(*blocks: Any, **fields: Any) -> HubRequest:
    """A question of an OpenAI client."""
    messages = fields.pop("messages", (Message(Role.USER, blocks or (Text("Hi"),)),))
    return HubRequest(Dialect.OPENAI_CHAT, "m", messages, **fields)


def refused(body: Mapping[str, Any]) -> Failure:
    with pytest.raises(ValidationError) as caught:
        decoded(body)
    assert caught.value.failure.kind is Kind.INVALID_REQUEST
    return caught.value.failure


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


CALL = {"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}}


# -- requests, from this dialect


def test_a_full_request_is_understood_and_comes_back() -> None:
    request = same(
        {
            "systemInstruction": {"parts": [{"text": "Be terse."}]},
            "contents": [
                user({"text": "What is this?"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}),
                model({"text": "Let me see", "thought": True, "thoughtSignature": "c2ln"}, {"text": "A dot."}),
                user({"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.com/a.pdf"}}),
            ],
            "tools": [
                {"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": SCHEMA}]},
                {"googleSearch": {}},
            ],
            "toolConfig": {
                "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]},
                "retrievalConfig": {"languageCode": "fr"},
            },
            "generationConfig": {
                "maxOutputTokens": 100,
                "temperature": 0.5,
                "topP": 0.9,
                "topK": 40,
                "stopSequences": ["END"],
                "seed": 7,
                "presencePenalty": 0.1,
                "frequencyPenalty": 0.2,
                "responseLogprobs": True,
                "logprobs": 3,
                "candidateCount": 1,
                "responseMimeType": "application/json",
                "responseJsonSchema": SCHEMA,
                "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024},
                "speechConfig": {"languageCode": "fr-FR"},
            },
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "cachedContent": "cachedContents/abc",
            "labels": {"team": "a"},
        }
    )
    assert [message.role for message in request.messages] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER]
    assert request.messages[1].blocks[1] == Media(MediaKind.IMAGE, "image/png", inline=PNG)
    assert request.messages[2].blocks[0] == Thinking("Let me see", "c2ln", OWN)
    assert request.messages[3].blocks[0] == Media(
        MediaKind.DOCUMENT, "application/pdf", url="https://example.com/a.pdf"
    )
    assert [(tool.name, tool.schema, tool.builtin) for tool in request.tools] == [
        ("f", SCHEMA, None),
        ("googleSearch", None, {"googleSearch": {}}),
    ]
    assert request.tool_choice == ToolChoice(ChoiceMode.NAMED, ("f",))
    assert (request.max_tokens, request.temperature, request.top_p, request.top_k) == (100, 0.5, 0.9, 40)
    assert (request.stop, request.seed, request.logprobs, request.top_logprobs) == (("END",), 7, True, 3)
    assert request.format == OutputFormat(FormatKind.SCHEMA, schema=SCHEMA)
    assert request.reasoning == Reasoning(True, budget_tokens=1024, shown=True)
    assert request.metadata == {"team": "a"}
    assert request.wants_usage
    assert request.extra == {
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "cachedContent": "cachedContents/abc",
        "generationConfig.speechConfig": {"languageCode": "fr-FR"},
        "toolConfig.retrievalConfig": {"languageCode": "fr"},
    }


def test_both_spellings_are_understood_and_one_is_written() -> None:
    snake = {
        "system_instruction": {"parts": [{"text": "Be terse."}]},
        "contents": [
            user({"inline_data": {"mime_type": "image/png", "data": PNG}}, {"text": "What?"}),
            model({"function_call": {"name": "f", "args": {"snake_case": 1}}, "thought_signature": "c2ln"}),
            user({"function_response": {"name": "f", "response": {"inner_key": 2}}}),
        ],
        "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"type": "object"}}]}],
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
        "generation_config": {"max_output_tokens": 5, "thinking_config": {"thinking_level": "LOW"}},
        "safety_settings": [],
    }
    body, losses = said(msgspec.structs.replace(decoded(snake), dialect=OWN))
    assert losses == []
    assert body == {
        "systemInstruction": {"parts": [{"text": "Be terse."}]},
        "contents": [
            user({"inlineData": {"mimeType": "image/png", "data": PNG}}, {"text": "What?"}),
            model({"functionCall": {"name": "f", "args": {"snake_case": 1}}, "thoughtSignature": "c2ln"}),
            user({"functionResponse": {"name": "f", "response": {"inner_key": 2}}}),
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {"maxOutputTokens": 5, "thinkingConfig": {"thinkingLevel": "LOW"}},
        "safetySettings": [],
    }


@pytest.mark.parametrize(
    "body",
    [
        {"contents": [{"parts": [{"text": "Hi"}]}]},
        {"contents": [{"role": "function", "parts": [{"text": "Hi"}]}]},
        {"contents": [user({"text": "Hi", "thought": False})], "toolConfig": None, "safetySettings": None},
        {"contents": [user({"text": "Hi"})], "generationConfig": {}, "tools": [], "toolConfig": {}},
        {"contents": [user({"text": "Hi"})], "generationConfig": {"temperature": None, "stopSequences": []}},
        {"contents": [user({"text": "Hi"})], "systemInstruction": {"role": "user", "parts": [{"text": "Be terse."}]}},
        {"contents": [user({"text": "Hi"})], "systemInstruction": None, "model": "models/gemini-2.5-flash"},
        {"contents": [user({"text": "Hi"})], "generationConfig": {"responseMimeType": "text/plain"}},
        {"contents": [user({"text": "Hi"})], "generationConfig": {"responseMimeType": "text/x.enum", "seed": 1}},
        {"contents": [user({"text": "Hi"})], "generationConfig": {"responseSchema": {"type": "STRING"}}},
        {"contents": [user({"text": "Hi"})], "generationConfig": {"thinkingConfig": {"thinkingLevel": "high"}}},
        {"contents": [user({"text": "Hi"})], "generationConfig": {"thinkingConfig": {"thinkingBudget": -1}}},
        {"contents": [user({"text": "Hi"})], "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}}},
        {"contents": [user({"text": "Hi"})], "toolConfig": {"functionCallingConfig": {"mode": "auto"}}},
        {
            "contents": [user({"text": "Hi"})],
            "tools": [
                {"codeExecution": None, "functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]},
                {"functionDeclarations": [{"name": "g"}], "googleSearch": {}},
            ],
        },
        {
            "contents": [
                user({"inlineData": {"mimeType": "image/png", "data": "_-8"}, "mediaResolution": {"level": "L"}})
            ]
        },
        {
            "contents": [
                user({"fileData": {"fileUri": "https://www.youtube.com/watch?v=x"}, "videoMetadata": {"fps": 1}})
            ]
        },
        {"contents": [model({"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "c2ln"})]},
        {"contents": [model({**CALL, "thoughtSignature": SKIP}), model({"functionCall": {"name": "f"}})]},
        {
            "contents": [
                model({"thought": True, "thoughtSignature": "c2ln"}),
                model({"text": "", "thoughtSignature": "YQ=="}),
            ]
        },
    ],
)
def test_whatever_the_dialect_knows_comes_back_as_it_was(body: dict[str, Any]) -> None:
    same(body)


@pytest.mark.parametrize(
    "system", ["Be terse.", {"text": "Be terse."}, ["Be terse."], {"parts": {"text": "Be terse."}}]
)
def test_a_system_instruction_may_be_its_parts_or_its_text(system: Any) -> None:
    request = decoded({"contents": [user({"text": "Hi"})], "systemInstruction": system})
    assert request.messages[0].role is Role.SYSTEM
    assert request.messages[0].blocks == (Text("Be terse."),)


def test_results_find_the_calls_that_they_belong_to() -> None:
    request = same(
        {
            "contents": [
                user({"text": "Weather?"}),
                model(
                    CALL, {"functionCall": {"name": "get_weather", "args": {"city": "Rome"}}}, {"text": "one moment"}
                ),
                user(
                    {"functionResponse": {"name": "get_weather", "response": {"output": "sun"}}},
                    {"functionResponse": {"name": "get_weather", "response": {"error": "no such city"}}},
                ),
                model({"functionCall": {"id": "x", "name": "get_weather", "args": {}}}),
                user({"functionResponse": {"id": "x", "name": "get_weather", "response": {"result": 5, "unit": "C"}}}),
            ]
        }
    )
    calls = [block.id for message in request.messages for block in message.blocks if isinstance(block, ToolUse)]
    results = [block for message in request.messages for block in message.blocks if isinstance(block, ToolResult)]
    assert calls == ["call_0", "call_1", "x"]
    assert [(result.id, result.blocks, result.is_error) for result in results] == [
        ("call_0", (Text("sun"),), False),
        ("call_1", (Text("no such city"),), True),
        ("x", (Text('{"result":5,"unit":"C"}'),), False),
    ]


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ({"result": "sun"}, "sun"),
        ({"result": {"t": 20}}, '{"t":20}'),
        ({"output": '{"t":20}'}, '{"t":20}'),
        ({}, "{}"),
        ({"result": None}, "null"),
    ],
)
def test_what_a_function_gave_is_text_elsewhere_and_itself_here(response: dict[str, Any], text: str) -> None:
    request = same(
        {"contents": [model(CALL), user({"functionResponse": {"name": "get_weather", "response": response}})]}
    )
    result = request.messages[1].blocks[0]
    assert isinstance(result, ToolResult)
    assert result.blocks == (Text(text),)


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        ({}, "contents", "missing"),
        ({"contents": []}, "contents", "at least one"),
        ({"contents": "Hi"}, "contents", "must be a list"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents[0].role", 'user or model, not "system"'),
        ({"contents": [user({"text": 5})]}, "contents[0].parts[0].text", "a string, not 5"),
        ({"contents": [user({"text": "a", "functionCall": {"name": "f"}})]}, "contents[0].parts[0]", "not both"),
        ({"contents": [user({"inlineData": {"data": "!"}})]}, "contents[0].parts[0].inlineData.data", "base64"),
        ({"contents": [model({"functionCall": {}})]}, "contents[0].parts[0].functionCall.name", "missing"),
        (
            {"contents": [user({"functionResponse": {"name": "f", "response": {}}})]},
            "contents[0].parts[0].functionResponse.name",
            'no functionCall before it that "f" could answer',
        ),
        (
            {"contents": [model(CALL), user({"functionResponse": {"id": "y", "name": "f", "response": {}}})]},
            "contents[1].parts[0].functionResponse.id",
            '"y"',
        ),
        (
            {
                "contents": [
                    model({"functionCall": {"id": "a", "name": "f"}}, {"functionCall": {"id": "a", "name": "f"}})
                ]
            },
            "contents[0].parts[1].functionCall.id",
            "ids must differ",
        ),
        (
            {"contents": [user({"text": "Hi"})], "toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}},
            "toolConfig.functionCallingConfig.mode",
            "AUTO, ANY, NONE or VALIDATED",
        ),
        ({"contents": [user({"text": "Hi"})], "tools": 5}, "tools", "a list, not 5"),
        (
            {"contents": [user({"text": "Hi"})], "generationConfig": {"maxOutputTokens": "many"}},
            "generationConfig.maxOutputTokens",
            'a whole number, not "many"',
        ),
    ],
)
def test_a_wrong_request_is_told_where_and_what(body: dict[str, Any], path: str, words: str) -> None:
    failure = refused(body)
    assert failure.param == path
    assert path in failure.message
    assert words in failure.message


def test_a_body_nested_beyond_reason_is_refused() -> None:
    nested: Any = {}
    for _ in range(5000):
        nested = [nested]
    assert "nested" in refused({"contents": [user({"text": "Hi"})], "x": nested}).message


def test_googles_schemas_are_json_schema_elsewhere() -> None:
    google = {
        "type": "OBJECT",
        "propertyOrdering": ["b", "a"],
        "properties": {
            "a": {"type": "STRING", "format": "enum", "enum": ["x"], "nullable": True},
            "b": {"type": "ARRAY", "items": {"type": "INTEGER"}, "min_items": "1"},
            "c": {"any_of": [{"type": "STRING"}], "nullable": True, "example": 1},
        },
    }
    request = same(
        {"contents": [user({"text": "Hi"})], "tools": [{"functionDeclarations": [{"name": "f", "parameters": google}]}]}
    )
    schema = request.tools[0].schema
    assert schema == {
        "type": "object",
        "properties": {
            "b": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            "a": {"type": ["string", "null"], "enum": ["x", None]},
            "c": {"anyOf": [{"type": "string"}, {"type": "null"}], "examples": [1]},
        },
    }
    assert list(schema["properties"]) == ["b", "a", "c"]


# -- requests, from another dialect


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
        {"format": OutputFormat(FormatKind.SCHEMA, "answer", schema=SCHEMA)},
        {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
        ["response_format.name dropped"],
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


# -- answers


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
