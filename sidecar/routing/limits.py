"""The deadlines of one attempt, made of the route's timeouts, the target's speed and the client's patience.

What a target has taught of its speed bounds an attempt as long as another could do better. The last
target that can be asked gets all the time there is: to abandon it would gain nothing. A half-open
probe never does, as its answer is waited for by more than its client. A time that the config fixes
holds for all.
"""

from __future__ import annotations

from sidecar.model.request import Call
from sidecar.model.settings import AutoLimit
from sidecar.model.topology import Route, Target
from sidecar.routing.breaker import BreakerState
from sidecar.routing.commands import Limits
from sidecar.routing.state import TargetState

__all__ = ["first_content_limit", "limits"]

_HALF_OPEN = BreakerState.HALF_OPEN


def limits(
    route: Route,
    call: Call,
    target: Target,
    state: TargetState,
    *,
    now: float,
    total_at: float,
    total_is_clients: bool,
    last: bool,
) -> Limits:
    """The limits of an attempt that begins now.

    Args:
        route: Whose timeouts rule.
        call: Who asks.
        target: Who is asked.
        state: Its state, of which the attempt has its slots.
        now: On the clock of `total_at`.
        total_at: When the request is over.
        total_is_clients: Whether that is the client's own deadline.
        last: Nobody else can be asked after this attempt.
    """
    timeouts = route.timeouts
    stream = call.peek.stream
    wait = timeouts.first_token if stream else timeouts.answer
    head_s: float | None = None
    if last and wait.fixed_s is None and state.breaker.state is not _HALF_OPEN:
        own_s = total_at - now
    elif stream:
        own_s = first_content_limit(wait, call, target, state)
        head_s = state.speed.head_limit(wait)
        if state.breaker.state is not _HALF_OPEN:
            own_s = state.speed.raised(own_s, wait)
    else:
        own_s = state.speed.answer_limit(wait)
    read_s, idle_s = call.limits.read_s, timeouts.idle_s
    read_is_clients = idle_is_clients = False
    if read_s is not None:
        read_is_clients, idle_is_clients = read_s < own_s, read_s < idle_s
        own_s, idle_s = min(own_s, read_s), min(idle_s, read_s)
    if head_s is not None and head_s >= own_s:
        head_s = None
    # Only one of the first two means something to a request; the other is given the same.
    return Limits(
        timeouts.connect_s, own_s, own_s, idle_s, total_at, total_is_clients, read_is_clients, idle_is_clients, head_s
    )


def first_content_limit(limit: AutoLimit, call: Call, target: Target, state: TargetState) -> float:
    """Seconds to the first content, without any raise.

    What was learnt of a model says nothing of a request that asks it to think.
    """
    if limit.fixed_s is not None:
        return limit.fixed_s
    if call.peek.needs.reasoning:
        return limit.max_s
    is_reasoning = target.provider.facts(target.model).reasoning is True
    return state.speed.first_content_limit(limit, reasoning=is_reasoning)
