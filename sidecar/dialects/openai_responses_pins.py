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
        "previous_response_id": "goes on from an answer that its provider keeps",
        "conversation": "belongs to a conversation that its provider keeps",
        "background": "is worked off later, by the provider that took it",
        "prompt": "uses a template that its provider keeps",
    }
)


def pinned(fields: Mapping[str, Any]) -> str | None:
    """Why no other provider can answer; None when any can.

    Args:
        fields: The body.
    """
    for name, reason in _FIELDS.items():
        if fields.get(name):
            return f"{name}: {reason}"
    for place, item in enumerate(objects(fields.get("input"))):
        if item.get("type") == "item_reference" or (item.keys() <= {"type", "id"} and "id" in item):
            return f"input[{place}]: refers to an item that its provider keeps"
        for part in (*objects(item.get("content")), *objects(item.get("output"))):
            if part.get("file_id"):
                return f"input[{place}]: uses a file that its provider keeps"
    return None


def pin_id(fields: Mapping[str, Any]) -> str | None:
    """The id of the answer that the request goes on from."""
    value = fields.get("previous_response_id")
    return value if isinstance(value, str) and value else None
