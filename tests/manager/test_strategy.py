"""`FallbackStrategy`: what is tried next, what is told, and what is not a provider's failure."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from sidecar import (
    AllProvidersFailedError,
    AuthenticationError,
    ConfigurationError,
    FallbackStrategy,
    LLMError,
    LLMResponse,
    NetworkError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitError,
    TokenLimitError,
    ValidationError,
)
from sidecar.model.failures import Failure, Kind
from sidecar.routing.health import BreakerState, HealthBook
from tests.fake_provider import FakeProvider, status
from tests.manager.managing import HI, Managed, listed


def answer(provider: str) -> LLMResponse:
    return LLMResponse("Hi", provider, "m", "stop", "stop", [], None, {}, "id", 0.1, datetime.now(UTC))


class Operation:
    """Answers, unless a provider's name is among the faults; writes down what it was called with."""

    def __init__(self, **faults: BaseException) -> None:
        self.faults = faults
        self.calls: list[str] = []
        self.given: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    async def __call__(self, provider: str, *args: Any, **kwargs: Any) -> LLMResponse:
        self.calls.append(provider)
        self.given.append((args, kwargs))
        if provider in self.faults:
            raise self.faults[provider]
        return answer(provider)


def timed_out() -> NetworkError:
    """A failure after which another target is asked, and never the same."""
    return NetworkError(failure=Failure(Kind.FIRST_TOKEN_TIMEOUT, "no answer"))


async def test_the_first_provider_that_answers_is_the_last_that_is_asked() -> None:
    operation = Operation(a=timed_out(), b=AuthenticationError("no"))
    given = ["a", "b", "c", "d"]
    response = await FallbackStrategy().execute_with_fallback(given, operation, 1, two=2)
    assert response.provider == "c"
    assert operation.calls == ["a", "b", "c"]
    assert operation.given == [((1,), {"two": 2})] * 3


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError("slow down", retry_after=30),
        AuthenticationError("no"),
        TokenLimitError("too long"),
        timed_out(),
        ProviderError(failure=Failure(Kind.MALFORMED, "odd")),
    ],
    ids=lambda error: error.failure.kind.value,
)
async def test_a_providers_failure_goes_on_to_the_next(error: LLMError) -> None:
    operation = Operation(a=error)
    assert (await FallbackStrategy().execute_with_fallback(["a", "b"], operation)).provider == "b"
    assert operation.calls == ["a", "b"]


@pytest.mark.parametrize("error", [ProviderError("broke"), NetworkError("reset")], ids=["500", "reset"])
async def test_a_passing_failure_is_tried_again_at_the_same_provider_when_it_is_the_only_one(error: LLMError) -> None:
    operation = Operation(a=error)
    with pytest.raises(type(error)) as caught:
        await FallbackStrategy().execute_with_fallback(["a"], operation)
    assert operation.calls == ["a", "a"]
    assert len(caught.value.attempts) == 2


async def test_a_fault_of_the_caller_does_not_walk_the_chain() -> None:
    fault = ValidationError("bad field", failure=Failure(Kind.INVALID_REQUEST, "bad field", status=400))
    operation = Operation(a=fault)
    with pytest.raises(ValidationError, match="bad field") as caught:
        await FallbackStrategy().execute_with_fallback(["a", "b"], operation)
    assert operation.calls == ["a"]
    assert caught.value.__cause__ is fault
    assert [each["status"] for each in caught.value.attempts] == [400]


@pytest.mark.parametrize("error", [KeyError("mine"), ZeroDivisionError(), asyncio.CancelledError()])
async def test_what_is_no_llm_error_propagates_and_holds_nothing(error: BaseException) -> None:
    book = HealthBook(random.random)
    operation = Operation(a=error)
    with pytest.raises(type(error)):
        await FallbackStrategy(book=book).execute_with_fallback(["a", "b"], operation)
    assert operation.calls == ["a"]
    (state,) = (state for state in book.states if state.key.startswith("a/"))
    assert (state.in_flight, state.breaker.consecutive, state.last_error) == (0, 0, None)


async def test_when_all_fail_each_attempt_is_listed_and_the_most_telling_is_the_cause() -> None:
    limited = RateLimitError("slow down", failure=Failure(Kind.RATE_LIMITED, "slow down", 429, retry_after_s=30.0))
    operation = Operation(a=limited, **{"b/x": AuthenticationError("no")})
    with pytest.raises(AllProvidersFailedError, match="slow down") as caught:
        await FallbackStrategy().execute_with_fallback(["a", "b/x"], operation)
    assert isinstance(caught.value, ProviderError)
    assert caught.value.__cause__ is limited
    durations = [each.pop("duration_s") for each in caught.value.attempts]
    assert all(0 <= duration < 5 for duration in durations)
    assert caught.value.attempts == [
        {"provider": "a", "model": "", "kind": "rate_limited", "status": 429, "retry_after_s": 30.0},
        {"provider": "b", "model": "x", "kind": "credential", "status": None, "retry_after_s": None},
    ]


