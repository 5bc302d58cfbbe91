"""The sums of equal attempts and of equal requests.

Knows what makes two of them equal; the number of series is bounded by whoever makes the keys.
"""

from __future__ import annotations

import msgspec

from sidecar.model.records import AttemptRecord, RequestRecord
from sidecar.observe.histogram import PENDING_MAX, TOKEN_BOUNDS, Histogram

__all__ = ["CHECK", "AttemptKey", "AttemptSeries", "RequestKey", "RequestSeries"]

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
        self.count += 1
        if record.duration_s is not None:
            self.duration.pending.append(record.duration_s)
        if record.first_token_s is not None:
            self.first_token.pending.append(record.first_token_s)
        if record.input_tokens is not None:
            self.input_tokens.pending.append(record.input_tokens)
        if record.output_tokens is not None:
            self.output_tokens.pending.append(record.output_tokens)
        if not self.count % PENDING_MAX:
            for histogram in (self.duration, self.first_token, self.input_tokens, self.output_tokens):
                histogram.settle()
        if record.cost_usd is not None:
            self.cost_usd += record.cost_usd
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
        self.count += 1
        if record.duration_s is not None:
            self.duration.pending.append(record.duration_s)
        if record.first_token_s is not None:
            self.first_token.pending.append(record.first_token_s)
        if record.overhead_s is not None:
            self.overhead.pending.append(record.overhead_s)
        if not self.count % PENDING_MAX:
            for histogram in (self.duration, self.first_token, self.overhead):
                histogram.settle()


def _believed(tokens: int | None) -> int:
    return min(max(tokens or 0, 0), _MAX_TOKENS)
