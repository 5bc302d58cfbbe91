"""What a request needs of the house, as one value: made anew with every snapshot."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sidecar.manager.pins import Pins
from sidecar.model.topology import Snapshot
from sidecar.observe.log import DebugLogger
from sidecar.observe.metrics import MetricsCollector
from sidecar.routing.balance import Balances
from sidecar.routing.budget import RetryBudget
from sidecar.routing.health import HealthBook
from sidecar.routing.resolve import Router
from sidecar.upstream.registry import LLMProviderRegistry

__all__ = ["Rooms"]


class Rooms(msgspec.Struct, frozen=True):
    """What a request needs of the house; the first two change with every snapshot, the rest lives on."""

    snapshot: Snapshot
    router: Router
    book: HealthBook
    balances: Balances
    budget: RetryBudget
    registry: LLMProviderRegistry
    log: DebugLogger
    metrics: MetricsCollector
    pins: Pins
    rng: Callable[[], float]
