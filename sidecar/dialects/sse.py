r"""Server-sent events as frames: knows where one frame ends and what its lines say, nothing of JSON.

A frame ends with an empty line. Line ends are LF, CRLF or CR, and may be torn between two reads, as
may a UTF-8 sequence: `Framer` therefore cuts bytes, not text, and keeps an unfinished frame back. A
client could do nothing with half a frame, and a stream that breaks inside one can still be ended with
a whole error event.

Source: WHATWG HTML, section 9.2 "Server-sent events" (read 2026-11).
"""

from __future__ import annotations

import re

import msgspec

__all__ = ["MAX_FRAME_BYTES", "Frame", "Framer", "parse", "split"]

MAX_FRAME_BYTES = 16 * 1024 * 1024

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n|\r\n\r(?!\n)|\n\r(?!\n)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One event: its name (None: unnamed) and its data lines joined by LF (None: comments only)."""

    event: str | None
    data: bytes | None


class Framer:
    """Cuts a byte stream after its last complete frame and keeps the rest for the next read."""

    __slots__ = ("_rest", "_scanned")

    def __init__(self) -> None:
        self._rest = b""
        self._scanned = 0  # of the rest: no frame ends before this place

    def feed(self, data: bytes) -> bytes:
        """The complete frames of all that has come, as they came; b"" when there is none yet."""
        if self._rest:
            data = self._rest + data
        if data.endswith(b"\n\n"):
            self._rest = b""
            self._scanned = 0
            return data
        cut = _last_end(data, self._scanned)
        self._rest = data[cut:]
        self._scanned = max(0, len(self._rest) - 3)
        return data[:cut]

    def end(self) -> bytes:
        """What was kept back, when the stream ended without its last empty line."""
        rest, self._rest = self._rest, b""
        return rest

    @property
    def held_bytes(self) -> int:
        """How much is kept back."""
        return len(self._rest)


def _last_end(data: bytes, start: int) -> int:
    """Where the last complete frame ends; 0 when none does.

    A CR as the very last byte may be half of a CRLF, so it ends nothing yet.
    """
    at = data.rfind(b"\n\n", start)
    cut = at + 2 if at >= 0 else 0
    if b"\r" not in data:
        return cut
    limit = len(data) - 1 if data.endswith(b"\r") else len(data)
    for match in _BLANK_LINE.finditer(data, max(start, cut - 2 if cut else start), limit):
        cut = max(cut, match.end())
    return cut


def split(frames: bytes) -> list[bytes]:
    """Complete frames, one by one, each with its empty line."""
    if b"\r" not in frames:
        parts = frames.split(b"\n\n")
        last = parts.pop()
        whole = [part + b"\n\n" for part in parts]
        return [*whole, last] if last else whole
    whole = []
    start = 0
    for match in _BLANK_LINE.finditer(frames):
        whole.append(frames[start : match.end()])
        start = match.end()
    if start < len(frames):
        whole.append(frames[start:])
    return whole


def parse(frame: bytes) -> Frame:
    """What one frame says."""
    if frame.startswith(b"data: {") and frame.endswith(b"}\n\n") and frame.count(b"\n") == 2 and b"\r" not in frame:
        return Frame(None, frame[6:-2])
    event: str | None = None
    data: list[bytes] = []
    for line in _LINE_END.split(frame.removeprefix(_BOM)):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    return Frame(event, b"\n".join(data) if data else None)
