"""Hours in minutes: a real daemon between clients that come and go and providers that fail at random.

    python -m tests.soak --minutes 10 --seed 1

Four fake providers change their moods, and now and then their ports are closed; clients stream or not,
leave in the middle, or bring deadlines of their own; the config is edited all the while, sometimes
wrongly. What must hold:

- Nothing is unexplained. An answer that looks good is the right text, whole and once; a failure matches
  faults that were played for that very request, or a provider that was down or resting because of them.
- Nothing is left. When all is quiet, memory is where it was after the warm-up, within `RSS_GROWTH_BYTES`,
  and every descriptor is one that was open before, or a pooled connection to a provider.
- The daemon told of no exception that nobody caught.

Prints a summary; exits with 1 when something did not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp

from tests.daemon import RunningDaemon
from tests.fake_behaviours import Behaviour, Request
from tests.fake_provider import (
    FakeProvider,
    cut_after,
    error_event_in_200,
    half_json,
    html,
    malformed_chunk_at,
    no_done,
    ok,
    reset,
    silence,
    stall_after,
    status,
)
from tests.scenarios.models import repeats
from tests.scenarios.stage import POEM, Answer, read_answer

RSS_GROWTH_BYTES = 12 * 1024 * 1024
DESCRIPTORS_SPARE = 16  # probes under way, what is opened at first use; a leak would be hundreds
CLIENTS = 16
PROVIDERS = "abcd"
RESTS_S = 15.0  # longer than any breaker of the config stays open
_WARM_UP_SHARE = 0.2
_PATIENCE_S = 60.0  # of a client that waits for its answer
_LOGGED_S = 10.0  # a request's line comes soon after its end
_PAUSE_S = (0.0, 0.4)  # of a client between two requests

_CONFIG = """
providers:
{providers}
routes:
  chain: {{chain: [a/m, b/m, c/m]}}
  rescue: {{chain: [a/m, b/m, c/m, d/m], rescue: continue}}
  pool: {{balance: weighted, chain: [{{a/m: {weight}, b/m: 2, c/m: 1}}, d/m], rescue: continue}}
  fast: {{balance: fastest, chain: [{{a/m: 1, b/m: 1, c/m: 1, d/m: 1}}]}}
  busy: {{balance: least_busy, chain: [{{c/m: 1, d/m: {weight}}}, a/m]}}
  hold: {{chain: [b/m, c/m], stream: hold, hold: {{events: 20, time: 200ms}}}}
  buffer: {{chain: [d/m, a/m], stream: buffer}}
  awake: {{chain: [c/m, b/m], sse_keepalive: 100ms, rescue: continue}}
  hedge: {{balance: round_robin, chain: [{{a/m: 1, d/m: 1}}, b/m], hedge: {{after: 150ms, max_extra_load: 20%}}}}
timeouts: {{first_token: 2s, answer: 4s, idle: 1s, total: 20s}}
resilience:
  min_attempt_time: 500ms
  breaker:
    open: {{base: 300ms, factor: 25, floor: 2s, max: 8s}}
    rate_limit: {{default: 1s, max: 5s, jitter: 0.5}}
    fixed_open: 5s
