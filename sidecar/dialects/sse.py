r"""Server-sent events as frames: knows where one frame ends and what its lines say, nothing of JSON.

A frame ends with an empty line. Line ends are LF, CRLF or CR, and may be torn between two reads, as
may a UTF-8 sequence: `Framer` therefore cuts bytes, not text, and keeps an unfinished frame back. A
client could do nothing with half a frame, and a stream that breaks inside one can still be ended with
a whole error event.

However a stream is torn, the joined bytes are the same, and so are the frames that `split` gives:
empty lines too many stand between frames and belong to none.

Source: WHATWG HTML, section 9.2 "Server-sent events" (read 2026-11).
"""

from __future__ import annotations

import re

import msgspec

__all__ = ["MAX_FRAME_BYTES", "Frame", "Framer", "parse", "split"]

MAX_FRAME_BYTES = 16 * 1024 * 1024

_LINE_END = re.compile(rb"\r\n|\n|\r")
# Atomic, so that a CRLF is never read as two line ends.
_FRAME_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_MAX_END_BYTES = 4
_LF, _CR = b"\n\r"  # one byte in bytes is a memchr; bytes in bytes are dearer, even when short
_BOM = b"\xef\xbb\xbf"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One event: its name (None: unnamed) and its data lines joined by LF (None: comments only)."""

    event: str | None
    data: bytes | None


class Framer:
    """Cuts a byte stream after its last complete frame and keeps the rest for the next read."""

    __slots__ = ("_held", "_tail", "held_bytes")

    def __init__(self) -> None:
        self._held: list[bytes] = []  # pieces of one frame: joined once, however many reads it takes
        self._tail = b""  # their last bytes, where a frame's end may have begun
        self.held_bytes = 0  # how much is kept back

    def feed(self, data: bytes) -> bytes:
        """The complete frames of all that has come, as they came; b"" when there is none yet."""
        if self._held:
            if not _last_end(self._tail + data):
                self._hold(data)
                return b""
            data = self._take() + data
        if data.endswith(b"\n\n"):
            return data
        cut = _last_end(data)
        if cut < len(data):
            self._hold(data[cut:])
        return data[:cut]

    def end(self) -> bytes:
        """What was kept back when the stream ended, completed by the line ends it lacks."""
        rest = self._take()
        if not rest.strip(b"\r\n") or _FRAME_END.search(rest[-_MAX_END_BYTES:]):
            return rest
        return rest + (b"\n" if rest.endswith(b"\n") else b"\n\n")

    def _hold(self, piece: bytes) -> None:
        self._held.append(piece)
        self._tail = (self._tail + piece)[1 - _MAX_END_BYTES :]
        self.held_bytes += len(piece)

    def _take(self) -> bytes:
        held = b"".join(self._held)
        self._held.clear()
        self._tail = b""
        self.held_bytes = 0
        return held


def _last_end(data: bytes) -> int:
    """Where the last complete frame ends; 0 when none does.

    A CR as the very last byte may be half of a CRLF, so it ends nothing yet.
    """
    if _CR not in data:
        return data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    if data.endswith(b"\r\n\r\n"):
        return len(data)
    cut = 0
    for match in _FRAME_END.finditer(data, 0, len(data) - data.endswith(b"\r")):
        cut = match.end()
    return cut


def split(frames: bytes) -> list[bytes]:
    """Complete frames, one by one, each with its empty line; empty lines too many are pieces of their own."""
    pieces: list[bytes] = []
    start = 0
    for end in _ends(frames):
        piece = frames[start:end]
        start = end
        if piece[0] in b"\r\n" and (frame := piece.lstrip(b"\r\n")):
            pieces.append(piece[: -len(frame)])
            piece = frame
        pieces.append(piece)
    if start < len(frames):
        pieces.append(frames[start:])
    return pieces


def _ends(frames: bytes) -> list[int]:
    if _CR in frames:
        return [match.end() for match in _FRAME_END.finditer(frames)]
    ends = []
    at = frames.find(b"\n\n")
    while at >= 0:
        ends.append(at + 2)
        at = frames.find(b"\n\n", at + 2)
    return ends


def parse(frame: bytes) -> Frame:
    """What one frame says."""
    if frame.startswith(b"data: {") and frame.endswith(b"}\n\n") and frame.count(_LF) == 2 and _CR not in frame:
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
