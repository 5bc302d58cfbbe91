"""MetricsCollector: attempts and requests as numbers, for `get_stats` and for Prometheus.

Knows records; knows nothing of how they came about. Counting is one look-up of a series and a few
additions: everything that is a sum over series (a provider, a ratio, a quantile) is made when somebody
asks. A series is a target, an operation, an outcome and a kind, all of bounded number: no label and no
key is ever taken from an error's text, and targets beyond the first thousand share `provider/*`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from sidecar.model.failures import Kind
from sidecar.model.records import AttemptRecord, Outcome, RequestRecord
from sidecar.model.topology import Operation
from sidecar.observe.series import CHECK, AttemptKey, AttemptSeries, RequestKey, RequestSeries, Served
from sidecar.observe.stats import providers_told, summary_told

__all__ = ["Gauge", "MetricsCollector"]

_MAX_NAMES = 1000
_REST = "*"
_OTHER = "other"
_OUTCOMES = frozenset(outcome.value for outcome in Outcome)
_KINDS = frozenset(kind.value for kind in Kind)
_OPERATIONS = frozenset({CHECK, *(operation.value for operation in Operation)})


class Gauge(msgspec.Struct, frozen=True):
    """A value of this moment that somebody else keeps; a name that ends in `_total` is a counter."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = {}


class MetricsCollector:
    """Counts from its creation on; belongs to one manager, whose gauges it shows."""

    def __init__(self, gauges: Callable[[], Iterable[Gauge]] | None = None) -> None:
        self.gauges: Callable[[], Iterable[Gauge]] = gauges or tuple
        self._began_s = time.monotonic()
        self._attempts: dict[tuple[str | None, ...], AttemptSeries] = {}
        self._requests: dict[tuple[str | None, ...], RequestSeries] = {}
        self._served: dict[tuple[AttemptKey, RequestKey], Served] = {}
        self._targets: set[str] = set()
        self._routes: set[str] = set()

    def attempt(self, record: AttemptRecord) -> None:
        """Count one attempt."""
        self._of_attempt(record).observe(record)

    def request(self, record: RequestRecord) -> None:
        """Count one request."""
        self._of_request(record).observe(record)

    def served(self, attempt: AttemptRecord, request: RequestRecord) -> Served:
        """What counts requests like this one, which was served by this attempt alone."""
        series = self._of_attempt(attempt), self._of_request(request)
        return self._served.setdefault((series[0].key, series[1].key), Served(*series))

    def attempt_series(self) -> list[AttemptSeries]:
        """Every series of attempts, live: to be read at once."""
        self._settle()
        return list(self._attempts.values())

    def request_series(self) -> list[RequestSeries]:
        """Every series of requests, live: to be read at once."""
        self._settle()
        return list(self._requests.values())

    def stats(self, providers: Iterable[str] = ()) -> dict[str, Any]:
        """Everything as plain copies that `json.dumps` takes; times in seconds, ratios 0..1 or None.

        `manager`: uptime, and the gauges that have no labels. `providers`: for each what its attempts
        came to, the same for each of its `targets`, and its health `checks`. `summary`: `requests`,
        `attempts` and `checks`, over all.

        Args:
            providers: Names that are told even if nothing was asked of them.
        """
        manager: dict[str, Any] = {"uptime_s": round(time.monotonic() - self._began_s, 3)}
        manager.update((gauge.name, gauge.value) for gauge in self.gauges() if not gauge.labels)
        attempts = self.attempt_series()
        return {
            "manager": manager,
            "providers": providers_told(attempts, providers),
            "summary": summary_told(attempts, self.request_series()),
        }

    def exposition(self) -> bytes:
        """The numbers in Prometheus' text format, as they are at this moment."""
        return b"".join(self.exposition_pieces())

    def exposition_pieces(self) -> Iterator[bytes]:
        """The same in pieces, for a loop that has other work between any two; a series is of one moment."""
        from sidecar.observe.exposition import pieces  # noqa: PLC0415 - for a daemon that is scraped

        return pieces(self)

    def _settle(self) -> None:
        for served in self._served.values():
            served.settle()

    def _of_attempt(self, record: AttemptRecord) -> AttemptSeries:
        # A health check has no target: it is counted for its provider.
        name = record.target or record.provider
        known = self._attempts.get((name, record.operation, record.outcome, record.kind))
        return known or self._attempt_series(record)

    def _of_request(self, record: RequestRecord) -> RequestSeries:
        known = self._requests.get((record.route, record.operation, record.outcome, record.kind))
        return known or self._request_series(record)

    def _attempt_series(self, record: AttemptRecord) -> AttemptSeries:
        provider, target = record.provider, record.target
        if target is not None:
            provider = provider or target.partition("/")[0]
            target = _bounded(target, f"{provider}/{_REST}", self._targets)
        key = AttemptKey(
            target,
            _REST if target == _REST else provider,
            _known(record.operation, _OPERATIONS),
            _known(record.outcome, _OUTCOMES),
            _known(record.kind, _KINDS),
        )
        name = target or provider
        return self._attempts.setdefault((name, key.operation, key.outcome, key.kind), AttemptSeries(key))

    def _request_series(self, record: RequestRecord) -> RequestSeries:
        key = RequestKey(
            None if record.route is None else _bounded(record.route, _REST, self._routes),
            _known(record.operation, _OPERATIONS),
            _known(record.outcome, _OUTCOMES),
            _known(record.kind, _KINDS),
        )
        return self._requests.setdefault((key.route, key.operation, key.outcome, key.kind), RequestSeries(key))


def _bounded(name: str, rest: str, names: set[str]) -> str:
    """The name while there is room for new ones, then what it shares with others, in the end `*`."""
    for candidate, room in ((name, _MAX_NAMES), (rest, 2 * _MAX_NAMES)):
        if candidate in names or len(names) < room:
            names.add(candidate)
            return candidate
    return _REST


def _known(value: str | None, values: frozenset[str]) -> str | None:
    return value if value is None or value in values else _OTHER