async def test_a_name_given_twice_is_asked_once() -> None:
    operation = Operation(a=timed_out())
    assert (await FallbackStrategy().execute_with_fallback(["a", "a", "b", "a"], operation)).provider == "b"
    assert operation.calls == ["a", "b"]


async def test_no_provider_at_all_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        await FallbackStrategy().execute_with_fallback([], Operation())


async def test_an_open_breaker_is_passed_over() -> None:
    strategy = FallbackStrategy()
    operation = Operation(a=timed_out())
    for _ in range(5):
        assert (await strategy.execute_with_fallback(["a", "b"], operation)).provider == "b"
    assert operation.calls == ["a", "b"] * 3 + ["b"] * 2


async def test_when_all_are_open_one_is_asked_in_panic_and_the_rest_is_answered_here() -> None:
    strategy = FallbackStrategy()
    operation = Operation(a=timed_out(), b=timed_out())
    for _ in range(3):
        with pytest.raises(AllProvidersFailedError):
            await strategy.execute_with_fallback(["a", "b"], operation)
    operation.calls.clear()
    outcomes = await asyncio.gather(
        *(strategy.execute_with_fallback(["a", "b"], operation) for _ in range(20)), return_exceptions=True
    )
    assert all(isinstance(outcome, AllProvidersFailedError) for outcome in outcomes)
    assert len(operation.calls) <= 2  # one panic attempt a target and second
    local = [outcome for outcome in outcomes if isinstance(outcome, LLMError) and not outcome.attempts]
    assert len(local) >= 18
    assert all(outcome.failure.kind is Kind.NO_TARGET and outcome.failure.retry_after_s for outcome in local)


async def test_a_strategy_alone_with_its_only_provider_open_says_when_to_come_back() -> None:
    strategy = FallbackStrategy()
    operation = Operation(a=AuthenticationError("no"))
    with pytest.raises(AuthenticationError):
        await strategy.execute_with_fallback(["a"], operation)
    with pytest.raises(ProviderUnavailableError, match="credential") as caught:
        await strategy.execute_with_fallback(["a"], operation)
    assert operation.calls == ["a"]
    assert 1 <= (caught.value.failure.retry_after_s or 0) <= 300


# -- with a manager


async def test_with_a_manager_names_are_its_providers(a: FakeProvider, b: FakeProvider) -> None:
    config = listed(a=a, b=b).replace("key-of-b, model: m", "key-of-b") + "routes: {default: {chain: [a]}}\n"
    async with Managed(config) as managed:
        operation = Operation()
        fallback = managed.manager.fallback
        assert (await fallback.execute_with_fallback(["b/x", "a"], operation)).provider == "b/x"
        with pytest.raises(ConfigurationError, match="known: a, b"):
            await fallback.execute_with_fallback(["a", "nobody"], operation)
        with pytest.raises(ConfigurationError, match=r"providers\.b\.model"):
            await fallback.execute_with_fallback(["b"], operation)
    assert operation.calls == ["b/x"]


async def test_with_a_manager_breakers_are_shared_and_attempts_are_told(a: FakeProvider, b: FakeProvider) -> None:
    config = listed(a=a, b=b) + "routes: {default: {chain: [a, b]}}\n"
    a.script(status(401))
    async with Managed(config) as managed:
        await managed.manager.chat(HI)
        operation = Operation(b=timed_out())
        fallback = managed.manager.fallback
        with pytest.raises(NetworkError):
            await fallback.execute_with_fallback(["b"], operation)
        with pytest.raises(AllProvidersFailedError):
            await fallback.execute_with_fallback(["a", "b"], operation)
        lines = managed.lines("attempt", route="execute_with_fallback")
        assert managed.manager.book.states[0].breaker.state is BreakerState.OPEN
        told = managed.manager.get_stats()["providers"]["b"]
    assert operation.calls == ["b", "b"]
    assert [(line["target"], line["outcome"], line["kind"]) for line in lines] == [
        ("b/m", "failed", "first_token_timeout")
    ] * 2
    assert told["kinds"] == {"first_token_timeout": 2}
