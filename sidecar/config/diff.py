"""What changed between two snapshots, for the log and for people: names and short texts, no secret.

Compares what was compiled, not what was written: moving a key to a wider scope is no change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

import msgspec

from sidecar.config.units import duration_text, size_text
from sidecar.model.secret import Secret
from sidecar.model.settings import ListenSettings
from sidecar.model.topology import Pool, Provider, Route, Snapshot

__all__ = ["Delta", "Diff", "chain_text", "diff"]


class Delta(msgspec.Struct, frozen=True):
    """The names of one kind of thing that came, went, or became different."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


class Diff(msgspec.Struct, frozen=True):
    """All that changed; false when nothing did."""

    providers: Delta = Delta()
    routes: Delta = Delta()
    settings: Delta = Delta()
    texts: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.texts)

    def lines(self) -> list[str]:
        """Short texts such as "routes.fast: chain [a/x] -> [b/y]"."""
        return list(self.texts)


def diff(old: Snapshot | None, new: Snapshot) -> Diff:
    """What is different in `new`; without an `old` everything is new."""
    providers, provider_texts = _named("providers", old.providers if old else {}, new.providers)
    routes, route_texts = _named("routes", old.routes if old else {}, new.routes)
    changes = list(_changes(old.settings, new.settings)) if old else []
    settings = Delta(changed=tuple(path for path, _ in changes))
    setting_texts = [f"{path}: {text}" for path, text in changes]
    return Diff(providers, routes, settings, (*provider_texts, *route_texts, *setting_texts))


def chain_text(chain: tuple[Pool, ...]) -> str:
    """A chain as the file writes it."""
    return f"[{', '.join(map(_pool_text, chain))}]"


def _pool_text(pool: Pool) -> str:
    if len(pool.members) == 1 and pool.members[0].weight == 1:
        return pool.members[0].target.key
    return f"{{{', '.join(f'{member.target.key}: {member.weight:g}' for member in pool.members)}}}"


def _named(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Delta, list[str]]:
    texts: list[str] = []
    changed: list[str] = []
    for name in new:
        if name not in old:
            texts.append(f"{kind}.{name}: added{_summary(new[name])}")
            continue
        before, after = old[name], new[name]
        if isinstance(after, Route) and _is_alike(before, after):
            continue
        changes = list(_changes(before, after))
        texts += [f"{kind}.{name}: {path} {text}" for path, text in changes]
        changed += [name] if changes else []
    removed = tuple(name for name in old if name not in new)
    texts += [f"{kind}.{name}: removed" for name in removed]
    return Delta(tuple(name for name in new if name not in old), removed, tuple(changed)), texts


def _is_alike(before: Route, after: Route) -> bool:
    """Whether nothing that is told of a route has changed, quickly: most of a thousand are as they were.

    An edit is compared between two requests. Targets are compared by name: their providers are told apart.
    """
    if _SAID_OF_ROUTE(before) != _SAID_OF_ROUTE(after) or len(before.chain) != len(after.chain):
        return False
    for old, new in zip(before.chain, after.chain, strict=True):
        if old.balance is not new.balance or old.sticky != new.sticky or len(old.members) != len(new.members):
            return False
        for was, now in zip(old.members, new.members, strict=True):
            there, here = was.target, now.target
            if there.model != here.model or there.provider.name != here.provider.name or was.weight != now.weight:
                return False
    return True


_SAID_OF_ROUTE = attrgetter(*(field for field in Route.__struct_fields__ if field != "chain"))


def _summary(thing: Provider | Route) -> str:
    return f", chain {chain_text(thing.chain)}" if isinstance(thing, Route) else f", {thing.type} at {thing.base_url}"


def _changes(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every field that differs, by the name the file has for it, with a text of how."""
    for field in new.__struct_fields__:
        before, after = getattr(old, field), getattr(new, field)
        here = f"{path}{field}"
        if field == "chain":
            yield from _chain_changes(before, after)
        elif field == "listen":
            yield from _entries(_by_address(before), _by_address(after), here)
        elif before == after or here in _UNSAID:
            continue
        elif isinstance(before, msgspec.Struct) and isinstance(after, msgspec.Struct):
            yield from _changes(before, after, "" if here == "stream" else f"{here}.")
        elif isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _entries(before, after, here)
        else:
            yield _NAMES.get(here) or here.removesuffix("_s").removesuffix("_bytes"), _moved(field, before, after)


_NAMES = {"auth.key": "api_key", "mode": "stream", "tls.contents": "tls"}
_UNSAID = (
    "auth.source",
    "auth.scheme",
    "bodies",
    "families",
    "framing",
    "paths",
    "reasoning",
)  # follow from api_key and type


_NEVER_SHOWN = ("contents", "tokens")


def _by_address(listeners: tuple[ListenSettings, ...]) -> dict[str, ListenSettings]:
    return {each.address: each for each in listeners}


def _entries(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for key in dict.fromkeys((*before, *after)):
        old, new, here = before.get(key), after.get(key), f"{path}.{key}"
        if old == new:
            continue
        if key not in before or key not in after:
            yield here, "added" if key in after else "removed"
        elif isinstance(old, msgspec.Struct):
            yield from _changes(old, new, f"{here}.")
        else:
            yield here, _moved(key, old, new) if isinstance(old, str) and isinstance(new, str) else "changed"


def _chain_changes(before: tuple[Pool, ...], after: tuple[Pool, ...]) -> Iterator[tuple[str, str]]:
    if chain_text(before) != chain_text(after):
        yield "chain", f"{chain_text(before)} -> {chain_text(after)}"
    for name in ("balance", "sticky"):
        old = [getattr(pool, name) for pool in before]
        new = [getattr(pool, name) for pool in after]
        if old[:1] != new[:1]:
            yield name, _moved(name, *(values[0] if values else None for values in (old, new)))


def _moved(field: str, before: Any, after: Any) -> str:
    if isinstance(before, Secret) or isinstance(after, Secret) or field in _NEVER_SHOWN:
        return "changed"
    return f"{_shown(field, before)} -> {_shown(field, after)}"


def _shown(field: str, value: Any) -> str:
    if value is None:
        return "none"
    if field.endswith("_s") and isinstance(value, int | float):
        return duration_text(value)
    if field.endswith("_bytes") and isinstance(value, int):
        return size_text(value)
    if field == "mode" and isinstance(value, int):
        return f"{value:04o}"
    if isinstance(value, tuple | frozenset):
        return f"[{', '.join(sorted(_shown('', each) for each in value))}]"
    if isinstance(value, msgspec.Struct):
        fields = ", ".join(f"{name} {_shown(name, getattr(value, name))}" for name in value.__struct_fields__)
        return f"({fields})"
    return "***" if isinstance(value, Secret) else str(value)
