"""One target's health: what active checks, live traffic and operators say of it.

Checks need `fall` bad ones in a row to call a target unhealthy and `rise` good ones to take that
back. Live traffic that went well is the better witness: it heals at once, and while it is fresh a
bad check is not counted, because a model list can be broken while the model answers. What an operator
says stands until it is reset.
"""

from __future__ import annotations

from enum import StrEnum

from sidecar.model.settings import HealthSettings

__all__ = ["Checks", "Health", "Source"]


class Health(StrEnum):
    """Whether a target is thought to answer."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Source(StrEnum):
    """Who says so."""

    CHECK = "check"
    TRAFFIC = "traffic"
    OPERATOR = "operator"


class Checks:
    """The health axis of one target."""

    __slots__ = ("bad", "bad_since", "error", "good", "health", "source")

    def __init__(self) -> None:
        self.health = Health.UNKNOWN
        self.source: Source | None = None
        self.good = 0  # checks in a row
        self.bad = 0
        self.bad_since: float | None = None  # the first of them
        self.error: str | None = None  # what was wrong at the last of them

    @property
    def by_operator(self) -> bool:
        """Whether an operator said how it is."""
        return self.source is Source.OPERATOR

    def passed(self, settings: HealthSettings) -> None:
        """A good check; the first of all is believed at once."""
        self.bad, self.bad_since = 0, None
        self.good += 1
        if self.health is Health.UNKNOWN or self.good >= settings.rise:
            self._say(Health.HEALTHY, Source.CHECK)

    def failed(self, settings: HealthSettings, error: str, now: float) -> None:
        """A bad check."""
        self.error = error
        if not self.bad:
            self.bad_since = now
        self.good = 0
        self.bad += 1
        if self.bad >= settings.fall:
            self._say(Health.UNHEALTHY, Source.CHECK)

    def answered(self) -> None:
        """Live traffic went well."""
        self.bad, self.bad_since = 0, None
        self._say(Health.HEALTHY, Source.TRAFFIC)

    def declare(self, healthy: bool) -> None:
        """An operator says how it is."""
        self.health = Health.HEALTHY if healthy else Health.UNHEALTHY
        self.source = Source.OPERATOR

    def forget(self) -> None:
        """Nothing is known any more."""
        self.health, self.source = Health.UNKNOWN, None
        self.good = self.bad = 0
        self.bad_since = None

    def _say(self, health: Health, source: Source) -> None:
        if self.health is not health and not self.by_operator:
            self.health, self.source = health, source
