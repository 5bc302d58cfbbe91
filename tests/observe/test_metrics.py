"""MetricsCollector: counts are exact, quantiles close, dumps plain, everything bounded."""

import json
import math
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from sidecar.model.records import AttemptRecord, RequestRecord, Usage
from sidecar.model.topology import ModelFacts, Price
from sidecar.observe.histogram import DURATION_BOUNDS_S, OVERHEAD_BOUNDS_S, TIME_BOUNDS_S, Histogram
from sidecar.observe.metrics import Gauge, MetricsCollector
from sidecar.observe.prices import cost_usd


def attempt(target: str = "openai/gpt", outcome: str = "ok", **fields) -> AttemptRecord:
    return AttemptRecord(target=target, provider=target.partition("/")[0], operation="chat", outcome=outcome, **fields)


def request(outcome: str = "ok", **fields) -> RequestRecord:
    return RequestRecord(route="default", operation="chat", outcome=outcome, **fields)


def filled() -> MetricsCollector:
    collector = MetricsCollector(lambda: [Gauge("sidecar_config_generation", "Generation.", 3)])
    for duration_s in (1.0, 2.0, 3.0):
        collector.attempt(
            attempt(duration_s=duration_s, first_token_s=0.5, input_tokens=10, output_tokens=5, cost_usd=0.25)
        )
    collector.attempt(attempt(outcome="failed", kind="rate_limited", duration_s=0.01))
    collector.attempt(attempt("claude/c", "skipped", skipped="open: unreachable"))
    collector.attempt(attempt("claude/c", "cancelled", kind="client_gone"))
    collector.attempt(attempt("claude/c", cache_read_tokens=7, reasoning_tokens=2))
    collector.request(request(duration_s=4.0, overhead_s=0.0002))
    collector.request(request("failed", kind="deadline", overhead_s=0.0004))
    return collector


def samples(collector: MetricsCollector) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = collector.exposition().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(collector: MetricsCollector, name: str, **labels: str) -> float:
    return sum(
        value
        for (sample, has), value in samples(collector).items()
        if sample == name and labels.items() <= dict(has).items()
    )


def test_stats_keep_attempts_and_requests_apart() -> None:
    stats = filled().stats()
    assert set(stats) == {"manager", "providers", "summary"}
    assert stats["manager"]["sidecar_config_generation"] == 3
    openai = stats["providers"]["openai"]
    assert (openai["total"], openai["outcomes"], openai["kinds"]) == (
        4,
        {"ok": 3, "failed": 1},
        {"rate_limited": 1},
    )
    assert openai["success_ratio"] == 0.75
    assert openai["latency_s"]["max"] == 3.0
    assert openai["latency_s"]["p50"] == pytest.approx(2.0, rel=0.1)
    assert openai["first_token_s"]["p95"] == pytest.approx(0.5, rel=0.1)
    assert openai["tokens"] == {"input": 30, "output": 15, "cache_read": 0, "cache_write": 0, "reasoning": 0}
    assert openai["cost_usd"] == 0.75
    assert openai["targets"]["openai/gpt"]["total"] == 4
    claude = stats["providers"]["claude"]
    assert (claude["total"], claude["outcomes"]["skipped"], claude["success_ratio"]) == (2, 1, 1.0)
    assert claude["tokens"]["cache_read"] == 7
    summary = stats["summary"]
    assert (summary["requests"]["total"], summary["attempts"]["total"]) == (2, 6)
    assert summary["requests"]["success_ratio"] == 0.5
    assert summary["requests"]["kinds"] == {"deadline": 1}


def test_stats_are_plain_copies() -> None:
    collector = filled()
    told = collector.stats()
    assert json.loads(json.dumps(told)) == told
    told["providers"]["openai"]["outcomes"]["ok"] = 99
    told["providers"].clear()
    assert collector.stats()["providers"]["openai"]["outcomes"]["ok"] == 3


def test_a_new_collector_has_nothing_to_say() -> None:
    stats = MetricsCollector().stats()
    assert stats["summary"]["attempts"]["success_ratio"] is None
    assert stats["summary"]["attempts"]["latency_s"] == {"p50": None, "p95": None, "max": None}
    json.dumps(stats)
    MetricsCollector().exposition()


def test_ten_thousand_texts_targets_routes_and_kinds_stay_bounded() -> None:
    collector = MetricsCollector()
    for number in range(10_000):
        collector.attempt(attempt(f"p/m{number}", "failed", kind=f"kind {number}", error=f"text {number}"))
        collector.attempt(attempt(f"p{number}/m", f"outcome {number}"))
        collector.request(RequestRecord(route=f"r{number}", operation=f"o{number}", error=f"text {number}"))
    assert len(collector.attempt_series()) <= 2001
    assert len(collector.request_series()) <= 1001
    stats = collector.stats()
    assert stats["summary"]["attempts"]["total"] == 20_000
    assert stats["summary"]["attempts"]["kinds"] == {"other": 10_000}
    assert stats["summary"]["requests"]["total"] == 10_000
    assert "p/*" in stats["providers"]["p"]["targets"]
    assert "text" not in json.dumps(stats)
    assert collector.exposition().count(b"\n") < 100_000


def test_records_without_names_are_counted() -> None:
    collector = MetricsCollector()
    for _ in range(3):
        collector.attempt(AttemptRecord())
        collector.request(RequestRecord())
    assert len(collector.attempt_series()) == len(collector.request_series()) == 1
    assert collector.stats()["providers"]["none"]["total"] == 3


