"""Whole answers, read; and what an answer says of itself, both ways.

What an answer repeats of its request, and everything else that it says at its top level, is in `extra` under
`~echo`, a note.

Source: platform.openai.com/docs/api-reference/responses/object (read 2026-11).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from sidecar.dialects.loose import object_of, objects, text
from sidecar.dialects.losses import NOTE
from sidecar.dialects.openai_errors import decode_failure as _decode_failure
from sidecar.dialects.openai_responses_items import (
    DIALECT,
    given_back,
    logprobs_of,
    logprobs_written,
    noted,
    output_part,
    thinking_of,
    tool_use_of,
)
from sidecar.model.blocks import Block, Media, MediaKind, Opaque, Text, ToolUse
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubResponse, StopReason
from sidecar.model.records import Usage

__all__ = [
    "ECHO",
    "ENDINGS",
    "blocks_of",
    "decode_response",
    "echo_of",
    "error_of",
    "head_of",
    "message_item",
    "part_extra",
    "same_message",
    "stop_of",
    "usage_of",
    "usage_written",
]

ECHO = f"{NOTE}echo"

ENDINGS: Mapping[StopReason, str] = MappingProxyType(
    {
        StopReason.LENGTH: "max_output_tokens",
        StopReason.CONTEXT: "max_output_tokens",
        StopReason.REFUSAL: "content_filter",
    }
)
"""Why an answer is incomplete; one that ended otherwise is complete."""
_REASONS: Mapping[str, StopReason] = MappingProxyType(
    {"max_output_tokens": StopReason.LENGTH, "content_filter": StopReason.REFUSAL}
)
_OWN = frozenset({"id", "model", "output"})  # at the top level, what the hub has a place for
_OF_MESSAGE = ("id", "status", "phase")  # of an item, in the extra of its texts


def decode_response(body: Mapping[str, Any]) -> HubResponse | Failure:
    """See `dialect.Codec`."""
    output = body.get("output")
    if body.get("status") == "failed" or (body.get("error") and not isinstance(output, list)):
        return error_of(body)
    if not isinstance(output, list):
        found = f"it has {', '.join(map(str, body))}"[:200] if body else "it is empty"
        return Failure(Kind.MALFORMED, f'the provider\'s answer has no "output" with items; {found}')
    blocks = blocks_of(output)
    id_, model, created_s = head_of(body)
    stop, native = stop_of(body, blocks)
    usage = usage_of(body.get("usage"))
    return HubResponse(DIALECT, id_, model, blocks, stop, native, None, usage, created_s, {ECHO: echo_of(body)})


def error_of(body: Mapping[str, Any]) -> Failure:
    """What the error in an answer, or in an event, means."""
    error = body.get("error")
    if not error and not body.get("message"):
        return Failure(Kind.SERVER_ERROR, "the provider says that the answer failed, and not why")
    return _decode_failure(200, {}, json.dumps({"error": error} if error else body).encode(), 0.0)


def head_of(body: Mapping[str, Any]) -> tuple[str, str, int | None]:
    """Id, model, and when it was made, in seconds since 1970."""
    created = body.get("created_at")
    made = int(created) if isinstance(created, int | float) and abs(created) < 1e15 else None
    return text(body.get("id")), text(body.get("model")), made


def echo_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Whatever the hub has no place for."""
    return {name: value for name, value in body.items() if name not in _OWN}


def stop_of(body: Mapping[str, Any], blocks: Iterable[Block]) -> tuple[StopReason, str | None]:
    """Why it ended, and in which words."""
    status = body.get("status")
    if status == "incomplete":
        reason = text(object_of(body.get("incomplete_details")).get("reason"))
        return _REASONS.get(reason, StopReason.OTHER), reason or status
    native = status if isinstance(status, str) else None
    if native not in ("completed", "complete", None):
        return StopReason.OTHER, native
    some = list(blocks)
    if any(isinstance(block, ToolUse) for block in some):
        return StopReason.TOOL_USE, native
    if any(isinstance(block, Text) and block.refusal for block in some):
        return StopReason.REFUSAL, native
    return StopReason.END, native


# -- usage


