"""What clients of the dialect ask beside messages: how many tokens a prompt has, and which models there are.

An estimate errs upwards, so that whoever plans by it has room: the vendor's tokens are about 3.5 characters of
English, less with the newer models, less of other scripts and of JSON; hence bytes of UTF-8 and not characters
are counted. Of an image the largest size is taken, of a PDF a page for so many bytes. What a tool, a format or
thinking adds to the prompt was measured on recorded requests. What is behind a URL is not known.

Source: platform.claude.com/docs/en/api/messages-count-tokens, .../build-with-claude/vision (image tokens),
.../build-with-claude/pdf-support (tokens of a page), .../api/models-list (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

from sidecar.dialects.fields import json_text

__all__ = ["estimated_tokens", "model_info", "models_page"]

_BYTES_A_TOKEN = 2.5
_MESSAGE_TOKENS = 8  # around each
_TOOL_TOKENS = 30  # around each definition
_TOOLS_TOKENS = 620  # the prompt that goes with tools
_FORMAT_TOKENS = 250  # and with a format
_THINKING_TOKENS = 40
_IMAGE_TOKENS = 1600
_PAGE_TOKENS = 4500
_PAGE_BYTES = 50_000  # of base64
_EPOCH = "1970-01-01T00:00:00Z"  # as the vendor writes a day that is not known


def estimated_tokens(fields: Mapping[str, Any]) -> int:
    """About how many input tokens a request has, rather too many than too few.

    Args:
        fields: The body of a request for messages, with or without `max_tokens`; never raises, whatever it is.
    """
    messages, tools = fields.get("messages"), fields.get("tools")
    total = _tokens(fields.get("system"))
    for message in messages if isinstance(messages, list) else ():
        total += _MESSAGE_TOKENS + (_tokens(message.get("content")) if isinstance(message, dict) else 0)
    if isinstance(tools, list) and tools:
        total += _TOOLS_TOKENS + sum(_TOOL_TOKENS + _size(json_text(tool)) for tool in tools)
    config = fields.get("output_config")
    format_ = config.get("format") if isinstance(config, dict) else None
    total += _FORMAT_TOKENS + _size(json_text(format_)) if format_ else 0
    return max(total + (_THINKING_TOKENS if fields.get("thinking") else 0), 1)


def _tokens(content: Any) -> int:
    """Of a text, a block, or a list of them."""
    if isinstance(content, str):
        return _size(content)
    if isinstance(content, list):
        return sum(map(_tokens, content))
    if not isinstance(content, dict):
        return 0
    match content.get("type"):
        case "image":
            return _IMAGE_TOKENS
        case "document":
            return _document(content)
        case "tool_result":
            return _MESSAGE_TOKENS + _tokens(content.get("content"))
        case _:
            return _size(json_text(content))


def _document(block: Mapping[str, Any]) -> int:
    source = block.get("source")
    if not isinstance(source, dict):
        return 0
    data = source.get("data")
    if isinstance(data, str) and source.get("type") == "base64":
        return _PAGE_TOKENS * (1 + len(data) // _PAGE_BYTES)
    if isinstance(data, str):
        return _size(data)
    return _tokens(source.get("content")) or _PAGE_TOKENS


def _size(text: str) -> int:
    return ceil(len(text.encode("utf-8", "surrogatepass")) / _BYTES_A_TOKEN)


def model_info(id_: str) -> dict[str, Any]:
    """One model as the dialect lists it."""
    return {
        "type": "model",
        "id": id_,
        "display_name": id_,
        "created_at": _EPOCH,
        "lifecycle": "active",
        "max_input_tokens": None,
        "max_tokens": None,
        "capabilities": None,
    }


def models_page(ids: Iterable[str]) -> dict[str, Any]:
    """All models on one page."""
    models = [model_info(id_) for id_ in ids]
    first, last = (models[0]["id"], models[-1]["id"]) if models else (None, None)
    return {"data": models, "has_more": False, "first_id": first, "last_id": last}
