"""How fast a target answers, and how long it is worth waiting for: averages and the limits made of them.

Three different facts are learnt from answers that went well: when the response's head came, when its
first content came, and, of plain answers, when it was whole. Each has its own average and its own
limit. A fourth average, the peak, serves balancing: it jumps up at once and comes down slowly, and a
failure is recorded in it as a slow answer, lest a provider that refuses in 30 ms be the fastest.

The limit on the first content is `clamp(factor x average, min, max)`, with four exceptions:

- A model known to reason, as long as it has no average, and a request that asks for reasoning start
  at the maximum.
- An attempt that was abandoned after its head had come raises the limit threefold, at most once in
  60 s and until the next success: a slow model costs one needless failover. Silence without a head
  raises nothing, and has a limit of its own, from the average of heads.
- A half-open probe gets no raise: it is a question, not a promise.
- The last target that can be asked gets all the time there is.
"""

from __future__ import annotations

from collections import deque
from math import exp

from sidecar.model.settings import AutoLimit
from sidecar.routing.backoff import clamp

__all__ = ["Average", "Peak", "Speed"]

_DECAY_S = 60.0
_RAISE_FACTOR = 3.0
_RAISE_EVERY_S = 60.0
_RECENT = 100  # first contents that are remembered one by one
_ENOUGH = 20  # of them, to say what is usual
_SHARE = 0.2  # of the newest value in an average


class Average:
    """An exponentially weighted mean of durations; None until there is one."""

    __slots__ = ("value_s",)

    def __init__(self) -> None:
        self.value_s: float | None = None

    def add(self, duration_s: float) -> None:
        """Take a duration in."""
        old = self.value_s
        self.value_s = duration_s if old is None else old + _SHARE * (duration_s - old)


class Peak:
    """A mean that jumps to a new maximum and decays in 60 s, also while nothing is added.

    That it decays unasked gives a target that was slow once its next chance.
    """

    __slots__ = ("_at", "_value_s")

    def __init__(self) -> None:
        self._value_s = 0.0
        self._at = 0.0

    def add(self, duration_s: float, now: float) -> None:
        """Take a duration in."""
        old = self._value_s
        if duration_s >= old:
            self._value_s = duration_s
        else:
            kept = exp((self._at - now) / _DECAY_S)
            self._value_s = old * kept + duration_s * (1 - kept)
        self._at = now

    def value(self, now: float) -> float:
        """Seconds; 0 of a target that nothing is known of, which is therefore tried."""
        return self._value_s * exp((self._at - now) / _DECAY_S)


class Speed:
    """What one target's answers have taught of its speed."""

    __slots__ = ("_raised_at", "_raised_s", "_recent", "answers", "first_contents", "heads", "peak")

    def __init__(self) -> None:
        self.heads = Average()
        self.first_contents = Average()
        self.answers = Average()  # whole ones, not streamed
        self.peak = Peak()
        self._recent: deque[float] = deque(maxlen=_RECENT)  # first contents
        self._raised_s: float | None = None
        self._raised_at: float | None = None

    def content_came(self, first_content_s: float, head_s: float | None, now: float) -> None:
        """A stream's first content has come."""
        if head_s is not None:
            self.heads.add(head_s)
        self.first_contents.add(first_content_s)
        self.peak.add(first_content_s, now)
        self._recent.append(first_content_s)

    def usual_first_content(self) -> float | None:
        """Seconds within which 95 % of the recent first contents came; None while too few are known."""
        if len(self._recent) < _ENOUGH:
            return None
        return sorted(self._recent)[int(len(self._recent) * 0.95)]

    def head_limit(self, limit: AutoLimit) -> float:
        """Seconds to the head; where heads were never timed, first contents stand in for them."""
        known = self.heads.value_s
        return _learnt(self.first_contents.value_s if known is None else known, limit, limit.min_s)

    def first_content_limit(self, limit: AutoLimit, *, reasoning: bool) -> float:
        """Seconds to the first content, without any raise; a reasoning model starts at the maximum."""
        return _learnt(self.first_contents.value_s, limit, limit.max_s if reasoning else limit.min_s)

    def answer_limit(self, limit: AutoLimit) -> float:
        """Seconds to a whole answer."""
        return _learnt(self.answers.value_s, limit, limit.min_s)

    def raised(self, limit_s: float, limit: AutoLimit) -> float:
        """The limit on the first content with what abandoned attempts have made of it."""
        if self._raised_s is None or limit.fixed_s is not None:
            return limit_s
        return max(limit_s, min(self._raised_s, limit.max_s))

    def abandon(self, limit_s: float, now: float) -> None:
        """An attempt was abandoned at this limit though its head had come."""
        if self._raised_at is None or now - self._raised_at >= _RAISE_EVERY_S:
            self._raised_at = now
            self._raised_s = _RAISE_FACTOR * limit_s

    def settle(self) -> None:
        """A success: back to the average."""
        self._raised_s = None


def _learnt(average_s: float | None, limit: AutoLimit, unknown_s: float) -> float:
    if limit.fixed_s is not None:
        return limit.fixed_s
    if average_s is None:
        return unknown_s
    return clamp(limit.factor * average_s, limit.min_s, limit.max_s)
