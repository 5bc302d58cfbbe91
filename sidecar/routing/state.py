"""What is known of one target at runtime: three axes that move independently, slots, and speeds.

    admin    ready, drain (last resort only), maint (never)    moved by an operator
    breaker  see `breaker`                                     moved by attempts and the clock
    health   unknown, healthy, unhealthy                       moved by active checks, or an operator

A state decides whether a request may begin here (`refusal`), without being changed by the question;
`begin` and `release` bracket every attempt. What a failure means for other targets is not known
here: that is the `HealthBook`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from sidecar.model.failures import Failure, Kind
from sidecar.model.settings import AutoLimit
from sidecar.model.topology import Provider
from sidecar.routing.backoff import Rng
from sidecar.routing.breaker import RESET, REVIVED, SUCCESS, SUCCESS_ALONE, Breaker, BreakerState, Signal
from sidecar.routing.checks import Checks, Health
from sidecar.routing.speed import Speed

__all__ = ["AdminState", "TargetState", "Transition"]


class AdminState(StrEnum):
    """What an operator wants of a target."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class Transition(msgspec.Struct, frozen=True):
    """A breaker has moved; times are of the caller's monotonic clock."""

    target: str
    provider: str
    before: BreakerState
    after: BreakerState
    kind: Kind | None  # why it opened last
    until: float | None  # of open: when a probe is admitted
    openings: int


_CLOSED, _OPEN, _HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
_MAINT, _READY = AdminState.MAINT, AdminState.READY
_HEALTHY, _UNHEALTHY = Health.HEALTHY, Health.UNHEALTHY

_AUTO = AutoLimit()
_PANIC_EVERY_S = 1.0
_PANIC_RATE_LIMIT_S = 2.0  # a rate-limited target is left alone unless its time is nearly over
_SOON_S = 1.0  # when a slot may be free again: nobody knows, soon
_FAILED_COST_S = 5.0  # a failure is no fast answer


