"""The schema's types as `msgspec.inspect` reads them, without their wrappers: what the walkers walk."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from sidecar.config.problems import child
from sidecar.config.schema import ConfigKeys
from sidecar.config.values import Section

__all__ = ["Shape", "choices", "fields_of", "paths", "unwrap"]


class Shape(msgspec.Struct, frozen=True):
    """A type of the schema without its wrappers."""

    type: inspect.Type
    kind: str | None = None  # a text with a meaning: duration, size, mode, text
    description: str = ""
    default: Any = None  # where it is not that of the compiled value


def unwrap(wrapped: inspect.Type) -> Shape:
    """What is inside the annotations of a type."""
    kind, described = None, dict[str, Any]()
    while isinstance(wrapped, inspect.Metadata):
        described |= wrapped.extra_json_schema or {}
        kind = kind or (wrapped.extra or {}).get("kind")
        wrapped = wrapped.type
    return Shape(wrapped, kind, described.get("description", ""), described.get("default"))


@cache
def fields_of(section: type[Section]) -> Mapping[str, tuple[inspect.Field, Shape]]:
    """The known keys of a map."""
    described = inspect.type_info(section)
    assert isinstance(described, inspect.StructType)  # sections are Structs
    return {field.encode_name: (field, unwrap(field.type)) for field in described.fields}


def choices(kind: Any) -> list[Any]:
    """The values that a Literal or an Enum allows."""
    return list(kind.values) if isinstance(kind, inspect.LiteralType) else [member.value for member in kind.cls]


def paths(section: type[Section] = ConfigKeys, path: str = "") -> list[str]:
    """Every key of the schema as a path, in the schema's order; `NAME` stands for a name of the user's."""
    found: list[str] = []
    for key, (_, shape) in fields_of(section).items():
        here = child(path, key)
        found.append(here)
        for inner, suffix in _inside(shape.type):
            found += paths(inner, here + suffix)
    return found


def _inside(kind: inspect.Type) -> list[tuple[type[Section], str]]:
    """The maps with known keys that a value may hold, and how the path goes on to them."""
    if isinstance(kind, inspect.StructType):
        return [(kind.cls, "")] if issubclass(kind.cls, Section) else []
    if isinstance(kind, inspect.DictType):
        return [(inner, ".NAME" + rest) for inner, rest in _inside(unwrap(kind.value_type).type)]
    if isinstance(kind, inspect.ListType):
        return [(inner, "[]" + rest) for inner, rest in _inside(unwrap(kind.item_type).type)]
    if isinstance(kind, inspect.UnionType):
        return [found for member in kind.types for found in _inside(unwrap(member).type)]
    return []
