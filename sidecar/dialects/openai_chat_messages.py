"""The conversation of a chat request: its messages to the hub's and back, as their client wrote them.

Neighbouring `tool` messages are the results of one turn, and one message of the hub. A result must answer a
call of the assistant's last turn that called, and each call is answered once at most: no dialect could
translate anything else. The ids of different turns may be the same.

Source: platform.openai.com/docs/api-reference/chat/create (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from sidecar.dialects.openai_chat_parts import (
    DETAILS,
    IN_CONTENT,
    call_of,
    content_thought_of,
    details_of,
    mark_of,
    part_of,
    read_call,
    read_content_thought,
    read_mark,
    read_part,
    read_signature,
    read_thoughts,
    signature_of,
    spoken,
    wrong,
)
from sidecar.dialects.openai_chat_spelling import difference, said_as
from sidecar.model.blocks import Block, Media, Message, Opaque, Role, Text, Thinking, ToolResult, ToolUse
from sidecar.model.topology import Dialect

__all__ = ["assistant_fields", "messages_of", "read_messages"]

_OWN = Dialect.OPENAI_CHAT
_ROLES: Mapping[str, Role] = MappingProxyType({role.value: role for role in Role})
_TOOL = "tool"
_REASONING = "~reasoning"  # the thoughts' text is in `reasoning`; alone (true), or in `reasoning_content` as well
_NAMED = "~name"  # a result that tells its tool's name


# -- to the hub


def read_messages(value: Any) -> tuple[Message, ...]:
    """The conversation.

    Raises:
        ValidationError: When a message is not what it must be, or a result answers no call.
    """
    if not isinstance(value, list) or not value:
        raise wrong("messages", 'must be a list of messages such as {"role": "user", "content": "..."}')
    messages: list[Message] = []
    results: list[ToolResult] = []
    calls: dict[str, str | None] = {}  # names by id, None when answered
    for number, written in enumerate(value):
        path = f"messages[{number}]"
        role = _role(written, path)
        if role == _TOOL:
            results.append(_read_result(written, path, calls))
            continue
        if results:
            messages.append(Message(Role.USER, tuple(results)))
            results = []
        message = _read_assistant(written, path) if role is Role.ASSISTANT else _read_message(written, path, role)
        messages.append(message)
        calls = _called(message, path) or calls
    if results:
        messages.append(Message(Role.USER, tuple(results)))
    return tuple(messages)


def _role(written: Any, path: str) -> Any:
    if not isinstance(written, dict):
        raise wrong(path, 'must be an object such as {"role": "user", "content": "..."}')
    role = written.get("role")
    if role == _TOOL:
        return role
    if not isinstance(role, str) or role not in _ROLES:
        raise wrong(f"{path}.role", f"is {role!r}; it must be one of {', '.join(_ROLES)}, {_TOOL}")
    return _ROLES[role]


def _called(message: Message, path: str) -> dict[str, str | None]:
    calls: dict[str, str | None] = {}
    for block in message.blocks:
        if isinstance(block, ToolUse):
            if block.id in calls:
                raise wrong(f"{path}.tool_calls", f"has two calls with the id {block.id!r}; ids must differ")
            calls[block.id] = block.name
    return calls


def _read_result(written: Mapping[str, Any], path: str, calls: dict[str, str | None]) -> ToolResult:
    id_ = written.get("tool_call_id")
    if not isinstance(id_, str):
        raise wrong(f"{path}.tool_call_id", "must be the id of a call in the assistant's message before")
    if id_ not in calls:
        known = ", ".join(map(repr, calls)) or "none"
        raise wrong(f"{path}.tool_call_id", f"is {id_!r}, but no call before has that id; the last turn's are: {known}")
    name = calls[id_]
    if name is None:
        raise wrong(f"{path}.tool_call_id", f"is {id_!r}, a call that has been answered already")
    calls[id_] = None
    blocks, bare = _read_content(written, path)
    for number, block in enumerate(blocks):
        if isinstance(block, Thinking):
            raise wrong(f"{path}.content[{number}]", "must not be a thought: this is a tool's result")
    told = written.get("name")
    result = ToolResult(
        id_,
        tuple(block for block in blocks if isinstance(block, Text | Media | Opaque)),
        name=told if isinstance(told, str) and told else name,
        bare=bare,
        cache=read_mark(written),
        extra={_NAMED: True} if "name" in written else {},
    )
    extra = {**result.extra, **difference(written, _result_of(result))}
    return msgspec.structs.replace(result, extra=extra)


def _read_message(written: Mapping[str, Any], path: str, role: Role) -> Message:
    blocks, bare = _read_content(written, path)
    message = Message(role, _marked(blocks, written, bare=bare), bare, _read_name(written, path))
    return msgspec.structs.replace(message, extra=difference(written, _message_of(message)))


def _read_name(written: Mapping[str, Any], path: str) -> str | None:
    name = written.get("name")
    if name is not None and not isinstance(name, str):
        raise wrong(f"{path}.name", "must be a text")
    return name or None


def _read_content(written: Mapping[str, Any], path: str) -> tuple[tuple[Block, ...], bool]:
    """The blocks of a content, and whether it was bare; one that says nothing has none."""
    content = written.get("content")
    if content is None or content == "":
        return (), True
    if isinstance(content, str):
        return (Text(content),), True
    if not isinstance(content, list):
        raise wrong(f"{path}.content", "must be a text or a list of parts")
    return tuple(_read_part(part, f"{path}.content[{number}]") for number, part in enumerate(content)), False


def _read_part(part: Any, path: str) -> Block:
    if isinstance(part, dict) and part.get("type") == "thinking" and isinstance(part.get("thinking"), list):
        return read_content_thought(part)
    return read_part(part, path)


def _marked(blocks: tuple[Block, ...], written: Mapping[str, Any], *, bare: bool) -> tuple[Block, ...]:
    """A bare text cannot carry a cache mark: some put it beside, on the message."""
    mark = read_mark(written)
    if mark is None or not bare or len(blocks) != 1:
        return blocks
    return tuple(msgspec.structs.replace(block, cache=mark) for block in blocks if isinstance(block, Text))


def _read_assistant(written: Mapping[str, Any], path: str) -> Message:
    content, bare = _read_content(written, path)
    blocks: list[Block] = [*read_thoughts(written), *_marked(content, written, bare=bare)]
    signature = read_signature(written)
    if signature and blocks and isinstance(blocks[-1], Text):
        blocks[-1] = msgspec.structs.replace(blocks[-1], signature=signature)
    refusal = written.get("refusal")
    if isinstance(refusal, str) and refusal:
        blocks.append(Text(refusal, refusal=True))
    calls = written.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise wrong(f"{path}.tool_calls", "must be a list of calls")
    blocks += [read_call(call, f"{path}.tool_calls[{number}]") for number, call in enumerate(calls or ())]
    notes: dict[str, Any] = {}
    if "reasoning" in written:
        notes[_REASONING] = "reasoning_content" not in written
    if isinstance(written.get("reasoning_details"), list):
        notes[DETAILS] = written["reasoning_details"]
    message = Message(Role.ASSISTANT, tuple(blocks), bare, _read_name(written, path), notes)
    extra = {**notes, **difference(written, _message_of(message))}
    return msgspec.structs.replace(message, extra=extra)


# -- from the hub


def messages_of(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The conversation as its client wrote it; results stand before whatever else their message holds."""
    return [written for message in messages for written in _written(message)]


