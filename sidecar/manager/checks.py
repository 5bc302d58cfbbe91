"""When which provider is checked: every interval, more often while it fails, never twice at once.

One check serves every target of a (base URL, key). What a check means is `routing`'s business, how it
is done `upstream`'s; this file only keeps the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from time import monotonic

from sidecar.model.settings import HealthMode
from sidecar.model.topology import Provider, Snapshot
from sidecar.routing.health import HealthBook

__all__ = ["Checks", "groups"]

Check = Callable[[Sequence[Provider]], Awaitable[bool]]


def groups(snapshot: Snapshot) -> Mapping[Hashable, tuple[Provider, ...]]:
    """Providers that one check serves; those with checks off are left out.

    Same address, same key, reached in the same way; where a check asks a model, the same model.
    """
    found: dict[Hashable, tuple[Provider, ...]] = {}
    for provider in snapshot.providers.values():
        if provider.health.mode is not HealthMode.OFF:
            how = (provider.transport, provider.tls, provider.trust_env)
            model = provider.model if provider.health.mode is HealthMode.COMPLETION else None
            key = (provider.base_url, provider.type, provider.auth.key, how, provider.health.mode, model)
            found[key] = (*found.get(key, ()), provider)
    return found


class Checks:
    """Runs the checks of the current snapshot until it is cancelled.

    Args:
        snapshot: Gives the current one.
        book: Says how soon a provider is to be checked, and whether live traffic has just done it.
        check: Does one check of a group.
        rng: Chance in [0, 1), for the jitter that keeps a fleet from knocking all at once.
    """

    def __init__(
        self, snapshot: Callable[[], Snapshot], book: HealthBook, check: Check, rng: Callable[[], float]
    ) -> None:
        self._snapshot = snapshot
        self._book = book
        self._check = check
        self._rng = rng
        self._due: dict[Hashable, float] = {}
        self._running: dict[Hashable, asyncio.Task[None]] = {}

    async def run(self, *, tick_s: float = 0.5) -> None:
        """Check for ever; a new provider is checked within its first second."""
        try:
            while True:
                self._start_due(monotonic())
                await asyncio.sleep(tick_s)
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def due_in(self, provider: str, now: float) -> float | None:
        """Seconds until the provider's next check; None if none is planned."""
        for key, providers in groups(self._snapshot()).items():
            if any(each.name == provider for each in providers) and key in self._due:
                return 0.0 if key in self._running else max(0.0, self._due[key] - now)
        return None

    def _start_due(self, now: float) -> None:
        current = groups(self._snapshot())
        self._due = {key: self._next(key, providers, now) for key, providers in current.items()}
        for key, providers in current.items():
            if now < self._due[key] or key in self._running:
                continue
            if not any(self._book.needs_probe(provider.name, now) for provider in providers):
                self._due[key] = now + self._pause_s(providers)
                continue
            self._running[key] = asyncio.get_running_loop().create_task(self._run_one(key, providers))

    def _next(self, key: Hashable, providers: Sequence[Provider], now: float) -> float:
        """When the group is due: soon if it is new, sooner than planned if it began to fail."""
        due = self._due.get(key)
        if due is None:
            return now + self._rng() * min(0.5, providers[0].health.interval_s)
        return min(due, now + self._pause_s(providers))

    async def _run_one(self, key: Hashable, providers: Sequence[Provider]) -> None:
        try:
            await self._check(providers)
        except Exception as error:  # noqa: BLE001 - the task's outermost door: one bad check must not end the checks
            context = {"message": f"the health check of {providers[0].name} failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
        finally:
            del self._running[key]
            self._due[key] = monotonic() + self._pause_s(providers)

    def _pause_s(self, providers: Sequence[Provider]) -> float:
        interval_s = min(self._book.probe_interval(provider.name) for provider in providers)
        return interval_s * (1 + providers[0].health.jitter * (2 * self._rng() - 1))
