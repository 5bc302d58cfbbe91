"""A retry budget: retries are a share of recent requests, however much fails.

The argument. With a fixed number of retries for each request, a provider that fails everything gets
its load multiplied just when it can bear it least. A budget bounds the multiplication instead: every
request deposits a fraction of a token, every retry takes a whole one, and what was deposited is worth
something for `ttl_s` only. At 20 % retries add a fifth to the load, whatever happens. A floor of
`min_per_s` lets a quiet client retry too, whose share of recent requests rounds to nothing.

Only what multiplies load draws here: retries at the same target, and hedges. A failover moves load
and is free. Source: Finagle's RetryBudget.
"""

from __future__ import annotations

from collections import deque

from sidecar.model.settings import BudgetSettings

__all__ = ["RetryBudget"]

_RECENT_REQUESTS = 2000  # then half of what was counted is forgotten
_SLOTS = 10  # the ttl is forgotten in tenths


class RetryBudget:
    """Deposits less withdrawals over the last `ttl_s`, plus the floor; lives as long as the daemon."""

    __slots__ = ("_balance", "_current", "_floor", "_hedges", "_requests", "_share", "_slot_end", "_slot_s", "_slots")

    def __init__(self, settings: BudgetSettings) -> None:
        self._share = settings.percent / 100
        self._floor = settings.min_per_s * settings.ttl_s
        self._slot_s = settings.ttl_s / _SLOTS
        self._slots: deque[float] = deque(maxlen=_SLOTS - 1)  # nets of the slots that are over
        self._balance = 0.0  # their sum
        self._current = 0.0
        self._slot_end = 0.0
        self._requests = 0  # recent ones, like the hedges: their ratio is what is bounded
        self._hedges = 0.0

    def deposit(self, now: float) -> None:
        """Count one request."""
        if now >= self._slot_end:
            self._roll(now)
        self._current += self._share
        self._requests += 1
        if self._requests >= _RECENT_REQUESTS:
            self._requests //= 2
            self._hedges /= 2

    def withdraw(self, now: float) -> bool:
        """Take the right to one retry, if there is one."""
        if self.available(now) < 1:
            return False
        self._current -= 1
        return True

    def withdraw_hedge(self, now: float, max_extra_load: float) -> bool:
        """Take the right to one hedge: a retry's, and hedges stay below so many percent of all requests."""
        if (self._hedges + 1) * 100 > self._requests * max_extra_load or not self.withdraw(now):
            return False
        self._hedges += 1
        return True

    def available(self, now: float) -> float:
        """How many retries may be taken now."""
        if now >= self._slot_end:
            self._roll(now)
        return self._floor + self._balance + self._current

    def _roll(self, now: float) -> None:
        """Close the slots that are over; what falls out of the window is forgotten, debts included."""
        passed = int((now - self._slot_end) / self._slot_s) + 1
        self._slots.append(self._current)
        self._slots.extend([0.0] * min(passed - 1, _SLOTS))
        self._balance = sum(self._slots)
        self._current = 0.0
        self._slot_end += passed * self._slot_s
