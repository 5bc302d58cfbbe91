"""Whole answers of Converse, and what they and its streams have in common: usage, stop reasons, blocks.

`inputTokens` leaves out what came from the cache or went into it; the house's counts it. An answer has no id and
names no model. What a built-in tool did is opaque.

Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sidecar.dialects.bedrock_errors import decode_failure
from sidecar.dialects.bedrock_turns import DIALECT
from sidecar.dialects.fields import json_text
from sidecar.dialects.loose import object_of, objects, text
from sidecar.model.blocks import Block, Opaque, Text, Thinking, ToolUse
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubResponse, StopReason
from sidecar.model.records import Usage

__all__ = ["BY_SERVER", "decode_response", "read_block", "read_usage", "stop_of"]

BY_SERVER = "server_tool_use"  # the `type` of a call that the model's host answers itself

_STOPS: Mapping[str, StopReason] = MappingProxyType(
    {
        "end_turn": StopReason.END,
        "max_tokens": StopReason.LENGTH,
        "stop_sequence": StopReason.STOP_SEQUENCE,
        "tool_use": StopReason.TOOL_USE,
        "content_filtered": StopReason.REFUSAL,
        "guardrail_intervened": StopReason.REFUSAL,
        "model_context_window_exceeded": StopReason.CONTEXT,
    }
)
_MALFORMED = frozenset({"malformed_model_output", "malformed_tool_use"})


def read_usage(value: Any) -> Usage | None:
    """Tokens in the house's convention; None when there are none."""
    usage = object_of(value)
    fresh, output = _count(usage.get("inputTokens")), _count(usage.get("outputTokens"))
    if fresh is None and output is None:
        return None
    read, written = _count(usage.get("cacheReadInputTokens")), _count(usage.get("cacheWriteInputTokens"))
    whole = None if fresh is None else fresh + (read or 0) + (written or 0)
    return Usage(whole, output, read, written)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def stop_of(reason: str) -> StopReason | Failure:
    """Why an answer ended; a failure when what the model said was no answer."""
    if reason in _MALFORMED:
        return Failure(Kind.MALFORMED, f"the model's output could not be read ({reason})")
    return _STOPS.get(reason, StopReason.OTHER)


def read_block(raw: Mapping[str, Any]) -> Block:
    """A block of an answer."""
    if isinstance(said := raw.get("text"), str):
        return Text(said)
    reasoning = object_of(raw.get("reasoningContent"))
    if isinstance(redacted := reasoning.get("redactedContent"), str):
        return Thinking("", redacted, DIALECT, redacted=True)
    if thought := object_of(reasoning.get("reasoningText")):
        signature = text(thought.get("signature")) or None
        return Thinking(text(thought.get("text")), signature, DIALECT if signature else None)
    call = object_of(raw.get("toolUse"))
    if call and call.get("type") != BY_SERVER:
        return ToolUse(text(call.get("toolUseId")), text(call.get("name")), json_text(call.get("input") or {}))
    if cited := object_of(raw.get("citationsContent")):
        extra = {"citations": cited["citations"]} if cited.get("citations") else {}
        return Text(text(cited.get("content")), extra=extra)
    return Opaque(DIALECT, dict(raw))


def decode_response(body: Mapping[str, Any]) -> HubResponse | Failure:
    """A provider's whole answer; a failure when it is none."""
    message = object_of(object_of(body.get("output")).get("message"))
    reason = text(body.get("stopReason"))
    if not reason and not message:
        if body.get("message") or body.get("error"):
            return decode_failure(200, {}, json_text(dict(body)).encode(), 0.0)
        return Failure(Kind.MALFORMED, "the provider's answer holds neither a message nor a stopReason")
    stop = stop_of(reason)
    if isinstance(stop, Failure):
        return stop
    blocks = tuple(map(read_block, objects(message.get("content"))))
    if stop is StopReason.END and any(isinstance(block, ToolUse) for block in blocks):
        stop = StopReason.TOOL_USE
    return HubResponse(DIALECT, "", "", blocks, stop, reason or None, usage=read_usage(body.get("usage")))
