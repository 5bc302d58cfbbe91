"""How one attempt is asked and how its answer is read: the one place that knows when bytes pass untouched.

    the provider has the client's own endpoint     the bytes pass, only looked at     `Relay`
    it has another one of OpenAI's                 legacy completions by way of chat  `Relay`, reshaped
    it speaks another dialect                      by way of the hub                  `Translation`

A form is made anew for every attempt from the original request, so that no target sees what was done for
another. Pure: knows no socket and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from sidecar.dialects.anthropic_thoughts import without_foreign_thoughts
from sidecar.dialects.body import parsed, splice, spoken
from sidecar.dialects.dialect import Decoder, Encoder
from sidecar.dialects.fitting import fit
from sidecar.dialects.gemini_count import count_request
from sidecar.dialects.gemini_embeddings import (
    batch_request,
    gemini_answer,
    gemini_request,
    one_of_batch,
    openai_answer,
    openai_request,
)
from sidecar.dialects.loose import json_object
from sidecar.dialects.openai_completions import chat_peek, completion_events, completion_of
from sidecar.dialects.openai_errors import decode_failure
from sidecar.dialects.openai_facts import read_answer, stream_of
from sidecar.dialects.openai_reading import answer_of
from sidecar.dialects.openai_responses_items import MINTED
from sidecar.dialects.relay import Tap
from sidecar.dialects.sse import parse, split
from sidecar.dialects.table import codec, provider_codec, provider_errors
from sidecar.dialects.translate import EventTap
from sidecar.model.events import Event, Fault, Start, Stop, fold, unfold
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubRequest, HubResponse, Loss, Wire
from sidecar.model.records import Usage
from sidecar.model.request import Call, Peek
from sidecar.model.topology import Operation, Params
from sidecar.model.ways import COMMENTLESS, CONVERSATIONS, DIALECT_OF

__all__ = ["Form", "PlainRelay", "StreamTap", "Whole", "form_of", "plain_relay", "takes_long"]

_OF_OPENAI = frozenset({Operation.CHAT, Operation.COMPLETIONS, Operation.EMBEDDINGS})
_LENT = MINTED.encode()
_AT_ONCE_BYTES = 64 * 1024  # a conversation of so much is translated in a few milliseconds, of a few texts in one
StreamTap = Tap | EventTap
_Head = TypeVar("_Head", HubResponse, Start)


class Whole(msgspec.Struct, frozen=True):
    """An answer that came whole, as the client gets it, and what it says of itself."""

    body: bytes
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    id: str | None = None


class Form(Protocol):
    """One attempt's way to ask and to read."""

    body: bytes  # of the request
    losses: list[Loss]
    translates: bool  # the provider is asked in another form than the client asked in

    def tap(self) -> StreamTap:
        """What a stream goes through."""

    def shaped(self, frames: bytes) -> bytes:
        """What has passed the tap, as the client wants it."""

    def whole(self, body: bytes, *, streamed: bool) -> Whole | Failure:
        """An answer that has come whole; as a stream's bytes if that is what the client asked for.

        Args:
            body: As it came.
            streamed: It came as server-sent events.
        """


def form_of(
    call: Call, endpoint: Operation, wire: Wire, params: Params, *, now_utc: Callable[[], float] | None = None
) -> Form:
    """The form for one attempt.

    Args:
        call: The client's request.
        endpoint: By which the provider is asked.
        wire: The target.
        params: What the provider's config says of the top level.
        now_utc: Seconds since 1970, for answers in a dialect that tells no time; None: they stay without.

    Raises:
        ValidationError: When the request itself cannot be understood.
        Untranslatable: When the provider's dialect has no way to ask this.
    """
    if DIALECT_OF[endpoint] is call.dialect and endpoint in _OF_OPENAI:
        return _OpenAiRelay(call, endpoint, wire, params)
    if endpoint not in CONVERSATIONS:
        return _object_form(call, endpoint, wire, params)
    if endpoint is call.operation:
        return _Relay(call, endpoint, wire, params)
    return Translation(call, endpoint, wire, params, requested(call), now_utc=now_utc)


