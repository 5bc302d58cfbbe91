"""OpenAI chat answers as the values of the Python API: whole, or growing chunk by chunk.

Content is never rewritten: code fences stay, tool calls stay out of it, and an answer that refuses is
not given as one that stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sidecar.dialects.loose import json_object, object_of, objects, text, thoughts
from sidecar.dialects.openai_facts import read_event, usage_of
from sidecar.dialects.openai_stops import FINISH_REASONS, STOPS
from sidecar.dialects.sse import parse, split
from sidecar.model.chat import FunctionCall, TokenUsage, ToolCall

__all__ = ["Reading", "ResponseNormalizer", "answer_of", "read_message"]


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
        stop = STOPS.get(native.lower()) if native else None
        return FINISH_REASONS[stop] if stop else native or None


class Reading(msgspec.Struct):
    """What has been read of one answer so far (its first choice)."""

    content: str = ""
    refusal: str = ""
    reasoning: str = ""
    model: str | None = None
    finish_reason: str | None = None
    usage: TokenUsage | None = None
    calls: dict[int, ToolCall] = {}
    _places: dict[int, int] = {}  # of an index that is not its call's place

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
        self.model = text(event.get("model")) or self.model
        self.usage = _token_usage(event.get("usage")) or self.usage
        new = ""
        deltas: list[dict[str, Any]] | None = None
        for choice in objects(event.get("choices")):
            if choice.get("index"):
                continue
            whole = bool(choice.get("message"))
            delta = object_of(choice.get("delta") or choice.get("message") or {"content": choice.get("text")})
            content = delta.get("content")
            new += text(content)
            self.refusal += text(delta.get("refusal"))
            self.reasoning += text(delta.get("reasoning_content")) or text(delta.get("reasoning")) or thoughts(content)
            self.finish_reason = text(choice.get("finish_reason")) or self.finish_reason
            if calls := objects(delta.get("tool_calls")):
                deltas = calls
                for position, call in enumerate(calls):
                    self._take_call(call, position if whole else self._place(call))
        self.content += new
        return new, deltas

    def _place(self, delta: Mapping[str, Any]) -> int:
        """Which call a delta belongs to.

        The index says it, unless it is missing, or the same for every call: a delta that brings another
        id and a name begins a call of its own, and what follows under its index goes there.
        """
        index, call_id = delta.get("index"), delta.get("id")
        last = max(self.calls, default=-1)
        if isinstance(index, int):
            place = self._places.get(index, index)
            begun = self.calls.get(place)
            if begun is None or not call_id or begun.id == call_id or not object_of(delta.get("function")).get("name"):
                return place
            self._places[index] = last + 1
            return last + 1
        if not call_id:
            return max(last, 0)
        return next((at for at, call in self.calls.items() if call.id == call_id), last + 1)

    def _take_call(self, delta: Mapping[str, Any], place: int) -> None:
        function = object_of(delta.get("function"))
        call = self.calls.get(place)
        if call is None:
            call = self.calls[place] = ToolCall(text(delta.get("id")) or f"call_{place}", FunctionCall("", ""))
        name = text(function.get("name"))
        if name != call.function.name:  # some repeat it with every delta
            call.function.name += name
        arguments = function.get("arguments") or ""
        # Some give the arguments as an object instead of its JSON text.
        call.function.arguments += arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def read_message(body: bytes) -> Reading:
    """A whole answer, of chat or of completions."""
    answer = json_object(body) or {}
    choices = objects(answer.get("choices"))
    for choice in choices:
        if choice.get("message"):
            choice.pop("delta", None)  # Perplexity puts an empty one beside it
    reading = Reading()
    reading.take({**answer, "choices": choices})
    return reading


def _token_usage(value: Any) -> TokenUsage | None:
    usage = usage_of(msgspec.json.encode(value)) if value else None
    if usage is None:
        return None
    prompt, completion = usage.input_tokens or 0, usage.output_tokens or 0
    return TokenUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


_HEAD = ("id", "created", "model", "system_fingerprint")


def answer_of(stream: bytes) -> bytes | None:
    """A whole stream as the one answer that its client asked for; None when it is not complete.

    Some servers stream whatever they are asked. A stream that tells of an error gives that event.
    """
    readings: dict[int, Reading] = {}
    head: dict[str, Any] = {}
    usage: Any = None
    done = chat = False
    for frame in split(stream):
        data = parse(frame).data
        if data is None:
            continue
        done = done or data.strip() == b"[DONE]"
        event = json_object(data)
        if event is None:
            continue
        facts = read_event(data)
        if facts is not None and facts.fault:
            return data
        head = head or {name: event[name] for name in _HEAD if name in event}
        usage = event.get("usage") or usage
        for choice in objects(event.get("choices")):
            chat = chat or "text" not in choice
            index = choice.get("index") or 0
            readings.setdefault(index, Reading()).take({"choices": [{**choice, "index": 0}]})
    if not readings or not (done or all(reading.finish_reason for reading in readings.values())):
        return None
    choices = [_choice(index, reading, chat=chat) for index, reading in sorted(readings.items())]
    kind = "chat.completion" if chat else "text_completion"
    return msgspec.json.encode({**head, "object": kind, "choices": choices, "usage": usage})


def _choice(index: int, reading: Reading, *, chat: bool) -> dict[str, Any]:
    if not chat:
        return {"index": index, "text": reading.content, "finish_reason": reading.finish_reason}
    message: dict[str, Any] = {"role": "assistant", "content": reading.content or None}
    if reading.calls:
        message["tool_calls"] = reading.tool_calls
    if reading.refusal:
        message["refusal"] = reading.refusal
    if reading.reasoning:
        message["reasoning_content"] = reading.reasoning
    return {"index": index, "message": message, "finish_reason": reading.finish_reason}
