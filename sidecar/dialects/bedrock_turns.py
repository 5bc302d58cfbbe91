"""A conversation as Converse writes it: the system prompt beside it, then turns of user and assistant.

    system messages, wherever they stand, are the system prompt, in their order
    neighbours of one role are one turn, and the first turn is the user's
    in a user's turn the results of tools come first, in the assistant's what it thought
    text that is empty, or nothing but white space, is left out; so is a turn of which nothing is left
    thoughts that nobody signed whom the model knows are left out

A medium is its bytes or its place in S3: there are no other URLs. A document has a name, and text beside it.

Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html and what it names
(read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, assert_never

import msgspec

from sidecar.dialects.bedrock_models import Traits
from sidecar.dialects.dialect import Untranslatable
from sidecar.dialects.fields import json_object_of
from sidecar.dialects.losses import added, changed, dropped, foreign
from sidecar.model.blocks import (
    Block,
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
from sidecar.model.hub import Loss
from sidecar.model.topology import Dialect

__all__ = ["DIALECT", "Conversation", "cache_point", "conversation"]

DIALECT = Dialect.BEDROCK_CONVERSE

_SYSTEM = frozenset({Role.SYSTEM, Role.DEVELOPER})
_WHITE = " \t\r\n"
_NO_ID = re.compile(r"[^a-zA-Z0-9_.:-]")
_MAX_ID = 64
_NO_NAME = re.compile(r"[^a-zA-Z0-9 ()\[\]-]+")
_GO_ON = "Continue."
_TTLS = frozenset({"5m", "1h"})
_S3 = "s3://"
# Whose signatures a model at Bedrock may know: a thought is the same wherever Claude had it.
_SIGNERS = frozenset({Dialect.BEDROCK_CONVERSE, Dialect.ANTHROPIC_MESSAGES})

_FORMATS: Mapping[MediaKind, Mapping[str, str]] = MappingProxyType(
    {
        MediaKind.IMAGE: {f"image/{name}": name for name in ("png", "jpeg", "gif", "webp")} | {"image/jpg": "jpeg"},
        MediaKind.AUDIO: {f"audio/{name}": name for name in ("wav", "aac", "flac", "ogg", "opus", "webm")}
        | {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/x-wav": "wav", "audio/mp4": "m4a", "audio/x-m4a": "m4a"},
        MediaKind.VIDEO: {f"video/{name}": name for name in ("mp4", "webm", "mpeg")}
        | {"video/quicktime": "mov", "video/x-matroska": "mkv", "video/x-flv": "flv", "video/x-ms-wmv": "wmv"}
        | {"video/3gpp": "three_gp"},
        MediaKind.DOCUMENT: {
            "application/pdf": "pdf",
            "text/csv": "csv",
            "application/msword": "doc",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
            "application/vnd.ms-excel": "xls",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
            "text/html": "html",
            "text/markdown": "md",
            "text/plain": "txt",
        },
    }
)
_USUAL_MIME: Mapping[MediaKind, str] = MappingProxyType(
    {MediaKind.IMAGE: "image/png", MediaKind.DOCUMENT: "application/pdf"}
)


class Conversation(msgspec.Struct, frozen=True):
    """A conversation in the dialect's JSON."""

    system: list[dict[str, Any]]
    messages: list[dict[str, Any]]

    @property
    def called(self) -> list[str]:
        """The names of the tools that were called."""
        blocks = [block["toolUse"]["name"] for turn in self.messages for block in turn["content"] if "toolUse" in block]
        return list(dict.fromkeys(blocks))


def cache_point(mark: CacheMark | None, traits: Traits, path: str, losses: list[Loss]) -> list[dict[str, Any]]:
    """The block that stands after what is worth caching; none, and a loss, where the model has no cache."""
    if mark is None:
        return []
    if not traits.caches:
        dropped(losses, f"{path}.cache_control", "the model is not known to cache prompts")
        return []
    if mark.ttl is None or mark.ttl == "5m":
        return [{"cachePoint": {"type": "default"}}]
    if not traits.ttls or mark.ttl not in _TTLS:
        changed(losses, f"{path}.cache_control.ttl", "the usual five minutes, which is all that the model knows")
        return [{"cachePoint": {"type": "default"}}]
    return [{"cachePoint": {"type": "default", "ttl": mark.ttl}}]


