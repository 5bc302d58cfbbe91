"""OpenAI chat answers as the values of the Python API: whole, or growing chunk by chunk.

Content is never rewritten: code fences stay, tool calls stay out of it, and an answer that refuses is
not given as one that stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from sidecar.dialects.openai_chat import usage_of
from sidecar.dialects.sse import parse, split
from sidecar.model.chat import FunctionCall, TokenUsage, ToolCall

__all__ = ["Reading", "ResponseNormalizer", "answer_of", "read_message"]

_FINISH_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "stop": "stop",
        "length": "length",
        "tool_calls": "tool_calls",
        "content_filter": "content_filter",
        "function_call": "tool_calls",
        "tool_use": "tool_calls",
        "end_turn": "stop",
        "eos": "stop",
        "eos_token": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_length": "length",
        "max_output_tokens": "length",
        "model_context_window_exceeded": "length",
        "safety": "content_filter",
        "recitation": "content_filter",
        "prohibited_content": "content_filter",
        "refusal": "content_filter",
    }
)


class ResponseNormalizer:
    """Names finish reasons alike for every provider; a public Python name, to be subclassed at will."""

    def finish_reason(self, native: str | None, *, refused: bool = False) -> str | None:
        """The common name of a finish reason; an unknown one stays as it is.

        Args:
            native: The provider's word.
            refused: The answer holds a refusal instead of an answer.
        """
        if refused:
            return "content_filter"
        return _FINISH_REASONS.get(native.lower(), native) if native else None


class Reading(msgspec.Struct):
    """What has been read of one answer so far (its first choice)."""

    content: str = ""
    refusal: str = ""
    reasoning: str = ""
    model: str | None = None
    finish_reason: str | None = None
    usage: TokenUsage | None = None
    calls: dict[int, ToolCall] = {}

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls in their order; empty arguments mean no arguments."""
        return [
            ToolCall(call.id, FunctionCall(call.function.name, call.function.arguments or "{}"))
            for _, call in sorted(self.calls.items())
        ]

    @property
    def metadata(self) -> dict[str, Any]:
        """What has no field of its own."""
        found = {"refusal": self.refusal, "reasoning": self.reasoning}
        return {name: value for name, value in found.items() if value}

    def take(self, event: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]] | None]:
        """Read one more chunk; its new text and its tool call deltas.

        Args:
            event: A decoded chunk, or a whole answer (whose message counts as one delta).
        """
        self.model = event.get("model") or self.model
        self.usage = _token_usage(event.get("usage")) or self.usage
        text = ""
        deltas: list[dict[str, Any]] | None = None
        for choice in event.get("choices") or ():
            if choice.get("index"):
                continue
            delta = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
            text += _text(delta.get("content"))
            self.refusal += _text(delta.get("refusal"))
            self.reasoning += _text(delta.get("reasoning_content")) or _text(delta.get("reasoning"))
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            if delta.get("tool_calls"):
                deltas = delta["tool_calls"]
                for position, call in enumerate(deltas):
                    self._take_call(call, position if choice.get("message") else self._place(call))
        self.content += text
        return text, deltas

    def _place(self, delta: Mapping[str, Any]) -> int:
        """Which call a delta belongs to; some providers give no index, and a new id is a new call then."""
        index = delta.get("index")
        if isinstance(index, int):
            return index
        last = max(self.calls, default=0)
        if not delta.get("id"):
            return last
        return next((at for at, call in self.calls.items() if call.id == delta["id"]), last + bool(self.calls))

    def _take_call(self, delta: Mapping[str, Any], index: int) -> None:
        function = delta.get("function") or {}
        call = self.calls.get(index)
        if call is None:
            call = self.calls[index] = ToolCall(delta.get("id") or f"call_{index}", FunctionCall("", ""))
        call.function.name += function.get("name") or ""
        arguments = function.get("arguments") or ""
        # Some give the arguments as an object instead of its JSON text.
        call.function.arguments += arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def read_message(body: bytes) -> Reading:
    """A whole answer, of chat or of completions."""
    reading = Reading()
    reading.take(msgspec.json.decode(body))
    return reading


def _text(value: Any) -> str:
    """A text, or the texts among the parts that some providers write in its place."""
    if isinstance(value, list):
        return "".join(part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str))
    return value if isinstance(value, str) else ""


def _token_usage(value: Any) -> TokenUsage | None:
    usage = usage_of(msgspec.json.encode(value)) if value else None
    if usage is None:
        return None
    prompt, completion = usage.input_tokens or 0, usage.output_tokens or 0
    return TokenUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


def answer_of(stream: bytes) -> bytes | None:
    """A whole stream as the one answer that its client asked for; None when it is not complete.

    Some servers stream whatever they are asked. Only the first choice is kept: more than one cannot
    have been asked for here and come back as a stream.
    """
    reading = Reading()
    head: dict[str, Any] = {}
    for frame in split(stream):
        data = parse(frame).data
        if data is None or data.strip() == b"[DONE]":
            continue
        try:
            event = msgspec.json.decode(data, type=dict[str, Any])
        except msgspec.DecodeError:
            continue
        head = head or {name: event[name] for name in ("id", "created", "model", "system_fingerprint") if name in event}
        reading.take(event)
    if reading.finish_reason is None:
        return None
    message: dict[str, Any] = {"role": "assistant", "content": reading.content or None}
    if reading.calls:
        message["tool_calls"] = reading.tool_calls
    if reading.refusal:
        message["refusal"] = reading.refusal
    choice = {"index": 0, "message": message, "finish_reason": reading.finish_reason}
    return msgspec.json.encode({**head, "object": "chat.completion", "choices": [choice], "usage": reading.usage})
