"""Content blocks of the dialect, as they are read: what a client or a model wrote.

Reading never fails: a block of an unknown type, or one that is not as it should be, is `Opaque`. What a
request's block must be is `check_block`'s business.

Signatures of others are written with their signer's name before them (`gemini-generate:...`), in the field
that a client hands back untouched; Anthropic's own hold no colon.

Source: platform.claude.com/docs/en/api/messages (read 2026-11).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from sidecar.dialects.fields import Fields, json_text, wrong
from sidecar.dialects.losses import NOTE
from sidecar.dialects.media import checked_base64
from sidecar.model.blocks import Block, CacheMark, Media, MediaKind, Opaque, Text, Thinking, ToolResult, ToolUse
from sidecar.model.topology import Dialect

__all__ = [
    "ANSWER_TOOL",
    "DIALECT",
    "NOT_ERROR",
    "WRITTEN_ID",
    "block_of",
    "cache_field",
    "cache_of",
    "check_block",
    "read_signature",
    "signed",
    "unnoted",
]

DIALECT = Dialect.ANTHROPIC_MESSAGES
NOT_ERROR = "~is_error"  # a note (see `losses`) of a result: `is_error: false` was written
WRITTEN_ID = "~id"  # of a call and its result: another id is written, for it is used more than once
ANSWER_TOOL = "sidecar_structured_answer"
"""A tool of this name is no tool: its arguments are the answer, of a model that gives structure in no other way."""

_SIGNERS: Mapping[str, Dialect] = MappingProxyType({dialect.value: dialect for dialect in Dialect})
_EPHEMERAL = "ephemeral"


def unnoted(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were written, without the notes on how."""
    return {name: value for name, value in extra.items() if not name.startswith(NOTE)}


# -- cache marks and signatures


def cache_of(fields: dict[str, Any]) -> CacheMark | None:
    """The cache mark of a block, taken out of its fields; one with anything unknown in it stays there."""
    mark = fields.get("cache_control")
    if not isinstance(mark, dict) or mark.get("type") != _EPHEMERAL or not mark.keys() <= {"type", "ttl"}:
        return None
    ttl = mark.get("ttl")
    if "ttl" in mark and not isinstance(ttl, str):
        return None
    del fields["cache_control"]
    return CacheMark(ttl)


def cache_field(mark: CacheMark | None) -> dict[str, Any]:
    """What a block says of its cache mark."""
    if mark is None:
        return {}
    return {"cache_control": {"type": _EPHEMERAL, **({"ttl": mark.ttl} if mark.ttl is not None else {})}}


def signed(thinking: Thinking) -> str:
    """The signature as it is written for a client; "" when there is none.

    That of another signer who has not signed yet, as at the beginning of a stream, is his name alone.
    """
    signer = "" if thinking.signer in (None, DIALECT) else f"{thinking.signer}:"
    return signer + (thinking.signature or "")


def read_signature(written: Any) -> tuple[str | None, Dialect | None]:
    """A signature and who signed it."""
    if not isinstance(written, str) or not written:
        return None, None
    signer = DIALECT
    # Who puts the pieces of a stream together has the name twice.
    while known := _SIGNERS.get(written.partition(":")[0] if ":" in written else ""):
        signer, written = known, written.partition(":")[2]
    return written or None, signer


# -- reading


def block_of(raw: Mapping[str, Any]) -> Block:
    """What a block is."""
    kind = raw.get("type")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    block = read(dict(raw)) if read else None
    return Opaque(DIALECT, dict(raw)) if block is None else block


def _text(fields: dict[str, Any]) -> Block | None:
    text = _taken(fields, "text")
    return None if text is None else Text(text, cache=cache_of(fields), extra=_rest(fields))


def _thinking(fields: dict[str, Any]) -> Block | None:
    text = _taken(fields, "thinking")
    if text is None:
        return None
    signature, signer = read_signature(fields.pop("signature", None))
    return Thinking(text, signature, signer, extra=_rest(fields))


def _redacted(fields: dict[str, Any]) -> Block | None:
    signature, signer = read_signature(fields.pop("data", None))
    return None if signature is None else Thinking("", signature, signer, redacted=True, extra=_rest(fields))


def _tool_use(fields: dict[str, Any]) -> Block | None:
    id_, name, arguments = _taken(fields, "id"), _taken(fields, "name"), fields.pop("input", None)
    if id_ is None or name is None or not isinstance(arguments, dict):
        return None
    return ToolUse(id_, name, json_text(arguments), cache_of(fields), extra=_rest(fields))


