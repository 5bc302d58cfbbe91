"""The attempts of one request that run at the same time: each in a task of its own, until one is judged.

Only hedged requests come here; an ordinary attempt needs no task beside the request's own.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from sidecar.manager.recorder import Recorder
from sidecar.model.failures import Failure
from sidecar.model.records import Outcome
from sidecar.routing.commands import Try
from sidecar.upstream.prompt import PromptExchange

__all__ = ["Field"]

_Start = asyncio.Task[Failure | None]


class Field:
    """The runners of one race.

    Args:
        recorder: Writes down those that do not finish.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._runners: dict[_Start, tuple[PromptExchange, Try]] = {}

    @property
    def running(self) -> bool:
        """Whether somebody has not been judged yet."""
        return bool(self._runners)

    def enter(self, exchange: PromptExchange, command: Try) -> None:
        """Let an attempt begin."""
        task = asyncio.get_running_loop().create_task(exchange.start())
        self._runners[task] = (exchange, command)

    async def decided(self, timeout_s: float) -> bool:
        """Wait so long for the first judgement; whether there is one."""
        done, _ = await asyncio.wait(self._runners, timeout=timeout_s)
        return bool(done)

    async def next(self) -> tuple[PromptExchange, Try, Failure | None]:
        """The next attempt that is judged; it leaves the field."""
        done, _ = await asyncio.wait(self._runners, return_when=asyncio.FIRST_COMPLETED)
        task = next(task for task in self._runners if task in done)
        exchange, command = self._runners.pop(task)
        return exchange, command, task.result()

    def stop(self, failure: Failure) -> None:
        """Let all fail now, with this."""
        for exchange, _ in self._runners.values():
            exchange.stop(failure)

    def close(self, outcome: Outcome, failure: Failure | None) -> None:
        """End those that still run. Idempotent."""
        runners, self._runners = self._runners, {}
        for task, (exchange, command) in runners.items():
            task.cancel()
            exchange.close()
            self._recorder.attempted(exchange, command, outcome, failure, now=monotonic())
