"""An answer as the events of a stream, and the whole answer that its last event holds.

Every item has its `added` and `done`, and so has every part; a message stays open while texts follow one
another. Ids are made of the answer's own id and the place of the item, for OpenAI's servers take an id back
only if it begins as its kind does, in letters, digits, `_` and `-`, 64 of them at most.

A whole answer is written by the same hand: it is what the last event of its stream would hold. What the
answer would repeat of its request, where that is not known, is what stands there when nothing was asked.

Source: platform.openai.com/docs/api-reference/responses-streaming (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, assert_never

import msgspec

from sidecar.dialects.losses import NOTE, changed, dropped, foreign
from sidecar.dialects.openai_responses_answer import (
    ECHO,
    ENDINGS,
    message_item,
    same_message,
    stop_of,
    usage_of,
    usage_written,
)
from sidecar.dialects.openai_responses_items import (
    DIALECT,
    MINTED,
    call_item,
    given_back,
    logprobs_written,
    signed_by,
    thinking_item,
)
from sidecar.model.blocks import Block, Media, MediaKind, Opaque, Text, Thinking, ToolResult, ToolUse
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Fault, Start, Stop, fold, unfold
from sidecar.model.hub import HubResponse, Loss, StopReason

__all__ = ["StreamEncoder", "encode_response"]

_Json = dict[str, Any]

_UNASKED: Mapping[str, Any] = MappingProxyType(
    {
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "user": None,
    }
)
# Names of other dialects for what this one does not tell, and nobody misses.
_UNTOLD = ("object", "system_fingerprint")
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9_-]")
_MAX_ID_CHARS = 40  # of the answer's, in the ids of its items


def encode_response(response: HubResponse, losses: list[Loss]) -> _Json:
    """See `dialect.Codec`."""
    writer = _Writer(losses)
    for event in unfold(response):
        writer.take(event)
    return writer.answer


class StreamEncoder:
    """Writes one stream; see `dialect.Encoder`.

    Args:
        losses: What cannot be said.
        wants_usage: Usage is always told.
    """

    def __init__(self, losses: list[Loss], *, wants_usage: bool) -> None:
        del wants_usage
        self._writer = _Writer(losses)
        self._number = 0

    def give(self, events: Sequence[Event]) -> bytes:
        """The events as whole frames."""
        return b"".join([self._frame(said) for event in events for said in self._writer.take(event)])

    def _frame(self, said: _Json) -> bytes:
        name: str = said["type"]
        data = msgspec.json.encode({"type": name, "sequence_number": self._number, **said})
        self._number += 1
        return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


class _Writer:
    """Puts one answer together, event by event."""

    def __init__(self, losses: list[Loss]) -> None:
        self.answer: _Json = {}  # the whole of it, once it is complete
        self._losses = losses
        self._start = Start(DIALECT, "", "")
        self._own = False
        self._items: list[_Json] = []
        self._blocks: list[Block] = []
        self._texts: list[Text] = []  # of the message that is open
        self._open: Block | None = None
        self._deltas: list[Delta] = []
        self._at: _Json = {}  # where that is
        self._spoken = False  # a delta of the open thoughts or call was told

    def take(self, event: Event) -> list[_Json]:
        """What a client is told of one event."""
        match event:
            case Start():
                return self._begin(event)
            case BlockStart(block):
                return self._begin_block(block)
            case Delta():
                self._deltas.append(event)
                return self._more(event)
            case BlockStop():
                return self._end_block()
            case Stop():
                return self._end(event)
            case Fault():
                return []
            case _:
                assert_never(event)

    # -- the answer

    def _begin(self, start: Start) -> list[_Json]:
        self._start = start
        self._own = start.dialect is DIALECT
        self._foreign(start.extra, "")
        response = self._response(start.extra, {"status": "in_progress", "usage": None})
        return [
            {"type": "response.created", "response": response},
            {"type": "response.in_progress", "response": response},
        ]

    def _end(self, stop: Stop) -> list[_Json]:
        said = self._close_message()
        self._foreign(stop.extra, "")
        self.answer = self._response(stop.extra, self._ending(stop), output=self._items)
        kind = "response.incomplete" if self.answer.get("status") == "incomplete" else "response.completed"
        return [*said, {"type": kind, "response": self.answer}]

    def _ending(self, stop: Stop) -> _Json:
        """How it ended, in the provider's own words where they are this dialect's and still true."""
        echo = self._echo(stop.extra)
        said: _Json = {}
        if not echo or stop_of(echo, self._blocks)[0] is not stop.reason:
            reason = ENDINGS.get(stop.reason)
            if stop.reason is StopReason.REFUSAL and _refuses(self._blocks):
                reason = None
            said = {
                "status": "incomplete" if reason else "completed",
                "incomplete_details": {"reason": reason} if reason else None,
            }
            if stop_of(said, self._blocks)[0] is not stop.reason:
                changed(self._losses, "stop", f"{DIALECT.value} does not tell {stop.reason.value}")
        if stop.sequence is not None:
            dropped(self._losses, "stop_sequence", f"{DIALECT.value} does not tell it")
        usage = stop.usage or self._start.usage
        if not echo or usage_of(echo.get("usage")) != usage:
            said["usage"] = usage_written(usage)
        return said

    def _response(self, extra: Mapping[str, Any], said: _Json, output: Sequence[_Json] = ()) -> _Json:
        echo = self._echo(extra)
        created_s = self._start.created_s
        return {
            "id": self._start.id,
            "object": "response",
            "created_at": 0 if created_s is None else created_s,
            "model": self._start.model,
            **(echo or self._echo(self._start.extra) or _UNASKED),
            **said,
            "output": list(output),
        }

    def _echo(self, extra: Mapping[str, Any]) -> Mapping[str, Any]:
        echo = extra.get(ECHO) if self._own else None
        return echo if isinstance(echo, dict) else {}

    # -- blocks

    def _begin_block(self, block: Block) -> list[_Json]:
        self._open = block
        self._deltas.clear()
        self._spoken = False
        said = self._close_message() if _is_item(block) else []
        match block:
            case Text():
                return [*self._begin_text(block), *self._first(block.text)]
            case Thinking():
                item: _Json = {"id": self._thinking_id(block), "type": "reasoning", "summary": []}
                if signer := signed_by(block):
                    item["encrypted_content"] = signer  # the rest comes when it is done
                self._at = {**self._item_place(item["id"]), "summary_index": 0}
                return [*said, self._added(item), *self._first(block.text)]
            case ToolUse():
                call = {**call_item(block, own=False), "id": self._id(block, "fc"), "status": "in_progress"}
                self._at = self._item_place(call["id"])
                return [*said, self._added({**call, "arguments": ""}), *self._first(block.arguments)]
            case Media() | Opaque() | ToolResult():
                return said  # the rest is told at its end
            case _:
                assert_never(block)

    def _begin_text(self, block: Text) -> list[_Json]:
        said = []
        if self._texts and not same_message(self._texts[-1], block, own=self._own):
            said += self._close_message()
        if not self._texts:
            item = message_item([block], self._id(block, "msg"), own=self._own)
            said.append(self._added({**item, "status": "in_progress", "content": []}))
        first = self._texts[0] if self._texts else block
        self._at = {**self._item_place(self._id(first, "msg")), "content_index": len(self._texts)}
        return [*said, {"type": "response.content_part.added", **self._at, "part": _part_begun(block)}]

    def _first(self, text: str) -> list[_Json]:
        """The text that a block begins with."""
        return self._more(Delta(text))

    def _more(self, delta: Delta) -> list[_Json]:
        if not delta.text and not delta.logprobs:
            return []
        match self._open:
            case Text(refusal=True):
                return [{"type": "response.refusal.delta", **self._at, "delta": delta.text}]
            case Text():
                logprobs = logprobs_written(delta.logprobs)
                said = {"type": "response.output_text.delta", **self._at, "delta": delta.text}
                return [{**said, "logprobs": logprobs}]
            case Thinking():
                text = {"type": "response.reasoning_summary_text.delta", **self._at, "delta": delta.text}
                return [*self._begin_thought(), text]
            case ToolUse():
                self._spoken = True
                return [{"type": "response.function_call_arguments.delta", **self._at, "delta": delta.text}]
            case _:
                return []

    def _begin_thought(self) -> list[_Json]:
        """The part of a summary begins with its first text."""
        if self._spoken:
            return []
        self._spoken = True
        part = {"type": "summary_text", "text": ""}
        return [{"type": "response.reasoning_summary_part.added", **self._at, "part": part}]

    def _end_block(self) -> list[_Json]:
        assert self._open is not None
        block = _grown(self._open, self._deltas)
        self._blocks.append(block)
        self._note(block)
        match block:
            case Text():
                said = self._end_part(block)
                self._texts.append(block)
                return said
            case Thinking():
                return self._end_thinking(block)
            case ToolUse():
                return self._end_call(block)
            case Opaque(dialect, raw):
                return self._whole(dict(raw)) if dialect is DIALECT else []
            case Media():
                return self._picture(block) if _is_picture(block) else []
            case ToolResult():
                return []
            case _:
                assert_never(block)

    def _end_part(self, block: Text) -> list[_Json]:
        place = self._at
        part = message_item([block], "", own=self._own)["content"]
        if block.refusal:
            done: _Json = {"type": "response.refusal.done", **place, "refusal": block.text}
        else:
            logprobs = logprobs_written(block.logprobs)
            done = {"type": "response.output_text.done", **place, "text": block.text, "logprobs": logprobs}
        whole = part[0] if part else _part_begun(block)
        return [done, {"type": "response.content_part.done", **place, "part": whole}]

    def _end_thinking(self, block: Thinking) -> list[_Json]:
        said: list[_Json] = []
        if block.text:
            part = {"type": "summary_text", "text": block.text}
            said = [
                {"type": "response.reasoning_summary_text.done", **self._at, "text": block.text},
                {"type": "response.reasoning_summary_part.done", **self._at, "part": part},
            ]
        item = {"id": self._thinking_id(block), **thinking_item(block, own=self._own)}
        return [*said, self._done(item)]

    def _end_call(self, block: ToolUse) -> list[_Json]:
        item: _Json = {"id": self._id(block, "fc"), "status": "completed", **call_item(block, own=self._own)}
        at = self._at
        said: list[_Json] = []
        if not self._spoken:
            said.append({"type": "response.function_call_arguments.delta", **at, "delta": block.arguments})
        done = {"type": "response.function_call_arguments.done", **at, "name": block.name, "arguments": block.arguments}
        return [*said, done, self._done(item)]

    def _picture(self, block: Media) -> list[_Json]:
        item = {"id": self._id(block, "ig"), "type": "image_generation_call", "status": "completed"}
        kind = (block.mime or "").removeprefix("image/")
        said = item | ({} if kind in ("", "png") else {"output_format": kind}) | {"result": block.inline}
        return self._whole({**said, **given_back(block.extra)} if self._own else said)

    def _whole(self, item: _Json) -> list[_Json]:
        return [self._added(item), self._done(item)]

    def _close_message(self) -> list[_Json]:
        """A message ends when something else begins."""
        if not self._texts:
            return []
        item = message_item(self._texts, self._id(self._texts[0], "msg"), own=self._own)
        self._texts = []
        return [self._done(item)]

    # -- places and ids

    def _added(self, item: _Json) -> _Json:
        return {"type": "response.output_item.added", "output_index": len(self._items), "item": item}

    def _done(self, item: _Json) -> _Json:
        self._items.append(item)
        return {"type": "response.output_item.done", "output_index": len(self._items) - 1, "item": item}

    def _item_place(self, id_: str) -> _Json:
        return {"item_id": id_, "output_index": len(self._items)}

    def _thinking_id(self, block: Thinking) -> str:
        return self._id(block, MINTED.rstrip("_"))

    def _id(self, block: Block | None, kind: str) -> str:
        """The item's own id, or one made of the answer's and its place."""
        extra = {} if block is None or isinstance(block, Opaque) else block.extra
        own = extra.get(f"{NOTE}id") if self._own else None
        if isinstance(own, str) and own:
            return own
        of_answer = _NOT_IN_ID.sub("_", self._start.id)[:_MAX_ID_CHARS]
        return f"{kind}_{of_answer}_{len(self._items)}"

    # -- losses

    def _note(self, block: Block) -> None:
        path = f"content[{len(self._blocks) - 1}]"
        if isinstance(block, Text | ToolUse) and block.signature:
            dropped(self._losses, f"{path}.signature", f"{DIALECT.value} has no place for it")
        if isinstance(block, Text) and block.refusal and block.logprobs:
            dropped(self._losses, f"{path}.logprobs", "a refusal has none")
        if isinstance(block, Opaque) and block.dialect is not DIALECT:
            dropped(self._losses, path, f"only {block.dialect.value} knows what it is")
        if isinstance(block, ToolResult) or (isinstance(block, Media) and not _is_picture(block)):
            dropped(self._losses, path, f"{DIALECT.value} has no such item in an answer")
        if not isinstance(block, Opaque):
            self._foreign(block.extra, path)

    def _foreign(self, extra: Mapping[str, Any], path: str) -> None:
        if not self._own:
            foreign(self._losses, extra, path, DIALECT, silent=_UNTOLD)


def _grown(block: Block, deltas: Iterable[Delta]) -> Block:
    """The block with everything that its deltas brought."""
    whole = fold([Start(DIALECT, "", ""), BlockStart(block), *deltas, BlockStop(), Stop(StopReason.END)])
    assert isinstance(whole, HubResponse)
    return whole.blocks[0]


def _part_begun(block: Text) -> _Json:
    if block.refusal:
        return {"type": "refusal", "refusal": ""}
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def _refuses(blocks: Iterable[Block]) -> bool:
    """Whether the refusal is told in words."""
    some = list(blocks)
    return stop_of({"status": "completed"}, some)[0] is StopReason.REFUSAL


def _is_picture(block: Block) -> bool:
    return isinstance(block, Media) and block.kind is MediaKind.IMAGE and block.inline is not None


def _is_item(block: Block) -> bool:
    """Whether it is told as an item of its own."""
    if isinstance(block, Opaque):
        return block.dialect is DIALECT
    return isinstance(block, Thinking | ToolUse) or _is_picture(block)
