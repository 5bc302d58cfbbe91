"""How a line looks where it comes out: as it is, for the journal, or for people.

Knows finished lines only: each form takes a level and a JSON line and gives the bytes to write. What
a line holds is decided before, once, so that the feed and every output tell the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sidecar.observe.output import is_journal

__all__ = ["Form", "console", "form_for", "journal"]

Form = Callable[[str, bytes], bytes]

_PRIORITY: Mapping[str, bytes] = {"debug": b"<7>", "info": b"<6>", "warning": b"<4>", "error": b"<3>"}
_COLOUR: Mapping[str, str] = {"debug": "2", "info": "32", "warning": "33", "error": "31"}
# What a person at a terminal wants of the two long lines; of all others, everything is shown.
_PICKED: Mapping[str, tuple[str, ...]] = {
    "attempt": (
        "route",
        "target",
        "selection",
        "outcome",
        "skipped",
        "count",
        "kind",
        "status",
        "backoff_s",
        "first_token_s",
        "duration_s",
        "error",
        "request_id",
    ),
    "request": (
        "route",
        "target",
        "outcome",
        "kind",
        "status",
        "attempts",
        "first_token_s",
        "duration_s",
        "input_tokens",
        "output_tokens",
        "cost_usd",
        "error",
        "request_id",
    ),
}


def journal(level: str, line: bytes) -> bytes:
    """The line with the priority that the journal takes off and keeps."""
    return _PRIORITY[level] + line


def console(*, colour: bool) -> Form:
    """The form for people: local to the eye, one line each, tracebacks unfolded below."""

    def form(level: str, line: bytes) -> bytes:
        keys: dict[str, Any] = msgspec.json.decode(line)
        clock, event, trace = keys.pop("ts")[11:23], keys.pop("event"), keys.pop("traceback", None)
        del keys["level"]
        shown = {key: keys[key] for key in _PICKED.get(event, keys) if key in keys}
        name = f"\x1b[{_COLOUR[level]}m{level:<7}\x1b[0m" if colour else f"{level:<7}"
        text = " ".join((clock, name, event, *(f"{key}={_bare(value)}" for key, value in shown.items())))
        below = "".join(f"\n    {_printable(part)}" for part in trace.splitlines()) if trace else ""
        return f"{text}{below}\n".encode()

    return form


def _bare(value: Any) -> str:
    """A value without quotes where none are needed; control characters never reach the terminal."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) and value and value.isprintable() and not any(mark in value for mark in ' "='):
        return value
    return _printable(msgspec.json.encode(value).decode())


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def form_for(name: str, fd: int, environ: Mapping[str, str]) -> Form | None:
    """The form that a descriptor asks for; None when lines go out as they are.

    Args:
        name: `json` or `console`.
        fd: Where the lines go.
        environ: Read for JOURNAL_STREAM and NO_COLOR.
    """
    if name == "console":
        return console(colour=os.isatty(fd) and not environ.get("NO_COLOR"))
    return journal if is_journal(fd, environ) else None
