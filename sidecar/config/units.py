"""Durations, sizes, percentages and file modes as people write them: text to number and back, one table each.

A number without a unit is refused, because nobody remembers whether 30 was seconds; only the sign of a
percentage may be left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = [
    "DURATION_PATTERN",
    "MODE_PATTERN",
    "PERCENT_PATTERN",
    "SIZE_PATTERN",
    "duration",
    "duration_text",
    "mode",
    "percent",
    "percent_text",
    "size",
    "size_text",
]

DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
SIZE_PATTERN = r"^[0-9]+(B|KiB|MiB|GiB|kB|KB|MB|GB)$"
MODE_PATTERN = r"^0?[0-7]{3}$"
PERCENT_PATTERN = r"^[0-9]+(\.[0-9]+)?%?$"

_SECONDS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES: Mapping[str, int] = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}
_AMOUNT = re.compile(r"([0-9.]+)([A-Za-z]+)", re.ASCII)
_DURATION = re.compile(DURATION_PATTERN, re.ASCII)
_SIZE = re.compile(SIZE_PATTERN, re.ASCII)
_MODE = re.compile(MODE_PATTERN, re.ASCII)
_PERCENT = re.compile(PERCENT_PATTERN, re.ASCII)


def duration(text: str) -> float | None:
    """Seconds, or None when the text is not a duration."""
    if not _DURATION.fullmatch(text):
        return None
    number, unit = _split(text)
    return round(float(number) * _SECONDS[unit], 9)


def size(text: str) -> int | None:
    """Bytes, or None when the text is not a size."""
    if not _SIZE.fullmatch(text):
        return None
    number, unit = _split(text)
    return int(number) * _BYTES[unit]


def mode(text: str) -> int | None:
    """Permission bits, or None when the text is not three octal digits."""
    return int(text, 8) if _MODE.fullmatch(text) else None


def percent(text: str) -> float | None:
    """The number of "5%" or "5", or None when the text is neither."""
    return float(text.removesuffix("%")) if _PERCENT.fullmatch(text) else None


def percent_text(number: float) -> str:
    """The shortest way to write a percentage."""
    return f"{_plain(number)}%"


def duration_text(seconds: float) -> str:
    """The shortest way to write a duration: `duration(duration_text(s)) == s` down to the microsecond."""
    for unit in ("h", "m"):
        if seconds >= _SECONDS[unit] * 2 and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    if seconds and seconds < 1:
        return f"{_plain(seconds * 1000)}ms"
    return f"{_plain(seconds)}s"


def size_text(count: int) -> str:
    """The shortest way to write a size."""
    for unit in ("GiB", "MiB", "KiB"):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit}"
    return f"{count}B"


def _split(text: str) -> tuple[str, str]:
    match = _AMOUNT.fullmatch(text)
    assert match is not None  # every pattern above has this shape
    return match[1], match[2]


def _plain(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
