"""`ProviderState`: one round of failures however many callers, and never blocked for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sidecar import (
    AuthenticationError,
    ConfigurationError,
    LLMError,
    NetworkError,
    ProviderState,
    RateLimitError,
    ValidationError,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> ProviderState:
    return ProviderState("openai", clock=clock)


def left_s(state: ProviderState) -> float:
    assert state.backoff_until is not None
    return (state.backoff_until - datetime.now(UTC)).total_seconds()


def test_a_new_state_may_begin(state: ProviderState) -> None:
    assert state.can_retry_initialization()


def test_a_failure_is_remembered_and_backs_off(state: ProviderState) -> None:
    state.is_initializing = True
    state.record_initialization_failure(ConnectionError("refused"))
    assert not state.can_retry_initialization()
    assert (state.is_initializing, state.is_initialized, state.initialization_attempts) == (False, False, 1)
    assert state.last_error == "refused"
    assert state.last_error_time is not None
    assert datetime.now(UTC) - state.last_error_time < timedelta(seconds=5)
    assert 0 < left_s(state) <= 2


def test_an_error_without_words_is_told_by_its_name(state: ProviderState) -> None:
    state.record_initialization_failure(TimeoutError())
    assert state.last_error == "TimeoutError"


def test_twenty_callers_of_one_failing_connect_are_one_round(state: ProviderState, clock: Clock) -> None:
    for index in range(20):
        state.record_initialization_failure(ConnectionError(f"refused {index}"))
    assert state.initialization_attempts == 1
    assert state.last_error == "refused 0"
    clock.now += 2.01
    assert state.can_retry_initialization()
    for _ in range(20):
        state.record_initialization_failure(ConnectionError("again"))
    assert state.initialization_attempts == 2


def test_it_backs_off_longer_up_to_a_limit_and_never_for_good(state: ProviderState, clock: Clock) -> None:
    waits = []
    for round_ in range(1, 60):
        state.record_initialization_failure(ConnectionError("refused"))
        assert state.initialization_attempts == round_
        waits.append(left_s(state))
        clock.now += 10.01  # the cap, when failing takes no time
        assert state.can_retry_initialization()
    assert waits[0] <= 2.0 < max(waits) <= 10.0


def test_success_forgets_everything(state: ProviderState, clock: Clock) -> None:
    for _ in range(5):
        state.record_initialization_failure(ConnectionError("refused"))
        clock.now += 11
    state.is_initializing = True
    state.record_initialization_success()
    assert state.can_retry_initialization()
    assert (state.is_initializing, state.is_initialized, state.initialization_attempts) == (False, True, 0)
    assert state.last_error is state.last_error_time is state.backoff_until is None
    state.record_initialization_failure(ConnectionError("refused"))
    assert 0 < left_s(state) <= 2  # the first round again
    assert not state.is_initialized


def test_a_cancelled_initialisation_wedges_nothing(state: ProviderState) -> None:
    state.is_initializing = True  # and then the task was cancelled: nobody records anything
    assert state.can_retry_initialization()


def test_a_rate_limit_keeps_away_as_long_as_it_says(state: ProviderState, clock: Clock) -> None:
    state.record_initialization_failure(RateLimitError("slow down", retry_after=60))
    assert 59 < left_s(state) <= 90
    clock.now += 59
    assert not state.can_retry_initialization()
    clock.now += 32
    assert state.can_retry_initialization()


def test_a_refused_key_keeps_away_for_minutes_and_not_for_good(state: ProviderState, clock: Clock) -> None:
    state.record_initialization_failure(AuthenticationError("no"))
    clock.now += 290
    assert not state.can_retry_initialization()
    clock.now += 11
    assert state.can_retry_initialization()


@pytest.mark.parametrize("error", [NetworkError("reset"), ConfigurationError("no url"), LLMError("odd")])
def test_any_other_failure_to_begin_counts(state: ProviderState, error: LLMError) -> None:
    state.record_initialization_failure(error)
    assert state.initialization_attempts == 1
    assert not state.can_retry_initialization()


def test_a_fault_of_the_caller_says_nothing_of_the_provider(state: ProviderState) -> None:
    state.record_initialization_failure(ValidationError("bad field"))
    assert state.can_retry_initialization()
    assert (state.initialization_attempts, state.last_error) == (0, None)
