"""Clients that ask a daemon all the time, while a test does something to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.daemon import RunningDaemon

__all__ = ["CLIENTS", "traffic"]

CLIENTS = 4
_PAUSE_S = 0.02  # between two requests of a client: the machine is not what is tested


@contextlib.asynccontextmanager
async def traffic(daemon: RunningDaemon) -> AsyncIterator[list[tuple[int, str]]]:
    """Clients that ask one after the other, streaming and not; every answer's status and target.

    An answer that is not complete has the status -1.
    """
    answers: list[tuple[int, str]] = []
    over = False

    async def client(number: int) -> None:
        while not over:
            status, headers, body = await daemon.chat(stream=bool(number % 2))
            complete = b"[DONE]" in body if number % 2 else body.endswith(b"}")
            answers.append((status if complete else -1, headers.get("x-sidecar-target", "")))
            await asyncio.sleep(_PAUSE_S)

    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    try:
        yield answers
    finally:
        over = True
        await asyncio.gather(*clients)
