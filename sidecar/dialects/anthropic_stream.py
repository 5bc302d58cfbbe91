"""Streamed answers of the dialect, both ways.

    message_start, ( content_block_start, content_block_delta*, content_block_stop )*, message_delta, message_stop

with a `ping` anywhere, and an `error` in place of the rest. What a stream says of tokens is split: the input's
with the start, the output's with the message_delta, each a total and not what was added. Blocks of built-in
tools may come in pieces; they are given whole, when they are complete.

A stream that ends after its stop reason is complete, though `message_stop` is missing.

Source: platform.claude.com/docs/en/build-with-claude/streaming (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, assert_never

import msgspec

from sidecar.dialects.anthropic_answer import (
    answer_block,
    read_block,
    read_usage,
    stop_of,
    stop_word,
    usage_fields,
    usage_rest,
)
from sidecar.dialects.anthropic_blocks import ANSWER_TOOL, DIALECT, read_signature, signed
from sidecar.dialects.anthropic_errors import decode_failure
from sidecar.dialects.anthropic_fields import json_object_of, json_text
from sidecar.dialects.losses import added, dropped, foreign
from sidecar.model.blocks import Block, Media, Opaque, Text, Thinking, ToolResult, ToolUse
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Fault, Start, Stop
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import Loss
from sidecar.model.topology import Dialect

__all__ = ["StreamDecoder", "StreamEncoder"]

_NOTHING: tuple[Event, ...] = ()
_TAKEN = frozenset({"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"})
_SILENT = frozenset({"object", "system_fingerprint"})


# -- reading


class _Reading:
    """One block while it comes.

    Args:
        raw: As its start has it.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = dict(raw)
        self.by_tool = raw.get("type") == "tool_use" and raw.get("name") == ANSWER_TOOL
        self.held: list[Event] = []  # while another block is open
        self.stopped = False
        self._block = read_block(raw)
        self._json: list[str] = []  # the pieces of a call's arguments

    @property
    def kind(self) -> type[Block]:
        """What it is."""
        return type(self._block)

    def start(self) -> list[Event]:
        """Its beginning; nothing yet of a block that is given whole."""
        match self._block:
            case Text(text):
                begun: Block = msgspec.structs.replace(self._block, text="")
                return [BlockStart(begun)] if self.by_tool or not text else [BlockStart(begun), Delta(text)]
            case Thinking(text, _, signer, redacted=False):
                begun = msgspec.structs.replace(self._block, text="", signer=signer or DIALECT)
                return [BlockStart(begun), Delta(text)] if text else [BlockStart(begun)]
            case ToolUse():
                return [BlockStart(msgspec.structs.replace(self._block, arguments=""))]
            case Thinking() | Media() | ToolResult() | Opaque():
                return []
            case _:
                assert_never(self._block)

    def delta(self, delta: Mapping[str, Any]) -> list[Event]:
        """What a delta adds."""
        match delta:
            case {"type": "text_delta", "text": str(text)}:
                return [Delta(text)] if text else []
            case {"type": "input_json_delta", "partial_json": str(text)}:
                self._json.append(text)
                return [Delta(text)] if text and (self.by_tool or self.kind is ToolUse) else []
            case {"type": "thinking_delta", "thinking": str(text)}:
                return [Delta(text)] if text else []
            case {"type": "signature_delta", "signature": str(signature)}:
                piece, _ = read_signature(signature)
                return [Delta(signature=piece)] if piece and self.kind is Thinking else []
            case {"type": "citations_delta", "citation": dict(citation)}:
                return [Delta(extra={"citations": [citation]})] if self.kind is Text else []
            case _:
                return []

    def stop(self) -> list[Event]:
        """Its end; all of a block that is given whole."""
        given = "".join(self._json)
        match self._block:
            case Text() | ToolUse():
                at_once = self.raw.get("input") if self.by_tool or self.kind is ToolUse else None
                late = [Delta(json_text(at_once))] if at_once and not given else []
                return [*late, BlockStop()]
            case Thinking(redacted=False):
                return [BlockStop()]
            case Opaque(_, raw) if given and (arguments := json_object_of(given)) is not None:
                return [BlockStart(Opaque(DIALECT, {**raw, "input": arguments})), BlockStop()]
            case _:
                return [BlockStart(self._block), BlockStop()]


