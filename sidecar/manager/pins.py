"""Which provider keeps something for a request, so that no other can answer it.

OpenAI's Responses can go on from an answer, a conversation or a file that the provider keeps. Who gave an
answer is remembered for the last ten thousand; an id that is not known goes to the route's first target that
speaks Responses. A pinned request has no fallback, and its error says so.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from sidecar.dialects.body import parsed
from sidecar.dialects.openai_responses_pins import pin_id, pinned
from sidecar.model.failures import Failure
from sidecar.model.request import Call
from sidecar.model.topology import Dialect, Operation, Route, Target

__all__ = ["Pins", "pinned_failure"]

_KEPT = 10_000
_NAMES = frozenset({"previous_response_id", "conversation", "background", "prompt"})
_WORDS = (b'"item_reference"', b'"file_id"', b'"id"')


class Pins:
    """Who gave which answer; lives as long as the manager."""

    def __init__(self) -> None:
        self._targets: OrderedDict[str, str] = OrderedDict()

    def note(self, answer_id: str, target: Target) -> None:
        """This target gave the answer."""
        self._targets[answer_id] = target.key
        self._targets.move_to_end(answer_id)
        if len(self._targets) > _KEPT:
            self._targets.popitem(last=False)

    def pinned(self, call: Call, route: Route) -> tuple[Route, str] | None:
        """The route to the one target that can answer, and why no other can; None when any can.

        Args:
            call: The request.
            route: That its model names.
        """
        reason, answer_id = _pin(call)
        if reason is None:
            return None
        known = self._targets.get(answer_id or "")
        speaking = [target for target in route.targets if Dialect.OPENAI_RESPONSES in target.provider.dialects]
        kept = [target for target in speaking if target.key == known]
        kept += [target for target in speaking if known is not None and target.provider.name == known.partition("/")[0]]
        for target in kept or speaking:
            return _only(route, target), reason
        return None


def _pin(call: Call) -> tuple[str | None, str | None]:
    if call.operation is not Operation.RESPONSES:
        return None, None
    fields = call.peek.fields
    said = bytes(fields.get("input", b""))
    if _NAMES.isdisjoint(fields) and not any(word in said for word in _WORDS):
        return None, None
    body = parsed(fields)
    return pinned(body), pin_id(body)


def _only(route: Route, target: Target) -> Route:
    """The route with this target alone, its weight and limits kept."""
    for pool in route.chain:
        for member in pool.members:
            if member.target is target:
                alone = msgspec.structs.replace(pool, members=(member,))
                return msgspec.structs.replace(route, chain=(alone,))
    return route


def pinned_failure(failure: Failure, route: Route, reason: str) -> Failure:
    """The failure, saying why nobody else was asked."""
    target = route.targets[0].key
    message = f"{failure.message}; nobody but {target} can be asked, for the request has {reason}"
    return msgspec.structs.replace(failure, message=message, upstream=None)
