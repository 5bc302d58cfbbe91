"""What a requested model means: a name or a pattern of the config, a target, or a mistake.

In this order: the route of exactly that name; the longest matching pattern, whose `*` goes where the
chain has a `*`; `provider/model`, which is strict; a provider's bare name, which is strict and means
its own `model`; the route `default`. A first segment that is nearly a provider's name is a mistake to
be told, not a model for `default` to answer.

A `Router` belongs to one snapshot. What it made of a client's text is kept while it is among the
last 1,000.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from sidecar.model.errors import LLMError, error_for
from sidecar.model.failures import Failure, Kind
from sidecar.model.slips import slips
from sidecar.model.topology import Member, Pool, Provider, Route, Snapshot, Target

__all__ = ["Router", "configured_targets"]

_CACHED_MAX = 1000
_CACHED_CHARS_MAX = 256  # of a name; longer ones are resolved anew each time
_SHOWN_CHARS_MAX = 100
_DEFAULT = "default"
_TYPO_DISTANCE = 2


class _Pattern(msgspec.Struct, frozen=True):
    """A route whose name holds a `*`."""

    prefix: str
    suffix: str
    route: Route

    def match(self, model: str) -> str | None:
        """What the `*` stands for in this model, or None; it may be nothing."""
        end = len(model) - len(self.suffix)
        if end < len(self.prefix) or not model.startswith(self.prefix) or not model.endswith(self.suffix):
            return None
        return model[len(self.prefix) : end]


class Router:
    """Resolves models against one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._configured = configured_targets(snapshot).keys()
        self._exact = {name: route for name, route in snapshot.routes.items() if "*" not in name}
        patterns = (_pattern(route) for name, route in snapshot.routes.items() if "*" in name)
        # The longest first; where two are as long, the one with the longer prefix.
        self._patterns = sorted(patterns, key=lambda p: (-len(p.prefix) - len(p.suffix), -len(p.prefix), p.prefix))
        self._resolved: OrderedDict[str, Route] = OrderedDict()

    def resolve(self, model: str, *, override: str | None = None) -> Route:
        """The route that answers this model.

        Args:
            model: As the client named it.
            override: The name of the route to take instead, if the client gave one.

        Raises:
            LLMError: Of kind `no_route`; the message says what exists.
        """
        if override is not None:
            return self._override(override, model)
        route = self._exact.get(model)
        if route is not None:
            return route
        route = self._resolved.get(model)
        if route is not None:
            self._resolved.move_to_end(model)
            return route
        route = self._resolve(model)
        if len(model) <= _CACHED_CHARS_MAX:
            self._resolved[model] = route
            if len(self._resolved) > _CACHED_MAX:
                self._resolved.popitem(last=False)
        return route

    def strict(self, name: str) -> Route:
        """The route to one target, though a route or pattern may have its name.

        Args:
            name: `provider/model`, or a provider with a model of its own.

        Raises:
            LLMError: Of kind `no_route`, when there is no such provider.
        """
        provider_name, _, upstream = name.partition("/")
        provider = self._snapshot.providers.get(provider_name)
        if provider is None:
            raise _no_route(f'there is no provider "{_shown(provider_name)}"; {self._known()}')
        return self._strict(provider, upstream or provider.model, name)

    def _resolve(self, model: str) -> Route:
        for pattern in self._patterns:
            matched = pattern.match(model)
            if matched is not None:
                return self._filled(pattern.route, matched)
        provider_name, slash, upstream = model.partition("/")
        provider = self._snapshot.providers.get(provider_name)
        if provider is not None:
            return self._strict(provider, upstream if slash else provider.model, model)
        suggestion = self._suggestion(provider_name) if slash else None
        if suggestion is not None:
            raise _no_route(f'unknown provider in "{_shown(model)}"; did you mean "{suggestion}/{_shown(upstream)}"?')
        default = self._exact.get(_DEFAULT)
        if default is None:
            raise _no_route(f'no route answers "{_shown(model)}" and there is no route "default"; {self._known()}')
        return default

    def _override(self, name: str, model: str) -> Route:
        route = self._snapshot.routes.get(name)
        if route is None:
            raise _no_route(f'there is no route "{_shown(name)}"; {self._known()}')
        if "*" not in name:
            return route
        matched = _pattern(route).match(model)
        if matched is None:
            raise _no_route(f'route "{name}" is a pattern that "{_shown(model)}" does not match')
        return self._filled(route, matched)

    def _strict(self, provider: Provider, upstream: str | None, model: str) -> Route:
        if not upstream:
            raise _no_route(
                f'"{provider.name}" is a provider without a default model; name one as "{provider.name}/MODEL" '
                f"or set providers.{provider.name}.model"
            )
        target = Target(provider, upstream)
        return Route(
            name=model,
            chain=(Pool(key=target.key, members=(Member(target),)),),
            timeouts=self._snapshot.timeouts,
            attempts=self._snapshot.attempts,
            stream=self._snapshot.stream,
            on_loss=self._snapshot.on_loss,
            strict=True,
            minted=target.key not in self._configured,
        )

    def _filled(self, route: Route, matched: str) -> Route:
        """The pattern's route for one model. Pool keys stay the pattern's: its shares are kept over all models."""
        chain = tuple(
            msgspec.structs.replace(pool, members=tuple(_filled(member, matched) for member in pool.members))
            for pool in route.chain
        )
        filled = msgspec.structs.replace(route, chain=chain)
        if not all(target.model for target in filled.targets):
            raise _no_route(f'route "{route.name}" leaves no model to ask for: nothing stands where its "*" is')
        minted = any(target.key not in self._configured for target in filled.targets)
        return msgspec.structs.replace(filled, minted=minted)

    def _suggestion(self, segment: str) -> str | None:
        """The provider that was probably meant. Names too short to be mistaken for each other are left alone."""
        near = (
            (distance, name)
            for name in self._snapshot.providers
            if (distance := slips(segment, name, _TYPO_DISTANCE)) <= min(_TYPO_DISTANCE, len(name) - 2)
        )
        return min(near, default=(0, None))[1]

    def _known(self) -> str:
        return f"routes: {_listed(self._snapshot.routes)}; providers: {_listed(self._snapshot.providers)}"


def configured_targets(snapshot: Snapshot) -> dict[str, Target]:
    """Every target that the config names, by key, in its order; patterns name none."""
    targets = [target for route in snapshot.routes.values() for target in route.targets]
    targets += [Target(provider, provider.model) for provider in snapshot.providers.values() if provider.model]
    return {target.key: target for target in targets if "*" not in target.model}


def _pattern(route: Route) -> _Pattern:
    prefix, _, suffix = route.name.partition("*")
    return _Pattern(prefix, suffix, route)


def _filled(member: Member, matched: str) -> Member:
    target = member.target
    if "*" not in target.model:
        return member
    return msgspec.structs.replace(member, target=Target(target.provider, target.model.replace("*", matched, 1)))


def _no_route(message: str) -> LLMError:
    return error_for(Failure(Kind.NO_ROUTE, message, code="model_not_found", param="model"))


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS_MAX else text[:_SHOWN_CHARS_MAX] + "..."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