def takes_long(call: Call, endpoint: Operation, *, anew: bool = False) -> bool:
    """Whether to make the form is the work of milliseconds: much is translated, or put together anew."""
    return call.bytes_in > _AT_ONCE_BYTES and (anew or (endpoint is not call.operation and endpoint in CONVERSATIONS))


def requested(call: Call) -> HubRequest:
    """The client's request in the hub.

    Raises:
        ValidationError: When it cannot be understood.
    """
    peek = chat_peek(call.peek) if call.operation is Operation.COMPLETIONS else call.peek
    return codec(call.dialect).decode_request(parsed(peek.fields), peek.model, stream=peek.stream)


def _spliced(peek: Peek, endpoint: Operation, wire: Wire, params: Params, losses: list[Loss], *, usage: bool) -> bytes:
    """The client's own body, fitted to the target."""
    if wire.quirks:
        fields = dict(peek.fields)
        fit(fields, endpoint, wire, losses)
        peek = msgspec.structs.replace(peek, fields=fields)
    messages = peek.fields.get("messages") if endpoint is Operation.MESSAGES else None
    kept = None if messages is None else without_foreign_thoughts(bytes(messages), wire.model, losses)
    if kept is not None:
        peek = msgspec.structs.replace(peek, fields={**peek.fields, "messages": msgspec.Raw(kept)})
    return splice(peek, wire.model, params, operation=endpoint, add_usage=usage)


class PlainRelay:
    """Chat, completions and embeddings to a provider that has them and needs no fitting: they pass, looked at.

    It keeps nothing of a call but whether a stream was asked for, and one with usage: one serves all that are alike.
    """

    translates = False

    def __init__(self, call: Call, endpoint: Operation, wire: Wire, params: Params) -> None:
        self.body = b""  # see `asked`
        self.losses: list[Loss] = []
        self._endpoint = endpoint
        self._model = wire.model
        self._params = params
        self._streams, self._wants_usage = call.stream, call.peek.wants_usage
        self._adds_usage = self._streams and not self._wants_usage

    def asked(self, peek: Peek) -> bytes:
        """The body of the request for a call."""
        return splice(peek, self._model, self._params, operation=self._endpoint, add_usage=self._adds_usage)

    def tap(self) -> StreamTap:
        """See `Form`."""
        return Tap(withhold_usage=self._adds_usage)

    def shaped(self, frames: bytes) -> bytes:
        """See `Form`."""
        return frames

    def whole(self, body: bytes, *, streamed: bool) -> Whole | Failure:
        """See `Form`."""
        if streamed:
            body = answer_of(body) or b""
        facts = read_answer(body, self._endpoint)
        if isinstance(facts, Failure):
            return facts
        if facts.fault:
            return decode_failure(200, {}, body, 0.0)
        if self.translates:
            body = completion_of(body)
        if self._streams:
            body = stream_of(body, with_usage=self._wants_usage)
        return Whole(body, facts.model, facts.finish_reason, facts.usage)


def plain_relay(call: Call, endpoint: Operation, wire: Wire, params: Params) -> PlainRelay | None:
    """The form for all calls that differ from this one in what they say only; None if each needs one of its own."""
    relays = endpoint is call.operation and endpoint in _OF_OPENAI
    return PlainRelay(call, endpoint, wire, params) if relays and not wire.quirks else None


class _OpenAiRelay(PlainRelay):
    """The same with fitting, and completions by way of chat."""

    def __init__(self, call: Call, endpoint: Operation, wire: Wire, params: Params) -> None:
        super().__init__(call, endpoint, wire, params)
        self.translates = endpoint is not call.operation
        peek = chat_peek(call.peek) if self.translates else call.peek
        self.body = _spliced(peek, endpoint, wire, params, self.losses, usage=self._adds_usage)

    def shaped(self, frames: bytes) -> bytes:
        return completion_events(frames) if self.translates and frames else frames


