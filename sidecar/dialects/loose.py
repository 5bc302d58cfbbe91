r"""JSON of OpenAI's shape from servers that only nearly speak it: what is not as it should be is as if absent.

Nothing here raises, for nothing here is worth an answer: a `content` that is a list of parts has a text,
a list that should hold objects holds those it holds. One half of a surrogate pair as an escape (`\ud83d`)
is JSON, but no text; servers that cut a stream in the middle of an emoji send such halves. They are read
as U+FFFD.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from sidecar.dialects.sse import parse

__all__ = ["MALFORMED", "event_of", "json_object", "object_of", "objects", "read", "text", "thoughts"]

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises over JSON that is none, is not of its type, or is nested beyond reason."""

_T = TypeVar("_T")
_DEPTH = 8
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def read(decode: Callable[[bytes], _T], data: bytes) -> _T:
    """Decode, halves of surrogate pairs included.

    Raises:
        msgspec.DecodeError: And whatever else is in `MALFORMED`.
    """
    try:
        return decode(data)
    except msgspec.DecodeError:
        if b"\\u" not in data:
            raise
        return decode(_SURROGATE.sub(rb"\\ufffd", data))


_DECODE: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(dict[str, Any]).decode


def json_object(data: bytes) -> dict[str, Any] | None:
    """The object that the bytes are, or None."""
    try:
        return read(_DECODE, data)
    except MALFORMED:
        return None


def event_of(frame: bytes) -> dict[str, Any] | None:
    """The object that a frame of a stream brings; None for a comment, the mark of the end, and what is no object."""
    data = parse(frame).data
    return None if data is None else json_object(data)


def object_of(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: Any, depth: int = _DEPTH) -> str:
    """A text, or that of the parts of a list; not of parts within parts without end."""
    if isinstance(value, str):
        return value
    return "".join(text(part.get("text"), depth - 1) for part in objects(value)) if depth else ""


def thoughts(value: Any) -> str:
    """The thinking among the parts of a list (Mistral puts it beside the text)."""
    return "".join(text(part.get("thinking")) for part in objects(value))
