"""A conversation as the dialect writes it: the system prompt beside it, then turns of user and assistant.

For a client of another dialect the turns are made by the rules of the vendor:

    system messages, wherever they stand, are the system prompt, in their order
    neighbours of one role are one turn
    in a user's turn the results of tools come first, in the assistant's what it thought
    text that is empty, or nothing but white space, is left out; so is a turn of which nothing is left
    thoughts that the vendor did not sign are left out

A client of the dialect itself has said what it wants to say: its turns stay as they are, but for thoughts
that another vendor signed.

Source: platform.claude.com/docs/en/api/messages, .../build-with-claude/extended-thinking (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import msgspec

from sidecar.dialects.anthropic_blocks import DIALECT, NOT_ERROR, WRITTEN_ID, cache_field, unnoted
from sidecar.dialects.anthropic_media import media_block
from sidecar.dialects.dialect import Untranslatable
from sidecar.dialects.fields import json_object_of
from sidecar.dialects.losses import added, changed, dropped, foreign
from sidecar.model.blocks import Block, Media, Message, Opaque, Role, Text, Thinking, ToolResult, ToolUse
from sidecar.model.hub import Loss

__all__ = ["Conversation", "conversation"]

_SYSTEM = frozenset({Role.SYSTEM, Role.DEVELOPER})
_WHITE = " \t\r\n"
_NO_ID = re.compile(r"[^a-zA-Z0-9_-]")
_RESULT = "tool_result"
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_GO_ON = "Continue."


class Conversation(msgspec.Struct, frozen=True):
    """A conversation in the dialect's JSON."""

    system: str | list[dict[str, Any]] | None
    messages: list[dict[str, Any]]

    @property
    def thoughtless(self) -> bool:
        """Whether the turn that the answer goes on with calls tools, or is not over, and begins with no thought.

        Models that are given a budget to think refuse that.
        """
        turns = [turn["role"] for turn in self.messages]
        if Role.ASSISTANT not in turns:
            return False
        last = len(turns) - 1 - turns[::-1].index(Role.ASSISTANT.value)
        begun, after = _blocks(self.messages[last]), self.messages[last + 1 :]
        goes_on = not after or any(block["type"] == _RESULT for block in _blocks(after[0]))
        return goes_on and bool(begun) and begun[0]["type"] not in _THOUGHTS

    @property
    def called(self) -> list[str]:
        """The names of the tools that were called."""
        names = [block["name"] for turn in self.messages for block in _blocks(turn) if block["type"] == "tool_use"]
        return list(dict.fromkeys(names))


