"""Prompts that come and go without fresh pages each time, which would cost more than copying them does."""

from __future__ import annotations

import asyncio
import contextlib
import platform
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider, ok
from tests.server.raw import RawClient, chat_body, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

_CLIENTS = 16
_PROMPTS = 12
_ROUNDS = 6
_PAGES_MOST = 2.0  # of a prompt that is 25 pages long, and is copied several times


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps its heap in another way")
async def test_prompts_of_100_kb_need_no_fresh_pages(daemon: RunningDaemon, fake: FakeProvider) -> None:
    """As it would be now and then, by the luck of the heap's order, were it not seen to."""
    fake.script(ok("fine"))
    request = post(chat_body(messages=[{"role": "user", "content": "lorem ipsum " * 8_333}]))

    async def ask(client: RawClient) -> None:
        for _ in range(_PROMPTS):
            assert (await client.ask(request)).status == 200

    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await RawClient.to(daemon.socket)) for _ in range(_CLIENTS)]
        pages: list[float] = []
        for _ in range(_ROUNDS):  # in the first ones the heap may still grow
            before = _faults(daemon)
            await asyncio.gather(*map(ask, clients))
            pages.append((_faults(daemon) - before) / (_CLIENTS * _PROMPTS))
            if pages[-1] < _PAGES_MOST:
                return
    raise AssertionError(f"so many fresh pages a prompt, in each round: {pages}")


def _faults(daemon: RunningDaemon) -> int:
    """How many pages the daemon's process has got so far."""
    return int(Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()[7])
