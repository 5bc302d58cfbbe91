"""Checks providers and tells everybody who wants to know: the book, the log, the metrics.

One check serves every provider of a (base URL, key). How it is done is `upstream`'s business, what it
means `routing`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from time import monotonic

from sidecar.manager.checks import groups
from sidecar.model.failures import Failure, Kind
from sidecar.model.records import AttemptRecord, Outcome, Selection
from sidecar.model.settings import HealthMode
from sidecar.model.topology import Provider, Snapshot
from sidecar.observe.log import DebugLogger
from sidecar.observe.metrics import MetricsCollector
from sidecar.observe.series import CHECK
from sidecar.routing.health import Health, HealthBook
from sidecar.upstream.probe import ProbeResult, probe
from sidecar.upstream.registry import LLMProviderRegistry

__all__ = ["Prober"]

_DAY_S = 86_400


class Prober:
    """What checks need of the house, and what they remember; lives as long as the manager.

    Args:
        snapshot: Gives the current one.
        book: Is told what checks found.
        registry: Has the connections.
        log: Takes a line for each check.
        metrics: Counts them.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        book: HealthBook,
        registry: LLMProviderRegistry,
        log: DebugLogger,
        metrics: MetricsCollector,
    ) -> None:
        self._snapshot = snapshot
        self._book = book
        self._registry = registry
        self._log = log
        self._metrics = metrics
        self._downgraded: set[str] = set()  # providers without a model list, by name
        self._completions: dict[str, tuple[int, int]] = {}  # paid checks: the day (UTC, since 1970) and how many
        self._checked: dict[str, bool] = {}  # what the last check of each came to

    def adopt(self, snapshot: Snapshot) -> None:
        """Forget providers that are no more."""
        self._downgraded &= set(snapshot.providers)
        self._checked = {name: good for name, good in self._checked.items() if name in snapshot.providers}

    def forget(self, name: str) -> None:
        """A provider was reset: what was found of it counts no more."""
        self._downgraded.discard(name)
        self._checked.pop(name, None)

    async def check_all(self) -> dict[str, bool]:
        """Check every provider now, in parallel; whether each is healthy."""
        snapshot = self._snapshot()
        checked = groups(snapshot)
        results = await asyncio.gather(*(self.check(each) for each in checked.values()))
        healthy = {p.name: result for each, result in zip(checked.values(), results, strict=True) for p in each}
        return {name: self._healthy(name, healthy.get(name)) for name in snapshot.providers}

    async def check(self, providers: Sequence[Provider], timeout_s: float | None = None) -> bool:
        """One check, told to every provider that it speaks for; whether it was good.

        Args:
            providers: Those that one check serves.
            timeout_s: None is what their settings say.
        """
        first = providers[0]
        mode = HealthMode.TCP if first.name in self._downgraded else self._affordable(first)
        if mode is HealthMode.OFF:
            return self._answers(first.name)
        if first.auth.missing:
            return False
        began = monotonic()
        result = await probe(self._registry.account(first), mode, timeout_s or first.health.timeout_s)
        if result.downgrade:
            self._downgraded.add(first.name)
            self._log.event("warning", "health.downgraded", provider=first.name, status=result.status, mode="tcp")
        good = result.failure is None or result.failure.kind is Kind.RATE_LIMITED
        for provider in providers:
            self._book.observe_probe(provider.name, result.failure, began=began, now=monotonic())
            self._write(provider, result)
            self._tell_change(provider.name, result.failure, good=good)
        return good

    def _healthy(self, name: str, checked: bool | None) -> bool:
        """What an operator said wins over the check, and the check over live traffic."""
        declared = [state.checks for state in self._book.of_provider(name) if state.checks.by_operator]
        if declared:
            return any(checks.health is Health.HEALTHY for checks in declared)
        return self._answers(name) if checked is None else checked

    def _answers(self, name: str) -> bool:
        now = monotonic()
        return any(state.refusal(now) is None for state in self._book.of_provider(name))

    def _affordable(self, provider: Provider) -> HealthMode:
        """The mode of the next check: completions cost a token each, and so have a ceiling for each day."""
        settings = provider.health
        if settings.mode is not HealthMode.COMPLETION:
            return settings.mode
        day = int(time.time() // _DAY_S)
        before, count = self._completions.get(provider.name, (day, 0))
        count = count + 1 if before == day else 1
        if count > settings.completions_per_day:
            return HealthMode.TCP
        self._completions[provider.name] = (day, count)
        return HealthMode.COMPLETION

    def _tell_change(self, name: str, failure: Failure | None, *, good: bool) -> None:
        if self._checked.get(name, True) is not good:
            error = failure.message if failure else None
            self._log.event("info" if good else "warning", "health.checked", provider=name, healthy=good, error=error)
        self._checked[name] = good

    def _write(self, provider: Provider, result: ProbeResult) -> None:
        failure = result.failure
        record = AttemptRecord(
            generation=self._snapshot().generation,
            provider=provider.name,
            operation=CHECK,
            selection=Selection.PROBE.value,
            outcome=Outcome.FAILED if failure else Outcome.OK,
            kind=failure.kind if failure else None,
            error=failure.message if failure else None,
            status=result.status,
            duration_s=round(result.duration_s, 6),
        )
        self._log.attempt(record)
        self._metrics.attempt(record)
