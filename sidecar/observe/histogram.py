"""Numbers counted into buckets of fixed bounds: cheap to add to, close enough to read quantiles from.

Knows numbers; knows nothing of what they measure. Times are counted in eight buckets an octave from
78 microseconds to ten minutes, so that a quantile is off by at most 9 %; every eighth bound is a
power of two times 10 ms, which are the bounds that OpenTelemetry asks for, and so the coarse buckets
of an exposition are exact sums of the fine ones. Only buckets that were hit take memory.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence

__all__ = ["DURATION_BOUNDS_S", "OVERHEAD_BOUNDS_S", "TIME_BOUNDS_S", "TOKEN_BOUNDS", "Histogram"]

_PER_OCTAVE = 8
_BASE_S = 0.01
_OCTAVES_BELOW, _OCTAVES_ABOVE = 7, 16
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

    __slots__ = ("_buckets", "bounds", "max", "total")

    def __init__(self, bounds: Sequence[float] = TIME_BOUNDS_S) -> None:
        self.bounds = bounds
        self.total = 0.0
        self.max = 0.0
        self._buckets: dict[int, int] = defaultdict(int)

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self._buckets.values())

    def observe(self, value: float) -> None:
        """Count a value; what is negative, huge or no number is left out."""
        if not 0 <= value <= _MAX_VALUE:
            return
        self._buckets[bisect_left(self.bounds, value)] += 1
        self.total += value
        if value > self.max:  # noqa: PLR1730 - half the cost of max(), on every attempt
            self.max = value

    def add(self, other: Histogram) -> None:
        """Count everything that another one of the same bounds has counted."""
        for bucket, count in other._buckets.items():
            self._buckets[bucket] += count
        self.total += other.total
        self.max = max(self.max, other.max)

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
        hit = sorted(self._buckets.items())
        place, seen = 0, 0
        for bound in bounds:
            last = bisect_left(self.bounds, bound)
            while place < len(hit) and hit[place][0] <= last:
                seen += hit[place][1]
                place += 1
            yield bound, seen
