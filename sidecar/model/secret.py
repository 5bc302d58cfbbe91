"""Text that must not be seen: knows a secret's value and its spellings, and never shows it by accident.

A value may be quoted inside JSON (once or twice), percent-encoded in a URL, or part of a base64 text.
In base64 the value's place decides its spelling: each of the three alignments has an inner part that
depends on the value alone.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

__all__ = ["MASK", "MIN_CHARS", "Secret", "hidden", "spellings"]

MASK = "***"
MIN_CHARS = 6  # anything shorter would blank out ordinary words


class Secret:
    """One secret text; `reveal()` is the only way to its value, so that a search finds every use."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself: for an outgoing header, and for the redaction of log lines."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        raise TypeError("a Secret is not serialised")


def spellings(values: Iterable[str]) -> tuple[str, ...]:
    """Every way in which these values may be written, the longest first: a key may hold another one."""
    long = (value for value in values if len(value) >= MIN_CHARS)
    forms = {form for value in long for form in _spellings(value) if len(form) >= MIN_CHARS}
    return tuple(sorted(forms, key=len, reverse=True))


def hidden(text: str, forms: Iterable[str]) -> str:
    """The text without any of these spellings."""
    for form in forms:
        if form in text:
            text = text.replace(form, MASK)
    return text


def _spellings(value: str) -> Iterator[str]:
    for quoted in (json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1]):
        yield quoted
        yield quoted.replace("/", "\\/")
        yield json.dumps(quoted)[1:-1]
    raw = value.encode("utf-8", "surrogatepass")
    for encoded in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield encoded
        yield re.sub("%..", lambda escape: escape[0].lower(), encoded)
    yield value
    for place in range(3):
        yield from _inner_base64(raw, place)


def _inner_base64(raw: bytes, place: int) -> Iterator[str]:
    """The characters of base64 text that the value alone decides when it begins `place` bytes into a group."""
    begin, end = -(-place * 8 // 6), (place + len(raw)) * 8 // 6
    for encode in (b64encode, urlsafe_b64encode):
        yield encode(bytes(place) + raw)[begin:end].decode()
