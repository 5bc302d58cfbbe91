"""Whole answers of the dialect, both ways, and what they and streams have in common: usage, stop reasons.

`input_tokens` on the wire leaves out what came from the cache or went into it; the house's counts it. What else
stands in `usage` is kept as it is, for clients of the dialect.

Source: platform.claude.com/docs/en/api/messages, .../build-with-claude/handling-stop-reasons,
.../build-with-claude/prompt-caching (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, assert_never

from sidecar.dialects.anthropic_blocks import ANSWER_TOOL, DIALECT, block_of, signed, unnoted
from sidecar.dialects.anthropic_errors import decode_failure
from sidecar.dialects.fields import json_object_of, json_text
from sidecar.dialects.losses import added, changed, dropped, foreign
from sidecar.model.blocks import Block, Media, Opaque, Text, Thinking, ToolResult, ToolUse
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubResponse, Loss, StopReason
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect

__all__ = [
    "SILENT",
    "TAKEN",
    "answer_block",
    "decode_response",
    "encode_response",
    "read_block",
    "read_usage",
    "stop_of",
    "stop_word",
    "usage_fields",
    "usage_rest",
]

_STOPS: Mapping[str, StopReason] = MappingProxyType(
    {
        "end_turn": StopReason.END,
        "max_tokens": StopReason.LENGTH,
        "stop_sequence": StopReason.STOP_SEQUENCE,
        "tool_use": StopReason.TOOL_USE,
        "pause_turn": StopReason.PAUSE,
        "refusal": StopReason.REFUSAL,
        "model_context_window_exceeded": StopReason.CONTEXT,
    }
)
_WORDS: Mapping[StopReason, str] = MappingProxyType(
    {**{reason: word for word, reason in _STOPS.items()}, StopReason.OTHER: "end_turn"}
)
_INPUT, _OUTPUT = "input_tokens", "output_tokens"
_READ, _WRITE = "cache_read_input_tokens", "cache_creation_input_tokens"
_DETAILS, _THINKING = "output_tokens_details", "thinking_tokens"
_COUNTS = (_INPUT, _OUTPUT, _READ, _WRITE)
TAKEN = frozenset({"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"})
# Says nothing that a client of the dialect would look for.
SILENT = frozenset({"object", "system_fingerprint"})


# -- usage


def read_usage(value: Any) -> Usage | None:
    """Tokens in the house's convention; None when there are none."""
    if not isinstance(value, dict):
        return None
    found = {name: count for name in _COUNTS if (count := _count(value.get(name))) is not None}
    if not found:
        return None
    details = value.get(_DETAILS)
    thinking = _count(details.get(_THINKING)) if isinstance(details, dict) else None
    total = None
    if _INPUT in found:
        total = found[_INPUT] + found.get(_READ, 0) + found.get(_WRITE, 0)
    return Usage(total, found.get(_OUTPUT), found.get(_READ), found.get(_WRITE), thinking)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def usage_rest(value: Any) -> dict[str, Any]:
    """What of a `usage` has no place in the hub, as an answer's `extra`."""
    rest = {name: item for name, item in value.items() if _count(item) is None} if isinstance(value, dict) else {}
    return {"usage": rest} if rest else {}


def usage_fields(usage: Usage | None, rest: Any = None) -> dict[str, Any]:
    """Tokens in the dialect's convention.

    Args:
        usage: None is written as none at all, for the dialect demands it.
        rest: What `usage_rest` kept.
    """
    usage = usage or Usage()
    fresh, read, written = usage.input_tokens or 0, usage.cache_read_tokens, usage.cache_write_tokens
    if read is not None:  # some count tokens of the cache beside their input, or twice: the sum must stay theirs
        fresh -= (read := min(read, fresh))
    if written is not None:
        fresh -= (written := min(written, fresh))
    fields: dict[str, Any] = {
        _INPUT: fresh,
        _OUTPUT: usage.output_tokens or 0,
    }
    if written is not None:
        fields[_WRITE] = written
    if read is not None:
        fields[_READ] = read
    if usage.reasoning_tokens is not None:
        fields[_DETAILS] = {_THINKING: usage.reasoning_tokens}
    return {**fields, **rest} if isinstance(rest, Mapping) else fields


# -- stop reasons


def stop_of(native: Any, blocks: Iterable[type[Block]], *, by_tool: bool) -> tuple[StopReason, str | None]:
    """Why an answer ended, and in whose words.

    Args:
        native: `stop_reason` as it came.
        blocks: What kinds of blocks the answer holds.
        by_tool: One of its texts came as the call of `ANSWER_TOOL`.
    """
    calls = ToolUse in blocks
    if by_tool and not calls and native == "tool_use":
        return StopReason.END, "end_turn"
    if isinstance(native, str) and native:
        return _STOPS.get(native, StopReason.OTHER), native
    return (StopReason.TOOL_USE if calls else StopReason.END), None


