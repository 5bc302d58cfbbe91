"""Going on with another target after a stream broke: what to ask it, and how to join what it says.

The client has some text already; nobody can take that back. The next target is asked to go on exactly
there, and models do one of three things: they go on, they repeat the last words first, or they begin
again. `Joiner` tells these apart while the new text comes and lets through only what is new:

    while the new text is a beginning of what was delivered, it may be a repetition: swallow it
    what goes beyond a whole repetition is new
    otherwise, what overlaps with the end of what was delivered is swallowed, the rest is new

An overlap counts where it begins at a word, or is long: one letter that happens to be equal is not one.
Pure: knows no target and no socket.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sidecar.dialects.loose import event_of
from sidecar.dialects.openai_reading import Reading
from sidecar.dialects.sse import parse, split
from sidecar.model.request import Peek
from sidecar.model.topology import Operation

__all__ = ["Joiner", "continuation", "delivered_text", "joined", "rescuable"]

_ASK = (
    "Your answer was cut off by a network failure. Continue it exactly where it stops: begin with the very next "
    "character, repeat nothing, and do not comment on the interruption."
)
_LONG_OVERLAP = 16  # characters: equal by chance no more
_WINDOW = 4096  # characters at the end of what was delivered in which an overlap is looked for


def rescuable(peek: Peek, operation: Operation) -> bool:
    """Whether a request's answer is text that another target can go on with: one answer, no structure."""
    if operation is Operation.EMBEDDINGS or _value(peek, "n") not in (None, 1):
        return False
    shape = _value(peek, "response_format")
    return shape is None or (isinstance(shape, dict) and shape.get("type") == "text")


def delivered_text(stream: bytes) -> str | None:
    """The text that a client has read of a stream; None when it got something that is no text.

    Args:
        stream: Whole frames, as they were sent.
    """
    reading = Reading()
    for frame in split(stream):
        event = event_of(frame)
        if event is not None:
            reading.take(event)
    if reading.calls or reading.refusal or reading.finish_reason:
        return None
    return reading.content


def continuation(peek: Peek, operation: Operation, text: str) -> Peek:
    """The original request, asking to go on after `text`."""
    if not text:
        return peek
    fields = dict(peek.fields)
    if operation is Operation.COMPLETIONS:
        prompt = _value(peek, "prompt")
        fields["prompt"] = msgspec.Raw(msgspec.json.encode(f"{prompt}{text}"))
    else:
        said = [{"role": "assistant", "content": text}, {"role": "user", "content": _ASK}]
        messages = [*msgspec.json.decode(fields["messages"], type=list[msgspec.Raw]), *said]
        fields["messages"] = msgspec.Raw(msgspec.json.encode(messages))
    return msgspec.structs.replace(peek, fields=fields)


def joined(delivered: str, new: str, *, over: bool) -> str | None:
    """What of `new` is new; None while more of it is needed to tell.

    Args:
        delivered: What the client has.
        new: What the next target has said so far.
        over: It will say no more.
    """
    if new.startswith(delivered):
        return new[len(delivered) :]
    if delivered.startswith(new):
        return "" if over else None
    starts = [start for start in range(max(0, len(delivered) - _WINDOW), len(delivered)) if _counts(delivered, start)]
    if not over and any(delivered.startswith(new, start) for start in starts):
        return None
    for start in starts:  # the longest overlap first
        if new.startswith(delivered[start:]):
            return new[len(delivered) - start :]
    return new


def _counts(delivered: str, start: int) -> bool:
    """Whether an overlap that begins here is one: at a word, or long."""
    at_word = start == 0 or delivered[start].isspace() or delivered[start - 1].isspace()
    return at_word or len(delivered) - start >= _LONG_OVERLAP


class Joiner:
    """Joins the stream of the next target to what the client has; lives as long as that stream.

    Args:
        delivered: The text that the client has.
        target: Who goes on; told to the client in a comment.
    """

    def __init__(self, delivered: str, target: str) -> None:
        self._delivered = delivered
        self._new = ""
        self._joined = not delivered
        self._latest: dict[str, Any] | None = None  # event with text that was held back
        self._comment = f": rescued by {target}\n\n".encode("ascii", "replace")

    def feed(self, frames: bytes) -> bytes:
        """The frames that the client may see of these."""
        comment, self._comment = self._comment, b""
        if self._joined:
            return comment + frames
        return comment + b"".join([self._passed(frame) for frame in split(frames)])

    def _passed(self, frame: bytes) -> bytes:
        if self._joined:
            return frame
        event = event_of(frame)
        if event is None:
            return self._unsaid(frame) + frame  # a comment, or the end
        choices = event.get("choices") or []
        if not choices:
            return frame  # the usage
        choice = choices[0]
        delta = choice.get("delta")
        text = (delta.get("content") if isinstance(delta, dict) else choice.get("text")) or ""
        over = bool(choice.get("finish_reason")) or bool(isinstance(delta, dict) and delta.get("tool_calls"))
        self._new += text
        if not text and not over:
            return b""  # who speaks, or what it thinks: the client has that already
        new = joined(self._delivered, self._new, over=over)
        if new is None:
            self._latest = event
            return b""
        self._joined = True
        return _with_text(event, new)

    def _unsaid(self, frame: bytes) -> bytes:
        """What is still held back when the end comes without a finish reason."""
        if self._latest is None or parse(frame).data is None:
            return b""
        self._joined = True
        return _with_text(self._latest, joined(self._delivered, self._new, over=True) or "")


def _with_text(event: dict[str, Any], text: str) -> bytes:
    """The event, with this text in the place of its own."""
    choice = event["choices"][0]
    place, name = (choice["delta"], "content") if isinstance(choice.get("delta"), dict) else (choice, "text")
    if text or name in place:
        place[name] = text
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


def _value(peek: Peek, name: str) -> Any:
    raw = peek.fields.get(name)
    return None if raw is None else msgspec.json.decode(raw)
