"""`LLMManager`: one snapshot in force, the state that outlives it, and the corridor of every request.

The HTTP data plane calls `answer`, an embedder `chat` and its kin; both walk the same corridor. A new
snapshot takes over by one assignment (`adopt`): requests under way keep the rooms they began with,
health, breakers and balancing counters go on by key. What was changed by hand (a chain, a strategy, a
weight) is an override on top of the config's own snapshot.

Binds to the running loop at first use. Owns no policy: that is `routing`'s.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Any, Self

import msgspec

from sidecar.config import diff
from sidecar.config.derive import balanced, with_chain, with_weight
from sidecar.config.problems import hint
from sidecar.dialects.openai_reading import ResponseNormalizer
from sidecar.manager import conversation
from sidecar.manager.answer import Answer, Rooms
from sidecar.manager.balancing import LoadBalancer
from sidecar.manager.callbacks import BaseCallbackHandler
from sidecar.manager.checks import Checks
from sidecar.manager.ordinary import Ordinary
from sidecar.manager.overrides import Override, OverrideKind, Overrides, added, applied, carried
from sidecar.manager.passage import Asked, Passage
from sidecar.manager.pins import Pins
from sidecar.manager.prober import Prober
from sidecar.manager.promptly import ordinary
from sidecar.manager.standings import Standings
from sidecar.manager.status import gauges, models, provider_status
from sidecar.manager.strategy import FallbackStrategy
from sidecar.model.chat import LLMResponse, LLMResponseChunk, Message
from sidecar.model.errors import ConfigurationError, ProviderUnavailableError
from sidecar.model.failures import Failure, Kind
from sidecar.model.records import AttemptRecord
from sidecar.model.request import Call
from sidecar.model.settings import BudgetSettings
from sidecar.model.topology import Snapshot
from sidecar.observe.log import DebugLogger
from sidecar.observe.metrics import MetricsCollector
from sidecar.routing.budget import RetryBudget
from sidecar.routing.health import BreakerState, HealthBook, Transition
from sidecar.routing.resolve import Router
from sidecar.sources.configuration import ConfigurationManager
from sidecar.upstream.registry import LLMProviderRegistry

__all__ = ["LLMManager"]

_RESET_PROBE_S = 0.9  # `reset_provider` promises to be back within a second
_CLEANUP_S = 5.0
_LAST_WORDS_S = 1.0

_MOVES = {
    BreakerState.OPEN: "opened",
    BreakerState.HALF_OPEN: "half_opened",
    BreakerState.SLOW_START: "slow_started",
    BreakerState.CLOSED: "closed",
}


class LLMManager:
    """Answers LLM calls over the providers and routes of a config. Prefer `async with LLMManager(...)`.

    Args:
        config_manager: Where the config comes from; None finds it as the command line does.
        debug_logger: Takes the log lines; None keeps only the latest, in memory.
        metrics_collector: Counts; None is a new one.
        response_normalizer: Names finish reasons; None is the built-in one.
        registry: Makes transports; None is a new one.

    Raises:
        ConfigurationError: When the config is not right.
    """

    def __init__(
        self,
        config_manager: ConfigurationManager | None = None,
        debug_logger: DebugLogger | None = None,
        metrics_collector: MetricsCollector | None = None,
        response_normalizer: ResponseNormalizer | None = None,
        registry: LLMProviderRegistry | None = None,
    ) -> None:
        self.configuration = config_manager or ConfigurationManager()
        self.log = debug_logger or DebugLogger()
        self.metrics = metrics_collector or MetricsCollector()
        self.normalizer = response_normalizer or ResponseNormalizer()
        self.registry = registry or LLMProviderRegistry()
        self.book = HealthBook(random.random, self._transitioned)
        self._standings = Standings(lambda: self.snapshot, self.book, self.set_weight)
        self.balancer = LoadBalancer(standings=self._standings)
        self._pins = Pins()
        self.active: set[Answer | Ordinary | Passage] = set()
        self.overrides: Mapping[tuple[OverrideKind, str], Override] = {}
        self._budget_settings = BudgetSettings()
        self._budget = RetryBudget(self._budget_settings)
        self.draining = False  # no new requests, please; set by the daemon
        self.out_of_service: str | None = None  # why nothing can be answered before the next config; the same
        self.lost: Mapping[str, str] = {}  # a warning for each file of the config that is gone; set by the daemon
        self._closed = False
        self._resets: dict[str, asyncio.Task[bool]] = {}
        self._prober = Prober(lambda: self.snapshot, self.book, self.registry, self.log, self.metrics)
        self.checks = Checks(lambda: self.snapshot, self.book, self._prober.check, random.random)
        self.applied_at = datetime.now(UTC)  # when the snapshot in force came into force
        self._base = self.configuration.initial or self.configuration.load()
        self.metrics.gauges = lambda: gauges(self)
        self._take_over(self._base)

    # The snapshot.

    @property
    def snapshot(self) -> Snapshot:
        """The one in force, overrides included."""
        return self.rooms.snapshot

    @property
    def warnings(self) -> list[str]:
        """What looks wrong in the config, or with its files."""
        return [*self.snapshot.warnings, *self.lost.values()]

    def adopt(self, base: Snapshot) -> None:
        """Let a newly loaded config take over; the overrides that it does not touch stay.

        Args:
            base: As loaded; its generation is set here.

        Raises:
            ConfigurationError: Never for the config itself, which has been compiled; the old one stays
                when an override does not fit.
        """
        before = self.snapshot
        overrides, ended = carried(self._base, base, self.overrides)
        after = applied(base, overrides)
        self._base, self.overrides = base, overrides
        self._take_over(after, generation=before.generation + 1)
        self.out_of_service = None
        changes = diff(before, self.snapshot).lines()
        self.log.event(
            "info", "config.applied", generation=self.snapshot.generation, source=base.source, changes=changes
        )
        self._say_ended(ended)

    def override(self, override: Override) -> None:
        """Change the snapshot by hand; ends with the next edit of the same thing.

        Raises:
            ConfigurationError: When it does not fit; nothing has changed then.
            ProviderUnavailableError: After `cleanup`.
        """
        self._check_open()
        overrides, ended = added(self._base, self.overrides, override)
        self._adopt_overrides(overrides)
        self._say_ended(ended)

    def end_override(self, kind: OverrideKind, name: str) -> None:
        """Go back to what the config says of this."""
        self._check_open()
        if (kind, name) in self.overrides:
            self._adopt_overrides({key: each for key, each in self.overrides.items() if key != (kind, name)})

    def _say_ended(self, overrides: Iterable[Override]) -> None:
        for each in overrides:
            kind = each.kind.name.lower()
            self.log.event("warning", "override.ended", kind=kind, name=each.name, override=each.text)

    def _adopt_overrides(self, overrides: Overrides) -> None:
        before = self.snapshot
        after = applied(self._base, overrides)
        self.overrides = overrides
        self._take_over(after, generation=before.generation + 1)
        changes = diff(before, self.snapshot).lines()
        self.log.event(
            "info", "config.applied", generation=self.snapshot.generation, source="override", changes=changes
        )

    def _take_over(self, snapshot: Snapshot, *, generation: int = 1) -> None:
        """The one place where a snapshot comes into force."""
        snapshot = msgspec.structs.replace(snapshot, generation=generation)
        now = monotonic()
        self.applied_at = datetime.now(UTC)
        self.log.set_secrets(snapshot.secrets)
        self.book.adopt(snapshot, now)
        self.balancer.pools.adopt(snapshot)
        self.registry.adopt(snapshot)
        self._prober.adopt(snapshot)
        if snapshot.attempts.budget != self._budget_settings:
            self._budget_settings = snapshot.attempts.budget
            self._budget = RetryBudget(self._budget_settings)
        self.rooms = Rooms(
            snapshot,
            Router(snapshot),
            self.book,
            self.balancer.pools,
            self._budget,
            self.registry,
            self.log,
            self.metrics,
            self._pins,
            random.random,
        )

    # Requests.

    def answer(self, call: Call) -> Answer:
        """Begin one request: `open` it, send what it gives, and `close` it whatever happens.

        Raises:
            ProviderUnavailableError: After `cleanup`, or when there is no config to answer by.
        """
        self._check_open()
        if self.out_of_service is not None:
            raise ProviderUnavailableError(self.out_of_service)
        return Answer(self.rooms, call, self.active)

    def answer_promptly(self, call: Call) -> Answer | Ordinary:
        """As `answer`, for a caller who does not wait: `launch` it, and ask `opened` when there is news.

        Raises:
            ProviderUnavailableError: As `answer`.
        """
        self._check_open()
        if self.out_of_service is not None:
            raise ProviderUnavailableError(self.out_of_service)
        return ordinary(self.rooms, call, self.active) or Answer(self.rooms, call, self.active)

    def pass_on(self, provider: str, asked: Asked) -> Passage:
        """Begin one request that goes to a provider as it is; to be treated as an answer is.

        Raises:
            ConfigurationError: When there is no such provider.
            ProviderUnavailableError: After `cleanup`.
        """
        self._check_open()
        providers = self.snapshot.providers
        if provider not in providers:
            raise ConfigurationError(f'there is no provider "{provider[:80]}"{hint(provider, providers)}')
        return Passage(self.rooms, providers[provider], asked, self.active)

    async def chat(
        self, messages: Sequence[Message | Mapping[str, Any]], provider: str | None = None, **kwargs: Any
    ) -> LLMResponse:
        """The answer to a conversation.

        Args:
            messages: `Message`s or dicts of the same shape.
            provider: Only this provider (`openai`) or target (`openai/gpt-5.4`); None is the default
                route's chain, in its order.
            **kwargs: Parameters of the request; `model` names a route or a target.

        Raises:
            AllProvidersFailedError: When no target answered; `attempts` tells why.
            ValidationError: When the request is at fault.
            ConfigurationError: When a name means nothing.
        """
        return await conversation.chat(self, messages, provider, kwargs)

    async def chat_stream(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        provider: str | None = None,
        callbacks: Iterable[BaseCallbackHandler] | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[LLMResponseChunk, None]:
        """The answer to a conversation, as it comes; falls back until the first content.

        Leaving the loop closes the upstream call at once.

        Args:
            messages: As for `chat`.
            provider: As for `chat`.
            callbacks: Told of the start, every token, the end or the error.
            **kwargs: As for `chat`.

        Raises:
            LLMError: As for `chat`; when the stream breaks after content, with `.partial`.
        """
        stream = conversation.chat_stream(self, messages, provider, tuple(callbacks or ()), kwargs)
        try:
            async for chunk in stream:
                yield chunk
        finally:
            await stream.aclose()

    async def completion(self, prompt: str, provider: str | None = None, **kwargs: Any) -> LLMResponse:
        """The completion of a text: one user message where the provider only chats. Arguments as for `chat`."""
        return await conversation.completion(self, prompt, provider, kwargs)

    async def chat_with_tools(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        provider: str | None = None,
        **kwargs: Any,
    ) -> LLMResponse:
        """As `chat`, with tools in OpenAI's shape; targets that are known not to take tools are passed over."""
        return await conversation.chat(self, messages, provider, {**kwargs, "tools": list(tools)})

    # Changes by hand.

    def set_fallback_chain(self, providers: Sequence[str]) -> None:
        """Let the default route ask these, in exactly this order, until its next edit in the file.

        Raises:
            ConfigurationError: For an empty list or an unknown name; nothing has changed then.
        """
        names = tuple(providers)
        text = f"chain [{', '.join(names)}]"
        self.override(Override(OverrideKind.CHAIN, "default", text, lambda snapshot: with_chain(snapshot, names)))

    def enable_load_balancing(self, strategy: str = "round_robin") -> None:
        """Let the targets of the default route share its load as one pool.

        Raises:
            ConfigurationError: For an unknown strategy.
        """
        text = f"balance {strategy}"
        self.override(Override(OverrideKind.BALANCE, "default", text, lambda snapshot: balanced(snapshot, strategy)))

    def disable_load_balancing(self) -> None:
        """Restore the default route's chain."""
        self.end_override(OverrideKind.BALANCE, "default")

    def set_weight(self, name: str, weight: float) -> None:
        """Set the weight of a target, or of all a provider's pool members; 0 drains.

        Raises:
            ConfigurationError: For an unknown name, or a weight that is not finite and >= 0.
        """
        self.override(
            Override(
                OverrideKind.WEIGHT, name, f"weight {weight:g}", lambda snapshot: with_weight(snapshot, name, weight)
            )
        )

    async def reset_provider(self, provider_name: str) -> bool:
        """Close a provider's connections, forget its failures, probe it once; False for an unknown name.

        Is back within a second, also under traffic; concurrent resets of one provider are one.
        """
        self._check_open()
        running = self._resets.get(provider_name)
        if running is None:
            running = asyncio.get_running_loop().create_task(self._reset(provider_name))
            self._resets[provider_name] = running
            running.add_done_callback(lambda _: self._resets.pop(provider_name, None))
        return await asyncio.shield(running)

    async def _reset(self, name: str) -> bool:
        provider = self.snapshot.providers.get(name)
        if provider is None:
            return False
        self._prober.forget(name)
        await self.registry.close_provider(provider)
        self.book.reset_provider(name, monotonic())
        await self._prober.check((provider,), min(_RESET_PROBE_S, provider.health.timeout_s))
        return True

    # Health.

    async def health_check_all(self) -> dict[str, bool]:
        """Check every provider now, in parallel and for free; whether each is healthy.

        A provider whose checks are off is as healthy as its live traffic; one that has no key is not.
        """
        self._check_open()
        return await self._prober.check_all()

    async def run_health_checks(self) -> None:
        """Check every provider at its interval until cancelled."""
        await self.checks.run()

    def _transitioned(self, transition: Transition) -> None:
        """Every move of a breaker is a line that explains itself."""
        after = transition.after
        self.log.event(
            "warning" if after is BreakerState.OPEN else "info",
            f"target.{_MOVES[after]}",
            target=transition.target,
            provider=transition.provider,
            breaker_before=transition.before.value,
            breaker_after=after.value,
            kind=transition.kind.value if transition.kind else None,
            open_for_s=None if transition.until is None else round(transition.until - monotonic(), 3),
            openings=transition.openings,
        )

    @property
    def fallback(self) -> FallbackStrategy:
        """Failover over operations of a program's own, with this manager's providers and breakers."""
        return FallbackStrategy(lambda: self.snapshot, self.book, self._budget, self._note)

    def _note(self, record: AttemptRecord) -> None:
        record.generation = self.snapshot.generation
        self.log.attempt(record)
        self.metrics.attempt(record)

    # What is known.

    def get_provider_status(self) -> dict[str, dict[str, Any]]:
        """Per provider what is known of it and its targets; changes nothing, holds no secret."""
        now = monotonic()
        return {name: provider_status(self, provider, now) for name, provider in self.snapshot.providers.items()}

    def get_stats(self) -> dict[str, Any]:
        """Counters since the start, as plain JSON values: `manager`, `providers`, `summary`."""
        stats = self.metrics.stats(self.snapshot.providers)
        stats["manager"] |= {
            "generation": self.snapshot.generation,
            "in_flight": len(self.active),
            "routes": len(self.snapshot.routes),
            "providers": len(self.snapshot.providers),
        }
        return stats

    # Life.

    async def cleanup(self) -> None:
        """Take no more calls, let those under way end, cancel what is left, close. Idempotent."""
        await self.close(_CLEANUP_S)

    async def close(self, patience_s: float) -> None:
        """As `cleanup`.

        Args:
            patience_s: How long calls under way may go on.
        """
        self._closed = True
        await self.drained(patience_s)
        self.stop_active()
        await self.drained(_LAST_WORDS_S)
        if self._resets:  # each is over within a second, and whoever waits for it is told what it came to
            await asyncio.wait(self._resets.values(), timeout=_LAST_WORDS_S)
        await self.registry.aclose()
        self.log.flush()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.cleanup()

    async def drained(self, timeout_s: float) -> None:
        """Wait until no call is under way, but not longer than that."""
        until = monotonic() + timeout_s
        while self.active and monotonic() < until:  # noqa: ASYNC110 - an event per request would cost every request
            await asyncio.sleep(0.02)

    def stop_active(self) -> None:
        """End every call under way with an error that says why."""
        for answer in tuple(self.active):
            answer.stop(Failure(Kind.NO_TARGET, "the sidecar is stopping; send the request again", retry_after_s=1.0))

    def readiness(self) -> dict[str, Any]:
        """Whether to send requests here: says nothing of providers, only of the daemon."""
        ready = not (self.draining or self._closed or self.out_of_service)
        return {"ready": ready, "generation": self.snapshot.generation, "warnings": self.warnings}

    def models(self) -> list[dict[str, Any]]:
        """Routes and targets, as OpenAI lists models."""
        return models(self)

    def _check_open(self) -> None:
        if self._closed:
            raise ProviderUnavailableError("this manager was cleaned up; make a new one")