def conversation(messages: Sequence[Message], traits: Traits, losses: list[Loss]) -> Conversation:
    """The conversation of a request.

    Raises:
        Untranslatable: When nothing is left that could be said.
    """
    writer = _Writer(traits, losses)
    turns: list[tuple[Role, list[dict[str, Any]]]] = []
    system: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        path = f"messages[{place}]"
        blocks = writer.blocks(message, path)
        if message.role in _SYSTEM:
            system += writer.for_system(blocks, path)
            if turns:
                changed(losses, path, f"said at the beginning, where {DIALECT} has its system prompt")
        elif blocks:
            if not turns or turns[-1][0] is not message.role:
                turns.append((message.role, []))
            turns[-1][1].extend(blocks)
    if not turns and system:
        changed(losses, "messages", "the system prompt is said by the user, for nobody else says anything")
        turns, system = [(Role.USER, system)], []
    if not turns:
        raise Untranslatable(f"nothing is left of the conversation that {DIALECT} could say")
    _frame(turns, traits, losses, len(messages) - 1)
    said = [{"role": role.value, "content": _ordered(role, blocks)} for role, blocks in turns]
    return Conversation(system, said)


def _frame(turns: list[tuple[Role, list[dict[str, Any]]]], traits: Traits, losses: list[Loss], last: int) -> None:
    """The user begins, and has the last word where the model does not take an answer that is begun."""
    if turns[0][0] is Role.ASSISTANT:
        added(losses, "messages[0]", f'"{_GO_ON}" said before it by the user, who begins every conversation')
        turns.insert(0, (Role.USER, [{"text": _GO_ON}]))
    role, blocks = turns[-1]
    if role is not Role.ASSISTANT:
        return
    if not traits.prefill:
        added(losses, f"messages[{last}]", f'"{_GO_ON}" said after it by the user, who ends every conversation')
        turns.append((Role.USER, [{"text": _GO_ON}]))
    elif "text" in blocks[-1] and (stripped := blocks[-1]["text"].rstrip(_WHITE)) != blocks[-1]["text"]:
        changed(losses, f"messages[{last}]", "without the white space at its end, which it may not have")
        blocks[-1] = {"text": stripped}


