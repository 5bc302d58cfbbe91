"""Finds secrets in free text: known values in every spelling, and whatever looks like a key.

Knows the values of all secrets of the config; must never show one. Texts are scanned as values,
before they are encoded: a replacement can then not break a line, and the spelling of a quote or a
backslash is that of the text and not of the log.

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

from sidecar.model.secret import Secret

__all__ = ["Redactor"]

_MASK = "***"
_MIN_CHARS = 6  # anything shorter would blank out ordinary words
_SCAN_CHARS = 16 * 1024
_LOOKS_LIKE_A_KEY = re.compile(
    r"""(?:(?<![A-Za-z0-9])|(?<=%[0-9A-F]{2}))(?:
        (?:sk|rk|pk|gsk|xai|hf|r8|pplx|nvapi|ghp|glpat)[-_][A-Za-z0-9_-]{12,}
        | AIza[A-Za-z0-9_-]{20,}
        | ya29\.[A-Za-z0-9_.-]{20,}
        | (?:AKIA|ASIA)[A-Z0-9]{16}
        | eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?
        | (?P<scheme>(?:Bearer|Basic)(?:\s|%20|\+)+)[^\s"'\\,;<>]{6,}
        | (?P<name>(?:x-goog-api-key|x-api-key|api-key|api_key)["'\\]*\s*[:=]\s*["'\\]*)[^\s"'\\,;&<>]{6,}
    )
    | (?P<query>[?&](?:key|token|access_token)=)[^\s"'\\&\#]+
    """,
    re.VERBOSE | re.IGNORECASE,
)


class Redactor:
    """What is known of secrets at one time; replaced secrets stay known for one more change."""

    def __init__(self) -> None:
        self._values: frozenset[str] = frozenset()
        self._forms: tuple[str, ...] = ()
        self._longest_chars = _MIN_CHARS

    def set_secrets(self, secrets: Iterable[Secret]) -> None:
        """Know these, and those before the last change: requests that began with an old key may still fail."""
        values = frozenset(value for secret in secrets if len(value := secret.reveal()) >= _MIN_CHARS)
        if values == self._values:
            return
        forms = {form for value in values | self._values for form in _spellings(value) if len(form) >= _MIN_CHARS}
        self._values = values
        # The longest first: a key may hold another one.
        self._forms = tuple(sorted(forms, key=len, reverse=True))
        self._longest_chars = max(map(len, forms), default=_MIN_CHARS)

    def text(self, text: str, max_chars: int) -> str:
        """The text without secrets, in at most that many characters.

        Of very long texts only the beginning is read, less what could be the torn start of a secret.
        """
        cut = len(text) > _SCAN_CHARS
        if cut:
            text = text[:_SCAN_CHARS]
        for form in self._forms:
            if form in text:
                text = text.replace(form, _MASK)
        text = _LOOKS_LIKE_A_KEY.sub(_masked, text)
        if cut:
            text = text[: -self._longest_chars]
        return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def _masked(match: re.Match[str]) -> str:
    return (match["scheme"] or match["name"] or match["query"] or "") + _MASK


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
