"""When a provider asks to be asked again, in every spelling in use.

`retry-after-ms`, then `retry-after` (seconds or an HTTP date; some write `20s`), then the reset header of the exhausted
dimension (the one whose remaining is 0; the longest when none says), then Google's `RetryInfo` in the
body. The result is clamped to 1 s .. 300 s.

Sources: RFC 9110 section 10.2.3; platform.openai.com/docs/guides/rate-limits (x-ratelimit-*);
docs.anthropic.com/en/api/rate-limits (anthropic-ratelimit-*); google.rpc.RetryInfo (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["retry_after_s"]

_MIN_S, _MAX_S = 1.0, 300.0

_RESET = re.compile(r"^(?:x-|anthropic-)?ratelimit-(?:reset-(?P<after>[a-z-]+)|(?P<before>[a-z-]+)-reset|reset)$")
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RETRY_DELAY = re.compile(rb'"retryDelay"\s*:\s*"(\d+(?:\.\d+)?)s"')


def retry_after_s(status: int, headers: Mapping[str, str], body: bytes, now_utc: float) -> float | None:
    """Seconds to wait, or None when the answer does not say.

    Args:
        status: Of the answer. Some providers send reset headers with every answer, so those and the
            body are believed only beside a 429.
        headers: In lower case.
        body: The error's body.
        now_utc: Seconds since 1970.
    """
    found = _milliseconds(headers.get("retry-after-ms"))
    if found is None:
        found = _moment_or_span(headers.get("retry-after") or "", now_utc)
    if found is None and status == 429:
        found = _reset(headers, now_utc)
    if found is None and status == 429 and (match := _RETRY_DELAY.search(body)):
        found = float(match[1])
    return None if found is None else min(max(found, _MIN_S), _MAX_S)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < float("inf") else None


def _milliseconds(text: str | None) -> float | None:
    value = _number(text)
    return None if value is None else value / 1000


def _date(text: str) -> datetime | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text)
        except (ValueError, TypeError):
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def _until(moment: datetime | None, now_utc: float) -> float | None:
    return None if moment is None else max(0.0, moment.timestamp() - now_utc)


def _reset(headers: Mapping[str, str], now_utc: float) -> float | None:
    """The longest reset among the exhausted dimensions; among all when none says it is exhausted."""
    exhausted: list[float] = []
    every: list[float] = []
    for name, text in headers.items():
        if "ratelimit" not in name or not _RESET.match(name):
            continue
        wait = _moment_or_span(text, now_utc)
        if wait is None:
            continue
        every.append(wait)
        if _number(headers.get(name.replace("reset", "remaining"))) == 0:
            exhausted.append(wait)
    return max(exhausted or every, default=None)


def _moment_or_span(text: str, now_utc: float) -> float | None:
    value = _number(text)
    if value is not None:  # a moment since 1970 (in seconds or milliseconds), or a span in seconds
        if value > 1e11:
            return max(0.0, value / 1000 - now_utc)
        return max(0.0, value - now_utc) if value > 1e8 else value
    pieces = _PIECE.findall(text)
    if pieces and not _PIECE.sub("", text).strip():
        return sum(float(number) * _UNIT_S[unit] for number, unit in pieces)
    return _until(_date(text), now_utc)
