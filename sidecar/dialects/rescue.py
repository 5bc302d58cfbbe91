"""Going on with another target after a stream broke: what to ask it, and how to join what it says.

The client has some text already; nobody can take that back. The next target is asked to go on exactly
there, and models do one of three things: they go on, they repeat the last words first, or they begin
again. `joined` tells these apart while the new text comes and lets through only what is new:

    while the new text is a beginning of what was delivered, it may be a repetition: swallow it
    what goes beyond a whole repetition is new
    otherwise, what overlaps with the end of what was delivered is swallowed, the rest is new

An overlap counts where it begins at a word, or is long: one letter that happens to be equal is not one.

It works on events, so in every dialect: what the client has is read back, an encoder is brought to
exactly that place, and goes on from there. Pure: knows no target and no socket.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sidecar.dialects.dialect import Encoder
from sidecar.dialects.forms import Translation, requested
from sidecar.dialects.loose import json_object
from sidecar.dialects.openai_completions import chat_event
from sidecar.dialects.sse import parse, split
from sidecar.dialects.table import codec
from sidecar.model.blocks import Message, Opaque, Role, Text, Thinking
from sidecar.model.errors import ValidationError
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Start, Stop
from sidecar.model.hub import FormatKind, HubRequest, Wire
from sidecar.model.records import Usage
from sidecar.model.request import Call
from sidecar.model.topology import Operation, Params
from sidecar.model.ways import COMMENTLESS

__all__ = ["Continuation", "continuation", "joined"]

_ASK = (
    "Your answer was cut off by a network failure. Continue it exactly where it stops: begin with the very next "
    "character, repeat nothing, and do not comment on the interruption."
)
_LONG_OVERLAP = 16  # characters: equal by chance no more
_WINDOW = 4096  # characters at the end of what was delivered in which an overlap is looked for


class Continuation:
    """A stream that broke, to be gone on from; lives as long as its request.

    Args:
        request: What was asked.
        events: What the client has, by the grammar but for its end.
        text: The text of it.
        usage: What the broken stream told of its tokens.
    """

    def __init__(self, request: HubRequest, events: Sequence[Event], text: str, usage: Usage | None) -> None:
        self._request = request
        self._events = events
        self._text = text
        self._usage = usage

    def form(self, call: Call, endpoint: Operation, wire: Wire, params: Params, target: str) -> Translation:
        """How the next target is asked to go on, and how its answer is joined.

        Args:
            call: The client's request.
            endpoint: By which the provider is asked.
            wire: The target.
            params: What the provider's config says of the top level.
            target: Its name; told to the client in a comment.

        Raises:
            Untranslatable: When the provider's dialect has no way to ask this.
        """
        form = Translation(call, endpoint, wire, params, self._asked())
        encoder = codec(call.dialect).StreamEncoder(form.losses, wants_usage=call.peek.wants_usage)
        comment = b"" if call.dialect in COMMENTLESS else f": rescued by {target}\n\n".encode("ascii", "replace")
        form.encoder = _Joining(encoder, self._events, self._text, self._usage, comment)
        return form

    def _asked(self) -> HubRequest:
        """The original request, asking to go on after the text."""
        if not self._text:
            return self._request
        said = Message(Role.ASSISTANT, (Text(self._text),))
        ask = Message(Role.USER, (Text(_ASK),))
        return msgspec.structs.replace(self._request, messages=(*self._request.messages, said, ask))


def continuation(call: Call, delivered: bytes, usage: Usage | None) -> Continuation | None:
    """How to go on; None when nobody can: the answer is more than one text, or its text has a structure.

    Args:
        call: The client's request, which was answered before.
        delivered: Whole frames, as they were sent to the client.
        usage: What the broken stream told of its tokens.
    """
    try:
        request = requested(call)
    except ValidationError:  # its first target took it as it was
        return None
    structured = request.format is not None and request.format.kind is not FormatKind.TEXT
    if structured or request.choices not in (None, 1):
        return None
    events, finished = _read(call, delivered)
    if finished:
        return None
    text = ""
    for event in events:
        match event:
            case BlockStart(Text(refusal=False) | Thinking() as block):
                text += block.text if isinstance(block, Text) else ""
                is_text = isinstance(block, Text)
            case BlockStart():
                return None
            case Delta():
                text += event.text if is_text else ""
            case _:
                pass
    return Continuation(request, events, text, usage)


def _read(call: Call, delivered: bytes) -> tuple[list[Event], bool]:
    """The events of it, but for its end, and whether it is complete."""
    decoder = codec(call.dialect).StreamDecoder()
    events: list[Event] = []
    for frame in split(delivered):
        parsed = parse(frame)
        value = json_object(parsed.data or b"")
        if value is not None:
            value = chat_event(value) if call.operation is Operation.COMPLETIONS else value
            events += decoder.take(parsed.event, value)
    return events, any(isinstance(event, Stop) for event in (*events, *decoder.end(marked=False)))


class _Joining:
    """An encoder that goes on where a broken stream stopped.

    Args:
        encoder: A fresh one of the client's dialect.
        delivered: The events that the client has.
        text: Their text.
        usage: Their tokens.
        comment: Says who goes on.
    """

    def __init__(
        self, encoder: Encoder, delivered: Sequence[Event], text: str, usage: Usage | None, comment: bytes
    ) -> None:
        self._encoder = encoder
        self._comment = comment
        self._delivered = text
        self._usage = usage
        self._new = ""
        self._joined = not text
        self._begun = bool(delivered)
        self._open: type[Text | Thinking] | None = None  # the block that the client has open
        self._reading: object = None  # the kind of block that the new target is in
        for event in delivered:
            if isinstance(event, BlockStart):
                self._open = Text if isinstance(event.block, Text) else Thinking
            elif isinstance(event, BlockStop):
                self._open = None
        encoder.give(delivered)

    def give(self, events: Sequence[Event]) -> bytes:
        """The frames that the client has not got yet."""
        comment, self._comment = self._comment, b""
        gone_on = [each for event in events for each in self._of(_bare(event))]
        return comment + (self._encoder.give(gone_on) if gone_on else b"")

    def _of(self, event: Event) -> list[Event]:
        match event:
            case Start():
                begun, self._begun = self._begun, True
                return [] if begun else [event]
            case BlockStart(block):
                self._reading = type(block)
                # Who speaks, and what it thinks, the client knows already; a text goes on in the open one.
                return [] if isinstance(block, Text | Thinking) else [*self._flushed(), *self._closed(), event]
            case Delta():
                if self._reading is Text:
                    return self._passed(event)
                return [] if self._reading is Thinking else [event]
            case BlockStop():
                return [] if self._reading in (Text, Thinking) else [event]
            case Stop():
                stop = msgspec.structs.replace(event, usage=_sum(self._usage, event.usage))
                return [*self._flushed(), *self._closed(), stop]
            case _:
                return []

    def _passed(self, delta: Delta) -> list[Event]:
        if self._joined:
            return self._said(delta)
        self._new += delta.text
        new = joined(self._delivered, self._new, over=False)
        if new is None:
            return []
        self._joined = True
        return self._said(Delta(new))

    def _flushed(self) -> list[Event]:
        """What is still held back when no more text comes."""
        if self._joined:
            return []
        self._joined = True
        return self._said(Delta(joined(self._delivered, self._new, over=True) or ""))

    def _said(self, delta: Delta) -> list[Event]:
        if not delta.text:
            return []
        if self._open is Text:
            return [delta]
        begun = [*self._closed(), BlockStart(Text(""))]
        self._open = Text
        return [*begun, delta]

    def _closed(self) -> list[Event]:
        closed, self._open = self._open is not None, None
        return [BlockStop()] if closed else []


def _bare(event: Event) -> Event:
    """The event without the fields and words of its own dialect, which is not the one that the answer began in."""
    match event:
        case BlockStart(Opaque()):
            return event
        case BlockStart(block):
            return BlockStart(msgspec.structs.replace(block, extra={}))
        case Delta():
            return msgspec.structs.replace(event, extra={})
        case Stop():
            return msgspec.structs.replace(event, native=None, extra={})
        case _:
            return event


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    if one is None or other is None:
        return other or one
    sums = {
        name: before + more if (before := getattr(one, name)) is not None and more is not None else before or more
        for name in Usage.__struct_fields__
        for more in (getattr(other, name),)
    }
    return Usage(**sums)


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
