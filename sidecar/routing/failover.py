"""The failover engine: one request's way through its targets, as a generator of commands.

It decides and does nothing: the driver acts, and tells what came of it. `commands` is the vocabulary
of both. The rules, each in one place below:

- A failure of the request is told at once; no other target is asked what this one refused (`_Run.another`).
- The same target is asked again only where that costs no other target its turn, within the retry
  budget, and soon (`_Run.retry_wait`). A target that said when, is asked then: the request that waits
  for it owns the probe of its breaker.
- Another target is asked at once: failing over moves load, and does not multiply it.
- After the first content there is no going back. A break is told as a break, unless another target may
  go on from there (`_Run.rescue`): once in a request, and what the client is told, if that fails too, is
  the break.
- A target that is late may be raced by another of its pool (`_race`), where the route asks for it.
- Of many failures the client is told the one that tells most (`_Run.verdict`).

Every slot is freed when the attempt ends, or when the generator is closed, which is what happens when
the client leaves; that counts nothing against anybody.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

import msgspec

from sidecar.model.failures import POLICY, Failure, Kind, Next
from sidecar.model.records import Selection
from sidecar.model.request import Call
from sidecar.model.settings import Rescue
from sidecar.model.topology import Route
from sidecar.routing import limits as deadlines
from sidecar.routing.backoff import Rng, retry_wait
from sidecar.routing.balance import Balances
from sidecar.routing.breaker import IN_USE
from sidecar.routing.budget import RetryBudget
from sidecar.routing.commands import Answer, Command, Content, End, Event, Keep, Late, Race, Relay, Try, Wait
from sidecar.routing.health import HealthBook
from sidecar.routing.plan import Choice, Plan

__all__ = ["UnderWay", "failover"]

_RELAY, _KEEP = Relay(), Keep()
_SAME, _STOP = Next.SAME, Next.STOP
_PANIC, _RETRY, _RESCUE = Selection.PANIC, Selection.RETRY, Selection.RESCUE
_ATTEMPTS_MIN, _ATTEMPTS_MAX = 3, 6  # of `auto`
_TOLD_WITH_RETRY_AFTER = (429, 503)


class UnderWay(NamedTuple):
    """An attempt that was begun without the engine; its request was counted."""

    choice: Choice
    epoch: int  # in which it began
    breaker: str  # the breaker's state before


def failover(
    route: Route,
    call: Call,
    book: HealthBook,
    balances: Balances,
    budget: RetryBudget,
    *,
    now: float,
    rng: Rng,
    under_way: UnderWay | None = None,
) -> Generator[Command, Event, None]:
    """Drive one request.

    Args:
        route: What the requested model resolved to.
        call: The request.
        book: The states of all targets.
        balances: The memory of all pools.
        budget: What retries at the same target draw on.
        now: When the request came, on a monotonic clock; events bring the later times.
        rng: Gives floats in [0, 1).
        under_way: What was begun already; the first command then stands for it.
    """
    run = _Run(route, call, book, balances, budget, now=now, rng=rng)
    try:
        choice: Choice | None
        if under_way is None:
            budget.deposit(now)
            choice = run.plan.next(now)
        else:
            choice = under_way.choice
            run.plan.take(choice)
        while choice is not None:
            event = yield run.begin(choice, now, under_way)
            under_way = None
            if type(event) is Late:
                event = yield from _race(run, event)
            committed = type(event) is Content
            if type(event) is Content:
                run.hear(event)
                event = yield _RELAY
            if type(event) is not End:
                raise TypeError(f"an attempt ends with End; got {event!r}")
            failure = event.failure
            if failure is None:
                run.succeed(event)
                return
            run.fail(event, failure)
            now = event.now
            if committed:
                choice = run.rescue(event, failure)
                continue
            wait_s = run.retry_wait(failure, now)
            if wait_s is not None:
                now = (yield Wait(wait_s, run.plan.take_skipped())).now
                choice = run.again(wait_s, now) or run.another(failure, now)
            else:
                choice = run.another(failure, now)
        broken = run.broken
        yield Answer(broken or run.verdict(now), committed=broken is not None, skipped=run.plan.take_skipped())
    finally:
        run.release()


def _race(run: _Run, late: Late) -> Generator[Command, Event, Event]:
    """The attempt under way is late: ask another target too, if one may be; gives the event that decides.

    The one that fails first is out, and the other goes on alone.
    """
    second = run.hedge(late.now)
    if second is None:
        return (yield _KEEP)
    event = yield Race(second)
    if type(event) is End and event.failure is not None:
        run.drop_out(event, event.failure)
        return (yield _KEEP)
    if type(event) is not Content and type(event) is not End:
        raise TypeError(f"a race is decided by Content or End; got {event!r}")
    run.win(event.number)
    return event


class _Run:
    """What the engine holds and has seen during one request."""

    __slots__ = (
        "_alone",
        "_backoff_s",
        "_book",
        "_budget",
        "_call",
        "_choice",
        "_epoch",
        "_failures",
        "_max_attempts",
        "_number",
        "_other",
        "_reservation",
        "_retries",
        "_rng",
        "_route",
        "_started",
        "_total_at",
        "_total_is_clients",
        "broken",
        "plan",
    )

    def __init__(
        self,
        route: Route,
        call: Call,
        book: HealthBook,
        balances: Balances,
        budget: RetryBudget,
        *,
        now: float,
        rng: Rng,
    ) -> None:
        self._route = route
        self._call = call
        self._book = book
        self._budget = budget
        self._rng = rng
        self._started = now
        ours_s, theirs_s = route.timeouts.total_s, call.limits.total_s
        self._total_is_clients = theirs_s is not None and theirs_s < ours_s
        self._total_at = now + (ours_s if theirs_s is None else min(ours_s, theirs_s))
        chain = route.chain
        targets = len(chain[0].members) if len(chain) == 1 else sum([len(pool.members) for pool in chain])
        self._alone = targets == 1
        self._max_attempts = route.attempts.max_attempts or (
            _ATTEMPTS_MIN if targets <= _ATTEMPTS_MIN else min(targets, _ATTEMPTS_MAX)
        )
        self._number = 0
        self._choice: Choice | None = None  # the target asked last
        self._epoch: int | None = None  # of the attempt under way
        self._other: tuple[int, Choice, int] | None = None  # number, choice, epoch of the one it races with
        self._reservation: int | None = None  # the epoch in which the last target's probe is kept for us
        self._retries = 0  # at the target asked last
        self._backoff_s: float | None = None  # waited for the next attempt
        self._failures: list[Failure] = []
        self.broken: Failure | None = None  # how a committed stream broke
        self.plan = Plan(route, call, book, balances)

    # One attempt.

    def begin(self, choice: Choice, now: float, under_way: UnderWay | None = None) -> Try:
        """Take the slots of an attempt, unless it is under way and has them already."""
        self._number += 1
        self._choice = choice
        state, plan = choice.state, self.plan
        if under_way is not None:
            _, self._epoch, before = under_way
        else:
            before = state.breaker.state
            self._epoch = state.begin_panic(now) if choice.selection is _PANIC else state.begin(now)
        last = self._alone or self._number >= self._max_attempts or not plan.has_other(now)
        limits = deadlines.limits(
            self._route,
            self._call,
            choice.target,
            state,
            now=now,
            total_at=self._total_at,
            total_is_clients=self._total_is_clients,
            last=last,
        )
        backoff_s, self._backoff_s = self._backoff_s, None
        selection = choice.selection if self.broken is None else _RESCUE
        skipped = plan.take_skipped()
        hedge_after_s = None if self._route.stream.hedge is None else self._hedge_after(choice)
        return Try(choice.target, state, selection, self._number, limits, before, backoff_s, skipped, hedge_after_s)

    def _hedge_after(self, choice: Choice) -> float | None:
        """When a second target may be asked.

        Never beside a probe or in panic, for those are questions of their own, and never where more than an
        answer is asked for.
        """
        settings = self._route.stream.hedge
        state = choice.state
        if settings is None or not self._call.stream or self.broken is not None or choice.selection is _PANIC:
            return None
        if state.breaker.state not in IN_USE or self._number >= self._max_attempts:
            return None
        if self._call.peek.has_effects:
            return None  # what is done at the provider would be done twice
        return state.speed.usual_first_content() if settings.after_s is None else settings.after_s

    def hedge(self, now: float) -> Try | None:
        """Begin a second attempt beside the one that is late, if pool, budget and load allow one."""
        first, epoch, settings = self._choice, self._epoch, self._route.stream.hedge
        if first is None or epoch is None or settings is None or not self._has_time(now):
            return None
        second = self.plan.sibling(first, now)
        if second is None or not self._budget.withdraw_hedge(now, settings.max_extra_load):
            return None
        self.plan.take(second)
        self._other = (self._number, first, epoch)
        return self.begin(second, now)

    def win(self, number: int | None) -> None:
        """This attempt of a race has won: the other one's slots are free, and it counts nothing."""
        if self._other is not None and self._other[0] == number:
            self._swap()
        self._release_other()

    def drop_out(self, event: End, failure: Failure) -> None:
        """This attempt of a race has failed; the other one goes on."""
        if self._other is not None and self._other[0] != event.number:
            self._swap()
        if self._other is not None:
            _, choice, epoch = self._other
            self._release_other()
            self._fail(choice, epoch, event, failure)

    def _swap(self) -> None:
        if self._other is not None and self._choice is not None and self._epoch is not None:
            _, choice, epoch = self._other
            self._other = (self._number, self._choice, self._epoch)
            self._choice, self._epoch = choice, epoch

    def _release_other(self) -> None:
        if self._other is not None:
            _, choice, epoch = self._other
            self._other = None
            choice.state.release(epoch)

    def hear(self, event: Content) -> None:
        """The first content has come: the target has shown its speed, if not yet that it finishes."""
        if self._choice is None or not self._call.peek.stream or event.first_token_s is None:
            return
        self._choice.state.speed.content_came(event.first_token_s, event.head_s, event.now)

    def succeed(self, event: End) -> None:
        """The attempt ended well."""
        choice, epoch = self._choice, self._epoch
        self.release()
        if choice is None or epoch is None:
            return
        answer_s = None if self._call.peek.stream else event.duration_s
        choice.state.succeed(epoch, event.now, alone=self._alone, answer_s=answer_s)

    def fail(self, event: End, failure: Failure) -> None:
        """The attempt failed: everybody whom that concerns is told."""
        choice, epoch = self._choice, self._epoch
        self.release()
        if choice is not None and epoch is not None:
            self._fail(choice, epoch, event, failure)

    def _fail(self, choice: Choice, epoch: int, event: End, failure: Failure) -> None:
        self._failures.append(failure)
        if failure.kind is Kind.CONTEXT_LENGTH:
            self.plan.outgrow(choice.target)
        if failure.kind is Kind.FIRST_TOKEN_TIMEOUT and event.head:
            wait, speed = self._route.timeouts.first_token, choice.state.speed
            own_s = deadlines.first_content_limit(wait, self._call, choice.target, choice.state)
            speed.abandon(speed.raised(own_s, wait), event.now)
        self._book.fail(choice.state, epoch, failure, duration_s=event.duration_s, now=event.now)

    def release(self) -> None:
        """Free whatever is held; counts nothing."""
        if self._other is not None:
            self._release_other()
        if self._choice is None:
            return
        state = self._choice.state
        if self._epoch is not None:
            if self._choice.selection is _PANIC:
                state.release_panic(self._epoch)
            else:
                state.release(self._epoch)
            self._epoch = None
        if self._reservation is not None:
            state.breaker.abandon(self._reservation)
            self._reservation = None

    # What follows a failure.

    def retry_wait(self, failure: Failure, now: float) -> float | None:
        """Seconds after which the same target is asked again, or None if it is not."""
        settings = self._route.attempts
        if POLICY[failure.kind].next is not _SAME or self._retries >= settings.same_target_retries:
            return None
        left = self._max_attempts - self._number
        if left <= self.plan.others(now, left):
            return None  # a retry here would cost another target its turn
        if failure.retry_after_s is not None:
            wait_s = failure.retry_after_s
            if wait_s > settings.max_inline_wait_s:
                return None
        elif failure.kind is Kind.RATE_LIMITED:
            return None  # it did not say when
        else:
            wait_s = retry_wait(self._retries, settings, self._rng)
        is_late = now + wait_s - self._started > settings.max_elapsed_s
        return None if is_late or not self._has_time(now + wait_s) or not self._keeps(wait_s, now) else wait_s

    def _keeps(self, wait_s: float, now: float) -> bool:
        """Whether the target will be there for us after the wait, and the budget allows it."""
        if self._choice is None or self._budget.available(now) < 1:
            return False
        state = self._choice.state
        breaker = state.breaker
        if state.refusal(now) is not None:
            if not breaker.reserve(wait_s, now):
                return False
            self._reservation = breaker.epoch
        return self._budget.withdraw(now)

    def again(self, waited_s: float, now: float) -> Choice | None:
        """The same target, after the wait; None if it is no longer to be had."""
        choice = self._choice
        if choice is None:
            return None
        if self._reservation is not None:
            choice.state.claim(self._reservation, now)
            self._reservation = None
        self._backoff_s = waited_s
        if not self._has_time(now) or choice.state.refusal(now) is not None:
            return None
        self._retries += 1
        return Choice(choice.target, choice.state, _RETRY)

    def another(self, failure: Failure, now: float) -> Choice | None:
        """The next target, if the failure, the count and the time allow one."""
        if POLICY[failure.kind].next is _STOP and failure.kind not in self._route.fallback_on:
            return None
        if self._number >= self._max_attempts or not self._has_time(now):
            return None
        self._retries = 0
        return self.plan.next(now)

    def rescue(self, event: End, failure: Failure) -> Choice | None:
        """The target that goes on where a committed stream broke, if one may."""
        first_break = self.broken is None
        self.broken = self.broken or failure
        if not first_break or not event.rescuable or self._route.stream.rescue is not Rescue.CONTINUE:
            return None
        return self.another(failure, event.now)

    def _has_time(self, now: float) -> bool:
        return self._total_at - now >= self._route.attempts.min_attempt_time_s

    def verdict(self, now: float) -> Failure:
        """What the client is told when no target answered."""
        if not self._failures:
            return self.plan.nobody(now)
        worst = max(self._failures, key=lambda failure: POLICY[failure.kind].rank)
        if worst.client_status not in _TOLD_WITH_RETRY_AFTER:
            return worst
        asked = [failure.retry_after_s for failure in self._failures if failure.retry_after_s is not None]
        retry_after_s = min(asked) if asked else self.plan.soonest(now)
        return msgspec.structs.replace(worst, retry_after_s=retry_after_s)
