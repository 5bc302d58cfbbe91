"""Everything known of all targets at runtime, by key: who is told of an outcome, and what survives a reload.

A failure concerns one target, all targets of its provider (the credential is refused, the quota is
gone), or all targets at its address (it cannot be reached); `POLICY` says which. An attempt that began
in an older epoch moves nothing, here or elsewhere.

Targets that the config names are kept until it stops naming them. Targets that only a client's text
named are kept while they are among the last 1,000, so that no client can fill the memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from sidecar.model.errors import ConfigurationError
from sidecar.model.failures import POLICY, Effect, Failure, Kind
from sidecar.model.topology import Provider, Snapshot, Target
from sidecar.routing.backoff import Rng
from sidecar.routing.breaker import IN_USE, BreakerEvent, BreakerState, Signal
from sidecar.routing.checks import Health, Source
from sidecar.routing.resolve import configured_targets
from sidecar.routing.speed import Speed
from sidecar.routing.state import AdminState, TargetState, Transition

__all__ = ["AdminState", "BreakerState", "Health", "HealthBook", "Source", "TargetState", "Transition"]

_MINTED_MAX = 1000

EVENTS: Mapping[Effect, BreakerEvent | None] = MappingProxyType(
    {
        Effect.NONE: None,
        Effect.COUNT: BreakerEvent.FAILURE,
        Effect.COUNT_GATEWAY: BreakerEvent.GATEWAY_FAILURE,
        Effect.TIMED: BreakerEvent.RATE_LIMITED,
        Effect.OPEN_TARGET: BreakerEvent.FORBIDDEN,
        Effect.OPEN_PROVIDER: BreakerEvent.FORBIDDEN,
    }
)


class HealthBook:
    """The states of all targets; one for the life of the process.

    Args:
        rng: Gives floats in [0, 1).
        on_transition: Told of every move of a breaker, from within the call that moved it.
    """

    def __init__(self, rng: Rng, on_transition: Callable[[Transition], None] = lambda _: None) -> None:
        self._rng = rng
        self._notify = on_transition
        self._configured: dict[str, TargetState] = {}
        self._minted: OrderedDict[str, TargetState] = OrderedDict()  # the least recently used first
        self._providers: Mapping[str, Provider] = {}
        # The states again, by the identity of the snapshot's own targets: no key is built for each
        # request. The snapshot is held, so that no other object can get one of these identities.
        self._snapshot: Snapshot | None = None
        self._by_identity: dict[int, TargetState] = {}
        self._declared: dict[str, bool] = {}  # health by provider, as operators said it

    # Reading.

    @property
    def states(self) -> tuple[TargetState, ...]:
        """All of them, those the config names first."""
        return (*self._configured.values(), *self._minted.values())

    def of_provider(self, name: str) -> list[TargetState]:
        """The states of one provider's targets."""
        return [state for state in self.states if state.provider.name == name]

    def find(self, key: str) -> TargetState | None:
        """The state under this key, if there is one; changes nothing."""
        return self._configured.get(key) or self._minted.get(key)

    def peek(self, target: Target, now: float) -> TargetState:
        """The target's state, or the one it would have; changes nothing."""
        return self.find(target.key) or self._made(target, now, minted=True)

    def state(self, target: Target, now: float) -> TargetState:
        """The target's state, made when it is new."""
        found = self._by_identity.get(id(target))
        if found is not None:
            return found
        key = target.key
        found = self._configured.get(key)
        if found is not None:
            return found
        found = self._minted.get(key)
        if found is None:
            found = self._minted[key] = self._made(target, now, minted=True)
            if len(self._minted) > _MINTED_MAX:
                self._minted.popitem(last=False)
        else:
            self._minted.move_to_end(key)
        return found

    # Config.

    def adopt(self, snapshot: Snapshot, now: float) -> None:
        """Go over to a new config: states of targets that are still named stay as they are.

        Where a provider's account changed (its key, its address, what is sent), what was held against
        its targets is forgotten: it was said about another.
        """
        old = self._providers
        self._providers = snapshot.providers
        for name in [name for name in self._declared if old.get(name) != snapshot.providers.get(name)]:
            del self._declared[name]
        targets = configured_targets(snapshot)
        known = self._configured | self._minted
        self._configured = {key: known[key] for key in targets if key in known}
        self._minted = OrderedDict(
            (key, state)
            for key, state in self._minted.items()
            if key not in targets and state.provider.name in snapshot.providers
        )
        for state in self._minted.values():
            self._reconfigure(state, snapshot.providers[state.provider.name], now)
        for key, state in self._configured.items():
            self._reconfigure(state, targets[key].provider, now)
        for key, target in targets.items():
            kept = self._configured.pop(key) if key in self._configured else self._made(target, now, minted=False)
            kept.minted = False
            self._configured[key] = kept  # in the config's order
        self._snapshot = snapshot
        self._by_identity = {
            id(member.target): self._configured[member.target.key]
            for route in snapshot.routes.values()
            for pool in route.chain
            for member in pool.members
            if member.target.key in self._configured
        }

    def _reconfigure(self, state: TargetState, new: Provider, now: float) -> None:
        old = state.provider
        if old == new:
            return
        state.configure(new)
        state.admin = AdminState.READY
        if state.checks.by_operator:
            state.checks.forget()
        if _account(old) != _account(new):
            state.reset(now)
        if old.base_url != new.base_url:
            state.speed = Speed()

    def _made(self, target: Target, now: float, *, minted: bool) -> TargetState:
        """A new state; it shares what its provider is already known to suffer from."""
        provider = target.provider
        state = TargetState(target.key, provider, minted=minted, rng=self._rng, notify=self._notify)
        if provider.name in self._declared:
            state.checks.declare(self._declared[provider.name])
        for sibling in self.of_provider(provider.name):
            kind, left = sibling.breaker.kind, sibling.breaker.until - now
            if sibling.breaker.state is BreakerState.OPEN and left > 0 and kind and _is_provider_wide(kind):
                state.breaker.apply(Signal(BreakerEvent.FORBIDDEN, kind, retry_after_s=left), now)
                break
        return state

    # Outcomes of attempts.

    def fail(self, state: TargetState, epoch: int, failure: Failure, *, duration_s: float, now: float) -> None:
        """An attempt that began in this epoch failed: everybody whom it concerns is told."""
        effect = POLICY[failure.kind].effect
        event = EVENTS[effect]
        if event is None:
            return
        state.note(failure, now)
        if epoch != state.breaker.epoch:
            return
        signal = Signal(event, failure.kind, duration_s, failure.retry_after_s)
        for concerned in self._concerned(state, failure.kind):
            concerned.apply(signal, now)

    def _concerned(self, state: TargetState, kind: Kind) -> list[TargetState]:
        if _is_provider_wide(kind):
            return [state, *(other for other in self.of_provider(state.provider.name) if other is not state)]
        if kind is Kind.UNREACHABLE:
            address = state.provider.base_url
            return [state, *(o for o in self.states if o.provider.base_url == address and o is not state)]
        return [state]

    # Active checks.

    def observe_probe(self, provider: str, failure: Failure | None, *, began: float, now: float) -> None:
        """An active check of a provider came to this; all its targets are told.

        A refused key opens what was in use, unless live traffic just went well. It extends no opening
        and hinders no probe by traffic: some keys may ask models and not list them.
        """
        if failure is not None and failure.kind is Kind.RATE_LIMITED:
            return
        for state in self.of_provider(provider):
            if failure is None:
                state.check_passed(began, now)
            elif failure.kind is not Kind.CREDENTIAL:
                state.check_failed(failure.message, now)
            elif not state.fresh(now) and state.breaker.state in IN_USE:
                state.note(failure, now)
                state.apply(Signal(BreakerEvent.FORBIDDEN, failure.kind), now)

    def needs_probe(self, provider: str, now: float) -> bool:
        """Whether an active check would tell anything: live traffic within the interval replaces it."""
        return not any(state.fresh(now) for state in self.of_provider(provider))

    def probe_interval(self, provider: str) -> float:
        """Seconds between active checks; fewer from the first bad one on."""
        settings = self._providers[provider].health
        worried = any(state.waits_for_check for state in self.of_provider(provider))
        return settings.unhealthy_interval_s if worried else settings.interval_s

    # Operators.

    def update_provider_health(self, provider: str, healthy: bool) -> None:
        """An operator's word on all targets of a provider; wins over checks.

        Raises:
            ConfigurationError: There is no such provider.
        """
        if provider not in self._providers:
            known = ", ".join(sorted(self._providers)) or "none"
            raise ConfigurationError(f'unknown provider "{provider}"; known: {known}')
        self._declared[provider] = healthy
        for state in self.of_provider(provider):
            state.checks.declare(healthy)

    def reset_provider(self, provider: str, now: float) -> bool:
        """Close all its breakers and forget its health; False for an unknown name."""
        self._declared.pop(provider, None)
        for state in self.of_provider(provider):
            state.reset(now)
        return provider in self._providers

    def reset_target(self, key: str, now: float) -> bool:
        """The same for one target."""
        state = self.find(key)
        if state is not None:
            state.reset(now)
        return state is not None

    def set_admin(self, key: str, admin: AdminState) -> bool:
        """Set the admin axis of one target until its provider's entry is edited; False for an unknown key."""
        state = self.find(key)
        if state is not None:
            state.admin = admin
        return state is not None


def _is_provider_wide(kind: Kind) -> bool:
    return POLICY[kind].effect is Effect.OPEN_PROVIDER


def _account(provider: Provider) -> Provider:
    """The provider without what says how we treat it: what is left is whom we talk to, and how."""
    return msgspec.structs.replace(
        provider,
        model=None,
        models={},
        max_inflight=0,
        breaker=_NEUTRAL.breaker,
        health=_NEUTRAL.health,
    )


_NEUTRAL = Provider("", "", "", (), {})