def _ordered(role: Role, blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results, and thoughts, before all else; and text beside a document."""
    first = "toolResult" if role is Role.USER else "reasoningContent"
    blocks = [block for block in blocks if first in block] + [block for block in blocks if first not in block]
    if any("document" in block for block in blocks) and not any("text" in block for block in blocks):
        blocks.append({"text": _GO_ON})
    return blocks


class _Writer:
    """Writes the blocks of one request; lives as long as that takes."""

    def __init__(self, traits: Traits, losses: list[Loss]) -> None:
        self._traits = traits
        self._losses = losses
        self._ids: dict[str, str] = {}  # as they are written
        self._names: set[str] = set()  # of documents

    def blocks(self, message: Message, path: str) -> list[dict[str, Any]]:
        """What is said of a message's blocks, marks of the cache between them."""
        if message.name is not None:
            dropped(self._losses, f"{path}.name", f"{DIALECT} has no names of participants")
        foreign(self._losses, message.extra, path, DIALECT)
        said: list[dict[str, Any]] = []
        for place, block in enumerate(message.blocks):
            here = f"{path}.content[{place}]"
            written = self._block(block, here)
            if written is not None:
                said += [written, *cache_point(getattr(block, "cache", None), self._traits, here, self._losses)]
        return said

    def for_system(self, blocks: list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
        """Those of the blocks that a system prompt may hold."""
        kept = [block for block in blocks if block.keys() <= {"text", "cachePoint"}]
        if len(kept) < len(blocks):
            dropped(self._losses, path, f"{DIALECT} takes nothing but text in its system prompt")
        return kept

    def _block(self, block: Block, path: str) -> dict[str, Any] | None:
        if not isinstance(block, Opaque):
            foreign(self._losses, block.extra, path, DIALECT)
        match block:
            case Text():
                return self._text(block, path)
            case Media():
                return self._media(block, path)
            case ToolUse():
                return self._tool_use(block, path)
            case ToolResult():
                return self._tool_result(block, path)
            case Thinking():
                return self._thinking(block, path)
            case Opaque(dialect, raw):
                dropped(self._losses, path, f"{DIALECT} knows nothing of {raw.get('type') or 'this part'} of {dialect}")
                return None
            case _:
                assert_never(block)

    def _text(self, text: Text, path: str) -> dict[str, Any] | None:
        if not text.text.strip(_WHITE):
            if text.text:
                dropped(self._losses, path, f"{DIALECT} takes no text that is nothing but white space")
            return None
        if text.refusal:
            changed(self._losses, path, f"a refusal is text like any other, for {DIALECT} has no such part")
        if text.logprobs:
            dropped(self._losses, f"{path}.logprobs", f"{DIALECT} has no logprobs")
        self._unsigned(text.signature, path)
        return {"text": text.text}

    def _media(self, media: Media, path: str) -> dict[str, Any] | None:
        if media.file_id is not None:
            dropped(self._losses, path, "the file is in another vendor's store")
            return None
        if media.url is not None and not media.url.startswith(_S3):
            dropped(self._losses, path, f"{DIALECT} takes no URLs but those of S3; send the bytes")
            return None
        mime = (media.mime or _USUAL_MIME.get(media.kind, "")).partition(";")[0].lower()
        format_ = _FORMATS[media.kind].get(mime)
        if format_ is None and media.kind is MediaKind.DOCUMENT and mime.startswith("text/"):
            changed(self._losses, path, f"said to be text/plain, for {DIALECT} takes no {mime}")
            format_ = "txt"
        if format_ is None:
            dropped(self._losses, path, f"{DIALECT} takes no {media.kind} of type {mime or 'unknown'}")
            return None
        source = {"s3Location": {"uri": media.url}} if media.url is not None else {"bytes": media.inline or ""}
        named = {"name": self._name(media.name)} if media.kind is MediaKind.DOCUMENT else {}
        if media.name is not None and not named:
            dropped(self._losses, f"{path}.name", f"{DIALECT} has no names of {media.kind}s")
        return {media.kind.value: {"format": format_, **named, "source": source}}

    def _name(self, name: str | None) -> str:
        """A document's name as it may be written, and none twice."""
        plain = " ".join(_NO_NAME.sub(" ", (name or "document").rpartition(".")[0] or name or "document").split())
        base = plain[:150] or "document"
        unique, number = base, 1
        while unique in self._names:
            number += 1
            unique = f"{base} {number}"
        self._names.add(unique)
        return unique

    def _tool_use(self, call: ToolUse, path: str) -> dict[str, Any]:
        arguments = json_object_of(call.arguments)
        if arguments is None:
            changed(self._losses, f"{path}.arguments", "given as text inside of an object, for they are not one")
            arguments = {"arguments": call.arguments}
        self._unsigned(call.signature, path)
        return {"toolUse": {"toolUseId": self._id(call.id, path), "name": call.name, "input": arguments}}

    def _tool_result(self, result: ToolResult, path: str) -> dict[str, Any]:
        found = [self._block(part, f"{path}.content[{place}]") for place, part in enumerate(result.blocks)]
        written: dict[str, Any] = {"toolUseId": self._id(result.id, path)}
        written["content"] = [part for part in found if part is not None]
        if result.is_error:
            written["status"] = "error"
        return {"toolResult": written}

    def _thinking(self, thinking: Thinking, path: str) -> dict[str, Any] | None:
        if thinking.signer not in _SIGNERS or not thinking.signature:
            who = f"{thinking.signer} signed it" if thinking.signature else "it is not signed"
            dropped(self._losses, path, f"{DIALECT} takes no thinking of others: {who}")
            return None
        if thinking.redacted:
            return {"reasoningContent": {"redactedContent": thinking.signature}}
        return {"reasoningContent": {"reasoningText": {"text": thinking.text, "signature": thinking.signature}}}

    def _unsigned(self, signature: str | None, path: str) -> None:
        if signature:
            dropped(self._losses, f"{path}.signature", f"{DIALECT} signs nothing but thinking")

    def _id(self, id_: str, path: str) -> str:
        """An id as it may be written: equal ones alike, different ones differently."""
        if id_ not in self._ids:
            plain = (_NO_ID.sub("_", id_) or "call")[:_MAX_ID]
            number = 1
            while plain in self._ids.values():
                number += 1
                plain = f"{plain[: _MAX_ID - 8]}_{number}"
            self._ids[id_] = plain
            if plain != id_:
                changed(self._losses, f"{path}.id", f'said as "{plain}", which {DIALECT} takes')
        return self._ids[id_]
