"""A manager behind real doors in the test's own process: the data plane without the daemon around it."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from sidecar.manager import LLMManager
from sidecar.model.failures import Failure, Kind
from sidecar.observe.log import DebugLogger
from sidecar.server.door import Hall
from sidecar.server.doors import Doors
from sidecar.sources.configuration import ConfigurationManager
from tests.server.raw import RawClient, RawReply

__all__ = ["House", "config", "open_house"]


def config(base_url: str, *, wire: str = "direct", **sections: str) -> str:
    """A config with one provider `fake` that the default route asks; a section is YAML in flow style."""
    given = {
        "wire": wire,
        "providers": f'{{fake: {{type: openai-compatible, base_url: "{base_url}", api_key: k-fake}}}}',
        "routes": "{default: {chain: [fake/m]}}",
        "health": '{mode: "off"}',
        "resilience": "{same_target_retries: 0}",
        **sections,
    }
    return "".join(f"{name}: {text}\n" for name, text in given.items())


class House:
    """What a test may ask; lives as long as its `open_house`."""

    def __init__(self, manager: LLMManager, doors: Doors, run: str, written: list[bytes]) -> None:
        self.manager = manager
        self.doors = doors
        self.run = run
        self._written = written
        self.faults: list[str] = []  # what no task caught

    @property
    def port(self) -> int:
        return int(next(each for each in self.doors.addresses if not each.startswith("unix:")).rpartition(":")[2])

    @property
    def socket(self) -> str:
        return f"{self.run}/s"

    def where(self, via: str) -> int | str:
        """What `RawClient.to` takes for `tcp` or `unix`."""
        return self.port if via == "tcp" else self.socket

    def host(self, via: str) -> str:
        """The Host header that is right there."""
        return f"localhost:{self.port}" if via == "tcp" else "localhost"

    async def once(self, via: str, request: bytes) -> RawReply:
        """One request on a connection of its own."""
        async with await RawClient.to(self.where(via)) as client:
            return await client.ask(request)

    def break_target(self) -> None:
        """Let the only target fail, by requests that nobody sent, until its breaker opens."""
        [state] = self.manager.rooms.book.states
        while state.breaker.state == "closed":
            now = monotonic()
            epoch = state.begin(now)
            state.release(epoch)
            self.manager.book.fail(state, epoch, Failure(Kind.SERVER_ERROR, "boom"), duration_s=0.01, now=now)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event; every line must be JSON."""
        parsed = [json.loads(line) for line in self._written]
        return [line for line in parsed if line["event"] == event]

    async def wait_lines(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """The same, once there are so many."""
        async with asyncio.timeout(5):
            while len(self.lines(event)) < count:
                await asyncio.sleep(0.005)
        return self.lines(event)


@asynccontextmanager
async def open_house(text: str) -> AsyncIterator[House]:
    """Serve this config by TCP and by a Unix socket; what fails inside fails the test."""
    run = tempfile.mkdtemp(prefix="sc-", dir="/tmp")
    written: list[bytes] = []
    listen = f'listen: ["127.0.0.1:0", "unix:{run}/s"]\n'
    configuration = ConfigurationManager.from_text(listen + text, environ={})
    manager = LLMManager(configuration, debug_logger=DebugLogger(written.append))
    doors = Doors(manager, Hall(manager))
    house = House(manager, doors, run, written)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: house.faults.append(repr(context)))
    try:
        await doors.commit(doors.prepare(manager.snapshot.settings.listen), linger_s=0)
        yield house
        assert not house.faults
    finally:
        await doors.close(0.5)
        await manager.cleanup()
        loop.set_exception_handler(None)
        shutil.rmtree(run, ignore_errors=True)