def _written(message: Message) -> Iterator[dict[str, Any]]:
    rest = []
    for block in message.blocks:
        if isinstance(block, ToolResult):
            yield said_as(_result_of(block), block.extra)
        else:
            rest.append(block)
    if rest or len(rest) == len(message.blocks):
        plain = msgspec.structs.replace(message, blocks=tuple(rest))
        yield said_as(_message_of(plain), message.extra)


def _result_of(result: ToolResult) -> dict[str, Any]:
    content = _content_of(result.blocks, bare=result.bare)
    written = {"role": _TOOL, "tool_call_id": result.id, "content": "" if content is None else content}
    if _NAMED in result.extra:
        written["name"] = result.name
    return written | mark_of(result.cache)


def _message_of(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role.value}
    if message.name:
        fields["name"] = message.name
    if message.role is Role.ASSISTANT:
        return fields | assistant_fields(message.blocks, bare=message.bare, extra=message.extra)
    content = _content_of(message.blocks, bare=message.bare)
    fields["content"] = "" if content is None else content
    return fields | _beside(message.blocks, bare=message.bare)


def assistant_fields(blocks: Sequence[Block], *, bare: bool, extra: Mapping[str, Any]) -> dict[str, Any]:
    """What an assistant says, in a request or an answer.

    Args:
        blocks: Without results.
        bare: The content is one text, and a refusal stands beside it.
        extra: Of the message: how its thoughts were written.
    """
    said = [block for block in blocks if not isinstance(block, ToolUse)]
    refusal = "".join([block.text for block in said if isinstance(block, Text) and block.refusal]) if bare else ""
    content = [
        block
        for block in said
        if not (isinstance(block, Thinking) and IN_CONTENT not in block.extra)
        and not (bare and isinstance(block, Text) and block.refusal)
    ]
    fields: dict[str, Any] = {"content": _content_of(content, bare=bare)} | _beside(content, bare=bare)
    if refusal:
        fields["refusal"] = refusal
    fields |= _thought_fields(spoken(blocks), extra)
    signatures = [block.signature for block in said if isinstance(block, Text) and block.signature]
    fields |= signature_of(next(iter(signatures), None))
    calls = [call_of(block) for block in blocks if isinstance(block, ToolUse)]
    return fields | ({"tool_calls": calls} if calls else {})


def _thought_fields(thoughts: Sequence[Thinking], extra: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    words = "".join([thought.text for thought in thoughts])
    if words and _REASONING in extra:
        fields["reasoning"] = words
    if words and not extra.get(_REASONING):
        fields["reasoning_content"] = words
    if DETAILS in extra:
        fields["reasoning_details"] = extra[DETAILS]
    elif any(thought.signature for thought in thoughts):
        fields["reasoning_details"] = [
            detail for number, thought in enumerate(thoughts) for detail in details_of(thought, number)
        ]
    return fields


def _content_of(blocks: Sequence[Block], *, bare: bool) -> Any:
    if bare and all(isinstance(block, Text) for block in blocks):
        return "".join([block.text for block in blocks if isinstance(block, Text)]) or None
    return [part for block in blocks if (part := _part(block)) is not None]


def _part(block: Block) -> Mapping[str, Any] | None:
    match block:
        case Text() | Media():
            return part_of(block)
        case Thinking():
            return content_thought_of(block)
        case Opaque():
            return block.raw
        case ToolUse() | ToolResult():  # not a part of any content
            return None


def _beside(blocks: Sequence[Block], *, bare: bool) -> dict[str, Any]:
    """The cache mark of a bare text."""
    marked = bare and len(blocks) == 1 and isinstance(blocks[0], Text)
    return mark_of(blocks[0].cache) if marked and isinstance(blocks[0], Text) else {}
