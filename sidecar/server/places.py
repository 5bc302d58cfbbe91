"""Which handler a method and a path mean; knows nothing of what is answered there."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from sidecar.server import web

__all__ = ["Handler", "Names", "Place", "found"]

Names = Mapping[str, str]
Handler = Callable[[web.BaseRequest, Names], Awaitable[web.StreamResponse]]


class Place(NamedTuple):
    """One method at the paths of one form.

    Attributes:
        method: GET stands for HEAD, too.
        form: A pattern for the whole path; its groups are the names that the handler is given.
        handler: Answers.
    """

    method: str
    form: re.Pattern[str]
    handler: Handler


def found(places: tuple[Place, ...], method: str, path: str) -> tuple[Handler, Names] | frozenset[str]:
    """Who answers, and the names in the path, decoded; else the methods that the path takes, if any.

    Args:
        places: All there are.
        method: As the client wrote it.
        path: The same, without its query.
    """
    allowed: set[str] = set()
    for place in places:
        match = place.form.fullmatch(path)
        if match is None:
            continue
        takes = ("GET", "HEAD") if place.method == "GET" else (place.method,)
        if method in takes:
            return place.handler, {name: unquote(value) for name, value in match.groupdict().items()}
        allowed.update(takes)
    return frozenset(allowed)
