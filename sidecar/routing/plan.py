"""For one request: which target is asked next, found when it is needed.

Pools in strict order; within a pool the order of its strategy, among the members that a request may
begin at and that can do what it asks. The next pool is looked at only when nothing of this one is
left, and every search begins at the first pool, so that a target that has come back is not missed.
Then the members that drain. Then panic: the target whose time ends soonest, once a second, because
nothing may stay closed only since nobody asks. Then nothing: the request is answered here, with the
time after which asking again makes sense.

No target is chosen twice; whether one is asked again is decided by `failover`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType

from sidecar.model.failures import POLICY, Failure, Kind
from sidecar.model.records import Selection
from sidecar.model.request import Call, Needs
from sidecar.model.topology import Member, Operation, Pool, Route, Target
from sidecar.model.ways import endpoint
from sidecar.routing.balance import Balances, Candidate, Roster, available, rendezvous
from sidecar.routing.breaker import IN_USE
from sidecar.routing.commands import Skipped
from sidecar.routing.health import AdminState, BreakerState, HealthBook, TargetState

__all__ = ["Choice", "Plan", "drained", "suits", "unfit"]

_READY = AdminState.READY
_VECTORS = frozenset({Operation.EMBEDDINGS, Operation.GEMINI_EMBEDDINGS})
_PRIMARY, _FALLBACK = Selection.PRIMARY, Selection.FALLBACK
_NONE: Mapping[str, str] = MappingProxyType({})
_SHOWN_MAX = 8  # targets named in a message
_SHOWN_CHARS_MAX = 100
_BYTES_PER_TOKEN = 4  # of ordinary text
_BYTES_PER_TOKEN_MAX = 8  # more than any ordinary text has: what exceeds a context by it does not fit


class Choice:
    """The target to ask, and why it."""

    __slots__ = ("selection", "state", "target")

    def __init__(self, target: Target, state: TargetState, selection: Selection) -> None:
        self.target = target
        self.state = state
        self.selection = selection


class Plan:
    """The choices of one request; lives as long as it."""

    __slots__ = (
        "_balances",
        "_book",
        "_call",
        "_chain",
        "_is_particular",
        "_outgrown",
        "_overfull",
        "_panicked",
        "_route",
        "_skipped",
        "_told",
        "_tried",
    )

    def __init__(self, route: Route, call: Call, book: HealthBook, balances: Balances) -> None:
        self._route = route
        self._call = call
        self._book = book
        self._balances = balances
        self._chain = route.chain if call.fallback else route.chain[:1]
        needs = call.peek.needs
        self._overfull = _overfull(self._chain, call) if needs.input_bytes else _NONE
        self._is_particular = needs.tools or needs.images or call.operation in _VECTORS or bool(self._overfull)
        self._panicked = False
        self._outgrown: tuple[Target, ...] = ()  # whose models the request did not fit
        self._tried: tuple[TargetState, ...] = ()
        self._skipped: list[Skipped] = []
        self._told: set[str] = set()  # keys that were reported as skipped

    def next(self, now: float) -> Choice | None:
        """The target to ask next, or None; it counts as tried."""
        if self._tried and not self._call.fallback:
            return None
        choice = self._regular(now)
        if choice is None:
            choice = self._last_resort(now) or self._panic(now)
        if choice is not None:
            self._tried += (choice.state,)
        return choice

    def take(self, choice: Choice) -> None:
        """Count it as tried."""
        self._tried += (choice.state,)

    def sibling(self, late: Choice, now: float) -> Choice | None:
        """Another member of the same pool that is well, to be asked beside one that is late."""
        for pool in self._chain:
            if any(member.target is late.target for member in pool.members):
                choice = self._balanced(pool, Selection.HEDGE, now)
                well = choice is not None and choice.state.breaker.state in IN_USE
                return choice if well else None
        return None

    def outgrow(self, target: Target) -> None:
        """The request did not fit this target: nor will it fit one that is known to take no more."""
        self._outgrown += (target,)
        self._is_particular = True

    def has_other(self, now: float) -> bool:
        """Whether there is a target that was not tried and that a request may begin at now."""
        if self._call.fallback:
            for pool in self._chain:
                for member in pool.members:
                    state = self._book.state(member.target, now)
                    if state not in self._tried and self._obstacle(member.target, state, now) is None:
                        return True
        return False

    def others(self, now: float, enough: int) -> int:
        """How many such targets there are; nobody counts on when there are enough."""
        found: set[str] = set()
        if self._call.fallback:
            for member, state in self._untried(now):
                if len(found) >= enough:
                    break
                if self._obstacle(member.target, state, now) is None:
                    found.add(state.key)
        return len(found)

    def take_skipped(self) -> tuple[Skipped, ...]:
        """The targets passed over since the last call, each once for a request."""
        if not self._skipped:
            return ()
        skipped, self._skipped = self._skipped, []
        return tuple(skipped)

    # The search.

    def _regular(self, now: float) -> Choice | None:
        selection = _FALLBACK if self._tried else _PRIMARY
        for pool in self._chain:
            members = pool.members
            if len(members) == 1:
                member = members[0]
                state = self._book.state(member.target, now)
                if self._admits(member, state, now):
                    return Choice(member.target, state, selection)
            else:
                choice = self._balanced(pool, selection, now)
                if choice is not None:
                    return choice
            selection = _FALLBACK
        return None

    def _balanced(self, pool: Pool, selection: Selection, now: float) -> Choice | None:
        roster = self._balances.roster(pool)
        look = partial(self._candidate, roster, now)
        value = self._call.sticky.get(pool.sticky) if pool.sticky is not None else None
        if value is None:
            place = self._balances.find(pool, look, now)
        else:
            candidates = available(roster, look)
            place = roster.places[candidates[rendezvous(value, candidates)].name] if candidates else None
        if place is None:
            return None
        target = pool.members[place].target
        return Choice(target, self._book.state(target, now), selection)

    def _candidate(self, roster: Roster, now: float, place: int) -> Candidate | None:
        member = roster.members[place]
        state = self._book.state(member.target, now)
        if not self._admits(member, state, now):
            return None
        return Candidate(roster.names[place], member.weight, state.breaker.weight_factor(now), state)

    def _admits(self, member: Member, state: TargetState, now: float) -> bool:
        """Whether this member may be chosen in its turn; if not, why not is kept for the log."""
        if self._tried and state in self._tried:
            return False
        reason = self._obstacle(member.target, state, now)
        if reason is None and member.weight > 0 and state.admin is _READY:
            return True
        if state.key not in self._told:
            self._told.add(state.key)
            reason = reason or drained(member, state) or ""
            self._skipped.append(Skipped(member.target, reason, state.breaker.state))
        return False

    def _last_resort(self, now: float) -> Choice | None:
        """The first of those that drain."""
        for member, state in self._untried(now):
            if drained(member, state) is not None and self._obstacle(member.target, state, now) is None:
                return Choice(member.target, state, _FALLBACK)
        return None

    def _panic(self, now: float) -> Choice | None:
        """The target whose time ends soonest, if its attempt of this second is still to be had; once."""
        if self._panicked:
            return None
        soonest_s: float | None = None
        choice = None
        for member, state in self._untried(now):
            left_s = state.panic_in(now) if self._lack(member.target) is None else None
            if left_s is not None and (soonest_s is None or left_s < soonest_s):
                soonest_s = left_s
                choice = Choice(member.target, state, Selection.PANIC)
        if choice is None or not choice.state.may_panic(now):
            return None
        self._panicked = True
        return choice

    # What the searches ask.

    def _untried(self, now: float) -> Iterator[tuple[Member, TargetState]]:
        for pool in self._chain:
            for member in pool.members:
                state = self._book.state(member.target, now)
                if state not in self._tried:
                    yield member, state

    def _obstacle(self, target: Target, state: TargetState, now: float) -> str | None:
        """Why this request may not begin here now, or None."""
        if self._is_particular or endpoint(target.provider, self._call.operation, target.model) is None:
            return self._lack(target) or state.refusal(now)
        return state.refusal(now)

    def _lack(self, target: Target) -> str | None:
        call = self._call
        # Vectors of different models cannot be compared: those of the first model, or none.
        if call.operation in _VECTORS and target.model != self._chain[0].members[0].target.model:
            return "another embedding model"
        if self._outgrown and any(_is_no_larger(target, than) for than in self._outgrown):
            return "context too small"
        lack = unfit(target, call.operation, call.peek.needs)
        return self._overfull.get(target.key) if lack is None and self._overfull else lack

    # The answer when there is nobody to ask.

    def soonest(self, now: float) -> float | None:
        """Seconds until the first of the targets may be asked again; None when no time will help."""
        return min(
            (
                left_s
                for pool in self._chain
                for member in pool.members
                if self._lack(member.target) is None
                and (left_s := self._book.state(member.target, now).ready_in(now)) is not None
            ),
            default=None,
        )

    def nobody(self, now: float) -> Failure:
        """What the client is told when no target was asked."""
        targets = [member.target for pool in self._chain for member in pool.members]
        lacks = {target.key: reason for target in targets if (reason := self._lack(target)) is not None}
        if len(lacks) == len({target.key for target in targets}):
            message = f'no target of "{_shown(self._route.name)}" can answer this request: {_listed(lacks)}'
            return Failure(Kind.INVALID_REQUEST, message, code="no_capable_target")
        states = [self._book.state(target, now) for target in targets if target.key not in lacks]
        reasons = lacks | {state.key: state.refusal(now) or "being asked" for state in states}
        message = f'no target of "{_shown(self._route.name)}" is available: {_listed(reasons)}'
        limited = all(_is_rate_limited(state) for state in states)
        return Failure(Kind.RATE_LIMITED if limited else Kind.NO_TARGET, message, retry_after_s=self.soonest(now))


def _overfull(chain: tuple[Pool, ...], call: Call) -> Mapping[str, str]:
    """By key the targets whose known context is clearly too small, and why; none if no other could do it.

    Text is not counted in tokens here: a target is passed over only if no tokenizer could make the
    body fit. What comes close is the provider's to say.
    """
    size = call.peek.needs.input_bytes
    targets = [member.target for pool in chain for member in pool.members]
    known = {target.key: target.provider.facts(target.model).context_tokens for target in targets}
    overfull = {
        key: f"context: about {size // _BYTES_PER_TOKEN} of {context} tokens"
        for key, context in known.items()
        if context is not None and size > context * _BYTES_PER_TOKEN_MAX
    }
    others = (target for target in targets if target.key not in overfull)
    if not overfull or all(unfit(target, call.operation, call.peek.needs) for target in others):
        return _NONE
    return _NONE if call.peek.holds_media else overfull


def suits(target: Target, call: Call) -> bool:
    """Whether nothing that is known of a target speaks against asking it this first."""
    if unfit(target, call.operation, call.peek.needs) is not None:
        return False
    context = target.provider.facts(target.model).context_tokens
    return context is None or call.peek.needs.input_bytes <= context * _BYTES_PER_TOKEN_MAX


def unfit(target: Target, operation: Operation, needs: Needs) -> str | None:
    """What the target is known to lack for such a request, or None; what is not known is not held against it."""
    provider = target.provider
    if endpoint(provider, operation, target.model) is None:
        return f"no {operation}"
    if not (needs.tools or needs.images):
        return None
    facts = provider.facts(target.model)
    if needs.tools and facts.tools is False:
        return "no tools"
    return "no images" if needs.images and facts.images is False else None


def _is_no_larger(target: Target, than: Target) -> bool:
    """Whether a target is known to take no more tokens than another; equal names of models say nothing of it."""
    own = target.provider.facts(target.model).context_tokens
    other = than.provider.facts(than.model).context_tokens
    return own is not None and other is not None and own <= other


def drained(member: Member, state: TargetState) -> str | None:
    """Why the member is a last resort only, or None."""
    if state.admin is not _READY:
        return "drain"
    return None if member.weight > 0 else "weight 0"


def _is_rate_limited(state: TargetState) -> bool:
    kind = state.breaker.kind
    is_open = state.breaker.state is BreakerState.OPEN
    return is_open and kind is not None and POLICY[kind].status == 429


def _listed(reasons: dict[str, str]) -> str:
    shown = [f"{_shown(key)} ({reason})" for key, reason in list(reasons.items())[:_SHOWN_MAX]]
    more = len(reasons) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _shown(text: str) -> str:
    """A name that a client may have made up, bounded."""
    return text if len(text) <= _SHOWN_CHARS_MAX else text[:_SHOWN_CHARS_MAX] + "..."
