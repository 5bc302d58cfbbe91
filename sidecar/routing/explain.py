"""What would become of a request that came now: every target of its route, in order, and why it is or is not asked."""

from __future__ import annotations

import msgspec

from sidecar.model.request import Needs
from sidecar.model.topology import Operation, Route
from sidecar.routing.health import HealthBook
from sidecar.routing.plan import drained, unfit

__all__ = ["Explained", "explain"]


class Explained(msgspec.Struct, frozen=True):
    """One target of a route, as it stands now."""

    pool: str
    target: str
    weight: float  # configured
    share: float  # of its pool's requests now, 0 to 1; by weights, other strategies may differ
    skipped: str | None  # why it is passed over, or None
    breaker: str
    reason: str | None  # why the breaker is not closed
    open_for_s: float | None  # until it admits a probe
    effective_weight: float  # what slow start leaves of the weight
    first_token_limit_s: float  # of a stream that asks for nothing special, and is not the last that can be asked


def explain(
    route: Route, book: HealthBook, now: float, needs: Needs, operation: Operation = Operation.CHAT
) -> list[Explained]:
    """Every target of the chain, in order; changes nothing."""
    explained: list[Explained] = []
    for pool in route.chain:
        rows = []
        for member in pool.members:
            state = book.peek(member.target, now)
            reason = unfit(member.target, operation, needs) or state.refusal(now) or drained(member, state)
            weight = 0.0 if reason is not None else member.weight * state.breaker.weight_factor(now)
            rows.append((member, state, reason, weight))
        total = sum(weight for *_, weight in rows)
        explained += [
            Explained(
                pool.key,
                state.key,
                member.weight,
                weight / total if total else 0.0,
                reason,
                told["breaker"],
                told["reason"],
                told["open_for_s"],
                member.weight * told["weight_factor"],
                told["first_token_limit_s"],
            )
            for member, state, reason, weight in rows
            for told in [state.describe(now, route.timeouts.first_token)]
        ]
    return explained