def usage_of(value: Any) -> Usage | None:
    """Usage, which is counted as the house does."""
    usage = object_of(value)
    given, made = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    if given is None and made is None:
        return None
    inputs, outputs = object_of(usage.get("input_tokens_details")), object_of(usage.get("output_tokens_details"))
    return Usage(
        given,
        made,
        _count(inputs, "cached_tokens"),
        _count(inputs, "cache_write_tokens"),
        _count(outputs, "reasoning_tokens"),
    )


def usage_written(usage: Usage | None) -> dict[str, Any] | None:
    """Usage as it is told."""
    if usage is None:
        return None
    given, made = usage.input_tokens or 0, usage.output_tokens or 0
    cached = {"cached_tokens": usage.cache_read_tokens or 0, "cache_write_tokens": usage.cache_write_tokens or 0}
    return {
        "input_tokens": given,
        "input_tokens_details": cached,
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": given + made,
    }


def _count(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# -- items


def blocks_of(output: Any) -> tuple[Block, ...]:
    """The blocks of all items."""
    return tuple(block for item in objects(output) for block in _blocks(item))


def _blocks(item: Mapping[str, Any]) -> list[Block]:
    match item.get("type"):
        case "message":
            return _texts(item)
        case "reasoning":
            return [thinking_of(item)]
        case "function_call":
            return [tool_use_of(item) or Opaque(DIALECT, item)]
        case "image_generation_call":
            return [_picture(item)]
        case _:
            return [Opaque(DIALECT, item)]


def _texts(item: Mapping[str, Any]) -> list[Block]:
    parts = objects(item.get("content"))
    if not parts:
        return [Text("", extra={**part_extra(item, {}, last=True), "content": []})]
    last = len(parts) - 1
    return [_text(item, part, last=place == last) for place, part in enumerate(parts)]


def _text(item: Mapping[str, Any], part: Mapping[str, Any], *, last: bool) -> Block:
    refusal = part.get("type") == "refusal"
    said = text(part.get("refusal" if refusal else "text"))
    logprobs = () if refusal else logprobs_of(part.get("logprobs"))
    return Text(said, refusal, logprobs=logprobs, extra=part_extra(item, part, last=last))


def part_extra(item: Mapping[str, Any], part: Mapping[str, Any], *, last: bool) -> dict[str, Any]:
    """What a text keeps of its part and of the message around it; how that ended, only the last part."""
    extra = {name: value for name, value in part.items() if name not in ("type", "text", "refusal", "logprobs")}
    if part.get("logprobs") == []:
        extra["logprobs"] = []
    around = {name: item[name] for name in _OF_MESSAGE if name in item and (last or name != "status")}
    return noted({**extra, **around})


def _picture(item: Mapping[str, Any]) -> Block:
    result = item.get("result")
    if not isinstance(result, str) or not result:
        return Opaque(DIALECT, item)
    extra = {name: value for name, value in item.items() if name not in ("type", "result")}
    mime = f"image/{text(item.get('output_format')) or 'png'}"
    return Media(MediaKind.IMAGE, mime, inline=result, extra=noted(extra))


def same_message(one: Text, other: Text, *, own: bool) -> bool:
    """Whether two texts that stand side by side are parts of one message."""
    return not own or one.extra.get(f"{NOTE}id") == other.extra.get(f"{NOTE}id")


def message_item(blocks: list[Text], id_: str, *, own: bool) -> dict[str, Any]:
    """The message that some texts are the parts of.

    Args:
        blocks: At least one.
        id_: For a message that has none.
        own: What `extra` holds is of this dialect.
    """
    item: dict[str, Any] = {"id": id_, "type": "message", "status": "completed", "role": "assistant"}
    parts = []
    for block in blocks:
        extra = given_back(block.extra) if own else {}
        item |= {name: extra.pop(name) for name in _OF_MESSAGE if name in extra}
        if extra.pop("content", None) is not None:
            continue
        part = output_part(Text(block.text, block.refusal), own=own, logprobs=not own and not block.refusal)
        if block.logprobs:
            extra["logprobs"] = logprobs_written(block.logprobs)
        parts.append({**part, **extra})
    return {**item, "content": parts}
