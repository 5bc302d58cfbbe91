"""What people and programs are told of a manager: status, models, readiness, plans, gauges.

Reads only: asking changes nothing. Values are plain JSON; times are relative to now.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from sidecar.config.diff import chain_text
from sidecar.manager.standings import is_refused
from sidecar.manager.state import ProviderState
from sidecar.model.request import Needs
from sidecar.model.settings import Timeouts
from sidecar.model.topology import Provider, Route
from sidecar.observe.metrics import Gauge
from sidecar.routing.explain import explain as explain_route
from sidecar.routing.health import BreakerState, Health, TargetState

if TYPE_CHECKING:
    from sidecar.manager.manager import LLMManager

__all__ = ["explained", "gauges", "models", "provider_status", "routes", "status"]

_HEALTH = {Health.HEALTHY: True, Health.UNHEALTHY: False, Health.UNKNOWN: None}
_STATE_NUMBER = {BreakerState.CLOSED: 0, BreakerState.SLOW_START: 1, BreakerState.HALF_OPEN: 2, BreakerState.OPEN: 3}


def provider_status(manager: LLMManager, provider: Provider, now: float) -> dict[str, Any]:
    """One provider's entry of `get_provider_status`."""
    states = manager.book.of_provider(provider.name)
    weights = _weights(manager)
    known = [_HEALTH[state.checks.health] for state in states if state.checks.health is not Health.UNKNOWN]
    if not known and any(map(is_refused, states)):
        known = [False]  # a check that is refused says nothing of health, but it was one
    return {
        **ProviderState.of(provider.name, states, now).as_dict(),
        "health_status": any(known) if known else None,
        "type": provider.type,
        "base_url": provider.base_url,
        "next_check_s": manager.checks.due_in(provider.name, now),
        "targets": {
            state.key: {**_target(state, now, manager.snapshot.timeouts), "weight": weights.get(state.key)}
            for state in states
        },
    }


def _target(state: TargetState, now: float, timeouts: Timeouts) -> dict[str, Any]:
    """As the state tells it, and the moments that people compare with other logs."""
    told = state.describe(now, timeouts.first_token)
    told["down_since"] = _moment(told["down_for_s"], -1)
    told["open_until"] = _moment(told["open_for_s"], 1)
    return told


def _moment(apart_s: float | None, sign: int) -> str | None:
    """The UTC time so many seconds from now, in the past (-1) or the future."""
    return None if apart_s is None else (datetime.now(UTC) + timedelta(seconds=sign * apart_s)).isoformat()


def _weights(manager: LLMManager) -> dict[str, float]:
    """The weight of each target in the first pool that holds it."""
    found: dict[str, float] = {}
    for route in manager.snapshot.routes.values():
        for pool in route.chain:
            for member in pool.members:
                found.setdefault(member.target.key, member.weight)
    return found


def status(manager: LLMManager) -> dict[str, Any]:
    """The whole of what an operator wants to see at a glance."""
    snapshot = manager.snapshot
    return {
        "generation": snapshot.generation,
        "applied_at": manager.applied_at.isoformat(),
        "source": snapshot.source,
        "warnings": manager.warnings,
        "overrides": [
            {"kind": override.kind.name.lower(), "name": override.name, "text": override.text}
            for override in manager.overrides.values()
        ],
        "in_flight": len(manager.active),
        "routes": routes(manager),
        "providers": manager.get_provider_status(),
    }


def routes(manager: LLMManager) -> dict[str, Any]:
    """Every route as the file would write it."""
    return {name: _route(route) for name, route in manager.snapshot.routes.items()}


def _route(route: Route) -> dict[str, Any]:
    balances = sorted({pool.balance.value for pool in route.chain if len(pool.members) > 1})
    return {"chain": chain_text(route.chain), "balance": balances}


def explained(manager: LLMManager, model: str, *, route: str | None = None) -> dict[str, Any]:
    """Where a request for this model would go, target by target, and why some would be passed over.

    Raises:
        ConfigurationError: When nothing answers that name.
    """
    found = manager.rooms.router.resolve(model, override=route)
    return {
        "model": model,
        "route": found.name,
        "strict": found.strict,
        "targets": [msgspec.to_builtins(row) for row in explain_route(found, manager.book, monotonic(), Needs())],
    }


def models(manager: LLMManager) -> list[dict[str, Any]]:
    """Routes (but no patterns) and targets, as OpenAI lists models."""
    snapshot = manager.snapshot
    owners = {name: "route" for name in snapshot.routes if "*" not in name}
    for route in snapshot.routes.values():
        for target in route.targets:
            if "*" not in target.key:
                owners.setdefault(target.key, target.provider.name)
    return [{"id": name, "object": "model", "created": 0, "owned_by": owner} for name, owner in owners.items()]


def gauges(manager: LLMManager) -> Iterator[Gauge]:
    """What the metrics show beside their counters."""
    yield Gauge(
        "sidecar_config_generation", "The config in force, counted from the start.", manager.snapshot.generation
    )
    yield Gauge("sidecar_requests_in_flight", "Requests under way.", len(manager.active))
    for state in manager.book.states:
        if not state.minted:
            number = _STATE_NUMBER[state.breaker.state]
            text = "The breaker: 0 closed, 1 slow start, 2 half open, 3 open."
            yield Gauge("sidecar_target_state", text, number, {"target": state.key})
