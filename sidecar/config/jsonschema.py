"""The schema as JSON Schema, for editors: the same Structs, descriptions and defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import msgspec
from msgspec import inspect
from msgspec.structs import FieldInfo

from sidecar.config import units
from sidecar.config.presets import PRESETS
from sidecar.config.schema import ConfigKeys
from sidecar.config.shape import Shape, choices, fields_of, unwrap
from sidecar.config.values import Section
from sidecar.model.settings import AutoLimit

__all__ = ["json_schema"]


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the config file."""
    definitions: dict[str, Any] = {}
    root = _section(ConfigKeys, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sidecar.yaml",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _section(section: type[Section], definitions: dict[str, Any]) -> dict[str, Any]:
    fields = fields_of(section)
    properties = {key: _property(section, field, shape, definitions) for key, (field, shape) in fields.items()}
    if section.__name__ == "ProviderKeys":
        properties["type"]["examples"] = sorted(PRESETS)
    schema: dict[str, Any] = {
        "type": "object",
        "description": " ".join((section.__doc__ or "").split()),
        "properties": properties,
        "additionalProperties": False,
    }
    required = [key for key, (field, _) in fields.items() if field.required]
    return {**schema, "required": required} if required else schema


def _property(section: type[Section], field: FieldInfo, shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = {**_type(shape, definitions), "description": shape.description}
    default = _default(section, field.name, shape)
    return schema if default is None else {**schema, "default": default}


def _default(section: type[Section], name: str, shape: Shape) -> Any:
    """The default of a key as the file would write it; None for maps, and where there is none."""
    models: Any = section.defaults
    known = {field.name: field.default for model in models for field in msgspec.structs.fields(model)}
    value = known.get(name)
    if shape.default is not None:
        return shape.default
    if value is None or isinstance(value, AutoLimit):
        return _word(shape)
    return None if value is msgspec.NODEFAULT or _is_map(value) else _written(value, shape)


def _word(shape: Shape) -> str | None:
    """The word of a type that has one beside its values: `auto`, `off`; it stands for None."""
    members = shape.type.types if isinstance(shape.type, inspect.UnionType) else ()
    return next((choices(kind)[0] for kind in members if isinstance(kind, inspect.EnumType)), None)


def _is_map(value: Any) -> bool:
    if isinstance(value, frozenset):  # the type's own
        return True
    return isinstance(value, msgspec.Struct) or (isinstance(value, tuple) and any(map(_is_map, value)))


def _written(value: Any, shape: Shape) -> Any:
    if shape.kind == "duration":
        return units.duration_text(value)
    if shape.kind == "size":
        return units.size_text(value)
    if shape.kind == "mode":
        return f"{value:04o}"
    if shape.kind == "percent":
        return units.percent_text(value)
    if isinstance(value, tuple):
        return list(value)
    return value.value if isinstance(value, Enum) else value


def _type(shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    if shape.kind is not None:
        return _KINDS[shape.kind]
    return _TYPES[type(shape.type)](shape.type, definitions)


def _reference(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    name = kind.cls.__name__.removesuffix("Keys")
    if name not in definitions:
        definitions[name] = {}  # holds the name while its own fields are described
        definitions[name] = _section(kind.cls, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _number(name: str, kind: Any) -> dict[str, Any]:
    limits = {"minimum": kind.ge, "exclusiveMinimum": kind.gt, "maximum": kind.le}
    return {"type": name, **{key: limit for key, limit in limits.items() if limit is not None}}


_KINDS: Mapping[str, dict[str, Any]] = {
    "duration": {"type": "string", "pattern": f"{units.DURATION_PATTERN}|\\$\\{{"},
    "size": {"type": "string", "pattern": f"{units.SIZE_PATTERN}|\\$\\{{"},
    "mode": {"type": "string", "pattern": units.MODE_PATTERN},
    "percent": {
        "anyOf": [
            {"type": "number", "minimum": 0, "maximum": 100},
            {"type": "string", "pattern": f"{units.PERCENT_PATTERN}|\\$\\{{"},
        ]
    },
    "text": {"type": "string"},
}

_TYPES: Mapping[type[inspect.Type], Callable[[Any, dict[str, Any]], dict[str, Any]]] = {
    inspect.StrType: lambda _, __: {"type": "string"},
    inspect.BoolType: lambda _, __: {"type": "boolean"},
    inspect.IntType: lambda kind, _: _number("integer", kind),
    inspect.FloatType: lambda kind, _: _number("number", kind),
    inspect.AnyType: lambda _, __: {},
    inspect.LiteralType: lambda kind, _: {"enum": choices(kind)},
    inspect.EnumType: lambda kind, _: {"enum": choices(kind)},
    inspect.StructType: _reference,
    inspect.DictType: lambda kind, known: {
        "type": "object",
        "additionalProperties": _type(unwrap(kind.value_type), known),
    },
    inspect.ListType: lambda kind, known: {"type": "array", "items": _type(unwrap(kind.item_type), known)},
    inspect.UnionType: lambda kind, known: {"anyOf": [_type(unwrap(member), known) for member in kind.types]},
}
