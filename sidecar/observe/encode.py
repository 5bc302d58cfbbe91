"""One record or event as one line: time stamp, level, event, then the keys in their order.

Knows how a line is spelled; decides nothing about whether it is written. A record is encoded by one
msgspec call over a flat Struct, the stamp's second is formatted once a second: most of a line's cost
is the record's own fields. Everything unusual (text that is no Unicode, a line too long for a pipe or
the journal) is found by failing or by length, and pays for itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sidecar.model.records import AttemptRecord, RequestRecord
from sidecar.model.secret import Secret

__all__ = ["LineEncoder", "head", "plain"]

_MAX_BODY_BYTES = 3900  # with stamp, head and a journal's priority a line stays under 4,000
_MAX_DEPTH = 5
_MAX_ITEMS = 64
_MAX_INT = 2**63
_CUTS_CHARS = (1500, 500, 120, 40, 16)

_DIGITS = tuple(b"%03d" % number for number in range(1000))  # formatting them costs as much as encoding a record

_encode = msgspec.json.Encoder().encode


def head(level: str, event: str) -> bytes:
    """What stands between the stamp and a line's own keys."""
    return b'Z","level":%b,"event":%b,' % (_encode(level), _encode(event))


class LineEncoder:
    """The stamp of the current second, and what follows it.

    Args:
        clock_ns: Wall clock, nanoseconds since 1970.
    """

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        # One value, for lines of several threads: a second is never seen with another one's text.
        self._second = (-1, b"")

    def line(self, start: bytes, body: AttemptRecord | RequestRecord | Mapping[str, Any]) -> bytes:
        """The line, its newline included.

        Args:
            start: As `head` gives it.
            body: What follows; a mapping must hold plain values only.
        """
        return self._spelled(self._stamp(), start, body)

    def pair(self, starts: tuple[bytes, bytes], attempt: AttemptRecord, request: RequestRecord) -> tuple[bytes, bytes]:
        """Two lines of the same moment."""
        stamp = self._stamp()
        return self._spelled(stamp, starts[0], attempt), self._spelled(stamp, starts[1], request)

    def _stamp(self) -> bytes:
        """What a line of this moment begins with."""
        second, rest_ns = divmod(self._clock_ns(), 1_000_000_000)
        said, text = self._second
        if second != said:
            text = self._turn(second)
        millis, micros = divmod(rest_ns // 1000, 1000)
        return text + _DIGITS[millis] + _DIGITS[micros]

    def _spelled(self, stamp: bytes, start: bytes, body: AttemptRecord | RequestRecord | Mapping[str, Any]) -> bytes:
        try:
            encoded = _encode(body)
        except UnicodeEncodeError:
            encoded = _encode(plain(msgspec.to_builtins(body)))
        if not 2 < len(encoded) <= _MAX_BODY_BYTES:
            encoded, start = _odd(encoded, start)
        return b"%b%b%b\n" % (stamp, start, encoded[1:])

    def _turn(self, second: int) -> bytes:
        stamp = time.strftime('{"ts":"%Y-%m-%dT%H:%M:%S.', time.gmtime(second)).encode()
        self._second = (second, stamp)
        return stamp


def _odd(encoded: bytes, start: bytes) -> tuple[bytes, bytes]:
    """What stands in for a body of no keys, or of too many bytes."""
    if len(encoded) <= 2:
        return encoded, start.removesuffix(b",")
    return _fitted(msgspec.json.decode(encoded)), start


def plain(value: Any, text: Callable[[str], str] | None = None, depth: int = 0) -> Any:
    """The value as JSON can hold it, with every text passed through `text`; bounded in depth and width."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -_MAX_INT <= value < _MAX_INT else str(value)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        items = list(value.items())[:_MAX_ITEMS]
        return {_text(str(key), text): plain(inner, text, depth + 1) for key, inner in items}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [plain(inner, text, depth + 1) for inner in list(value)[:_MAX_ITEMS]]
    return _text(_words(value), text)


def _words(value: object) -> str:
    match value:
        case str():
            return str(value)
        case bytes():
            return value.decode("utf-8", "replace")
        case BaseException():
            return f"{type(value).__name__}: {value}"
        case Secret():
            return "***"
        case _:
            return str(value)


def _text(text: str, cleaned: Callable[[str], str] | None) -> str:
    safe = text.encode("utf-8", "backslashreplace").decode()
    return safe if cleaned is None else cleaned(safe)


def _fitted(body: dict[str, Any]) -> bytes:
    """The body with its long texts cut ever shorter until a line can hold it; keys go last."""
    for chars in _CUTS_CHARS:
        body = {_cut(key, 64): _cut(value, chars) for key, value in body.items()}
        if len(encoded := _encode(body)) <= _MAX_BODY_BYTES:
            return encoded
    while len(encoded := _encode(body)) > _MAX_BODY_BYTES:
        body = dict(list(body.items())[: len(body) // 2])
    return encoded


def _cut(value: Any, chars: int) -> Any:
    match value:
        case str() if len(value) > chars:
            # From the middle: a message says most at its start, a traceback at its end.
            return f"{value[: chars // 3]}…{value[chars // 3 - chars + 1 :]}"
        case list() | dict() if len(packed := _encode(value)) > chars:
            return _cut(packed.decode(), chars)
        case _:
            return value
