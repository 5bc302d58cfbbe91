r"""Frames of a stream that differ from one before them in what is said only: found by their bytes, without JSON.

Nearly every event of a stream has the bytes of the one before it but for a piece of text. When that one was
decoded, its likes need not be: a JSON string may be put in place of another one where no string means
anything but itself.

    before             said     middle               said     after
    data: {..."content":" word ",..."obfuscation":" aB3 "}\n\n

The texts of many frames are cut out by their places, and the frames built anew from them: only what gives the
very bytes that came is of the mould. What stands in the holes must be no more than a piece of text. Without
quotes and backslashes it cannot end its string, and what can be printed is valid UTF-8 without control
characters. Every other frame is for the decoder.
"""

from __future__ import annotations

import re
from operator import itemgetter

__all__ = ["Mould"]

# The keys whose texts mean nothing to us. Found in JSON without a backslash, where each quote begins or ends a string.
_SAID = re.compile(rb'"(?:content|text|reasoning|reasoning_content|arguments|obfuscation)": ?"([^"]+)"')
_QUOTE, _BACKSLASH, _LF, _CR = b'"\\\n\r'


class Mould:
    """The bytes that frames have in common; `of` gives that of one frame."""

    __slots__ = ("_after", "_before", "_cut", "_inner", "_joint", "_middle")

    def __init__(self, before: bytes, middle: bytes, after: bytes) -> None:
        self._before = before
        self._middle = middle  # b"": something is said in one place only
        self._after = after
        self._joint = after + before
        self._inner = slice(len(before), -len(after))
        self._cut = itemgetter(slice(len(before), 2 - len(after)))  # of a frame without its empty line

    @classmethod
    def of(cls, frame: bytes) -> Mould | None:
        """The mould of a frame whose data is known to be valid JSON; None when it has none."""
        if not (frame.startswith(b"data: {") and frame.endswith(b"}\n\n")):
            return None
        if _BACKSLASH in frame or _CR in frame or frame.count(_LF) != 2:
            return None
        said = [found.span(1) for found in _SAID.finditer(frame)]
        if not 1 <= len(said) <= 2:
            return None
        (begin, end), (again, last) = said[0], said[-1]
        return cls(frame[:begin], frame[end:again], frame[last:])

    def fits(self, frames: bytes) -> bool:
        """Whether these are one or more whole frames of this mould, and nothing else."""
        if len(frames) < 2 * len(self._joint):  # no room for two
            if not (
                len(frames) >= len(self._joint) and frames.startswith(self._before) and frames.endswith(self._after)
            ):
                return False
            said = [frames[self._inner]]
        else:
            said = list(map(self._cut, frames.split(b"\n")[:-2:2]))  # every other line is empty
            if b"".join((self._before, self._joint.join(said), self._after)) != frames:
                return False
        if self._middle:
            said = _halves(said, self._middle)
        # A blank between them, so that no two make a character that neither is.
        text = b" ".join(said)
        if not said or _QUOTE in text or _BACKSLASH in text:
            return False
        try:
            return text.decode().isprintable()
        except UnicodeDecodeError:
            return False


def _halves(parts: list[bytes], middle: bytes) -> list[bytes]:
    """The two halves of every part; nothing when one of them has other than two."""
    halves: list[bytes] = []
    for part in parts:
        pair = part.split(middle)
        if len(pair) != 2:
            return []
        halves += pair
    return halves
