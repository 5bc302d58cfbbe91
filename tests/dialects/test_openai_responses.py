"""The Responses dialect by examples, written from OpenAI's documentation: requests, answers, errors, pins."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from sidecar.dialects import openai_responses
from sidecar.dialects.dialect import Codec, Untranslatable
from sidecar.model.blocks import (
    CacheMark,
    Logprob,
    Media,
    MediaKind,
    Message,
    Opaque,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure, Kind, UpstreamError
from sidecar.model.hub import (
    ChoiceMode,
    FormatKind,
    How,
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
from sidecar.model.topology import Dialect, ModelFacts, Quirk
from tests.dialects.openai_client import client_of

codec: Codec = openai_responses
TARGET = Wire("gpt-5")
PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OWN, CHAT, ANTHROPIC = Dialect.OPENAI_RESPONSES, Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES


def read(**fields: Any) -> HubRequest:
    return codec.decode_request({"model": "gpt-5", **fields}, "gpt-5", stream=False)


def again(**fields: Any) -> dict[str, Any]:
    losses: list[Loss] = []
    body = codec.encode_request(read(**fields), Wire("gpt-5"), losses)
    assert losses == []
    return body


def written(
    *messages: Message, dialect: Dialect = CHAT, wire: Wire = TARGET, **fields: Any
) -> tuple[dict[str, Any], list[Loss]]:
    losses: list[Loss] = []
    return codec.encode_request(HubRequest(dialect, "any", messages, **fields), wire, losses), losses


def user(*blocks: Any) -> Message:
    return Message(Role.USER, blocks)


# -- requests, read


def test_a_text_is_the_turn_of_a_user_and_instructions_come_first() -> None:
    request = read(instructions="Be brief.", input="Hi")
    system, turn = request.messages
    assert (system.role, system.blocks) == (Role.SYSTEM, (Text("Be brief."),))
    assert (turn.role, turn.blocks) == (Role.USER, (Text("Hi"),))


def test_items_of_one_speaker_become_one_turn() -> None:
    request = read(
        store=False,
        input=[
            {"role": "user", "content": "Weather in Paris and Rome?"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "w", "arguments": '{"city":"Paris"}'},
            {"type": "function_call", "call_id": "call_2", "name": "w", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "sun"},
            {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "rain"}]},
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        ],
    )
    _, called, results, developer = request.messages
    assert called.role is Role.ASSISTANT
    thinking, first, second = called.blocks
    assert isinstance(thinking, Thinking)
    assert (thinking.text, thinking.signature, thinking.signer, thinking.redacted) == ("", "gAAA", OWN, True)
    assert isinstance(first, ToolUse)
    assert isinstance(second, ToolUse)
    assert (first.id, first.name, first.arguments) == ("call_1", "w", '{"city":"Paris"}')
    assert results.role is Role.USER
    sun, rain = results.blocks
    assert isinstance(sun, ToolResult)
    assert isinstance(rain, ToolResult)
    assert (sun.id, sun.blocks, sun.bare, sun.name) == ("call_1", (Text("sun"),), True, "w")
    assert (rain.id, rain.blocks, rain.bare) == ("call_2", (Text("rain"),), False)
    assert developer.role is Role.DEVELOPER
    assert not developer.bare


def test_images_files_and_sounds_are_media() -> None:
    content = [
        {"type": "input_image", "detail": "low", "image_url": f"data:image/png;base64,{PNG}"},
        {"type": "input_image", "image_url": "https://example.com/cat.png"},
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
    ]
    [turn] = read(input=[{"role": "user", "content": content}]).messages
    assert turn.blocks == (
        Media(MediaKind.IMAGE, "image/png", inline=PNG, extra={"detail": "low"}),
        Media(MediaKind.IMAGE, url="https://example.com/cat.png"),
        Media(MediaKind.DOCUMENT, "application/pdf", inline=PNG, name="a.pdf"),
        Media(MediaKind.DOCUMENT, url="https://example.com/a.pdf"),
        Media(MediaKind.DOCUMENT, file_id="file-1"),
        Media(MediaKind.AUDIO, "audio/wav", inline=PNG),
    )


def test_fields_of_the_top_level_have_their_places() -> None:
    request = read(
        input="Hi",
        max_output_tokens=100,
        temperature=0.5,
        top_p=0.9,
        top_logprobs=2,
        parallel_tool_calls=False,
        user="ada",
        metadata={"run": "7"},
        store=True,
        service_tier="flex",
        reasoning={"effort": "low", "summary": "auto"},
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        text={"format": {"type": "json_schema", "name": "city", "schema": SCHEMA, "strict": True}},
        tools=[{"type": "function", "name": "w", "parameters": SCHEMA, "strict": True}, {"type": "web_search"}],
        tool_choice={"type": "function", "name": "w"},
    )
    assert (request.max_tokens, request.temperature, request.top_p, request.top_logprobs) == (100, 0.5, 0.9, 2)
    assert (request.parallel_tools, request.user, request.metadata) == (False, "ada", {"run": "7"})
    assert (request.store, request.service_tier, request.logprobs) == (True, "flex", True)
    assert request.reasoning == Reasoning(effort="low", shown=True, summary="auto")
    assert request.format == OutputFormat(FormatKind.SCHEMA, "city", None, SCHEMA, True)
    assert request.tools == (
        Tool("w", schema=SCHEMA, strict=True),
        Tool("web_search", builtin={"type": "web_search"}),
    )
    assert request.tool_choice == ToolChoice(ChoiceMode.NAMED, ("w",))


@pytest.mark.parametrize(("fields", "lost"), [({}, True), ({"store": None}, True), ({"store": False}, False)])
def test_an_answer_that_would_be_kept_elsewhere_is_a_loss(fields: dict[str, Any], lost: bool) -> None:
    request = read(input="Hi", **fields)
    assert request.store is None
    assert (request.extra.get("store") is True) is lost


@pytest.mark.parametrize(
    "item",
    [
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "custom_tool_call", "call_id": "c", "name": "x", "input": "y"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "z"},
        {"type": "item_reference", "id": "msg_1"},
        {"id": "msg_1"},
    ],
)
def test_what_only_this_dialect_knows_is_opaque_and_comes_back(item: dict[str, Any]) -> None:
    items = [{"role": "assistant", "content": "Well."}, item, {"role": "assistant", "content": "So."}]
    request = read(input=items)
    assert Opaque(OWN, item) in [block for message in request.messages for block in message.blocks]
    assert again(input=items)["input"] == items


# What is written in more than one way comes back in the way that it was written.
AS_WRITTEN: list[dict[str, Any]] = [
    {"input": "Hi"},
    {"input": [{"role": "user", "content": "Hi"}], "instructions": "Be brief."},
    {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]},
    {"input": [{"role": "user", "content": []}], "tools": [], "text": {}, "reasoning": {}, "include": []},
    {"input": "Hi", "temperature": None, "tool_choice": None, "instructions": None, "reasoning": None, "text": None},
    {"input": "Hi", "truncation": "disabled", "background": False, "store": False},
    {"input": "Hi", "text": {"verbosity": "low"}, "prompt_cache_key": "k", "x_unknown": {"a": 1}},
    {"input": "Hi", "tools": [{"type": "function", "name": "f", "parameters": None, "strict": False, "x": 1}]},
    {
        "input": "Hi",
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
    },
    {"input": "Hi", "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}},
    {"input": "Hi", "tool_choice": {"type": "file_search"}},
    {"input": "Hi", "reasoning": {"effort": "none", "context": "auto"}},
    {
        "input": [
            {"role": "user", "content": [{"type": "input_file", "file_data": PNG, "filename": "a.bin"}]},
            {"role": "user", "content": [{"type": "input_image", "image_url": None, "file_id": "f", "detail": "auto"}]},
            {"role": "user", "content": [{"type": "input_image", "image_url": f"data:;base64,{PNG}"}]},
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}],
            },
            {
                "role": "user",
                "content": [{"type": "input_audio", "input_audio": {"data": PNG, "format": "wav", "x": 1}}],
            },
            {"role": "user", "content": [{"type": "hologram", "x": 1}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {
                "type": "reasoning",
                "id": "rs_2",
                "status": "completed",
                "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
                "encrypted_content": None,
            },
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "phase": "final_answer",
                "content": [
                    {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []},
                    {"type": "refusal", "refusal": "No."},
                    {"type": "hologram"},
                ],
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "", "status": "completed"},
            {"type": "function_call_output", "call_id": "c", "output": [], "status": "incomplete"},
        ]
    },
]


@pytest.mark.parametrize("body", AS_WRITTEN)
def test_a_request_of_the_dialect_comes_back_as_it_was(body: dict[str, Any]) -> None:
    assert again(**body) == {"model": "gpt-5", **body}


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({}, "input", "null"),
        ({"input": 7}, "input", "a text or a list of items"),
        ({"input": ["Hi"]}, "input[0]", "an object"),
        ({"input": [{"role": "robot", "content": "Hi"}]}, "input[0].role", '"robot"'),
        ({"input": [{"role": "user"}]}, "input[0].content", "a string or a list of parts"),
        ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content[0].type", "a string"),
        ({"input": [{"content": "Hi"}]}, "input[0]", "an item with a type"),
        (
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,%%"}]}
                ]
            },
            "input[0].content[0].image_url",
            "not valid base64",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
            "input[0].call_id",
            "stands before it",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}] * 2},
            "input[1].call_id",
            "no other call has",
        ),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments", "JSON text"),
        ({"input": "Hi", "tool_choice": "maybe"}, "tool_choice", "auto, required, none"),
        ({"input": "Hi", "tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name", "not empty"),
        ({"input": "Hi", "text": {"format": {"type": "xml"}}}, "text.format.type", "json_schema"),
        ({"input": "Hi", "temperature": "hot"}, "temperature", "a number"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(fields: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        read(**fields)
    failure = raised.value.failure
    assert failure.kind is Kind.INVALID_REQUEST
    assert failure.param == param
    assert param in failure.message
    assert words in failure.message


def test_a_result_may_be_of_a_call_that_the_provider_keeps() -> None:
    output = {"type": "function_call_output", "call_id": "c", "output": "x"}
    [turn] = read(input=[output], previous_response_id="resp_1").messages
    assert turn.blocks == (ToolResult("c", (Text("x"),)),)


# -- requests, written for clients of other dialects


def test_a_conversation_of_another_dialect_becomes_items() -> None:
    body, losses = written(
        Message(Role.SYSTEM, (Text("Be brief."),)),
        user(Text("What is this?"), Media(MediaKind.IMAGE, "image/png", inline=PNG)),
        Message(Role.ASSISTANT, (Text("Let me "), Text("see."), ToolUse("call_1", "look", '{"at":"it"}'))),
        user(ToolResult("call_1", (Text("a cat"),)), Text("And?")),
        max_tokens=100,
    )
    assert losses == []
    assert body == {
        "model": "gpt-5",
        "store": False,
        "max_output_tokens": 100,
        "input": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is this?"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
                ],
            },
            {"role": "assistant", "content": "Let me see."},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at":"it"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "a cat"},
            {"role": "user", "content": "And?"},
        ],
    }


def test_tools_are_not_made_strict_by_saying_nothing() -> None:
    body, losses = written(
        user(Text("Hi")), tools=(Tool("w", "Weather", SCHEMA),), tool_choice=ToolChoice(ChoiceMode.ANY)
    )
    tool = {"type": "function", "name": "w", "description": "Weather", "parameters": SCHEMA, "strict": False}
    assert body["tools"] == [tool]
    assert body["tool_choice"] == "required"
    assert losses == []


def test_one_of_some_tools_is_an_allow_list() -> None:
    tools = tuple(Tool(name, schema=SCHEMA) for name in "ab")
    body, _ = written(user(Text("Hi")), tools=tools, tool_choice=ToolChoice(ChoiceMode.NAMED, ("a", "b")))
    allowed = [{"type": "function", "name": name} for name in "ab"]
    assert body["tool_choice"] == {"type": "allowed_tools", "mode": "required", "tools": allowed}


def test_thoughts_come_back_only_to_the_dialect_that_signed_them() -> None:
    own = Thinking("hm", "gAAA", OWN)
    thoughts = (own, Thinking("so", "sig", ANTHROPIC), Thinking("well"))
    body, losses = written(user(Text("Hi")), Message(Role.ASSISTANT, (*thoughts, Text("Yes."))))
    assert body["input"][1:] == [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"},
        {"role": "assistant", "content": "Yes."},
    ]
    assert [loss.path for loss in losses] == ["messages[1].content[1]", "messages[1].content[2]"]


def test_thoughts_that_were_lent_to_a_client_are_known_again() -> None:
    signed = Thinking("hm", "sig", ANTHROPIC)
    answer = HubResponse(ANTHROPIC, "msg_1", "claude", (signed, Text("Yes.")), StopReason.END)
    output = codec.encode_response(answer, [])["output"]
    assert output[0]["id"].startswith(openai_responses.MINTED)
    _, turn = read(input=[{"role": "user", "content": "Hi"}, *output]).messages
    thought = turn.blocks[0]
    assert isinstance(thought, Thinking)
    assert (thought.text, thought.signature, thought.signer) == ("hm", "sig", ANTHROPIC)
    losses: list[Loss] = []
    body = codec.encode_request(read(input=output), Wire("gpt-5"), losses)
    assert [item.get("type") for item in body["input"]] == ["message"]
    assert [loss.how for loss in losses] == [How.DROPPED]


@pytest.mark.parametrize(
    ("reasoning", "facts", "said", "lost"),
    [
        (Reasoning(effort="high"), None, {"effort": "high"}, None),
        (Reasoning(effort="low", shown=True), None, {"effort": "low", "summary": "auto"}, None),
        (Reasoning(True, budget_tokens=8000), None, {"effort": "medium"}, "reasoning.budget_tokens"),
        (Reasoning(False), True, {"effort": "low"}, "reasoning"),
        (Reasoning(False), None, None, "reasoning"),
        (Reasoning(False), False, None, None),
        (Reasoning(effort="high"), False, None, "reasoning"),
    ],
)
def test_how_much_to_think_is_an_effort(reasoning: Reasoning, facts: bool | None, said: Any, lost: str | None) -> None:
    wire = Wire("gpt-5", ModelFacts(reasoning=facts))
    body, losses = written(user(Text("Hi")), wire=wire, reasoning=reasoning)
    assert body.get("reasoning") == said
    assert [loss.path for loss in losses] == ([lost] if lost else [])
    thinks = facts if facts is not None else reasoning.enabled is not False
    assert body.get("include") == (["reasoning.encrypted_content"] if thinks else None)


def test_a_model_that_reasons_is_not_told_what_it_refuses() -> None:
    wire = Wire("gpt-5", ModelFacts(reasoning=True), frozenset({Quirk.REASONING_REFUSES_SAMPLING}))
    body, losses = written(user(Text("Hi")), wire=wire, temperature=0.5, logprobs=True, top_logprobs=2)
    assert set(body) == {"model", "input", "store", "include"}
    assert {loss.path for loss in losses} == {"temperature", "logprobs", "top_logprobs"}


def test_what_has_no_field_is_a_loss_at_its_place() -> None:
    body, losses = written(
        Message(Role.USER, (Text("Hi", cache=CacheMark()),), name="ada"),
        Message(Role.ASSISTANT, (ToolUse("c", "f", signature="sig"),)),
        user(ToolResult("c", (Text("x"),), is_error=True), Media(MediaKind.VIDEO, "video/mp4", inline=PNG)),
        dialect=Dialect.GEMINI_GENERATE,
        top_k=4,
        stop=("END",),
        seed=7,
        max_tokens=1,
        service_tier="standard_only",
        extra={"safetySettings": [1], "~note": 1},
    )
    assert {(loss.path, loss.how) for loss in losses} == {
        ("messages[0].name", How.DROPPED),
        ("messages[0].content[0].cache_control", How.DROPPED),
        ("messages[1].content[0].signature", How.DROPPED),
        ("messages[2].content[0].is_error", How.DROPPED),
        ("messages[2].content[1]", How.DROPPED),
        ("top_k", How.DROPPED),
        ("stop", How.DROPPED),
        ("seed", How.DROPPED),
        ("max_tokens", How.ADDED),
        ("service_tier", How.DROPPED),
        ("safetySettings", How.DROPPED),
    }
    assert body["max_output_tokens"] == 16


@pytest.mark.parametrize(
    ("messages", "fields"),
    [
        ((user(Text("Hi")),), {"choices": 2}),
        ((user(Media(MediaKind.DOCUMENT, file_id="file_1")),), {"dialect": ANTHROPIC}),
        ((user(Opaque(ANTHROPIC, {"type": "x"})),), {}),
    ],
)
def test_what_cannot_be_asked_at_all_is_refused(messages: tuple[Message, ...], fields: dict[str, Any]) -> None:
    with pytest.raises(Untranslatable):
        written(*messages, **fields)


def test_a_file_is_known_by_its_id_in_its_own_store_alone() -> None:
    asked = (user(Text("Read."), Media(MediaKind.DOCUMENT, file_id="file-1")),)
    body, losses = written(*asked, dialect=Dialect.OPENAI_CHAT)
    assert body["input"][0]["content"][1] == {"type": "input_file", "file_id": "file-1"}
    assert losses == []
    body, losses = written(*asked, dialect=ANTHROPIC)
    assert body["input"][0]["content"] == "Read."
    assert [(loss.path, loss.how) for loss in losses] == [("messages[0].content[1]", How.DROPPED)]


def test_ids_that_are_too_long_are_shortened_alike() -> None:
    id_ = "call_" + "x" * 100
    body, _ = written(Message(Role.ASSISTANT, (ToolUse(id_, "f"),)), user(ToolResult(id_, (Text("x"),))))
    call, result = body["input"]
    assert call["call_id"] == result["call_id"]
    assert len(call["call_id"]) <= 64


# -- pins


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": {"id": "conv_1"}},
        {"background": True},
        {"prompt": {"id": "pmpt_1"}},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"id": "msg_1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        {"input": [{"type": "function_call_output", "output": [{"type": "input_file", "file_id": "f"}]}]},
    ],
)
def test_what_a_provider_keeps_pins_a_request_to_it(fields: dict[str, Any]) -> None:
    reason = openai_responses.pinned(fields)
    assert reason is not None
    assert "its provider" in reason
    assert openai_responses.pin_id(fields) == fields.get("previous_response_id")


def test_other_requests_are_not_pinned() -> None:
    plain = {"input": [{"role": "user", "content": "Hi"}], "background": False, "store": True, "conversation": None}
    assert openai_responses.pinned(plain) is None
    assert openai_responses.pinned({"input": "Hi"}) is None


# -- answers


ANSWER: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_741_476_542,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": "Be brief.",
    "model": "gpt-5",
    "output": [
        {
            "id": "rs_1",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
            "encrypted_content": "gAAA",
        },
        {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}},
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [
                {
                    "type": "output_text",
                    "text": "Hi",
                    "annotations": [
                        {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
                    ],
                    "logprobs": [
                        {
                            "token": "Hi",
                            "bytes": [72, 105],
                            "logprob": -0.5,
                            "top_logprobs": [{"token": "Hi", "bytes": [72, 105], "logprob": -0.5}],
                        }
                    ],
                },
                {"type": "refusal", "refusal": "No."},
            ],
        },
        {
            "id": "fc_1",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_1",
            "name": "f",
            "arguments": '{"a":1}',
        },
    ],
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 60},
        "total_tokens": 123,
    },
    "metadata": {},
}


def test_an_answer_is_read_and_comes_back_as_it_was() -> None:
    response = codec.decode_response(ANSWER)
    assert isinstance(response, HubResponse)
    assert (response.id, response.model, response.created_s) == ("resp_1", "gpt-5", 1_741_476_542)
    assert response.stop is StopReason.TOOL_USE
    assert response.usage == Usage(36, 87, 4, 2, 60)
    thinking, search, text, refusal, call = response.blocks
    assert isinstance(thinking, Thinking)
    assert (thinking.text, thinking.signature, thinking.signer) == ("a\n\nb", "gAAA", OWN)
    assert search == Opaque(OWN, ANSWER["output"][1])
    assert isinstance(text, Text)
    assert text.logprobs == (Logprob("Hi", -0.5, (72, 105), (Logprob("Hi", -0.5, (72, 105)),)),)
    assert isinstance(refusal, Text)
    assert (refusal.text, refusal.refusal) == ("No.", True)
    assert isinstance(call, ToolUse)
    assert (call.id, call.name, call.arguments) == ("call_1", "f", '{"a":1}')
    losses: list[Loss] = []
    assert codec.encode_response(response, losses) == ANSWER
    assert losses == []


@pytest.mark.parametrize(
    ("said", "stop", "native"),
    [
        ({"status": "completed", "output": []}, StopReason.END, "completed"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []},
            StopReason.LENGTH,
            "max_output_tokens",
        ),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []},
            StopReason.REFUSAL,
            "content_filter",
        ),
        (
            {"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]},
            StopReason.REFUSAL,
            None,
        ),
        ({"status": "queued", "output": []}, StopReason.OTHER, "queued"),
    ],
)
def test_why_an_answer_ended(said: dict[str, Any], stop: StopReason, native: str | None) -> None:
    response = codec.decode_response(said)
    assert isinstance(response, HubResponse)
    assert (response.stop, response.stop_native) == (stop, native)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (
            {"status": "failed", "output": [], "error": {"code": "rate_limit_exceeded", "message": "slow"}},
            Kind.RATE_LIMITED,
            "slow",
        ),
        ({"status": "failed", "output": [], "error": None}, Kind.SERVER_ERROR, "not why"),
        ({"error": {"message": "oops", "type": "server_error"}}, Kind.SERVER_ERROR, "oops"),
        ({"choices": []}, Kind.MALFORMED, "it has choices"),
        ({}, Kind.MALFORMED, "it is empty"),
    ],
)
def test_what_is_no_answer_is_a_failure(body: dict[str, Any], kind: Kind, words: str) -> None:
    failure = codec.decode_response(body)
    assert isinstance(failure, Failure)
    assert failure.kind is kind
    assert words in failure.message


def test_an_answer_of_another_dialect_is_one_of_the_sdks() -> None:
    blocks = (
        Thinking("hm"),
        Text("See: "),
        Text("cat"),
        Media(MediaKind.IMAGE, "image/webp", inline=PNG),
        ToolUse("toolu_1", "f", '{"a":1}'),
    )
    usage = Usage(10, 5, 3, None, 2)
    answer = HubResponse(ANTHROPIC, "msg:1", "claude", blocks, StopReason.TOOL_USE, "tool_use", None, usage, 7)
    losses: list[Loss] = []
    body = codec.encode_response(answer, losses)
    response = Response.model_validate(body)
    assert losses == []
    assert response.id == "msg:1"
    assert response.output_text == "See: cat"
    assert response.status == "completed"
    assert response.created_at == 7
    assert [item.type for item in response.output] == ["reasoning", "message", "image_generation_call", "function_call"]
    assert [item["id"] for item in body["output"]] == ["rs_sidecar_msg_1_0", "msg_msg_1_1", "ig_msg_1_2", "fc_msg_1_3"]
    assert response.usage is not None
    assert response.usage.total_tokens == 15
    assert response.usage.input_tokens_details.cached_tokens == 3
    assert response.usage.output_tokens_details.reasoning_tokens == 2


@pytest.mark.parametrize(
    ("stop", "status", "reason", "lost"),
    [
        (StopReason.END, "completed", None, False),
        (StopReason.LENGTH, "incomplete", "max_output_tokens", False),
        (StopReason.CONTEXT, "incomplete", "max_output_tokens", True),
        (StopReason.REFUSAL, "incomplete", "content_filter", False),
        (StopReason.STOP_SEQUENCE, "completed", None, True),
        (StopReason.PAUSE, "completed", None, True),
        (StopReason.OTHER, "completed", None, True),
    ],
)
def test_how_an_end_is_told(stop: StopReason, status: str, reason: str | None, lost: bool) -> None:
    losses: list[Loss] = []
    body = codec.encode_response(HubResponse(CHAT, "1", "m", (Text("Hi"),), stop), losses)
    assert body["status"] == status
    assert body["incomplete_details"] == (reason and {"reason": reason})
    assert [loss.path for loss in losses] == (["stop"] if lost else [])


# -- failures


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("server_error", Kind.SERVER_ERROR),
        ("rate_limit_exceeded", Kind.RATE_LIMITED),
        ("invalid_prompt", Kind.INVALID_REQUEST),
        ("image_content_policy_violation", Kind.CONTENT_POLICY),
        ("bio_policy", Kind.CONTENT_POLICY),
        ("misalignment_policy_violation", Kind.CONTENT_POLICY),
        ("failed_to_download_image", Kind.INVALID_REQUEST),
        ("unsupported_image_media_type", Kind.INVALID_REQUEST),
        ("vector_store_timeout", Kind.GATEWAY_ERROR),
        ("insufficient_quota", Kind.QUOTA_EXHAUSTED),
        ("context_length_exceeded", Kind.CONTEXT_LENGTH),
    ],
)
def test_codes_in_an_answer_have_their_kinds(code: str, kind: Kind) -> None:
    failure = codec.decode_response({"status": "failed", "error": {"code": code, "message": "words"}})
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.code, failure.message) == (kind, code, "words")


def test_a_providers_words_go_to_a_client_of_the_dialect_alone() -> None:
    body = b'{"error":{"message":"bad","type":"invalid_request_error","param":"input","code":null}}'
    failure = codec.decode_failure(400, {"content-type": "application/json"}, body, 0.0)
    assert failure.upstream is not None
    assert failure.upstream.dialect is OWN
    assert codec.encode_failure(failure) == (body, "application/json")
    foreign = Failure(Kind.INVALID_REQUEST, "bad", 400, upstream=UpstreamError(400, b"{}", "text/plain", ANTHROPIC))
    told, content_type = codec.encode_failure(foreign, [{"provider": "a"}])
    assert content_type == "application/json"
    assert json.loads(told)["error"]["message"] == "bad"
    assert json.loads(told)["error"]["attempts"] == [{"provider": "a"}]


def test_the_sdk_raises_on_an_error_and_on_a_fault() -> None:
    failure = Failure(Kind.RATE_LIMITED, "slow down", 429)
    body, content_type = codec.encode_failure(failure)
    with pytest.raises(openai.RateLimitError, match="slow down"):
        client_of(body, 429, content_type).responses.create(model="m", input="x")
    with pytest.raises(openai.APIError, match="slow down") as raised:
        list(
            client_of(codec.fault_event(failure, [{"provider": "a"}])).responses.create(
                model="m", input="x", stream=True
            )
        )
    assert raised.value.code == "rate_limited"
