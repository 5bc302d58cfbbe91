"""Takes a request as an ordinary one where it may be, and sends it at once.

Knows when nothing at all is in a request's way: what is true of its model while the snapshot is in force tells
its `Trail`, the rest is found out here.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from sidecar.dialects.dialect import Untranslatable
from sidecar.manager.ordinary import Ordinary
from sidecar.manager.ordinary_stream import OrdinaryStream
from sidecar.manager.rooms import Rooms
from sidecar.manager.trail import Fork, Trail, branch, trail_for
from sidecar.model.errors import ValidationError
from sidecar.model.request import NEEDLESS, Call
from sidecar.model.settings import OnLoss
from sidecar.routing.plan import suits
from sidecar.upstream.prompt import Sent

__all__ = ["ordinary"]


def ordinary(rooms: Rooms, call: Call, active: set[Any]) -> Ordinary | None:
    """The request as an ordinary one, which is then sent; None if it is not, and then nothing was done.

    Args:
        rooms: Those of the snapshot in force when the request came.
        call: What is asked.
        active: Holds every answer that is not closed yet.
    """
    if call.strict:
        return None
    peek, now = call.peek, monotonic()
    key: tuple[object, ...] = (peek.model, call.operation, call.route, call.headers, peek.stream, peek.wants_usage)
    trail: Trail | Fork | None = rooms.trails.get(key) or trail_for(rooms, call, key)
    pool, place = None, None
    if type(trail) is Fork:
        pool, route = trail.pool, trail.route
        place = trail.next(rooms, call, now)
        if place is None:
            return None
        key = (key, place)
        trail = rooms.trails.get(key) or branch(rooms, call, key, route, pool.members[place])
    if type(trail) is not Trail or not trail.state.is_ordinary:
        return None
    target = trail.command.target
    if peek.needs is not NEEDLESS and not suits(target, call):
        return None
    if rooms.registry.account(target.provider) is not trail.account:  # its connections were closed
        rooms.trails.pop(key, None)
        return None
    try:
        asked = trail.asked(call)
        if asked is None:
            return None
        form, request = asked
        launched = None if form.losses and trail.route.on_loss is OnLoss.REJECT else trail.prompt.launch(request)
    except (ValidationError, Untranslatable):
        return None
    except Exception as error:  # noqa: BLE001 - a bug, or an account's header that is none: an `Answer` tells the client
        context = {"message": f"request {call.request_id} is no ordinary one by a bug", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
        return None
    if launched is None:
        return None
    if pool is not None and place is not None:
        rooms.balances.took(pool, place)
    rooms.budget.deposit(now)
    made = OrdinaryStream if peek.stream else Ordinary
    return made(rooms, call, active, trail, began=now, sent=Sent(form, request, launched, trail.way.dialect))