def stop_word(reason: StopReason, native: str | None, dialect: Dialect, losses: list[Loss], *, refused: bool) -> str:
    """Why an answer ended, in the dialect's words.

    Args:
        reason: Of the hub.
        native: In the words of the dialect that it was given in.
        dialect: That one.
        losses: Where a reason is noted for which there is no word.
        refused: One of its texts is a refusal.
    """
    if dialect is DIALECT and native:
        return native
    if refused and reason is StopReason.END:
        return _WORDS[StopReason.REFUSAL]
    if reason is StopReason.OTHER:
        changed(losses, "stop_reason", f"{DIALECT} has no word for {native or 'it'}")
    return _WORDS[reason]


# -- blocks


def read_block(raw: Mapping[str, Any]) -> Block:
    """A block of an answer; the call that stands for a structured answer is text."""
    block = block_of(raw)
    if isinstance(block, ToolUse) and block.name == ANSWER_TOOL:
        return Text(block.arguments)
    return block


def answer_block(block: Block, path: str, losses: list[Loss], *, own: bool) -> dict[str, Any] | None:
    """A block for a client; None, and a loss, when the dialect has none such.

    Args:
        block: Of an answer.
        path: Where it stands in the answer.
        losses: Where is noted what cannot be said.
        own: The answer was given in this dialect.
    """
    match block:
        case Text(text, refusal):
            if refusal:
                changed(losses, path, f"a refusal is text like any other, for {DIALECT} has no such part")
            if block.logprobs:
                dropped(losses, f"{path}.logprobs", f"{DIALECT} has no logprobs")
            _unsigned(block.signature, path, losses)
            fields: dict[str, Any] = {"type": "text", "text": text}
        case Thinking(text):
            fields = {"type": "thinking", "thinking": text, "signature": signed(block)}
            if block.redacted:
                fields = {"type": "redacted_thinking", "data": signed(block)}
        case ToolUse(id_, name, arguments):
            given = json_object_of(arguments)
            if given is None:
                changed(losses, f"{path}.arguments", "given as text inside of an object, for they are not one")
                given = {"arguments": arguments}
            _unsigned(block.signature, path, losses)
            fields = {"type": "tool_use", "id": id_, "name": name, "input": given}
        case Opaque(dialect, raw):
            if dialect is DIALECT:
                return dict(raw)
            dropped(losses, path, f"{DIALECT} knows nothing of {raw.get('type') or 'this part'} of {dialect}")
            return None
        case Media() | ToolResult():
            what = block.kind if isinstance(block, Media) else "result"
            dropped(losses, path, f"{DIALECT} has no {what} in answers")
            return None
        case _:
            assert_never(block)
    if own:
        return {**fields, **unnoted(block.extra)}
    foreign(losses, block.extra, path, DIALECT)
    return fields


def _unsigned(signature: str | None, path: str, losses: list[Loss]) -> None:
    if signature:
        dropped(losses, f"{path}.signature", f"{DIALECT} signs nothing but thinking")


# -- whole answers


def decode_response(body: Mapping[str, Any]) -> HubResponse | Failure:
    """A provider's whole answer; a failure when it is none."""
    if body.get("type") == "error" or body.get("error"):
        return decode_failure(200, {}, json_text(dict(body)).encode(), 0.0)
    content = body.get("content")
    if not isinstance(content, list):
        return Failure(Kind.MALFORMED, 'the provider\'s answer has no "content"')
    blocks = tuple(read_block(raw) for raw in content if isinstance(raw, dict))
    by_tool = any(isinstance(raw, dict) and raw.get("name") == ANSWER_TOOL for raw in content)
    stop, native = stop_of(body.get("stop_reason"), list(map(type, blocks)), by_tool=by_tool)
    rest = {name: value for name, value in body.items() if name not in TAKEN}
    usage = body.get("usage")
    return HubResponse(
        DIALECT,
        _text(body.get("id")),
        _text(body.get("model")),
        blocks,
        stop,
        native,
        _text(body.get("stop_sequence")) or None,
        read_usage(usage),
        extra={**rest, **usage_rest(usage)},
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def encode_response(response: HubResponse, losses: list[Loss]) -> dict[str, Any]:
    """A whole answer for a client."""
    own = response.dialect is DIALECT
    found = [answer_block(block, f"content[{place}]", losses, own=own) for place, block in enumerate(response.blocks)]
    refused = any(isinstance(block, Text) and block.refusal for block in response.blocks)
    extra = dict(response.extra)
    rest = extra.pop("usage", None)
    if not own:
        foreign(losses, extra, "", DIALECT, silent=SILENT)
        extra, rest = {}, None
    if response.usage is None:
        added(losses, "usage", f"no tokens, for {DIALECT} demands it")
    return {
        "id": response.id,
        "type": "message",
        "role": "assistant",
        "model": response.model,
        "content": [block for block in found if block is not None],
        "stop_reason": stop_word(response.stop, response.stop_native, response.dialect, losses, refused=refused),
        "stop_sequence": response.stop_sequence,
        "usage": usage_fields(response.usage, rest),
        **extra,
    }
