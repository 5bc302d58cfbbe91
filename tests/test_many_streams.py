"""A thousand streams over two listeners, then every client leaves: nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider, ok
from tests.starvation import starvation

_STREAMS = 1000
_GROWTH_BYTES = 15 * 1024 * 1024
_LEFT_WITHIN_S = 1.0


@pytest.fixture(autouse=True)
def _room_for_the_sockets_of_both_ends() -> Iterator[None]:
    """Clients and the fake provider live in this process: two descriptors a stream, beside the daemon's own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _request(host: str) -> bytes:
    body = json.dumps({"model": "default", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


async def _open(daemon: RunningDaemon, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has read the first content of its stream."""
    if number % 2:
        reader, writer = await asyncio.open_unix_connection(daemon.socket)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(_request("localhost" if number % 2 else f"127.0.0.1:{daemon.port}"))
    await asyncio.wait_for(reader.readuntil(b"alpha"), 60)
    return reader, writer


def _descriptors(daemon: RunningDaemon) -> int:
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


async def _in_flight(daemon: RunningDaemon) -> int:
    _, told = await daemon.admin("GET", "/status")
    return int(told["in_flight"])


async def test_a_thousand_streams_leave_nothing_behind(tmp_path: Path) -> None:
    async with FakeProvider() as fake:
        fake.script(ok("alpha beta gamma delta", stall_after=1))
        config = f"""
providers:
  fake: {{type: openai-compatible, base_url: "{fake.base_url}", api_key: k}}
routes:
  default: {{chain: [fake/m]}}
health: {{mode: "off"}}  # a check's connection would stay
"""
        async with RunningDaemon(tmp_path, config) as daemon:
            await _round(daemon, fake, 50)  # warms what a first request makes once
            await asyncio.sleep(0.5)
            idle_bytes, idle_descriptors = daemon.rss_bytes, _descriptors(daemon)
            await _round(daemon, fake, _STREAMS)
            lines = await daemon.wait_log("request", count=50 + _STREAMS, outcome="cancelled")
            assert len(lines) == 50 + _STREAMS
            assert len(daemon.log_lines("attempt", outcome="cancelled", kind="client_gone")) == 50 + _STREAMS
            assert await _in_flight(daemon) == 0
            await daemon.until(lambda: _descriptors(daemon) <= idle_descriptors, "descriptors are left")
            grown = "more than 15 MB above the idle level"
            await daemon.until(lambda: daemon.rss_bytes - idle_bytes < _GROWTH_BYTES, grown, 10)


async def _round(daemon: RunningDaemon, fake: FakeProvider, count: int) -> None:
    before = len(fake.calls)
    clients = await asyncio.gather(*(_open(daemon, number) for number in range(count)))
    assert len(fake.calls) - before == count
    assert await _in_flight(daemon) == count
    async with starvation() as starved:
        for _, writer in clients:
            writer.transport.abort()
        left_at = monotonic()
        await fake.wait_closed_connections(60)
        took_s = monotonic() - left_at
        assert took_s <= _LEFT_WITHIN_S + starved.allowance_s
    del clients
    gc.collect()
