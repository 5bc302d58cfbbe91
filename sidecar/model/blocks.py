"""What a conversation is made of, richest of all dialects: messages of ordered, typed blocks.

Every value is frozen. `extra` holds the fields of the dialect that it came from which have no place of
their own here; they are given back to that dialect only, and to any other each is a loss. Whatever is
JSON inside of JSON on the wire (the arguments of a call) is kept as its text, so that nothing is
re-written on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from sidecar.model.topology import Dialect

__all__ = [
    "Block",
    "CacheMark",
    "Logprob",
    "Media",
    "MediaKind",
    "Message",
    "Opaque",
    "Role",
    "Text",
    "Thinking",
    "ToolResult",
    "ToolUse",
]

_Extra = Mapping[str, Any]


class Role(StrEnum):
    """Who speaks. Results of tools are blocks of a user's message."""

    SYSTEM = "system"
    DEVELOPER = "developer"  # a system message by another name, where a dialect tells them apart
    USER = "user"
    ASSISTANT = "assistant"


class MediaKind(StrEnum):
    """What a medium is for the model."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    DOCUMENT = "document"


class CacheMark(msgspec.Struct, frozen=True):
    """The prompt up to and including this block is worth caching."""

    ttl: str | None = None  # as written: "5m", "1h"


class Logprob(msgspec.Struct, frozen=True):
    """How likely one token was, and which others were."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None  # of the token's UTF-8
    top: tuple[Logprob, ...] = ()


class Text(msgspec.Struct, frozen=True, tag=True):
    """Text; of an answer also a refusal in words."""

    text: str
    refusal: bool = False
    cache: CacheMark | None = None
    logprobs: tuple[Logprob, ...] = ()
    signature: str | None = None  # Gemini signs any part
    extra: _Extra = {}


class Media(msgspec.Struct, frozen=True, tag=True):
    """An image, a document, a sound: exactly one of `url`, `inline` and `file_id` is given."""

    kind: MediaKind
    mime: str | None = None  # "image/png"; None: not known
    url: str | None = None
    inline: str | None = None  # base64, as written
    file_id: str | None = None  # a provider's own store: pins the request to it
    name: str | None = None  # the file's
    cache: CacheMark | None = None
    extra: _Extra = {}


class ToolUse(msgspec.Struct, frozen=True, tag=True):
    """The model calls a tool."""

    id: str  # made up, stable within the message, where a dialect has none
    name: str
    arguments: str = "{}"  # JSON text; no arguments are "{}"
    cache: CacheMark | None = None
    signature: str | None = None  # Gemini's thoughtSignature of this call
    extra: _Extra = {}


class ToolResult(msgspec.Struct, frozen=True, tag=True):
    """What a tool gave."""

    id: str  # of the `ToolUse`
    blocks: tuple[Text | Media | Opaque, ...] = ()
    is_error: bool = False
    name: str | None = None  # of the tool, where it is known
    bare: bool = True  # written as one bare text where it could be
    cache: CacheMark | None = None
    extra: _Extra = {}


class Thinking(msgspec.Struct, frozen=True, tag=True):
    """What the model thought before it spoke.

    A signature means something only to the dialect that signed it.
    """

    text: str
    signature: str | None = None
    signer: Dialect | None = None
    redacted: bool = False  # there is no text, only the signature (or the encrypted content)
    extra: _Extra = {}


class Opaque(msgspec.Struct, frozen=True, tag=True):
    """Something that only its dialect knows: a built-in tool's call, a citation's source, an unknown part."""

    dialect: Dialect
    raw: Mapping[str, Any]


Block = Text | Media | ToolUse | ToolResult | Thinking | Opaque


class Message(msgspec.Struct, frozen=True):
    """One turn."""

    role: Role
    blocks: tuple[Block, ...]
    bare: bool = True  # written as one bare text where it could be, not as a list of parts
    name: str | None = None  # of a participant
    extra: _Extra = {}
