"""One line of the log as one line for people: time, outcome, target, and what explains it.

Of attempts every one is told; of requests only those that no attempt tells of; anything else by its
name and keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sidecar.cli.terminal import cut, paint, printable, span

__all__ = ["news", "told"]

_STYLES: Mapping[str | None, str] = MappingProxyType(
    {"ok": "green", "failed": "red", "truncated": "red", "skipped": "yellow", "cancelled": "yellow"}
)
_LEVELS: Mapping[str, str] = MappingProxyType({"warning": "yellow", "error": "red"})
_ERROR_CHARS = 160
_EVENT_CHARS = 600


def told(line: bytes) -> str | None:
    """The line for people; None when another line says the same."""
    try:
        record = json.loads(line)
    except ValueError:
        return printable(line.decode(errors="replace").rstrip("\n"))
    match record.get("event"):
        case "attempt":
            return _attempt(record)
        case "request":
            return None if record.get("attempts") else _request(record)
        case _:
            return _event(record)


def news(line: bytes, since: str) -> str | None:
    """The line for people, if it is no older than a moment (as the log writes it) and no health check."""
    record = json.loads(line)
    return None if record["ts"] < since or record.get("operation") == "health" else told(line)


def _attempt(record: dict[str, Any]) -> str:
    target = record.get("target") or record.get("provider") or "-"
    number = f" #{record['attempt']}" if record.get("attempt") else ""
    parts = [record.get("selection") or "", f"{record.get('route') or record.get('operation') or ''}{number}"]
    return _line(record, target, [*parts, *_explained(record)])


def _request(record: dict[str, Any]) -> str:
    return _line(record, record.get("model_requested") or "-", ["request", *_explained(record)])


def _explained(record: dict[str, Any]) -> list[str]:
    """What an outcome is explained by, as far as it is known."""
    times = f"x{record['count']}" if record.get("count") else ""
    return [
        record.get("skipped") or record.get("kind") or "",
        times,
        str(record.get("status") or ""),
        span(record.get("duration_s")),
        _tokens(record),
        record.get("error") or "",
    ]


def _tokens(record: dict[str, Any]) -> str:
    if record.get("output_tokens") is None:
        return ""
    return f"{record.get('input_tokens') or 0}+{record['output_tokens']} tokens"


def _line(record: dict[str, Any], target: str, parts: list[str]) -> str:
    outcome = record.get("outcome") or "-"
    said = "  ".join(cut(part, _ERROR_CHARS) for part in parts if part)
    word = paint(f"{outcome:<9}", _STYLES.get(outcome))
    return f"{_time(record)}  {word}  {cut(target, 60):<24}  {said}"


def _event(record: dict[str, Any]) -> str:
    keys = {key: value for key, value in record.items() if key not in ("ts", "level", "event")}
    said = " ".join(f"{key}={_value(value)}" for key, value in keys.items())
    name = paint(str(record.get("event")), _LEVELS.get(record.get("level", ""), "cyan"))
    return f"{_time(record)}  {name}  {cut(said, _EVENT_CHARS)}"


def _value(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def _time(record: dict[str, Any]) -> str:
    """The time of day, to the millisecond, as the log has it: UTC."""
    return str(record.get("ts", ""))[11:23]