def _object_form(call: Call, endpoint: Operation, wire: Wire, params: Params) -> _Objects:
    """Counts of tokens and vectors: one JSON object to the provider, one back."""
    fields = parsed(call.peek.fields)
    losses: list[Loss] = []
    match call.operation, endpoint:
        case Operation.GEMINI_COUNT_TOKENS, Operation.GEMINI_COUNT_TOKENS:
            return _Objects(endpoint, count_request(fields, wire.model), params, losses)
        case Operation.GEMINI_EMBEDDINGS, Operation.GEMINI_EMBEDDINGS:
            body = batch_request(fields, wire.model, single=call.single)
            return _Objects(endpoint, body, params, losses, one_of_batch if call.single else None)
        case Operation.GEMINI_EMBEDDINGS, Operation.EMBEDDINGS:
            body = openai_request(fields, wire.model, losses, single=call.single)
            answer = partial(gemini_answer, single=call.single)
            return _Objects(endpoint, body, params, losses, answer, translates=True)
        case Operation.EMBEDDINGS, Operation.GEMINI_EMBEDDINGS:
            body = gemini_request(fields, wire.model, losses)
            packed = fields.get("encoding_format") == "base64"
            answer = partial(openai_answer, model=wire.model, as_base64=packed)
            return _Objects(endpoint, body, params, losses, answer, translates=True)
    return _Objects(endpoint, {**fields, "model": wire.model}, params, losses)


class _Objects:
    """One JSON object each way.

    Args:
        endpoint: By which the provider is asked.
        body: What it is asked.
        params: What its config says of the top level.
        losses: What could not be said.
        answer: What its answer is for the client; None: the answer itself.
        translates: The provider is asked in another dialect.
    """

    def __init__(
        self,
        endpoint: Operation,
        body: dict[str, Any],
        params: Params,
        losses: list[Loss],
        answer: Callable[[Mapping[str, Any]], Mapping[str, Any] | Failure] | None = None,
        *,
        translates: bool = False,
    ) -> None:
        self.body = spoken(body, params)
        self.losses = losses
        self.translates = translates
        self._dialect = DIALECT_OF[endpoint]
        self._answer = answer

    def tap(self) -> StreamTap:
        raise AssertionError("no such answer is streamed")

    def shaped(self, frames: bytes) -> bytes:
        return frames

    def whole(self, body: bytes, *, streamed: bool) -> Whole | Failure:
        value = None if streamed else json_object(body)
        if value is None:
            return _no_json(body)
        if value.get("error"):
            return provider_errors(self._dialect).decode_failure(200, {}, body, 0.0)
        if self._answer is None:
            return Whole(body)
        answer = self._answer(value)
        return answer if isinstance(answer, Failure) else Whole(msgspec.json.encode(answer))


class _Conversation:
    """What a relay and a translation have in common: answers are read as events and responses."""

    translates = False

    def __init__(self, call: Call, endpoint: Operation) -> None:
        self.losses: list[Loss] = []
        self._call = call
        self._theirs = DIALECT_OF[endpoint]
        self._their_codec = provider_codec(self._theirs)
        self._our_codec = codec(call.dialect)
        self._completes = call.operation is Operation.COMPLETIONS

    def shaped(self, frames: bytes) -> bytes:
        return completion_events(frames) if self._completes and frames else frames

    def whole(self, body: bytes, *, streamed: bool) -> Whole | Failure:
        response = self._gathered(body) if streamed else self._response(body)
        if isinstance(response, Failure):
            return response
        return Whole(
            self._written(body, response, streamed=streamed),
            response.model or None,
            response.stop_native or response.stop.value,
            response.usage,
            response.id,
        )

    def _response(self, body: bytes) -> HubResponse | Failure:
        value = json_object(body)
        return _no_json(body) if value is None else self._their_codec.decode_response(value)

    def _gathered(self, stream: bytes) -> HubResponse | Failure:
        """The answer that a whole stream comes to."""
        return fold(_events(self._decoder(), stream))

    def _decoder(self) -> Decoder:
        return self._their_codec.StreamDecoder()

    def _written(self, body: bytes, response: HubResponse, *, streamed: bool) -> bytes:
        """The answer as the client asked for it."""
        if self._call.stream:
            return self.shaped(self._encoder().give(list(unfold(response))))
        if not self.translates and not streamed:
            return body
        written = msgspec.json.encode(self._our_codec.encode_response(response, self.losses))
        return completion_of(written) if self._completes else written

    def _encoder(self) -> Encoder:
        return self._our_codec.StreamEncoder(self.losses, wants_usage=self._call.peek.wants_usage)


