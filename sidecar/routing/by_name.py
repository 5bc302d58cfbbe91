"""Balancing by name alone: for a program that asks "which provider now?" and does the rest itself.

Knows the names it has seen, their weights, and which of them are said to be unhealthy. It measures
nothing, so the strategies that go by measurements fall back to taking turns.
"""

from __future__ import annotations

from math import isfinite

from sidecar.model.errors import ConfigurationError
from sidecar.model.settings import Balance
from sidecar.routing.backoff import Rng
from sidecar.routing.balance import STRATEGIES, Balancer, Candidate

__all__ = ["NameBalancer"]


class NameBalancer:
    """One program's balancing; every strategy has its own memory.

    Args:
        rng: Gives floats in [0, 1).
    """

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._balancers: dict[Balance, Balancer] = {}
        self._weights: dict[str, float] = {}  # every name it has seen
        self._unhealthy: set[str] = set()

    def select_provider(self, providers: list[str], strategy: str = Balance.ROUND_ROBIN) -> str:
        """One of these providers: a healthy one with a weight, or else the best that there is.

        Raises:
            ValueError: The list is empty.
            ConfigurationError: There is no such strategy.
        """
        if not providers:
            raise ValueError("select_provider needs at least one provider")
        balancer = self._balancer(strategy)
        for name in providers:
            self._weights.setdefault(name, 1.0)
        weights = {name: self.weight_of(name) for name in providers}
        healthy = [name for name in weights if self.is_healthy(name)]
        weighted = [name for name in healthy if weights[name] > 0]
        # As with targets: drained ones are a last resort, and nobody healthy is no reason to ask nobody.
        eligible = weighted or healthy or list(weights)
        candidates = [Candidate(name, weights[name] or 1.0) for name in eligible]
        return eligible[balancer.pick(candidates, 0.0)]

    def weight_of(self, provider: str) -> float:
        """Its share."""
        return self._weights.get(provider, 1.0)

    def is_healthy(self, provider: str) -> bool:
        """Whether nobody said that it is unhealthy."""
        return provider not in self._unhealthy

    def update_provider_health(self, provider: str, is_healthy: bool) -> None:
        """Say how a provider is.

        Raises:
            ConfigurationError: The name was never seen.
        """
        if provider not in self._weights:
            known = ", ".join(sorted(self._weights)) or "none"
            raise ConfigurationError(f'unknown provider "{provider}"; known: {known}')
        if is_healthy:
            self._unhealthy.discard(provider)
        else:
            self._unhealthy.add(provider)

    def set_provider_weight(self, provider: str, weight: float) -> None:
        """Set its share; 0 drains it.

        Raises:
            ConfigurationError: The weight is negative or not finite.
        """
        if not isfinite(weight) or weight < 0:
            raise ConfigurationError(f'weight of "{provider}" is {weight}; expected a finite number of at least 0')
        self._weights[provider] = float(weight)

    def _balancer(self, strategy: str) -> Balancer:
        try:
            balance = Balance(strategy)
        except ValueError:
            known = ", ".join(Balance)
            raise ConfigurationError(f'unknown strategy "{strategy}"; known: {known}') from None
        if balance not in self._balancers:
            self._balancers[balance] = STRATEGIES[balance](self._rng, 0)
        return self._balancers[balance]