class StreamDecoder:
    """Reads one stream of a provider; lives as long as it."""

    def __init__(self) -> None:
        self._begun = False
        self._over = False
        self._blocks: dict[int, _Reading] = {}  # that are not stopped, or held back; the first is open
        self._kinds: list[type[Block]] = []
        self._by_tool = False
        self._usage: dict[str, Any] = {}
        self._stop_reason: Any = None
        self._stop_sequence: str | None = None
        self._extra: dict[str, Any] = {}

    def take(self, name: str | None, value: Mapping[str, Any]) -> Sequence[Event]:
        """The events that one frame comes to.

        Args:
            name: Of the server-sent event, if it has one.
            value: Its data.
        """
        if self._over:
            return _NOTHING
        kind = value.get("type") or name
        if kind == "error" or name == "error" or (value.get("error") and kind not in _TAKERS):
            return self._fault(decode_failure(200, {}, json_text(dict(value)).encode(), 0.0))
        taker = _TAKERS.get(kind) if isinstance(kind, str) else None
        if taker is None or not (self._begun or taker is StreamDecoder._message_start):
            return _NOTHING
        return taker(self, value)

    def end(self, *, marked: bool) -> Sequence[Event]:  # noqa: ARG002 - this dialect has no mark
        """What is still due when the stream is over."""
        if self._over:
            return _NOTHING
        if self._stop_reason is not None:
            return self._stop()
        if not self._begun:
            return self._fault(Failure(Kind.MALFORMED, "the provider's stream held no answer"))
        return self._fault(Failure(Kind.TRUNCATED, "the stream ended without a stop_reason"))

    def _message_start(self, value: Mapping[str, Any]) -> Sequence[Event]:
        message = value.get("message")
        if self._begun or not isinstance(message, dict):
            return _NOTHING
        self._begun = True
        self._note_usage(message.get("usage"))
        extra = {name: item for name, item in message.items() if name not in _TAKEN}
        id_, model = message.get("id"), message.get("model")
        return (
            Start(
                DIALECT,
                id_ if isinstance(id_, str) else "",
                model if isinstance(model, str) else "",
                usage=read_usage(self._usage),
                extra=extra,
            ),
        )

    def _block_start(self, value: Mapping[str, Any]) -> Sequence[Event]:
        raw = value.get("content_block")
        if not isinstance(raw, dict):
            return _NOTHING
        index = _index(value)
        before = self._close(index) if index in self._blocks else []
        return [*before, *self._begin(index, _Reading(raw))]

    def _begin(self, index: int, block: _Reading) -> list[Event]:
        self._kinds.append(block.kind)
        self._by_tool = self._by_tool or block.by_tool
        self._blocks[index] = block
        return self._said(index, block.start())

    def _block_delta(self, value: Mapping[str, Any]) -> Sequence[Event]:
        delta = value.get("delta")
        if not isinstance(delta, dict):
            return _NOTHING
        index = _index(value)
        block = self._blocks.get(index)
        if block is not None and not block.stopped:
            return self._said(index, block.delta(delta))
        implied = _IMPLIED.get(str(delta.get("type")))  # some servers forget the start
        if block is not None or implied is None:
            return _NOTHING
        begun = _Reading(implied)
        return [*self._begin(index, begun), *self._said(index, begun.delta(delta))]

    def _block_stop(self, value: Mapping[str, Any]) -> Sequence[Event]:
        index = _index(value)
        return self._close(index) if index in self._blocks else _NOTHING

    def _close(self, index: int) -> list[Event]:
        """A block is complete; those that were held back behind it follow."""
        block = self._blocks[index]
        if block.stopped:
            return []
        block.stopped = True
        events = self._said(index, block.stop())
        while self._blocks:
            first = next(iter(self._blocks))
            block = self._blocks[first]
            events += block.held
            block.held = []
            if not block.stopped:
                break
            del self._blocks[first]
        return events

    def _said(self, index: int, events: list[Event]) -> list[Event]:
        """The events if the block is the open one; else they are held back."""
        if next(iter(self._blocks)) == index:
            return events
        self._blocks[index].held += events
        return []

    def _message_delta(self, value: Mapping[str, Any]) -> Sequence[Event]:
        delta = value.get("delta")
        self._note_usage(value.get("usage"))
        rest = {name: item for name, item in value.items() if name not in ("type", "delta", "usage")}
        if isinstance(delta, dict):
            self._stop_reason = delta.get("stop_reason") or self._stop_reason
            sequence = delta.get("stop_sequence")
            self._stop_sequence = sequence if isinstance(sequence, str) else self._stop_sequence
            rest |= {name: item for name, item in delta.items() if name not in _TAKEN}
        self._extra |= {name: item for name, item in rest.items() if item is not None or name not in self._extra}
        return _NOTHING

    def _message_stop(self, value: Mapping[str, Any]) -> Sequence[Event]:  # noqa: ARG002 - it says nothing
        return self._stop()

    def _note_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self._usage |= {name: item for name, item in usage.items() if item is not None or name not in self._usage}

    def _stop(self) -> Sequence[Event]:
        events = self._rest()
        self._over = True
        reason, native = stop_of(self._stop_reason, self._kinds, by_tool=self._by_tool)
        extra = {**self._extra, **usage_rest(self._usage)}
        return [*events, Stop(reason, native, self._stop_sequence, read_usage(self._usage), extra)]

    def _fault(self, failure: Failure) -> Sequence[Event]:
        events = self._rest() if self._begun else []
        self._over = True
        return [*events, Fault(failure)]

    def _rest(self) -> list[Event]:
        """What blocks that were never stopped have said."""
        events: list[Event] = []
        while self._blocks:
            events += self._close(next(iter(self._blocks)))
        return events


