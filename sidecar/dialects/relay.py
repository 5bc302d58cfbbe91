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

from sidecar.dialects.loose import MALFORMED
from sidecar.dialects.mould import Mould
from sidecar.dialects.openai_facts import DONE, EventFacts, plain_events, read_event
from sidecar.dialects.sse import MAX_FRAME_BYTES, Framer, parse, split
from sidecar.model.failures import Failure, Kind
from sidecar.model.records import Usage

__all__ = ["MAX_PREAMBLE_BYTES", "Tap"]

MAX_PREAMBLE_BYTES = 64 * 1024

_LF, _CR = b"\n\r"
_FIRST_FRAMES = 3  # of a stream: after them it is known what is plain
_LAST_FRAMES = 3  # of a stream: finish reason, usage, `[DONE]`

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
        "_quick",
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
        "usage",
    )

    def __init__(self, *, withhold_usage: bool) -> None:
        self._framer = Framer()
        self._ready: list[bytes] = []  # frames that may pass, once there is content
        self._held_bytes = 0  # of the preamble
        self._started = _NO_CHOICE
        self._finished = _NO_CHOICE
        self._withhold_usage = withhold_usage
        self._quick = False  # a plain event could tell nothing new
        self._mould: Mould | None = None  # of a plain event
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
        if self._quick and not self._framer.held_bytes and self._mould is not None and self._mould.fits(data):
            return data
        frames = self._framer.feed(data)
        if self._quick and self._are_plain(frames):
            return frames
        if frames:
            self._look(frames)
        if self._framer.held_bytes > MAX_FRAME_BYTES and not self._over:
            self._fail(b'{"error":{"message":"an event of the stream is larger than 16 MiB"}}')
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

    @property
    def _over(self) -> bool:
        return self.done or self.fault is not None

    def _fail(self, data: bytes) -> None:
        self.fault = data
        self._quick = False

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
        """Look into every frame, in order, up to the one that ends the stream.

        In one read there may be many plain frames between the first of a stream and its last: those
        are spared the closer look.
        """
        for _ in range(_FIRST_FRAMES):
            cut = 0 if self._quick or self._over or _CR in frames else frames.find(b"\n\n") + 2
            if not 2 <= cut < len(frames):
                break
            self._look_at_each(frames[:cut])
            frames = frames[cut:]
        if self._quick:
            cut = _before_last(frames)
            if self._are_plain(frames[:cut]):
                self._pass(frames[:cut])
                frames = frames[cut:]
        self._look_at_each(frames)

    def _are_plain(self, frames: bytes) -> bool:
        """Whether none of these frames says anything of interest."""
        if self._mould is not None and self._mould.fits(frames):
            return True
        cut = frames.find(b"\n\n") + 2
        first = frames[:cut] if cut >= 2 else frames
        if not _plain(first):
            return False
        self._mould = Mould.of(first) or self._mould
        return len(first) == len(frames) or (self._mould is not None and self._mould.fits(frames)) or _plain(frames)

    def _look_at_each(self, frames: bytes) -> None:
        pieces = split(frames)
        for place, frame in enumerate(pieces, 1):
            if self._over:
                return
            was_quick = self._quick
            if self._passes(frame):
                self._pass(frame)
            if self._quick and not was_quick:
                self._look(b"".join(pieces[place:]))
                return

    def _passes(self, frame: bytes) -> bool:
        if self._quick and self._mould is not None and self._mould.fits(frame):
            return True
        parsed = parse(frame)
        bare = parsed.data is None
        # Some servers answer `{"error": ...}` as it is, under the content type of a stream.
        data = frame if parsed.data is None else parsed.data
        data = data.strip()
        if bare and not data.startswith(b"{"):
            return True  # a comment keeps a connection awake
        if data == b"[DONE]":
            self.done = True
            self._quick = False
            return True
        facts = read_event(data)
        if parsed.event == "error" or (facts is not None and facts.fault):
            self._fail(data)
            return False
        if bare:
            return True
        if facts is None:
            self.malformed += 1
            return False
        self._note(facts)
        return not (facts.usage_only and self._withhold_usage)

    def _note(self, facts: EventFacts) -> None:
        self._started = _grown(self._started, facts.started)
        self._finished = _grown(self._finished, facts.finished)
        self.model = self.model or facts.model
        self.usage = facts.usage or self.usage
        self.finish_reason = facts.finish_reason or self.finish_reason
        if facts.content:
            self.committed = True
        self._quick = self.committed and self.model is not None and 0 in self._started


def _grown(choices: frozenset[int], more: tuple[int, ...]) -> frozenset[int]:
    """A set of its own would take 216 bytes of each open stream; nearly all share that of the only choice."""
    if choices.issuperset(more):
        return choices
    return _ONE_CHOICE if more == (0,) and not choices else choices.union(more)


def _before_last(frames: bytes) -> int:
    """Where the last few frames begin; 0 when there are no others."""
    cut = len(frames) - 2
    for _ in range(_LAST_FRAMES):
        cut = frames.rfind(b"\n\n", 0, max(cut, 0))
    return cut + 2 if cut > 0 else 0


def _plain(frames: bytes) -> bool:
    r"""Whether these are frames of one JSON object each, and none says anything of interest.

    The objects are decoded in one call, each pair joined by `}\t{`. That a tab between two braces
    cannot be inside an object, a list or a string makes every joint the end of one value, and that
    there are as many values as joints and one makes each frame exactly one value.
    """
    if _CR in frames:
        frames = frames.replace(b"\r\n", b"\n")
    if not (frames.startswith(b"data: {") and frames.endswith(b"}\n\n")):
        return False
    parts = frames[6:-2].split(b"}\n\ndata: {")
    joined = b"}\t{".join(parts)
    if _LF in joined or _CR in joined:
        return False
    try:
        if len(plain_events(joined)) != len(parts):
            return False
        if not joined.isascii():
            joined.decode()  # the decoder does not look at the bytes of strings that it skips
    except MALFORMED:
        return False
    return True
