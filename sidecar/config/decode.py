"""Nodes to the schema's Structs: one walker for all types, which goes on after every error.

The types are those that `msgspec.inspect` reads from `schema`; the nodes keep their places. The walk
notes the place of every path for the checks that come later, and collects what must not be shown.
Where a value is wrong the walker answers `_WRONG`, and whatever contains it drops that part only.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import inspect

from sidecar.config import units
from sidecar.config.problems import Problems, child, item
from sidecar.config.references import Lookup, Resolved, ResolveError, resolve
from sidecar.config.schema import ConfigKeys
from sidecar.config.shape import Shape, choices, fields_of, unwrap
from sidecar.config.tree import Entries, Items, Node, Scalar, plain_value
from sidecar.config.values import Section, Text
from sidecar.config.wording import advice, found, unknown, wanted
from sidecar.model.secret import Secret

__all__ = ["Decoder"]

_WRONG: Any = object()


class Decoder:
    """Decodes one config; lives for one `load`.

    `secrets` and `files` are what the config turned out to hold.
    """

    def __init__(self, problems: Problems, lookup: Lookup) -> None:
        self.secrets: set[Secret] = set()
        self.files: dict[str, None] = {}
        self._problems = problems
        self._lookup = lookup

    def config(self, root: Entries) -> ConfigKeys:
        """The config as far as it can be read; everything else is among the problems."""
        value = self._section(root, ConfigKeys, "")
        return ConfigKeys() if value is _WRONG else value

    def _decode(self, node: Node, shape: Shape, path: str) -> Any:
        self._problems.places[path] = node.place
        if isinstance(node, Scalar):
            return self._scalar(node, shape, path)
        if isinstance(shape.type, inspect.UnionType):
            for member in shape.type.types:
                inner = unwrap(member)
                if _fits(node, inner):
                    return self._decode(node, inner, path)
        if isinstance(shape.type, inspect.AnyType):
            return self._free(node, path)
        if not _fits(node, shape):
            return self._expected(path, shape, "a map" if isinstance(node, Entries) else "a list")
        if isinstance(node, Items):
            return self._list(node, shape, path)
        if isinstance(shape.type, inspect.StructType):
            section: Any = shape.type.cls
            return self._section(node, section, path)
        return self._map(node, shape, path)

    def _section(self, node: Entries, section: type[Section], path: str) -> Any:
        known = fields_of(section)
        values: dict[str, Any] = {}
        good = True
        for key, value in node.pairs:
            place = child(path, key.text)
            if key.text not in known:
                self._problems.add(place, unknown(key.text, path, known), key.place)
                continue
            field, shape = known[key.text]
            decoded = self._decode(value, shape, place)
            if decoded is not _WRONG:
                values[field.name] = decoded
            else:
                good = good and not field.required
        missing = [name for name, (field, _) in known.items() if field.required and field.name not in values]
        for name in missing if good else ():
            self._problems.add(path, f'missing key "{name}"', node.place)
        return _WRONG if missing else section(**values)

    def _map(self, node: Entries, shape: Shape, path: str) -> Any:
        assert isinstance(shape.type, inspect.DictType)  # see _fits
        inner = unwrap(shape.type.value_type)
        decoded = ((key.text, self._decode(value, inner, child(path, key.text))) for key, value in node.pairs)
        return {key: value for key, value in decoded if value is not _WRONG}

    def _list(self, node: Items, shape: Shape, path: str) -> Any:
        assert isinstance(shape.type, inspect.ListType)  # see _fits
        inner = unwrap(shape.type.item_type)
        decoded = [self._decode(value, inner, item(path, index)) for index, value in enumerate(node.nodes)]
        return _WRONG if any(value is _WRONG for value in decoded) else decoded

    def _scalar(self, node: Scalar, shape: Shape, path: str) -> Any:
        try:
            resolved = resolve(node.text, self._lookup)
        except ResolveError as error:
            self._problems.add(path, str(error), node.place)
            return _WRONG
        self.files.update(dict.fromkeys(resolved.files))
        if shape.kind == "text":
            return self._secret(node, resolved, path)
        value = plain_value(resolved.text) if node.plain or resolved.source else resolved.text
        if isinstance(shape.type, inspect.AnyType):
            return self._finite(value, path)
        types = shape.type.types if isinstance(shape.type, inspect.UnionType) else (shape.type,)
        for inner in map(unwrap, types):
            decoded = _convert(value, resolved.text, Shape(inner.type, inner.kind or shape.kind))
            if decoded is not _WRONG:
                return decoded
        if value is None and isinstance(shape.type, inspect.StructType | inspect.DictType):
            return self._decode(Entries(node.place, ()), shape, path)  # a key whose content was commented out
        return self._expected(path, shape, found(node, value), resolved.text)

    def _secret(self, node: Scalar, resolved: Resolved, path: str) -> Any:
        if node.plain and resolved.source is None and not isinstance(plain_value(node.text), str):
            if plain_value(node.text) is None:
                return self._expected(path, Shape(inspect.StrType()), "nothing")
            self._problems.add(path, "expected a text; write it in quotes")  # the value may be a key: not shown
            return _WRONG
        self.secrets.update(Secret(part) for part in resolved.parts if part)
        return Text(Secret(resolved.text), resolved.source)

    def _free(self, node: Node, path: str) -> Any:
        anything = Shape(inspect.AnyType())
        if isinstance(node, Entries):
            return {key.text: self._decode(value, anything, child(path, key.text)) for key, value in node.pairs}
        assert isinstance(node, Items)  # scalars went another way
        return [self._decode(value, anything, item(path, index)) for index, value in enumerate(node.nodes)]

    def _finite(self, value: Any, path: str) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            self._problems.add(path, "expected a finite number")
            return _WRONG
        return value

    def _expected(self, path: str, shape: Shape, instead: str, text: str | None = None) -> Any:
        message = f"expected {wanted(shape)}, found {instead}{advice(shape, text)}"
        self._problems.add(path, message)
        return _WRONG


def _fits(node: Node, shape: Shape) -> bool:
    """Whether a type takes this sort of node."""
    if isinstance(node, Entries):
        return isinstance(shape.type, inspect.StructType | inspect.DictType)
    return isinstance(shape.type, inspect.ListType) == isinstance(node, Items)


# --- scalars -------------------------------------------------------------------------------------

_UNITS: Mapping[str, Callable[[str], float | int | None]] = {
    "duration": units.duration,
    "size": units.size,
    "mode": units.mode,
    "percent": units.percent,
}
_MAY_LOOK_LIKE_NUMBERS = ("mode", "percent")


def _convert(value: Any, text: str, shape: Shape) -> Any:
    """The value as the type wants it, or `_WRONG`."""
    if shape.kind is not None:
        number = _UNITS[shape.kind](text) if isinstance(value, str) or shape.kind in _MAY_LOOK_LIKE_NUMBERS else None
        return _WRONG if number is None or not _in_range(number, shape.type) else number
    convert = _CONVERSIONS.get(type(shape.type))
    return _WRONG if convert is None else convert(value, shape.type)


_MOST = sys.float_info.max  # more is no float, infinity neither; a whole number can be more


def _number(value: Any, kind: Any) -> Any:
    numbers: Any = int if isinstance(kind, inspect.IntType) else int | float
    if isinstance(value, bool) or not isinstance(value, numbers) or not abs(value) <= _MOST:
        return _WRONG
    if not _in_range(value, kind):
        return _WRONG
    return value if isinstance(kind, inspect.IntType) else float(value)


def _in_range(number: float, kind: Any) -> bool:
    return (
        (kind.ge is None or number >= kind.ge)
        and (kind.gt is None or number > kind.gt)
        and (kind.le is None or number <= kind.le)
        and (kind.lt is None or number < kind.lt)
    )


_CONVERSIONS: Mapping[type[inspect.Type], Callable[[Any, Any], Any]] = {
    inspect.StrType: lambda value, _: value if isinstance(value, str) else _WRONG,
    inspect.BoolType: lambda value, _: value if isinstance(value, bool) else _WRONG,
    inspect.IntType: _number,
    inspect.FloatType: _number,
    inspect.LiteralType: lambda value, kind: value if value in kind.values else _WRONG,
    inspect.EnumType: lambda value, kind: kind.cls(value) if value in choices(kind) else _WRONG,
}
