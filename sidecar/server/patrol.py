"""One timer for the deadlines of everything that is under way without a task of its own.

Most deadlines are never reached: a timer for each would be made and cancelled for nothing. A deadline may
move away at any time, unsaid; one that comes nearer is said by `note`. The timer looks at them all when
the nearest that was ever said has come, which is seldom, and sleeps on until the nearest of those left.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

__all__ = ["Patrol", "Watched"]

_ROUND_S = 0.002  # no two rounds are closer


class Watched(Protocol):
    """What has a deadline."""

    @property
    def due(self) -> float:
        """The moment, on the monotonic clock."""

    def late(self) -> None:
        """It has come; told once."""


class Patrol:
    """The deadlines of one event loop."""

    def __init__(self) -> None:
        self._watched: set[Watched] = set()
        self.next_at = float("inf")  # when it will look; only a deadline before that need be noted
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, each: Watched) -> None:
        """Look after this one until `forget`, or until it is late."""
        self._watched.add(each)

    def forget(self, each: Watched) -> None:
        """No more. Idempotent."""
        self._watched.discard(each)

    def note(self, due: float) -> None:
        """A deadline was set, or has moved."""
        if due < self.next_at:
            self._arm(due)

    def _arm(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.next_at = moment
        wait_s = max(_ROUND_S, moment - monotonic())
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._round)

    def _round(self) -> None:
        self._timer = None
        self.next_at = float("inf")
        now = monotonic()
        late = [each for each in self._watched if each.due <= now]
        for each in late:
            self._watched.discard(each)
            each.late()
        nearest = min((each.due for each in self._watched), default=float("inf"))
        if nearest < self.next_at:
            self._arm(nearest)
