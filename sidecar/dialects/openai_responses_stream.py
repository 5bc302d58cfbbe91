"""A provider's stream, read: items and parts become blocks, one after the other.

Items are numbered and may overlap (`lanes`). What a stream tells only when an item is done (all of its text,
for some servers) is made up for then. `response.created` and `response.in_progress` come before real errors:
they begin an answer, and say nothing of it.

Source: platform.openai.com/docs/api-reference/responses-streaming (read 2026-11). Some servers name the
event only in the frame, tell no deltas, number all items alike, or send the last event alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from sidecar.dialects.lanes import Lane, Lanes
from sidecar.dialects.loose import object_of, objects, text
from sidecar.dialects.losses import NOTE
from sidecar.dialects.openai_responses_answer import (
    ECHO,
    blocks_of,
    decode_response,
    echo_of,
    error_of,
    head_of,
    part_extra,
    stop_of,
    usage_of,
)
from sidecar.dialects.openai_responses_items import DIALECT, logprobs_of, signature_of, thinking_of, tool_use_of
from sidecar.model.blocks import Text, Thinking, ToolUse
from sidecar.model.events import Delta, Event, Fault, Start, Stop, unfold
from sidecar.model.failures import Failure, Kind

__all__ = ["StreamDecoder"]

_WHOLE = -1  # the part that is a whole item
_PARTS = ("output_text", "refusal")
_PARAGRAPH = "\n\n"


class _Item:
    """One item that has begun; lives until it is done."""

    def __init__(self, number: int, raw: Mapping[str, Any]) -> None:
        self.number = number  # of its lanes: servers may number items alike
        self.raw = raw  # as it began
        self.kind = raw.get("type")
        self.thought: tuple[str, int] | None = None  # where its thoughts come from
        self.places = [_WHOLE]  # of its lanes
        self.sealed: set[int] = set()  # the parts that are complete


class StreamDecoder:
    """Reads one stream; see `dialect.Decoder`."""

    def __init__(self) -> None:
        self._lanes: Lanes[tuple[int, int]] = Lanes()  # by the item's number and the part's
        self._items: dict[int, _Item] = {}  # that have begun and are not done, by `output_index`
        self._done: set[int] = set()  # the same, of those that are done
        self._ids: set[str] = set()  # of all items
        self._count = 0
        self._started = False
        self._over = False
        self._empty = True

    def take(self, name: str | None, value: Mapping[str, Any]) -> Sequence[Event]:
        """The events that one frame comes to."""
        if self._over:
            return ()
        self._empty = False
        kind = text(value.get("type", name))
        handler = _HANDLERS.get(kind)
        if handler is not None:
            return handler(self, value if "type" in value else {**value, "type": kind})
        if kind == "error" or (value.get("error") and not kind.startswith("response.")):
            return self._fail(error_of(value))
        if isinstance(value.get("output"), list):
            return self._take_whole(value)
        return ()

    def end(self, *, marked: bool) -> Sequence[Event]:
        """What is still due."""
        del marked  # the mark is not this dialect's, and ends nothing
        if self._over:
            return ()
        if self._empty:
            return self._fail(Failure(Kind.MALFORMED, "the stream held nothing"))
        return self._fail(Failure(Kind.TRUNCATED, "the stream ended without response.completed"))

    # -- the answer

    def begin(self, value: Mapping[str, Any]) -> list[Event]:
        """The answer begins, if it has not yet."""
        if self._started:
            return []
        self._started = True
        response = object_of(value.get("response"))
        id_, model, created_s = head_of(response)
        return [Start(DIALECT, id_, model, created_s, extra={ECHO: echo_of(response)} if response else {})]

    def finish(self, value: Mapping[str, Any]) -> list[Event]:
        """The answer is complete, or failed."""
        response = object_of(value.get("response"))
        if "failed" in (response.get("status"), value["type"].partition(".")[2]):
            return self._fail(error_of(response))
        if not self._count and not isinstance(response.get("output"), list):
            return self._fail(Failure(Kind.MALFORMED, "the stream held an answer without items"))
        said = [*self.begin(value), *self._missing(response.get("output")), *self._lanes.close_all()]
        self._over = True
        stop, native = stop_of({"status": value["type"].partition(".")[2], **response}, self._lanes.blocks)
        extra = {ECHO: echo_of(response)} if response else {}
        return [*said, Stop(stop, native, usage=usage_of(response.get("usage")), extra=extra)]

    def _missing(self, output: Any) -> list[Event]:
        """What only the whole answer tells: items that were not done, or all of them if none was told."""
        nothing = not self._count
        said: list[Event] = []
        for index, item in enumerate(objects(output)):
            begun = self._items.get(index)
            if nothing or (begun is not None and begun.kind == item.get("type")):
                said += self.end_item({"output_index": index, "item": item})
        return said

    def _take_whole(self, value: Mapping[str, Any]) -> list[Event]:
        """The answer itself instead of events."""
        response = decode_response(value)
        if isinstance(response, Failure):
            return self._fail(response)
        said = self._lanes.close_all()
        self._over = True
        events = list(unfold(response))
        return [*said, events[-1]] if self._started else events

    def _fail(self, failure: Failure) -> list[Event]:
        said = self._lanes.close_all()
        self._over = True
        return [*said, Fault(failure)]

    # -- items

    def begin_item(self, value: Mapping[str, Any]) -> list[Event]:
        """An item begins; one of the same place that was not done is as complete as it will be."""
        raw = object_of(value.get("item"))
        index, id_ = _index(value, "output_index"), raw.get("id")
        if isinstance(id_, str) and id_ in self._ids:
            return []
        said = self.begin(value)
        if index in self._items:
            said += self._close(self._items[index])
        item = self._new(index, raw)
        if item.kind == "message":
            return said
        lane = self._lanes.add((item.number, _WHOLE))
        call = tool_use_of(raw) if item.kind == "function_call" else None
        if call is not None:
            extra = {name: told for name, told in call.extra.items() if name != f"{NOTE}status"}
            said += self._lanes.begin(lane, msgspec.structs.replace(call, arguments="", extra=extra))
        return said

    def end_item(self, value: Mapping[str, Any]) -> list[Event]:
        """An item is done, and told whole."""
        raw = object_of(value.get("item"))
        index, id_ = _index(value, "output_index"), raw.get("id")
        item = self._items.pop(index, None)
        if item is None and (id_ in self._ids if isinstance(id_, str) else index in self._done):
            return []
        said = self.begin(value)
        if item is None or item.kind != raw.get("type"):
            said += self._close(item) if item is not None else []
            item = self._new(index, raw)
        self._items.pop(index, None)
        self._done.add(index)
        match item.kind:
            case "message":
                return said + self._end_message(item, raw)
            case "reasoning":
                return said + self._end_thinking(item, raw)
            case _:
                return said + self._end_other(item, raw)

    def _new(self, index: int, raw: Mapping[str, Any]) -> _Item:
        item = self._items[index] = _Item(self._count, raw)
        self._count += 1
        if isinstance(raw.get("id"), str):
            self._ids.add(raw["id"])
        return item

    def _end_message(self, item: _Item, raw: Mapping[str, Any]) -> list[Event]:
        parts = objects(raw.get("content"))
        said: list[Event] = []
        for place, part in enumerate(parts):
            if (item.number, place) not in self._lanes:
                said += self._begin_part(item, place, refusal=part.get("type") == "refusal", around=raw)
            lane = self._lanes.get((item.number, place))
            if lane is not None:
                said += self._seal(item, place, lane, part)
                said += self._end_last(lane, raw) if place == len(parts) - 1 else []
                said += self._lanes.close(lane)
        if not parts and (item.number, 0) not in self._lanes:
            return self._lanes.put(self._lanes.add((item.number, 0)), blocks_of([raw])[0])
        return said + self._close(item)

    def _end_last(self, lane: Lane, raw: Mapping[str, Any]) -> list[Event]:
        """The last part tells how its message ended."""
        begun = lane.block.extra if isinstance(lane.block, Text) else {}
        return self._lanes.tell(lane, Delta(extra=_news(part_extra(raw, {}, last=True), begun)))

    def _end_thinking(self, item: _Item, raw: Mapping[str, Any]) -> list[Event]:
        lane = self._lanes.get((item.number, _WHOLE)) or self._lanes.add((item.number, _WHOLE))
        whole = thinking_of(raw)
        if not isinstance(lane.block, Thinking):
            return self._lanes.put(lane, whole)
        delta = Delta(lane.rest(whole.text), whole.signature, extra=_news(whole.extra, lane.block.extra))
        said = self._lanes.tell(lane, delta)
        return said + self._lanes.close(lane)

    def _end_other(self, item: _Item, raw: Mapping[str, Any]) -> list[Event]:
        lane = self._lanes.get((item.number, _WHOLE)) or self._lanes.add((item.number, _WHOLE))
        whole = blocks_of([raw])[0]
        if lane.block is None:
            return self._lanes.put(lane, whole)
        said: list[Event] = []
        if isinstance(whole, ToolUse) and isinstance(lane.block, ToolUse):
            said = self._lanes.tell(lane, Delta(lane.rest(whole.arguments), extra=_news(whole.extra, lane.block.extra)))
        return said + self._lanes.close(lane)

    def _close(self, item: _Item) -> list[Event]:
        """Whatever there is of an item is complete."""
        said: list[Event] = []
        for place in item.places:
            lane = self._lanes.get((item.number, place))
            said += self._lanes.close(lane) if lane is not None else []
        return said

    # -- parts and deltas

    def take_part(self, value: Mapping[str, Any]) -> list[Event]:
        """A part of a message begins. Parts of other items are told by their deltas."""
        kind = object_of(value.get("part")).get("type")
        if kind not in _PARTS:
            return []
        return self._part(value, refusal=kind == "refusal")[-1]

    def end_part(self, value: Mapping[str, Any]) -> list[Event]:
        """A part of a message is complete; it stays open until the next one, for what its message ends with."""
        part = object_of(value.get("part"))
        if part.get("type") not in _PARTS:
            return []
        item, lane, said = self._part(value, refusal=part.get("type") == "refusal")
        if item is None or lane is None:
            return said
        return said + self._seal(item, _index(value, "content_index"), lane, part)

    def take_text(self, value: Mapping[str, Any]) -> list[Event]:
        """More of a part's text."""
        refusal = value["type"] == "response.refusal.delta"
        _, lane, said = self._part(value, refusal=refusal)
        if lane is None:
            return said
        logprobs = () if refusal else logprobs_of(value.get("logprobs"))
        return said + self._lanes.tell(lane, Delta(text(value.get("delta")), logprobs=logprobs))

    def take_arguments(self, value: Mapping[str, Any]) -> list[Event]:
        """More of a call's arguments; of a call that has not begun, they come when it is done."""
        item = self._items.get(_index(value, "output_index"))
        lane = None if item is None else self._lanes.get((item.number, _WHOLE))
        if lane is None or not isinstance(lane.block, ToolUse):
            return []
        return self._lanes.tell(lane, Delta(text(value.get("delta"))))

    def take_thought(self, value: Mapping[str, Any]) -> list[Event]:
        """More of a summary, or of the thoughts themselves: whichever was told first."""
        said: list[Event] = []
        item = self._items.get(_index(value, "output_index"))
        if item is None:
            said = self.begin(value)
            item = self._implied(value, "reasoning")
        delta = text(value.get("delta"))
        if item is None or item.kind != "reasoning" or not delta:
            return said
        lane = self._lanes.get((item.number, _WHOLE)) or self._lanes.add((item.number, _WHOLE))
        source = "summary" if "summary_index" in value else "content"
        place = (source, _index(value, f"{source}_index"))
        if lane.block is None:
            item.thought = place
            _, signer = signature_of(item.raw.get("encrypted_content"))
            extra: dict[str, Any] = {f"{NOTE}id": item.raw["id"]} if "id" in item.raw else {}
            if source == "content":
                extra[f"{NOTE}content"] = []
            said += self._lanes.begin(lane, Thinking("", signer=signer, extra=extra))
        if item.thought is None or item.thought[0] != source:
            return said
        if item.thought != place:
            item.thought = place
            delta = _PARAGRAPH + delta
        return said + self._lanes.tell(lane, Delta(delta))

    def _part(self, value: Mapping[str, Any], *, refusal: bool) -> tuple[_Item | None, Lane | None, list[Event]]:
        """The message and the part that an event is about, unless it is complete; and what begins with it."""
        said: list[Event] = []
        item = self._items.get(_index(value, "output_index"))
        if item is None:
            said = self.begin(value)
            item = self._implied(value, "message")
        if item is None or item.kind != "message":
            return None, None, said
        place = _index(value, "content_index")
        if (item.number, place) not in self._lanes:
            said += self._begin_part(item, place, refusal=refusal, around=item.raw)
        return item, self._lanes.get((item.number, place)), said

    def _implied(self, value: Mapping[str, Any], kind: str) -> _Item | None:
        """The item whose beginning was not told; None when it is done."""
        index, id_ = _index(value, "output_index"), value.get("item_id")
        if index in self._done or (isinstance(id_, str) and id_ in self._ids):
            return None
        return self._new(index, {"type": kind, "id": id_} if isinstance(id_, str) else {"type": kind})

    def _begin_part(self, item: _Item, place: int, *, refusal: bool, around: Mapping[str, Any]) -> list[Event]:
        """A part of a message begins; the one before it is complete."""
        said = self._close(item)
        item.places.append(place)
        lane = self._lanes.add((item.number, place))
        return said + self._lanes.begin(lane, Text("", refusal, extra=part_extra(around, {}, last=False)))

    def _seal(self, item: _Item, place: int, lane: Lane, part: Mapping[str, Any]) -> list[Event]:
        """What a part says of itself when it is complete, and what of its text was not told."""
        if place in item.sealed:
            return []
        item.sealed.add(place)
        whole = blocks_of([{"type": "message", "content": [part]}])[0]
        assert isinstance(whole, Text)
        logprobs = () if lane.text else whole.logprobs
        return self._lanes.tell(lane, Delta(lane.rest(whole.text), logprobs=logprobs, extra=whole.extra))


