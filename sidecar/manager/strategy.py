"""`FallbackStrategy`: the failover engine over any operation of a program's own.

A public Python name. The engine, its rules and its breakers are those of every request; only what is
done at a target is the program's: `operation(provider_name, ...)`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any

from sidecar.manager.conversation import error_of
from sidecar.model.chat import LLMResponse
from sidecar.model.errors import ConfigurationError, LLMError
from sidecar.model.request import Call, Peek
from sidecar.model.settings import BudgetSettings
from sidecar.model.topology import Dialect, Member, Operation, Pool, Provider, Route, Snapshot, Target
from sidecar.routing.balance import Balances
from sidecar.routing.budget import RetryBudget
from sidecar.routing.commands import Answer, Command, Elapsed, End, Try, Wait
from sidecar.routing.failover import failover
from sidecar.routing.health import HealthBook

__all__ = ["FallbackStrategy"]

_CALL = Call(Operation.CHAT, Dialect.OPENAI_CHAT, Peek({}, ""), "")


class FallbackStrategy:
    """Tries providers in order, by the rules of failover. One that stands alone keeps its own breakers.

    Args:
        snapshot: Gives the snapshot whose providers the names mean; None takes any name.
        book: The breakers; None is a new one.
        budget: The retry budget; None is a new one.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot] | None = None,
        book: HealthBook | None = None,
        budget: RetryBudget | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._book = book or HealthBook(random.random)
        self._budget = budget or RetryBudget(BudgetSettings())
        self._balances = Balances(random.random)

    async def execute_with_fallback(
        self,
        providers: Sequence[str],
        operation: Callable[..., Awaitable[LLMResponse]],
        *args: Any,
        **kwargs: Any,
    ) -> LLMResponse:
        """The first good result of `operation(provider_name, *args, **kwargs)`.

        An `LLMError` that it raises is classified: a fault of the caller ends the walk, other failures
        go on to the next provider. Any other exception is no provider's failure and propagates.

        Args:
            providers: Names in order of preference.
            operation: What to do at a provider.
            *args: For the operation.
            **kwargs: For the operation.

        Raises:
            ConfigurationError: No providers, or an unknown one.
            LLMError: When all failed; `attempts` lists each.
        """
        route = self._route(providers)
        names = dict(zip((target.key for target in route.targets), providers, strict=True))
        attempts: list[dict[str, Any]] = []
        engine = failover(route, _CALL, self._book, self._balances, self._budget, now=monotonic(), rng=random.random)
        try:
            command: Command = next(engine)
            while True:
                match command:
                    case Wait():
                        await asyncio.sleep(command.seconds)
                        command = engine.send(Elapsed(monotonic()))
                    case Try():
                        began = monotonic()
                        try:
                            result = await operation(names[command.target.key], *args, **kwargs)
                        except LLMError as error:
                            attempts.append(_told(command.target, error, monotonic() - began))
                            command = engine.send(End(monotonic(), monotonic() - began, error.failure))
                            continue
                        _finish(engine, monotonic() - began)
                        return result
                    case Answer():
                        raise error_of(command.failure, attempts, targets=len(route.targets))
                    case _:
                        raise AssertionError(f"{command!r} has no place in a plain call")
        finally:
            engine.close()

    def _route(self, names: Sequence[str]) -> Route:
        if not names:
            raise ConfigurationError("execute_with_fallback needs at least one provider")
        pools = []
        for index, name in enumerate(dict.fromkeys(names)):
            pools.append(Pool(f"#{index}", (Member(self._target(name)),)))
        return Route("execute_with_fallback", tuple(pools))

    def _target(self, name: str) -> Target:
        provider, _, model = name.partition("/")
        if self._snapshot is None:
            return Target(Provider(provider, "any", f"any://{name}", (), {}), model)
        known = self._snapshot().providers
        if provider not in known:
            raise ConfigurationError(f'unknown provider "{provider}"; known: {", ".join(sorted(known)) or "none"}')
        return Target(known[provider], model or known[provider].model or "")


def _finish(engine: Any, duration_s: float) -> None:
    try:
        engine.send(End(monotonic(), duration_s))
    except StopIteration:
        return


def _told(target: Target, error: LLMError, duration_s: float) -> dict[str, Any]:
    failure = error.failure
    return {
        "provider": target.provider.name,
        "model": target.model,
        "kind": failure.kind.value,
        "status": failure.status,
        "retry_after_s": failure.retry_after_s,
        "duration_s": round(duration_s, 6),
    }