def _tool_result(fields: dict[str, Any]) -> Block | None:
    id_ = _taken(fields, "tool_use_id")
    content = fields.pop("content", None)
    if id_ is None or not (content is None or isinstance(content, str | list)):
        return None
    bare = not isinstance(content, list)
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    blocks = tuple(map(block_of, filter(_is_object, parts)))
    failed = fields.pop("is_error", None)
    note = {NOT_ERROR: False} if failed is False else {}
    said = tuple(block for block in blocks if isinstance(block, Text | Media | Opaque))
    return ToolResult(id_, said, bool(failed), None, bare, cache_of(fields), {**_rest(fields), **note})


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _image(fields: dict[str, Any]) -> Block | None:
    return _media(fields, MediaKind.IMAGE)


def _document(fields: dict[str, Any]) -> Block | None:
    return _media(fields, MediaKind.DOCUMENT)


def _media(fields: dict[str, Any], kind: MediaKind) -> Block | None:
    source = fields.pop("source", None)
    if not isinstance(source, dict) or not isinstance(source.get("type"), str):
        return None
    known = _SOURCES.get(source["type"])
    if known is None or set(source) != {"type", *known} or not all(isinstance(source[name], str) for name in known):
        return None
    url, file_id, mime = source.get("url"), source.get("file_id"), source.get("media_type")
    inline = source.get("data")
    if inline is not None and source["type"] == "text":
        inline = base64.b64encode(inline.encode("utf-8", "surrogatepass")).decode()
    title = _taken(fields, "title") if kind is MediaKind.DOCUMENT else None
    return Media(kind, mime, url, inline, file_id, title, cache_of(fields), _rest(fields))


_SOURCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "base64": ("media_type", "data"),
        "text": ("media_type", "data"),
        "url": ("url",),
        "file": ("file_id",),
    }
)
_READERS: Mapping[str, Callable[[dict[str, Any]], Block | None]] = MappingProxyType(
    {
        "text": _text,
        "thinking": _thinking,
        "redacted_thinking": _redacted,
        "tool_use": _tool_use,
        "tool_result": _tool_result,
        "image": _image,
        "document": _document,
    }
)


def _taken(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if not isinstance(value, str):
        return None
    del fields[name]
    return value


def _rest(fields: dict[str, Any]) -> dict[str, Any]:
    fields.pop("type", None)
    return fields


# -- checking


def check_block(raw: Any, path: str) -> None:
    """See that a request's block can be understood.

    Raises:
        ValidationError: When it cannot.
    """
    fields = Fields(raw, path)
    check = _CHECKS.get(fields.named("type"))
    if check:
        check(fields)


def _check_text(fields: Fields) -> None:
    if fields.text("text") is None:
        raise wrong(fields.at("text"), None, "a string")


def _check_thinking(fields: Fields) -> None:
    if fields.text("thinking") is None:
        raise wrong(fields.at("thinking"), None, "a string")
    fields.text("signature")


def _check_redacted(fields: Fields) -> None:
    fields.named("data")


def _check_tool_use(fields: Fields) -> None:
    fields.named("id")
    fields.named("name")
    if fields.object("input") is None:
        raise wrong(fields.at("input"), None, "an object")


def _check_tool_result(fields: Fields) -> None:
    fields.named("tool_use_id")
    fields.flag("is_error")
    content = fields.rest.get("content")
    if not (content is None or isinstance(content, str | list)):
        raise wrong(fields.at("content"), content, "a string or a list of blocks")
    for place, block in enumerate(content if isinstance(content, list) else ()):
        path = f"{fields.at('content')}[{place}]"
        check_block(block, path)
        if block["type"] in _NOT_IN_RESULTS:
            raise wrong(f"{path}.type", block["type"], "text, an image, a document or another kind of result")


def _check_source(fields: Fields) -> None:
    source = Fields(fields.rest.get("source"), fields.at("source"))
    kind = source.named("type")
    for name in _SOURCES.get(kind, ()):
        value = source.text(name)
        if value is None:
            raise wrong(source.at(name), None, "a string")
        if kind == "base64" and name == "data":
            checked_base64(value, source.at(name))


_NOT_IN_RESULTS = frozenset({"tool_use", "tool_result", "thinking", "redacted_thinking"})
_CHECKS: Mapping[str, Callable[[Fields], None]] = MappingProxyType(
    {
        "text": _check_text,
        "thinking": _check_thinking,
        "redacted_thinking": _check_redacted,
        "tool_use": _check_tool_use,
        "tool_result": _check_tool_result,
        "image": _check_source,
        "document": _check_source,
    }
)
