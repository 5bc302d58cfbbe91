"""Finds secrets in free text: known values in every spelling, and whatever looks like a key.

Knows the values of all secrets of the config; must never show one. Texts are scanned as values,
before they are encoded: a replacement can then not break a line, and the spelling of a quote or a
backslash is that of the text and not of the log.

A value is found in every spelling that `sidecar.model.secret` knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from sidecar.model.secret import MASK, MIN_CHARS, Secret, hidden, spellings

__all__ = ["Redactor"]

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
        self._longest_chars = MIN_CHARS
        # The same for what recurs, such as the names of models, and for None.
        self.name = lru_cache(maxsize=256)(self._name)

    def set_secrets(self, secrets: Iterable[Secret]) -> None:
        """Know these, and those before the last change: requests that began with an old key may still fail."""
        values = frozenset(value for secret in secrets if len(value := secret.reveal()) >= MIN_CHARS)
        if values == self._values:
            return
        self._forms = spellings(values | self._values)
        self._values = values
        self._longest_chars = len(self._forms[0]) if self._forms else MIN_CHARS
        self.name.cache_clear()

    def known(self, text: str) -> str:
        """The text, of any length, without the secrets that are known."""
        return hidden(text, self._forms)

    def _name(self, text: str | None) -> str | None:
        return None if text is None else self.known(text)

    def text(self, text: str, max_chars: int) -> str:
        """The text without secrets, in at most that many characters.

        Of very long texts only the beginning is read, less what could be the torn start of a secret.
        """
        cut = len(text) > _SCAN_CHARS
        if cut:
            text = text[:_SCAN_CHARS]
        text = self.known(text)
        text = _LOOKS_LIKE_A_KEY.sub(_masked, text)
        if cut:
            text = text[: -self._longest_chars]
        return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def _masked(match: re.Match[str]) -> str:
    return (match["scheme"] or match["name"] or match["query"] or "") + MASK
