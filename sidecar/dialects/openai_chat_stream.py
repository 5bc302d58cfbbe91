"""Streamed chat answers to events and back.

A stream speaks of text, thoughts and calls by turns; events hold one block open at a time. Whatever begins
closes what was open, but for a call whose arguments are no whole JSON yet: its rest may still come, so what
belongs elsewhere waits. A call that has not told its name waits, too.

The finish reason comes before the usage, if there is any: the answer is over when both are known, at `[DONE]`,
or when the bytes end after a finish reason.

Sources (read 2026-11): platform.openai.com/docs/api-reference/chat/streaming;
openrouter.ai/docs/use-cases/reasoning-tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sidecar.dialects.loose import MALFORMED, object_of, objects, text, thoughts
from sidecar.dialects.losses import dropped
from sidecar.dialects.openai_chat_parts import details_of, read_details, read_signature, signature_of, signed
from sidecar.dialects.openai_chat_response import (
    arguments_of,
    fault_of,
    finish_of,
    image_of,
    logprobs_of,
    medium_of,
    read_logprobs,
    read_usage,
    sayable,
    stop_of,
    usage_fields,
)
from sidecar.dialects.openai_facts import DONE
from sidecar.model.blocks import Block, Media, MediaKind, Text, Thinking, ToolUse
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Fault, Start, Stop
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubResponse, Loss
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect

__all__ = ["StreamDecoder", "StreamEncoder"]

_OWN = Dialect.OPENAI_CHAT
_HEAD = frozenset({"id", "object", "created", "model", "choices", "usage", "error", "obfuscation", "p"})
_CARRIED = ("citations", "search_results")

_Key = tuple[str, int]
_TEXT: _Key = ("text", 0)
_REFUSAL: _Key = ("refusal", 0)
_WORDS: _Key = ("words", 0)  # thoughts without details


class _Piece(msgspec.Struct, frozen=True):
    """What one chunk brings to one block."""

    key: _Key
    begun: Block  # how the block begins, if this is its first piece
    delta: Delta | None = None  # None: the block is whole as it begins


class StreamDecoder:
    """Reads one stream of a provider; lives as long as it."""

    def __init__(self) -> None:
        self._started = False
        self._over = False
        self._open: _Key | None = None
        self._arguments: list[str] = []  # of the open call
        self._waiting: list[_Piece] = []
        self._calls = _Calls()
        self._kinds: list[Block] = []  # how every block began, to tell why the answer stopped
        self._closed: set[_Key] = set()
        self._signed: set[int] = set()  # thoughts by their index
        self._native: str | None = None
        self._matched: str | None = None
        self._usage: Usage | None = None
        self._extra: dict[str, Any] = {}
        self._audio: dict[str, str] = {}

    def take(self, name: str | None, value: Mapping[str, Any]) -> Sequence[Event]:
        """The events that one chunk comes to."""
        if self._over:
            return ()
        fault = fault_of({**value, "type": "error"} if name == "error" else value)
        if fault is not None:
            return self._fail(fault)
        self._extra |= {name: value[name] for name in _CARRIED if value.get(name)}
        choices = objects(value.get("choices"))
        usage = read_usage(value.get("usage"))
        self._usage = usage or self._usage
        events: list[Event] = []
        if choices and not self._started:
            self._started = True
            events.append(_start(value))
        for choice in choices:
            if not choice.get("index"):  # of several choices, the first
                self._choice(choice, events)
        if self._native and usage is not None:
            events += self._stop()
        return events

    def end(self, *, marked: bool) -> Sequence[Event]:
        """What is still due when the stream is over."""
        if self._over:
            return ()
        if not self._started:
            return self._fail(Failure(Kind.MALFORMED, "the stream held no answer"))
        if marked or self._native:
            return self._stop()
        return self._fail(Failure(Kind.TRUNCATED, "the stream ended without a finish reason or [DONE]"))

    def _fail(self, failure: Failure) -> list[Event]:
        events: list[Event] = []
        self._close(events)
        self._over = True
        return [*events, Fault(failure)]

    def _stop(self) -> list[Event]:
        events: list[Event] = []
        for piece in self._calls.nameless():
            self._waiting.append(piece)
        self._settle(events, last=True)
        if self._audio:
            self._give(_Piece(("audio", 0), _sound(self._audio)), events)
        self._close(events)
        self._over = True
        reason = stop_of(self._native, self._kinds, self._matched)
        return [*events, Stop(reason, self._native, self._matched, self._usage, self._extra)]

    # -- pieces

    def _choice(self, choice: Mapping[str, Any], events: list[Event]) -> None:
        delta = object_of(choice.get("delta")) or object_of(choice.get("message")) or {"content": choice.get("text")}
        for piece in self._pieces(delta, object_of(choice.get("logprobs"))):
            if self._must_wait(piece):
                self._waiting.append(piece)
            else:
                self._give(piece, events)
        self._settle(events, last=False)
        audio = object_of(delta.get("audio"))
        for name, said in audio.items():
            if isinstance(said, str) and said:
                self._audio[name] = said if name == "id" else self._audio.get(name, "") + said
        self._native = text(choice.get("finish_reason")) or self._native
        if isinstance(choice.get("stop_reason"), str):
            self._matched = choice["stop_reason"]

    def _pieces(self, delta: Mapping[str, Any], logprobs: Mapping[str, Any]) -> list[_Piece]:
        content = delta.get("content")
        pieces = self._thoughts(delta, content)
        said, likely = text(content), read_logprobs(logprobs.get("content"))
        notes = objects(delta.get("annotations"))
        signature = read_signature(delta)
        if said or likely or notes or signature:
            extra = {"annotations": notes} if notes else {}
            pieces.append(_Piece(_TEXT, Text(""), Delta(said, signature, likely, extra)))
        if refusal := text(delta.get("refusal")):
            likely = read_logprobs(logprobs.get("refusal"))
            pieces.append(_Piece(_REFUSAL, Text("", refusal=True), Delta(refusal, logprobs=likely)))
        for image in objects(delta.get("images")):
            if medium := medium_of(image):
                pieces.append(_Piece(("image", len(self._kinds)), medium))
        return pieces + self._calls.pieces(delta)

    def _thoughts(self, delta: Mapping[str, Any], content: Any) -> list[_Piece]:
        """Thoughts, with their details if there are any."""
        pieces: list[_Piece] = []
        entries = objects(delta.get("reasoning_details"))
        for entry in entries:
            index = entry["index"] if type(entry.get("index")) is int else 0
            thought = self._detail(pieces, ("detail", index))
            whole = signed(thought, entry) if thought else None
            if whole is not None:
                self._signed.add(index)
                pieces.append(_Piece(("detail", index), thought or whole, Delta(signature=whole.signature)))
            else:
                pieces += [_detail_piece(each, index) for each in read_details([entry])]
        words = text(delta.get("reasoning_content")) or text(delta.get("reasoning")) or thoughts(content)
        if words and not any(text(entry.get("text")) or text(entry.get("summary")) for entry in entries):
            pieces.insert(0, _Piece(_WORDS, Thinking(""), Delta(words)))
        return pieces

    def _detail(self, pieces: Sequence[_Piece], key: _Key) -> Thinking | None:
        """How the thought began to which a signature may belong that comes on its own."""
        if key[1] in self._signed:
            return None
        begun: Block | None = None
        if self._open == key:
            begun = self._kinds[-1]
        elif pieces and pieces[-1].key == key:
            begun = pieces[-1].begun
        return begun if isinstance(begun, Thinking) else None

    def _must_wait(self, piece: _Piece) -> bool:
        if self._open is None or self._open == piece.key:
            return False
        return self._open[0] == "call" and not _is_whole("".join(self._arguments))

    def _give(self, piece: _Piece, events: list[Event]) -> None:
        if piece.key != self._open:
            if piece.key[0] == "call" and piece.key in self._closed:
                return  # nothing but white space can follow a whole JSON value
            self._close(events)
            self._open = piece.key
            self._arguments = []
            self._kinds.append(piece.begun)
            events.append(BlockStart(piece.begun))
        if piece.delta is None:
            self._close(events)
            return
        self._arguments.append(piece.delta.text)
        events.append(piece.delta)

    def _close(self, events: list[Event]) -> None:
        if self._open is not None:
            self._closed.add(self._open)
            self._open = None
            events.append(BlockStop())

    def _settle(self, events: list[Event], *, last: bool) -> None:
        """Give what waits as soon as it need not wait any more."""
        while self._waiting and (last or not self._must_wait(self._waiting[0])):
            key = self._waiting[0].key
            now = [piece for piece in self._waiting if piece.key == key]
            self._waiting = [piece for piece in self._waiting if piece.key != key]
            for piece in now:
                self._give(piece, events)


def _start(value: Mapping[str, Any]) -> Start:
    created = value.get("created")
    return Start(
        _OWN,
        text(value.get("id")),
        text(value.get("model")),
        int(created) if isinstance(created, int | float) else None,
        extra={f"~{name}": said for name, said in value.items() if name not in _HEAD and name not in _CARRIED},
    )


def _is_whole(arguments: str) -> bool:
    try:
        msgspec.json.decode(arguments)
    except MALFORMED:
        return False
    return True


def _detail_piece(thought: Thinking, index: int) -> _Piece:
    begun = Thinking("", signer=thought.signer, extra=thought.extra)
    if not thought.redacted:
        return _Piece(("detail", index), begun, Delta(thought.text, thought.signature))
    return _Piece(("encrypted", index), thought)


def _sound(audio: Mapping[str, str]) -> Media:
    extra = {name: said for name, said in audio.items() if name != "data"}
    return Media(MediaKind.AUDIO, inline=audio.get("data", ""), extra=extra)


class _Calls:
    """Which call a delta belongs to, and what waits for its call's name.

    The index says it, unless it is missing, or the same for every call: a delta that brings another id and
    a name begins a call of its own, and what follows under its index goes there.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []  # by place
        self._names: list[str] = []
        self._held: list[list[Delta]] = []
        self._places: dict[int, int] = {}  # by index

    def pieces(self, delta: Mapping[str, Any]) -> list[_Piece]:
        """What a chunk brings to its calls."""
        calls = objects(delta.get("tool_calls"))
        retired = object_of(delta.get("function_call"))
        if retired.get("name") or retired.get("arguments"):
            calls = [*calls, {"index": 0, "function": retired}]
        return [piece for call in calls for piece in self._pieces(call)]

    def _pieces(self, call: Mapping[str, Any]) -> list[_Piece]:
        function = object_of(call.get("function")) or object_of(call.get("custom"))
        place = self._place(call, text(function.get("name")))
        if not self._names[place]:
            self._names[place] = text(function.get("name"))
        self._held[place].append(Delta(arguments_of(function), read_signature(call)))
        if not self._names[place]:
            return []
        held, self._held[place] = self._held[place], []
        return [_Piece(("call", place), self._begun(place), piece) for piece in held]

    def nameless(self) -> list[_Piece]:
        """The calls that never told a name, but arguments."""
        return [
            _Piece(("call", place), self._begun(place), piece)
            for place, held in enumerate(self._held)
            for piece in held
            if any(each.text for each in held)
        ]

    def _begun(self, place: int) -> ToolUse:
        return ToolUse(self._ids[place], self._names[place], "")

    def _place(self, call: Mapping[str, Any], name: str) -> int:
        index, id_ = call.get("index"), text(call.get("id"))
        if type(index) is int:
            place = self._places.get(index)
            if place is not None and not (id_ and name and id_ != self._ids[place]):
                return place
            self._places[index] = self._begin(id_)
            return self._places[index]
        if id_:
            return self._ids.index(id_) if id_ in self._ids else self._begin(id_)
        return len(self._ids) - 1 if self._ids and not name else self._begin("")

    def _begin(self, id_: str) -> int:
        place = len(self._ids)
        self._ids.append(id_ or f"call_{place}")
        self._names.append("")
        self._held.append([])
        return place


