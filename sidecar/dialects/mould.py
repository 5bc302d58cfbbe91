r"""Frames of a stream that differ from one before them in what is said only: found by their bytes, without JSON.

Nearly every event of a stream has the bytes of the one before it but for a piece of text. When that one was
decoded, its likes need not be: a JSON string may be put in place of another one where no string means
anything but itself.

    before             said     middle               said     after
    data: {..."content":" word ",..."obfuscation":" aB3 "}\n\n

The texts of many frames are cut out by their places, and the frames built anew from them: only what gives the
very bytes that came is of the mould. What stands in the holes must be no more than a piece of text. Whole
escapes aside, it has no quotes and backslashes, so it cannot end its string, and what can be printed is valid
UTF-8 without control characters. Every other frame is for the decoder.
"""

from __future__ import annotations

import re
from io import BytesIO
from operator import itemgetter

__all__ = ["Mould"]

# A piece of text as it nearly always is.
_PLAIN = re.compile(rb"[ !#-\[\]-~]*").fullmatch
# The keys whose texts mean nothing to us. Found in JSON without a backslash, where each quote begins or ends a string.
_SAID = re.compile(rb'"(?:content|text|reasoning|reasoning_content|arguments|obfuscation)": ?"([^"]+)"')
_ESCAPE = re.compile(rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_QUOTE, _BACKSLASH, _LF, _CR = b'"\\\n\r'


class Mould:
    """The bytes that frames have in common; `of` gives that of one frame."""

    __slots__ = ("_after", "_before", "_cut", "_from", "_joint", "_middle", "_to")

    def __init__(self, before: bytes, middle: bytes, after: bytes) -> None:
        self._before = before
        self._middle = middle  # b"": something is said in one place only
        self._after = after
        self._joint = after + before
        self._from = len(before)
        self._to = -len(after)
        blank = 2 if _CR in after else 1
        self._cut = itemgetter(slice(len(before), blank - len(after)))  # of a frame without its empty line

    @classmethod
    def of(cls, frame: bytes) -> Mould | None:
        """The mould of a frame whose data is known to be valid JSON; None when it has none."""
        line = frame.rstrip(b"\r\n")
        if not line.startswith(b"data: {") or frame[len(line) :] not in (b"\n\n", b"\r\n\r\n"):
            return None
        if _BACKSLASH in line or _CR in line or _LF in line:
            return None
        said = [found.span(1) for found in _SAID.finditer(frame)]
        if not 1 <= len(said) <= 2:
            return None
        (begin, end), (again, last) = said[0], said[-1]
        return cls(frame[:begin], frame[end:again], frame[last:])

    def run(self, frames: bytes, start: int, most: int) -> int:
        """Where the last frame of this mould ends before `most`, if all from `start` to there are; else 0."""
        end = frames.rfind(self._after, start, most) + len(self._after)
        return end if self.fits(frames[start:end]) else 0

    def fits(self, frames: bytes) -> bool:
        """Whether these are one or more whole frames of this mould, and nothing else."""
        if not (frames.startswith(self._before) and frames.endswith(self._after, self._from)):
            return False
        if not self._middle and _PLAIN(frames, self._from, len(frames) + self._to):
            return True
        text = frames[self._from : self._to]
        if self._middle or _LF in text:
            said = [text]
            if _LF in text:  # several
                said = list(map(self._cut, BytesIO(frames).readlines()[::2]))  # every other line is empty
                if b"".join((self._before, self._joint.join(said), self._after)) != frames:
                    return False
            if self._middle:
                said = _halves(said, self._middle)
                if not said:
                    return False
            # A blank between them, so that no two make a character that neither is.
            text = b" ".join(said)
        if _BACKSLASH in text:
            text = _ESCAPE.sub(b" ", text)
            if _BACKSLASH in text:
                return False
        if _QUOTE in text:
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
