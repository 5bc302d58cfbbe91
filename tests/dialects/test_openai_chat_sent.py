"""Requests of other dialects, said as chat completions: what is sent, and what is lost."""

# ruff: noqa: E501 - one row of a table is one line

from __future__ import annotations

from typing import Any

import pytest

from sidecar.dialects import openai_chat
from sidecar.dialects.dialect import Untranslatable
from sidecar.model.blocks import (
    CacheMark,
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
from sidecar.model.hub import (
    ChoiceMode,
    FormatKind,
    How,
    HubRequest,
    Loss,
    OutputFormat,
    Reasoning,
    Tool,
    ToolChoice,
    Wire,
)
from sidecar.model.topology import Dialect, ModelFacts, Quirk

CHAT, RESPONSES, ANTHROPIC, GEMINI = (
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI_GENERATE,
)
HI = {"role": "user", "content": "Hi"}
PNG = "iVBORw0KGgo="
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def encoded(
    *messages: Message, quirks: tuple[Quirk, ...] = (), reasoning: bool | None = None, **fields: Any
) -> tuple[dict[str, Any], list[str]]:
    """The body of a request of another dialect, and where it lost what."""
    said = messages or (Message(Role.USER, (Text("Hi"),)),)
    request = HubRequest(fields.pop("dialect", ANTHROPIC), "asked", said, **fields)
    losses: list[Loss] = []
    wire = Wire("m", ModelFacts(reasoning=reasoning), frozenset(quirks))
    body = openai_chat.encode_request(request, wire, losses)
    assert body["model"] == "m"
    return body, [f"{loss.path} {loss.how.value}" for loss in losses]


def user(*said: Any) -> Message:
    return Message(Role.USER, said)


def test_another_dialects_conversation_is_told() -> None:
    body, losses = encoded(
        Message(Role.SYSTEM, (Text("Be brief"),), bare=False),
        Message(Role.DEVELOPER, (Text("really"),)),
        user(Text("Look"), Media(MediaKind.IMAGE, "image/png", inline=PNG), Media(MediaKind.IMAGE, url="https://a/b")),
        Message(Role.ASSISTANT, (Text("Let me "), Text("see"), ToolUse("c1", "f", '{"a":1}'), ToolUse("c2", "g"))),
        user(Text("and?"), ToolResult("c1", (Text("1"), Text("2")), bare=False), ToolResult("c2")),
        stream=True,
        wants_usage=True,
        max_tokens=5,
        tools=(Tool("f", "d", {"type": "object"}),),
        tool_choice=ToolChoice(ChoiceMode.ANY),
        parallel_tools=False,
    )
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief"},
            {"role": "system", "content": "really"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    {"type": "image_url", "image_url": {"url": "https://a/b"}},
                ],
            },
            {
                "role": "assistant",
                "content": "Let me see",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                    {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
                ],
            },
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}],
            },
            {"role": "tool", "tool_call_id": "c2", "content": ""},
            {"role": "user", "content": "and?"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    assert losses == []


ROUTINE = {"temperature": 0.5, "top_p": 0.9, "presence_penalty": 1.0, "logprobs": True, "max_tokens": 5}
NO_SAMPLING = Quirk.REASONING_REFUSES_SAMPLING
LOST: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    # what, the request and its target, what is sent, what is lost
    ("limit by its new name", {"max_tokens": 5, "quirks": (Quirk.MAX_COMPLETION_TOKENS,)}, {"max_completion_tokens": 5}, []),
    ("limit", {"max_tokens": 5}, {"max_tokens": 5}, []),
    ("no options", {"stream": True, "wants_usage": True, "quirks": (Quirk.NO_STREAM_OPTIONS,)}, {"stream": True}, []),
    ("not streamed", {"stream": False, "wants_usage": True}, {}, []),
    (
        "sampling refused",
        {**ROUTINE, "quirks": (NO_SAMPLING,), "reasoning": True},
        {"max_tokens": 5},
        ["temperature dropped", "top_p dropped", "presence_penalty dropped", "logprobs dropped"],
    ),
    ("sampling", {**ROUTINE, "quirks": (NO_SAMPLING,), "reasoning": False}, ROUTINE, []),
    ("top_k", {"top_k": 5}, {}, ["top_k dropped"]),
    ("many stops", {"stop": tuple("abcde")}, {"stop": list("abcd")}, ["stop changed"]),
    ("likelihoods", {"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}, ["logprobs added"]),
    ("foreign", {"extra": {"inference_geo": "eu", "x": None}}, {}, ["inference_geo dropped"]),
    ("labels", {"metadata": {"a": "b"}}, {}, ["metadata dropped"]),
    ("labels kept", {"metadata": {"a": "b"}, "store": True}, {"metadata": {"a": "b"}, "store": True}, []),
    ("not stored", {"store": False}, {}, []),
    ("tier", {"service_tier": "auto"}, {}, ["service_tier dropped"]),
    ("own tier", {"service_tier": "flex", "dialect": RESPONSES}, {"service_tier": "flex"}, []),
    ("user", {"user": "ada"}, {"user": "ada"}, []),
    ("choice without tools", {"tool_choice": ToolChoice(ChoiceMode.AUTO)}, {}, ["tool_choice dropped"]),
    (
        "built-in tool",
        {"tools": (Tool("web_search", builtin={"type": "web_search_20250305"}),)},
        {},
        ["tools[0] dropped"],
    ),
    (
        "marked tool",
        {"tools": (Tool("f", cache=CacheMark()),)},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        ["tools[0].cache_control dropped"],
    ),
    (
        "chosen tools",
        {"tools": (Tool("f"), Tool("g")), "tool_choice": ToolChoice(ChoiceMode.NAMED, ("f", "g"))},
        {
            "tools": [{"type": "function", "function": {"name": name}} for name in "fg"],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": name}} for name in "fg"],
                },
            },
        },
        [],
    ),
    ("any JSON", {"format": OutputFormat(FormatKind.JSON)}, {"response_format": {"type": "json_object"}}, []),
    ("text", {"format": OutputFormat(FormatKind.TEXT)}, {}, []),
    (
        "schema",
        {"format": OutputFormat(FormatKind.SCHEMA, None, None, {"type": "object"}, True)},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
            }
        },
        ["response_format.name added"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "sent", "lost"), [row[1:] for row in LOST], ids=[row[0] for row in LOST])
