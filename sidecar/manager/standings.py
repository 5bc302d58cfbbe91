"""How providers stand with one manager: their weights and their health, by a provider's or target's name.

What people and programs ask and say by name, over the snapshot and the health book that requests go
by. A provider is healthy if any of its targets is; its weight is the largest that a pool gives it.
"""

from __future__ import annotations

from collections.abc import Callable

from sidecar.model.failures import Kind
from sidecar.model.topology import Snapshot
from sidecar.routing.health import BreakerState, Health, HealthBook, TargetState

__all__ = ["Standings", "is_refused"]


class Standings:
    """Those of one manager; lives as long as it.

    Args:
        snapshot: Gives the one in force.
        book: The states of all targets.
        weigh: Sets a weight in every pool; raises `ConfigurationError` where it does not fit.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], book: HealthBook, weigh: Callable[[str, float], None]) -> None:
        self._snapshot = snapshot
        self._book = book
        self._weigh = weigh

    def set_weight(self, name: str, weight: float) -> None:
        """Set it in every pool.

        Raises:
            ConfigurationError: For an unknown name, or a weight that is not finite and >= 0.
        """
        self._weigh(name, weight)

    def weight_of(self, name: str) -> float:
        """The largest in any pool; 1 for what is in none."""
        members = (
            member
            for route in self._snapshot().routes.values()
            for pool in route.chain
            for member in pool.members
            if name in (member.target.key, member.target.provider.name)
        )
        return max((member.weight for member in members), default=1.0)

    def declare_health(self, provider: str, healthy: bool) -> None:
        """An operator's word on a provider; wins over checks.

        Raises:
            ConfigurationError: There is no such provider.
        """
        self._book.update_provider_health(provider, healthy)

    def is_healthy(self, name: str) -> bool:
        """Whether any of its targets is not known to be unhealthy; what is not known is not held against it."""
        found = self._book.find(name)
        states = [found] if found is not None else self._book.of_provider(name)
        return not states or any(state.checks.health is not Health.UNHEALTHY for state in states)


def is_refused(state: TargetState) -> bool:
    """Whether its provider refuses the key."""
    return state.breaker.state is BreakerState.OPEN and state.breaker.kind is Kind.CREDENTIAL