class _Relay(_Conversation):
    """A conversation in a dialect that both sides speak: bytes pass, events are looked at."""

    def __init__(self, call: Call, endpoint: Operation, wire: Wire, params: Params) -> None:
        super().__init__(call, endpoint)
        if endpoint is Operation.RESPONSES and _LENT in bytes(call.peek.fields.get("input", b"")):
            # Thoughts of another vendor, which a client hands back as the Responses that they were given as.
            fields = self._their_codec.encode_request(requested(call), wire, self.losses)
            self.body = spoken(fields, params)
        else:
            self.body = _spliced(call.peek, endpoint, wire, params, self.losses, usage=False)

    def tap(self) -> StreamTap:
        return EventTap(self._theirs, self._decoder(), None)


class Translation(_Conversation):
    """A conversation between two dialects.

    Args:
        call: The client's request.
        endpoint: By which the provider is asked.
        wire: The target.
        params: What the provider's config says of the top level.
        request: What is asked.
        now_utc: See `form_of`.
    """

    translates = True

    def __init__(
        self,
        call: Call,
        endpoint: Operation,
        wire: Wire,
        params: Params,
        request: HubRequest,
        *,
        now_utc: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(call, endpoint)
        self.encoder: Encoder | None = None  # writes the stream for the client; None: a new one
        fields = self._their_codec.encode_request(
            msgspec.structs.replace(request, wants_usage=request.stream), wire, self.losses
        )
        self.body = spoken(fields, params)
        self._model = wire.model
        self._now_utc = now_utc

    def _response(self, body: bytes) -> HubResponse | Failure:
        response = super()._response(body)
        return response if isinstance(response, Failure) else self._completed(response)

    def _decoder(self) -> Decoder:
        return _Completing(super()._decoder(), self._completed)

    def _completed(self, head: _Head) -> _Head:
        """What clients look for and not every dialect tells: an id, the model, and when it was."""
        created_s = head.created_s
        if created_s is None and self._now_utc is not None:
            created_s = int(self._now_utc())
        id_, model = head.id or self._call.request_id, head.model or self._model
        return msgspec.structs.replace(head, id=id_, model=model, created_s=created_s)

    def tap(self) -> StreamTap:
        # Google's SDK takes every line of a stream for data.
        comments = self._call.dialect not in COMMENTLESS
        return EventTap(self._theirs, self._decoder(), self._encoder(), comments=comments)

    def _encoder(self) -> Encoder:
        return self.encoder or super()._encoder()


class _Completing:
    """A decoder of streams whose beginning may not tell all that clients look for."""

    def __init__(self, decoder: Decoder, completed: Callable[[Start], Start]) -> None:
        self._decoder = decoder
        self._completed = completed

    def take(self, name: str | None, value: Mapping[str, Any]) -> Sequence[Event]:
        return self._told(self._decoder.take(name, value))

    def end(self, *, marked: bool) -> Sequence[Event]:
        return self._told(self._decoder.end(marked=marked))

    def _told(self, events: Sequence[Event]) -> Sequence[Event]:
        if not events or not isinstance(events[0], Start):
            return events
        return [self._completed(events[0]), *events[1:]]


def _events(decoder: Decoder, stream: bytes) -> Iterable[Event]:
    """Every event of a stream that has come whole."""
    for frame in split(stream):
        data = parse(frame).data
        if data is not None and data.strip() == b"[DONE]":
            yield from decoder.end(marked=True)
            return
        value = json_object(data or b"")
        for event in () if value is None else decoder.take(parse(frame).event, value):
            yield event
            if isinstance(event, Stop | Fault):
                return
    yield from decoder.end(marked=False)


def _no_json(body: bytes) -> Failure:
    start = " ".join(body[:80].decode("utf-8", "replace").split())
    what = f"it starts with: {start}" if start else "it is empty"
    return Failure(Kind.MALFORMED, f"the provider's answer is not the JSON that was due; {what}")
