"""The calls of the Python API: from messages to a `Call`, from an `Answer` to an `LLMResponse`.

They walk the corridor that HTTP requests walk: the messages become the body that a client would have
sent, the bytes that a client would have got are read. So a chat from Python and one over a socket fail
over, are logged and are counted alike.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from sidecar.dialects.body import peek
from sidecar.dialects.openai_reading import Reading, read_message
from sidecar.dialects.sse import Framer, parse, split
from sidecar.manager.callbacks import BaseCallbackHandler, Callbacks
from sidecar.model.chat import LLMResponse, LLMResponseChunk, Message
from sidecar.model.errors import AllProvidersFailedError, ConfigurationError, LLMError, ValidationError, error_for
from sidecar.model.failures import POLICY, Failure, Kind, Next
from sidecar.model.request import Call
from sidecar.model.topology import Dialect, Operation

if TYPE_CHECKING:
    from sidecar.manager.answer import Answer
    from sidecar.manager.manager import LLMManager

__all__ = ["chat", "chat_stream", "completion", "error_of"]

_DEFAULT_ROUTE = "default"

Messages = Sequence[Message | Mapping[str, Any]]


async def chat(manager: LLMManager, messages: Messages, provider: str | None, kwargs: Mapping[str, Any]) -> LLMResponse:
    """The whole answer to a conversation."""
    body = {**kwargs, "messages": _messages(messages), "stream": False}
    return await _whole(manager, _call(manager, Operation.CHAT, body, provider))


async def completion(manager: LLMManager, prompt: str, provider: str | None, kwargs: Mapping[str, Any]) -> LLMResponse:
    """The completion of a text."""
    body = {**kwargs, "prompt": prompt, "stream": False}
    return await _whole(manager, _call(manager, Operation.COMPLETIONS, body, provider))


async def chat_stream(
    manager: LLMManager,
    messages: Messages,
    provider: str | None,
    handlers: Sequence[BaseCallbackHandler],
    kwargs: Mapping[str, Any],
) -> AsyncGenerator[LLMResponseChunk, None]:
    """The answer to a conversation, chunk by chunk."""
    said = _messages(messages)
    body = {**kwargs, "messages": said, "stream": True, "stream_options": {"include_usage": True}}
    call = _call(manager, Operation.CHAT, body, provider)
    callbacks = Callbacks(handlers, call.request_id)
    await callbacks.started(said, **kwargs)
    began = monotonic()
    answer = manager.answer(call)
    reading = Reading()
    gone = True
    try:
        await answer.open()
        _check(answer)
        async for chunk in _chunks(manager, answer, reading):
            if chunk.delta:
                await callbacks.token(chunk)
            yield chunk
        _check(answer, reading.content)
        gone = False
    except LLMError as error:
        gone = False
        await callbacks.failed(error)
        raise
    finally:
        answer.close(gone=gone)
    await callbacks.ended(_response(manager, answer, reading, call.request_id, monotonic() - began))


async def _whole(manager: LLMManager, call: Call) -> LLMResponse:
    began = monotonic()
    answer = manager.answer(call)
    gone = True
    try:
        await answer.open()
        gone = False
        _check(answer)
        reading = read_message(answer.body)
        return _response(manager, answer, reading, call.request_id, monotonic() - began)
    finally:
        answer.close(bytes_out=len(answer.body), gone=gone)


async def _chunks(manager: LLMManager, answer: Answer, reading: Reading) -> AsyncGenerator[LLMResponseChunk, None]:
    provider, _, model = (answer.record.target or "").partition("/")
    framer = Framer()
    index = 0
    data = answer.body
    while data:
        for frame in split(framer.feed(data)):
            event = _event(frame)
            if event is None or "error" in event:
                continue
            delta, call_deltas = reading.take(event)
            yield LLMResponseChunk(
                content=reading.content,
                delta=delta,
                provider=provider,
                model=reading.model or model,
                chunk_index=index,
                timestamp=datetime.now(UTC),
                finish_reason=manager.normalizer.finish_reason(reading.finish_reason, refused=bool(reading.refusal)),
                tool_calls=reading.tool_calls if reading.finish_reason else [],
                tool_call_chunks=call_deltas,
                usage=reading.usage,
                metadata=reading.metadata,
            )
            index += 1
        data = await answer.read()


def _event(frame: bytes) -> dict[str, Any] | None:
    data = parse(frame).data
    if data is None or data.strip() == b"[DONE]":
        return None
    return msgspec.json.decode(data, type=dict[str, Any])


def _response(manager: LLMManager, answer: Answer, reading: Reading, request_id: str, duration_s: float) -> LLMResponse:
    provider, _, model = (answer.record.target or "").partition("/")
    return LLMResponse(
        content=reading.content,
        provider=provider,
        model=reading.model or model,
        finish_reason=manager.normalizer.finish_reason(reading.finish_reason, refused=bool(reading.refusal)),
        native_finish_reason=reading.finish_reason,
        tool_calls=reading.tool_calls,
        usage=reading.usage,
        metadata={**reading.metadata, "attempts": answer.attempts},
        request_id=request_id,
        duration=duration_s,
        timestamp=datetime.now(UTC),
    )


def _check(answer: Answer, partial: str | None = None) -> None:
    if answer.failure is not None:
        raise error_of(answer.failure, answer.attempts, targets=answer.targets, partial=partial)


def error_of(
    failure: Failure, attempts: Sequence[Mapping[str, Any]], *, targets: int, partial: str | None = None
) -> LLMError:
    """The exception for a request that failed.

    A failure that would be the same everywhere, or that had nowhere else to go, is raised as what it
    is; one that outlived a whole chain as `AllProvidersFailedError`.
    """
    alone = POLICY[failure.kind].next is Next.STOP and failure.kind is not Kind.NO_TARGET
    if alone or targets <= 1 or partial:
        return error_for(failure, attempts=attempts, partial=partial)
    return AllProvidersFailedError(failure.message, attempts=attempts, failure=failure)


def _call(manager: LLMManager, operation: Operation, body: dict[str, Any], provider: str | None) -> Call:
    body["model"] = _requested(manager, provider, body.get("model"))
    encoded = msgspec.json.encode(body)
    return Call(operation, Dialect.OPENAI_CHAT, peek(encoded, operation), uuid.uuid4().hex, bytes_in=len(encoded))


def _requested(manager: LLMManager, provider: str | None, model: str | None) -> str:
    """What the body asks for: a route, or strictly one target."""
    if provider is None:
        return model or _DEFAULT_ROUTE
    name, _, own_model = provider.partition("/")
    known = manager.snapshot.providers
    if name not in known:
        raise ConfigurationError(f'unknown provider "{name}"; known: {", ".join(sorted(known)) or "none"}')
    wanted = own_model or (model or "").removeprefix(f"{name}/") or known[name].model
    if not wanted:
        raise ConfigurationError(
            f'"{name}" has no default model: set providers.{name}.model, or name one as "{name}/MODEL"'
        )
    return f"{name}/{wanted}"


def _messages(messages: Messages) -> list[Message]:
    try:
        return [
            message if isinstance(message, Message) else msgspec.convert(dict(message), Message) for message in messages
        ]
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise ValidationError(f"messages must be Message values or dicts of their shape: {error}") from None
