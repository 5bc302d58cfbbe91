"""Requests and failures of the last seconds, for a rule on the share of failures.

A sliding window in tenths: what is older than the window and up to a tenth of it is forgotten. The
sums are kept while counting, so that a request costs two additions and a rule reads two numbers.
"""

from __future__ import annotations

__all__ = ["Window"]

_TENTHS = 10


class Window:
    """Counts over the last `window_s`; the sums are up to date after `slide`."""

    __slots__ = ("_at", "_end", "_failed", "_seen", "_tenth_s", "failures", "requests")

    def __init__(self, window_s: float) -> None:
        self._tenth_s = window_s / _TENTHS
        self._seen = [0] * _TENTHS
        self._failed = [0] * _TENTHS
        self._at = 0  # the current tenth
        self._end = 0.0  # when it is over
        self.requests = 0
        self.failures = 0

    def add_success(self, now: float) -> None:
        """Count one request that went well."""
        if now >= self._end:
            self.slide(now)
        self._seen[self._at] += 1
        self.requests += 1

    def add_failure(self, now: float) -> None:
        """Count one request that failed."""
        self.add_success(now)
        self._failed[self._at] += 1
        self.failures += 1

    def slide(self, now: float) -> None:
        """Forget the tenths that have left the window."""
        if now < self._end:
            return
        passed = int((now - self._end) / self._tenth_s) + 1
        for _ in range(min(passed, _TENTHS)):
            self._at = (self._at + 1) % _TENTHS
            self.requests -= self._seen[self._at]
            self.failures -= self._failed[self._at]
            self._seen[self._at] = self._failed[self._at] = 0
        self._end += passed * self._tenth_s

    def clear(self) -> None:
        """Start anew."""
        self._seen = [0] * _TENTHS
        self._failed = [0] * _TENTHS
        self.requests = self.failures = 0
