"""What OpenAI's chat and its Responses both say, and no other vendor: it goes from the one to the other as it is.

The hub has no place for it, so that it is in `extra`, in the words of the client's dialect. Servers that call
themselves compatible refuse much of it in a chat: there it is said only to who is known to take it.

Source: the request schemas of platform.openai.com/docs/api-reference/chat and /responses (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sidecar.dialects.losses import NOTE
from sidecar.model.topology import Dialect

__all__ = ["OUR_FILES", "SAFETY", "detail_of_chat", "detail_of_responses", "file_name", "of_chat", "of_responses"]

OUR_FILES = frozenset({Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES})
"""Whose file ids are the same store's."""

SAFETY = f"{NOTE}safety_identifier"
"""A note: who asks was told by this name, not as `user`."""

_SAME = frozenset(
    {"moderation", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier"}
)
_CHAT_DETAIL = "image_url.detail"  # in the `extra` of a chat's image
_DETAILS = frozenset({"auto", "low", "high"})  # Responses knows another, which chat does not
_FILE_NAMES: Mapping[str | None, str] = MappingProxyType(
    {"application/pdf": "file.pdf", "text/plain": "file.txt", "text/csv": "file.csv", "text/markdown": "file.md"}
)
_Fields = Mapping[str, Any]


def file_name(mime: str | None) -> str:
    """The name of a file that has none; both want one."""
    return _FILE_NAMES.get(mime, "file")


def of_chat(extra: _Fields) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of a chat's top level what Responses says in the same words, and the rest; the verbosity is within `text`."""
    said, rest = _parted(extra)
    verbosity = rest.pop("verbosity", None)
    return (said if verbosity is None else {**said, "text": {"verbosity": verbosity}}), rest


def of_responses(extra: _Fields) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the top level of Responses what a chat says in the same words, and the rest."""
    said, rest = _parted(extra)
    text = rest.get("text")
    if isinstance(text, dict) and text.get("verbosity") is not None:
        rest["text"] = {name: value for name, value in text.items() if name != "verbosity"}
        said["verbosity"] = text["verbosity"]
    return said, rest


def _parted(extra: _Fields) -> tuple[dict[str, Any], dict[str, Any]]:
    said = {name: value for name, value in extra.items() if name in _SAME and value is not None}
    return said, {name: value for name, value in extra.items() if name not in said}


def detail_of_chat(extra: _Fields) -> tuple[dict[str, Any], dict[str, Any]]:
    """How closely to look at an image of a chat, as the field of Responses, and what else its `extra` holds."""
    detail = extra.get(_CHAT_DETAIL)
    if detail not in _DETAILS:
        return {}, dict(extra)
    return {"detail": detail}, {name: value for name, value in extra.items() if name != _CHAT_DETAIL}


def detail_of_responses(extra: _Fields) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same of an image of Responses, as a chat's `extra` has it."""
    detail = extra.get("detail")
    if detail not in _DETAILS:
        return {}, dict(extra)
    return {_CHAT_DETAIL: detail}, {name: value for name, value in extra.items() if name != "detail"}
