"""What a client of the dialect asks for, as the hub has it.

The system prompt is the first message, if there is one; a system message in the midst of the conversation
(newer models take them) stays in its place. Which results belong to which calls is checked here, for every
dialect has its own way to pair them and none forgives a wrong pair.

Source: platform.claude.com/docs/en/api/messages, .../build-with-claude/mid-conversation-system-messages
(read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from sidecar.dialects.anthropic_blocks import DIALECT, WRITTEN_ID, block_of, cache_of, check_block
from sidecar.dialects.fields import Fields, wrong
from sidecar.model.blocks import Block, Message, Role, Text, ToolResult, ToolUse
from sidecar.model.hub import ChoiceMode, FormatKind, HubRequest, OutputFormat, Reasoning, Tool, ToolChoice

__all__ = ["CUSTOM", "FORMER", "NOT_STREAMED", "decode_request"]

# Notes (see `losses`) of what was written out.
NOT_STREAMED = "~stream"  # of a request: `stream: false`
CUSTOM = "~type"  # of a tool: `type: custom`
FORMER = "~output_format"  # of a format: it stands under its former name

_ROLES: Mapping[str, Role] = MappingProxyType({"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM})
_CHOICES: Mapping[str, ChoiceMode] = MappingProxyType(
    {"auto": ChoiceMode.AUTO, "any": ChoiceMode.ANY, "tool": ChoiceMode.NAMED, "none": ChoiceMode.NONE}
)
_DISPLAYS: Mapping[str, bool] = MappingProxyType({"summarized": True, "omitted": False})


def decode_request(fields: Mapping[str, Any], model: str, *, stream: bool) -> HubRequest:
    """What a client asks for.

    Args:
        fields: The body.
        model: As the client named it.
        stream: Whether the answer is to be streamed.

    Raises:
        ValidationError: When a field is not what it must be.
    """
    body = Fields(fields, "")
    body.rest.pop("model", None)
    notes = {NOT_STREAMED: False} if body.flag("stream") is False else {}
    choice, parallel = _choice(body)
    user, metadata = _metadata(body)
    format_, reasoning = _output(body)
    return HubRequest(
        DIALECT,
        model,
        (*_system(body), *_messages(body)),
        stream=stream,
        wants_usage=True,
        tools=_tools(body),
        tool_choice=choice,
        parallel_tools=parallel,
        format=format_,
        reasoning=reasoning,
        max_tokens=body.count("max_tokens"),
        temperature=body.number("temperature"),
        top_p=body.number("top_p"),
        top_k=body.count("top_k"),
        stop=_stop(body),
        user=user,
        metadata=metadata,
        service_tier=body.text("service_tier"),
        extra={**body.rest, **notes},
    )


def _stop(body: Fields) -> tuple[str, ...]:
    stop = body.texts("stop_sequences")
    if stop is not None and not stop:
        body.rest["stop_sequences"] = []
    return stop or ()


# -- conversation


def _system(body: Fields) -> tuple[Message, ...]:
    system = body.rest.get("system")
    if system is None or system in ("", []):  # says nothing, and stays as it is
        return ()
    del body.rest["system"]
    blocks, bare = _content(system, "system")
    return (Message(Role.SYSTEM, blocks, bare),)


def _messages(body: Fields) -> tuple[Message, ...]:
    turns = body.array("messages")
    if not turns:
        raise wrong("messages", turns, "a list of at least one message")
    pairs = _Pairs()
    messages = []
    for place, turn in enumerate(turns):
        message = _message(Fields(turn, f"messages[{place}]"))
        blocks = tuple(
            pairs.paired(block, f"messages[{place}].content[{number}]", message.role)
            for number, block in enumerate(message.blocks)
        )
        messages.append(msgspec.structs.replace(message, blocks=blocks))
    return tuple(messages)


def _message(turn: Fields) -> Message:
    name = turn.text("role")
    role = _ROLES.get(name or "")
    if role is None:
        raise wrong(turn.at("role"), name, '"user", "assistant" or "system"')
    content = turn.rest.pop("content", None)
    blocks, bare = _content(content, turn.at("content"))
    return Message(role, blocks, bare, extra=turn.rest)


def _content(content: Any, path: str) -> tuple[tuple[Block, ...], bool]:
    if isinstance(content, str):
        return (Text(content),), True
    if not isinstance(content, list):
        raise wrong(path, content, "a string or a list of blocks")
    for place, block in enumerate(content):
        check_block(block, f"{path}[{place}]")
    return tuple(map(block_of, content)), False


class _Pairs:
    """Which result belongs to which call, while a conversation is read."""

    def __init__(self) -> None:
        self._calls: dict[str, ToolUse] = {}  # the last of each id as it is written
        self._ids: set[str] = set()  # of the hub
        self._answered: set[str] = set()

    def paired(self, block: Block, path: str, role: Role) -> Block:
        """The block, if its id is what it must be; a result learns its tool's name.

        An id that a later turn takes once more, which the vendor allows, is another one in the hub.
        """
        if isinstance(block, ToolUse):
            if role is not Role.ASSISTANT:
                raise wrong(f"{path}.type", "tool_use", "another kind of block, for only the assistant calls tools")
            return self._call(block, path)
        if isinstance(block, ToolResult):
            if role is not Role.USER:
                raise wrong(f"{path}.type", "tool_result", "another kind of block, for only the user gives results")
            return self._result(block, path)
        return block

    def _call(self, block: ToolUse, path: str) -> ToolUse:
        written, number = block.id, 1
        before = self._calls.get(written)
        if before is not None and before.id not in self._answered:
            raise wrong(f"{path}.id", written, "an id that no other call has")
        while block.id in self._ids:
            number += 1
            note = {**block.extra, WRITTEN_ID: written}
            block = msgspec.structs.replace(block, id=f"{written}_{number}", extra=note)
        self._ids.add(block.id)
        self._calls[written] = block
        return block

    def _result(self, block: ToolResult, path: str) -> ToolResult:
        call = self._calls.get(block.id)
        if call is None:
            raise wrong(f"{path}.tool_use_id", block.id, "the id of a tool_use in an earlier message")
        if call.id in self._answered:
            raise wrong(f"{path}.tool_use_id", block.id, "one result for each tool_use")
        self._answered.add(call.id)
        note = {} if call.id == block.id else {WRITTEN_ID: block.id}
        return msgspec.structs.replace(block, id=call.id, name=call.name, extra={**block.extra, **note})


# -- tools


def _tools(body: Fields) -> tuple[Tool, ...]:
    tools = body.array("tools")
    if tools is not None and not tools:
        body.rest["tools"] = []
    return tuple(_tool(Fields(tool, f"tools[{place}]")) for place, tool in enumerate(tools or ()))


def _tool(tool: Fields) -> Tool:
    whole = dict(tool.rest)
    kind = tool.text("type")
    if kind is not None and kind != "custom":
        return Tool(tool.text("name") or kind, builtin=whole)
    name = tool.named("name")
    schema = tool.object("input_schema")
    if schema is None:
        raise wrong(tool.at("input_schema"), None, "a JSON Schema object")
    description, strict = tool.text("description"), tool.flag("strict")
    cache = cache_of(tool.rest)
    notes = {} if kind is None else {CUSTOM: kind}
    return Tool(name, description, schema, strict, cache, extra={**tool.rest, **notes})


def _choice(body: Fields) -> tuple[ToolChoice | None, bool | None]:
    value = body.object("tool_choice")
    if value is None:
        return None, None
    choice = Fields(value, "tool_choice")
    mode = _CHOICES.get(kind := choice.named("type"))
    if mode is None:
        raise wrong("tool_choice.type", kind, '"auto", "any", "tool" or "none"')
    names = (choice.named("name"),) if mode is ChoiceMode.NAMED else ()
    alone = choice.flag("disable_parallel_tool_use")
    return ToolChoice(mode, names, choice.rest), None if alone is None else not alone


# -- output


def _output(body: Fields) -> tuple[OutputFormat | None, Reasoning | None]:
    value = body.object("output_config")
    config = Fields(value or {}, "output_config")
    asked = config.object("format")
    format_ = None if asked is None else _format(asked, "output_config.format")
    effort = config.text("effort")
    if value is not None and (config.rest or not value):
        body.rest["output_config"] = config.rest
    if format_ is None and (former := body.object("output_format")) is not None:
        format_ = _format(former, "output_format")
        format_ = msgspec.structs.replace(format_, extra={**format_.extra, FORMER: True})
    return format_, _reasoning(body, effort)


def _format(value: dict[str, Any], path: str) -> OutputFormat:
    fields = Fields(value, path)
    if (kind := fields.named("type")) != "json_schema":
        raise wrong(f"{path}.type", kind, '"json_schema"')
    schema = fields.object("schema")
    if schema is None:
        raise wrong(f"{path}.schema", None, "a JSON Schema object")
    return OutputFormat(FormatKind.SCHEMA, schema=schema, extra=fields.rest)


def _reasoning(body: Fields, effort: str | None) -> Reasoning | None:
    value = body.object("thinking")
    if value is None:
        return None if effort is None else Reasoning(effort=effort)
    thinking = Fields(value, "thinking")
    match thinking.named("type"):
        case "enabled":
            budget = thinking.count("budget_tokens")
            reasoning = Reasoning(True, effort, budget, shown=_shown(thinking), extra=thinking.rest)
        case "adaptive":
            reasoning = Reasoning(True, effort, adaptive=True, shown=_shown(thinking), extra=thinking.rest)
        case "disabled":
            reasoning = Reasoning(False, effort, extra=thinking.rest)
        case _:  # a way that is not known yet
            body.rest["thinking"] = value
            return None if effort is None else Reasoning(effort=effort)
    return reasoning


def _shown(thinking: Fields) -> bool | None:
    display = thinking.rest.get("display")
    shown = _DISPLAYS.get(display) if isinstance(display, str) else None
    if shown is not None:
        del thinking.rest["display"]
    return shown


def _metadata(body: Fields) -> tuple[str | None, Mapping[str, Any] | None]:
    value = body.object("metadata")
    if value is None:
        return None, None
    fields = Fields(value, "metadata")
    user = fields.text("user_id")
    if not value:
        body.rest["metadata"] = {}
    return user, fields.rest or None
