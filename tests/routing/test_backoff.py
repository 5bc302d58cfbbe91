from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.settings import AttemptSettings, BudgetSettings, OpenTime, RateLimitSettings
from sidecar.routing.backoff import equal_jitter, full_jitter, open_time, rate_limit_time, retry_wait
from sidecar.routing.budget import RetryBudget

chances = st.floats(0, 1, exclude_max=True)


@given(st.floats(0, 1e4), chances)
def test_full_jitter_is_anything_below_and_equal_jitter_the_upper_half(ceiling: float, chance: float) -> None:
    assert 0 <= full_jitter(ceiling, lambda: chance) <= ceiling
    assert ceiling / 2 <= equal_jitter(ceiling, lambda: chance) <= ceiling


@given(st.integers(0, 10_000), chances)
def test_retry_waits_double_up_to_their_cap(retries: int, chance: float) -> None:
    settings = AttemptSettings()
    assert retry_wait(retries, settings, lambda: chance) <= min(8.0, 0.25 * 2.0 ** min(retries, 60))


@given(st.integers(1, 10_000), st.floats(0, 1000), chances)
def test_open_times_stay_between_their_bounds(opening: int, failed_s: float, chance: float) -> None:
    assert 1.0 <= open_time(opening, failed_s, OpenTime(), lambda: chance) <= 300.0


def test_the_cap_is_what_a_failure_costs() -> None:
    caps = [open_time(99, failed_s, OpenTime(), lambda: 1.0) for failed_s in (0.03, 1.0, 12.0)]
    assert caps == [10.0, 25.0, 300.0]


@given(st.one_of(st.none(), st.floats(0, 1000)), chances)
def test_a_rate_limited_target_is_never_asked_before_it_said(asked: float | None, chance: float) -> None:
    stay = rate_limit_time(asked, RateLimitSettings(), lambda: chance)
    least = 10.0 if asked is None else min(asked, 300.0)
    assert least <= stay <= least * 1.5


def test_the_budget_is_a_share_of_recent_requests() -> None:
    budget = RetryBudget(BudgetSettings(percent=20.0, ttl_s=10.0, min_per_s=0.0))
    for _ in range(100):
        budget.deposit(5.0)
    taken = sum(budget.withdraw(6.0) for _ in range(100))
    assert taken == pytest.approx(20, abs=1)


def test_deposits_are_worth_something_for_their_time_only() -> None:
    budget = RetryBudget(BudgetSettings(percent=20.0, ttl_s=10.0, min_per_s=0.0))
    for _ in range(100):
        budget.deposit(5.0)
    assert budget.available(13.0) == pytest.approx(20)
    assert budget.available(16.0) == 0
    assert not budget.withdraw(16.0)


def test_the_floor_lets_the_quiet_retry() -> None:
    budget = RetryBudget(BudgetSettings(percent=0.0))
    assert sum(budget.withdraw(100.0) for _ in range(50)) == 10
    assert not budget.withdraw(105.0)
    assert sum(budget.withdraw(111.0) for _ in range(50)) == 10


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=200))
def test_retries_never_exceed_the_share_and_the_floor(steps: list[tuple[bool, float]]) -> None:
    budget = RetryBudget(BudgetSettings())
    now, requests, retries = 0.0, [], []
    for is_request, passed in steps:
        now += passed
        if is_request:
            budget.deposit(now)
            requests.append(now)
        elif budget.withdraw(now):
            retries.append(now)
        # Over any time: a fifth of the requests, and one a second with a burst of ten.
        assert len(retries) <= 0.2 * len(requests) + 10 + (now + 10) * 1.12
