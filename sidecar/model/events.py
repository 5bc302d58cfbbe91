"""A streamed answer as events, and the way between a stream and a whole answer.

The grammar, which every decoder keeps for every input:

    Start (BlockStart Delta* BlockStop)* (Stop | Fault)

One block is open at a time; a dialect that lets blocks overlap keeps the later one back. The numbers
that count blocks on the wire are the encoders' business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from sidecar.model.blocks import Block, Logprob, Media, Opaque, Text, Thinking, ToolResult, ToolUse
from sidecar.model.failures import Failure
from sidecar.model.hub import HubResponse, StopReason
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect

__all__ = ["BlockStart", "BlockStop", "Delta", "Event", "Fault", "Start", "Stop", "fold", "unfold"]


class Start(msgspec.Struct, frozen=True):
    """An answer begins."""

    dialect: Dialect
    id: str
    model: str
    created_s: int | None = None
    usage: Usage | None = None  # what is known at the start
    extra: Mapping[str, Any] = {}


class BlockStart(msgspec.Struct, frozen=True):
    """A block begins: with nothing in it yet (text, thinking, arguments), or whole (media, opaque)."""

    block: Block


class Delta(msgspec.Struct, frozen=True):
    """More of the open block: of its text (or its arguments), its signature, its likelihoods, its extra."""

    text: str = ""
    signature: str | None = None
    logprobs: tuple[Logprob, ...] = ()
    extra: Mapping[str, Any] = {}  # lists grow, anything else is replaced


class BlockStop(msgspec.Struct, frozen=True):
    """The open block is complete."""


class Stop(msgspec.Struct, frozen=True):
    """The answer is complete."""

    reason: StopReason
    native: str | None = None
    sequence: str | None = None
    usage: Usage | None = None
    extra: Mapping[str, Any] = {}  # of the answer


class Fault(msgspec.Struct, frozen=True):
    """The answer broke."""

    failure: Failure


Event = Start | BlockStart | Delta | BlockStop | Stop | Fault


def fold(events: Iterable[Event]) -> HubResponse | Failure:
    """The whole answer that a stream comes to, or why it comes to none.

    Args:
        events: By the grammar.
    """
    start: Start | None = None
    blocks: list[Block] = []
    deltas: list[Delta] = []
    for event in events:
        match event:
            case Start():
                start = event
            case BlockStart(block):
                blocks.append(block)
            case Delta():
                deltas.append(event)
            case BlockStop():
                blocks[-1] = _grown(blocks[-1], deltas)
                deltas.clear()
            case Stop():
                assert start is not None
                return _whole(start, tuple(blocks), event)
            case Fault(failure):
                return failure
    raise AssertionError("a stream's last event is Stop or Fault")


def _whole(start: Start, blocks: tuple[Block, ...], stop: Stop) -> HubResponse:
    return HubResponse(
        start.dialect,
        start.id,
        start.model,
        blocks,
        stop.reason,
        stop.native,
        stop.sequence,
        stop.usage or start.usage,
        start.created_s,
        {**start.extra, **stop.extra},
    )


def unfold(response: HubResponse) -> Iterator[Event]:
    """The stream of an answer that came whole."""
    yield Start(response.dialect, response.id, response.model, response.created_s)
    for block in response.blocks:
        begun, delta = _empty(block)
        yield BlockStart(begun)
        if delta is not None:
            yield delta
        yield BlockStop()
    yield Stop(response.stop, response.stop_native, response.stop_sequence, response.usage, response.extra)


def _grown(block: Block, deltas: list[Delta]) -> Block:
    """The block with everything that its deltas brought."""
    if not deltas:
        return _completed(block)
    text = "".join([delta.text for delta in deltas])
    signature = "".join([delta.signature for delta in deltas if delta.signature])
    match block:
        case Text():
            logprobs = (*block.logprobs, *(each for delta in deltas for each in delta.logprobs))
            return msgspec.structs.replace(
                block,
                text=block.text + text,
                logprobs=logprobs,
                signature=signature or block.signature,
                extra=_merged(block.extra, deltas),
            )
        case Thinking():
            return msgspec.structs.replace(
                block,
                text=block.text + text,
                signature=(block.signature or "") + signature or None,
                extra=_merged(block.extra, deltas),
            )
        case ToolUse():
            return msgspec.structs.replace(
                block,
                arguments=block.arguments + text or "{}",
                signature=signature or block.signature,
                extra=_merged(block.extra, deltas),
            )
        case Media() | ToolResult() | Opaque():
            return block


def _completed(block: Block) -> Block:
    """A call that brought no arguments has none."""
    if isinstance(block, ToolUse) and not block.arguments:
        return msgspec.structs.replace(block, arguments="{}")
    return block


def _merged(extra: Mapping[str, Any], deltas: list[Delta]) -> Mapping[str, Any]:
    merged = dict(extra)
    for delta in deltas:
        for name, value in delta.extra.items():
            before = merged.get(name)
            merged[name] = [*before, *value] if isinstance(before, list) and isinstance(value, list) else value
    return merged


def _empty(block: Block) -> tuple[Block, Delta | None]:
    """The block as it begins, and what makes it whole."""
    match block:
        case Text() if block.text or block.logprobs:
            return msgspec.structs.replace(block, text="", logprobs=()), Delta(block.text, logprobs=block.logprobs)
        case Thinking() if block.text or (block.signature and not block.redacted):
            kept = block.signature if block.redacted else None
            signed = None if block.redacted else block.signature
            return msgspec.structs.replace(block, text="", signature=kept), Delta(block.text, signed)
        case ToolUse():
            return msgspec.structs.replace(block, arguments=""), Delta(block.arguments)
        case _:
            return block, None
