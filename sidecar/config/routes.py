"""The routes of a config: chains of targets, checked against the providers that there are.

Also gives the readings that the file and the Python API share: `target_named` for "provider/model" or
a bare provider, `single` for a pool of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import UNSET

from sidecar.config.credentials import HEADER_NAME
from sidecar.config.overlay import overlay
from sidecar.config.problems import Problems, child, hint, item, nearest
from sidecar.config.providers import check_bounds
from sidecar.config.schema import ConfigKeys, HedgeKeys, RouteKeys
from sidecar.model.failures import Kind
from sidecar.model.settings import AttemptSettings, Balance, OnLoss, StreamMode, StreamSettings, Timeouts
from sidecar.model.topology import Member, Pool, Provider, Route, Target

__all__ = [
    "TargetError",
    "compile_attempts",
    "compile_routes",
    "compile_stream",
    "compile_timeouts",
    "pool_key",
    "target_named",
]


class TargetError(ValueError):
    """A name that stands for no target; the message says which would."""


def target_named(name: str, providers: Mapping[str, Provider], *, also: Iterable[str] = ()) -> Target:
    """The target that "provider/model", or a provider's bare name, stands for.

    Args:
        name: What is written.
        providers: Those that there are.
        also: Further names of providers to suggest.

    Raises:
        TargetError: When there is none.
    """
    first, slash, model = name.partition("/")
    provider = providers.get(first)
    if provider is None:
        known = (*providers, *also)
        meant = nearest(first, known)
        if meant is not None:
            raise TargetError(f'unknown target "{name}"; did you mean "{meant}{slash}{model}"?')
        raise TargetError(f'unknown target "{name}": there is no provider "{first}"{hint(first, known)}')
    if slash and not model:
        raise TargetError(f'"{name}" names no model; write "{first}/MODEL"')
    if not slash and provider.model is None:
        raise TargetError(f'"{name}" has no default model; write "{name}/MODEL", or set providers.{name}.model')
    return Target(provider, model or provider.model or "")


def pool_key(route: str, index: int) -> str:
    """The name of a pool's balancing counters."""
    return f"{route}[{index}]"


def compile_timeouts(config: ConfigKeys, problems: Problems) -> Timeouts:
    """The deadlines where no route says otherwise."""
    timeouts = overlay(Timeouts(), config.timeouts)
    _check_timeouts(timeouts, problems, "timeouts")
    return timeouts


def compile_attempts(config: ConfigKeys) -> AttemptSettings:
    """The rules of attempts where no route says otherwise."""
    return overlay(AttemptSettings(), config.resilience)


def compile_stream(config: ConfigKeys) -> StreamSettings:
    """How streams are given where no route says otherwise."""
    return overlay(StreamSettings(), config)


def compile_routes(
    config: ConfigKeys,
    providers: Mapping[str, Provider],
    problems: Problems,
    *,
    timeouts: Timeouts,
    attempts: AttemptSettings,
    stream: StreamSettings,
) -> dict[str, Route]:
    """The routes; what is wrong with them is reported.

    A provider that could not be made is known all the same: its own problem is told once.
    """
    named = {} if config.routes is UNSET else config.routes
    broken = frozenset({} if config.providers is UNSET else config.providers) - providers.keys()
    on_loss = OnLoss.ALLOW if config.on_loss is UNSET else config.on_loss
    everywhere = [] if config.fallback_on is UNSET else config.fallback_on
    chains = _Chains(providers, broken, problems)
    routes: dict[str, Route] = {}
    for name, keys in named.items():
        path = child("routes", name)
        own = overlay(timeouts, keys.timeouts)
        if keys.timeouts is not UNSET:
            _check_timeouts(own, problems, child(path, "timeouts"))
        routes[name] = route = Route(
            name=name,
            chain=chains.chain(name, keys),
            timeouts=own,
            attempts=overlay(attempts, keys.attempts),
            stream=overlay(stream, keys),
            on_loss=on_loss if keys.on_loss is UNSET else keys.on_loss,
            fallback_on=frozenset(map(Kind, everywhere if keys.fallback_on is UNSET else keys.fallback_on)),
        )
        _check_effects(route, keys, problems, path)
    return routes


class _Chains:
    """Reads the chains of one config.

    Args:
        providers: Those that could be made.
        broken: Those that could not: their targets are passed over in silence.
        problems: Where the others are reported.
    """

    def __init__(self, providers: Mapping[str, Provider], broken: frozenset[str], problems: Problems) -> None:
        self._providers = providers
        self._broken = broken
        self._problems = problems

    def chain(self, name: str, keys: RouteKeys) -> tuple[Pool, ...]:
        path, problems = child("routes", name), self._problems
        if not name or name.count("*") > 1:
            problems.add(path, 'a route is a name, or a pattern with one "*"')
        if not keys.chain:
            problems.add(child(path, "chain"), "the chain is empty; name at least one target")
        sticky = None if keys.sticky is UNSET else keys.sticky.lower()
        if sticky is not None and not HEADER_NAME.fullmatch(sticky):
            problems.add(child(path, "sticky"), "expected a header's name, such as x-session-id")
        balance = Balance.WEIGHTED if keys.balance is UNSET else keys.balance
        return tuple(
            Pool(pool_key(name, index), self._members(name, given, item(child(path, "chain"), index)), balance, sticky)
            for index, given in enumerate(keys.chain)
        )

    def _members(self, route: str, given: str | dict[str, float], path: str) -> tuple[Member, ...]:
        if not given and not self._problems.within(path):
            self._problems.add(path, "names nothing; write a target, or a map of targets with weights")
        if isinstance(given, str):
            named = [(given, 1.0, path)]
        else:
            named = [(text, float(weight), child(path, text)) for text, weight in given.items()]
        found = ((self._target(text, route, place), weight) for text, weight, place in named if text)
        members = tuple(Member(target, weight) for target, weight in found if target is not None)
        keys = [member.target.key for member in members]
        for key in sorted({key for key in keys if keys.count(key) > 1}):
            self._problems.add(path, f"{key} is in this pool twice")
        return members

    def _target(self, text: str, route: str, path: str) -> Target | None:
        if text.partition("/")[0] in self._broken:
            return None
        try:
            target = target_named(text, self._providers, also=self._broken)
        except TargetError as error:
            self._problems.add(path, str(error))
            return None
        stars = target.model.count("*")
        if stars > 1:
            self._problems.add(path, f'"{text}" holds more than one "*"')
        elif stars and "*" not in route:
            self._problems.add(path, f'"{text}" holds a "*", but "{route}" is no pattern that could fill it in')
        return target


def _check_effects(route: Route, keys: RouteKeys, problems: Problems, path: str) -> None:
    """Warn of keys of the route that do nothing."""
    alone = all(len(pool.members) < 2 for pool in route.chain)
    for key, given in (("balance", keys.balance is not UNSET), ("hedge", isinstance(keys.hedge, HedgeKeys))):
        if given and alone:
            problems.warn(child(path, key), "has no effect: no item of the chain is a map of several targets")
    if keys.hold is not UNSET and route.stream.mode is not StreamMode.HOLD:
        problems.warn(child(path, "hold"), f"has no effect without stream: hold; this route has {route.stream.mode}")


def _check_timeouts(timeouts: Timeouts, problems: Problems, path: str) -> None:
    for name in ("first_token", "answer"):
        limit = getattr(timeouts, name)
        check_bounds(problems, child(path, name), limit.min_s, limit.max_s)
