"""The messages and answers of the Python API, in the shapes of its source specification.

`content` of a `Message` is a text, a list of OpenAI content parts, or None beside tool calls. Plain
dicts are accepted wherever a `Message` is.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict

import msgspec

__all__ = ["FunctionCall", "LLMResponse", "LLMResponseChunk", "Message", "TokenUsage", "ToolCall"]


class FunctionCall(msgspec.Struct):
    """The function a model wants called; `arguments` is JSON text, as the model wrote it."""

    name: str
    arguments: str = "{}"


class ToolCall(msgspec.Struct):
    """One tool call of an answer."""

    id: str
    function: FunctionCall
    type: str = "function"


class Message(msgspec.Struct, omit_defaults=True):
    """One message of a conversation; `role` is system, user, assistant or tool."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[ToolCall] | None = None
    name: str | None = None
    tool_call_id: str | None = None


class TokenUsage(TypedDict):
    """Tokens of one answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class LLMResponse(msgspec.Struct):
    """One whole answer."""

    content: str
    provider: str
    model: str  # the model that served
    finish_reason: str | None  # stop, length, tool_calls, content_filter; unknown ones as they came
    native_finish_reason: str | None  # the provider's own word
    tool_calls: list[ToolCall]
    usage: TokenUsage | None
    metadata: dict[str, Any]
    request_id: str
    duration: float  # seconds
    timestamp: datetime


class LLMResponseChunk(msgspec.Struct):
    """One piece of a streamed answer."""

    content: str  # everything so far
    delta: str  # new in this chunk
    provider: str
    model: str
    chunk_index: int
    timestamp: datetime
    finish_reason: str | None = None
    tool_calls: list[ToolCall] = []  # complete so far
    tool_call_chunks: list[dict[str, Any]] | None = None  # the deltas of this chunk, as they came
    usage: TokenUsage | None = None
    metadata: dict[str, Any] = {}