class StreamEncoder:
    """Writes one stream for a client; lives as long as it.

    Args:
        losses: Where it notes what it cannot say.
        wants_usage: The client asked for the usage chunk.
    """

    def __init__(self, losses: list[Loss], *, wants_usage: bool) -> None:
        self._losses = losses
        self._wants_usage = wants_usage
        self._head: dict[str, Any] | None = None
        self._start: Start | None = None
        self._block: Block | None = None  # the open one, as it began
        self._said = False  # the open call has arguments, the open thought its format
        self._began: list[Block] = []
        self._calls = 0
        self._thoughts = 0
        self._signed = False  # a text has had its signature

    def give(self, events: Sequence[Event]) -> bytes:
        """The events as whole frames; a Fault writes nothing."""
        return b"".join([frame for event in events for frame in self._frames(event)])

    def _frames(self, event: Event) -> list[bytes]:
        match event:
            case Start():
                return self._begin(event)
            case BlockStart(block):
                return self._begin_block(block)
            case Delta():
                return self._grow(event)
            case BlockStop():
                return self._end_block()
            case Stop():
                return self._end(event)
            case Fault():
                return []

    def _begin(self, start: Start) -> list[bytes]:
        if self._head is not None:  # another provider goes on with the answer
            return []
        self._start = start
        self._head = {
            "id": start.id,
            "object": "chat.completion.chunk",
            "created": start.created_s or 0,
            "model": start.model,
        }
        if start.dialect is _OWN:
            self._head |= {name[1:]: value for name, value in start.extra.items() if name.startswith("~")}
        return [self._chunk({"role": "assistant"})]

    def _begin_block(self, block: Block) -> list[bytes]:
        self._block = told = sayable(block, f"content[{len(self._began)}]", self._losses, ())
        self._began.append(block)
        self._said = False
        match told:
            case ToolUse():
                return [self._chunk({"tool_calls": [self._call_of(told)]})]
            case Media():
                return [self._chunk({"images": [image_of(told)]})]
            case Thinking(redacted=True):
                return [self._chunk({"reasoning_details": details_of(told, self._thoughts)})]
            case Text() | Thinking() if told.text or told.signature:
                logprobs = told.logprobs if isinstance(told, Text) else ()
                return self._grow(Delta(told.text, told.signature, logprobs))
        return []

    def _call_of(self, call: ToolUse) -> dict[str, Any]:
        self._said = bool(call.arguments)
        function = {"name": call.name, "arguments": call.arguments}
        return {"index": self._calls, "id": call.id, "type": "function", "function": function} | signature_of(
            call.signature
        )

    def _grow(self, delta: Delta) -> list[bytes]:
        match self._block:
            case Text():
                return self._grow_text(self._block, delta)
            case Thinking():
                return self._grow_thought(self._block, delta)
            case ToolUse():
                self._said = self._said or bool(delta.text)
                call = {"index": self._calls, "function": {"arguments": delta.text}} | signature_of(delta.signature)
                return [self._chunk({"tool_calls": [call]})]
        return []

    def _grow_text(self, block: Text, delta: Delta) -> list[bytes]:
        likely = logprobs_of([Text("", block.refusal, logprobs=delta.logprobs)])
        signature = None if self._signed else delta.signature
        if delta.signature and self._signed:
            dropped(self._losses, "signature", "openai-chat has one signature for all the text")
        self._signed = self._signed or bool(signature)
        said: dict[str, Any] = {"refusal" if block.refusal else "content": delta.text} | signature_of(signature)
        if notes := delta.extra.get("annotations") if self._is_own else None:
            said["annotations"] = notes
        return [self._chunk(said, {"logprobs": likely} if likely else {})]

    def _grow_thought(self, block: Thinking, delta: Delta) -> list[bytes]:
        said: dict[str, Any] = {"reasoning_content": delta.text} if delta.text else {}
        if block.signer is not None:
            details = details_of(Thinking(delta.text, delta.signature, block.signer), self._thoughts)
            if self._said:
                del details[0]["format"]  # SDKs join what is repeated
            self._said = True
            said["reasoning_details"] = details if delta.text or len(details) == 1 else details[1:]
        return [self._chunk(said)] if said else []

    def _end_block(self) -> list[bytes]:
        block, self._block = self._block, None
        if isinstance(block, Thinking):
            self._thoughts += 1
        if not isinstance(block, ToolUse):
            return []
        number, self._calls = self._calls, self._calls + 1
        if self._said:
            return []
        return [self._chunk({"tool_calls": [{"index": number, "function": {"arguments": "{}"}}]})]

    def _end(self, stop: Stop) -> list[bytes]:
        start = self._start or Start(_OWN, "", "")
        ended = HubResponse(
            start.dialect, start.id, start.model, tuple(self._began), stop.reason, stop.native, stop.sequence
        )
        finish = finish_of(ended, self._losses)
        frames = [self._chunk({}, finish)]
        if self._wants_usage and stop.usage is not None:
            frames.append(_frame({**(self._head or {}), "choices": [], "usage": usage_fields(stop.usage)}))
        return [*frames, DONE]

    @property
    def _is_own(self) -> bool:
        return self._start is not None and self._start.dialect is _OWN

    def _chunk(self, delta: Mapping[str, Any], rest: Mapping[str, Any] = {}) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": None, **rest}
        return _frame({**(self._head or {}), "choices": [choice]})


def _frame(value: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