def test_what_cannot_be_said_is_lost_aloud(request_: dict[str, Any], sent: dict[str, Any], lost: list[str]) -> None:
    body, losses = encoded(**request_)
    assert {name: value for name, value in body.items() if name not in ("model", "messages")} == sent
    assert losses == lost


OBJECT = (Quirk.REASONING_OBJECT,)


@pytest.mark.parametrize(
    ("asked", "target", "sent", "lost"),
    [
        (Reasoning(effort="high"), {"reasoning": True}, {"reasoning_effort": "high"}, []),
        (Reasoning(effort="high"), {}, {}, ["reasoning dropped"]),
        (Reasoning(False), {"reasoning": True}, {"reasoning_effort": "none"}, []),
        (
            Reasoning(True, budget_tokens=9000),
            {"reasoning": True},
            {"reasoning_effort": "high"},
            ["reasoning.budget_tokens changed"],
        ),
        (Reasoning(True, adaptive=True), {"reasoning": True}, {}, ["reasoning.adaptive changed"]),
        (
            Reasoning(effort="low", shown=True),
            {"reasoning": True},
            {"reasoning_effort": "low"},
            ["reasoning.summary dropped"],
        ),
        (Reasoning(True, budget_tokens=9000), {"quirks": OBJECT}, {"reasoning": {"enabled": True, "max_tokens": 9000}}, []),
        (Reasoning(effort="low", shown=True), {"quirks": OBJECT}, {"reasoning": {"effort": "low", "exclude": False}}, []),
    ],
)  # fmt: skip
def test_thinking_is_asked_for_as_the_target_wants(
    asked: Reasoning, target: dict[str, Any], sent: dict[str, Any], lost: list[str]
) -> None:
    request = HubRequest(ANTHROPIC, "a", (user(Text("Hi")),), reasoning=asked)
    losses: list[Loss] = []
    wire = Wire("m", ModelFacts(reasoning=target.get("reasoning")), frozenset(target.get("quirks", ())))
    body = openai_chat.encode_request(request, wire, losses)
    assert {name: value for name, value in body.items() if name not in ("model", "messages")} == sent
    assert [f"{loss.path} {loss.how.value}" for loss in losses] == lost


@pytest.mark.parametrize(
    ("block", "lost"),
    [
        (Text("a", cache=CacheMark()), "messages[0].content[0].cache_control dropped"),
        (Text("a", extra={"citations": [1]}), "messages[0].content[0].citations dropped"),
        (Text("a", signature="s"), "messages[0].content[0].signature dropped"),
        (Opaque(ANTHROPIC, {"type": "search_result"}), "messages[0].content[0] dropped"),
        (Media(MediaKind.VIDEO, "video/mp4", inline=PNG), "messages[0].content[0] dropped"),
        (Media(MediaKind.AUDIO, "audio/ogg", inline=PNG), "messages[0].content[0] dropped"),
        (Media(MediaKind.DOCUMENT, url="https://a/b"), "messages[0].content[0] dropped"),
        (Media(MediaKind.DOCUMENT, file_id="file-1"), "messages[0].content[0] dropped"),
        (Media(MediaKind.DOCUMENT, "application/pdf", inline=PNG), "messages[0].content[0].name added"),
    ],
)
def test_what_a_message_cannot_hold_is_lost_aloud(block: Any, lost: str) -> None:
    body, losses = encoded(user(block, Text("b")))
    assert losses == [lost]
    assert len(body["messages"]) == 1


