"""What a fake provider does with one request: small frozen values, each of which can play itself.

`ok()` and its relatives answer as an OpenAI-compatible provider does, and can be told to go wrong at
any token; `status`, `html`, `empty`, `half_json` answer with something canned; `reset`, `silence` and
`raw` do not care for HTTP at all. Every field has its healthy value as default, so faults compose:
`ok(first_token_delay_s=2, cut_after=40, cut="rst")`.
"""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

__all__ = [
    "WORDS",
    "Behaviour",
    "Exchange",
    "Request",
    "cut_after",
    "drip",
    "empty",
    "error_event_in_200",
    "half_json",
    "html",
    "malformed_chunk_at",
    "model_list",
    "no_done",
    "ok",
    "raw",
    "reset",
    "silence",
    "slow_headers",
    "stall_after",
    "status",
]

_POEM = """
amber basil cedar delta ember fjord grove hazel indigo jasper kelp lemon maple north olive pearl quartz river sable
tulip umber violet willow xenon yarrow zinc acorn birch coral dune echo fern gale heron iris jade kite larch moss
nectar opal pine quill reed slate thyme urchin vale wren yew zephyr alder brook clover dahlia elm flint ginger heath
ivory
"""
WORDS: tuple[str, ...] = tuple(_POEM.split())
"""Sixty distinct words: what is missing, repeated or out of order shows."""

Cut = Literal["fin", "rst", "clean"]

_BEFORE_RST_S = 0.02  # a reset overtakes data that the peer has not read yet


@dataclass
class Request:
    """One request as it came. Times are the loop's."""

    method: str
    path: str  # with the query
    headers: dict[str, str]  # names in lower case
    body: bytes
    at: float
    connection: int  # 1, 2, ... in the order they were accepted
    json: Any = None  # None when the body is not JSON
    ended_at: float | None = None  # when the behaviour had played to its end or was interrupted
    peer_closed_at: float | None = None  # set when the peer closed before the answer ended

    @property
    def model(self) -> str:
        return str(self.json.get("model", "")) if isinstance(self.json, dict) else ""

    @property
    def stream(self) -> bool:
        return isinstance(self.json, dict) and self.json.get("stream") is True

    @property
    def operation(self) -> str:
        return self.path.partition("?")[0].removeprefix("/v1")


class Exchange(Protocol):
    """What a behaviour may do with the connection."""

    request: Request

    async def send(self, data: bytes) -> None:
        """Write, and wait while the peer does not read."""

    def hang_up(self, how: Cut) -> None:
        """End the connection: FIN after what was written, or RST at once."""


class Behaviour(ABC):
    """One way to treat a request."""

    @abstractmethod
    async def play(self, exchange: Exchange) -> None:
        """Do it; returns when the answer has ended."""


# -- answers in OpenAI's shape


