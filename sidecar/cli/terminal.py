"""Text to people and pipes: plain, coloured where a terminal wants it, or JSON.

Knows streams and units, not what is said. What came from clients and providers is made `printable`
before it reaches a terminal, which would obey the control characters in it.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["complain", "count", "cut", "has_colour", "paint", "printable", "say", "say_json", "span", "unbreakable"]

_CODES: Mapping[str, str] = MappingProxyType(
    {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
)


def unbreakable() -> None:
    """Let no character be an error: what the terminal's encoding lacks is spelled out."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str = "") -> None:
    """One line, or several, to the standard output."""
    sys.stdout.write(text + "\n")


def say_json(value: Any) -> None:
    """A value as indented JSON."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


def complain(text: str) -> None:
    """A message to the standard error."""
    sys.stdout.flush()
    sys.stderr.write(f"sidecar: {printable(text)}\n")


def has_colour() -> bool:
    """Whether the standard output is a terminal that may be coloured (see no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str | None) -> str:
    """The text in one of a few styles, where there is colour."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style and has_colour() else text


def printable(text: str) -> str:
    """The text with control characters shown instead of obeyed; line ends stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def cut(text: str, limit: int) -> str:
    """The text on one line, at most that long."""
    text = printable(" ".join(text.split()))
    return text if len(text) <= limit else f"{text[: limit - 3].rstrip()}..."


def span(seconds: float | None) -> str:
    """A duration as people read it, in two units at most; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for unit, size, smaller, less in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // less}{smaller}"
    return f"{whole // 60}m {whole % 60}s"


def count(number: int, thing: str) -> str:
    """`1 request`, `2 requests`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
