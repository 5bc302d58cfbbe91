"""What the messages of the walker say: what was expected, what was found, what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from msgspec import inspect

from sidecar.config import units
from sidecar.config.problems import hint
from sidecar.config.shape import Shape, choices, paths, unwrap
from sidecar.config.tree import Scalar, plain_value

__all__ = ["advice", "found", "unknown", "wanted"]

_KINDS: Mapping[str, str] = {
    "duration": "a duration such as 250ms, 30s, 5m or 1h",
    "size": "a size such as 64KiB, 32MiB or 1MB",
    "mode": 'permissions in quotes such as "0660"',
    "percent": "a percentage such as 5%",
    "text": "a text",
}
_TYPES: Mapping[type[inspect.Type], str] = {
    inspect.StrType: "a text",
    inspect.BoolType: "true or false",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.StructType: "a map",
    inspect.DictType: "a map",
    inspect.ListType: "a list",
}


def wanted(shape: Shape) -> str:
    """The values a type takes, in words."""
    if isinstance(shape.type, inspect.UnionType):
        return _either([wanted(unwrap(member)) for member in shape.type.types])
    if isinstance(shape.type, inspect.LiteralType | inspect.EnumType):
        return _either([str(choice) for choice in choices(shape.type)])
    words = _KINDS[shape.kind] if shape.kind else _TYPES[type(shape.type)]
    return words + _limits(shape)


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _limits(shape: Shape) -> str:
    kind: Any = shape.type
    show = units.duration_text if shape.kind == "duration" else lambda number: f"{number:g}"
    said = [
        f"{words} {show(limit)}"
        for words, limit in (
            ("at least", _bound(kind, "ge")),
            ("more than", _bound(kind, "gt")),
            ("at most", _bound(kind, "le")),
        )
        if limit is not None and not (shape.kind in ("duration", "size") and limit == 0 and words == "at least")
    ]
    return f", {' and '.join(said)}" if said else ""


def _bound(kind: Any, name: str) -> float | None:
    return getattr(kind, name, None)


def found(node: Scalar, value: Any) -> str:
    """The value as it stands in the file: a reference is shown, never what it gave."""
    if value is None:
        return "nothing"
    shown = node.text if len(node.text) <= 60 else f"{node.text[:57]}..."
    return shown if node.plain and not isinstance(value, str) else f'"{shown}"'


def advice(shape: Shape, text: str | None) -> str:
    """What was probably meant."""
    if text is None:
        return ""
    members = shape.type.types if isinstance(shape.type, inspect.UnionType) else ()
    kinds = {shape.kind, *(unwrap(member).kind for member in members)}
    if "duration" in kinds and isinstance(plain_value(text), int | float) and not text.startswith("-"):
        return f"; did you mean {text}s?"
    if isinstance(shape.type, inspect.LiteralType | inspect.EnumType):
        known = hint(text, choices(shape.type))
        return known if "did you mean" in known else ""
    if isinstance(shape.type, inspect.StrType):
        return f'; write it in quotes: "{text}"'
    return ""


def unknown(key: str, path: str, known: Iterable[str]) -> str:
    """What to say of a key that is not known here: a slip of the pen, or a key of another place."""
    message = f'unknown key "{key}"'
    suggestion = hint(key, known)
    if "did you mean" in suggestion:
        return message + suggestion
    homes = [home for home in _homes().get(key, ()) if home != path]
    if homes:
        return f"{message} here; it belongs under {' or '.join(homes[:3])}"
    return message + suggestion


@cache
def _homes() -> Mapping[str, list[str]]:
    """Where each key of the schema belongs, for those that stand in the wrong place."""
    homes: dict[str, list[str]] = {}
    for path in paths():
        home, _, key = path.rpartition(".")
        if home and key != "NAME":
            homes.setdefault(key, []).append(home)
    return homes
