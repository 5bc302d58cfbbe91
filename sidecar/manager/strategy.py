"""`FallbackStrategy`: the failover engine over any operation of a program's own.

A public Python name. The engine, its rules and its breakers are those of every request; only what is
done at a target is the program's: `operation(provider_name, ...)`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from time import monotonic
from typing import Any

from sidecar.config.routes import TargetError, target_named
from sidecar.manager.conversation import error_of
from sidecar.model.chat import LLMResponse
from sidecar.model.errors import ConfigurationError, LLMError
from sidecar.model.records import AttemptRecord, Outcome
from sidecar.model.request import Call, Peek
from sidecar.model.settings import AttemptSettings, BudgetSettings, Timeouts
from sidecar.model.topology import Dialect, Member, Operation, Pool, Provider, Route, Snapshot, Target
from sidecar.routing.balance import Balances
from sidecar.routing.budget import RetryBudget
from sidecar.routing.commands import Answer, Command, Elapsed, End, Event, Try, Wait
from sidecar.routing.failover import failover
from sidecar.routing.health import HealthBook

__all__ = ["FallbackStrategy"]

_ROUTE = "execute_with_fallback"
_CALL = Call(Operation.CHAT, Dialect.OPENAI_CHAT, Peek({}, ""), "")


class FallbackStrategy:
    """Tries providers in order, by the rules of failover. One that stands alone keeps its own breakers.

    Args:
        snapshot: Gives the snapshot whose providers the names mean; None takes any name.
        book: The breakers; None is a new one.
        budget: The retry budget; None is a new one.
        note: Told of every attempt.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot] | None = None,
        book: HealthBook | None = None,
        budget: RetryBudget | None = None,
        note: Callable[[AttemptRecord], None] | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._book = book or HealthBook(random.random)
        self._budget = budget or RetryBudget(BudgetSettings())
        self._note = note
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
        names, route = self._planned(providers)
        attempts: list[dict[str, Any]] = []
        errors: list[LLMError] = []
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
                            end = End(monotonic(), monotonic() - began, error.failure)
                            errors.append(error)
                            attempts.append(self._told(command.target, names, end))
                            self._write(command, end)
                            command = engine.send(end)
                            continue
                        end = End(monotonic(), monotonic() - began)
                        self._write(command, end)
                        _finish(engine, end)
                        return result
                    case Answer():
                        failure = command.failure
                        cause = next((e for e in reversed(errors) if e.failure.kind is failure.kind), None)
                        raise error_of(failure, attempts, targets=len(route.targets)) from cause
                    case _:
                        raise AssertionError(f"{command!r} has no place in a plain call")
        finally:
            engine.close()

    def _planned(self, names: Sequence[str]) -> tuple[dict[str, str], Route]:
        """The name that the program gave each target, and the route over them."""
        if not names:
            raise ConfigurationError(f"{_ROUTE} needs at least one provider")
        snapshot = self._snapshot() if self._snapshot is not None else None
        targets: dict[str, Target] = {}
        given: dict[str, str] = {}
        for name in names:
            target = _target(name, snapshot)
            targets.setdefault(target.key, target)
            given.setdefault(target.key, name)
        pools = tuple(Pool(f"{_ROUTE}[{i}]", (Member(target),)) for i, target in enumerate(targets.values()))
        timeouts, attempts = (
            (snapshot.timeouts, snapshot.attempts) if snapshot is not None else (Timeouts(), AttemptSettings())
        )
        return given, Route(_ROUTE, pools, timeouts, attempts)

    def _told(self, target: Target, names: Mapping[str, str], end: End) -> dict[str, Any]:
        failure = end.failure
        assert failure is not None
        own_model = names[target.key].partition("/")[2]
        return {
            "provider": target.provider.name,
            "model": target.model if self._snapshot is not None else own_model,
            "kind": failure.kind.value,
            "status": failure.status,
            "retry_after_s": failure.retry_after_s,
            "duration_s": round(end.duration_s, 6),
        }

    def _write(self, command: Try, end: End) -> None:
        if self._note is None:
            return
        failure = end.failure
        self._note(
            AttemptRecord(
                route=_ROUTE,
                attempt=command.number,
                target=command.target.key,
                provider=command.target.provider.name,
                operation="program",
                selection=command.selection.value,
                breaker_before=command.breaker,
                outcome=Outcome.FAILED if failure else Outcome.OK,
                kind=failure.kind if failure else None,
                error=failure.message if failure else None,
                status=failure.status if failure else None,
                backoff_s=command.backoff_s,
                duration_s=round(end.duration_s, 6),
            )
        )


def _target(name: str, snapshot: Snapshot | None) -> Target:
    if snapshot is None:
        provider, _, model = name.partition("/")
        # Nobody knows which model a bare name means: no two of them are taken for the same one.
        return Target(Provider(provider, "any", f"any://{name}", (), {}), model or provider)
    try:
        return target_named(name, snapshot.providers)
    except TargetError as error:
        raise ConfigurationError(str(error)) from None


def _finish(engine: Generator[Command, Event, None], end: End) -> None:
    try:
        engine.send(end)
    except StopIteration:
        return
