"""How long this process was kept from running: what a busy machine adds to every time that is measured.

A bound in seconds then tells a slow program from a slow machine: on an idle one it is the bound itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from time import monotonic

__all__ = ["Starvation", "starvation"]

_TICK_S = 0.01
_OTHERS = 4  # the daemon, which does more, waits for a core as often as this process does, and for this one besides


class Starvation:
    """One measurement; goes on as long as its scope."""

    def __init__(self) -> None:
        self._late_s = 0.0

    @property
    def allowance_s(self) -> float:
        """What may be added to a bound."""
        return _OTHERS * self._late_s

    async def measure(self) -> None:
        """Sleep in ticks until cancelled, and sum up how late each came."""
        while True:
            asleep_at = monotonic()
            await asyncio.sleep(_TICK_S)
            self._late_s += max(0.0, monotonic() - asleep_at - 2 * _TICK_S)


@contextlib.asynccontextmanager
async def starvation() -> AsyncIterator[Starvation]:
    """Measure it as long as the scope lasts."""
    measured = Starvation()
    task = asyncio.create_task(measured.measure())
    try:
        yield measured
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
