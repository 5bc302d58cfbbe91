"""Strategies: each orders the members of a pool that are available, lazily.

`find` gives the first of that order; asked again for the members that are left, it gives the next.
So balancing and failover are one iterator, and nobody orders what is never asked. A member is looked
at before it is given, and given only if a request may begin at it. In a large pool that is well nobody
looks at all of them: whose turn it is stands first in its line, chance draws before it looks, and
whoever is idle is the least busy. The memory is by name, so that members that come and go do not skew
the shares of those that stay.

A weight is the configured one times what slow start leaves of it. Weights of 0 never come here:
such a member drains, and is a last resort, which is `plan`'s business.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate, islice
from math import log
from types import MappingProxyType
from typing import Protocol

from sidecar.model.settings import Balance
from sidecar.model.topology import Member, Pool, Snapshot
from sidecar.routing.backoff import Rng
from sidecar.routing.rotation import Rotation
from sidecar.routing.state import TargetState

__all__ = ["STRATEGIES", "Balancer", "Balances", "Candidate", "Look", "Roster", "available", "rendezvous"]

_START_TURNS = 64  # fewer turns than this are taken before the first, so that processes start apart
_GLANCES = 8  # members that may be busy before all are looked at
_DIGEST_BYTES = 6  # fits a float exactly
_DIGESTS = 1 << 8 * _DIGEST_BYTES


class Candidate:
    """A member that a request may begin at now."""

    __slots__ = ("factor", "name", "state", "weight")

    def __init__(self, name: str, weight: float = 1.0, factor: float = 1.0, state: TargetState | None = None) -> None:
        self.name = name  # within its pool
        self.weight = weight  # configured, above 0
        self.factor = factor  # what slow start leaves of it
        self.state = state  # None where only names are balanced


class Roster:
    """The members of a pool by their names in it; lives as long as they are these very ones."""

    __slots__ = ("is_even", "members", "names", "places", "reach", "weights")

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.names = member_names(members)
        self.places = {name: place for place, name in enumerate(self.names)}
        self.weights = {name: member.weight for name, member in zip(self.names, members, strict=True)}
        self.is_even = len({member.weight for member in members} - {0.0}) == 1
        self.reach = list(accumulate(self.weights.values()))  # each one's weight and those before it


Look = Callable[[int], Candidate | None]
"""Gives the member in this place as a candidate, or None if the request may not begin at it now."""


def available(roster: Roster, look: Look) -> list[Candidate]:
    """All candidates that there are."""
    return [candidate for candidate in map(look, range(len(roster.members))) if candidate is not None]


class Balancer(Protocol):
    """A strategy and its memory, for one pool."""

    def find(self, roster: Roster, look: Look, now: float, /) -> int | None:
        """The place of the member to ask, or None; looks at no more of them than it takes."""

    def pick(self, candidates: Sequence[Candidate], now: float, /) -> int:
        """The index of the one to ask, these being all that there are; there is at least one."""

    def keep(self, names: Iterable[str]) -> None:
        """Forget members that are no more."""


def _picked(balancer: Balancer, roster: Roster, look: Look, now: float) -> int | None:
    candidates = available(roster, look)
    return roster.places[candidates[balancer.pick(candidates, now)].name] if candidates else None


class _Rotating:
    """Base of the strategies that take turns, or settle ties by them."""

    def __init__(self, rng: Rng, start: int) -> None:
        self._rng = rng
        self._rotation = Rotation()
        self._skip = start  # turns to take before the first
        self._roster: Roster | None = None  # whose members are all seated

    def keep(self, names: Iterable[str]) -> None:
        """Forget members that are no more."""
        self._roster = None
        self._rotation.keep(names)

    def _seat(self, weights: Mapping[str, float]) -> None:
        self._rotation.seat(weights)
        while self._skip:
            self._skip -= 1
            self._rotation.first(lambda name: 1.0 if weights.get(name) else 0.0)

    def _seat_all(self, roster: Roster) -> None:
        if self._roster is not roster:
            self._seat(self._weights(roster.weights))
            self._roster = roster

    def _weights(self, configured: Mapping[str, float]) -> Mapping[str, float]:
        """Those that turns are taken by."""
        return {name: 1.0 if weight else 0.0 for name, weight in configured.items()}

    def _oldest(self, candidates: Sequence[Candidate]) -> int:
        """Whose turn it is among equals."""
        names = [candidate.name for candidate in candidates]
        self._seat(dict.fromkeys(names, 1.0))
        return self._rotation.oldest(names)


class RoundRobin(_Rotating):
    """Rotation that knows no configured weights."""

    def find(self, roster: Roster, look: Look, _now: float) -> int | None:
        """Whose turn it is."""
        self._seat_all(roster)
        places = roster.places

        def part(name: str) -> float:
            place = places.get(name)  # None: it is of another config
            candidate = None if place is None else look(place)
            return 0.0 if candidate is None else candidate.factor

        name = self._rotation.first(part)
        return None if name is None else places[name]

    def next(self, roster: Roster, is_well: Callable[[int], bool]) -> int | None:
        """The place of the member whose turn it is if it is well; None if it takes a look to tell."""
        if self._roster is not roster:
            self._rotation.keep(roster.places)  # a request of the config before may have seated whoever is gone since
            self._seat_all(roster)
        places = roster.places
        name = self._rotation.next(lambda each: is_well(places[each]))
        return None if name is None else places[name]

    def took(self, roster: Roster, place: int) -> None:
        """That member takes its turn."""
        self._rotation.take(roster.names[place])

    def pick(self, candidates: Sequence[Candidate], _now: float) -> int:
        """Whose turn it is."""
        self._seat(self._weights({candidate.name: candidate.weight for candidate in candidates}))
        parts = {candidate.name: candidate.factor for candidate in candidates}
        name = self._rotation.first(lambda name: parts.get(name, 0.0))
        return next(index for index, candidate in enumerate(candidates) if candidate.name == name)


class Weighted(RoundRobin):
    """Smooth weighted rotation."""

    def _weights(self, configured: Mapping[str, float]) -> Mapping[str, float]:
        return configured


class LeastBusy(_Rotating):
    """Fewest attempts in flight for its weight; of equals, whose turn it is."""

    def find(self, roster: Roster, look: Look, now: float) -> int | None:
        """The least busy: of equal weights whoever is idle, if one soon comes in the line."""
        if roster.is_even:
            self._seat_all(roster)
            in_line = (name for name in self._rotation.order() if name in roster.places)  # not: of another config
            there = (candidate for name in in_line if (candidate := look(roster.places[name])) is not None)
            for candidate in islice(there, _GLANCES):
                if candidate.factor == 1 and _in_flight(candidate) == 1:
                    self._rotation.oldest([candidate.name])
                    return roster.places[candidate.name]
        return _picked(self, roster, look, now)

    def pick(self, candidates: Sequence[Candidate], _now: float) -> int:
        """The least busy."""
        loads = [_in_flight(candidate) / (candidate.weight * candidate.factor) for candidate in candidates]
        least = min(loads)
        ties = [index for index, load in enumerate(loads) if load == least]
        return ties[self._oldest([candidates[index] for index in ties])]


class Fastest(_Rotating):
    """Power of two choices: of two at random, the one with the lower peak of first-content times.

    The best of all would draw the whole load to one member until it is the slowest; two choices avoid
    that. What is in flight counts too, as its answers are still to come.
    """

    def find(self, roster: Roster, look: Look, now: float) -> int | None:
        """The faster of two; if one of these cannot be asked, of two that can."""
        self._seat_all(roster)
        pair = self._two(len(roster.members))
        candidates = [candidate for candidate in map(look, pair) if candidate is not None]
        if len(candidates) < 2:
            return _picked(self, roster, look, now)
        return pair[self._faster(candidates, now)]

    def pick(self, candidates: Sequence[Candidate], now: float) -> int:
        """The faster of two."""
        if len(candidates) == 1:
            return 0
        pair = self._two(len(candidates))
        return pair[self._faster([candidates[index] for index in pair], now)]

    def _two(self, count: int) -> tuple[int, int]:
        first = int(self._rng() * count)
        return first, (first + 1 + int(self._rng() * (count - 1))) % count

    def _faster(self, pair: Sequence[Candidate], now: float) -> int:
        costs = [_cost(candidate, now) for candidate in pair]
        return self._oldest(pair) if costs[0] == costs[1] else costs.index(min(costs))


class Random:
    """A weighted draw."""

    def __init__(self, rng: Rng, _start: int) -> None:
        self._rng = rng

    def find(self, roster: Roster, look: Look, now: float) -> int | None:
        """Draw one; if it cannot be asked, or for what slow start takes from it, one of those that can.

        That alters no share: what falls to others is spread by their weights.
        """
        reach = roster.reach
        place = min(bisect_right(reach, self._rng() * reach[-1]), len(reach) - 1)
        candidate = look(place)
        if candidate is not None and (candidate.factor == 1 or self._rng() < candidate.factor):
            return place
        return _picked(self, roster, look, now)

    def pick(self, candidates: Sequence[Candidate], _now: float) -> int:
        """Draw one."""
        weights = [candidate.weight * candidate.factor for candidate in candidates]
        point = self._rng() * sum(weights)
        for index, weight in enumerate(weights):
            point -= weight
            if point < 0:
                return index
        return len(weights) - 1  # rounding

    def keep(self, names: Iterable[str]) -> None:
        """It remembers nobody."""


# Each is made with an rng, and the number of turns that count as taken.
STRATEGIES: Mapping[Balance, Callable[[Rng, int], Balancer]] = MappingProxyType(
    {
        Balance.WEIGHTED: Weighted,
        Balance.ROUND_ROBIN: RoundRobin,
        Balance.RANDOM: Random,
        Balance.LEAST_BUSY: LeastBusy,
        Balance.FASTEST: Fastest,
    }
)


class Balances:
    """The strategies of all pools, by pool key and member name; one for the life of the process."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._pools: dict[str, tuple[Balance, Balancer]] = {}
        self._rosters: dict[str, Roster] = {}

    def roster(self, pool: Pool) -> Roster:
        """Its members by name."""
        roster = self._rosters.get(pool.key)
        if roster is None or roster.members is not pool.members:
            roster = self._rosters[pool.key] = Roster(pool.members)
        return roster

    def find(self, pool: Pool, look: Look, now: float) -> int | None:
        """The place of the member to ask among its members, or None if none can be asked."""
        return self._balancer(pool).find(self.roster(pool), look, now)

    def next(self, pool: Pool, is_well: Callable[[int], bool]) -> int | None:
        """The place of the member to ask if it is well; None if only `find` can tell.

        Args:
            pool: Its members may take turns; else only `find` can tell.
            is_well: Whether the member in a place can be asked as ever; asked where it matters how others are.
        """
        balancer = self._balancer(pool)
        return balancer.next(self.roster(pool), is_well) if isinstance(balancer, RoundRobin) else None

    def took(self, pool: Pool, place: int) -> None:
        """The member that `next` gave is asked."""
        balancer = self._balancer(pool)
        if isinstance(balancer, RoundRobin):
            balancer.took(self.roster(pool), place)

    def _balancer(self, pool: Pool) -> Balancer:
        entry = self._pools.get(pool.key)
        if entry is None or entry[0] is not pool.balance:
            balancer = STRATEGIES[pool.balance](self._rng, int(self._rng() * _START_TURNS))
            entry = self._pools[pool.key] = (pool.balance, balancer)
        return entry[1]

    def adopt(self, snapshot: Snapshot) -> None:
        """Go over to a new config: pools and members that are still there keep their counters."""
        pools = {pool.key: pool for route in snapshot.routes.values() for pool in route.chain}
        self._pools = {key: entry for key, entry in self._pools.items() if key in pools}
        self._rosters.clear()
        for key, (_, balancer) in self._pools.items():
            balancer.keep(member_names(pools[key].members))


