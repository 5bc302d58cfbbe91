"""Legacy completions answered by chat: one user message in, text out, for providers without the endpoint.

The request's top level is mapped, everything below stays as the client wrote it; the answer and the
stream keep the shape of completions. What chat cannot say (`echo`, `suffix`, `best_of`, a list of
prompts) is refused with a message rather than dropped.

Source: platform.openai.com/docs/api-reference/completions (read 2026-11).
"""

from __future__ import annotations

from typing import Any

import msgspec

from sidecar.dialects.sse import parse, split
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure, Kind
from sidecar.model.request import Peek

__all__ = ["chat_peek", "completion_events", "completion_of"]

_UNSPEAKABLE = ("suffix", "echo", "best_of")
_SILENT = frozenset({b"null", b"false", b"1", b'""'})


def chat_peek(peek: Peek) -> Peek:
    """The same request as a chat.

    Raises:
        ValidationError: When chat cannot say it.
    """
    fields = dict(peek.fields)
    for name in _UNSPEAKABLE:
        value = fields.pop(name, None)
        if value is not None and bytes(value) not in _SILENT:
            raise _invalid(f'"{name}" cannot be expressed to a provider that only chats; leave it out', name)
    prompt = _prompt(fields.pop("prompt", None))
    fields["messages"] = msgspec.Raw(msgspec.json.encode([{"role": "user", "content": prompt}]))
    logprobs = fields.pop("logprobs", None)
    if logprobs is not None and bytes(logprobs) != b"null":
        fields["logprobs"], fields["top_logprobs"] = msgspec.Raw(b"true"), logprobs
    return msgspec.structs.replace(peek, fields=fields)


def _prompt(raw: msgspec.Raw | None) -> str:
    try:
        value = msgspec.json.decode(raw, type=str | list[str]) if raw is not None else None
    except msgspec.DecodeError:
        value = None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise _invalid(
            '"prompt" must be one text; this provider only chats and takes neither lists nor tokens', "prompt"
        )
    return value


def completion_of(body: bytes) -> bytes:
    """A chat's whole answer in the shape of completions."""
    return msgspec.json.encode(_reshaped(msgspec.json.decode(body)))


def completion_events(frames: bytes) -> bytes:
    """Whole frames of a chat's stream in the shape of completions; comments and `[DONE]` stay."""
    shaped = []
    for frame in split(frames):
        data = parse(frame).data
        if data is None or data.strip() == b"[DONE]":
            shaped.append(frame)
        else:
            shaped.append(b"data: " + msgspec.json.encode(_reshaped(msgspec.json.decode(data))) + b"\n\n")
    return b"".join(shaped)


def _reshaped(value: dict[str, Any]) -> dict[str, Any]:
    choices = value.get("choices") or []
    return {**value, "object": "text_completion", "choices": [_choice(choice) for choice in choices]}


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    said = choice.get("message") or choice.get("delta") or {}
    return {
        "index": choice.get("index", 0),
        "text": said.get("content") or "",
        "logprobs": choice.get("logprobs"),
        "finish_reason": choice.get("finish_reason"),
    }


def _invalid(message: str, param: str) -> ValidationError:
    return ValidationError(failure=Failure(Kind.INVALID_REQUEST, message, param=param))