health: {{interval: 2s, unhealthy_interval: 1s, timeout: 1s}}
"""
_ROUTES: Mapping[str, str] = {
    "chain": "abc",
    "rescue": "abcd",
    "pool": "abcd",
    "fast": "abcd",
    "busy": "cda",
    "hold": "bc",
    "buffer": "da",
    "awake": "cb",
    "hedge": "adb",
}

# What each fault may be called: a stream and a whole answer meet the same fault at different moments.
_FAULTS: Mapping[str, tuple[Callable[[random.Random], Behaviour], frozenset[str]]] = {
    name: (make, frozenset(kinds.split()))
    for name, make, kinds in (
        ("429", lambda _: status(429), "rate_limited"),
        ("429-soon", lambda _: status(429, retry_after=1), "rate_limited"),
        ("500", lambda _: status(500), "server_error"),
        ("502", lambda _: status(502), "gateway_error"),
        ("503", lambda _: status(503), "overloaded"),
        ("400", lambda _: status(400), "invalid_request"),
        ("policy", lambda _: status(400, code="content_policy_violation"), "content_policy"),
        ("context", lambda _: status(400, code="context_length_exceeded"), "context_length"),
        ("no-model", lambda _: status(404, code="model_not_found"), "model_unavailable"),
        ("reset", lambda _: reset(), "unreachable"),
        ("silence", lambda rng: silence(head=rng.random() < 0.5), "first_token_timeout"),
        ("cut", lambda rng: cut_after(rng.randrange(60), rng.choice(("fin", "rst"))), "truncated malformed"),
        ("stall", lambda rng: stall_after(rng.randrange(60)), "idle_timeout first_token_timeout"),
        ("event", lambda rng: error_event_in_200(at=rng.choice((0, 0, 30))), "server_error"),
        ("html", lambda _: html(), "malformed"),
        ("half", lambda _: half_json(), "malformed truncated"),
        ("late", lambda _: ok(first_token_delay_s=6.0), "first_token_timeout"),
    )
}
_BENIGN: tuple[Callable[[random.Random], Behaviour], ...] = (
    lambda _: no_done(),
    lambda rng: malformed_chunk_at(rng.randrange(1, 60), stream=True),
    lambda rng: ok(gap_s=rng.uniform(0.0, 0.02), first_token_delay_s=rng.uniform(0.0, 0.4)),
)


@dataclass
class _Mood:
    """How a provider is for some seconds: the share of its answers that fail, and how, if always alike."""

    share: float = 0.02
    fault: str | None = None


class Provider:
    """A fake with moods; remembers what it did to whom."""

    def __init__(self, name: str, fake: FakeProvider, rng: random.Random) -> None:
        self.name = name
        self.fake = fake
        self.mood = _Mood()
        self.played: dict[str, list[str]] = defaultdict(list)  # faults by request
        self.counts: Counter[str] = Counter()
        self.down: list[tuple[float, float]] = []  # from, until
        self.last_fault_at = 0.0
        self._rng = rng
        fake.script(self._move)

    def _move(self, request: Request) -> Behaviour:
        rng = self._rng
        if rng.random() < self.mood.share:
            name = self.mood.fault or rng.choice(tuple(_FAULTS))
            self.played[request.json["messages"][0]["content"]].append(name)
            self.counts[name] += 1
            self.last_fault_at = monotonic()
            return _FAULTS[name][0](rng)
        self.counts["ok"] += 1
        if rng.random() < 0.2 and not any(message["role"] == "assistant" for message in request.json["messages"]):
            behaviour = rng.choice(_BENIGN)(rng)
            # Half a chunk inside a stream is benign, half an answer is not.
            return behaviour if request.stream or getattr(behaviour, "malformed_at", None) is None else ok()
        return repeats(rng.choice((0, 0, 3, 60)), gap_s=rng.choice((0.0, 0.003, 0.02)))(request)

    async def live(self) -> None:
        """Change moods for ever."""
        rng = self._rng
        while True:
            draw = rng.random()
            if draw < 0.06:
                began = monotonic()
                self.down.append((began, float("inf")))
                await self.fake.down()
                await asyncio.sleep(rng.uniform(0.5, 4.0))
                await self.fake.up()
                self.down[-1] = (began, monotonic())
                self.mood = _Mood()
            elif draw < 0.55:
                self.mood = _Mood()
            elif draw < 0.9:
                self.mood = _Mood(0.15)
            else:
                self.mood = _Mood(1.0, rng.choice(tuple(_FAULTS)))
            await asyncio.sleep(rng.uniform(2.0, 8.0))

    def was_down(self, since: float, until: float) -> bool:
        return any(start <= until and since <= end for start, end in self.down)

    def was_ill(self, since: float) -> bool:
        """Whether a breaker may rest from what happened here."""
        return self.last_fault_at >= since or self.was_down(since, monotonic())


@dataclass
class Told:
    """What the log said of one request."""

    attempts: list[dict[str, Any]] = field(default_factory=list)
    request: dict[str, Any] | None = None


class Soak:
    """One run."""

    def __init__(self, daemon: RunningDaemon, providers: Mapping[str, Provider], rng: random.Random) -> None:
        self.daemon = daemon
        self.providers = providers
        self.outcomes: Counter[str] = Counter()
        self.selections: Counter[str] = Counter()
        self.unexplained: list[str] = []
        self.reloads: Counter[str] = Counter()
        self._rng = rng
        self._told: dict[str, Told] = {}
        self._number = 0
        self._open_gate = asyncio.Event()
        self._open_gate.set()
        self._session: aiohttp.ClientSession | None = None
        self._log = open(daemon.stderr_path, "rb")  # noqa: SIM115 - closed by `run`
        self._rest = b""

    async def run(self, seconds: float) -> bool:
        """Soak so long, print the summary, and say whether all held."""
        began = monotonic()
        idle_descriptors = self._descriptors()
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        ends_at = began + seconds
        tasks = [asyncio.create_task(provider.live()) for provider in self.providers.values()]
        tasks.append(asyncio.create_task(self._edit()))
        tasks.append(asyncio.create_task(self._follow()))
        clients = [asyncio.create_task(self._client(ends_at)) for _ in range(CLIENTS)]
        try:
            await asyncio.sleep(seconds * _WARM_UP_SHARE)
            warm_bytes, _ = await self._quiet()
            await asyncio.gather(*clients)
            await self._session.close()
            end_bytes, descriptors = await self._quiet()
        finally:
            for task in (*tasks, *clients):
                task.cancel()
            await asyncio.gather(*tasks, *clients, return_exceptions=True)
            await self._session.close()
            self._log.close()
        pooled = sum(provider.fake.open for provider in self.providers.values())
        left = descriptors - pooled - idle_descriptors
        return self._summary(monotonic() - began, warm_bytes, end_bytes, left)

    async def _quiet(self) -> tuple[int, int]:
        """Let everybody pause until nothing is under way; memory and descriptors then."""
        self._open_gate.clear()
        try:
            async with asyncio.timeout(60):
                while (await self.daemon.admin("GET", "/status"))[1]["in_flight"]:
                    await asyncio.sleep(0.1)
            await asyncio.sleep(2.0)
            return self.daemon.rss_bytes, self._descriptors()
        finally:
            self._open_gate.set()

    def _descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))

    # -- clients

    async def _client(self, ends_at: float) -> None:
        rng = self._rng
        while monotonic() < ends_at:
            await self._open_gate.wait()
            await self._one()
            await asyncio.sleep(rng.uniform(*_PAUSE_S))

    async def _one(self) -> None:
        rng = self._rng
        self._number += 1
        name = f"soak-{self._number}"
        told = self._told[name] = Told()
        route = rng.choice(tuple(_ROUTES))
        stream = rng.random() < 0.7
        headers = {"x-request-id": name}
        hurried = rng.random() < 0.05
        if hurried:
            headers["x-sidecar-timeout"] = f"{rng.randrange(100, 3000)}ms"
        patience_s = rng.uniform(0.0, 1.5) if rng.random() < 0.15 else _PATIENCE_S
        since = monotonic()
        answer = None
        try:
            async with asyncio.timeout(patience_s):
                answer = await self._asked(name, route, stream, headers)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            if patience_s == _PATIENCE_S or not isinstance(error, TimeoutError):
                self.unexplained.append(f"{name}: {error!r}")
        if answer is None:
            self.outcomes["left"] += 1
        else:
            await self._judge(name, route, answer, told, since, hurried)
        del self._told[name]
        for provider in self.providers.values():
            provider.played.pop(name, None)

    async def _asked(self, name: str, route: str, stream: bool, headers: Mapping[str, str]) -> Answer:
        assert self._session is not None
        body = {"model": route, "stream": stream, "messages": [{"role": "user", "content": name}]}
        url = f"{self.daemon.base_url}/v1/chat/completions"
        async with self._session.post(url, json=body, headers=headers) as response:
            return await read_answer(Answer(response.status, response.headers), response)

    async def _judge(self, name: str, route: str, answer: Answer, told: Told, since: float, hurried: bool) -> None:
        give_up_at = monotonic() + _LOGGED_S
        while told.request is None:
            if monotonic() > give_up_at:
                self.unexplained.append(f"{name}: no line of the request")
                return
            await asyncio.sleep(0.02)
        problem = self._unexplained(name, route, answer, told, since, hurried)
        if problem is not None:
            lines = "\n    ".join(json.dumps(line) for line in (*told.attempts, told.request))
            self.unexplained.append(f"{name}: {problem}\n    {lines}")

    def _unexplained(
        self, name: str, route: str, answer: Answer, told: Told, since: float, hurried: bool
    ) -> str | None:
        for line in told.attempts:
            problem = self._attempt_unexplained(name, line, since, hurried)
            if problem is not None:
                return problem
        error = answer.error
        if error is None:
            self.outcomes["ok"] += 1
            good = (answer.status, answer.text, answer.framed) == (200, POEM, True) and answer.finish == "stop"
            return None if good else f"an answer that is none: {answer.status} {answer.framed} {answer.text!r}"
        kind = error.get("kind") or error.get("type")
        self.outcomes[f"{kind} {'in the stream' if answer.status == 200 else answer.status}"] += 1
        if answer.status == 200 and (answer.framed or answer.done or answer.finish):
            return "a broken stream that looks complete"
        if answer.text and not POEM.startswith(answer.text):
            return f"a broken stream of other words: {answer.text!r}"
        if kind in ("client_deadline", "deadline"):
            return None if hurried else "a deadline that nobody set"
        if any(line["outcome"] in ("failed", "truncated") for line in told.attempts):
            return None  # each was explained above
        ill = all(self.providers[letter].was_ill(since - RESTS_S) for letter in _ROUTES[route])
        return None if ill and kind in ("no_target", "rate_limited") else f"{kind} though somebody was well"

    def _attempt_unexplained(self, name: str, line: dict[str, Any], since: float, hurried: bool) -> str | None:
        provider = self.providers[line["provider"]]
        outcome, kind = line["outcome"], line.get("kind")
        if outcome in ("ok", "skipped", "hedge_lost"):
            return None
        if kind in ("client_deadline", "deadline"):
            return None if hurried else f"{kind} though nobody hurried"
        if outcome == "cancelled":
            return f"cancelled though nobody left: {line}"
        if any(kind in _FAULTS[fault][1] for fault in provider.played.get(name, ())):
            return None
        if provider.was_down(since, monotonic()) and kind in ("unreachable", "truncated", "malformed"):
            return None
        return f"{kind} at {provider.name}, which played {provider.played.get(name)}"

    # -- the log and the config

    async def _follow(self) -> None:
        """Read the log as it grows."""
        while True:
            self._rest += self._log.read()
            *lines, self._rest = self._rest.split(b"\n")
            for line in lines:
                self._take(json.loads(line))
            await asyncio.sleep(0.02)

    def _take(self, line: dict[str, Any]) -> None:
        event = line["event"]
        if event == "attempt":
            self.selections[line.get("selection") or line["outcome"]] += 1
        if event in ("task.failed", "thread.failed", "finalizer.failed") or "traceback" in line:
            self.unexplained.append(f"a fault inside: {line}")
        told = self._told.get(line.get("request_id", ""))
        if told is None:
            return
        if event == "attempt":
            told.attempts.append(line)
        elif event == "request":
            told.request = line

    async def _edit(self) -> None:
        """Edit the config for ever: mostly weights, sometimes an error."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.2, 3.0))
            if self._rng.random() < 0.15:
                self.daemon.write(config(self.providers, 1) + "routs: {}\n")
                self.reloads["rejected"] += 1
            else:
                self.daemon.write(config(self.providers, self._rng.randrange(1, 20)))
                self.reloads["written"] += 1

    # -- the end

    def _summary(self, seconds: float, warm_bytes: int, end_bytes: int, left: int) -> bool:
        grown = end_bytes - warm_bytes
        print(f"{self._number} requests in {seconds:.0f} s, {dict(self.reloads)} edits")
        print("answers   ", _counted(self.outcomes))
        print("attempts  ", _counted(self.selections))
        for name, provider in self.providers.items():
            print(f"provider {name}", _counted(provider.counts), f"down {len(provider.down)} times")
        print(f"memory     {warm_bytes / 1e6:.1f} MB warm, {end_bytes / 1e6:.1f} MB at the end: {grown / 1e6:+.1f} MB")
        print(f"descriptors left over: {left}")
        print(f"unexplained: {len(self.unexplained)}")
        for problem in deque(self.unexplained, maxlen=20):
            print(" ", problem)
        return not self.unexplained and grown <= RSS_GROWTH_BYTES and left <= DESCRIPTORS_SPARE


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())


def config(providers: Mapping[str, Provider], weight: int) -> str:
    """The config, with the one number that edits change."""
    rows = (
        f'  {name}: {{type: openai-compatible, base_url: "{provider.fake.base_url}", api_key: k}}'
        for name, provider in providers.items()
    )
    return _CONFIG.format(providers="\n".join(rows), weight=weight)


async def soak(seconds: float, seed: int) -> bool:
    """Soak so long; whether all held."""
    async with contextlib.AsyncExitStack() as exits:
        directory = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        providers = {}
        for at, name in enumerate(PROVIDERS):
            fake = await exits.enter_async_context(FakeProvider())
            providers[name] = Provider(name, fake, random.Random(seed * 100 + at))
        daemon = await exits.enter_async_context(RunningDaemon(directory, config(providers, 1)))
        return await Soak(daemon, providers, random.Random(seed)).run(seconds)


def main() -> int:
    """Parse the command line and soak."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    print(f"soaking for {given.minutes:g} minutes with seed {given.seed}", flush=True)
    return 0 if asyncio.run(soak(given.minutes * 60, given.seed)) else 1


if __name__ == "__main__":
    sys.exit(main())
