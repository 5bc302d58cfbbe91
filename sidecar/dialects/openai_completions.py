"""Legacy completions answered by chat: one user message in, text out, for providers without the endpoint.

The request's top level is mapped, everything below stays as the client wrote it; the answer and the
stream keep the shape of completions. What chat cannot say (`echo`, `suffix`, `best_of`, a list of
prompts) is refused with a message rather than dropped.

Source: platform.openai.com/docs/api-reference/completions (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sidecar.dialects.loose import MALFORMED, event_of, json_object, object_of, objects, text
from sidecar.dialects.sse import split
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure, Kind
from sidecar.model.request import Peek

__all__ = ["chat_event", "chat_peek", "completion_events", "completion_of"]

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
    except MALFORMED:
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
    return msgspec.json.encode(_reshaped(json_object(body) or {}))


def completion_events(frames: bytes) -> bytes:
    """Whole frames of a chat's stream in the shape of completions; comments and `[DONE]` stay."""
    shaped = []
    for frame in split(frames):
        event = event_of(frame)
        shaped.append(frame if event is None else b"data: " + msgspec.json.encode(_reshaped(event)) + b"\n\n")
    return b"".join(shaped)


def chat_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event of a completions stream in the shape of a chat's."""
    choices = [
        {
            "index": choice.get("index", 0),
            "delta": {"content": choice.get("text")},
            "finish_reason": choice.get("finish_reason"),
        }
        for choice in objects(event.get("choices"))
    ]
    return {**event, "object": "chat.completion.chunk", "choices": choices}


def _reshaped(value: dict[str, Any]) -> dict[str, Any]:
    choices = [_choice(choice) for choice in objects(value.get("choices"))]
    return {**value, "object": "text_completion", "choices": choices}


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    said = object_of(choice.get("message") or choice.get("delta"))
    return {
        "index": choice.get("index", 0),
        "text": text(said.get("content")),
        "logprobs": _logprobs(choice.get("logprobs")),
        "finish_reason": choice.get("finish_reason"),
    }


def _logprobs(value: Any) -> dict[str, list[Any]] | None:
    """What chat tells token by token, as the parallel lists of completions."""
    if not isinstance(value, dict):
        return None
    tokens = objects(value.get("content"))
    return {
        "tokens": [token.get("token") for token in tokens],
        "token_logprobs": [token.get("logprob") for token in tokens],
        "top_logprobs": [
            {text(top.get("token")): top.get("logprob") for top in objects(token.get("top_logprobs"))}
            for token in tokens
        ],
    }


def _invalid(message: str, param: str) -> ValidationError:
    return ValidationError(failure=Failure(Kind.INVALID_REQUEST, message, param=param))
