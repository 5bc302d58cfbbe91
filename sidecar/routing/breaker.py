"""One target's circuit breaker: a table of states and events, and the counters its cells move.

    closed      asked as usual; failures are counted
    open        not asked until a moment in time
    half_open   asked by one request at a time, the probe
    slow_start  asked as usual, with a weight that grows back

`TABLE` names an action for every event in every state; the actions are the short methods below it.
The breaker knows neither requests nor providers: who counts as failed, and whom else a failure
concerns, is decided by its caller.

Every transition starts a new epoch and clears the counts. The caller remembers the epoch in which an
attempt began and does not report an attempt of an older one: a hundred requests that hung together
are one round of failures, and nothing that began before an opening can end it.

Why no opening lasts for good: `until` is always finite and bounded by the settings, an open breaker
whose time has come admits a probe whatever happened before, and a probe's slot is freed when the
attempt ends in any way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from sidecar.model.failures import Kind
from sidecar.model.settings import BreakerSettings
from sidecar.routing.backoff import Rng, clamp, open_time, rate_limit_time
from sidecar.routing.window import Window

__all__ = [
    "IN_USE",
    "RESET",
    "REVIVED",
    "SUCCESS",
    "SUCCESS_ALONE",
    "TABLE",
    "Action",
    "Breaker",
    "BreakerEvent",
    "BreakerState",
    "Signal",
]


class BreakerState(StrEnum):
    """What the outcomes of attempts have made of a target."""

    __hash__ = str.__hash__  # a key of tables on the hot path, where the hash of Enum would cost a call

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    SLOW_START = "slow_start"


IN_USE = frozenset({BreakerState.CLOSED, BreakerState.SLOW_START})
"""Where a request is no question to the target."""


class BreakerEvent(StrEnum):
    """What can happen to a breaker."""

    __hash__ = str.__hash__  # a key of tables on the hot path, where the hash of Enum would cost a call

    SUCCESS = "success"
    FAILURE = "failure"
    GATEWAY_FAILURE = "gateway_failure"  # counts towards the shorter row, too
    RATE_LIMITED = "rate_limited"
    FORBIDDEN = "forbidden"  # the credential, the quota or the model is gone: nothing to count
    TIMER = "timer"  # the state's own time is over
    REVIVED = "revived"  # enough good checks of a target that could not be reached
    RESET = "reset"  # by an operator, or because what was wrong was edited


class Action(StrEnum):
    """What a cell of the table does; each is a method of `Breaker`."""

    IGNORE = "ignore"
    CLEAR = "clear"  # a success: forget the counts
    CALM = "calm"  # and in time old openings too
    COUNT = "count"  # a failure: open if a limit is reached
    OPEN = "open"
    EXTEND = "extend"  # stay open, if longer than before
    PASS = "pass"  # a probe that went well
    HALF_OPEN = "half_open"
    CLOSE = "close"
    RESET = "reset"


_ROUNDING_S = 1e-6  # a wait and an opening are sums of the same numbers in another order

_C, _O, _H, _S = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.SLOW_START
_E, _A = BreakerEvent, Action

TABLE: Mapping[BreakerState, Mapping[BreakerEvent, Action]] = MappingProxyType(
    {
        _C: {
            _E.SUCCESS: _A.CALM,
            _E.FAILURE: _A.COUNT,
            _E.GATEWAY_FAILURE: _A.COUNT,
            _E.RATE_LIMITED: _A.OPEN,
            _E.FORBIDDEN: _A.OPEN,
            _E.TIMER: _A.IGNORE,
            _E.REVIVED: _A.IGNORE,
            _E.RESET: _A.RESET,
        },
        _O: {
            _E.SUCCESS: _A.PASS,  # of a panic attempt, the only kind an open breaker sees
            _E.FAILURE: _A.IGNORE,
            _E.GATEWAY_FAILURE: _A.IGNORE,
            _E.RATE_LIMITED: _A.EXTEND,
            _E.FORBIDDEN: _A.EXTEND,
            _E.TIMER: _A.HALF_OPEN,
            _E.REVIVED: _A.HALF_OPEN,
            _E.RESET: _A.RESET,
        },
        _H: {
            _E.SUCCESS: _A.PASS,
            _E.FAILURE: _A.OPEN,
            _E.GATEWAY_FAILURE: _A.OPEN,
            _E.RATE_LIMITED: _A.OPEN,
            _E.FORBIDDEN: _A.OPEN,
            _E.TIMER: _A.IGNORE,
            _E.REVIVED: _A.IGNORE,
            _E.RESET: _A.RESET,
        },
        _S: {
            _E.SUCCESS: _A.CLEAR,
            _E.FAILURE: _A.COUNT,
            _E.GATEWAY_FAILURE: _A.COUNT,
            _E.RATE_LIMITED: _A.OPEN,
            _E.FORBIDDEN: _A.OPEN,
            _E.TIMER: _A.CLOSE,
            _E.REVIVED: _A.IGNORE,
            _E.RESET: _A.RESET,
        },
    }
)


class Signal(msgspec.Struct, frozen=True):
    """An event, and what the rules of opening ask of it."""

    event: BreakerEvent
    kind: Kind | None = None
    failed_s: float = 0.0  # how long the failed attempt took
    retry_after_s: float | None = None
    alone: bool = False  # the target is the only one of its route: no weight to grow back


SUCCESS = Signal(BreakerEvent.SUCCESS)
SUCCESS_ALONE = Signal(BreakerEvent.SUCCESS, alone=True)
TIMER = Signal(BreakerEvent.TIMER)
REVIVED = Signal(BreakerEvent.REVIVED)
RESET = Signal(BreakerEvent.RESET)


class Breaker:
    """The breaker of one target; lives as long as the target's state."""

    __slots__ = (
        "_calm_since",
        "_rng",
        "consecutive",
        "consecutive_gateway",
        "epoch",
        "kind",
        "opened_at",
        "openings",
        "passed",
        "probes",
        "reserved",
        "settings",
        "since",
        "state",
        "until",
        "window",
    )

    def __init__(self, settings: BreakerSettings, rng: Rng) -> None:
        self.settings = settings
        self._rng = rng
        self.state = BreakerState.CLOSED
        self.epoch = 0
        self.since = 0.0  # when the state began
        self.until = 0.0  # of open: when a probe is admitted
        self.kind: Kind | None = None  # why it opened last
        self.opened_at: float | None = None  # the first opening of this outage; None while in use
        self.openings = 0  # n: how often it opened, less one for each calm time
        self.passed = 0  # good probes of this half_open
        self.probes = 0  # in flight
        self.reserved = False  # of open: a request waits to be the probe
        self.consecutive = 0
        self.consecutive_gateway = 0
        self.window = Window(settings.failure_percentage.window_s)
        self._calm_since = 0.0

    def configure(self, settings: BreakerSettings) -> None:
        """Take edited settings over; what they rule from now on, not what they ruled before."""
        if settings.failure_percentage.window_s != self.settings.failure_percentage.window_s:
            self.window = Window(settings.failure_percentage.window_s)
        self.settings = settings

    # What a caller asks.

    def admits(self, now: float) -> bool:
        """Whether a request may begin; changes nothing."""
        state = self.state
        if state is _O:
            return now >= self.until and not self.reserved
        return state is not _H or self.probes < self.settings.half_open_max_requests

    def begin(self, now: float) -> int:
        """Note that an attempt begins; gives the epoch to end it with.

        An attempt that begins while the breaker stays open is a panic attempt: its caller's business.
        """
        self.tick(now)
        if self.state is _H:
            self.probes += 1
        return self.epoch

    def end(self, epoch: int) -> None:
        """Free the slot of an attempt; before its outcome is applied."""
        if self.state is _H and epoch == self.epoch:
            self.probes -= 1

    def reserve(self, wait_s: float, now: float) -> bool:
        """Keep the probe's slot for a request that waits here, if its wait covers what the target asked for."""
        covered = wait_s * (1 + self.settings.rate_limit.jitter) + _ROUNDING_S
        if self.state is not _O or self.reserved or self.until - now > covered:
            return False
        self.reserved = True
        return True

    def claim(self, epoch: int, now: float) -> None:
        """End a reservation made in this epoch; the target half-opens for the request that waited."""
        if self.state is _O and self.reserved and epoch == self.epoch:
            self.reserved = False
            self.apply(TIMER, now)

    def abandon(self, epoch: int) -> None:
        """Give a reservation up: the request that waited has left."""
        if epoch == self.epoch:
            self.reserved = False

    def weight_factor(self, now: float) -> float:
        """What slow start leaves of the weight."""
        if self.state is not _S:
            return 1.0
        settings = self.settings
        grown = (now - self.since) / settings.slow_start_s if settings.slow_start_s else 1.0
        return clamp(grown, settings.slow_start_floor, 1.0)

    # What moves it.

    def tick(self, now: float) -> None:
        """Let time pass: an opening that is over becomes half_open, a slow start closed."""
        if self.state is _C or self.state is _H:
            return
        over = self.until if self.state is _O else self.since + self.settings.slow_start_s
        if now >= over and not self.reserved:
            self.apply(TIMER, now)

    def apply(self, signal: Signal, now: float) -> None:
        """Look the cell up and do what it says."""
        _CELLS[self.state][signal.event](self, signal, now)

    def calm(self, now: float) -> bool:
        """Count a success that has nothing to heal, as nearly all have; False where `apply` must see to it."""
        if self.state is not _C or self.openings:
            return False
        self.consecutive = self.consecutive_gateway = 0
        self.window.add_success(now)
        return True

    def _ignore(self, signal: Signal, now: float) -> None:
        """Nothing."""

    def _clear(self, _signal: Signal, now: float) -> None:
        self.consecutive = self.consecutive_gateway = 0
        self.window.add_success(now)

    def _calm(self, _signal: Signal, now: float) -> None:
        self.consecutive = self.consecutive_gateway = 0
        self.window.add_success(now)
        if self.openings and now - self._calm_since >= self.settings.decay_s:
            self.openings -= 1
            self._calm_since = now

    def _count(self, signal: Signal, now: float) -> None:
        self._calm_since = now
        self.consecutive += 1
        self.consecutive_gateway = self.consecutive_gateway + 1 if signal.event is _E.GATEWAY_FAILURE else 0
        self.window.add_failure(now)
        if self._limit_reached():
            self._open(signal, now)

    def _limit_reached(self) -> bool:
        settings, window = self.settings, self.window
        share = settings.failure_percentage
        return (
            self.consecutive >= settings.consecutive_failures
            or self.consecutive_gateway >= settings.consecutive_gateway_failures
            or (window.requests >= share.min_requests and window.failures * 100 >= share.threshold * window.requests)
        )

    def _trip(self, signal: Signal, now: float) -> None:
        self.window.add_failure(now)
        self._open(signal, now)

    def _open(self, signal: Signal, now: float) -> None:
        self.openings += 1
        if self.opened_at is None:
            self.opened_at = now
        self.until = now + self._stay(signal)
        self.kind = signal.kind
        self._enter(_O, now)

    def _stay(self, signal: Signal) -> float:
        """Seconds the opening lasts that this event asks for."""
        settings = self.settings
        if signal.event is _E.FORBIDDEN:
            asked = signal.retry_after_s
            return settings.fixed_open_s if asked is None else min(asked, settings.rate_limit.max_s)
        if signal.event is not _E.RATE_LIMITED:
            return open_time(self.openings, signal.failed_s, settings.open, self._rng)
        limited = rate_limit_time(signal.retry_after_s, settings.rate_limit, self._rng)
        if self.state is not _H:
            return limited
        return max(limited, open_time(self.openings, signal.failed_s, settings.open, self._rng))

    def _extend(self, signal: Signal, now: float) -> None:
        until = now + self._stay(signal)
        if until > self.until:
            self.until = until
            self.kind = signal.kind
            # Whoever waits here waits for an opening that is no more.
            self.epoch += 1
            self.reserved = False

    def _pass(self, signal: Signal, now: float) -> None:
        if self.state is _O:
            self._half_open(signal, now)
        self.passed += 1
        if self.passed >= self.settings.half_open_successes:
            self._enter(_C if signal.alone else _S, now)

    def _half_open(self, _signal: Signal, now: float) -> None:
        self._enter(_H, now)

    def _close(self, _signal: Signal, now: float) -> None:
        self._enter(_C, now)

    def _reset(self, _signal: Signal, now: float) -> None:
        self.openings = 0
        self.kind = None
        self._enter(_C, now)
        self._forget()

    def _enter(self, state: BreakerState, now: float) -> None:
        self.state = state
        self.since = self._calm_since = now
        self.epoch += 1
        self.passed = self.probes = 0
        self.reserved = False
        if state is _H or state is _S:
            self._forget()
        if state is _C or state is _S:
            self.opened_at = None

    def _forget(self) -> None:
        self.consecutive = self.consecutive_gateway = 0
        self.window.clear()


_ACTIONS: Mapping[Action, Callable[[Breaker, Signal, float], None]] = MappingProxyType(
    {
        Action.IGNORE: Breaker._ignore,
        Action.CALM: Breaker._calm,
        Action.CLEAR: Breaker._clear,
        Action.COUNT: Breaker._count,
        Action.OPEN: Breaker._trip,
        Action.EXTEND: Breaker._extend,
        Action.PASS: Breaker._pass,
        Action.HALF_OPEN: Breaker._half_open,
        Action.CLOSE: Breaker._close,
        Action.RESET: Breaker._reset,
    }
)

# The table with the methods in place, looked up once for every outcome.
_CELLS = {state: {event: _ACTIONS[action] for event, action in row.items()} for state, row in TABLE.items()}
