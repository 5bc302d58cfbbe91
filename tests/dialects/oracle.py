"""What a stream says, read the slow and plain way: by lines and by `json`, all of it at once.

Written from the formats, not from the code under test, and shared by the tests of the laws and those
of recorded traffic. Also the ways to tear a stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from sidecar.dialects.relay import MAX_PREAMBLE_BYTES, Tap

EMPTY = (None, "", [], {}, False)
SILENT = ("role", "provider_metadata")


@dataclass
class Reading:
    """A stream, and what may pass of it."""

    passed: bytes = b""
    committed: bool = False
    done: bool = False
    fault: bytes | None = None
    malformed: int = 0
    model: str | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    started: set[int] = field(default_factory=set)
    finished: set[int] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        return bool(self.started) and (self.done or self.started <= self.finished)


def frames(stream: bytes) -> list[bytes]:
    """Each with its empty line; empty lines too many stand alone, a last frame is completed."""
    found = []
    current = b""
    for line in stream.splitlines(keepends=True):
        current += line
        if not line.strip(b"\r\n"):
            found.append(current)
            current = b""
    if current:
        found.append(current + (b"\n" if current.endswith(b"\n") else b"\n\n"))
    return found


def event(frame: bytes) -> tuple[str | None, bytes | None]:
    """The name and the data of a frame."""
    name, data = None, []
    for line in frame.removeprefix(b"\xef\xbb\xbf").splitlines():
        key, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if key == b"data":
            data.append(value)
        if key == b"event":
            name = value.decode("utf-8", "replace")
    return name, b"\n".join(data) if data else None


def loads(data: bytes) -> dict[str, Any] | None:
    """The object; None for anything else (`json` alone would take NaN for a number)."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(word: str) -> float:
    raise ValueError(word)


def events(stream: bytes) -> Iterator[dict[str, Any]]:
    for frame in frames(stream):
        data = event(frame)[1]
        value = None if data is None else loads(data)
        if value is not None:
            yield value


def read(stream: bytes, *, withhold_usage: bool = False) -> Reading:
    """What a tap must make of a stream that ends here."""
    reading = Reading()
    whole = frames(stream)
    torn = b"".join(whole) != stream
    for number, frame in enumerate(whole, 1):
        if reading.done or reading.fault is not None:
            break
        before = reading.malformed
        if _passes(frame, reading, withhold_usage=withhold_usage):
            reading.passed += frame
        if torn and number == len(whole):
            reading.malformed = before  # cut, rather than malformed
    if len(reading.passed) > MAX_PREAMBLE_BYTES:
        reading.committed = True
    if not reading.committed:
        reading.passed = b""
    return reading


def _passes(frame: bytes, reading: Reading, *, withhold_usage: bool) -> bool:
    name, data = event(frame)
    bare = frame.strip()
    if data is None:
        if bare.startswith(b"{") and _is_fault(loads(bare) or {}):
            reading.fault = bare
            return False
        return True
    data = data.strip()
    if data == b"[DONE]":
        reading.done = True
        return True
    value = loads(data)
    if name == "error" or (value is not None and _is_fault(value)):
        reading.fault = data
        return False
    if value is None:
        reading.malformed += 1
        return False
    return _note(value, reading) or not withhold_usage


def _note(value: dict[str, Any], reading: Reading) -> bool:
    """Whether it is more than the usage chunk."""
    if not reading.model and isinstance(value.get("model"), str):
        reading.model = value["model"] or None
    usage = value.get("usage")
    if isinstance(usage, dict) and (usage.get("prompt_tokens") or usage.get("completion_tokens")):
        reading.usage = usage
    choices = choices_of(value)
    reasons = []
    for choice in choices:
        index = choice.get("index") if isinstance(choice.get("index"), int) else 0
        reading.started.add(index)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            reasons.append(reason)
            reading.finished.add(index)
        reading.committed |= bool(reason and isinstance(reason, str)) or _has_content(choice)
    if reasons:
        reading.finish_reason = reasons[0]
    return bool(choices) or usage in EMPTY


def choices_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    choices = value.get("choices")
    if isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices):
        return choices
    return []


def _has_content(choice: dict[str, Any]) -> bool:
    if choice.get("text") not in EMPTY:
        return True
    delta = choice.get("message") if choice.get("delta") in EMPTY else choice["delta"]
    return isinstance(delta, dict) and any(key not in SILENT and said not in EMPTY for key, said in delta.items())


def _is_fault(value: dict[str, Any]) -> bool:
    if value.get("error") not in EMPTY or "error" in (value.get("object"), value.get("type")):
        return True
    return any(
        choice.get("error") not in EMPTY or choice.get("finish_reason") == "error" for choice in choices_of(value)
    )


# -- taps


def tapped(pieces: Iterable[bytes], *, withhold_usage: bool = False) -> tuple[Tap, list[bytes]]:
    """A tap that was fed these pieces to their end, and what passed at each of them."""
    tap = Tap(withhold_usage=withhold_usage)
    passed = [tap.feed(piece) for piece in pieces]
    return tap, [*passed, tap.end()]


def facts(tap: Tap) -> dict[str, Any]:
    names = ("committed", "done", "fault", "malformed", "model", "finish_reason", "complete")
    return {name: getattr(tap, name) for name in names}


# -- tearing


def sliced(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def torn(stream: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(places)]


CUTS = st.lists(st.integers(0, 10_000), max_size=12)
