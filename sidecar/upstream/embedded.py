"""A provider that lives in this process: for the first run, for demos and for tests.

Knows which model plays which behaviour and when bytes come; what they say is `embedded_answers`'.
It is a `Transport` like any other, so an answer of it, and a fault too, takes the very way a real
provider's takes: classification, failover, breaker, log line. No socket, no key, no network.

The model's name is the behaviour (`MODELS` says what each does), so a route can be taught in YAML:
`chain: [embedded/down, embedded/ok]` shows a failover to somebody who has no key yet.

A body is a script of steps: bytes, or a pause in seconds. Bytes between two pauses are handed out
by one `read`, as bytes that came at once would be.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from sidecar.model.errors import ConfigurationError
from sidecar.model.topology import Provider
from sidecar.upstream.embedded_answers import (
    Answer,
    Chat,
    Completion,
    Embedding,
    Refusal,
    Refused,
    Stamp,
    model_list,
)
from sidecar.upstream.transport import Breach, Reply, TransportError, UpstreamRequest

__all__ = ["MODELS", "EmbeddedTransport", "Pace"]

_FOR_EVER = math.inf
_JSON, _SSE = "application/json", "text/event-stream; charset=utf-8"


class Pace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fast answers come: the provider's `options`. At once, unless said otherwise."""

    words_per_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    first_token_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0


_AT_ONCE = Pace()


class Midway(StrEnum):
    """What happens in the middle of an answer."""

    CUT = "cut"  # a stream ends without a finish reason, a plain body before its length
    STALL = "stall"  # nothing more, for ever
    MALFORMED = "malformed"  # one torn chunk between good ones; half a JSON when plain


class Behaviour(msgspec.Struct, frozen=True):
    """What a model does instead of just answering."""

    refusal: Refusal | None = None
    every: int = 1  # the refusal meets each call whose number is a multiple of this
    breach: Breach | None = None  # before any head
    silent: bool = False  # no head ever comes
    midway: Midway | None = None
    pace: Pace | None = None  # its own, whatever the provider's


MODELS: Mapping[str, Behaviour] = MappingProxyType(
    {
        "ok": Behaviour(),
        "slow": Behaviour(pace=Pace(words_per_s=8, first_token_s=2)),
        "flaky": Behaviour(Refusal(500, "The model failed on this call; the next one works.", "server_error"), every=2),
        "down": Behaviour(Refusal(503, "The model is down.", "server_error", "service_unavailable")),
        "reset": Behaviour(breach=Breach.RESET),
        "silent": Behaviour(silent=True),
        "cut": Behaviour(midway=Midway.CUT),
        "stall": Behaviour(midway=Midway.STALL),
        "malformed": Behaviour(midway=Midway.MALFORMED),
        "ratelimited": Behaviour(
            Refusal(429, "Too many requests.", "rate_limit_error", "rate_limit_exceeded", retry_after_s=2)
        ),
        "context": Behaviour(
            Refusal(
                400,
                "The messages are longer than this model's maximum context length.",
                code="context_length_exceeded",
                param="messages",
            )
        ),
        "policy": Behaviour(
            Refusal(400, "The request was refused by the safety system.", code="content_policy_violation")
        ),
    }
)

_REQUESTS: Mapping[str, msgspec.json.Decoder[Chat] | msgspec.json.Decoder[Completion] | msgspec.json.Decoder[Embedding]]
_REQUESTS = {
    "/chat/completions": msgspec.json.Decoder(Chat),
    "/completions": msgspec.json.Decoder(Completion),
    "/embeddings": msgspec.json.Decoder(Embedding),
}


