"""The OpenAI chat dialect, with its elder (`/completions`) and its neighbour (`/embeddings`).

Knows the JSON of requests, answers, stream chunks and usage; knows nothing of sockets or failover.
`read_answer` and `read_event` look at what came from a provider and give facts; the bytes themselves
pass through untouched.

What is as the documentation says is decoded in one call, into a type that nothing else fits. Of all
else every value of interest is decoded on its own, so that one of an unexpected type hides no other:
an event is malformed only if it is not a JSON object.

Source: platform.openai.com/docs/api-reference/chat (read 2026-11). Providers differ from it in ways
that are met here: usage on the finish chunk or beside an empty delta, `reasoning` or
`reasoning_content`, a whole tool call in one delta, `""` for no finish reason yet, an error object
inside a 200 or inside a choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from sidecar.dialects.loose import MALFORMED, read
from sidecar.model.failures import Failure, Kind
from sidecar.model.records import Usage
from sidecar.model.topology import Operation

__all__ = ["DONE", "AnswerFacts", "ChoiceFacts", "EventFacts", "read_answer", "read_event", "stream_of", "usage_of"]

DONE = b"data: [DONE]\n\n"

_ABSENT = msgspec.Raw(b"")
_NOTHING = frozenset({b"", b"null", b'""', b"[]", b"{}", b"false"})
_CHUNK = msgspec.Raw(b'"chat.completion.chunk"')
_PREAMBLE = frozenset({"role", "provider_metadata"})  # what a delta may hold that is no content


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
    total_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek
    cached_tokens: int | None = None  # Moonshot
    cache_read_input_tokens: int | None = None  # Anthropic's words, at several gateways
    cache_creation_input_tokens: int | None = None


class _Choice(msgspec.Struct):
    index: msgspec.Raw = _ABSENT
    delta: msgspec.Raw = _ABSENT
    message: msgspec.Raw = _ABSENT
    text: msgspec.Raw = _ABSENT
    finish_reason: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


class _Body(msgspec.Struct):
    model: msgspec.Raw = _ABSENT
    object: msgspec.Raw = _ABSENT
    type: msgspec.Raw = _ABSENT
    choices: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT  # embeddings
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


class _PlainAnswerChoice(msgspec.Struct, gc=False):
    finish_reason: str | None = None
    error: None = None


class _PlainAnswer(msgspec.Struct, gc=False):
    """Decodes only from an answer that is what the documentation says: nothing of it needs a closer look."""

    choices: list[_PlainAnswerChoice]
    model: str | None = None
    usage: _Usage | None = None
    object: Literal["chat.completion", "text_completion", ""] = ""
    type: None = None
    error: None = None


class AnswerFacts(msgspec.Struct, frozen=True):
    """What a whole answer says of itself."""

    model: str | None
    finish_reason: str | None
    usage: Usage | None
    fault: bool = False  # it holds an error object


class ChoiceFacts(msgspec.Struct, frozen=True, gc=False):
    """What one event says of one choice."""

    index: int = 0
    finish_reason: str | None = None  # "" is none, too
    delta: msgspec.Raw = _ABSENT
    message: msgspec.Raw = _ABSENT
    text: msgspec.Raw = _ABSENT

    @property
    def content(self) -> bool:
        """Whether it holds something that a client would show."""
        if bytes(self.text) not in _NOTHING:
            return True
        delta = _fields(self.message if bytes(self.delta) in _NOTHING else self.delta)
        return any(name not in _PREAMBLE and bytes(value) not in _NOTHING for name, value in delta.items())


class EventFacts(msgspec.Struct, frozen=True, gc=False):
    """What one event of a stream says."""

    model: str | None
    choices: Sequence[ChoiceFacts]
    usage: Usage | None
    usage_only: bool  # the usage chunk: no choices
    fault: bool


class _OrdinaryChoice(ChoiceFacts, frozen=True, gc=False):
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call", ""] | None = None
    error: None = None


class _OrdinaryEvent(msgspec.Struct, gc=False):
    """Decodes only from an event that is what the documentation says, but for what nobody asks of it."""

    choices: list[_OrdinaryChoice] = []
    model: str | None = None
    usage: _Usage | None = None
    object: Literal["chat.completion.chunk", "text_completion", "chat.completion", ""] = ""
    type: None = None
    error: None = None


_DECODE = msgspec.json.Decoder(_Body).decode
_DECODE_PLAIN = msgspec.json.Decoder(_PlainAnswer).decode
_DECODE_ORDINARY = msgspec.json.Decoder(_OrdinaryEvent).decode
_DECODE_CHOICES = msgspec.json.Decoder(list[_Choice]).decode
_DECODE_TEXT = msgspec.json.Decoder(str).decode
_DECODE_INDEX = msgspec.json.Decoder(int).decode
_DECODE_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_DECODE_LIST = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_DECODE_USAGE = msgspec.json.Decoder(_Usage | None).decode


def read_answer(body: bytes, operation: Operation) -> AnswerFacts | Failure:
    """The facts of a whole answer, or why it is none."""
    return (operation is not Operation.EMBEDDINGS and _plain_facts(body)) or _all_facts(body, operation)


def _plain_facts(body: bytes) -> AnswerFacts | None:
    """The facts of an answer as it should be, at a third of the cost; None when it must be looked into."""
    try:
        value = _DECODE_PLAIN(body)
    except MALFORMED:
        return None
    choices = value.choices
    if not choices or "error" in [choice.finish_reason for choice in choices]:
        return None
    return AnswerFacts(value.model or None, choices[0].finish_reason or None, _counted(value.usage))


def _all_facts(body: bytes, operation: Operation) -> AnswerFacts | Failure:
    try:
        value = read(_DECODE, body)
    except MALFORMED as error:
        return _malformed(body, str(error))
    model = _text(value.model)
    if operation is Operation.EMBEDDINGS:
        if _fault(value, ()):
            return AnswerFacts(model, None, None, fault=True)
        if bytes(value.data) in _NOTHING:
            return Failure(Kind.MALFORMED, 'the provider\'s answer has no "data"')
        return AnswerFacts(model, None, usage_of(value.usage))
    choices = _choices(value.choices)
    if _fault(value, choices):
        return AnswerFacts(model, None, None, fault=True)
    if not choices:
        return Failure(Kind.MALFORMED, 'the provider\'s answer has no "choices"')
    return AnswerFacts(model, _text(choices[0].finish_reason), usage_of(value.usage))


def read_event(data: bytes) -> EventFacts | None:
    """The facts of one event's data, or None when it is not a JSON object."""
    try:
        event = _DECODE_ORDINARY(data)
        data.decode()  # the decoder does not look at the bytes of strings that it skips
    except MALFORMED:
        return _all_event_facts(data)
    usage = _counted(event.usage)
    if usage is None and event.usage is not None:
        return _all_event_facts(data)
    return EventFacts(event.model or None, event.choices, usage, usage is not None and not event.choices, fault=False)


