"""How a client spelled what it said, so that its own dialect gives it back as it was.

A value of the hub has one canonical spelling in this dialect. What the client wrote is compared with it,
and the difference is kept in `extra`: a field that the canonical spelling lacks, or says otherwise, with
the client's value; one that the client left out, with `UNSAID`. The name of a field inside of an object
has dots: `function.strict`. To other dialects `UNSAID` is nothing that could be lost, and neither are notes
(`losses.NOTE`): names that are no fields, but choose among several canonical spellings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sidecar.dialects.losses import NOTE

__all__ = ["UNSAID", "difference", "said_as"]

UNSAID: tuple[()] = ()


def difference(written: Mapping[str, Any], canonical: Mapping[str, Any], but: Collection[str] = ()) -> dict[str, Any]:
    """What turns the canonical spelling into the written one.

    Args:
        written: By the client.
        canonical: Ours.
        but: Fields that are not compared.
    """
    extra: dict[str, Any] = {name: UNSAID for name in canonical if name not in written and name not in but}
    for name, value in written.items():
        if name in but:
            continue
        ours = canonical.get(name, UNSAID)
        if isinstance(ours, dict) and isinstance(value, dict):
            extra |= {f"{name}.{inner}": differs for inner, differs in difference(value, ours).items()}
        elif ours != value or isinstance(ours, bool) is not isinstance(value, bool):  # to Python, true is 1
            extra[name] = value
    return extra


def said_as(canonical: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The canonical spelling, turned in place into the written one."""
    for name, value in extra.items():
        head, _, inner = name.partition(".")
        if name.startswith(NOTE):
            continue
        if inner and isinstance(canonical.get(head), dict):
            said_as(canonical[head], {inner: value})
        elif value == UNSAID:
            canonical.pop(name, None)
        else:
            canonical[name] = value
    return canonical
