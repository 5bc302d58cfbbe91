"""What a request needs of the house, as one value: made anew with every snapshot."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import msgspec

from sidecar.manager.pins import Pins
from sidecar.model.request import Call
from sidecar.model.topology import Route, Snapshot
from sidecar.observe.log import DebugLogger
from sidecar.observe.metrics import MetricsCollector
from sidecar.routing.balance import Balances
from sidecar.routing.budget import RetryBudget
from sidecar.routing.commands import Command, Event
from sidecar.routing.failover import UnderWay, failover
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
    trails: dict[tuple[object, ...], Any] = {}  # what `ordinary` keeps of this snapshot

    def engine(
        self, route: Route, call: Call, now: float, under_way: UnderWay | None = None
    ) -> Generator[Command, Event, None]:
        """See `failover`."""
        return failover(route, call, self.book, self.balances, self.budget, now=now, rng=self.rng, under_way=under_way)