def test_the_exposition_parses_and_adds_up() -> None:
    collector = filled()
    collector.gauges = lambda: [
        Gauge("sidecar_config_generation", "Generation.", 3),
        Gauge("sidecar_target_state", "State.", 1, {"target": "a/b", "state": "open"}),
        Gauge("sidecar_target_state", "State.", 0, {"target": 'a/"c\n', "state": "open"}),
        Gauge("sidecar_log_dropped_total", "Lines lost.", 12),
    ]
    gpt = {"gen_ai_provider_name": "openai", "gen_ai_request_model": "gpt", "gen_ai_operation_name": "chat"}
    assert total(collector, "sidecar_attempts_total") == 7
    assert total(collector, "sidecar_attempts_total", target="openai/gpt", outcome="failed", kind="rate_limited") == 1
    assert total(collector, "sidecar_requests_total", outcome="failed", kind="deadline") == 1
    assert total(collector, "gen_ai_client_operation_duration_seconds_count", **gpt) == 4
    assert total(collector, "gen_ai_client_operation_duration_seconds_sum", **gpt, error_type="") == 6
    assert total(collector, "gen_ai_client_operation_duration_seconds_bucket", **gpt, error_type="", le="1.28") == 1
    assert total(collector, "gen_ai_client_operation_duration_seconds_bucket", **gpt, error_type="", le="2.56") == 2
    assert total(collector, "gen_ai_client_operation_time_to_first_chunk_seconds_count", **gpt) == 3
    assert total(collector, "gen_ai_client_token_usage_sum", **gpt, gen_ai_token_type="input") == 30
    assert total(collector, "gen_ai_client_token_usage_sum", **gpt, gen_ai_token_type="output") == 15
    assert total(collector, "sidecar_overhead_seconds_count", route="default") == 2
    assert total(collector, "sidecar_cost_usd_total", target="openai/gpt") == 0.75
    assert total(collector, "sidecar_target_state", target='a/"c\n') == 0
    assert total(collector, "sidecar_target_state") == 1
    assert total(collector, "sidecar_log_dropped_total") == 12


def test_types_and_help_are_told() -> None:
    collector = filled()
    collector.gauges = lambda: [Gauge("sidecar_a", "One\\two\nthree.", 1), Gauge("sidecar_b_total", "B.", 1.5)]
    told = {each.name: each for each in text_string_to_metric_families(collector.exposition().decode())}
    assert {each.type for name, each in told.items() if name.startswith("gen_ai")} == {"histogram"}
    assert (told["sidecar_a"].type, told["sidecar_a"].documentation) == ("gauge", "One\\two\nthree.")
    assert (told["sidecar_b"].type, told["sidecar_requests"].type) == ("counter", "counter")


def test_the_first_scrape_of_a_daemon_imports_one_module() -> None:
    code = (
        "import sys, sidecar.daemon; from sidecar.observe.metrics import MetricsCollector; before = set(sys.modules);"
        "MetricsCollector().exposition(); print(*(set(sys.modules) - before))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30).stdout
    assert said == "sidecar.observe.exposition\n"


def test_an_operation_has_its_conventional_name() -> None:
    collector = MetricsCollector()
    record = attempt(duration_s=1.0)
    record.operation = "completions"
    collector.attempt(record)
    assert total(collector, "gen_ai_client_operation_duration_seconds_count", gen_ai_operation_name="text_completion")


def test_what_an_upstream_claims_cannot_break_a_scrape() -> None:
    collector = MetricsCollector()
    claims = (10**400, -5, 2**60)
    for tokens in claims:
        collector.attempt(attempt(input_tokens=tokens, output_tokens=tokens, cache_read_tokens=tokens))
    collector.attempt(attempt(duration_s=math.nan, first_token_s=math.inf))
    json.dumps(collector.stats(), allow_nan=False)
    assert not re.search(rb"NaN|[^+]Inf", collector.exposition())


times = st.lists(st.floats(0, 600), min_size=1, max_size=200)


@given(times, st.sampled_from([0.01, 0.5, 0.95, 1.0]))
def test_a_quantile_is_within_one_bucket_of_the_exact_one(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    exact = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    told = histogram.quantile(share)
    assert told is not None
    assert told <= histogram.max == max(values)
    assert abs(told - exact) <= max(exact * 0.0906, TIME_BOUNDS_S[0])


@given(times, times, st.sampled_from([DURATION_BOUNDS_S, OVERHEAD_BOUNDS_S]))
def test_coarse_buckets_are_exact_sums_also_of_added_histograms(
    left: list[float], right: list[float], bounds: tuple[float, ...]
) -> None:
    histogram, other = Histogram(), Histogram()
    for value in left:
        histogram.observe(value)
    for value in (*right, *bounds):
        other.observe(value)
    histogram.add(other)
    every = [*left, *right, *bounds]
    assert list(histogram.cumulative(bounds)) == [(bound, sum(value <= bound for value in every)) for bound in bounds]
    assert histogram.count == len(every)


def test_the_conventional_bounds_are_the_conventional_numbers() -> None:
    assert (
        *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
        *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    ) == DURATION_BOUNDS_S
    assert set(DURATION_BOUNDS_S) | set(OVERHEAD_BOUNDS_S) <= set(TIME_BOUNDS_S)
    assert list(TIME_BOUNDS_S) == sorted(TIME_BOUNDS_S)


@pytest.mark.parametrize(
    ("price", "usage", "wanted"),
    [
        (Price(2.5, 10), Usage(input_tokens=1000, output_tokens=200), 0.0045),
        (Price(2.5, 10), Usage(input_tokens=1000), 0.0025),
        (Price(), Usage(input_tokens=1000, output_tokens=1), 0.0),
        (Price(2.5, 10), Usage(), None),
        (None, Usage(input_tokens=1000, output_tokens=200), None),
    ],
)
def test_prices_are_for_a_million_tokens(price: Price | None, usage: Usage, wanted: float | None) -> None:
    assert cost_usd(ModelFacts(price=price), usage) == wanted
