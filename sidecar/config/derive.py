"""New snapshots from the current one, as the Python API and operators change it while it runs.

Pure: snapshot in, snapshot out, numbered one higher; what was not asked for stays the same value. A
seed name is a provider (its default model) or "provider/model".
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import msgspec

from sidecar.config.problems import hint
from sidecar.config.routes import TargetError, pool_key, target_named
from sidecar.model.errors import ConfigurationError
from sidecar.model.settings import Balance
from sidecar.model.topology import Member, Pool, Route, Snapshot

__all__ = ["balanced", "checked_weight", "strategy_named", "with_chain", "with_weight"]


def with_chain(snapshot: Snapshot, names: Sequence[str], *, route: str = "default") -> Snapshot:
    """The route asks these targets in exactly this order. A route that does not exist is made.

    Raises:
        ConfigurationError: When a name stands for no target, or there are no names.
    """
    if not names:
        raise ConfigurationError("the chain is empty; name at least one provider or provider/model")
    try:
        targets = [target_named(name, snapshot.providers) for name in names]
    except TargetError as error:
        raise ConfigurationError(str(error)) from None
    for target in targets:
        if "*" in target.model and "*" not in route:
            raise ConfigurationError(f'"{target.key}" holds a "*", but the route "{route}" is no pattern')
    pools = tuple(Pool(pool_key(route, index), (Member(target),)) for index, target in enumerate(targets))
    return _replaced(snapshot, msgspec.structs.replace(_route(snapshot, route, make=True), chain=pools))


def balanced(snapshot: Snapshot, strategy: str, *, route: str = "default") -> Snapshot:
    """All targets of the route share its load in one pool; each keeps its weight.

    Raises:
        ConfigurationError: For an unknown strategy or route.
    """
    balance = strategy_named(strategy)
    current = _route(snapshot, route)
    members: dict[str, Member] = {}
    for member in (member for pool in current.chain for member in pool.members):
        members.setdefault(member.target.key, member)
    pool = Pool(pool_key(route, 0), tuple(members.values()), balance, current.chain[0].sticky)
    return _replaced(snapshot, msgspec.structs.replace(current, chain=(pool,)))


def with_weight(snapshot: Snapshot, name: str, weight: float) -> Snapshot:
    """Every pool member that the name stands for has this weight: a provider's all, or one target's.

    Raises:
        ConfigurationError: When nothing in any route has that name, or the weight is no weight.
    """
    number = checked_weight(weight)
    members = [member for route in snapshot.routes.values() for pool in route.chain for member in pool.members]
    names = {member.target.key for member in members} | {member.target.provider.name for member in members}
    if name not in names:
        raise ConfigurationError(f'no route has a target "{name}"{hint(name, names)}')

    def weigh(member: Member) -> Member:
        named = name in (member.target.key, member.target.provider.name)
        return msgspec.structs.replace(member, weight=number) if named else member

    routes = {each: _mapped(route, weigh) for each, route in snapshot.routes.items()}
    return msgspec.structs.replace(snapshot, routes=routes, generation=snapshot.generation + 1)


def checked_weight(weight: object) -> float:
    """The weight as a float.

    Raises:
        ConfigurationError: When it is not a finite number >= 0.
    """
    if isinstance(weight, int | float) and not isinstance(weight, bool) and 0 <= weight <= sys.float_info.max:
        return float(weight)
    raise ConfigurationError(f"a weight is a finite number >= 0, not {weight!r}")


def strategy_named(strategy: str) -> Balance:
    """The strategy of that name.

    Raises:
        ConfigurationError: When there is none.
    """
    known = [balance.value for balance in Balance]
    if strategy not in known:
        raise ConfigurationError(f'unknown strategy "{strategy}"{hint(strategy, known)}')
    return Balance(strategy)


def _route(snapshot: Snapshot, name: str, *, make: bool = False) -> Route:
    if name in snapshot.routes:
        return snapshot.routes[name]
    if make:
        return Route(name, (), snapshot.timeouts, snapshot.attempts, snapshot.stream)
    raise ConfigurationError(f'there is no route "{name}"{hint(name, snapshot.routes)}')


def _mapped(route: Route, change: Callable[[Member], Member]) -> Route:
    chain = tuple(msgspec.structs.replace(pool, members=tuple(map(change, pool.members))) for pool in route.chain)
    return msgspec.structs.replace(route, chain=chain)


def _replaced(snapshot: Snapshot, route: Route) -> Snapshot:
    routes = {**snapshot.routes, route.name: route}
    return msgspec.structs.replace(snapshot, routes=routes, generation=snapshot.generation + 1)