def test_files_and_sounds_are_said_by_their_names() -> None:
    pdf = Media(MediaKind.DOCUMENT, "application/pdf", inline=PNG, name="a.pdf")
    body, losses = encoded(
        user(pdf, Media(MediaKind.AUDIO, "audio/wav", inline=PNG), Media(MediaKind.DOCUMENT, file_id="file-1")),
        dialect=RESPONSES,
    )
    assert body["messages"][0]["content"] == [
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PNG}", "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]
    assert losses == []


def test_what_a_tool_showed_follows_its_result() -> None:
    image = Media(MediaKind.IMAGE, "image/png", inline=PNG)
    result = ToolResult("c1", (Text("see"), image), is_error=True)
    body, losses = encoded(Message(Role.ASSISTANT, (ToolUse("c1", "f"),)), user(result, Text("so?")))
    assert body["messages"][1:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "see"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "so?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ],
        },
    ]
    assert losses == ["messages[1].content[0].is_error dropped", "messages[1].content[0].content[1] changed"]


def test_calls_of_one_turn_are_one_message() -> None:
    first, second = (Message(Role.ASSISTANT, (ToolUse(id_, "f"),)) for id_ in ("c1", "c2"))
    body, losses = encoded(
        first, Message(Role.ASSISTANT, (Text("wait"),)), second, user(ToolResult("c2"), ToolResult("c1"))
    )
    said, *results = body["messages"]
    assert (said["content"], [call["id"] for call in said["tool_calls"]]) == ("wait", ["c1", "c2"])
    assert [result["tool_call_id"] for result in results] == ["c2", "c1"]
    assert losses == []


def test_a_result_without_its_call_does_not_cross() -> None:
    with pytest.raises(Untranslatable, match="'c1' answers no call"):
        encoded(user(ToolResult("c1")), dialect=RESPONSES)


def test_cache_marks_go_to_who_takes_them() -> None:
    body, losses = encoded(
        Message(Role.SYSTEM, (Text("a", cache=CacheMark("1h")),)),
        Message(Role.ASSISTANT, (ToolUse("c1", "f"),)),
        user(ToolResult("c1", (Text("r"),), cache=CacheMark())),
        quirks=(Quirk.CACHE_CONTROL,),
    )
    marked = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    assert body["messages"][0]["content"] == marked
    assert body["messages"][2]["content"] == [{"type": "text", "text": "r", "cache_control": {"type": "ephemeral"}}]
    assert losses == []


def test_thoughts_go_to_who_takes_them() -> None:
    said = Message(Role.ASSISTANT, (Thinking("t", "s", ANTHROPIC), Thinking("u", "e", RESPONSES), Text("a")))
    body, losses = encoded(user(Text("Hi")), said, quirks=OBJECT)
    assert body["messages"][1] == {
        "role": "assistant",
        "content": "a",
        "reasoning": "tu",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1", "index": 0},
            {"type": "reasoning.summary", "summary": "u", "format": "openai-responses-v1", "index": 1},
            {"type": "reasoning.encrypted", "data": "e", "format": "openai-responses-v1", "index": 1},
        ],
    }
    assert losses == []
    body, losses = encoded(user(Text("Hi")), said)
    assert body["messages"][1] == {"role": "assistant", "content": "a"}
    assert losses == ["messages[1].content[0] dropped", "messages[1].content[1] dropped"]


def test_the_developer_speaks_where_he_is_known() -> None:
    body, _ = encoded(Message(Role.DEVELOPER, (Text("a"),)), quirks=(Quirk.DEVELOPER_ROLE,))
    assert body["messages"][0]["role"] == "developer"


def test_several_answers_do_not_cross() -> None:
    with pytest.raises(Untranslatable, match="2 answers"):
        encoded(choices=2)


def test_a_request_of_which_nothing_is_left_is_not_sent() -> None:
    with pytest.raises(Untranslatable, match="none of the messages"):
        encoded(user(Opaque(GEMINI, {"executableCode": {}})))


def test_own_requests_lose_only_what_their_target_refuses() -> None:
    body = {
        "model": "m",
        "messages": [HI],
        "max_tokens": 5,
        "temperature": 0,
        "stream_options": {"include_usage": True},
    }
    request = openai_chat.decode_request(body, "m", stream=False)
    losses: list[Loss] = []
    quirks = frozenset({Quirk.MAX_COMPLETION_TOKENS, NO_SAMPLING, Quirk.NO_STREAM_OPTIONS})
    sent = openai_chat.encode_request(request, Wire("real", ModelFacts(reasoning=True), quirks), losses)
    assert sent == {"model": "real", "messages": [HI], "max_completion_tokens": 5}
    assert [loss.path for loss in losses] == ["temperature", "stream_options"]
    assert {loss.how for loss in losses} == {How.DROPPED}
