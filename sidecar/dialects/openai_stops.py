"""Why a chat answer ended: the words of every server that calls itself compatible, and OpenAI's own.

Sources (read 2026-11): platform.openai.com/docs/api-reference/chat/object; docs.mistral.ai; docs.together.ai;
docs.z.ai; and the vendors whose words gateways pass on.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sidecar.model.hub import StopReason

__all__ = ["FINISH_REASONS", "STOPS"]

STOPS: Mapping[str, StopReason] = MappingProxyType(
    {
        "stop": StopReason.END,
        "end_turn": StopReason.END,
        "eos": StopReason.END,
        "eos_token": StopReason.END,
        "stop_sequence": StopReason.STOP_SEQUENCE,
        "length": StopReason.LENGTH,
        "max_tokens": StopReason.LENGTH,
        "max_output_tokens": StopReason.LENGTH,
        "model_length": StopReason.CONTEXT,
        "model_context_window_exceeded": StopReason.CONTEXT,
        "tool_calls": StopReason.TOOL_USE,
        "function_call": StopReason.TOOL_USE,
        "tool_use": StopReason.TOOL_USE,
        "content_filter": StopReason.REFUSAL,
        "safety": StopReason.REFUSAL,
        "recitation": StopReason.REFUSAL,
        "prohibited_content": StopReason.REFUSAL,
        "refusal": StopReason.REFUSAL,
        "sensitive": StopReason.REFUSAL,  # Z.ai
        "pause_turn": StopReason.PAUSE,
    }
)
FINISH_REASONS: Mapping[StopReason, str] = MappingProxyType(
    {
        StopReason.END: "stop",
        StopReason.STOP_SEQUENCE: "stop",
        StopReason.LENGTH: "length",
        StopReason.CONTEXT: "length",
        StopReason.TOOL_USE: "tool_calls",
        StopReason.REFUSAL: "content_filter",
        StopReason.PAUSE: "stop",
        StopReason.OTHER: "stop",
    }
)
