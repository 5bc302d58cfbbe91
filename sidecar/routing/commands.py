"""The vocabulary between the failover engine, which decides, and its driver, which acts.

The engine is a generator: it yields a command, and is sent the event that came of it.

    Try        ask this target              -> Content, then (after Relay) End; or End at once; Late if
                                              nothing has come after `hedge_after_s`
    Keep       go on with what is under way -> as for Try
    Race       ask this target as well      -> as for Try, of either; `number` says of which
    Relay      go on relaying, it committed -> End
    Wait       do nothing for a while       -> Elapsed
    Answer     no target answered; over     -> (nothing; the generator has returned)

In a race the first `Content` (or good `End`) wins; the driver then cancels the other attempt and tells the
engine nothing of it.

A generator that is closed in the middle (the client left) frees whatever it held and counts nothing
against anybody. Events carry the time, so that the engine needs no clock. A relayed answer that ended
well ends the generator (StopIteration) without an `Answer`; one that broke after its commit is
answered by `Answer(committed=True)`: the driver writes the dialect's error event.
"""

from __future__ import annotations

import msgspec

from sidecar.model.failures import Failure
from sidecar.model.records import Selection
from sidecar.model.topology import Target
from sidecar.routing.state import TargetState

__all__ = [
    "UNTIMED",
    "Answer",
    "Command",
    "Content",
    "Elapsed",
    "End",
    "Event",
    "Keep",
    "Late",
    "Limits",
    "Race",
    "Relay",
    "Skipped",
    "Try",
    "Wait",
]


class Limits(msgspec.Struct, frozen=True):
    """The deadlines of one attempt, in seconds; `total_at` is a moment of the caller's monotonic clock."""

    connect_s: float
    first_token_s: float  # request sent -> first content, of a stream
    answer_s: float  # request sent -> whole answer, of a plain request
    idle_s: float
    total_at: float
    total_is_clients: bool = False  # the expiry of `total_at` is `client_deadline`
    read_is_clients: bool = False  # the client shortened first_token_s (of a stream) or answer_s (of a plain request)
    idle_is_clients: bool = False  # the client shortened idle_s
    head_s: float | None = None  # request sent -> response head, of a stream; None: first_token_s bounds it, too


UNTIMED = Limits(float("inf"), float("inf"), float("inf"), float("inf"), float("inf"))
"""Of an attempt that nobody waits for yet."""


class Skipped(msgspec.Struct, frozen=True):
    """A target that was passed over, and why: `open: unreachable`, `maint`, `no tools`, ..."""

    target: Target
    reason: str
    breaker: str


class Try(msgspec.Struct, frozen=True):
    """Ask this target now."""

    target: Target
    state: TargetState  # of the target, as it is at any time
    selection: Selection
    number: int  # 1, 2, ... within the request
    limits: Limits
    breaker: str  # the breaker's state before
    backoff_s: float | None = None  # waited for this attempt
    skipped: tuple[Skipped, ...] = ()  # passed over since the last command
    hedge_after_s: float | None = None  # say so when the first content has not come by then


class Keep(msgspec.Struct, frozen=True):
    """Go on with what is under way."""


class Race(msgspec.Struct, frozen=True):
    """Ask this target as well as the one that is late."""

    second: Try


class Relay(msgspec.Struct, frozen=True):
    """The first content has come: commit, and go on."""


class Wait(msgspec.Struct, frozen=True):
    """Wait before the next command; in seconds."""

    seconds: float
    skipped: tuple[Skipped, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """No target answered (or the committed one broke): this is what the client is told."""

    failure: Failure
    committed: bool = False
    skipped: tuple[Skipped, ...] = ()


class Content(msgspec.Struct, frozen=True):
    """The first content of the attempt under way has come."""

    now: float
    first_token_s: float | None  # since the attempt was sent; None: the target's speed was told already
    head_s: float | None = None  # since then, too; None where it was not timed
    number: int | None = None  # of the attempt, in a race


class End(msgspec.Struct, frozen=True):
    """The attempt under way is over; well, if there is no failure."""

    now: float
    duration_s: float
    failure: Failure | None = None
    head: bool = False  # a response head had come
    number: int | None = None  # of the attempt, in a race
    rescuable: bool = False  # a committed stream broke after text that another target can go on with


class Late(msgspec.Struct, frozen=True):
    """The first content has not come by `hedge_after_s`."""

    now: float


class Elapsed(msgspec.Struct, frozen=True):
    """The wait is over."""

    now: float


Command = Try | Keep | Race | Relay | Wait | Answer
Event = Content | End | Late | Elapsed
