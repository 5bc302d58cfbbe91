"""The calls of the Python API: from messages to a `Call`, from an `Answer` to an `LLMResponse`.

They walk the corridor that HTTP requests walk: the messages become the body that a client would have
sent, the bytes that a client would have got are read. So a chat from Python and one over a socket fail
over, are logged and are counted alike.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from sidecar.config.routes import TargetError, target_named
from sidecar.dialects.body import peek
from sidecar.dialects.loose import event_of
from sidecar.dialects.openai_reading import Reading, ResponseNormalizer, read_message
from sidecar.dialects.sse import Framer, split
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
    _, said = _messages(messages)
    return await _whole(
        manager, _call(manager, Operation.CHAT, {**kwargs, "messages": said, "stream": False}, provider)
    )


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
    shown, said = _messages(messages)
    body = {**kwargs, "messages": said, "stream": True, "stream_options": {"include_usage": True}}
    call = _call(manager, Operation.CHAT, body, provider)
    callbacks = Callbacks(handlers, call.request_id)
    began = monotonic()
    answer = manager.answer(call)
    stream = _Stream(answer, manager.normalizer)
    gone = True
    try:
        await callbacks.started(shown, **kwargs)
        await answer.open()
        _check(answer)
        data = answer.body
        while data:
            for chunk in stream.chunks(data):
                handed = monotonic()
                if chunk.delta:
                    await callbacks.token(chunk)
                yield chunk
                answer.client_waited(monotonic() - handed)
            data = await answer.read()
        _check(answer, partial=stream.reading.content)
        gone = False
    except LLMError as error:
        gone = False
        await callbacks.failed(error)
        raise
    finally:
        answer.close(bytes_out=stream.size_bytes, gone=gone)
    await callbacks.ended(_response(manager, answer, stream.reading, call.request_id, monotonic() - began))


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


class _Stream:
    """The chunks of one streamed answer.

    Args:
        answer: Whose bytes are read; open.
        normalizer: Names the finish reason.
    """

    def __init__(self, answer: Answer, normalizer: ResponseNormalizer) -> None:
        self._answer = answer
        self._normalizer = normalizer
        self._framer = Framer()
        self._count = 0
        self.size_bytes = 0
        self.reading = Reading()

    def chunks(self, data: bytes) -> Iterator[LLMResponseChunk]:
        """Those that these bytes complete."""
        self.size_bytes += len(data)
        for frame in split(self._framer.feed(data)):
            event = _event(frame)
            if event is not None:
                yield self._chunk(event)

    def _chunk(self, event: Mapping[str, Any]) -> LLMResponseChunk:
        reading = self.reading
        delta, call_deltas = reading.take(event)
        provider, _, model = (self._answer.record.target or "").partition("/")
        chunk = LLMResponseChunk(
            content=reading.content,
            delta=delta,
            provider=provider,
            model=reading.model or model,
            chunk_index=self._count,
            timestamp=datetime.now(UTC),
            finish_reason=self._normalizer.finish_reason(reading.finish_reason, refused=bool(reading.refusal)),
            tool_calls=reading.tool_calls if reading.finish_reason else [],
            tool_call_chunks=call_deltas,
            usage=reading.usage,
            metadata=reading.metadata,
        )
        self._count += 1
        return chunk


def _event(frame: bytes) -> dict[str, Any] | None:
    """A chunk's JSON; None for the mark of the end, a comment, and the error that `Answer.failure` tells better."""
    event = event_of(frame)
    return None if event is None or event.get("error") else event


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


def _check(answer: Answer, *, partial: str | None = None) -> None:
    if answer.failure is not None:
        raise error_of(answer.failure, answer.attempts, targets=answer.targets, partial=partial)


def error_of(
    failure: Failure, attempts: Sequence[Mapping[str, Any]], *, targets: int, partial: str | None = None
) -> LLMError:
    """The exception for a request that failed.

    A failure that would be the same everywhere, that had nowhere else to go, or that came after some
    of the answer is raised as what it is; one that outlived a whole chain as `AllProvidersFailedError`.
    """
    alone = POLICY[failure.kind].next is Next.STOP and failure.kind is not Kind.NO_TARGET
    if alone or targets <= 1 or partial is not None:
        return error_for(failure, attempts=attempts, partial=partial)
    return AllProvidersFailedError(failure.message, attempts=attempts, failure=failure)


def _call(manager: LLMManager, operation: Operation, body: dict[str, Any], provider: str | None) -> Call:
    if provider is None:
        body["model"] = body.get("model") or _DEFAULT_ROUTE
    else:
        body["model"] = _only(manager, provider, body.get("model"))
    try:
        encoded = msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValidationError(f"a request holds JSON values only: {error}") from None
    return Call(
        operation,
        Dialect.OPENAI_CHAT,
        peek(encoded, operation),
        uuid.uuid4().hex,
        strict=provider is not None,
        bytes_in=len(encoded),
    )


def _only(manager: LLMManager, provider: str, model: str | None) -> str:
    """The one target that `provider` names, beside a `model` or alone."""
    providers = manager.snapshot.providers
    if model and provider in providers:
        provider = f"{provider}/{model.removeprefix(f'{provider}/')}"
    try:
        return target_named(provider, providers).key
    except TargetError as error:
        raise ConfigurationError(str(error)) from None


def _messages(messages: Messages) -> tuple[list[Message], list[Message | dict[str, Any]]]:
    """The messages as values, and as what is sent: a dict goes as it is, unknown fields included.

    Raises:
        ValidationError: When one is not of the shape.
    """
    said = [message if isinstance(message, Message) else _as_dict(message) for message in messages]
    try:
        return [each if isinstance(each, Message) else msgspec.convert(each, Message) for each in said], said
    except (msgspec.ValidationError, TypeError) as error:
        raise ValidationError(f"messages must be Message values or dicts of their shape: {error}") from None


def _as_dict(message: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(message)
    except (TypeError, ValueError):
        raise ValidationError(f"a message must be a Message or a dict, not {type(message).__name__}") from None
