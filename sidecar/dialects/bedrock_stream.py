"""Streamed answers of Converse as they are read, once their frames are server-sent events.

    messageStart, ( contentBlockStart?, contentBlockDelta*, contentBlockStop )*, messageStop, metadata

Only calls of tools are announced by a start; a block of text begins with its first delta. Usage comes last, with the
metadata, so the answer is complete when that has come, or when the stream ends after its stop reason.

Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html (read 2026-11).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sidecar.dialects.bedrock_answer import BY_SERVER, read_usage, stop_of
from sidecar.dialects.bedrock_errors import decode_failure
from sidecar.dialects.bedrock_turns import DIALECT
from sidecar.dialects.fields import json_text
from sidecar.dialects.lanes import Lane, Lanes
from sidecar.dialects.loose import object_of, text
from sidecar.model.blocks import Block, Opaque, Text, Thinking, ToolUse
from sidecar.model.events import Delta, Event, Fault, Start, Stop
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import StopReason
from sidecar.model.records import Usage

__all__ = ["StreamDecoder"]

_NOTHING: tuple[Event, ...] = ()


class StreamDecoder:
    """Reads one stream of a provider; lives as long as it."""

    def __init__(self) -> None:
        self._begun = False
        self._over = False
        self._lanes: Lanes[int] = Lanes()
        self._calls = False
        self._redacted: dict[int, list[str]] = {}  # pieces of thoughts that nobody may read
        self._opaque: dict[int, dict[str, Any]] = {}  # what built-in tools do, until it is whole
        self._reason: str | None = None
        self._usage: Usage | None = None

    def take(self, name: str | None, value: Mapping[str, Any]) -> Sequence[Event]:
        """The events that one frame comes to.

        Args:
            name: Of the server-sent event.
            value: Its data.
        """
        if self._over:
            return _NOTHING
        if name == "error" or (name is None and value.get("error")):
            return self._fault(decode_failure(200, {}, json_text(dict(value)).encode(), 0.0))
        taker = _TAKERS.get(name or "")
        if taker is None:
            return _NOTHING
        if self._begun or name == "messageStart":
            return taker(self, value)
        return [*self._message_start({}), *taker(self, value)]

    def end(self, *, marked: bool) -> Sequence[Event]:  # noqa: ARG002 - this dialect has no mark
        """What is still due when the stream is over."""
        if self._over:
            return _NOTHING
        if self._reason is not None:
            return self._stop()
        if not self._begun:
            return self._fault(Failure(Kind.MALFORMED, "the provider's stream held no answer"))
        return self._fault(Failure(Kind.TRUNCATED, "the stream ended without a stopReason"))

    def _message_start(self, value: Mapping[str, Any]) -> Sequence[Event]:  # noqa: ARG002 - it says nothing
        if self._begun:
            return _NOTHING
        self._begun = True
        return (Start(DIALECT, "", ""),)

    def _block_start(self, value: Mapping[str, Any]) -> Sequence[Event]:
        index, start = _index(value), object_of(value.get("start"))
        call = object_of(start.get("toolUse"))
        if index in self._lanes or not start:
            return _NOTHING
        lane = self._lanes.add(index)
        if not call or call.get("type") == BY_SERVER:
            self._opaque[index] = dict(start)
            return _NOTHING
        self._calls = True
        return self._lanes.begin(lane, ToolUse(text(call.get("toolUseId")), text(call.get("name")), ""))

    def _block_delta(self, value: Mapping[str, Any]) -> Sequence[Event]:
        index, delta = _index(value), object_of(value.get("delta"))
        if index in self._opaque:
            self._opaque[index].setdefault("deltas", []).append(dict(delta))
            return _NOTHING
        said = delta.get("text")
        if isinstance(said, str):
            return self._more(index, Text(""), Delta(said))
        if tool := object_of(delta.get("toolUse")):
            lane = self._lanes.get(index)
            return self._lanes.tell(lane, Delta(text(tool.get("input")))) if lane is not None else _NOTHING
        if citation := object_of(delta.get("citation")):
            return self._more(index, Text(""), Delta(extra={"citations": [dict(citation)]}))
        return self._thought(index, object_of(delta.get("reasoningContent")))

    def _thought(self, index: int, reasoning: Mapping[str, Any]) -> Sequence[Event]:
        redacted = reasoning.get("redactedContent")
        if isinstance(redacted, str):
            self._lanes.add(index)
            self._redacted.setdefault(index, []).append(redacted)
            return _NOTHING
        said, signature = text(reasoning.get("text")), text(reasoning.get("signature")) or None
        if not said and signature is None:
            return _NOTHING
        return self._more(index, Thinking("", None, DIALECT), Delta(said, signature))

    def _more(self, index: int, empty: Block, delta: Delta) -> Sequence[Event]:
        """More of a block, which begins with it if it is the first."""
        if index not in self._lanes:
            if delta == Delta():
                return _NOTHING
            lane = self._lanes.add(index)
            return [*self._lanes.begin(lane, empty), *self._lanes.tell(lane, delta)]
        found = self._lanes.get(index)
        fits = found is not None and isinstance(found.block, type(empty))
        return self._lanes.tell(found, delta) if found is not None and fits else _NOTHING

    def _block_stop(self, value: Mapping[str, Any]) -> Sequence[Event]:
        index = _index(value)
        lane = self._lanes.get(index)
        return _NOTHING if lane is None else self._closed(index, lane)

    def _closed(self, index: int, lane: Lane) -> list[Event]:
        if pieces := self._redacted.pop(index, None):
            return self._lanes.put(lane, Thinking("", _joined(pieces), DIALECT, redacted=True))
        if raw := self._opaque.pop(index, None):
            return self._lanes.put(lane, Opaque(DIALECT, raw))
        return self._lanes.close(lane)

    def _message_stop(self, value: Mapping[str, Any]) -> Sequence[Event]:
        self._reason = text(value.get("stopReason"))
        return self._rest()

    def _metadata(self, value: Mapping[str, Any]) -> Sequence[Event]:
        self._usage = read_usage(value.get("usage"))
        return _NOTHING if self._reason is None else self._stop()

    def _stop(self) -> Sequence[Event]:
        reason = self._reason or ""
        stop = stop_of(reason)
        if isinstance(stop, Failure):
            return self._fault(stop)
        if stop is StopReason.END and self._calls:
            stop = StopReason.TOOL_USE
        events = self._rest()
        self._over = True
        return [*events, Stop(stop, reason or None, usage=self._usage)]

    def _fault(self, failure: Failure) -> Sequence[Event]:
        events = self._rest()
        self._over = True
        return [*events, Fault(failure)]

    def _rest(self) -> list[Event]:
        """What blocks that were never stopped have said."""
        held = [*self._redacted, *self._opaque]
        events: list[Event] = []
        for index in held:
            lane = self._lanes.get(index)
            if lane is not None:
                events += self._closed(index, lane)
        return events + self._lanes.close_all()


def _index(value: Mapping[str, Any]) -> int:
    index = value.get("contentBlockIndex")
    return index if isinstance(index, int) else 0


def _joined(pieces: Sequence[str]) -> str:
    """Pieces of bytes, each in base64, as one."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(map(base64.b64decode, pieces))).decode()
    except binascii.Error:
        return "".join(pieces)


_TAKERS: Mapping[str, Callable[[StreamDecoder, Mapping[str, Any]], Sequence[Event]]] = MappingProxyType(
    {
        "messageStart": StreamDecoder._message_start,
        "contentBlockStart": StreamDecoder._block_start,
        "contentBlockDelta": StreamDecoder._block_delta,
        "contentBlockStop": StreamDecoder._block_stop,
        "messageStop": StreamDecoder._message_stop,
        "metadata": StreamDecoder._metadata,
    }
)
