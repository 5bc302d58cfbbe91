"""What passes a request and an event costs a counted number of function calls, so that a careless change is seen.

A count is the same on every machine and at every hour, which no time is. The sockets are left out: the two
connections are handed the bytes, and what they write is taken from them. What was found when this was written
stands beside each limit; when a change costs more and is worth it, raise the limit in the same commit.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from types import FrameType

import pytest
from aiohttp import web

from sidecar.manager import LLMManager
from sidecar.model.settings import Balance, ListenSettings
from sidecar.observe.log import DebugLogger
from sidecar.server.connection import Connection as ClientConnection
from sidecar.server.data_plane import DataPlane
from sidecar.server.door import Hall
from sidecar.server.doors import guard_of
from sidecar.server.lane import Lane
from sidecar.sources.configuration import ConfigurationManager
from sidecar.upstream.http import Connection as UpstreamConnection
from sidecar.upstream.pool import Pool

PLAIN_CALLS = 125  # 104
POOL_CALLS = 40  # 0 to 24 more for a thousand targets; a look at every one would be 9,000
TURN_CALLS = 170  # 117 for a request to a pool of three that take turns, 160 with unequal weights
LONG_CALLS = 300  # 205 to 226, where they do not
EVENT_CALLS = 9  # 8
BURST_EVENT_CALLS = 0.5  # 0.01, of a burst of 100
ROUNDS = 20
IN_TURN = (Balance.WEIGHTED, Balance.ROUND_ROBIN)

CONFIG = """
listen: ["127.0.0.1:4141"]
providers: {up: {type: openai-compatible, base_url: "http://127.0.0.1:9/v1", api_key: key}}
routes: {fast: {chain: [up/model]}}
"""
ANSWER = (
    b'{"model":"model","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}'
)


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class Pair:
    """The connection of a client, and that to a provider, of one manager."""

    def __init__(self, manager: LLMManager) -> None:
        hall = Hall(manager)
        guard = guard_of(ListenSettings("127.0.0.1:4141"), 4141)
        plane = DataPlane(manager, guard, hall.refusals)
        lane = Lane(manager, guard, hall.patrol)
        server = web.Server(plane.handle, handler_cancellation=True)
        self.client = ClientConnection(server, hall.limits, hall.crowd, hall.refusals, set(), lane=lane)
        self.answered = Wire()
        self.client.connection_made(self.answered)
        pool = manager.registry.account(manager.snapshot.providers["up"]).transport
        assert isinstance(pool, Pool)
        self.upstream = UpstreamConnection(pool, "up")
        self.asked = Wire()
        self.upstream.connection_made(self.asked)
        self.upstream.idle_since = monotonic()
        pool.keep(self.upstream)

    def ask(self, *pieces: bytes, stream: bool = False) -> None:
        """One request, answered by these pieces."""
        body = b'{"model":"fast","stream":%b,"messages":[{"role":"user","content":"Hi"}]}' % (
            b"true" if stream else b"false"
        )
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:4141\r\nContent-Type: application/json\r\n"
        self.client.data_received(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        for piece in pieces:
            self.upstream.data_received(piece)


@asynccontextmanager
async def paired(directory: Path, config: str) -> AsyncIterator[Pair]:
    path = directory / "sidecar.yaml"
    path.write_text(config)
    manager = LLMManager(ConfigurationManager(str(path), environ={}), debug_logger=DebugLogger(lambda _: None))
    pair = Pair(manager)
    await asyncio.sleep(0)
    yield pair
    pair.client.connection_lost(None)
    pair.upstream.connection_lost(None)
    await manager.cleanup()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with paired(tmp_path, CONFIG) as pair:
        yield pair


def calls(run: Callable[[], None]) -> float:
    """Python functions that one run calls, after some that fill what is kept."""
    for _ in range(ROUNDS):
        run()
    count = 0

    def counted(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        for _ in range(ROUNDS):
            run()
    finally:
        sys.setprofile(before)
    return count / ROUNDS


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(number: int, finish: bytes = b"null") -> bytes:
    return chunk(
        b'data: {"model":"model","choices":[{"index":0,"delta":{"content":"word %d "},"finish_reason":%b}]}\n\n'
        % (number, finish)
    )


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = event(99, b'"stop"') + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def test_a_plain_request_costs_a_counted_number_of_calls(pair: Pair) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(ANSWER),
        ANSWER,
    )
    made = calls(lambda: pair.ask(answer))
    assert len(pair.answered.written) == 2 * ROUNDS
    assert all(said.startswith(b"HTTP/1.1 200 ") and said.endswith(ANSWER) for said in pair.answered.written)
    assert 0 < made <= PLAIN_CALLS


@pytest.mark.parametrize(
    ("balance", "weights"), [*((balance, 1) for balance in Balance), (Balance.WEIGHTED, 3), (Balance.RANDOM, 3)]
)
async def test_a_large_pool_costs_what_a_small_one_does(tmp_path: Path, balance: Balance, weights: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(ANSWER),
        ANSWER,
    )
    made = []
    for members in (3, 1000):
        pool = ", ".join(f"up/model-{number}: {1 + number % weights}" for number in range(members))
        config = CONFIG.replace("{chain: [up/model]}", f"{{balance: {balance}, chain: [{{{pool}}}]}}")
        async with paired(tmp_path, config) as pair:
            for _ in range(members):
                pair.ask(answer)
            made.append(calls(lambda pair=pair: pair.ask(answer)))  # type: ignore[misc]
            assert len(pair.answered.written) == members + 2 * ROUNDS
    assert 0 < made[0] <= (TURN_CALLS if balance in IN_TURN else LONG_CALLS)
    assert made[1] - made[0] <= POOL_CALLS


async def test_an_event_costs_a_counted_number_of_calls(pair: Pair) -> None:
    first, events = HEAD + event(0), [event(number) for number in range(1, 51)]
    few = calls(lambda: pair.ask(first, events[0], LAST, stream=True))
    many = calls(lambda: pair.ask(first, *events, LAST, stream=True))
    assert pair.answered.written[-1].endswith(b"0\r\n\r\n")
    assert 0 < (many - few) / 49 <= EVENT_CALLS


async def test_a_request_leaves_nothing_that_waits_for_the_collector(pair: Pair) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(ANSWER),
        ANSWER,
    )

    def whole() -> None:
        pair.ask(answer)

    def stream() -> None:
        pair.ask(HEAD + event(0), event(1), LAST, stream=True)

    for ask in (whole, stream):
        ask()
        gc.collect()
        gc.disable()
        try:
            for _ in range(ROUNDS):
                ask()
            assert gc.collect() == 0
        finally:
            gc.enable()


async def test_an_event_of_a_burst_costs_next_to_nothing(pair: Pair) -> None:
    ten, hundred = (HEAD + b"".join(map(event, range(count))) + LAST for count in (11, 101))
    few = calls(lambda: pair.ask(ten, stream=True))
    many = calls(lambda: pair.ask(hundred, stream=True))
    assert pair.answered.written[-1].endswith(b"0\r\n\r\n")
    assert few > 0
    assert (many - few) / 90 <= BURST_EVENT_CALLS
