"""What models do when they are asked to go on with a text: behaviours for the provider that rescues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fake_behaviours import Behaviour, Request
from tests.fake_provider import WORDS, ok

__all__ = ["goes_on", "repeats", "said_before"]


def said_before(request: Request) -> str | None:
    """The text that the request's assistant has said already; None when it has said nothing."""
    said = [message["content"] for message in request.json["messages"] if message["role"] == "assistant"]
    return said[0] if said else None


def repeats(words: int, **options: Any) -> Callable[[Request], Behaviour]:
    """A model that repeats so many of the last words before it goes on; options are the fields of `Answer`."""

    def move(request: Request) -> Behaviour:
        said = said_before(request)
        count = len(said.split()) if said else 0
        start = max(0, count - words)
        rest = WORDS[start:]
        if start == count and count and rest:  # what follows a word is a blank
            rest = (f" {rest[0]}", *rest[1:])
        return ok(words=rest or WORDS, **options)

    return move


goes_on = repeats(0)
"""A model that does what it is asked: goes on exactly where the text it was given stops."""
