"""A real daemon with a route and a pair of fake providers for every scenario, so that none leaves state to another.

    async with Stage(tmp_path, {"cut": Staging(route="rescue: continue")}) as stage:
        pair = stage.pair("cut")
        pair.primary.script(cut_after(40))
        answer = await pair.ask()
        assert pair.fallback.calls

A scenario whose real time is minutes runs at a pace: with `pace=0.1` every time of its route and its
providers is a tenth of the default, and `pair.s(12)` is 1.2 seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar

import aiohttp

from tests.daemon import RunningDaemon
from tests.fake_provider import WORDS, FakeProvider, ok
from tests.server.raw import RawClient, chat_body, post

__all__ = [
    "MARGIN_S",
    "POEM",
    "Answer",
    "Pair",
    "Stage",
    "Staging",
    "ahead",
    "client",
    "left_at_once",
    "read_answer",
    "staged",
]

POEM = " ".join(WORDS)
MARGIN_S = 8.0  # for a slow machine, on top of every bound
LEFT_WITHIN_S = 1.0  # the aim is 100 ms; a busy machine may take longer to tell this process of it
_PATIENCE_S = 150.0
_HELD_BY_ONE_S = 15.0  # the longest that one healthy request may take to come

_PACED_ROUTE = (
    "timeouts: {{first_token: {{factor: 3, min: {t12}s, max: {t120}s}}, answer: {t12}s, idle: {t30}s}}, "
    "attempts: {{backoff_base: {ms250}ms, max_inline_wait: 2500ms, min_attempt_time: {t2}s}}"
)
_PACED_PROVIDER = (
    "breaker: {{rate_limit: {{default: {t10}s, max: 300s, jitter: 0.5}}, "
    "open: {{base: {t2}s, factor: 25, floor: {t10}s, max: {t300}s}}, slow_start: {t30}s}}"
)


@dataclass(frozen=True)
class Staging:
    """What a scenario's route and providers have beside the defaults: YAML in flow style, without braces."""

    route: str = "rescue: continue"
    provider: str = ""
    pace: float = 1.0
    chain: str = "[{a}, {b}]"  # of the primary, the fallback, and another model of the fallback, `c`

    @property
    def route_keys(self) -> str:
        """Of the route, its pace included."""
        return _joined(self.route, self._paced(_PACED_ROUTE))

    @property
    def provider_keys(self) -> str:
        """Of both providers, their pace included."""
        return _joined(self.provider, self._paced(_PACED_PROVIDER))

    def _paced(self, keys: str) -> str:
        if self.pace == 1.0:
            return ""
        times = {f"t{time}": f"{time * self.pace:g}" for time in (2, 10, 12, 30, 120, 300)}
        return keys.format(ms250=f"{250 * self.pace:g}", **times)


_Test = TypeVar("_Test", bound=Callable[..., Any])


def staged(
    route: str = "rescue: continue", provider: str = "", pace: float = 1.0, chain: str = "[{a}, {b}]"
) -> Callable[[_Test], _Test]:
    """Say what the test's pair is like."""

    def mark(test: _Test) -> _Test:
        test.staging = Staging(route, provider, pace, chain)  # type: ignore[attr-defined]
        return test

    return mark


