"""What two requests tell their clients and the log, without what differs between any two."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from tests.fake_provider import FakeProvider
from tests.server.raw import RawReply

__all__ = ["WIRES", "line_of", "played_twice", "told_by"]

WIRES = ("direct", "plain")  # the first lets requests go the short way, the second does not

_OF_ITS_OWN = ("date", "x-request-id", "request-id", "content-length", "connection")
_DURATION = re.compile(rb'"duration_s":[0-9.e-]+')
_TIMES = ("ts", "connect_s", "duration_s", "first_token_s", "request_id", "upstream_request_id")
_OVERHEAD_S = 0.35  # far more than ours, and less than any silence is waited for


def told_by(reply: RawReply) -> Any:
    """What a client is told, but for what differs between any two requests."""
    kept = [pair for pair in reply.headers if pair[0] not in _OF_ITS_OWN]
    body = _DURATION.sub(b"", reply.body) if reply.status == 200 else reply.error["message"]
    return reply.status, reply.complete, sorted(kept), body


def line_of(line: dict[str, Any]) -> dict[str, Any]:
    """What differs by times is left out: so is the size of an error, which tells how long each attempt took."""
    is_good = line["outcome"] == "ok" and line.get("status") == 200
    timed = _TIMES if is_good else (*_TIMES, "bytes_out")
    kept = {key: value for key, value in line.items() if key not in timed}
    return kept | {"overhead_s": line.get("overhead_s", 0.0) < _OVERHEAD_S}


async def played_twice(play: Callable[[FakeProvider, str], Awaitable[tuple[Any, ...]]]) -> list[list[str]]:
    """What came of the same with each wire, told without what differs between two providers."""

    async def played(wire: str) -> list[str]:
        async with FakeProvider() as fake:
            return [repr(each).replace(f":{fake.port}", ":port") for each in await play(fake, wire)]

    return [*await asyncio.gather(*map(played, WIRES))]
