"""The fields of one JSON object, taken one by one and checked; what nobody takes is `rest`.

A null is as good as absent, and stays in `rest` so that it can be given back. What is wrong is told with
the path, what was found and what is expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure, Kind

__all__ = ["Fields", "json_object_of", "json_text", "wrong"]

_MAX_SHOWN = 80  # characters


def wrong(path: str, found: Any, expected: str) -> ValidationError:
    """The error that says what stands at a path instead of what."""
    message = f"{path}: found {_shown(found)}, expected {expected}"
    return ValidationError(failure=Failure(Kind.INVALID_REQUEST, message, param=path))


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"an object with {_cut(', '.join(map(str, value)))}" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "null" if value is None else _cut(json_text(value))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


def json_text(value: Any) -> str:
    """A JSON value as text."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half of a surrogate pair, which is no text
        return msgspec.json.encode(_whole(value)).decode()


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_whole(name): _whole(item) for name, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def json_object_of(text: str) -> dict[str, Any] | None:
    """The object that a text is, an empty one for no text and for null; None when it is none."""
    try:
        value = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    if value is None:
        return {}
    return value if isinstance(value, dict) else None


class Fields:
    """One object, read once.

    Args:
        value: The object.
        path: Where it stands; "" at the top.
    """

    __slots__ = ("path", "rest")

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            raise wrong(path, value, "an object")
        self.path = path
        self.rest: dict[str, Any] = dict(value)

    def at(self, name: str) -> str:
        """The path of one field."""
        return f"{self.path}.{name}" if self.path else name

    def text(self, name: str) -> str | None:
        """A string."""
        value = self._take(name)
        if value is None or isinstance(value, str):
            return value
        raise wrong(self.at(name), value, "a string")

    def named(self, name: str) -> str:
        """A string that must be there and say something."""
        value = self.text(name)
        if value:
            return value
        raise wrong(self.at(name), self.rest.get(name, value), "a string that is not empty")

    def flag(self, name: str) -> bool | None:
        """True or false."""
        value = self._take(name)
        if value is None or isinstance(value, bool):
            return value
        raise wrong(self.at(name), value, "true or false")

    def count(self, name: str) -> int | None:
        """A whole number, zero or more."""
        value = self._take(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        raise wrong(self.at(name), value, "a whole number, zero or more")

    def number(self, name: str) -> float | None:
        """A number."""
        value = self._take(name)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        raise wrong(self.at(name), value, "a number")

    def array(self, name: str) -> list[Any] | None:
        """A list."""
        value = self._take(name)
        if value is None or isinstance(value, list):
            return value
        raise wrong(self.at(name), value, "a list")

    def object(self, name: str) -> dict[str, Any] | None:
        """An object, as its fields."""
        value = self._take(name)
        if value is None or isinstance(value, dict):
            return value
        raise wrong(self.at(name), value, "an object")

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of strings."""
        value = self.array(name)
        if value is None:
            return None
        for place, item in enumerate(value):
            if not isinstance(item, str):
                raise wrong(f"{self.at(name)}[{place}]", item, "a string")
        return tuple(value)

    def _take(self, name: str) -> Any:
        value = self.rest.get(name)
        if value is not None:
            del self.rest[name]
        return value
