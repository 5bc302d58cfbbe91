"""The OpenAI chat dialect, with its elder (`/completions`) and its neighbour (`/embeddings`).

Knows the JSON of requests, answers, stream chunks and usage; knows nothing of sockets or failover.
`read_answer` and `read_event` look at what came from a provider and give facts; the bytes themselves
pass through untouched.

Source: platform.openai.com/docs/api-reference/chat (read 2026-11). Providers differ from it in ways
that are met here: usage on the finish chunk or beside an empty delta, `reasoning` or
`reasoning_content`, a whole tool call in one delta, an error object inside a 200.
"""

from __future__ import annotations

import msgspec

from sidecar.model.failures import Failure, Kind
from sidecar.model.records import Usage
from sidecar.model.topology import Operation

__all__ = ["DONE", "AnswerFacts", "EventFacts", "read_answer", "read_event", "stream_of", "usage_of"]

DONE = b"data: [DONE]\n\n"

_ABSENT = msgspec.Raw(b"")
_NOTHING = frozenset({b"", b"null", b'""', b"[]", b"{}"})


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek


class _Choice(msgspec.Struct):
    index: int = 0
    delta: dict[str, msgspec.Raw] | None = None
    message: dict[str, msgspec.Raw] | None = None
    text: msgspec.Raw = _ABSENT
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    data: msgspec.Raw = _ABSENT  # embeddings
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


class AnswerFacts(msgspec.Struct, frozen=True):
    """What a whole answer says of itself."""

    model: str | None
    finish_reason: str | None
    usage: Usage | None
    fault: bool = False  # it holds an error object


class EventFacts(msgspec.Struct, frozen=True):
    """What one event of a stream says."""

    content: bool  # something a client would show, or a finish reason
    usage_only: bool  # the usage chunk: no choices
    started: tuple[int, ...]  # indices of the choices it speaks of
    finished: tuple[int, ...]  # indices of the choices it ends
    finish_reason: str | None
    model: str | None
    usage: Usage | None
    fault: bool


_DECODE = msgspec.json.Decoder(_Body).decode
_DECODE_USAGE = msgspec.json.Decoder(_Usage | None).decode


def read_answer(body: bytes, operation: Operation) -> AnswerFacts | Failure:
    """The facts of a whole answer, or why it is none."""
    try:
        value = _DECODE(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _malformed(body, str(error))
    if bytes(value.error) not in _NOTHING:
        return AnswerFacts(value.model, None, None, fault=True)
    if operation is Operation.EMBEDDINGS:
        if bytes(value.data) in _NOTHING:
            return Failure(Kind.MALFORMED, 'the provider\'s answer has no "data"')
        return AnswerFacts(value.model, None, usage_of(value.usage))
    if not value.choices:
        return Failure(Kind.MALFORMED, 'the provider\'s answer has no "choices"')
    return AnswerFacts(value.model, value.choices[0].finish_reason, usage_of(value.usage))


def read_event(data: bytes) -> EventFacts | None:
    """The facts of one event's data, or None when it is not what the dialect allows."""
    try:
        value = _DECODE(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    fault = bytes(value.error) not in _NOTHING
    choices = value.choices or []
    finished = tuple(choice.index for choice in choices if choice.finish_reason)
    return EventFacts(
        content=bool(finished) or any(_has_content(choice) for choice in choices),
        usage_only=not choices and bytes(value.usage) not in _NOTHING,
        started=tuple(choice.index for choice in choices),
        finished=finished,
        finish_reason=next((choice.finish_reason for choice in choices if choice.finish_reason), None),
        model=value.model,
        usage=usage_of(value.usage),
        fault=fault,
    )


def _has_content(choice: _Choice) -> bool:
    if bytes(choice.text) not in _NOTHING:
        return True
    delta = choice.delta or choice.message
    if not delta:
        return False
    return any(name != "role" and bytes(value) not in _NOTHING for name, value in delta.items())


def usage_of(raw: msgspec.Raw | bytes) -> Usage | None:
    """A usage object in the house's convention; None when there is none, or it cannot be read."""
    if not bytes(raw):
        return None
    try:
        usage = _DECODE_USAGE(raw)
    except msgspec.DecodeError:
        return None
    if usage is None or (usage.prompt_tokens is None and usage.completion_tokens is None):
        return None
    prompt = usage.prompt_tokens_details or _PromptDetails()
    completion = usage.completion_tokens_details or _CompletionDetails()
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        prompt.cached_tokens if prompt.cached_tokens is not None else usage.prompt_cache_hit_tokens,
        prompt.cache_write_tokens,
        completion.reasoning_tokens,
    )


def _malformed(body: bytes, reason: str) -> Failure:
    start = " ".join(body[:80].decode("utf-8", "replace").split())
    what = "an empty body" if not body.strip() else f"{reason}; it starts with: {start}"
    return Failure(Kind.MALFORMED, f"the provider's answer is not the JSON that was due: {what}")


def stream_of(body: bytes, *, with_usage: bool) -> bytes:
    """A whole answer as the stream that its client asked for: one chunk a choice, finish, usage, `[DONE]`.

    Args:
        body: A valid answer of chat or completions.
        with_usage: The client asked for the usage chunk.
    """
    answer = msgspec.json.decode(body, type=dict[str, object])
    head: dict[str, object] = {
        name: answer[name] for name in ("id", "created", "model", "system_fingerprint") if name in answer
    }
    chat = answer.get("object") != "text_completion"
    head["object"] = "chat.completion.chunk" if chat else "text_completion"
    events: list[dict[str, object]] = []
    for choice in msgspec.convert(answer.get("choices"), list[dict[str, object]]):
        finish = choice.pop("finish_reason", None) or "stop"
        if chat:
            choice["delta"] = _as_delta(msgspec.convert(choice.pop("message", {}), dict[str, object]))
        events.append({**head, "choices": [{**choice, "finish_reason": None}]})
        last: dict[str, object] = {"index": choice.get("index", 0), "finish_reason": finish}
        events.append({**head, "choices": [{**last, "delta": {}} if chat else {**last, "text": ""}]})
    if with_usage and answer.get("usage"):
        events.append({**head, "choices": [], "usage": answer["usage"]})
    return b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events) + DONE


def _as_delta(message: dict[str, object]) -> dict[str, object]:
    """A message as one delta: the calls of a stream carry their index."""
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    return message
