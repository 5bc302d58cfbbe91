"""`ProviderState`: how connecting to one provider went, and when to try again.

A public Python name. It is a view on a breaker and no second machine: a failure opens it, the clock
half-opens it, a success closes it. However many callers hit the same failing connect, they are one
failed round; nothing is ever blocked for good.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from sidecar.model.errors import LLMError
from sidecar.model.failures import POLICY, Failure, Kind
from sidecar.model.settings import BreakerSettings
from sidecar.routing.breaker import RESET, Breaker, BreakerEvent, BreakerState, Signal
from sidecar.routing.health import EVENTS, TargetState

__all__ = ["ProviderState"]

_FIRST_FAILURE_OPENS = BreakerSettings(consecutive_failures=1, consecutive_gateway_failures=1)
_SAYS_NOTHING = frozenset(  # of the provider: the caller's fault, or the caller's patience
    {
        Kind.INVALID_REQUEST,
        Kind.CONTENT_POLICY,
        Kind.CONTEXT_LENGTH,
        Kind.DEADLINE,
        Kind.CLIENT_DEADLINE,
        Kind.CLIENT_GONE,
    }
)


def _breaker() -> Breaker:
    return Breaker(_FIRST_FAILURE_OPENS, random.random)


@dataclass
class ProviderState:
    """One provider's initialisation; times are UTC."""

    name: str = ""
    is_initializing: bool = False
    is_initialized: bool = False
    last_error: str | None = None
    last_error_time: datetime | None = None
    initialization_attempts: int = 0  # failed rounds since the last success
    backoff_until: datetime | None = None
    breaker: Breaker = field(default_factory=_breaker, repr=False, compare=False)
    clock: Callable[[], float] = field(default=monotonic, repr=False, compare=False)

    def can_retry_initialization(self) -> bool:
        """Whether an attempt may begin now: nothing failed, or the backoff is over."""
        return self.breaker.admits(self.clock())

    def record_initialization_failure(self, error: Exception) -> None:
        """An attempt failed. Further failures of the same round change nothing."""
        now = self.clock()
        self.is_initializing = False
        failure = error.failure if isinstance(error, LLMError) else None
        if not self.breaker.admits(now) or (failure is not None and failure.kind in _SAYS_NOTHING):
            return
        self.breaker.end(self.breaker.begin(now))
        self.breaker.apply(_signal(failure), now)
        self.is_initialized = False
        self.last_error = str(error) or type(error).__name__
        self.last_error_time = datetime.now(UTC)
        self.initialization_attempts += 1
        self.backoff_until = self.last_error_time + timedelta(seconds=max(0.0, self.breaker.until - now))

    def record_initialization_success(self) -> None:
        """An attempt went well: all is forgotten."""
        self.breaker.apply(RESET, self.clock())
        self.is_initializing, self.is_initialized = False, True
        self.last_error = self.last_error_time = self.backoff_until = None
        self.initialization_attempts = 0

    @classmethod
    def of(cls, name: str, states: Sequence[TargetState], now: float) -> ProviderState:
        """What a provider's targets come to: it is as ready as the readiest of them."""
        wall = datetime.now(UTC)

        def utc(moment: float) -> datetime:
            return wall + timedelta(seconds=moment - now)

        failed = max(
            (s for s in states if s.last_error_at is not None), key=lambda s: s.last_error_at or 0, default=None
        )
        readiest = min(states, key=lambda s: (s.breaker.state is BreakerState.OPEN, s.breaker.until), default=None)
        opened = readiest is not None and readiest.breaker.state is BreakerState.OPEN
        return cls(
            name,
            is_initializing=any(s.in_flight and s.last_success_at is None for s in states),
            is_initialized=any(s.last_success_at is not None or s.checks.good for s in states),
            last_error=failed.last_error.message if failed and failed.last_error else None,
            last_error_time=utc(failed.last_error_at) if failed and failed.last_error_at is not None else None,
            initialization_attempts=max((s.breaker.openings for s in states), default=0),
            backoff_until=utc(readiest.breaker.until) if readiest and opened else None,
            breaker=readiest.breaker if readiest else _breaker(),
        )

    def as_dict(self) -> dict[str, Any]:
        """The keys of `get_provider_status`, as plain JSON values."""
        return {
            "is_initialized": self.is_initialized,
            "is_initializing": self.is_initializing,
            "initialization_attempts": self.initialization_attempts,
            "can_retry": self.can_retry_initialization(),
            "last_error": self.last_error,
            "last_error_time": self.last_error_time.isoformat() if self.last_error_time else None,
            "backoff_until": self.backoff_until.isoformat() if self.backoff_until else None,
        }


def _signal(failure: Failure | None) -> Signal:
    """What a failure means to the breaker; one that is no `LLMError` is a failed connect."""
    if failure is None:
        return Signal(BreakerEvent.GATEWAY_FAILURE, Kind.UNREACHABLE)
    event = EVENTS[POLICY[failure.kind].effect] or BreakerEvent.GATEWAY_FAILURE
    return Signal(event, failure.kind, retry_after_s=failure.retry_after_s)