_HANDLERS: Mapping[str, Callable[[StreamDecoder, Mapping[str, Any]], list[Event]]] = MappingProxyType(
    {
        "response.created": StreamDecoder.begin,
        "response.queued": StreamDecoder.begin,
        "response.in_progress": StreamDecoder.begin,
        "response.output_item.added": StreamDecoder.begin_item,
        "response.output_item.done": StreamDecoder.end_item,
        "response.content_part.added": StreamDecoder.take_part,
        "response.content_part.done": StreamDecoder.end_part,
        "response.output_text.delta": StreamDecoder.take_text,
        "response.refusal.delta": StreamDecoder.take_text,
        "response.function_call_arguments.delta": StreamDecoder.take_arguments,
        "response.reasoning_summary_text.delta": StreamDecoder.take_thought,
        "response.reasoning_text.delta": StreamDecoder.take_thought,
        "response.completed": StreamDecoder.finish,
        "response.incomplete": StreamDecoder.finish,
        "response.failed": StreamDecoder.finish,
    }
)


def _index(value: Mapping[str, Any], name: str) -> int:
    """A number of an event; the first, where it is not told."""
    number = value.get(name)
    return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else 0


def _news(extra: Mapping[str, Any], begun: Mapping[str, Any]) -> dict[str, Any]:
    """What was not told when the block began."""
    return {name: value for name, value in extra.items() if name not in begun or begun[name] != value}
