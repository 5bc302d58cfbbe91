"""The sums of equal attempts and of equal requests.

Knows what makes two of them equal; the number of series is bounded by whoever makes the keys.
"""

from __future__ import annotations

import msgspec

from sidecar.model.records import AttemptRecord, RequestRecord, Usage
from sidecar.observe.histogram import PENDING_MAX, TOKEN_BOUNDS, Histogram

__all__ = ["CHECK", "AttemptKey", "AttemptSeries", "RequestKey", "RequestSeries", "Served"]

CHECK = "health"  # the operation of health checks, beside those of clients
_MAX_TOKENS = 2**50  # what an upstream may claim is not ours to believe


class AttemptKey(msgspec.Struct, frozen=True):
    """What tells one series of attempts from another."""

    target: str | None
    provider: str | None
    operation: str | None
    outcome: str | None
    kind: str | None

    @property
    def is_check(self) -> bool:
        """Whether it was asked for by nobody: a check of a provider's health."""
        return self.operation == CHECK


class RequestKey(msgspec.Struct, frozen=True):
    """What tells one series of requests from another."""

    route: str | None
    operation: str | None
    outcome: str | None
    kind: str | None


class AttemptSeries:
    """The sums of equal attempts, since the start."""

    __slots__ = (
        "cache_read_tokens",
        "cache_write_tokens",
        "cost_usd",
        "count",
        "duration",
        "first_token",
        "input_tokens",
        "key",
        "output_tokens",
        "reasoning_tokens",
    )

    def __init__(self, key: AttemptKey) -> None:
        self.key = key
        self.count = 0
        self.duration = Histogram()
        self.first_token = Histogram()
        self.input_tokens = Histogram(TOKEN_BOUNDS)
        self.output_tokens = Histogram(TOKEN_BOUNDS)
        self.cache_read_tokens = 0
        self.cache_write_tokens = 0
        self.reasoning_tokens = 0
        self.cost_usd = 0.0

    def observe(self, record: AttemptRecord) -> None:
        """Count one attempt."""
        self.count = count = self.count + 1
        if (duration_s := record.duration_s) is not None:
            self.duration.pending.append(duration_s)
        if (first_token_s := record.first_token_s) is not None:
            self.first_token.pending.append(first_token_s)
        if (input_tokens := record.input_tokens) is not None:
            self.input_tokens.pending.append(input_tokens)
        if (output_tokens := record.output_tokens) is not None:
            self.output_tokens.pending.append(output_tokens)
        if not count % PENDING_MAX:
            for histogram in (self.duration, self.first_token, self.input_tokens, self.output_tokens):
                histogram.settle()
        if (cost_usd := record.cost_usd) is not None:
            self.cost_usd += cost_usd
        if record.cache_read_tokens or record.cache_write_tokens or record.reasoning_tokens:
            self.cache_read_tokens += _believed(record.cache_read_tokens)
            self.cache_write_tokens += _believed(record.cache_write_tokens)
            self.reasoning_tokens += _believed(record.reasoning_tokens)


class RequestSeries:
    """The sums of equal requests, since the start."""

    __slots__ = ("count", "duration", "first_token", "key", "overhead")

    def __init__(self, key: RequestKey) -> None:
        self.key = key
        self.count = 0
        self.duration = Histogram()
        self.first_token = Histogram()
        self.overhead = Histogram()

    def observe(self, record: RequestRecord) -> None:
        """Count one request."""
        self.count = count = self.count + 1
        if (duration_s := record.duration_s) is not None:
            self.duration.pending.append(duration_s)
        if (first_token_s := record.first_token_s) is not None:
            self.first_token.pending.append(first_token_s)
        if (overhead_s := record.overhead_s) is not None:
            self.overhead.pending.append(overhead_s)
        if not count % PENDING_MAX:
            for histogram in (self.duration, self.first_token, self.overhead):
                histogram.settle()


class Served:
    """Requests that their only attempt has served, on their way to the two series that they count in.

    To add one is to append to a list, as with a `Histogram`; before the series are read, `settle`.
    """

    __slots__ = ("_attempts", "_requests", "_waiting")

    def __init__(self, attempts: AttemptSeries, requests: RequestSeries) -> None:
        self._attempts = attempts
        self._requests = requests
        self._waiting: list[tuple[float, float, float, float, Usage, float | None]] = []

    def add(  # noqa: PLR0917 - it is called for each request, and names cost
        self,
        content_s: float,
        answer_s: float,
        ended_s: float,
        overhead_s: float,
        usage: Usage,
        cost_usd: float | None,
    ) -> None:
        """Count one.

        Args:
            content_s: When its first content had come, since it began.
            answer_s: When its answer was whole.
            ended_s: When it was over.
            overhead_s: Of these, the sidecar's own share.
            usage: Its tokens.
            cost_usd: What they cost, if that is known.
        """
        self._waiting.append((content_s, answer_s, ended_s, overhead_s, usage, cost_usd))
        if len(self._waiting) >= PENDING_MAX:
            self.settle()

    def settle(self) -> None:
        """Bring what was added into the series."""
        if not self._waiting:
            return
        content_s, answer_s, ended_s, overhead_s, usages, costs_usd = zip(*self._waiting, strict=True)
        self._waiting.clear()
        attempts, requests = self._attempts, self._requests
        attempts.count += len(usages)
        requests.count += len(usages)
        for histogram, values in (
            (attempts.duration, answer_s),
            (attempts.first_token, content_s),
            (attempts.input_tokens, [usage.input_tokens for usage in usages if usage.input_tokens is not None]),
            (attempts.output_tokens, [usage.output_tokens for usage in usages if usage.output_tokens is not None]),
            (requests.duration, ended_s),
            (requests.first_token, content_s),
            (requests.overhead, overhead_s),
        ):
            histogram.pending.extend(values)
            histogram.settle()
        attempts.cost_usd += sum([cost for cost in costs_usd if cost is not None])
        attempts.cache_read_tokens += sum([_believed(usage.cache_read_tokens) for usage in usages])
        attempts.cache_write_tokens += sum([_believed(usage.cache_write_tokens) for usage in usages])
        attempts.reasoning_tokens += sum([_believed(usage.reasoning_tokens) for usage in usages])


def _believed(tokens: int | None) -> int:
    return min(max(tokens or 0, 0), _MAX_TOKENS)
