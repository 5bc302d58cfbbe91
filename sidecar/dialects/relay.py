"""What happens to a stream on its way through: nothing, while everything of interest is seen.

`Tap` is a pure transducer, bytes in, bytes and facts out. Until the first content it holds everything
back (so that a failure can still be answered by another target unseen); after it, whole frames pass as
they came. What most frames say, "here is more of the first choice", is checked for all frames of a read at
once: by their bytes, where they are like one before them, else by decoding them in one call; where that
check fails, too, they are looked into one by one. How a stream was torn on its way changes nothing: not
what passes, and not the facts.

Three things never pass: a frame that is not JSON (skipped and counted), the usage chunk that only we
asked for, and an error event (the caller ends the stream with its own).
"""

from __future__ import annotations

from sidecar.dialects.mould import Mould
from sidecar.dialects.openai_facts import DONE, EventFacts, read_event
from sidecar.dialects.sse import MAX_FRAME_BYTES, Framer, parse, split
from sidecar.model.failures import Failure, Kind
from sidecar.model.records import Usage

__all__ = ["MAX_PREAMBLE_BYTES", "Tap"]

MAX_PREAMBLE_BYTES = 64 * 1024

_LF, _CR = b"\n\r"

_NO_CHOICE: frozenset[int] = frozenset()
_ONE_CHOICE = frozenset({0})


class Tap:
    """One stream passing through; lives as long as its attempt.

    Args:
        withhold_usage: The usage chunk was our wish, not the client's.
    """

    __slots__ = (
        "_finished",
        "_framer",
        "_held_bytes",
        "_mould",
        "_over",
        "_ready",
        "_started",
        "_withhold_usage",
        "committed",
        "done",
        "failure",
        "fault",
        "finish_reason",
        "id",
        "malformed",
        "model",
        "mould",
        "usage",
    )

    def __init__(self, *, withhold_usage: bool) -> None:
        self._framer = Framer()
        self._ready: list[bytes] = []  # frames that may pass, once there is content
        self._held_bytes = 0  # of the preamble
        self._started = _NO_CHOICE
        self._finished = _NO_CHOICE
        self._withhold_usage = withhold_usage
        self._over = False  # what follows is of no interest
        self._mould: Mould | None = None  # of a frame with content that could tell nothing new
        # What fits it, `feed` would give as it is, and learn nothing from; it need not be asked then.
        self.mould: Mould | None = None
        self.committed = False  # content has come, or more preamble than is held
        self.done = False  # the terminal event has come
        self.fault: bytes | None = None  # the data of an error event
        self.failure: Failure | None = None  # nothing is known of it but its data
        self.id: str | None = None  # nobody refers to such an answer
        self.malformed = 0  # frames that were skipped
        self.finish_reason: str | None = None
        self.model: str | None = None  # the first that was named
        self.usage: Usage | None = None  # the last that was told

    @property
    def complete(self) -> bool:
        """Every choice that was begun has its finish reason, or the terminal event has come."""
        return bool(self._started) and (self.done or self._started <= self._finished)

    def feed(self, data: bytes) -> bytes:
        """What may go to the client now: nothing before the first content, then whole frames.

        After `fault` or `done` is set, what follows in the stream is of no interest and does not pass.
        """
        if self.mould is not None and self.mould.fits(data):
            return data
        frames = self._framer.feed(data)
        if frames:
            self._look(frames)
        if self._framer.held_bytes > MAX_FRAME_BYTES and not self._over:
            self._fail(b'{"error":{"message":"an event of the stream is larger than 16 MiB"}}')
        self.mould = None if self._framer.held_bytes else self._mould
        return self._take()

    def end(self) -> bytes:
        """The stream is over: what a last frame without its empty line still gives.

        Half a frame is not counted as malformed: that is the end of a stream that was cut.
        """
        rest = self._framer.end()
        if rest:
            malformed = self.malformed
            self._look(rest)
            self.malformed = malformed
        return self._take()

    def settles(self) -> bool:
        """Whether a stream that went silent is complete after all."""
        return self.complete

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

    def _fail(self, data: bytes) -> None:
        self.fault = data
        self._close()

    def _close(self) -> None:
        self._over = True
        self._mould = None

    def _take(self) -> bytes:
        if not self._ready:
            return b""
        if not self.committed:
            self.committed = self._held_bytes > MAX_PREAMBLE_BYTES
            if not self.committed:
                return b""
        ready = b"".join(self._ready)
        self._ready.clear()
        return ready

    def _pass(self, frames: bytes) -> None:
        self._ready.append(frames)
        if not self.committed:
            self._held_bytes += len(frames)

    def _look(self, frames: bytes) -> None:
        """Look into every frame, in order, up to the one that ends the stream; those of the mould pass together."""
        start, most = 0, len(frames)
        while start < len(frames) and not self._over:
            end = 0
            if self._mould is not None:
                end = self._mould.run(frames, start, start + most)
                most = most * 2 if end else most // 2  # so that many odd ones among them cost no square
            if end:
                self._pass(frames[start:end])
            else:
                end = frames.find(b"\n\ndata: ", start) + 2
                end = end if end >= 2 else len(frames)
                self._look_at(frames[start:end])
            start = end

    def _look_at(self, piece: bytes) -> None:
        """Look into one frame, or some of which not all are ordinary."""
        if piece.startswith(b"data: ") and piece.count(_LF) == 2 and _CR not in piece:
            if self._passes(piece, piece[6:-2]):
                self._pass(piece)
            return
        for frame in split(piece):
            if self._over:
                return
            parsed = parse(frame)
            if self._passes(frame, parsed.data, parsed.event):
                self._pass(frame)

    def _passes(self, frame: bytes, data: bytes | None, event: str | None = None) -> bool:
        bare = data is None
        # Some servers answer `{"error": ...}` as it is, under the content type of a stream.
        data = (frame if data is None else data).strip()
        if bare and not data.startswith(b"{"):
            return True  # a comment keeps a connection awake
        if data == b"[DONE]":
            self.done = True
            self._close()
            return True
        facts = read_event(data)
        if event == "error" or (facts is not None and facts.fault):
            self._fail(data)
            return False
        if bare:
            return True
        if facts is None:
            self.malformed += 1
            return False
        if not self._note(facts) and self.committed and self.finish_reason is None:
            self._mould = Mould.of(frame) or self._mould
        return not (facts.usage_only and self._withhold_usage)

    def _note(self, facts: EventFacts) -> bool:
        """Whether it says more than: here is more of a choice."""
        finish_reason = None
        for choice in facts.choices:
            self._started = _grown(self._started, choice.index)
            if choice.finish_reason:
                self._finished = _grown(self._finished, choice.index)
                finish_reason = finish_reason or choice.finish_reason
            elif not self.committed:
                self.committed = choice.content
        if finish_reason is not None:
            self.committed = True
            self._mould = None  # what follows a finish is looked at
        self.finish_reason = finish_reason or self.finish_reason
        self.model = self.model or facts.model
        self.usage = facts.usage or self.usage
        return finish_reason is not None or facts.usage is not None or facts.usage_only


def _grown(choices: frozenset[int], choice: int) -> frozenset[int]:
    """A set of its own would take 216 bytes of each open stream; nearly all share that of the only choice."""
    if choice in choices:
        return choices
    return choices | {choice} if choices or choice else _ONE_CHOICE
