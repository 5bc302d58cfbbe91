"""Series summed up as plain dicts: the numbers behind `get_stats`.

Knows series; what it gives are copies of JSON types only, so that a caller may keep, change and dump
them. Latencies are those of good answers: a provider that refuses in 3 ms is not a fast one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sidecar.model.records import Outcome
from sidecar.observe.histogram import Histogram
from sidecar.observe.series import AttemptKey, AttemptSeries, RequestSeries

__all__ = ["providers_told", "summary_told"]

_OK = Outcome.OK.value
# The other outcomes are an operator's, a client's or nobody's doing, and say nothing about a provider.
_FAULTS = (Outcome.FAILED.value, Outcome.TRUNCATED.value)
_NONE = "none"


def providers_told(every: Sequence[AttemptSeries], names: Iterable[str] = ()) -> dict[str, Any]:
    """For each provider what its attempts came to, the same for each of its targets, and its health checks.

    Args:
        every: All series.
        names: Providers that are told even if there is nothing of them.
    """
    grouped = _grouped(every, lambda key: key.provider)
    return {name: _provider_told(grouped.get(name, [])) for name in dict.fromkeys([*names, *grouped])}


def _provider_told(every: Sequence[AttemptSeries]) -> dict[str, Any]:
    attempts, checks = _apart(every)
    of_targets = _grouped(attempts, lambda key: key.target)
    return {
        **_attempts_told(attempts),
        "checks": _checks_told(checks),
        "targets": {target: _attempts_told(of_target) for target, of_target in of_targets.items()},
    }


def summary_told(attempts: Sequence[AttemptSeries], requests: Sequence[RequestSeries]) -> dict[str, Any]:
    """All requests, and all attempts."""
    good = [series for series in requests if series.key.outcome == _OK]
    told = {
        **_outcomes_told([(series.key.outcome, series.key.kind, series.count) for series in requests]),
        "latency_s": _spread(series.duration for series in good),
        "first_token_s": _spread(series.first_token for series in good),
        "overhead_s": _spread(series.overhead for series in requests),
    }
    tried, checks = _apart(attempts)
    return {"requests": told, "attempts": _attempts_told(tried), "checks": _checks_told(checks)}


def _apart(every: Sequence[AttemptSeries]) -> tuple[list[AttemptSeries], list[AttemptSeries]]:
    """Attempts for clients, and health checks."""
    return [each for each in every if not each.key.is_check], [each for each in every if each.key.is_check]


def _checks_told(checks: Sequence[AttemptSeries]) -> dict[str, Any]:
    good = [series for series in checks if series.key.outcome == _OK]
    return {
        **_outcomes_told([(series.key.outcome, series.key.kind, series.count) for series in checks]),
        "latency_s": _spread(series.duration for series in good),
    }


def _attempts_told(attempts: Sequence[AttemptSeries]) -> dict[str, Any]:
    good = [series for series in attempts if series.key.outcome == _OK]
    return {
        **_outcomes_told([(series.key.outcome, series.key.kind, series.count) for series in attempts]),
        "latency_s": _spread(series.duration for series in good),
        "first_token_s": _spread(series.first_token for series in good),
        "tokens": {
            "input": sum(int(series.input_tokens.total) for series in attempts),
            "output": sum(int(series.output_tokens.total) for series in attempts),
            "cache_read": sum(series.cache_read_tokens for series in attempts),
            "cache_write": sum(series.cache_write_tokens for series in attempts),
            "reasoning": sum(series.reasoning_tokens for series in attempts),
        },
        "cost_usd": round(sum(series.cost_usd for series in attempts), 9),
    }


def _outcomes_told(counts: Iterable[tuple[str | None, str | None, int]]) -> dict[str, Any]:
    """`total` is what was tried: targets that were passed over are among the outcomes only."""
    outcomes: dict[str, int] = defaultdict(int)
    kinds: dict[str, int] = defaultdict(int)
    for outcome, kind, count in counts:
        outcomes[outcome or _NONE] += count
        if kind is not None:
            kinds[kind] += count
    good, bad = outcomes.get(_OK, 0), sum(outcomes.get(fault, 0) for fault in _FAULTS)
    return {
        "total": sum(count for outcome, count in outcomes.items() if outcome != Outcome.SKIPPED),
        "outcomes": dict(outcomes),
        "kinds": dict(kinds),
        "success_ratio": good / (good + bad) if good + bad else None,
    }


def _grouped(
    attempts: Iterable[AttemptSeries], name: Callable[[AttemptKey], str | None]
) -> dict[str, list[AttemptSeries]]:
    groups: dict[str, list[AttemptSeries]] = defaultdict(list)
    for series in attempts:
        groups[name(series.key) or _NONE].append(series)
    return groups


def _spread(histograms: Iterable[Histogram]) -> dict[str, float | None]:
    every = Histogram()
    for histogram in histograms:
        every.add(histogram)
    return {
        "p50": every.quantile(0.5),
        "p95": every.quantile(0.95),
        "max": every.max if every.count else None,
    }
