"""How late the event loop is: the one figure that tells of whatever blocks it.

Everything of a process waits for its loop: a loop that is 50 ms late adds 50 ms to every request of that
moment. Ten times a second a timer is set and its lateness taken; what is told is the largest of the last
quarter to half minute, so that no scrape misses it. The clock's own grain is about a millisecond.
"""

from __future__ import annotations

import asyncio
from time import monotonic

__all__ = ["LoopLag"]

_EVERY_S = 0.1
_SLOT_S = 15.0


class LoopLag:
    """The lateness of one loop, from `run` on."""

    __slots__ = ("_before_s", "_now_s", "_slot_end")

    def __init__(self) -> None:
        self._before_s = 0.0  # the largest of the slot before
        self._now_s = 0.0  # of this one, so far
        self._slot_end = 0.0

    @property
    def recent_s(self) -> float:
        """The largest of the last 15 to 30 seconds."""
        return max(self._before_s, self._now_s)

    def note(self, late_s: float, now: float) -> None:
        """A timer was so late at this moment."""
        if now >= self._slot_end:
            self._before_s, self._now_s = self._now_s, 0.0
            self._slot_end = now + _SLOT_S
        self._now_s = max(self._now_s, late_s)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            due = monotonic() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            now = monotonic()
            self.note(max(0.0, now - due), now)