class EmbeddedTransport:
    """One embedded provider; counts its answers from the day it was made.

    Args:
        provider: Its name, which its answers mention.
        prefix: The path its operations are under.
        pace: How fast it answers.
    """

    def __init__(self, provider: str, *, prefix: str = "/v1", pace: Pace = _AT_ONCE) -> None:
        self._provider = provider
        self._prefix = prefix.rstrip("/")
        self._pace = pace
        self._closed = asyncio.Event()
        self._answers = 0
        self._calls: dict[str, int] = {}  # by model; only names in MODELS, so it is bounded

    @classmethod
    def of(cls, provider: Provider) -> EmbeddedTransport:
        """The transport of a configured provider.

        Raises:
            ConfigurationError: When the provider's options are not those of `Pace`.
        """
        try:
            pace = msgspec.convert(dict(provider.options), Pace)
        except msgspec.ValidationError as error:
            known = ", ".join(Pace.__struct_fields__)
            raise ConfigurationError(
                f"providers.{provider.name}: {error}; an embedded provider takes {known}"
            ) from None
        return cls(provider.name, prefix=urlsplit(provider.base_url).path, pace=pace)

    async def send(self, request: UpstreamRequest, *, connect_s: float) -> Reply:  # noqa: ARG002 - nothing connects
        """As `Transport.send`; the head comes at once, or never when the model is `silent`."""
        self._check_open()
        body = request.body if isinstance(request.body, bytes) else await _gathered(request.body)
        try:
            return await self._dispatch(request.method, request.path.partition("?")[0], body)
        except Refused as refused:
            return self._refuse(refused.refusal)

    async def check(self, *, connect_s: float) -> None:  # noqa: ARG002 - nothing connects
        """As `Transport.check`."""
        self._check_open()

    async def aclose(self) -> None:
        """As `Transport.aclose`."""
        self._closed.set()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise TransportError(Breach.CONNECT, "the embedded provider is closed")

    async def _dispatch(self, method: str, path: str, body: bytes) -> Reply:
        operation = path.removeprefix(self._prefix) if path.startswith(self._prefix + "/") else ""
        if method == "GET" and operation == "/models":
            return self._reply(model_list(self._provider, tuple(MODELS)), Behaviour())
        decoder = _REQUESTS.get(operation) if method == "POST" else None
        if decoder is None:
            known = ", ".join([f"GET {self._prefix}/models", *(f"POST {self._prefix}{each}" for each in _REQUESTS)])
            raise Refused(Refusal(404, f"There is no {method} {path}; there is {known}.", code="not_found"))
        try:
            request = decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(Refusal(400, f"The body is not a request of {operation}: {error}.")) from None
        behaviour = await self._behave(request.model)
        self._answers += 1
        return self._reply(request.answer(Stamp(self._provider, self._answers, int(time.time()))), behaviour)

    async def _behave(self, model: str) -> Behaviour:
        """Play what comes before a head; give the behaviour of a model that answers."""
        behaviour = MODELS.get(model)
        if behaviour is None:
            message = f"The model {model!r} does not exist; there is {', '.join(MODELS)}."
            raise Refused(Refusal(404, message, code="model_not_found", param="model"))
        call = self._calls[model] = self._calls.get(model, 0) + 1
        if behaviour.refusal and call % behaviour.every == 0:
            raise Refused(behaviour.refusal)
        if behaviour.breach:
            raise TransportError(behaviour.breach, "the embedded model resets every call")
        if behaviour.silent:
            await self._pause(_FOR_EVER, Breach.RESET)
        return behaviour

    def _reply(self, answer: Answer, behaviour: Behaviour) -> Reply:
        pace = behaviour.pace or self._pace
        if answer.streamed:
            return _Reply(200, [("content-type", _SSE)], _streamed(answer, behaviour.midway, pace), self._pause)
        whole = answer.pieces[:1] if behaviour.midway is Midway.MALFORMED else answer.pieces
        headers = [("content-type", _JSON), ("content-length", str(sum(map(len, whole))))]
        return _Reply(200, headers, _plain(whole, answer.tokens, behaviour.midway, pace), self._pause)

    def _refuse(self, refusal: Refusal) -> Reply:
        headers = [("content-type", _JSON), ("content-length", str(len(refusal.body)))]
        if refusal.retry_after_s is not None:
            headers.append(("retry-after", str(refusal.retry_after_s)))
        return _Reply(refusal.status, headers, iter((refusal.body,)), self._pause)

    async def _pause(self, seconds: float, breach: Breach) -> None:
        """Wait; closing the transport meanwhile breaks the exchange."""
        try:
            async with asyncio.timeout(None if seconds == _FOR_EVER else seconds):
                await self._closed.wait()
        except TimeoutError:
            return
        raise TransportError(breach, "the embedded provider was closed")


class _Reply:
    """One answer under way: its script, and how far it was read."""

    connect_s: float | None = None

    def __init__(
        self,
        status: int,
        headers: Sequence[tuple[str, str]],
        script: Iterator[bytes | float],
        pause: Callable[[float, Breach], Awaitable[None]],
    ) -> None:
        self.status = status
        self.headers = headers
        self._script = script
        self._pause = pause
        self._due_s: float | None = None  # a pause that was met but not waited for yet
        self._closed = False

    async def read(self) -> bytes:
        """As `Reply.read`. A read that is cancelled loses nothing: bytes are never held over a pause."""
        while not self._closed:
            if self._due_s is not None:
                await self._pause(self._due_s, Breach.CUT)
                self._due_s = None
            if come := self._come():
                return come
            if self._due_s is None:
                return b""
        raise TransportError(Breach.CUT, "the reply was closed")

    def close(self) -> None:
        """As `Reply.close`."""
        self._closed = True

    def _come(self) -> bytes:
        """All bytes up to the next pause or the end."""
        come: list[bytes] = []
        for step in self._script:
            if isinstance(step, bytes):
                come.append(step)
                continue
            self._due_s = step
            break
        return b"".join(come)


def _streamed(answer: Answer, midway: Midway | None, pace: Pace) -> Iterator[bytes | float]:
    """The script of a stream: the opening at once, then a piece a word."""
    yield answer.opening
    if pace.first_token_s:
        yield pace.first_token_s
    half = len(answer.pieces) // 2
    for index, piece in enumerate(answer.pieces):
        if index and pace.words_per_s:
            yield 1 / pace.words_per_s
        if index == half and midway is not None:
            if midway is Midway.CUT:
                return
            yield _FOR_EVER if midway is Midway.STALL else piece[: len(piece) // 2] + b"\n\n"
        yield piece
    yield answer.closing


def _plain(pieces: Sequence[bytes], tokens: int, midway: Midway | None, pace: Pace) -> Iterator[bytes | float]:
    """The script of a plain body: nothing for as long as its stream would have taken, then all of it."""
    wait_s = pace.first_token_s + (tokens / pace.words_per_s if pace.words_per_s else 0.0)
    if wait_s:
        yield wait_s
    yield pieces[0]
    if midway is Midway.CUT:
        yield 0.0  # what came is handed out before the end is noticed
        raise TransportError(Breach.CUT, "the embedded model cuts every answer")
    if midway is Midway.STALL:
        yield _FOR_EVER
    yield from pieces[1:]


async def _gathered(body: AsyncIterator[bytes]) -> bytes:
    return b"".join([part async for part in body])
