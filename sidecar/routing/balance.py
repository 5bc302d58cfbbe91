"""Strategies: each orders the members of a pool that are available, lazily.

`pick` gives the first of that order; asked again for the members that are left, it gives the next.
So balancing and failover are one iterator, and nobody orders what is never asked. The filter comes
first: a strategy sees only members that a request may begin at, and its memory is by name, so that
members that come and go do not skew the shares of those that stay.

A weight is the configured one times what slow start leaves of it. Weights of 0 never come here:
such a member drains, and is a last resort, which is `plan`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from math import log
from types import MappingProxyType
from typing import Protocol

from sidecar.model.settings import Balance
from sidecar.model.topology import Member, Pool, Snapshot
from sidecar.routing.backoff import Rng
from sidecar.routing.rotation import Rotation
from sidecar.routing.state import TargetState

__all__ = ["STRATEGIES", "Balancer", "Balances", "Candidate", "rendezvous"]

_START_TURNS = 64  # fewer turns than this are taken before the first, so that processes start apart
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


class Balancer(Protocol):
    """A strategy and its memory, for one pool."""

    def pick(self, candidates: Sequence[Candidate], now: float, /) -> int:
        """The index of the member to ask; there is at least one."""

    def keep(self, names: Iterable[str]) -> None:
        """Forget members that are no more."""


class _Rotating:
    """Base of the strategies that take turns, or settle ties by them."""

    def __init__(self, rng: Rng, start: int) -> None:
        self._rng = rng
        self._rotation = Rotation()
        self._skip = start  # turns to take before the first

    def keep(self, names: Iterable[str]) -> None:
        """Forget members that are no more."""
        self._rotation.keep(names)

    def _turn(self, candidates: Sequence[Candidate], weights: Sequence[float]) -> int:
        names = [candidate.name for candidate in candidates]
        while self._skip:
            self._skip -= 1
            self._rotation.turn(names, weights)
        return self._rotation.turn(names, weights)


class Weighted(_Rotating):
    """Smooth weighted rotation."""

    def pick(self, candidates: Sequence[Candidate], _now: float) -> int:
        """Whose turn it is."""
        return self._turn(candidates, [candidate.weight * candidate.factor for candidate in candidates])


class RoundRobin(_Rotating):
    """Rotation that knows no configured weights."""

    def pick(self, candidates: Sequence[Candidate], _now: float) -> int:
        """Whose turn it is."""
        return self._turn(candidates, [candidate.factor for candidate in candidates])


class LeastBusy(_Rotating):
    """Fewest attempts in flight for its weight; of equals, whose turn it is."""

    def pick(self, candidates: Sequence[Candidate], _now: float) -> int:
        """The least busy."""
        loads = [_in_flight(candidate) / (candidate.weight * candidate.factor) for candidate in candidates]
        least = min(loads)
        ties = [index for index, load in enumerate(loads) if load == least]
        return ties[self._turn([candidates[index] for index in ties], [1.0] * len(ties))]


class Fastest(_Rotating):
    """Power of two choices: of two at random, the one with the lower peak of first-content times.

    The best of all would draw the whole load to one member until it is the slowest; two choices avoid
    that. What is in flight counts too, as its answers are still to come.
    """

    def pick(self, candidates: Sequence[Candidate], now: float) -> int:
        """The faster of two."""
        count = len(candidates)
        first = int(self._rng() * count)
        if count == 1:
            return first
        second = (first + 1 + int(self._rng() * (count - 1))) % count
        costs = [_cost(candidates[index], now) for index in (first, second)]
        if costs[0] == costs[1]:
            pair = (first, second)
            return pair[self._turn([candidates[index] for index in pair], (1.0, 1.0))]
        return first if costs[0] < costs[1] else second


class Random:
    """A weighted draw."""

    def __init__(self, rng: Rng, _start: int) -> None:
        self._rng = rng

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
        self._names: dict[str, tuple[tuple[Member, ...], list[str]]] = {}  # by pool key, for these very members

    def names(self, pool: Pool) -> list[str]:
        """The names of its members, in their order."""
        entry = self._names.get(pool.key)
        if entry is None or entry[0] is not pool.members:
            entry = self._names[pool.key] = (pool.members, member_names(pool.members))
        return entry[1]

    def pick(self, pool: Pool, candidates: Sequence[Candidate], now: float) -> int:
        """The index of the candidate to ask; there are at least two."""
        entry = self._pools.get(pool.key)
        if entry is None or entry[0] is not pool.balance:
            balancer = STRATEGIES[pool.balance](self._rng, int(self._rng() * _START_TURNS))
            entry = self._pools[pool.key] = (pool.balance, balancer)
        return entry[1].pick(candidates, now)

    def adopt(self, snapshot: Snapshot) -> None:
        """Go over to a new config: pools and members that are still there keep their counters."""
        pools = {pool.key: pool for route in snapshot.routes.values() for pool in route.chain}
        self._pools = {key: entry for key, entry in self._pools.items() if key in pools}
        self._names.clear()
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
