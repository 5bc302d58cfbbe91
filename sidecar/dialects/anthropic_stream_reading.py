"""Streamed answers of the dialect as they are read.

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

from sidecar.dialects.anthropic_answer import TAKEN, read_block, read_usage, stop_of, usage_rest
from sidecar.dialects.anthropic_blocks import ANSWER_TOOL, DIALECT, read_signature
from sidecar.dialects.anthropic_errors import decode_failure
from sidecar.dialects.fields import json_object_of, json_text
from sidecar.model.blocks import Block, Media, Opaque, Text, Thinking, ToolResult, ToolUse
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Fault, Start, Stop
from sidecar.model.failures import Failure, Kind

__all__ = ["StreamDecoder"]

_NOTHING: tuple[Event, ...] = ()
_MORE = "content_block_delta"

# Where a delta has what it adds.
_SAID: Mapping[str, str] = MappingProxyType(
    {
        "text_delta": "text",
        "thinking_delta": "thinking",
        "input_json_delta": "partial_json",
        "signature_delta": "signature",
        "citations_delta": "citation",
    }
)


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
        self.kind: type[Block] = type(self._block)
        self.grows = isinstance(self._block, Text) or (isinstance(self._block, Thinking) and not self._block.redacted)
        self._json: list[str] = []  # the pieces of a call's arguments

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
        kind = delta.get("type")
        said = delta.get(_SAID.get(kind, "")) if isinstance(kind, str) else None
        if kind == "citations_delta" and isinstance(said, dict):
            return [Delta(extra={"citations": [said]})] if self.kind is Text else []
        if not said or not isinstance(said, str):
            return []
        match kind:
            case "text_delta" | "thinking_delta":
                return [Delta(said)] if self.grows else []
            case "input_json_delta":
                self._json.append(said)
                return [Delta(said)] if self.by_tool or self.kind is ToolUse else []
            case _:
                signature, _ = read_signature(said)
                return [Delta(signature=signature)] if signature and self.kind is Thinking else []

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
        self._text: int | None = None  # the open block, if all that it is waiting for is text
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
        if kind == _MORE and self._text is not None and value.get("index") == self._text:
            delta = value.get("delta")  # of the open text, as nearly every event
            if isinstance(delta, dict) and delta.get("type") == "text_delta":
                text = delta.get("text")
                return (Delta(text),) if text and isinstance(text, str) else _NOTHING
        taker = _TAKERS.get(kind) if isinstance(kind, str) else None
        if "error" in (kind, name) or (taker is None and value.get("error")):
            return self._fault(decode_failure(200, {}, json_text(dict(value)).encode(), 0.0))
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
        extra = {name: item for name, item in message.items() if name not in TAKEN}
        id_, model = message.get("id"), message.get("model")
        return (
            Start(
                DIALECT,
                id_ if isinstance(id_, str) else "",
                model if isinstance(model, str) else "",
                usage=read_usage(self._usage),
                extra={**extra, **usage_rest(self._usage)},
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
        if block.kind is Text and len(self._blocks) == 1:
            self._text = index
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
        self._text = None
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
            rest |= {name: item for name, item in delta.items() if name not in TAKEN}
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
        _MORE: StreamDecoder._block_delta,
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