def _all_event_facts(data: bytes) -> EventFacts | None:
    try:
        value = read(_DECODE, data)
        data.decode()
    except MALFORMED:
        return None
    choices = _choices(value.choices)
    return EventFacts(
        model=_text(value.model),
        choices=[
            ChoiceFacts(_index(each.index), _text(each.finish_reason), each.delta, each.message, each.text)
            for each in choices
        ],
        usage=usage_of(value.usage),
        usage_only=not choices and bytes(value.usage) not in _NOTHING,
        fault=_fault(value, choices),
    )


def _fault(value: _Body, choices: Sequence[_Choice]) -> bool:
    """Whether it tells of an error, in any of the places where that is done."""
    if bytes(value.error) not in _NOTHING or b'"error"' in (bytes(value.object), bytes(value.type)):
        return True
    return any(bytes(choice.error) not in _NOTHING or bytes(choice.finish_reason) == b'"error"' for choice in choices)


def _choices(raw: msgspec.Raw) -> Sequence[_Choice]:
    try:
        return read(_DECODE_CHOICES, bytes(raw)) if bytes(raw) else ()
    except MALFORMED:
        return ()


def _text(raw: msgspec.Raw) -> str | None:
    try:
        return read(_DECODE_TEXT, bytes(raw)) or None
    except MALFORMED:
        return None


def _index(raw: msgspec.Raw) -> int:
    """A choice without a number is the first: many servers know no other."""
    try:
        return _DECODE_INDEX(raw)
    except MALFORMED:
        return 0


def _fields(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The top level of an object; of anything else, nothing."""
    try:
        return read(_DECODE_FIELDS, bytes(raw))
    except MALFORMED:
        return {}


def usage_of(raw: msgspec.Raw | bytes) -> Usage | None:
    """A usage object in the house's convention; None when there is none, or it cannot be read.

    Where the total is more than its parts (xAI, Google), the difference is what the model thought.
    """
    try:
        usage = _DECODE_USAGE(raw)
    except MALFORMED:
        return None
    return _counted(usage)


def _counted(usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    given, output, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
    if given is None and output is None:
        return None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    reasoning = None if completion is None else completion.reasoning_tokens
    if given is not None and output is not None and total is not None and total > given + output:
        hidden = total - given - output
        output, reasoning = output + hidden, reasoning or hidden
    read, written = (None, None) if prompt is None else (prompt.cached_tokens, prompt.cache_write_tokens)
    if read is None:
        read = _first(usage.prompt_cache_hit_tokens, usage.cached_tokens, usage.cache_read_input_tokens)
    return Usage(given, output, read, usage.cache_creation_input_tokens if written is None else written, reasoning)


def _first(*tokens: int | None) -> int | None:
    for each in tokens:
        if each is not None:
            return each
    return None


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
    answer = read(_DECODE_FIELDS, body)
    head: dict[str, object] = {
        name: answer[name] for name in ("id", "created", "model", "system_fingerprint") if name in answer
    }
    chat = bytes(answer.get("object", _ABSENT)) != b'"text_completion"'
    head["object"] = _CHUNK if chat else answer["object"]
    events: list[dict[str, object]] = []
    for choice in read(_DECODE_LIST, bytes(answer["choices"])):
        finish = _text(choice.pop("finish_reason", _ABSENT)) or "stop"
        said = {"delta": _as_delta(_fields(choice.pop("message", _ABSENT)))} if chat else {}
        events.append({**head, "choices": [{**choice, **said, "finish_reason": None}]})
        last: dict[str, object] = {"index": choice.get("index", 0), "finish_reason": finish}
        events.append({**head, "choices": [{**last, "delta": {}} if chat else {**last, "text": ""}]})
    if with_usage and bytes(answer.get("usage", _ABSENT)) not in _NOTHING:
        events.append({**head, "choices": [], "usage": answer["usage"]})
    return b"".join(map(_event, events)) + DONE


def _event(value: Mapping[str, object]) -> bytes:
    """One event on one line: what a server wrote over several lines may be in it."""
    return b"data: " + msgspec.json.format(msgspec.json.encode(value), indent=-1) + b"\n\n"


def _as_delta(message: Mapping[str, msgspec.Raw]) -> dict[str, object]:
    """A message as one delta: the calls of a stream carry their index."""
    delta: dict[str, object] = dict(message)
    try:
        calls = read(_DECODE_LIST, bytes(message.get("tool_calls", _ABSENT)))
    except MALFORMED:
        return delta
    delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    return delta
