"""What must be more than nothing is refused as zero, at its place: no division by it, no breaker that never closes."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("keys", "place", "expected"),
    [
        ("budget: {ttl: 0s}", "resilience.budget.ttl", "more than 0s"),
        ("budget: {ttl: 0.0000001ms}", "resilience.budget.ttl", "more than 0s"),
        ("breaker: {failure_percentage: {window: 0s}}", "resilience.breaker.failure_percentage.window", "more than 0s"),
        ("breaker: {failure_percentage: {min_requests: 0}}", "min_requests", "at least 1"),
        ("breaker: {half_open_max_requests: 0}", "resilience.breaker.half_open_max_requests", "at least 1"),
        ("breaker: {half_open_successes: 0}", "resilience.breaker.half_open_successes", "at least 1"),
        ("breaker: {consecutive_failures: 0}", "resilience.breaker.consecutive_failures", "at least 1"),
        ("breaker: {open: {base: 0s}}", "resilience.breaker.open.base", "more than 0s"),
    ],
)
def test_zero_is_refused_where_it_means_nothing(problems, keys, place, expected):
    (problem,) = problems(
        f"resilience: {{{keys}}}\nproviders: {{a: {{type: ollama}}}}\nroutes: {{r: {{chain: [a/x]}}}}"
    )
    assert place in str(problem)
    assert expected in str(problem)
