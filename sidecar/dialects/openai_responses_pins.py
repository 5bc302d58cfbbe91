"""What ties a request to the provider that keeps something for it.

Source: platform.openai.com/docs/guides/conversation-state (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sidecar.dialects.loose import objects

__all__ = ["pin_id", "pinned"]

_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "previous_response_id": "an answer that its provider keeps",
        "conversation": "which its provider keeps",
        "background": "work that its provider does later",
        "prompt": "a template that its provider keeps",
    }
)


def pinned(fields: Mapping[str, Any]) -> str | None:
    """What of a request only one provider can answer, in words; None when any can.

    Args:
        fields: The body.
    """
    for name, reason in _FIELDS.items():
        if fields.get(name):
            return f"{name}, {reason}"
    for place, item in enumerate(objects(fields.get("input"))):
        if item.get("type") == "item_reference" or (item.keys() <= {"type", "id"} and "id" in item):
            return f"input[{place}], a reference to an item that its provider keeps"
        for part in (*objects(item.get("content")), *objects(item.get("output"))):
            if part.get("file_id"):
                return f"input[{place}] with a file that its provider keeps"
    return None


def pin_id(fields: Mapping[str, Any]) -> str | None:
    """The id of the answer that the request goes on from."""
    value = fields.get("previous_response_id")
    return value if isinstance(value, str) and value else None
