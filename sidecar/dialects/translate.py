"""A stream on its way through by its events: watched, or translated into the client's dialect.

`EventTap` has the face of `relay.Tap`, and does for every dialect what that does for one: nothing
passes before the first content, an error event never passes, frames that are no JSON are skipped and
counted. With an encoder, what passes is written anew in the client's dialect; without, the frames
pass as they came and the events are only looked at. That is the one difference between relaying and
translating.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import assert_never

from sidecar.dialects.dialect import Decoder, Encoder
from sidecar.dialects.loose import json_object
from sidecar.dialects.relay import MAX_PREAMBLE_BYTES
from sidecar.dialects.sse import MAX_FRAME_BYTES, Framer, parse, split
from sidecar.model.blocks import Text, Thinking
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Fault, Start, Stop
from sidecar.model.failures import Failure, Kind
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect

__all__ = ["EventTap"]

# The event after which nothing of interest comes, and what it is where a complete stream lacks it.
_LAST: Mapping[Dialect, frozenset[str]] = MappingProxyType(
    {
        Dialect.ANTHROPIC_MESSAGES: frozenset({"message_stop"}),
        Dialect.OPENAI_RESPONSES: frozenset({"response.completed", "response.incomplete", "response.failed"}),
    }
)
_CLOSING: Mapping[Dialect, bytes] = MappingProxyType(
    {Dialect.ANTHROPIC_MESSAGES: b'event: message_stop\ndata: {"type":"message_stop"}\n\n'}
)
_DONE = b"[DONE]"


class EventTap:
    """One stream passing through; lives as long as its attempt.

    Args:
        dialect: Of the provider.
        decoder: Reads it.
        encoder: Writes it for the client; None: the frames pass as they come.
        comments: Whether the client's SDK reads over comments; they keep a connection awake.
    """

    mould = None  # as a `Tap` has one: every event is looked into

    def __init__(self, dialect: Dialect, decoder: Decoder, encoder: Encoder | None, *, comments: bool = True) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self._comments = comments
        self._last = _LAST.get(dialect, frozenset())
        self._closing = _CLOSING.get(dialect, b"")
        self._framer = Framer()
        self._ready: list[bytes] = []
        self._held_bytes = 0
        self._ended = False  # the decoder has nothing more to say
        self.committed = False  # content has come, or more preamble than is held
        self.done = False  # what comes now is of no interest
        self.complete = False
        self.fault: bytes | None = None  # the data of an error event
        self.failure: Failure | None = None  # how it broke, in the decoder's words
        self.malformed = 0
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.id: str | None = None  # of the answer
        self.usage: Usage | None = None

    def feed(self, data: bytes) -> bytes:
        """What may go to the client now: nothing before the first content."""
        for frame in split(self._framer.feed(data)):
            if self.done or self.fault is not None:
                break
            self._look(frame)
        if self._framer.held_bytes > MAX_FRAME_BYTES and not self.done and self.fault is None:
            self._fail(b"", Failure(Kind.MALFORMED, "an event of the stream is larger than 16 MiB"))
        return self._take()

    def end(self) -> bytes:
        """The stream is over: what its last frame and the end itself still give."""
        rest = self._framer.end()
        if rest and not self.done and self.fault is None:
            malformed = self.malformed
            self._look(rest)
            self.malformed = malformed
        self._finish(marked=False)
        return self._take()

    def settles(self) -> bool:
        """Whether a stream that went silent is complete after all: only the mark of its end is missing."""
        self._finish(marked=False)
        return self.complete

    def closing(self) -> bytes:
        """What a complete stream lacks."""
        if self._encoder is not None:
            return self._take()
        return b"" if self.done else self._closing

    def verdict(self) -> Failure | None:
        """How the stream ended, to be asked when it did."""
        if self.complete and self.fault is None:
            return None
        self._finish(marked=False)
        if self.complete:
            return None
        return self.failure or Failure(Kind.TRUNCATED, "the stream ended without a finish reason")

    def _look(self, frame: bytes) -> None:
        parsed = parse(frame)
        # Some servers answer `{"error": ...}` as it is, under the content type of a stream.
        data = (frame if parsed.data is None else parsed.data).strip()
        if parsed.data is None and not data.startswith(b"{"):
            self._pass(frame if self._comments else b"")
            return
        if data == _DONE:
            self._finish(marked=True)
            self.done = True
            self._pass(frame if self._encoder is None else b"")
            return
        value = json_object(data)
        if value is None:
            self.malformed += 1
            return
        events = self._decoder.take(parsed.event, value)
        written = self._note(events, data)
        if self.fault is None:
            self._pass(frame if self._encoder is None else written)
        if parsed.event in self._last or (self.complete and self._encoder is not None):
            self.done = True

    def _finish(self, *, marked: bool) -> None:
        """The decoder is told, once, that no more comes."""
        if self._ended or self.complete or self.fault is not None:
            return
        self._ended = True
        self._pass(self._note(self._decoder.end(marked=marked), b""))

    def _note(self, events: Sequence[Event], data: bytes) -> bytes:
        """Take over what the events say; what they are in the client's dialect."""
        good = events
        for place, event in enumerate(events):
            match event:
                case Delta():
                    self.committed = self.committed or bool(event.text)
                case BlockStart(block):
                    self.committed = self.committed or not isinstance(block, Text | Thinking) or bool(block.text)
                case BlockStop():
                    pass
                case Start():
                    self.id, self.model, self.usage = event.id, event.model or None, event.usage
                case Stop():
                    self.complete = self.committed = True
                    self.finish_reason = event.native or event.reason.value
                    self.usage = event.usage or self.usage
                case Fault(failure):
                    good = events[:place]
                    self._fail(data, failure)
                case _:
                    assert_never(event)
        return self._encoder.give(good) if self._encoder is not None and good else b""

    def _fail(self, data: bytes, failure: Failure) -> None:
        """An error event; or, without one, how the stream ended."""
        self.failure = failure
        if data or failure.kind is not Kind.TRUNCATED:
            self.fault = data

    def _pass(self, frames: bytes) -> None:
        if frames:
            self._ready.append(frames)
            if not self.committed:
                self._held_bytes += len(frames)

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
