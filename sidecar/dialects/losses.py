"""How losses are noted: the same few ways for every dialect.

A name in `extra` that begins with `~` is a note of its dialect on how something was written that is said
in full elsewhere (another spelling, a default that was spelt out). It is given back to that dialect, and
is no loss to any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.model.hub import How, Loss
from sidecar.model.topology import Dialect

__all__ = ["NOTE", "added", "changed", "dropped", "foreign"]

NOTE = "~"

_NOTHING: tuple[object, ...] = (None, [], {}, "", ())
_SWITCHES = frozenset({"web_search_options"})  # that they are there says all; to be empty is their usual form


def dropped(losses: list[Loss], path: str, reason: str) -> None:
    """It is not said."""
    losses.append(Loss(path, How.DROPPED, reason))


def changed(losses: list[Loss], path: str, reason: str) -> None:
    """It is said in another way."""
    losses.append(Loss(path, How.CHANGED, reason))


def added(losses: list[Loss], path: str, reason: str) -> None:
    """It is said though nobody asked for it, for the dialect demands it."""
    losses.append(Loss(path, How.ADDED, reason))


def foreign(
    losses: list[Loss], extra: Mapping[str, Any], path: str, dialect: Dialect, *, silent: Iterable[str] = ()
) -> None:
    """Note every field of another dialect that has no place in this one.

    Args:
        losses: Where.
        extra: The fields as written; a field that says nothing (null, empty) is no loss.
        path: Of what holds them, "" at the top level.
        dialect: That cannot say them.
        silent: Names whose absence changes nothing.
    """
    for name, value in extra.items():
        says = value not in _NOTHING or (name in _SWITCHES and value is not None)
        if says and name not in silent and not name.startswith(NOTE):
            dropped(losses, f"{path}.{name}" if path else name, f"{dialect.value} has no such field")
