"""Gemini's dialect by examples from its documentation: JSON to the hub and back, and what is lost where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from sidecar.dialects import gemini_generate
from sidecar.dialects.dialect import Codec
from sidecar.dialects.gemini_parts import SKIP
from sidecar.model.blocks import Media, MediaKind, Message, Role, Text, Thinking, ToolResult, ToolUse
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import (
    ChoiceMode,
    FormatKind,
    HubRequest,
    Loss,
    OutputFormat,
    Reasoning,
    ToolChoice,
    Wire,
)
from sidecar.model.topology import Dialect

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
