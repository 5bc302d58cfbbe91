"""The schema's types as `msgspec.inspect` reads them, without their wrappers: what the walkers walk.

That library reads a type with everything inside it, all the schema in one go: a tenth of a start, for maps that
hardly any file has. So it is asked for what is inside a map only when that map is met.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import UnsetType, inspect
from msgspec.structs import FieldInfo

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
def fields_of(section: type[Section]) -> Mapping[str, tuple[FieldInfo, Shape]]:
    """The known keys of a map."""
    return {field.encode_name: (field, unwrap(_described(field.type))) for field in msgspec.structs.fields(section)}


def _described(hint: Any) -> inspect.Type:
    """A type as the library tells it, but for the fields of the maps in it."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated and _holds(inside[0]):
        noted = inspect.type_info(Annotated[Any, *inside[1:]])  # what is known of a map or list is said in words
        inner = _described(inside[0])
        return msgspec.structs.replace(noted, type=inner) if isinstance(noted, inspect.Metadata) else inner
    if origin in (Union, UnionType):
        members = tuple(_described(member) for member in inside if member is not UnsetType)
        return members[0] if len(members) == 1 else inspect.UnionType(members)
    if origin is dict:
        return inspect.DictType(_described(inside[0]), _described(inside[1]))
    if origin is list:
        return inspect.ListType(_described(inside[0]))
    return inspect.StructType(hint, ()) if _is_section(hint) else inspect.type_info(hint)


def _holds(hint: Any) -> bool:
    return _is_section(hint) or get_origin(hint) in (Union, UnionType, dict, list)


def _is_section(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Section)


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