def ahead(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
    """A test that mostly waits: it is begun with the module's first, and awaited in its turn."""

    @functools.wraps(test)
    async def turn(pair: Pair, **parameters: object) -> None:
        await (pair.begun or test(pair, **parameters))

    turn.ahead = test  # type: ignore[attr-defined]
    return turn


@dataclass
class Answer:
    """What a client got, and when."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    framed: bool = True  # the response ended as HTTP wants it
    took_s: float = 0.0
    events: list[dict[str, Any]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    done: bool = False  # `[DONE]` came

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]

    @property
    def text(self) -> str:
        """Of the first choice."""
        return "".join(_said(choice) for event in self.events for choice in (event.get("choices") or [])[:1])

    @property
    def error(self) -> dict[str, Any] | None:
        return next((event["error"] for event in self.events if "error" in event), None)

    @property
    def usage(self) -> dict[str, Any] | None:
        return next((event["usage"] for event in reversed(self.events) if event.get("usage")), None)

    @property
    def model(self) -> str | None:
        return next((event["model"] for event in self.events if "model" in event), None)

    @property
    def finish(self) -> str | None:
        """The last finish reason."""
        choices = [choice for event in self.events for choice in event.get("choices") or []]
        return next((choice["finish_reason"] for choice in reversed(choices) if choice.get("finish_reason")), None)

    @property
    def streamed(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def whole(self, text: str = POEM) -> None:
        """Check that it is this answer, complete, once, and ended as its dialect wants it."""
        assert (self.status, self.error) == (200, None), self
        assert self.text == text
        assert self.framed
        assert self.finish in ("stop", "length"), self.finish
        assert self.done or not self.streamed

    def broken(self, kind: str) -> dict[str, Any]:
        """Check that it is a stream that tells of this failure and of no success; its error."""
        assert self.status == 200
        assert self.error is not None, self
        assert self.error["kind"] == kind, self.error
        assert (self.framed, self.done, self.finish) == (False, False, None)
        return self.error


class Pair:
    """One scenario's route with its primary and its fallback."""

    def __init__(self, stage: Stage, name: str, staging: Staging, primary: FakeProvider, fallback: FakeProvider):
        self._stage = stage
        self.name = name
        self.staging = staging
        self.primary = primary
        self.fallback = fallback
        self.begun: asyncio.Task[None] | None = None  # the test, if it was begun ahead of its turn

    @property
    def daemon(self) -> RunningDaemon:
        return self._stage.daemon

    def s(self, seconds: float) -> float:
        """Seconds at this pair's pace."""
        return seconds * self.staging.pace

    @property
    def primary_key(self) -> str:
        return f"{self.name}-a/alpha"

    @property
    def fallback_key(self) -> str:
        return f"{self.name}-b/beta"

    async def ask(
        self, *, stream: bool = True, headers: Mapping[str, str] | None = None, prompt: str = "Hi", **fields: object
    ) -> Answer:
        """Ask the route, and read the answer to its end, whatever that is."""
        messages = [{"role": "user", "content": prompt}]
        body = {"model": self.name, "stream": stream, "messages": messages, **fields}
        return await self._stage.ask(body, headers)

    async def told(self, answer: Answer) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The request's line, and those of its attempts (without the targets passed over)."""
        (request,) = await self.daemon.wait_log("request", request_id=answer.request_id)
        attempts = self.daemon.log_lines("attempt", request_id=answer.request_id)
        return request, [line for line in attempts if line["outcome"] != "skipped"]

    async def tried(self, answer: Answer) -> list[tuple[str, str]]:
        """Whom the request asked, and what came of it: `a` or `b`, and the kind of failure, or the outcome."""
        _, attempts = await self.told(answer)
        short = {self.primary_key: "a", self.fallback_key: "b"}
        return [(short.get(line["target"], "c"), line.get("kind") or line["outcome"]) for line in attempts]

    async def state(self, key: str | None = None) -> dict[str, Any]:
        """What the daemon tells of a target, of the primary unless another is named."""
        _, status = await self.daemon.admin("GET", "/status")
        key = key or self.primary_key
        found: dict[str, Any] = status["providers"][key.partition("/")[0]]["targets"][key]
        return found

    async def recovers(self) -> Answer:
        """Let both be well again: a request is answered, at once or when one of them may be asked again."""
        for fake in (self.primary, self.fallback):
            await fake.up()
            fake.script(ok())
        give_up_at = monotonic() + _HELD_BY_ONE_S
        while (answer := await self.ask()).status != 200:
            assert monotonic() < give_up_at, answer
            await asyncio.sleep(min(1.0, float(answer.headers["retry-after"])))
        answer.whole()
        return answer


@contextlib.asynccontextmanager
async def client(pair: Pair, *, stream: bool = True) -> AsyncIterator[RawClient]:
    """A client that has asked, and can leave at any moment."""
    async with await RawClient.to(pair.daemon.port) as raw:
        await raw.send(post(chat_body(pair.name, stream=stream), host=f"localhost:{pair.daemon.port}"))
        yield raw


async def left_at_once(raw: RawClient, *fakes: FakeProvider) -> None:
    """Let the client leave: these providers see it soon."""
    calls = [fake.calls[-1] for fake in fakes]
    left_at = asyncio.get_running_loop().time()
    raw.abort()
    for fake, call in zip(fakes, calls, strict=True):
        await fake.wait_for(lambda _, call=call: call.peer_closed_at is not None, LEFT_WITHIN_S)
        assert call.peer_closed_at is not None
        assert call.peer_closed_at - left_at < LEFT_WITHIN_S


class Stage:
    """A daemon and its pairs; lives as long as its `async with`.

    Args:
        tmp_path: For the daemon.
        stagings: Each pair's name and what is particular about it.
        config: More keys of the top level, as lines of YAML.
    """

    def __init__(self, tmp_path: Path, stagings: Mapping[str, Staging], config: str = "") -> None:
        self._tmp_path = tmp_path
        self._stagings = stagings
        self._config = config
        self._pairs: dict[str, Pair] = {}
        self._exits = contextlib.AsyncExitStack()

    def pair(self, name: str) -> Pair:
        return self._pairs[name]

    async def __aenter__(self) -> Stage:
        async with contextlib.AsyncExitStack() as exits:
            for name, staging in self._stagings.items():
                primary = await exits.enter_async_context(FakeProvider())
                fallback = await exits.enter_async_context(FakeProvider())
                self._pairs[name] = Pair(self, name, staging, primary, fallback)
            self.daemon = await exits.enter_async_context(RunningDaemon(self._tmp_path, self._text()))
            connector = aiohttp.TCPConnector(limit=0)
            timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
            await exits.enter_async_context(self._session)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        begun = [pair.begun for pair in self._pairs.values() if pair.begun is not None]
        for task in begun:  # those whose turn did not come
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        await self._exits.__aexit__(kind, error, trace)

    def _text(self) -> str:
        lines = ["providers:"]
        for name, pair in self._pairs.items():
            for letter, fake in (("a", pair.primary), ("b", pair.fallback)):
                keys = _joined(
                    f'type: openai-compatible, base_url: "{fake.base_url}", api_key: k', pair.staging.provider_keys
                )
                lines.append(f"  {name}-{letter}: {{{keys}}}")
        lines.append("routes:")
        for name, pair in self._pairs.items():
            chain = pair.staging.chain.format(a=pair.primary_key, b=pair.fallback_key, c=f"{name}-b/gamma")
            keys = _joined(f"chain: {chain}", pair.staging.route_keys)
            lines.append(f"  {name}: {{{keys}}}")
        return "\n".join([*lines, self._config, ""])

    async def ask(self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
        """Post a chat request, and read whatever comes."""
        began = monotonic()
        url = f"{self.daemon.base_url}/v1/chat/completions"
        data = io.BytesIO(json.dumps(body).encode())  # aiohttp warns of large bodies that are bytes
        headers = {"content-type": "application/json", **(headers or {})}
        async with self._session.post(url, data=data, headers=headers) as response:
            answer = await read_answer(Answer(response.status, response.headers), response)
        answer.took_s = monotonic() - began
        return answer


async def read_answer(answer: Answer, response: aiohttp.ClientResponse) -> Answer:
    """Read a response to its end, whatever that is."""
    try:
        async for piece in response.content.iter_any():
            answer.body += piece
    except aiohttp.ClientPayloadError:
        answer.framed = False
    if not answer.streamed:
        answer.events = [json.loads(answer.body)]
        return answer
    for frame in answer.body.decode().split("\n\n"):
        data = frame.removeprefix("data: ")
        if frame.startswith(":"):
            answer.comments.append(frame[1:].strip())
        elif data == "[DONE]":
            answer.done = True
        elif frame:
            answer.events.append(json.loads(data))
    return answer


def _said(choice: Mapping[str, Any]) -> str:
    said = choice.get("delta") or choice.get("message") or {}
    return said.get("content") or ""


def _joined(*keys: str) -> str:
    return ", ".join(filter(None, keys))
