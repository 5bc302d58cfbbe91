"""How long to stay away: the wait before a same-target retry, and how long a breaker stays open.

Two jitters, for two aims. Full jitter, rand(0, c), spreads retries over the whole interval, so that
clients that failed together do not return together. Equal jitter, c/2 + rand(0, c/2), never returns
at once: a breaker that half-opened after 0 s would not have been open.

The cap of the open time follows what a failed attempt costs. A refusal in 30 ms may be probed every
10 s; a provider that hangs for 12 s before it fails is probed every 300 s. Either way probing a dead
target takes 5-8 % of the time in the long run, and a recovery is noticed as fast as that allows.

Everything is a function of its arguments; `rng` gives floats in [0, 1). Sources: "Exponential Backoff
And Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from collections.abc import Callable

from sidecar.model.settings import AttemptSettings, OpenTime, RateLimitSettings

__all__ = ["Rng", "clamp", "equal_jitter", "full_jitter", "open_time", "rate_limit_time", "retry_wait"]

Rng = Callable[[], float]

_MAX_DOUBLINGS = 32  # beyond every cap; keeps 2.0**n from overflowing after a thousand openings
_FAILED_SHARE = 4  # the first open time is at least so many times the failed attempt's duration


def clamp(value: float, low: float, high: float) -> float:
    """The value, or the bound it passed; the lower bound wins where they cross."""
    return max(low, min(value, high))


def full_jitter(ceiling_s: float, rng: Rng) -> float:
    """Somewhere in [0, ceiling)."""
    return rng() * ceiling_s


def equal_jitter(ceiling_s: float, rng: Rng) -> float:
    """Somewhere in [ceiling/2, ceiling)."""
    return ceiling_s / 2 + rng() * ceiling_s / 2


def retry_wait(retries_before: int, settings: AttemptSettings, rng: Rng) -> float:
    """Seconds to wait before a target is asked again, when it did not say itself."""
    grown = settings.backoff_base_s * 2.0 ** min(retries_before, _MAX_DOUBLINGS)
    return full_jitter(min(settings.backoff_cap_s, grown), rng)


def open_time(opening: int, failed_s: float, settings: OpenTime, rng: Rng) -> float:
    """Seconds a breaker stays open for its n-th opening (from 1), after an attempt that took `failed_s`."""
    cap = clamp(settings.factor * failed_s, settings.floor_s, settings.max_s)
    base = max(settings.base_s, _FAILED_SHARE * failed_s)
    return equal_jitter(min(base * 2.0 ** min(opening - 1, _MAX_DOUBLINGS), cap), rng)


def rate_limit_time(retry_after_s: float | None, settings: RateLimitSettings, rng: Rng) -> float:
    """Seconds a rate-limited target is left alone: never less than it asked for, up to the maximum."""
    asked = settings.default_s if retry_after_s is None else min(retry_after_s, settings.max_s)
    return asked * (1 + settings.jitter * rng())
