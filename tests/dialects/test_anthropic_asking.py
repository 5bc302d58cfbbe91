"""Requests written in the Anthropic dialect, for models of every generation."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from sidecar.dialects import anthropic_messages as dialect
from sidecar.dialects.anthropic_blocks import ANSWER_TOOL
from sidecar.dialects.anthropic_generations import Generation, Thinks, generation_of
from sidecar.dialects.anthropic_schema import fitted
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

OWN, CHAT = Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT
HI = Message(Role.USER, (Text("Hi"),))
PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOSED = {**SCHEMA, "additionalProperties": False}
WEATHER = Tool("get_weather", "The weather", SCHEMA)
OLD, MIDDLE, NEW = "claude-3-5-haiku-20241022", "claude-sonnet-4-5-20250929", "claude-opus-4-8"


def write(
    *messages: Message, model: str = MIDDLE, wire: Wire | None = None, **fields: Any
) -> tuple[dict[str, Any], list[Loss]]:
    losses: list[Loss] = []
    request = HubRequest(fields.pop("dialect", CHAT), "asked", messages or (HI,), **{"max_tokens": 4000, **fields})
    return dialect.encode_request(request, wire or Wire(model), losses), losses


def said(losses: list[Loss]) -> list[tuple[str, str]]:
    return [(loss.path, loss.how.value) for loss in losses]


def test_system_and_developer_messages_are_lifted_in_their_order() -> None:
    body, losses = write(
        Message(Role.SYSTEM, (Text("One", cache=CacheMark("1h")),)),
        HI,
        Message(Role.DEVELOPER, (Text("Two"),)),
    )
    assert body["system"] == [
        {"type": "text", "text": "One", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "Two"},
    ]
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert said(losses) == [("messages[2]", "changed")]


def test_results_come_first_in_one_turn_and_neighbours_are_one() -> None:
    calls = (ToolUse("call_0", "f", '{"a":1}'), ToolUse("call_1", "f", ""))
    body, losses = write(
        HI,
        Message(Role.ASSISTANT, (Text("Let me see."),)),
        Message(Role.ASSISTANT, calls),
        Message(Role.USER, (ToolResult("call_0", (Text("1"),)),)),
        Message(Role.USER, (Text("And?"),)),
        Message(Role.USER, (ToolResult("call_1", (Text("no"),), is_error=True),)),
        tools=(Tool("f", schema=SCHEMA),),
    )
    _, assistant, results = body["messages"]
    assert [block["type"] for block in assistant["content"]] == ["text", "tool_use", "tool_use"]
    assert assistant["content"][2]["input"] == {}
    assert results["content"] == [
        {"type": "tool_result", "tool_use_id": "call_0", "content": "1"},
        {"type": "tool_result", "tool_use_id": "call_1", "content": "no", "is_error": True},
        {"type": "text", "text": "And?"},
    ]
    assert said(losses) == [("messages[5]", "changed")]


def test_ids_that_may_not_be_written_are_renamed_in_pairs() -> None:
    body, losses = write(
        HI,
        Message(Role.ASSISTANT, (ToolUse("functions.f:0", "f"), ToolUse("functions_f_0", "f"))),
        Message(Role.USER, (ToolResult("functions.f:0"), ToolResult("functions_f_0"))),
        tools=(Tool("f", schema=SCHEMA),),
    )
    calls, results = (turn["content"] for turn in body["messages"][1:])
    ids = [call["id"] for call in calls]
    assert ids == [result["tool_use_id"] for result in results]
    assert len(set(ids)) == 2
    assert ("messages[1].content[0].id", "changed") in said(losses)


def test_a_limit_is_added_when_nobody_gave_one() -> None:
    body, losses = write(max_tokens=None)
    assert (body["max_tokens"], said(losses)) == (4096, [("max_tokens", "added")])
    body, losses = write(max_tokens=None, wire=Wire(MIDDLE, ModelFacts(max_output_tokens=64000)))
    assert (body["max_tokens"], said(losses)) == (64000, [("max_tokens", "added")])
    body, losses = write(max_tokens=90000, wire=Wire(MIDDLE, ModelFacts(max_output_tokens=64000)))
    assert (body["max_tokens"], said(losses)) == (64000, [("max_tokens", "changed")])


CHOICES = [
    ({"tool_choice": ToolChoice(ChoiceMode.AUTO)}, {"type": "auto"}),
    ({"tool_choice": ToolChoice(ChoiceMode.ANY)}, {"type": "any"}),
    ({"tool_choice": ToolChoice(ChoiceMode.NONE)}, {"type": "none"}),
    ({"tool_choice": ToolChoice(ChoiceMode.NAMED, ("get_weather",))}, {"type": "tool", "name": "get_weather"}),
    (
        {"tool_choice": ToolChoice(ChoiceMode.ANY), "parallel_tools": False},
        {"type": "any", "disable_parallel_tool_use": True},
    ),
    ({"parallel_tools": False}, {"type": "auto", "disable_parallel_tool_use": True}),
    ({"tool_choice": ToolChoice(ChoiceMode.NAMED, ("gone",))}, None),
]


@pytest.mark.parametrize(("fields", "expected"), CHOICES)
def test_tool_choice(fields: dict[str, Any], expected: dict[str, Any] | None) -> None:
    body, losses = write(tools=(WEATHER,), **fields)
    assert body.get("tool_choice") == expected
    assert bool(losses) == (expected is None or "tool_choice" not in fields)


def test_an_allow_list_leaves_out_the_other_tools() -> None:
    other = Tool("other", schema=SCHEMA)
    third = Tool("third", schema=SCHEMA)
    choice = ToolChoice(ChoiceMode.NAMED, ("other", "third"))
    body, losses = write(tools=(WEATHER, other, third), tool_choice=choice)
    assert [tool["name"] for tool in body["tools"]] == ["other", "third"]
    assert body["tool_choice"] == {"type": "any"}
    assert said(losses) == [("tools[0]", "changed"), ("tool_choice", "changed")]


def test_tools_are_whole_and_those_of_other_vendors_are_left_out() -> None:
    schema = {"$defs": {"a": {"type": "string"}}, "oneOf": [{"$ref": "#/$defs/a"}]}
    search = Tool("web_search", builtin={"type": "web_search"})
    body, losses = write(tools=(Tool("f", schema=schema, cache=CacheMark("5m")), Tool("g"), search))
    assert body["tools"] == [
        {
            "name": "f",
            "input_schema": {"type": "object", **schema},
            "cache_control": {"type": "ephemeral", "ttl": "5m"},
        },
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert said(losses) == [("tools[0].schema.type", "added"), ("tools[1].schema", "added"), ("tools[2]", "dropped")]


def test_calls_without_tools_bring_their_names() -> None:
    body, losses = write(HI, Message(Role.ASSISTANT, (ToolUse("a", "f"),)), Message(Role.USER, (ToolResult("a"),)))
    assert body["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}
    assert said(losses) == [("tools", "added")]


# model, what is asked, max_tokens -> thinking, effort, losses
THOUGHTS: list[tuple[str, Reasoning, int | None, dict[str, Any] | None, str | None, list[tuple[str, str]]]] = [
    (OLD, Reasoning(effort="high"), 4000, None, None, [("reasoning", "dropped")]),
    (OLD, Reasoning(effort="none"), 4000, None, None, []),
    (MIDDLE, Reasoning(True, budget_tokens=2000), 4000, {"type": "enabled", "budget_tokens": 2000}, None, []),
    (
        MIDDLE,
        Reasoning(effort="high"),
        64000,
        {"type": "enabled", "budget_tokens": 24576},
        None,
        [("reasoning", "changed")],
    ),
    (
        MIDDLE,
        Reasoning(True, budget_tokens=9000),
        4000,
        {"type": "enabled", "budget_tokens": 2000},
        None,
        [("reasoning.budget_tokens", "changed")],
    ),
    (
        MIDDLE,
        Reasoning(True, budget_tokens=128),
        4000,
        {"type": "enabled", "budget_tokens": 1024},
        None,
        [("reasoning.budget_tokens", "changed")],
    ),
    (MIDDLE, Reasoning(True, budget_tokens=2000), 1024, None, None, [("reasoning", "dropped")]),
    (MIDDLE, Reasoning(False), 4000, {"type": "disabled"}, None, []),
    ("claude-sonnet-4-6", Reasoning(effort="high"), 4000, {"type": "adaptive"}, "high", []),
    (
        "claude-sonnet-4-6",
        Reasoning(effort="xhigh"),
        4000,
        {"type": "adaptive"},
        "high",
        [("reasoning.effort", "changed")],
    ),
    ("claude-sonnet-4-6", Reasoning(budget_tokens=2000), 4000, {"type": "enabled", "budget_tokens": 2000}, None, []),
    (NEW, Reasoning(effort="minimal"), 4000, {"type": "adaptive"}, "low", [("reasoning.effort", "changed")]),
    (NEW, Reasoning(effort="xhigh", shown=True), 9, {"type": "adaptive", "display": "summarized"}, "xhigh", []),
    (
        NEW,
        Reasoning(budget_tokens=9000),
        4000,
        {"type": "adaptive"},
        "high",
        [("reasoning.budget_tokens", "changed")],
    ),
    ("claude-fable-5", Reasoning(False), 4000, None, None, [("reasoning", "dropped")]),
    (NEW, Reasoning(shown=True), 4000, None, None, [("reasoning.shown", "dropped")]),
]


@pytest.mark.parametrize(("model", "reasoning", "max_tokens", "thinking", "effort", "losses"), THOUGHTS)
def test_thinking(
    model: str,
    reasoning: Reasoning,
    max_tokens: int | None,
    thinking: dict[str, Any] | None,
    effort: str | None,
    losses: list[tuple[str, str]],
) -> None:
    body, noted = write(model=model, reasoning=reasoning, max_tokens=max_tokens)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert said(noted) == losses


def test_an_answer_without_a_limit_has_room_beside_its_thoughts() -> None:
    body, _ = write(max_tokens=None, reasoning=Reasoning(budget_tokens=8192))
    assert body["max_tokens"] == 8192 + 4096


@pytest.mark.parametrize(
    "blocks", [(Text("So"),), (Thinking("Hm"), ToolUse("a", "f")), (Text("So"), ToolUse("a", "f"))]
)
def test_a_turn_that_began_without_a_thought_rules_a_budget_out(blocks: tuple[Any, ...]) -> None:
    turns = [HI, Message(Role.ASSISTANT, blocks)]
    if len(blocks) > 1:
        turns.append(Message(Role.USER, (ToolResult("a"),)))
    body, losses = write(*turns, tools=(Tool("f", schema=SCHEMA),), reasoning=Reasoning(budget_tokens=2000))
    assert "thinking" not in body
    assert ("reasoning", "dropped") in said(losses)


def test_a_thought_of_its_own_stands_first_and_others_are_left_out() -> None:
    thoughts = (Thinking("Foreign", "sig", Dialect.OPENAI_RESPONSES), Thinking("Unsigned"), Thinking("Own", "Eq", OWN))
    body, losses = write(
        HI,
        Message(Role.ASSISTANT, (Text("So"), *thoughts, ToolUse("a", "f"))),
        Message(Role.USER, (ToolResult("a"),)),
        tools=(Tool("f", schema=SCHEMA),),
        reasoning=Reasoning(budget_tokens=2000),
    )
    kinds = [block["type"] for block in body["messages"][1]["content"]]
    assert kinds == ["thinking", "text", "tool_use"]
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert said(losses)[:2] == [("messages[1].content[1]", "dropped"), ("messages[1].content[2]", "dropped")]


SAMPLING: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    (MIDDLE, {"temperature": 0.5}, {"temperature": 0.5}, []),
    (MIDDLE, {"temperature": 1.7}, {"temperature": 1}, ["temperature"]),
    (MIDDLE, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ["top_p"]),
    (OLD, {"temperature": 0.5, "top_p": 0.9, "top_k": 4}, {"temperature": 0.5, "top_p": 0.9, "top_k": 4}, []),
    (NEW, {"temperature": 0.5, "top_p": 0.9, "top_k": 4}, {}, ["temperature", "top_p", "top_k"]),
    (NEW, {"temperature": 1.0}, {}, []),
]


@pytest.mark.parametrize(("model", "asked", "sent", "lost"), SAMPLING)
def test_sampling(model: str, asked: dict[str, Any], sent: dict[str, Any], lost: list[str]) -> None:
    body, losses = write(model=model, **asked)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == sent
    assert [loss.path for loss in losses] == lost


def test_a_model_that_thinks_takes_no_temperature() -> None:
    body, losses = write(temperature=0.5, reasoning=Reasoning(budget_tokens=2000))
    assert "temperature" not in body
    assert said(losses) == [("temperature", "dropped")]
    assert write(temperature=1, reasoning=Reasoning(budget_tokens=2000))[1] == []


def test_a_forced_call_rules_thinking_out() -> None:
    body, losses = write(tools=(WEATHER,), tool_choice=ToolChoice(ChoiceMode.ANY), reasoning=Reasoning(effort="low"))
    assert "thinking" not in body
    assert said(losses) == [("reasoning", "dropped")]


FORMAT = OutputFormat(FormatKind.SCHEMA, schema=CLOSED)


def test_structure_is_asked_for_by_output_config() -> None:
    body, losses = write(format=FORMAT)
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": CLOSED}}
    assert losses == []


def test_of_the_words_about_a_schema_only_a_description_is_lost() -> None:
    words = OutputFormat(FormatKind.SCHEMA, "answer", "What it is.", CLOSED, strict=False)
    body, losses = write(format=words)
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": CLOSED}}
    assert said(losses) == [("format.description", "dropped")]
    body, losses = write(model=OLD, format=words)
    assert body["tools"][0]["description"] == "What it is."
    assert said(losses) == [("format", "changed")]


def test_structure_is_asked_of_older_models_by_a_tool() -> None:
    body, losses = write(model=OLD, format=FORMAT)
    assert body["tools"][0]["name"] == ANSWER_TOOL
    assert body["tools"][0]["input_schema"] == CLOSED
    assert body["tool_choice"] == {"type": "tool", "name": ANSWER_TOOL}
    assert said(losses) == [("format", "changed")]
    body, _ = write(model=OLD, format=FORMAT, tools=(WEATHER,))
    assert [tool["name"] for tool in body["tools"]] == ["get_weather", ANSWER_TOOL]
    assert body["tool_choice"]["type"] == "any"


def test_json_without_a_schema_is_asked_for_in_words() -> None:
    body, losses = write(Message(Role.SYSTEM, (Text("Be brief."),)), HI, format=OutputFormat(FormatKind.JSON))
    assert body["system"].startswith("Be brief.\n\n")
    assert "JSON" in body["system"]
    assert said(losses) == [("format", "changed")]


def test_a_schema_is_closed_and_its_bounds_are_told_in_words() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1, "description": "How many"}},
        "oneOf": [{"type": "object"}],
    }
    before = str(schema)
    assert fitted(schema) == {
        "type": "object",
        "properties": {"n": {"type": "integer", "description": 'How many\n{"minimum":1}'}},
        "anyOf": [{"type": "object", "additionalProperties": False}],
        "additionalProperties": False,
    }
    assert str(schema) == before
    assert fitted(CLOSED) == CLOSED


def test_an_answer_that_is_begun() -> None:
    begun = Message(Role.ASSISTANT, (Text("The answer is \n"),))
    body, losses = write(HI, begun)
    assert body["messages"][-1] == {"role": "assistant", "content": "The answer is"}
    assert said(losses) == [("messages[1]", "changed")]
    for wire in (Wire(NEW), Wire(MIDDLE, quirks=frozenset({Quirk.NO_PREFILL}))):
        body, losses = write(HI, begun, wire=wire)
        assert body["messages"][-1]["role"] == "user"
        assert ("messages[1]", "added") in said(losses)
    own, losses = write(HI, begun, dialect=OWN, model=NEW)
    assert own["messages"][-1]["content"] == "The answer is \n"
    assert losses == []


def test_media() -> None:
    text = base64.b64encode(b"a,b").decode()
    body, losses = write(
        Message(
            Role.USER,
            (
                Text("Look"),
                Media(MediaKind.IMAGE, inline=PNG),
                Media(MediaKind.IMAGE, url="https://example.com/cat.png"),
                Media(MediaKind.DOCUMENT, "application/pdf", inline="JVBERg==", name="a.pdf"),
                Media(MediaKind.DOCUMENT, "text/csv", inline=text),
                Media(MediaKind.AUDIO, "audio/wav", inline="UklG"),
                Media(MediaKind.IMAGE, "image/tiff", inline="SUkq"),
                Media(MediaKind.DOCUMENT, file_id="file-1"),
                Opaque(Dialect.OPENAI_RESPONSES, {"type": "item_reference"}),
            ),
        )
    )
    assert body["messages"][0]["content"][1:] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}},
    ]
    where = "messages[0].content"
    assert said(losses) == [(f"{where}[4]", "changed"), *[(f"{where}[{place}]", "dropped") for place in range(5, 9)]]


def test_what_the_dialect_has_no_word_for_is_a_loss() -> None:
    fields: dict[str, Any] = {
        "seed": 1,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "logprobs": True,
        "top_logprobs": 2,
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "extra": {"logit_bias": {"1": 2}, "web_search_options": {}, "nothing": None, "empty": {}, "~note": 1},
    }
    _, losses = write(**fields)
    lost = {*fields, "logit_bias", "web_search_options"} - {"extra"}
    assert {loss.path for loss in losses} == lost
    assert {loss.how for loss in losses} == {How.DROPPED}
    body, losses = write(user="u", service_tier="default", stop=("a", "\n"))
    assert (body["metadata"], body["service_tier"]) == ({"user_id": "u"}, "standard_only")
    assert body["stop_sequences"] == ["a"]
    assert said(losses) == [("stop", "dropped"), ("service_tier", "changed")]


def test_more_than_one_answer_cannot_be_asked_for() -> None:
    with pytest.raises(Untranslatable, match="2 answers"):
        write(choices=2)
    assert write(choices=1)[1] == []


def test_system_messages_alone_become_the_users() -> None:
    body, losses = write(Message(Role.SYSTEM, (Text("Be"),)), Message(Role.SYSTEM, (Text("Speak"),)))
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Speak"}]}]
    assert body["system"] == "Be"
    assert said(losses) == [("messages", "changed")]
    with pytest.raises(Untranslatable):
        write(Message(Role.USER, (Media(MediaKind.AUDIO, inline="AAAA"),)))


GENERATIONS = [
    ("claude-2.1", Thinks.NEVER),
    ("claude-3-opus-20240229", Thinks.NEVER),
    ("anthropic.claude-3-5-sonnet-20241022-v2:0", Thinks.NEVER),
    ("claude-3-7-sonnet@20250219", Thinks.BUDGET),
    ("claude-sonnet-4-20250514", Thinks.BUDGET),
    ("claude-opus-4-1-20250805", Thinks.BUDGET),
    ("us.anthropic.claude-haiku-4-5-20251001-v1:0", Thinks.BUDGET),
    ("anthropic.claude-opus-4-6-v1", Thinks.EITHER),
    ("anthropic/claude-sonnet-4.6", Thinks.EITHER),
    ("claude-opus-4-7", Thinks.ADAPTIVE),
    ("claude-sonnet-5", Thinks.ADAPTIVE),
    ("claude-opus-5-5", Thinks.ADAPTIVE),
    ("claude-mythos-preview", Thinks.ALWAYS),
    ("claude-next", Thinks.ADAPTIVE),
    ("deepseek-chat", Thinks.BUDGET),
]


@pytest.mark.parametrize(("model", "thinks"), GENERATIONS)
def test_a_generation_is_read_from_a_name(model: str, thinks: Thinks) -> None:
    assert generation_of(model).thinks is thinks


def test_imitations_are_as_the_dialect_once_was() -> None:
    assert generation_of("kimi-k2") == Generation()
