"""A JSON Schema as the dialect's structured output takes it: closed objects, and no bounds on values.

What the grammar behind it cannot enforce is said in the description instead, where the model reads it.

Source: platform.claude.com/docs/en/build-with-claude/structured-outputs, JSON Schema limitations (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.dialects.fields import json_text

__all__ = ["fitted"]

_UNENFORCED = frozenset(
    {
        "contains",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "if",
        "maxContains",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minContains",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "not",
        "pattern",
        "patternProperties",
        "propertyNames",
        "then",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_OF_NAMES = ("properties", "$defs", "definitions")  # hold schemas by name
_OF_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")


def fitted(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with everything in it that can be enforced; equal to it when that is all."""
    kept = {name: value for name, value in schema.items() if not _unenforced(name, value)}
    said = {name: value for name, value in schema.items() if name not in kept}
    for name in _OF_NAMES:
        if isinstance(inner := kept.get(name), dict):
            kept[name] = {key: _inner(value) for key, value in inner.items()}
    for name in _OF_LISTS:
        if isinstance(inner := kept.get(name), list):
            kept[name] = [_inner(value) for value in inner]
    if "items" in kept:
        kept["items"] = _inner(kept["items"])
    if "oneOf" in kept and "anyOf" not in kept:
        kept["anyOf"] = kept.pop("oneOf")
    if kept.get("type") == "object" or "properties" in kept:
        kept["additionalProperties"] = False
    if said:
        before = f"{kept['description']}\n" if isinstance(kept.get("description"), str) else ""
        kept["description"] = before + json_text(said)
    return kept


def _inner(value: Any) -> Any:
    return fitted(value) if isinstance(value, dict) else value


def _unenforced(name: str, value: Any) -> bool:
    match name:
        case "minItems":
            return value not in (0, 1)
        case "format":
            return not isinstance(value, str) or value not in _FORMATS
        case _:
            return name in _UNENFORCED
