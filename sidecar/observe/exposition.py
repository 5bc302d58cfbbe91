"""The collector's numbers in Prometheus' text format.

Knows metric names and labels: OpenTelemetry's for generative AI where it has one, dots as underscores
and the unit at the end. Imported by the first scrape. The families are made anew for each scrape from
our own series; the client library only spells them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.model.records import Outcome
from sidecar.model.topology import Operation
from sidecar.observe.histogram import DURATION_BOUNDS_S, OVERHEAD_BOUNDS_S, TOKEN_BOUNDS, Histogram
from sidecar.observe.series import AttemptKey, AttemptSeries, RequestSeries

if TYPE_CHECKING:
    from sidecar.observe.metrics import Gauge, MetricsCollector

__all__ = ["exposition"]

_ATTEMPT_LABELS = ("target", "outcome", "kind")
_REQUEST_LABELS = ("route", "operation", "outcome", "kind")
_GEN_AI_LABELS = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type")
_OPERATION_NAMES: Mapping[str, str] = {Operation.COMPLETIONS.value: "text_completion"}  # ours -> OpenTelemetry's

_Labels = tuple[str, ...]


def exposition(collector: MetricsCollector) -> bytes:
    """Every family, as of now."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(collector))
    return generate_latest(registry)


class _Scrape(Collector):
    """One look at the collector."""

    def __init__(self, collector: MetricsCollector) -> None:
        self._collector = collector

    def collect(self) -> Iterator[Metric]:
        attempts, requests = self._collector.attempt_series(), self._collector.request_series()
        yield from _attempt_families([series for series in attempts if not series.key.is_check])
        yield _counters(
            "sidecar_health_checks",
            "Active checks of providers by what they came to.",
            ("provider", "outcome", "kind"),
            ((_texts(s.key.provider, s.key.outcome, s.key.kind), s.count) for s in attempts if s.key.is_check),
        )
        yield from _request_families(requests)
        yield from _gauge_families(self._collector.gauges())

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: the families follow from what was counted."""
        return iter(())


def _attempt_families(attempts: Sequence[AttemptSeries]) -> Iterator[Metric]:
    yield _counters(
        "sidecar_attempts",
        "Tries at targets by what they came to; targets passed over included.",
        _ATTEMPT_LABELS,
        (((*_texts(s.key.target, s.key.outcome, s.key.kind),), s.count) for s in attempts),
    )
    yield _counters(
        "sidecar_cost_usd",
        "US dollars spent, by the prices of the config.",
        ("target",),
        ((_texts(s.key.target), s.cost_usd) for s in attempts if s.cost_usd),
    )
    tried = [series for series in attempts if series.key.outcome != Outcome.SKIPPED]
    yield _histograms(
        "gen_ai_client_operation_duration_seconds",
        "From the start of an attempt to its end.",
        _GEN_AI_LABELS,
        ((_gen_ai(s.key), s.duration) for s in tried),
        DURATION_BOUNDS_S,
    )
    yield _histograms(
        "gen_ai_client_operation_time_to_first_chunk_seconds",
        "From the sending of a streamed attempt to its first content.",
        _GEN_AI_LABELS,
        ((_gen_ai(s.key), s.first_token) for s in tried),
        DURATION_BOUNDS_S,
    )
    yield _histograms(
        "gen_ai_client_token_usage",
        "Tokens of one attempt.",
        (*_GEN_AI_LABELS, "gen_ai_token_type"),
        (
            ((*_gen_ai(s.key), kind), tokens)
            for s in tried
            for kind, tokens in (("input", s.input_tokens), ("output", s.output_tokens))
        ),
        TOKEN_BOUNDS,
    )


def _request_families(requests: Sequence[RequestSeries]) -> Iterator[Metric]:
    yield _counters(
        "sidecar_requests",
        "Clients' requests by what they came to.",
        _REQUEST_LABELS,
        (((*_texts(s.key.route, s.key.operation, s.key.outcome, s.key.kind),), s.count) for s in requests),
    )
    yield _histograms(
        "sidecar_request_duration_seconds",
        "From the arrival of a request to the end of its answer.",
        ("route", "outcome"),
        ((_texts(s.key.route, s.key.outcome), s.duration) for s in requests),
        DURATION_BOUNDS_S,
    )
    yield _histograms(
        "sidecar_overhead_seconds",
        "Of a request's time what was spent in the sidecar itself.",
        ("route",),
        ((_texts(s.key.route), s.overhead) for s in requests),
        OVERHEAD_BOUNDS_S,
    )


def _gauge_families(gauges: Iterable[Gauge]) -> Iterator[Metric]:
    families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
    for gauge in gauges:
        family = families.get(gauge.name)
        if family is None:
            make: Callable[..., GaugeMetricFamily | CounterMetricFamily] = (
                CounterMetricFamily if gauge.name.endswith("_total") else GaugeMetricFamily
            )
            family = families[gauge.name] = make(gauge.name, gauge.help, labels=tuple(gauge.labels))
        family.add_metric([str(value) for value in gauge.labels.values()], gauge.value)
    yield from families.values()


def _counters(name: str, about: str, labels: _Labels, counts: Iterable[tuple[_Labels, float]]) -> Metric:
    sums: dict[_Labels, float] = {}
    for values, count in counts:
        sums[values] = sums.get(values, 0) + count
    family = CounterMetricFamily(name, about, labels=labels)
    for values, total in sums.items():
        family.add_metric(values, total)
    return family


def _histograms(
    name: str, about: str, labels: _Labels, histograms: Iterable[tuple[_Labels, Histogram]], bounds: Sequence[float]
) -> Metric:
    sums: dict[_Labels, Histogram] = {}
    for values, histogram in histograms:
        if histogram.count:
            sums.setdefault(values, Histogram(histogram.bounds)).add(histogram)
    family = HistogramMetricFamily(name, about, labels=labels)
    for values, histogram in sums.items():
        buckets = [(f"{bound:.9g}", count) for bound, count in histogram.cumulative(bounds)]
        family.add_metric(values, [*buckets, ("+Inf", histogram.count)], histogram.total)
    return family


def _gen_ai(key: AttemptKey) -> _Labels:
    model = (key.target or "").partition("/")[2]
    operation = _OPERATION_NAMES.get(key.operation or "", key.operation)
    return _texts(operation, key.provider, model, key.kind)


def _texts(*values: str | None) -> _Labels:
    return tuple(value or "" for value in values)
