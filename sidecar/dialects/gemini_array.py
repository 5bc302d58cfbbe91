"""Gemini's stream as one JSON array, for clients that do not ask for server-sent events (`?alt=sse`).

The vendor writes each chunk as soon as it is there, so that an incremental parser can read along. An error
on the way is an element like any other, and the array is closed after it.

Source: cloud.google.com/apis/docs/system-parameters (`alt`), read 2026-11.
"""

from __future__ import annotations

from sidecar.dialects.sse import parse, split

__all__ = ["ArrayFraming"]


class ArrayFraming:
    """Puts the events of one stream into an array; lives as long as the stream."""

    def __init__(self) -> None:
        self._before = b"["  # what stands before the next element

    def take(self, frames: bytes) -> bytes:
        """The elements that whole frames are; comments are none.

        Args:
            frames: Server-sent events, also those of a fault.
        """
        pieces = []
        for frame in split(frames):
            data = parse(frame).data
            if data is not None and data.startswith(b"{"):
                pieces += [self._before, data]
                self._before = b",\r\n"
        return b"".join(pieces)

    def end(self) -> bytes:
        """What closes the array, to be written once."""
        return b"[]" if self._before == b"[" else b"]"