def member_names(members: Sequence[Member]) -> list[str]:
    """Names within a pool: the provider's, numbered where it is there more than once.

    Not the targets' keys: in a pattern's pool the models differ from request to request, and the
    shares are to hold over all of them.
    """
    seen: dict[str, int] = {}
    given = []
    for member in members:
        provider = member.target.provider.name
        count = seen[provider] = seen.get(provider, 0) + 1
        given.append(provider if count == 1 else f"{provider}#{count}")
    return given


def rendezvous(value: str, candidates: Sequence[Candidate]) -> int:
    """The index of the candidate that this value belongs to: the highest random weight.

    A member that goes away passes on its own clients only. Slow start is left out: it would move
    clients away from the caches that they come for.
    """
    scores = [-candidate.weight / log(_unit(value, candidate.name)) for candidate in candidates]
    return scores.index(max(scores))


def _unit(value: str, name: str) -> float:
    """A number in (0, 1) that the two texts always give."""
    digest = blake2b(f"{value}\0{name}".encode("utf-8", "backslashreplace"), digest_size=_DIGEST_BYTES).digest()
    return (int.from_bytes(digest) + 1) / (_DIGESTS + 1)


def _in_flight(candidate: Candidate) -> int:
    return candidate.state.in_flight + 1 if candidate.state is not None else 0


def _cost(candidate: Candidate, now: float) -> float:
    if candidate.state is None:
        return 0.0
    return candidate.state.speed.peak.value(now) * _in_flight(candidate) / (candidate.weight * candidate.factor)