class TargetState:
    """One target's state; lives as long as the config names the target, over all reloads."""

    __slots__ = (
        "_notify",
        "_panic_at",
        "_panicking",
        "admin",
        "breaker",
        "checks",
        "has_key",
        "in_flight",
        "key",
        "last_error",
        "last_error_at",
        "last_success_at",
        "max_inflight",
        "minted",
        "provider",
        "revivals",
        "speed",
    )

    def __init__(
        self, key: str, provider: Provider, *, minted: bool, rng: Rng, notify: Callable[[Transition], None]
    ) -> None:
        self.key = key
        self.minted = minted  # named by a client's text only
        self._notify = notify
        self.breaker = Breaker(provider.breaker, rng)
        self.checks = Checks()
        self.speed = Speed()
        self.admin = AdminState.READY
        self.in_flight = 0
        self.revivals = 0  # good checks begun in this opening
        self._panicking = False
        self._panic_at: float | None = None
        self.last_success_at: float | None = None
        self.last_error: Failure | None = None
        self.last_error_at: float | None = None
        self.configure(provider)

    def configure(self, provider: Provider) -> None:
        """Take the provider's settings over; nothing that was learnt is lost."""
        self.provider = provider
        self.max_inflight = provider.max_inflight
        self.has_key = not provider.auth.missing
        self.breaker.configure(provider.breaker)

    # Whether a request may begin.

    def refusal(self, now: float) -> str | None:
        """Why no request may begin here, or None; the question changes nothing.

        That a target drains is not a refusal: it is asked last.
        """
        if self.admin is _MAINT:
            return "maint"
        if not self.has_key:
            return "no key"
        if self.checks.health is _UNHEALTHY:
            return f"unhealthy: {self.checks.source}"
        breaker = self.breaker
        if breaker.state is not _CLOSED and not breaker.admits(now):
            return f"open: {breaker.kind}" if breaker.state is _OPEN else "half_open: probe in flight"
        return None if self.in_flight < self.max_inflight else "busy"

    @property
    def is_ordinary(self) -> bool:
        """Whether nothing at all speaks against asking it, not even that it is a last resort or a question."""
        return (
            self.breaker.state is _CLOSED
            and self.admin is _READY
            and self.has_key
            and self.checks.health is not _UNHEALTHY
            and self.in_flight < self.max_inflight
        )

    def ready_in(self, now: float) -> float | None:
        """Seconds until a refused target may be asked again; None when no time will help."""
        if self.admin is _MAINT or not self.has_key:
            return None
        if self.checks.health is _UNHEALTHY:
            return None if self.checks.by_operator else self.provider.health.unhealthy_interval_s
        if self.breaker.state is _OPEN:
            return max(self.breaker.until - now, _SOON_S)
        return _SOON_S

    def panic_in(self, now: float) -> float | None:
        """Seconds to the end of what keeps requests away; None when not even panic may begin here."""
        if self.admin is _MAINT or not self.has_key or self.in_flight >= self.max_inflight:
            return None
        if self.checks.health is _UNHEALTHY and self.checks.by_operator:
            return None
        breaker = self.breaker
        if breaker.state is not _OPEN:
            return 0.0 if breaker.admits(now) else None
        if breaker.kind is Kind.CREDENTIAL or breaker.reserved:
            return None
        left = max(0.0, breaker.until - now)
        return None if breaker.kind is Kind.RATE_LIMITED and left > _PANIC_RATE_LIMIT_S else left

    def may_panic(self, now: float) -> bool:
        """Whether the one panic attempt of this second is still to be had."""
        return not self._panicking and (self._panic_at is None or now - self._panic_at >= _PANIC_EVERY_S)

    # The bracket of every attempt.

    def begin(self, now: float) -> int:
        """An attempt begins: takes its slots and gives its epoch."""
        self.in_flight += 1
        breaker = self.breaker
        before = breaker.state
        if before is _CLOSED:
            return breaker.epoch
        epoch = breaker.begin(now)
        self._tell(before)
        return epoch

    def begin_panic(self, now: float) -> int:
        """As `begin`, for an attempt that nothing but panic allows."""
        self._panicking = True
        self._panic_at = now
        return self.begin(now)

    def release(self, epoch: int) -> None:
        """The attempt is over in whatever way: frees its slots. Once, and before its outcome is told."""
        self.in_flight -= 1
        self.breaker.end(epoch)

    def release_panic(self, epoch: int) -> None:
        """As `release`, for an attempt begun by `begin_panic`."""
        self._panicking = False
        self.release(epoch)

    def claim(self, epoch: int, now: float) -> None:
        """The wait of the request that reserved the probe is over."""
        before = self.breaker.state
        self.breaker.claim(epoch, now)
        self._tell(before)

    # What outcomes do.

    def succeed(self, epoch: int, now: float, *, alone: bool, answer_s: float | None = None) -> None:
        """An attempt of this epoch ended well.

        Args:
            epoch: When it began.
            now: When it ended.
            alone: The target is the only one of its route.
            answer_s: How long it took, if its answer was a whole one.
        """
        self.last_success_at = now
        if answer_s is not None:
            self.speed.answers.add(answer_s)
            self.speed.peak.add(answer_s, now)
        if self.checks.health is not _HEALTHY or self.checks.bad:
            self.checks.answered()
        self.speed.settle()
        if epoch == self.breaker.epoch and not self.breaker.calm(now):
            self.apply(SUCCESS_ALONE if alone else SUCCESS, now)

    def note(self, failure: Failure, now: float) -> None:
        """Remember what failed, for people and for balancing."""
        self.last_error = msgspec.structs.replace(failure, upstream=None)  # a body is not worth its memory
        self.last_error_at = now
        self.speed.peak.add(max(_FAILED_COST_S, failure.retry_after_s or 0.0), now)

    def apply(self, signal: Signal, now: float) -> None:
        """Move the breaker, and tell if it changed."""
        before = self.breaker.state
        self.breaker.apply(signal, now)
        if self.breaker.state is not before:
            self._tell(before)

    def _tell(self, before: BreakerState) -> None:
        breaker = self.breaker
        if breaker.state is before:
            return
        self.revivals = 0
        until = breaker.until if breaker.state is _OPEN else None
        self._notify(
            Transition(self.key, self.provider.name, before, breaker.state, breaker.kind, until, breaker.openings)
        )

    # Active checks, and operators.

    def check_passed(self, began: float, now: float) -> None:
        """An active check that began then was good.

        It ends an opening only if the target could not be reached: for any other reason a green
        model list says nothing.
        """
        settings, breaker = self.provider.health, self.breaker
        self.checks.passed(settings)
        if breaker.state is _OPEN and breaker.kind is Kind.UNREACHABLE and began >= breaker.since:
            self.revivals += 1
            if self.revivals >= settings.rise:
                self.apply(REVIVED, now)

    def check_failed(self, error: str, now: float) -> None:
        """An active check was bad; fresh live traffic outvotes it."""
        self.revivals = 0
        if not self.fresh(now):
            self.checks.failed(self.provider.health, error, now)

    def fresh(self, now: float) -> bool:
        """Whether live traffic went well within the interval of checks: as good as a check."""
        return self.last_success_at is not None and now - self.last_success_at < self.provider.health.interval_s

    @property
    def waits_for_check(self) -> bool:
        """Whether the next check may change something soon."""
        unreachable = self.breaker.state is _OPEN and self.breaker.kind is Kind.UNREACHABLE
        return unreachable or self.checks.bad > 0 or self.checks.health is _UNHEALTHY

    def reset(self, now: float) -> None:
        """Forget everything bad: closed, health unknown."""
        self.apply(RESET, now)
        self.checks.forget()
        self._panic_at = None

    def down_for(self, now: float) -> float | None:
        """Seconds since it was last in use for everybody: since the first opening, or the first bad check."""
        unhealthy_since = self.checks.bad_since if self.checks.health is _UNHEALTHY else None
        began = [moment for moment in (self.breaker.opened_at, unhealthy_since) if moment is not None]
        return max(0.0, now - min(began)) if began else None

    def first_token_limit(self, limit: AutoLimit) -> float:
        """Seconds that a stream which asks for nothing special is given to its first content."""
        is_reasoning = self.provider.facts(self.key.partition("/")[2]).reasoning is True
        return self.speed.raised(self.speed.first_content_limit(limit, reasoning=is_reasoning), limit)

    def describe(self, now: float, first_token: AutoLimit = _AUTO) -> dict[str, Any]:
        """What people are told of it: plain values, times relative to now.

        Args:
            now: On the clock of all its times.
            first_token: The limit that rules where no route has one of its own.
        """
        breaker, error, checks = self.breaker, self.last_error, self.checks
        breaker.window.slide(now)
        return {
            "breaker": str(breaker.state),
            "reason": str(breaker.kind) if breaker.kind and breaker.state is not _CLOSED else None,
            "open_for_s": max(0.0, breaker.until - now) if breaker.state is _OPEN else None,
            "down_for_s": self.down_for(now),
            "openings": breaker.openings,
            "recent_requests": breaker.window.requests,
            "recent_failures": breaker.window.failures,
            "admin": str(self.admin),
            "health": str(checks.health),
            "health_source": checks.source and str(checks.source),
            "check_error": checks.error if checks.bad else None,
            "refusal": self.refusal(now),
            "in_flight": self.in_flight,
            "weight_factor": breaker.weight_factor(now),
            "first_token_limit_s": self.first_token_limit(first_token),
            "first_token_s": self.speed.first_contents.value_s,
            "answer_s": self.speed.answers.value_s,
            "last_success_s_ago": None if self.last_success_at is None else now - self.last_success_at,
            "last_error": error and error.message,
            "last_error_kind": error and str(error.kind),
            "last_error_s_ago": None if self.last_error_at is None else now - self.last_error_at,
        }
