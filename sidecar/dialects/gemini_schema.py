"""Two languages for schemas: JSON Schema, and Google's `Schema`, a part of OpenAPI 3.0 with names of its own.

`Schema` writes types in capitals and `nullable` for a union with null, knows no references, and a field
that it does not have is refused ("Unknown name"). Newer models take JSON Schema as it is, in a field
beside it (`parametersJsonSchema`, `responseJsonSchema`); for the others `reduced` says what can be said.
Neither function changes what it is given.

Source: ai.google.dev/api/caching#Schema, ai.google.dev/gemini-api/docs/structured-output (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sidecar.dialects.losses import added, changed, dropped
from sidecar.model.hub import Loss

__all__ = ["json_schema", "reduced"]

_SNAKE = re.compile(r"_([a-z])")
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_KEPT = _COUNTS | {"title", "description", "default", "pattern", "minimum", "maximum", "example", "required"}
_SILENT = frozenset({"$schema", "$id", "$comment", "$defs", "definitions", "examples", "nullable"})
_HANDLED = frozenset({"type", "$ref", "properties", "items", "anyOf", "oneOf", "allOf", "enum", "const", "format"})
_FORMATS = frozenset({"date-time", "enum", "float", "double", "int32", "int64"})
_TYPES: Mapping[str, str] = MappingProxyType(
    {name: name.upper() for name in ("string", "number", "integer", "boolean", "array", "object", "null")}
)
_MAX_NODES = 2000  # references within references can multiply without end


def json_schema(schema: Any) -> Any:
    """The JSON Schema that means what a `Schema` means."""
    if not isinstance(schema, dict):
        return schema
    spelt = {_SNAKE.sub(lambda match: match[1].upper(), name): value for name, value in schema.items()}
    said: dict[str, Any] = {}
    for name, value in spelt.items():
        match name:
            case "type":
                said[name] = value.lower() if isinstance(value, str) else value
            case "properties" | "defs" | "$defs" if isinstance(value, dict):
                of = {key: json_schema(inner) for key, inner in value.items()}
                said["$defs" if name == "defs" else name] = _ordered(of, spelt.get("propertyOrdering"))
            case "items" | "additionalProperties":
                said[name] = json_schema(value)
            case "anyOf" if isinstance(value, list):
                said[name] = [json_schema(option) for option in value]
            case "ref":
                said["$ref"] = value
            case "example":
                said["examples"] = [value]
            case "propertyOrdering" | "nullable":
                pass
            case "format" if value == "enum":
                pass
            case _:
                said[name] = int(value) if name in _COUNTS and _digits(value) else value
    if said.get("type") == "type_unspecified":
        del said["type"]
    return _with_null(said) if spelt.get("nullable") is True else said


def _digits(value: Any) -> bool:
    """Whether it is an int64, which protobuf writes as a string."""
    return isinstance(value, str) and value.isdecimal() and len(value) < 20


def _ordered(properties: dict[str, Any], names: Any) -> dict[str, Any]:
    """The properties in the order that is asked for, which JSON Schema says by their order alone."""
    first = [name for name in names if isinstance(name, str) and name in properties] if isinstance(names, list) else []
    return {name: properties[name] for name in [*first, *properties]}


def _with_null(said: dict[str, Any]) -> dict[str, Any]:
    if isinstance(said.get("anyOf"), list):
        said["anyOf"] = [*said["anyOf"], {"type": "null"}]
    elif isinstance(said.get("type"), str):
        said["type"] = [said["type"], "null"]
        if isinstance(said.get("enum"), list):
            said["enum"] = [*said["enum"], None]
    return said


def reduced(schema: Mapping[str, Any], path: str, losses: list[Loss]) -> dict[str, Any]:
    """The `Schema` that says most of a JSON Schema.

    Args:
        schema: Left as it is.
        path: Of it, for the losses.
        losses: Where what cannot be said is noted.
    """
    return _Reduction(schema, losses).of(schema, path, ())


class _Reduction:
    """One schema on its way: its root, for the references, and how much has been written."""

    def __init__(self, root: Mapping[str, Any], losses: list[Loss]) -> None:
        self._root = root
        self._losses = losses
        self._nodes = 0

    def of(self, schema: Any, path: str, within: tuple[str, ...]) -> dict[str, Any]:
        """One node.

        Args:
            schema: The node.
            path: Of it.
            within: The references that led here.
        """
        self._nodes += 1
        if not isinstance(schema, dict):
            if schema is not True:
                changed(self._losses, path, "the schema has no way to say this; anything is allowed here")
            return {}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return self._referred(schema, reference, path, within)
        said = {name: schema[name] for name in _KEPT if name in schema}
        if isinstance(schema.get("allOf"), list):
            said |= self._all(schema["allOf"], path, within)
        self._type(schema, said, path)
        if isinstance(schema.get("properties"), dict) and schema["properties"]:
            of = {name: self.of(inner, f"{path}.{name}", within) for name, inner in schema["properties"].items()}
            said["properties"] = {**said.get("properties", {}), **of}
        if "items" in schema:
            said["items"] = self.of(schema["items"], f"{path}.items", within)
        elif said.get("type") == "ARRAY":
            said["items"] = {"type": "STRING"}
            added(self._losses, f"{path}.items", "an array must say what it is of; strings are assumed")
        for name in ("anyOf", "oneOf"):
            if isinstance(schema.get(name), list):
                self._any(schema[name], name, said, path, within)
        self._values(schema, said, path)
        for name in schema.keys() - _KEPT - _SILENT - _HANDLED:
            dropped(self._losses, f"{path}.{name}", "this model's schemas have no such keyword")
        return said

    def _referred(
        self, schema: Mapping[str, Any], reference: str, path: str, within: tuple[str, ...]
    ) -> dict[str, Any]:
        if reference in within or self._nodes > _MAX_NODES:
            changed(self._losses, path, f"a schema that holds itself ({reference}) ends here; anything is allowed")
            return {"type": "OBJECT"}
        target = self._target(reference)
        if not isinstance(target, dict):
            dropped(self._losses, f"{path}.$ref", f"{reference} is nowhere in the schema")
            return {}
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        return self.of({**target, **beside}, path, (*within, reference))

    def _target(self, reference: str) -> Any:
        """What a reference into the same document points at (RFC 6901)."""
        place: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            place = place.get(name) if isinstance(place, dict) else None
        return place if reference.startswith("#") else None

    def _all(self, parts: list[Any], path: str, within: tuple[str, ...]) -> dict[str, Any]:
        """Several schemas as one: their properties and what they require together."""
        whole: dict[str, Any] = {}
        for place, part in enumerate(parts):
            one = self.of(part, f"{path}.allOf[{place}]", within)
            properties = {**whole.get("properties", {}), **one.get("properties", {})}
            required = [*_list(whole.get("required")), *_list(one.get("required"))]
            whole |= one
            whole |= {"properties": properties} if properties else {}
            whole |= {"required": required} if required else {}
        if len(parts) > 1:
            changed(self._losses, f"{path}.allOf", "said as one schema with the properties of all")
        return whole

    def _any(self, options: list[Any], name: str, said: dict[str, Any], path: str, within: tuple[str, ...]) -> None:
        real = [option for option in options if not (isinstance(option, dict) and option.get("type") == "null")]
        if len(real) < len(options):
            said["nullable"] = True
        reductions = [self.of(option, f"{path}.{name}[{place}]", within) for place, option in enumerate(real)]
        if len(reductions) == 1:
            said |= {key: value for key, value in reductions[0].items() if key not in said}
        elif reductions:
            said["anyOf"] = reductions
        if name == "oneOf":
            changed(self._losses, f"{path}.oneOf", "said as anyOf")

    def _type(self, schema: Mapping[str, Any], said: dict[str, Any], path: str) -> None:
        kind = schema.get("type")
        kinds = [each for each in _list(kind if isinstance(kind, list) else [kind]) if isinstance(each, str)]
        real = [_TYPES.get(each.lower(), each) for each in kinds if each.lower() != "null"]
        if schema.get("nullable") is True or len(real) < len(kinds):
            said["nullable"] = True
        if len(real) == 1:
            said["type"] = real[0]
        elif real:
            said["anyOf"] = [{"type": each} for each in real]
        form = schema.get("format")
        if isinstance(form, str) and form in _FORMATS:
            said["format"] = form
        elif form is not None:
            dropped(self._losses, f"{path}.format", f"{form} is none of this model's formats")

    def _values(self, schema: Mapping[str, Any], said: dict[str, Any], path: str) -> None:
        values = [schema["const"]] if "const" in schema else _list(schema.get("enum"))
        if not values:
            return
        if None in values:
            said["nullable"] = True
        real = [value for value in values if value is not None]
        if all(isinstance(value, str) for value in real):
            said["enum"] = real
            said.setdefault("type", "STRING")
        else:
            dropped(self._losses, f"{path}.enum", "only strings can be enumerated")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
