"""Numbers counted into buckets of fixed bounds: cheap to add to, close enough to read quantiles from.

Knows numbers; knows nothing of what they measure. Times are counted in eight buckets an octave from
78 microseconds to ten minutes, so that a quantile is off by at most 9 %; every eighth bound is a
power of two times 10 ms, which are the bounds that OpenTelemetry asks for, and so the coarse buckets
of an exposition are exact sums of the fine ones. Only buckets that were hit take memory.

To observe is to append to a list. Every hundred values, and before anything is read, the list is sorted
and counted bucket by bucket, at a fraction of what finding the bucket of each value alone would cost.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence

__all__ = ["DURATION_BOUNDS_S", "OVERHEAD_BOUNDS_S", "PENDING_MAX", "TIME_BOUNDS_S", "TOKEN_BOUNDS", "Histogram"]

_PER_OCTAVE = 8
_BASE_S = 0.01
_OCTAVES_BELOW, _OCTAVES_ABOVE = 7, 16
PENDING_MAX = 128
_MAX_VALUE = 2.0**50  # what an upstream may claim in tokens is not ours to believe

TIME_BOUNDS_S: tuple[float, ...] = tuple(
    _BASE_S * 2.0 ** (step // _PER_OCTAVE) * 2.0 ** (step % _PER_OCTAVE / _PER_OCTAVE)
    for step in range(-_OCTAVES_BELOW * _PER_OCTAVE, _OCTAVES_ABOVE * _PER_OCTAVE + 1)
)
DURATION_BOUNDS_S: tuple[float, ...] = tuple(_BASE_S * 2.0**octave for octave in range(14))
OVERHEAD_BOUNDS_S: tuple[float, ...] = tuple(_BASE_S * 2.0**octave for octave in range(-_OCTAVES_BELOW, 8))
TOKEN_BOUNDS: tuple[float, ...] = tuple(4.0**power for power in range(14))


class Histogram:
    """What was observed since the start.

    Args:
        bounds: Upper bounds, inclusive, ascending; what is larger is counted in a last bucket.
    """

    __slots__ = ("_buckets", "_max", "_total", "bounds", "pending")

    def __init__(self, bounds: Sequence[float] = TIME_BOUNDS_S) -> None:
        self.bounds = bounds
        self._total = 0.0
        self._max = 0.0
        self._buckets: dict[int, int] = defaultdict(int)
        self.pending: list[float] = []  # values that are yet to be counted; whoever appends here calls `settle` in time

    @property
    def total(self) -> float:
        """The sum of all values."""
        self.settle()
        return self._total

    @property
    def max(self) -> float:
        """The largest value, 0 if there is none."""
        self.settle()
        return self._max

    @property
    def count(self) -> int:
        """How many values were observed."""
        self.settle()
        return sum(self._buckets.values())

    def observe(self, value: float) -> None:
        """Count a value; what is negative, huge or no number is left out."""
        self.pending.append(value)
        if len(self.pending) >= PENDING_MAX:
            self.settle()

    def settle(self) -> None:
        """Count what is pending."""
        if not self.pending:
            return
        values = sorted([value for value in self.pending if 0 <= value <= _MAX_VALUE])
        self.pending.clear()
        place = 0
        while place < len(values):
            bucket = bisect_left(self.bounds, values[place])
            behind = bisect_right(values, self.bounds[bucket], place) if bucket < len(self.bounds) else len(values)
            self._buckets[bucket] += behind - place
            place = behind
        if values:
            self._total += sum(values)
            self._max = max(self._max, values[-1])

    def add(self, other: Histogram) -> None:
        """Count everything that another one of the same bounds has counted."""
        self.settle()
        other.settle()
        for bucket, count in other._buckets.items():
            self._buckets[bucket] += count
        self._total += other._total
        self._max = max(self._max, other._max)

    def quantile(self, share: float) -> float | None:
        """The value that this share (0..1) of the values does not exceed, within a bucket; None without values."""
        count = self.count
        if not count:
            return None
        wanted, seen = share * count, 0
        for bucket in sorted(self._buckets):
            inside = self._buckets[bucket]
            if seen + inside >= wanted and bucket < len(self.bounds):
                low = self.bounds[bucket - 1] if bucket else 0.0
                high = min(self.bounds[bucket], self.max)
                return low + (high - low) * (wanted - seen) / inside
            seen += inside
        return self.max

    def cumulative(self, bounds: Sequence[float]) -> Iterator[tuple[float, int]]:
        """For each bound how many values do not exceed it; exact for bounds that are among our own."""
        self.settle()
        hit = sorted(self._buckets.items())
        place, seen = 0, 0
        for bound in bounds:
            last = bisect_left(self.bounds, bound)
            while place < len(hit) and hit[place][0] <= last:
                seen += hit[place][1]
                place += 1
            yield bound, seen
