"""More connections than there should be: idle ones, and more than there are descriptors for."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider, ok
from tests.limits.bounds import MIB, bounded, connected, many_descriptors, well
from tests.limits.conftest import CONFIG
from tests.server.raw import chat_body, head, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

_IDLE = 10_000
_SPARE = 500  # descriptors that this process and the daemon need beside
_FEW = 120


@pytest.mark.timeout(150)
async def test_ten_thousand_idle_connections(daemon: RunningDaemon) -> None:
    with many_descriptors(_IDLE + _SPARE) as most:
        count = min(_IDLE, most - _SPARE)
        if count < _IDLE:
            print(f"only {count} connections: this process may open no more than {most} files")
        request = head("GET", "/healthz", host=f"127.0.0.1:{daemon.port}")
        async with bounded(daemon, count * 16 * 1024 + 20 * MIB, f"{count} idle connections"):
            socks: list[socket.socket] = []
            try:
                for _ in range(count):
                    socks.append(connected(daemon))
                    socks[-1].send(request)
                for sock in socks:
                    assert sock.recv(1024).startswith(b"HTTP/1.1 200")
                await well(daemon)
            finally:
                for number, sock in enumerate(socks):  # they leave quickly, but not in one instant
                    sock.close()
                    if number % 500 == 0:
                        await asyncio.sleep(0.05)


async def test_descriptors_that_run_out(fake: FakeProvider, tmp_path: Path) -> None:
    """The daemon alone is given few; whoever comes too late is turned away, and there is room for the rest."""
    fake.script(ok("fine"))
    config = CONFIG.format(url=fake.base_url, well=fake.base_url)
    async with RunningDaemon(tmp_path, config) as daemon:
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (_FEW, _FEW))
        async with bounded(daemon, 20 * MIB, "twice as many connections as descriptors"):
            socks = [connected(daemon) for _ in range(2 * _FEW)]
            try:
                for sock in socks:
                    with contextlib.suppress(ConnectionError):
                        sock.send(head("GET", "/healthz", host=f"127.0.0.1:{daemon.port}"))
                answers = [await asyncio.to_thread(_answer, sock) for sock in socks]
                assert answers.count(b"HTTP/1.1 200") == _FEW - 40
                assert b"HTTP/1.1 503" in answers  # told, as far as there are descriptors to tell it by
                assert (await daemon.admin("GET", "/status"))[0] == 200
                socks[0].send(post(chat_body(), host=f"127.0.0.1:{daemon.port}"))
                assert await asyncio.to_thread(_answer, socks[0]) == b"HTTP/1.1 200"  # who is in, is served
            finally:
                for sock in socks:
                    sock.close()
            await asyncio.sleep(0.1)
        for _ in range(5):
            assert (await daemon.chat())[0] == 200


def _answer(sock: socket.socket) -> bytes:
    try:
        return sock.recv(4096)[:12]
    except OSError:
        return b""
