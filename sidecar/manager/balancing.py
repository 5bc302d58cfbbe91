"""`LoadBalancer`: the strategies of all pools, and the same by provider names for programs.

A public Python name, and the one the daemon runs on: requests pick from `pools`, people and programs
ask by name. One that belongs to a manager changes the manager and knows what the manager knows; one
that stands alone knows the names that it has seen.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from sidecar.manager.standings import Standings
from sidecar.routing.balance import Balances
from sidecar.routing.by_name import NameBalancer

__all__ = ["LoadBalancer"]


class LoadBalancer(NameBalancer):
    """Balancing by name, beside the pools of the routes.

    Args:
        rng: Chance in [0, 1).
        standings: Those of a manager; None for one that stands alone.
    """

    def __init__(self, rng: Callable[[], float] = random.random, *, standings: Standings | None = None) -> None:
        super().__init__(rng)
        self.pools = Balances(rng)
        self._standings = standings

    def set_provider_weight(self, provider: str, weight: float) -> None:
        """Set its share in every pool; 0 drains it.

        Raises:
            ConfigurationError: For a weight that is negative or not finite, or an unknown name.
        """
        if self._standings is None:
            super().set_provider_weight(provider, weight)
        else:
            self._standings.set_weight(provider, weight)

    def update_provider_health(self, provider: str, is_healthy: bool) -> None:
        """Say how a provider is; wins over checks until it is reset or its entry in the config changes.

        Raises:
            ConfigurationError: For an unknown name.
        """
        if self._standings is None:
            super().update_provider_health(provider, is_healthy)
        else:
            self._standings.declare_health(provider, is_healthy)

    def weight_of(self, provider: str) -> float:
        """Its share."""
        return super().weight_of(provider) if self._standings is None else self._standings.weight_of(provider)

    def is_healthy(self, provider: str) -> bool:
        """Whether it is thought to answer."""
        return super().is_healthy(provider) if self._standings is None else self._standings.is_healthy(provider)