@dataclass(frozen=True)
class Answer(Behaviour):
    """A good answer, with everything that can go wrong on the way. Counts are content tokens (words)."""

    words: Sequence[str] = WORDS
    tool_calls: Sequence[tuple[str, str]] = ()  # (name, arguments as JSON text)
    finish: str | None = None  # "stop", or "tool_calls" when there are some
    model: str | None = None  # the one asked for
    usage: Mapping[str, Any] | None = None  # counted
    usage_chunk: Literal["asked", "always", "never", "on_finish"] = "asked"
    role_chunk: bool = True
    done: bool = True
    stream: bool | None = None  # what was asked for
    headers: Mapping[str, str] = field(default_factory=dict)
    head_delay_s: float = 0.0
    first_token_delay_s: float = 0.0  # of a plain answer: before the head
    gap_s: float = 0.0  # between tokens
    head_bytes_per_s: float = math.inf
    body_bytes_per_s: float = math.inf
    cut_after: int | None = None  # a plain answer is cut, or stalls, in the middle of its body
    cut: Cut = "fin"  # "clean": well framed, but without finish reason or [DONE]
    stall_after: int | None = None
    malformed_at: int | None = None  # a plain answer is half a JSON
    error_at: int | None = None  # an error object instead of this token, then the stream's end
    error: Mapping[str, Any] = field(default_factory=lambda: _error("the fake broke", "server_error", None))

    async def play(self, exchange: Exchange) -> None:
        await asyncio.sleep(self.head_delay_s)
        streamed = exchange.request.stream if self.stream is None else self.stream
        if streamed and exchange.request.operation != "/embeddings":
            await self._play_stream(exchange)
        else:
            await self._play_plain(exchange)

    async def _play_stream(self, exchange: Exchange) -> None:
        headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked", **self.headers}
        held = [] if self.head_bytes_per_s < math.inf else [_head(200, headers)]
        if not held:
            await _drip(exchange, _head(200, headers), self.head_bytes_per_s)
        for step in self._steps(exchange.request):
            if isinstance(step, bytes):
                held.append(b"%x\r\n%b\r\n" % (len(step), step))
                continue
            await _drip(exchange, b"".join(held), self.body_bytes_per_s)
            held.clear()
            if isinstance(step, str):
                await _hang_up(exchange, step)
                return
            await _pause(step)
        held.append(b"0\r\n\r\n")
        await _drip(exchange, b"".join(held), self.body_bytes_per_s)

    def _steps(self, request: Request) -> Iterator[bytes | float | Cut]:
        """The stream: frames, pauses in seconds, and how the connection ends if not well."""
        chunk, deltas = self._chunks(request)
        if self.role_chunk and request.operation == "/chat/completions":
            yield _frame(chunk({"role": "assistant", "content": "", "refusal": None}, None))
        if self.first_token_delay_s:
            yield self.first_token_delay_s
        for index in range(len(deltas) + 1):
            if index and self.gap_s:
                yield self.gap_s
            if index == self.cut_after:
                if self.cut != "clean":
                    yield self.cut
                return
            if index == self.stall_after:
                yield math.inf
            if index == self.malformed_at:
                yield b'data: {"id": "chatcmpl-fake", "choices": [{"ind\n\n'
            if index == self.error_at:
                yield _frame(self.error)
                return
            if index < len(deltas):
                yield _frame(chunk(deltas[index], None))
        usage = self._usage(request)
        counted = {"usage": usage} if self.usage_chunk == "on_finish" else {}
        yield _frame({**chunk({}, self._finish), **counted})
        if self.usage_chunk == "always" or (self.usage_chunk == "asked" and _asks_usage(request)):
            yield _frame({**chunk({}, None), "choices": [], "usage": usage})
        if self.done:
            yield b"data: [DONE]\n\n"

    def _chunks(self, request: Request) -> tuple[Any, list[dict[str, Any]]]:
        """A function (delta, finish) -> chunk, and the deltas."""
        chat = request.operation == "/chat/completions"
        head = self._identity(request, "chat.completion.chunk" if chat else "text_completion")
        absent = {"usage": None} if self.usage_chunk == "asked" and _asks_usage(request) else {}

        def chunk(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
            said = {"delta": delta} if chat else {"text": delta.get("content", "")}
            return {**head, "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": finish}], **absent}

        if self.tool_calls:
            return chunk, [delta for at, call in enumerate(self.tool_calls) for delta in _call_deltas(at, *call)]
        return chunk, [{"content": word if at == 0 else f" {word}"} for at, word in enumerate(self.words)]

    async def _play_plain(self, exchange: Exchange) -> None:
        await asyncio.sleep(self.first_token_delay_s)
        request = exchange.request
        body = msgspec.json.encode(self._whole(request) if self.error_at is None else self.error)
        if self.malformed_at is not None:
            body = body[: len(body) // 2]
        headers = {"content-type": "application/json", "content-length": str(len(body)), **self.headers}
        await _drip(exchange, _head(200, headers), self.head_bytes_per_s)
        broken = self.cut_after is not None or self.stall_after is not None
        await _drip(exchange, body[: len(body) // 2] if broken else body, self.body_bytes_per_s)
        if self.stall_after is not None:
            await _pause(math.inf)
        if self.cut_after is not None:
            await _hang_up(exchange, "rst" if self.cut == "rst" else "fin")

    def _whole(self, request: Request) -> dict[str, Any]:
        if request.operation == "/embeddings":
            return _embeddings(request)
        said: dict[str, Any]
        text = " ".join(self.words)
        if request.operation == "/completions":
            head, said = self._identity(request, "text_completion"), {"text": text}
        elif self.tool_calls:
            calls = [_call(at, *call) for at, call in enumerate(self.tool_calls)]
            head = self._identity(request, "chat.completion")
            said = {"message": {"role": "assistant", "content": None, "refusal": None, "tool_calls": calls}}
        else:
            head = self._identity(request, "chat.completion")
            said = {"message": {"role": "assistant", "content": text, "refusal": None}}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": self._finish}
        return {**head, "choices": [choice], "usage": self._usage(request)}

    def _identity(self, request: Request, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-fake", "object": kind, "created": 1, "model": self.model or request.model}

    @property
    def _finish(self) -> str:
        return self.finish or ("tool_calls" if self.tool_calls else "stop")

    def _usage(self, request: Request) -> Mapping[str, Any]:
        if self.usage is not None:
            return self.usage
        count = len(self.tool_calls or self.words)
        return {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}


def ok(text: str | None = None, **options: Any) -> Answer:
    """A good answer of sixty words, or of this text's; options are the fields of `Answer`."""
    return Answer(**options) if text is None else Answer(words=tuple(text.split()), **options)


def cut_after(tokens: int, cut: Cut = "fin", **options: Any) -> Answer:
    """The connection ends after this many tokens."""
    return ok(cut_after=tokens, cut=cut, **options)


def stall_after(tokens: int, **options: Any) -> Answer:
    """Nothing more comes after this many tokens."""
    return ok(stall_after=tokens, **options)


def malformed_chunk_at(tokens: int, **options: Any) -> Answer:
    """One torn chunk after this many tokens, and no token less."""
    return ok(malformed_at=tokens, **options)


def no_done(**options: Any) -> Answer:
    """Everything but `[DONE]`."""
    return ok(done=False, **options)


def error_event_in_200(
    message: str = "the fake broke", *, at: int = 0, code: str | None = None, **options: Any
) -> Answer:
    """A 200 whose stream turns into an error event; after its preamble, or after `at` tokens."""
    return ok(error_at=at, error=_error(message, "server_error", code), **options)


def slow_headers(bytes_per_s: float, **options: Any) -> Answer:
    """The head comes byte by byte."""
    return ok(head_bytes_per_s=bytes_per_s, **options)


def drip(bytes_per_s: float, **options: Any) -> Answer:
    """The body comes byte by byte."""
    return ok(body_bytes_per_s=bytes_per_s, **options)


# -- canned answers


@dataclass(frozen=True)
class Canned(Behaviour):
    """These bytes with this status, whatever was asked."""

    code: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0

    async def play(self, exchange: Exchange) -> None:
        await asyncio.sleep(self.delay_s)
        headers = {"content-type": self.content_type, "content-length": str(len(self.body)), **self.headers}
        await exchange.send(_head(self.code, headers) + self.body)


def status(
    http_status: int,
    message: str | None = None,
    *,
    kind: str = "fake_error",
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
    retry_after: object = None,
    delay_s: float = 0.0,
) -> Canned:
    """An error in OpenAI's shape."""
    wait = {} if retry_after is None else {"retry-after": str(retry_after)}
    body = msgspec.json.encode(_error(message or f"the fake says {http_status}", kind, code))
    return Canned(http_status, body, headers={**wait, **(headers or {})}, delay_s=delay_s)


def html(http_status: int = 200) -> Canned:
    """A page where JSON was due."""
    return Canned(http_status, b"<!doctype html><title>Welcome</title>", "text/html")


def empty(http_status: int = 200) -> Canned:
    """No body at all."""
    return Canned(http_status)


def half_json(http_status: int = 200) -> Canned:
    """Well framed, but the JSON ends in its middle."""
    return Canned(http_status, b'{"id": "chatcmpl-fake", "choices": [{"mess')


def model_list(*models: str) -> Canned:
    """The answer of GET /models."""
    rows = [{"id": model, "object": "model", "created": 1, "owned_by": "fake"} for model in models]
    return Canned(200, msgspec.json.encode({"object": "list", "data": rows}))


# -- what is not HTTP


@dataclass(frozen=True)
class Reset(Behaviour):
    """RST instead of an answer."""

    async def play(self, exchange: Exchange) -> None:
        exchange.hang_up("rst")


@dataclass(frozen=True)
class Silence(Behaviour):
    """Nothing, or nothing after the head; then FIN."""

    seconds: float = math.inf
    head: bool = False

    async def play(self, exchange: Exchange) -> None:
        if self.head:
            kind = "text/event-stream" if exchange.request.stream else "application/json"
            await exchange.send(_head(200, {"content-type": kind, "transfer-encoding": "chunked"}))
        await _pause(self.seconds)
        exchange.hang_up("fin")


@dataclass(frozen=True)
class Raw(Behaviour):
    """Exactly these bytes, each part `gap_s` after the other, then the connection's end if one is named."""

    parts: Sequence[bytes]
    then: Cut | None = "fin"
    gap_s: float = 0.0

    async def play(self, exchange: Exchange) -> None:
        for index, part in enumerate(self.parts):
            if index:
                await asyncio.sleep(self.gap_s)
            await exchange.send(part)
        if self.then is not None:
            await _hang_up(exchange, self.then)


def reset() -> Reset:
    """RST before the first byte of a head."""
    return Reset()


def silence(seconds: float = math.inf, *, head: bool = False) -> Silence:
    """Accept, and say nothing for so long (for ever); with a head, or without."""
    return Silence(seconds, head)


def raw(*parts: bytes, then: Cut | None = "fin", gap_s: float = 0.0) -> Raw:
    """These bytes; `then=None` keeps the connection open for the next request."""
    return Raw(parts, then, gap_s)


# -- bytes


def _frame(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _head(code: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {code} Fake", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def _error(message: str, kind: str, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _asks_usage(request: Request) -> bool:
    options = request.json.get("stream_options") if isinstance(request.json, dict) else None
    return isinstance(options, dict) and options.get("include_usage") is True


def _call(at: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _call_deltas(at: int, name: str, arguments: str) -> list[dict[str, Any]]:
    half = len(arguments) // 2
    first = {"index": at, **_call(at, name, "")}
    rest = [{"index": at, "function": {"arguments": part}} for part in (arguments[:half], arguments[half:])]
    return [{"tool_calls": [delta]} for delta in (first, *rest)]


def _embeddings(request: Request) -> dict[str, Any]:
    given = request.json["input"]
    inputs = given if isinstance(given, list) else [given]
    rows = [{"object": "embedding", "index": at, "embedding": [0.5, -0.5, 0.25]} for at in range(len(inputs))]
    usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
    return {"object": "list", "model": request.model, "data": rows, "usage": usage}


async def _pause(seconds: float) -> None:
    if seconds == math.inf:
        await asyncio.Event().wait()  # until the peer leaves or the fake stops
    await asyncio.sleep(seconds)


async def _hang_up(exchange: Exchange, how: Cut) -> None:
    if how == "rst":
        await asyncio.sleep(_BEFORE_RST_S)
    exchange.hang_up(how)


async def _drip(exchange: Exchange, data: bytes, bytes_per_s: float) -> None:
    """Send at this rate, a byte at a time up to 100 bytes a second."""
    if bytes_per_s == math.inf:
        await exchange.send(data)
        return
    step = max(1, int(bytes_per_s / 100))
    for at in range(0, len(data), step):
        await exchange.send(data[at : at + step])
        await asyncio.sleep(step / bytes_per_s)
