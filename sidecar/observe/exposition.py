"""The collector's numbers in Prometheus' text format.

Knows metric names and labels: OpenTelemetry's for generative AI where it has one, dots as underscores
and the unit at the end. Imported by the first scrape. The client library would spell them as well, but its
import alone holds up the event loop for 20 to 70 ms (it brings HTTP servers), and each scrape for six times
as long: 1.7 s instead of 0.25 for a thousand targets and routes.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (read 2026-11-23).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sidecar.model.records import Outcome
from sidecar.model.topology import Operation
from sidecar.observe.histogram import DURATION_BOUNDS_S, OVERHEAD_BOUNDS_S, TOKEN_BOUNDS, Histogram
from sidecar.observe.series import AttemptKey, AttemptSeries, RequestSeries

if TYPE_CHECKING:
    from sidecar.observe.metrics import Gauge, MetricsCollector

__all__ = ["pieces"]

_ATTEMPT_LABELS = ("target", "outcome", "kind")
_REQUEST_LABELS = ("route", "operation", "outcome", "kind")
_GEN_AI_LABELS = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type")
_OPERATION_NAMES: Mapping[str, str] = {Operation.COMPLETIONS.value: "text_completion"}  # ours -> OpenTelemetry's

_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n"})

_Labels = tuple[str, ...]


def pieces(collector: MetricsCollector) -> Iterator[bytes]:
    """Every family, in pieces of some microseconds; an empty one tells only that work was done."""
    for text in _families(collector):
        yield text.encode("utf-8", "backslashreplace")


def _families(collector: MetricsCollector) -> Iterator[str]:
    attempts, requests = collector.attempt_series(), collector.request_series()
    yield from _attempt_families([series for series in attempts if not series.key.is_check])
    yield from _counters(
        "sidecar_health_checks_total",
        "Active checks of providers by what they came to.",
        ("provider", "outcome", "kind"),
        ((_texts(s.key.provider, s.key.outcome, s.key.kind), s.count) for s in attempts if s.key.is_check),
    )
    yield from _request_families(requests)
    yield from _gauge_families(collector.gauges())


def _attempt_families(attempts: Sequence[AttemptSeries]) -> Iterator[str]:
    yield from _counters(
        "sidecar_attempts_total",
        "Tries at targets by what they came to; targets passed over included.",
        _ATTEMPT_LABELS,
        (((*_texts(s.key.target, s.key.outcome, s.key.kind),), s.count) for s in attempts),
    )
    yield from _counters(
        "sidecar_cost_usd_total",
        "US dollars spent, by the prices of the config.",
        ("target",),
        ((_texts(s.key.target), s.cost_usd) for s in attempts if s.cost_usd),
    )
    tried = [series for series in attempts if series.key.outcome != Outcome.SKIPPED]
    yield from _histograms(
        "gen_ai_client_operation_duration_seconds",
        "From the start of an attempt to its end.",
        _GEN_AI_LABELS,
        ((_gen_ai(s.key), s.duration) for s in tried),
        DURATION_BOUNDS_S,
    )
    yield from _histograms(
        "gen_ai_client_operation_time_to_first_chunk_seconds",
        "From the sending of a streamed attempt to its first content.",
        _GEN_AI_LABELS,
        ((_gen_ai(s.key), s.first_token) for s in tried),
        DURATION_BOUNDS_S,
    )
    yield from _histograms(
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


def _request_families(requests: Sequence[RequestSeries]) -> Iterator[str]:
    yield from _counters(
        "sidecar_requests_total",
        "Clients' requests by what they came to.",
        _REQUEST_LABELS,
        (((*_texts(s.key.route, s.key.operation, s.key.outcome, s.key.kind),), s.count) for s in requests),
    )
    yield from _histograms(
        "sidecar_request_duration_seconds",
        "From the arrival of a request to the end of its answer.",
        ("route", "outcome"),
        ((_texts(s.key.route, s.key.outcome), s.duration) for s in requests),
        DURATION_BOUNDS_S,
    )
    yield from _histograms(
        "sidecar_overhead_seconds",
        "Of a request's time what was spent in the sidecar itself.",
        ("route",),
        ((_texts(s.key.route), s.overhead) for s in requests),
        OVERHEAD_BOUNDS_S,
    )


def _gauge_families(gauges: Iterable[Gauge]) -> Iterator[str]:
    families: dict[str, list[Gauge]] = {}
    for gauge in gauges:
        families.setdefault(gauge.name, []).append(gauge)
    for name, family in families.items():
        yield _head(name, family[0].help, "counter" if name.endswith("_total") else "gauge")
        for gauge in family:
            yield _line(name, _spelt(gauge.labels.keys(), map(str, gauge.labels.values())), gauge.value)


def _counters(name: str, about: str, labels: _Labels, counts: Iterable[tuple[_Labels, float]]) -> Iterator[str]:
    sums: dict[_Labels, float] = {}
    for values, count in counts:
        sums[values] = sums.get(values, 0) + count
        yield ""
    yield _head(name, about, "counter")
    for values, total in sums.items():
        yield _line(name, _spelt(labels, values), total)


def _histograms(
    name: str, about: str, labels: _Labels, histograms: Iterable[tuple[_Labels, Histogram]], bounds: Sequence[float]
) -> Iterator[str]:
    sums: dict[_Labels, Histogram] = {}
    for values, histogram in histograms:
        if histogram.count:
            sums.setdefault(values, Histogram(histogram.bounds)).add(histogram)
        yield ""
    yield _head(name, about, "histogram")
    for values, histogram in sums.items():
        yield "".join(_histogram(name, _spelt(labels, values), histogram, bounds))


def _histogram(name: str, labels: str, histogram: Histogram, bounds: Sequence[float]) -> Iterator[str]:
    for bound, count in histogram.cumulative(bounds):
        yield _line(f"{name}_bucket", f'{labels},le="{bound:.9g}"', count)
    yield _line(f"{name}_bucket", f'{labels},le="+Inf"', histogram.count)
    yield _line(f"{name}_count", labels, histogram.count)
    yield _line(f"{name}_sum", labels, histogram.total)


def _head(name: str, about: str, kind: str) -> str:
    return f"# HELP {name} {about.translate(_HELP_ESCAPED)}\n# TYPE {name} {kind}\n"


def _spelt(labels: Iterable[str], values: Iterable[str]) -> str:
    return ",".join([f'{label}="{value.translate(_ESCAPED)}"' for label, value in zip(labels, values, strict=True)])


def _line(name: str, labels: str, value: float) -> str:
    return f"{name}{{{labels}}} {float(value)!r}\n" if labels else f"{name} {float(value)!r}\n"


def _gen_ai(key: AttemptKey) -> _Labels:
    model = (key.target or "").partition("/")[2]
    operation = _OPERATION_NAMES.get(key.operation or "", key.operation)
    return _texts(operation, key.provider, model, key.kind)


def _texts(*values: str | None) -> _Labels:
    return tuple(value or "" for value in values)