def _index(value: Mapping[str, Any]) -> int:
    index = value.get("index")
    return index if isinstance(index, int) else 0


_TAKERS: Mapping[str, Callable[[StreamDecoder, Mapping[str, Any]], Sequence[Event]]] = MappingProxyType(
    {
        "message_start": StreamDecoder._message_start,
        "content_block_start": StreamDecoder._block_start,
        "content_block_delta": StreamDecoder._block_delta,
        "content_block_stop": StreamDecoder._block_stop,
        "message_delta": StreamDecoder._message_delta,
        "message_stop": StreamDecoder._message_stop,
    }
)
_IMPLIED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "text_delta": {"type": "text", "text": ""},
        "thinking_delta": {"type": "thinking", "thinking": "", "signature": ""},
    }
)


# -- writing


class StreamEncoder:
    """Writes one stream for a client; lives as long as it.

    Args:
        losses: Where it notes what it cannot say.
        wants_usage: Of no matter: this dialect always tells it.
    """

    def __init__(self, losses: list[Loss], *, wants_usage: bool) -> None:  # noqa: ARG002 - see above
        self._losses = losses
        self._dialect: Dialect = DIALECT
        self._index = -1
        self._place = -1  # of the block in the answer, those that are not said included
        self._open: Block | None = None  # that has been begun on the wire
        self._signature: list[str] = []
        self._noted: set[str] = set()  # what has been noted of the open block
        self._refused = False
        self._usage: dict[str, Any] | None = None

    def give(self, events: Sequence[Event]) -> bytes:
        """The events as whole frames; a Fault writes nothing."""
        return b"".join([self._write(event) for event in events])

    def _write(self, event: Event) -> bytes:
        match event:
            case Delta():
                return self._delta(event)
            case BlockStart(block):
                return self._block_start(block)
            case BlockStop():
                return self._block_stop()
            case Start():
                return self._start(event)
            case Stop():
                return self._stop(event)
            case Fault():
                return b""
            case _:
                assert_never(event)

    @property
    def _own(self) -> bool:
        return self._dialect is DIALECT

    def _start(self, start: Start) -> bytes:
        self._dialect = start.dialect
        extra = dict(start.extra)
        if not self._own:
            foreign(self._losses, extra, "", DIALECT, silent=_SILENT)
            extra = {}
        message = {
            "id": start.id,
            "type": "message",
            "role": "assistant",
            "model": start.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_fields(start.usage),
            **extra,
        }
        self._usage = usage_fields(start.usage) if start.usage is not None else None
        return _frame("message_start", {"message": message})

    def _block_start(self, block: Block) -> bytes:
        self._place += 1
        self._noted.clear()
        self._signature.clear()
        self._open = None
        whole = block
        if isinstance(block, ToolUse):
            whole = msgspec.structs.replace(block, arguments="{}")
        elif isinstance(block, Text):
            self._refused = self._refused or block.refusal
            if block.logprobs:
                self._noted.add("logprobs")
            whole = msgspec.structs.replace(block, text="")
        elif isinstance(block, Thinking) and not block.redacted:
            self._signature += [block.signature] if block.signature else []
            whole = msgspec.structs.replace(block, text="", signature=None)
        elif isinstance(block, Thinking) and not block.signature:
            self._open = block  # its content is still to come
            return b""
        fields = answer_block(whole, f"content[{self._place}]", self._losses, own=self._own)
        if isinstance(block, Text | ToolUse) and block.signature:
            self._noted.add("signature")  # by `answer_block`
        if fields is None:
            return b""
        self._open = block
        return self._begin(block, fields)

    def _begin(self, block: Block, fields: dict[str, Any]) -> bytes:
        """A block's start, and what it brings already."""
        self._index += 1
        citations = fields.get("citations") if isinstance(block, Text) else None
        if isinstance(citations, list):
            fields = {**fields, "citations": []}
        begun = _frame("content_block_start", {"index": self._index, "content_block": fields})
        for citation in citations if isinstance(citations, list) else ():
            begun += self._piece({"type": "citations_delta", "citation": citation})
        text = block.arguments if isinstance(block, ToolUse) else getattr(block, "text", "")
        return begun + (self._text(block, text) if text and not isinstance(block, Media | Opaque | ToolResult) else b"")

    def _text(self, block: Block, text: str) -> bytes:
        match block:
            case Text():
                return self._piece({"type": "text_delta", "text": text})
            case Thinking(redacted=False):
                return self._piece({"type": "thinking_delta", "thinking": text})
            case ToolUse():
                return self._piece({"type": "input_json_delta", "partial_json": text})
            case _:
                return b""

    def _delta(self, delta: Delta) -> bytes:
        block = self._open
        if block is None:
            return b""
        written = self._text(block, delta.text) if delta.text else b""
        if delta.logprobs:
            self._note("logprobs", f"{DIALECT} has no logprobs")
        if delta.signature and isinstance(block, Thinking):
            self._signature.append(delta.signature)
        elif delta.signature:
            self._note("signature", f"{DIALECT} signs nothing but thinking")
        if not delta.extra:
            return written
        if self._own and isinstance(citations := delta.extra.get("citations"), list):
            written += b"".join([self._piece({"type": "citations_delta", "citation": each}) for each in citations])
        elif not self._own:
            fresh = {name: value for name, value in delta.extra.items() if name not in self._noted}
            self._noted.update(fresh)
            foreign(self._losses, fresh, f"content[{self._place}]", DIALECT)
        return written

    def _note(self, name: str, reason: str) -> None:
        """A loss of the open block, once."""
        if name not in self._noted:
            self._noted.add(name)
            dropped(self._losses, f"content[{self._place}].{name}", reason)

    def _block_stop(self) -> bytes:
        block, self._open = self._open, None
        if block is None:
            return b""
        written = b""
        if isinstance(block, Thinking):
            signature = "".join(self._signature)
            if block.redacted and not block.signature:
                whole = msgspec.structs.replace(block, signature=signature)
                fields = answer_block(whole, f"content[{self._place}]", self._losses, own=self._own)
                written = self._begin(whole, fields or {})
            elif signature and not block.redacted:
                # One delta: the SDKs keep the last one only.
                whole = msgspec.structs.replace(block, signature=signature)
                written = self._piece({"type": "signature_delta", "signature": signed(whole)})
        return written + _frame("content_block_stop", {"index": self._index})

    def _stop(self, stop: Stop) -> bytes:
        extra = dict(stop.extra)
        rest = extra.pop("usage", None)
        if not self._own:
            foreign(self._losses, extra, "", DIALECT, silent=_SILENT)
            extra, rest = {}, None
        if stop.usage is None and self._usage is None:
            added(self._losses, "usage", f"no tokens, for {DIALECT} demands it")
        usage = usage_fields(stop.usage, rest) if stop.usage is not None or self._usage is None else self._usage
        beside = {name: extra.pop(name) for name in ("context_management",) if name in extra}
        word = stop_word(stop.reason, stop.native, self._dialect, self._losses, refused=self._refused)
        delta = {"stop_reason": word, "stop_sequence": stop.sequence, **extra}
        ended = _frame("message_delta", {"delta": delta, "usage": usage, **beside})
        return ended + _frame("message_stop", {})

    def _piece(self, delta: dict[str, Any]) -> bytes:
        return _frame("content_block_delta", {"index": self._index, "delta": delta})


def _frame(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode({"type": name, **fields}) + b"\n\n"