def _blocks(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def conversation(messages: Sequence[Message], losses: list[Loss], *, own: bool, prefill: bool) -> Conversation:
    """The conversation of a request.

    Args:
        messages: Of the hub.
        losses: Where is noted what cannot be said.
        own: The client speaks this dialect.
        prefill: The target takes a conversation that ends with the assistant.

    Raises:
        Untranslatable: When nothing is left that could be said.
    """
    written = (_own if own else _translated)(messages, losses)
    if not written.messages:
        raise Untranslatable(f"nothing is left of the conversation that {DIALECT} could say")
    if written.messages[-1]["role"] == Role.ASSISTANT:
        _end(written.messages, f"messages[{len(messages) - 1}]", losses, own=own, prefill=prefill)
    return written


def _end(turns: list[dict[str, Any]], path: str, losses: list[Loss], *, own: bool, prefill: bool) -> None:
    """The last turn is the assistant's, to be gone on with."""
    if not own:
        _strip(turns[-1], path, losses)
    if not prefill:
        added(losses, path, f'"{_GO_ON}" said after it by the user, for the model takes no answer that is begun')
        turns.append({"role": Role.USER.value, "content": _GO_ON})


def _strip(turn: dict[str, Any], path: str, losses: list[Loss]) -> None:
    last = _blocks(turn)[-1]
    if last["type"] != "text" or last["text"] == last["text"].rstrip(_WHITE):
        return
    changed(losses, path, "without the white space at its end, which an answer that is begun may not have")
    if isinstance(turn["content"], str):
        turn["content"] = last["text"].rstrip(_WHITE)
    else:
        last["text"] = last["text"].rstrip(_WHITE)


def _own(messages: Sequence[Message], losses: list[Loss]) -> Conversation:
    writer = _Writer(losses, own=True)
    lead = next((place for place, message in enumerate(messages) if message.role not in _SYSTEM), len(messages))
    system = _system(messages[:lead], writer)
    turns = []
    for place, message in enumerate(messages[lead:], lead):
        path = f"messages[{place}]"
        role = Role.SYSTEM if message.role in _SYSTEM else message.role
        blocks = writer.blocks(message, path)
        turns.append({"role": role.value, "content": _content(blocks, bare=message.bare), **unnoted(message.extra)})
    return Conversation(system, turns)


def _translated(messages: Sequence[Message], losses: list[Loss]) -> Conversation:
    writer = _Writer(losses, own=False)
    turns: list[_Turn] = []
    system = []
    for place, message in enumerate(messages):
        path = f"messages[{place}]"
        if message.role in _SYSTEM:
            system.append(message)
            if turns:
                changed(losses, path, f"said at the beginning, where {DIALECT} has its system prompt")
            continue
        blocks = writer.blocks(message, path)
        if not blocks:
            continue
        if turns and turns[-1].role is message.role:
            turns[-1].bare = False
        else:
            turns.append(_Turn(message.role, bare=message.bare))
        for block in blocks:
            if turns[-1].put(block):
                changed(losses, path, f"said earlier in its turn, where {DIALECT} wants it")
    said = [{"role": turn.role.value, "content": _content(turn.blocks, bare=turn.bare)} for turn in turns]
    if not said and system:
        changed(losses, "messages", "the last system message is said by the user, for nobody else says anything")
        last = writer.blocks(system.pop(), "messages")
        said = [{"role": Role.USER.value, "content": last}] if last else []
    return Conversation(_system(system, writer), said)


class _Turn:
    """One turn while it is put together."""

    def __init__(self, role: Role, *, bare: bool) -> None:
        self.role = role
        self.bare = bare
        self.blocks: list[dict[str, Any]] = []
        self._first = 0  # how many of those that come first there are

    def put(self, block: dict[str, Any]) -> bool:
        """Add a block; whether it had to be put before others."""
        kind = block["type"]
        leads = kind == _RESULT if self.role is Role.USER else kind in _THOUGHTS
        # What was thought between two calls has its place there.
        if not leads or (self._first and self.role is Role.ASSISTANT):
            self.blocks.append(block)
            return False
        self.blocks.insert(self._first, block)
        self._first += 1
        return self._first < len(self.blocks)


def _system(messages: Sequence[Message], writer: _Writer) -> str | list[dict[str, Any]] | None:
    blocks = [block for place, message in enumerate(messages) for block in writer.blocks(message, f"messages[{place}]")]
    return _content(blocks, bare=len(messages) == 1 and messages[0].bare) if blocks else None


def _content(blocks: list[dict[str, Any]], *, bare: bool) -> str | list[dict[str, Any]]:
    if bare and len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks


class _Writer:
    """Writes the blocks of one request; lives as long as that takes.

    Args:
        losses: Where is noted what cannot be said.
        own: The client speaks this dialect.
    """

    def __init__(self, losses: list[Loss], *, own: bool) -> None:
        self._losses = losses
        self._own = own
        self._ids: dict[str, str] = {}  # as they are written
        self._taken: set[str] = set()

    def blocks(self, message: Message, path: str) -> list[dict[str, Any]]:
        """What is said of a message's blocks."""
        if message.name is not None:
            dropped(self._losses, f"{path}.name", f"{DIALECT} has no names of participants")
        if not self._own:
            foreign(self._losses, message.extra, path, DIALECT)
        found = [self._block(block, f"{path}.content[{place}]") for place, block in enumerate(message.blocks)]
        if message.role in _SYSTEM:
            found = [self._in_system(block, path) for block in found]
        return [block for block in found if block is not None]

    def _in_system(self, block: dict[str, Any] | None, path: str) -> dict[str, Any] | None:
        if block is None or block["type"] == "text" or self._own:
            return block
        dropped(self._losses, path, f"{DIALECT} takes nothing but text in its system prompt")
        return None

    def _block(self, block: Block, path: str) -> dict[str, Any] | None:
        match block:
            case Text():
                return self._text(block, path)
            case Media():
                return self._with(media_block(block, path, self._losses, own=self._own), block.extra, path)
            case ToolUse():
                return self._tool_use(block, path)
            case ToolResult():
                return self._tool_result(block, path)
            case Thinking():
                return self._thinking(block, path)
            case Opaque(dialect, raw):
                if dialect is DIALECT:
                    return dict(raw)
                dropped(self._losses, path, f"{DIALECT} knows nothing of {raw.get('type') or 'this part'} of {dialect}")
                return None
            case _:
                assert_never(block)

    def _with(self, block: dict[str, Any] | None, extra: Mapping[str, Any], path: str) -> dict[str, Any] | None:
        """The block with what its dialect alone knows of it."""
        if self._own:
            return None if block is None else {**block, **unnoted(extra)}
        foreign(self._losses, extra, path, DIALECT)
        return block

    def _text(self, text: Text, path: str) -> dict[str, Any] | None:
        if not self._own and not text.text.strip(_WHITE):
            if text.text:
                dropped(self._losses, path, f"{DIALECT} takes no text that is nothing but white space")
            return None
        if text.refusal:
            changed(self._losses, path, f"a refusal is text like any other, for {DIALECT} has no such part")
        if text.logprobs:
            dropped(self._losses, f"{path}.logprobs", f"{DIALECT} has no logprobs")
        self._unsigned(text.signature, path)
        return self._with({"type": "text", "text": text.text, **cache_field(text.cache)}, text.extra, path)

    def _tool_use(self, call: ToolUse, path: str) -> dict[str, Any] | None:
        arguments = json_object_of(call.arguments)
        if arguments is None:
            changed(self._losses, f"{path}.arguments", "given as text inside of an object, for they are not one")
            arguments = {"arguments": call.arguments}
        self._unsigned(call.signature, path)
        id_ = self._id(call, path)
        block = {"type": "tool_use", "id": id_, "name": call.name, "input": arguments, **cache_field(call.cache)}
        return self._with(block, call.extra, path)

    def _tool_result(self, result: ToolResult, path: str) -> dict[str, Any] | None:
        block: dict[str, Any] = {"type": _RESULT, "tool_use_id": self._id(result, path)}
        found = [self._block(part, f"{path}.content[{place}]") for place, part in enumerate(result.blocks)]
        parts = [part for part in found if part is not None]
        if parts or not result.bare:
            block["content"] = _content(parts, bare=result.bare)
        if result.is_error:
            block["is_error"] = True
        elif NOT_ERROR in result.extra:
            block["is_error"] = False
        return self._with({**block, **cache_field(result.cache)}, result.extra, path)

    def _thinking(self, thinking: Thinking, path: str) -> dict[str, Any] | None:
        if thinking.signer is not DIALECT or not thinking.signature:
            who = f"{thinking.signer} signed it" if thinking.signature else "it is not signed"
            dropped(self._losses, path, f"{DIALECT} takes no thinking of others: {who}")
            return None
        block: dict[str, Any] = {"type": "redacted_thinking", "data": thinking.signature}
        if not thinking.redacted:
            block = {"type": "thinking", "thinking": thinking.text, "signature": thinking.signature}
        return self._with(block, thinking.extra, path)

    def _unsigned(self, signature: str | None, path: str) -> None:
        if signature:
            dropped(self._losses, f"{path}.signature", f"{DIALECT} signs nothing but thinking")

    def _id(self, block: ToolUse | ToolResult, path: str) -> str:
        """An id as it may be written: equal ones alike, different ones differently."""
        id_ = block.id
        if self._own:
            return str(block.extra.get(WRITTEN_ID, id_))
        if id_ not in self._ids:
            plain = _NO_ID.sub("_", id_) or "call"
            while plain in self._taken:
                plain += "_"
            self._ids[id_] = plain
            self._taken.add(plain)
            if plain != id_:
                reason = f'said as "{plain}", for {DIALECT} has letters, digits, _ and - only'
                changed(self._losses, f"{path}.id", reason)
        return self._ids[id_]
