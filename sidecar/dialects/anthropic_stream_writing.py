"""Streamed answers of the dialect as they are written for a client.

The signature of a thought goes out in one piece, at its end: the SDKs keep the last piece only. What a client
hands back of it is its own affair; whose it is stands at its beginning.

Source: platform.claude.com/docs/en/build-with-claude/streaming (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, assert_never

import msgspec

from sidecar.dialects.anthropic_answer import SILENT, answer_block, stop_word, usage_fields
from sidecar.dialects.anthropic_blocks import DIALECT, signed
from sidecar.dialects.losses import added, dropped, foreign
from sidecar.model.blocks import Block, Text, Thinking, ToolUse
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Fault, Start, Stop
from sidecar.model.hub import Loss
from sidecar.model.topology import Dialect

__all__ = ["StreamEncoder"]

# What a delta of a block is called, and where it has its text.
_PIECES: Mapping[type, tuple[bytes, bytes]] = MappingProxyType(
    {
        Text: (b"text_delta", b"text"),
        Thinking: (b"thinking_delta", b"thinking"),
        ToolUse: (b"input_json_delta", b"partial_json"),
    }
)
_BEFORE = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'


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
        self._before = b""  # a delta of it up to its text
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
        rest = extra.pop("usage", None)
        if not self._own:
            foreign(self._losses, extra, "", DIALECT, silent=SILENT)
            extra, rest = {}, None
        message = {
            "id": start.id,
            "type": "message",
            "role": "assistant",
            "model": start.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_fields(start.usage, rest),
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
        kind = None if isinstance(block, Thinking) and block.redacted else _PIECES.get(type(block))
        self._before = b"" if kind is None else _BEFORE % (self._index, *kind)
        match block:
            case Text(text=text) | Thinking(text=text) | ToolUse(arguments=text):
                return begun + self._text(text)
            case _:
                return begun

    def _text(self, text: str) -> bytes:
        """More of the open block's text."""
        if not text or not self._before:
            return b""
        return self._before + msgspec.json.encode(text) + b"}}\n\n"

    def _delta(self, delta: Delta) -> bytes:
        block = self._open
        if block is None:
            return b""
        written = self._text(delta.text)
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
            foreign(self._losses, extra, "", DIALECT, silent=SILENT)
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
