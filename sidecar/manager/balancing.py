"""`LoadBalancer`: the strategies of all pools, and the same by provider names for programs.

A public Python name, and the one the daemon runs on: requests pick from `pools`, people and programs
ask by name. One that belongs to a manager changes the manager; one that stands alone knows the names
that it has seen.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from sidecar.routing.balance import Balances
from sidecar.routing.by_name import NameBalancer

__all__ = ["LoadBalancer"]


class LoadBalancer(NameBalancer):
    """Balancing by name, beside the pools of the routes.

    Args:
        rng: Chance in [0, 1).
        weigh: Told of a weight before it is taken; raises what speaks against it.
        declare: Told of a provider's health, likewise.
    """

    def __init__(
        self,
        rng: Callable[[], float] = random.random,
        *,
        weigh: Callable[[str, float], None] | None = None,
        declare: Callable[[str, bool], None] | None = None,
    ) -> None:
        super().__init__(rng)
        self.pools = Balances(rng)
        self._weigh = weigh
        self._declare = declare

    def set_provider_weight(self, provider: str, weight: float) -> None:
        """Set its share in every pool; 0 drains it.

        Raises:
            ConfigurationError: For a weight that is negative or not finite, or an unknown name.
        """
        if self._weigh is not None:
            self._weigh(provider, weight)
        super().set_provider_weight(provider, weight)

    def update_provider_health(self, provider: str, is_healthy: bool) -> None:
        """Say how a provider is; wins over checks until it is reset or its entry in the config changes.

        Raises:
            ConfigurationError: For an unknown name.
        """
        if self._declare is None:
            super().update_provider_health(provider, is_healthy)
            return
        self._declare(provider, is_healthy)
