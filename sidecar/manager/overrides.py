"""What was changed by hand on top of the config: by the Python API or the admin plane.

An override is a change of a snapshot, remembered by what it changes. It survives edits of other things
and ends with the next edit of the same thing, so that a file is never contradicted without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum

import msgspec

from sidecar.model.errors import ConfigurationError
from sidecar.model.topology import Snapshot

__all__ = ["Override", "OverrideKind", "Overrides", "added", "applied", "carried"]


class OverrideKind(IntEnum):
    """What an override changes; they are applied in this order."""

    CHAIN = 1
    BALANCE = 2
    WEIGHT = 3


class Override(msgspec.Struct, frozen=True):
    """One change made by hand."""

    kind: OverrideKind
    name: str  # the route, or the provider or target whose weight it is
    text: str  # for people: "chain [a/x, b/y]"
    change: Callable[[Snapshot], Snapshot]


Overrides = Mapping[tuple[OverrideKind, str], Override]


def applied(base: Snapshot, overrides: Overrides) -> Snapshot:
    """The snapshot with every override on top.

    Raises:
        ConfigurationError: When one does not fit.
    """
    snapshot = base
    for key in sorted(overrides):
        snapshot = overrides[key].change(snapshot)
    return snapshot


def added(base: Snapshot, overrides: Overrides, new: Override) -> tuple[Overrides, tuple[Override, ...]]:
    """Those in force once there is a new one, and those that it ends because they fit no longer.

    The weight of a provider replaces the weights that its targets were given before.

    Raises:
        ConfigurationError: When the new one does not fit; nothing has changed then.
    """
    own = (new.kind, new.name)
    all_of_them = {key: each for key, each in overrides.items() if not _covers(own, key)} | {own: new}
    kept: dict[tuple[OverrideKind, str], Override] = {}
    ended: list[Override] = []
    for key in sorted(all_of_them):
        kept[key] = all_of_them[key]
        try:
            applied(base, kept)
        except ConfigurationError:
            if key == own:
                raise
            ended.append(kept.pop(key))
    return kept, tuple(ended)


def _covers(new: tuple[OverrideKind, str], old: tuple[OverrideKind, str]) -> bool:
    return new[0] is old[0] is OverrideKind.WEIGHT and old[1].startswith(f"{new[1]}/")


def carried(old: Snapshot, new: Snapshot, overrides: Overrides) -> tuple[Overrides, tuple[Override, ...]]:
    """Those overrides that survive the edit from `old` to `new`, and those that it ends.

    One ends when the thing it changes was edited, or when it no longer fits.
    """
    kept: dict[tuple[OverrideKind, str], Override] = {}
    ended: list[Override] = []
    for key in sorted(overrides):
        override = overrides[key]
        kept[key] = override
        if _edited(override, old, new) or not _fits(new, kept):
            del kept[key]
            ended.append(override)
    return kept, tuple(ended)


def _edited(override: Override, old: Snapshot, new: Snapshot) -> bool:
    written = _weights if override.kind is OverrideKind.WEIGHT else _route
    return written(old, override.name) != written(new, override.name)


def _route(snapshot: Snapshot, name: str) -> object:
    """What the config says of a route itself: an edit of a provider that it names is no edit of the route."""
    route = snapshot.routes.get(name)
    if route is None:
        return None
    chain = [(pool.balance, pool.sticky, [(m.target.key, m.weight) for m in pool.members]) for pool in route.chain]
    return chain, route.timeouts, route.attempts, route.stream, route.fallback_on


def _weights(snapshot: Snapshot, name: str) -> dict[str, float]:
    """The weight of every pool member that a provider's or target's name stands for, by its place."""
    return {
        f"{pool.key} {member.target.key}": member.weight
        for route in snapshot.routes.values()
        for pool in route.chain
        for member in pool.members
        if name in (member.target.key, member.target.provider.name)
    }


def _fits(base: Snapshot, overrides: Overrides) -> bool:
    try:
        applied(base, overrides)
    except ConfigurationError:
        return False
    return True
