"""What happens to a stream on its way through: nothing, while everything of interest is seen.

`Tap` is a pure transducer, bytes in, bytes and facts out. Until the first content it holds everything
back (so that a failure can still be answered by another target unseen); after it, whole frames pass as
they came. A frame is looked into only where a byte search says that it may hold a finish reason, a
usage, an error or the end; the rest is only checked to be JSON, all frames of a read in one call.

Three things never pass: a frame that is not JSON (skipped and counted), the usage chunk that only we
asked for, and an error event (the caller ends the stream with its own).
"""

from __future__ import annotations

import msgspec

from sidecar.dialects.openai_chat import DONE, EventFacts, read_event
from sidecar.dialects.sse import MAX_FRAME_BYTES, Framer, parse, split
from sidecar.model.failures import Failure, Kind
from sidecar.model.records import Usage

__all__ = ["MAX_PREAMBLE_BYTES", "Tap"]

MAX_PREAMBLE_BYTES = 64 * 1024


class _Anything(msgspec.Struct):
    """Decoding to this checks that the JSON is well-formed and keeps nothing of it."""


_CHECK_LINES = msgspec.json.Decoder(_Anything).decode_lines


class Tap:
    """One stream passing through; lives as long as its attempt.

    Args:
        withhold_usage: The usage chunk was our wish, not the client's.
    """

    __slots__ = (
        "_finished",
        "_framer",
        "_ready",
        "_started",
        "_withhold_usage",
        "committed",
        "done",
        "fault",
        "finish_reason",
        "malformed",
        "model",
        "usage",
    )

    def __init__(self, *, withhold_usage: bool) -> None:
        self._framer = Framer()
        self._ready: list[bytes] = []  # frames that may pass, once there is content
        self._started: set[int] = set()
        self._finished: set[int] = set()
        self._withhold_usage = withhold_usage
        self.committed = False  # content has come
        self.done = False  # the terminal event has come
        self.fault: bytes | None = None  # the data of an error event
        self.malformed = 0  # frames that were skipped
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.usage: Usage | None = None

    @property
    def complete(self) -> bool:
        """Every choice that was begun has its finish reason, or the terminal event has come."""
        return bool(self._started) and (self.done or self._started <= self._finished)

    def feed(self, data: bytes) -> bytes:
        """What may go to the client now: nothing before the first content, then whole frames.

        After `fault` or `done` is set, what follows in the stream is of no interest and does not pass.
        """
        frames = self._framer.feed(data)
        if self.committed and frames and _plain(frames):
            return frames
        self._look(frames)
        if self._framer.held_bytes > MAX_FRAME_BYTES:
            self.fault = b'{"error":{"message":"an event of the stream is larger than 16 MiB"}}'
        return self._take()

    def end(self) -> bytes:
        """The stream is over: what a last frame without its empty line still gives."""
        rest = self._framer.end().rstrip(b"\r\n")
        if rest:
            self._look(rest + b"\n\n")
        return self._take()

    def closing(self) -> bytes:
        """What a complete stream lacks: its `[DONE]`."""
        return b"" if self.done else DONE

    def verdict(self) -> Failure | None:
        """How the stream ended, to be asked when it did."""
        if self.complete and self.fault is None:
            return None
        if not self._started:
            return Failure(Kind.MALFORMED, "the provider's stream held no answer")
        return Failure(Kind.TRUNCATED, "the stream ended without a finish reason")

    def _take(self) -> bytes:
        if not self._ready:
            return b""
        if not self.committed:
            self.committed = sum(map(len, self._ready)) > MAX_PREAMBLE_BYTES
            if not self.committed:
                return b""
        ready, self._ready = self._ready, []
        return b"".join(ready)

    def _look(self, frames: bytes) -> None:
        """Look into every frame, in order, up to the one that ends the stream."""
        for frame in split(frames):
            if self.done or self.fault is not None:
                return
            if self._passes(frame):
                self._ready.append(frame)

    def _passes(self, frame: bytes) -> bool:
        parsed = parse(frame)
        if parsed.data is None:
            return True  # a comment keeps a connection awake
        data = parsed.data.strip()
        if data == b"[DONE]":
            self.done = True
            return True
        facts = read_event(data)
        if facts is None:
            self.malformed += 1
            return False
        if facts.fault or parsed.event == "error":
            self.fault = data
            return False
        self._note(facts)
        return not (facts.usage_only and self._withhold_usage)

    def _note(self, facts: EventFacts) -> None:
        self._started.update(facts.started)
        self._finished.update(facts.finished)
        self.model = facts.model or self.model
        self.usage = facts.usage or self.usage
        self.finish_reason = facts.finish_reason or self.finish_reason
        if facts.content:
            self.committed = True


def _plain(frames: bytes) -> bool:
    """Whether these are frames of well-formed JSON in which nothing needs a look."""
    if not frames.startswith(b"data: {") or b"\r" in frames or b"[DONE]" in frames or b'"error"' in frames:
        return False
    if frames.count(b'"finish_reason"') != frames.count(b'"finish_reason":null'):
        return False
    if frames.count(b'"usage"') != frames.count(b'"usage":null'):
        return False
    try:
        _CHECK_LINES(frames[6:-2].replace(b"\n\ndata: ", b"\n"))
    except msgspec.DecodeError:
        return False
    return True
