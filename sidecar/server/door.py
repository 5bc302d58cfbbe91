"""One listener that is served, from its first connection to its last; knows nothing of what is answered.

It closes in two steps, for a request must not be lost on the way out. First it stops accepting: whoever
is connected gets this or one more answer, with `connection: close`, and whoever has just connected gets
a moment to ask: a client may send a request again when an old connection ended under it, but not when a
new one did. Then, when no request is under way or the patience is over, it closes what is left and waits
until the last bytes have gone.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from sidecar.manager import LLMManager
from sidecar.model.settings import LimitSettings
from sidecar.server import web
from sidecar.server.connection import Connection, Crowd
from sidecar.server.lane import Lane
from sidecar.server.listen import BACKLOG, Listener
from sidecar.server.patrol import Patrol
from sidecar.server.refusal import Refusals

__all__ = ["Door", "Hall"]

_LOOK_S = 0.02
_FIRST_REQUEST_S = 0.5  # from the end of accepting, for those who have yet to ask


class Hall:
    """What all doors of a daemon share.

    Args:
        manager: Gives the limits and the log.
    """

    def __init__(self, manager: LLMManager) -> None:
        self._manager = manager
        self.refusals = Refusals(manager)
        self.crowd = Crowd()
        self.patrol = Patrol()

    @property
    def limits(self) -> LimitSettings:
        """Those in force, for a connection that comes now."""
        return self._manager.snapshot.settings.limits


class Door:
    """One listener that is served.

    Args:
        listener: Bound; owned from now on.
        server: Answers its requests.
        hall: What all doors share.
        lane: The short way of ordinary requests, if there is one here.
    """

    def __init__(self, listener: Listener, server: web.Server, hall: Hall, lane: Lane | None = None) -> None:
        self.listener = listener
        self._lane = lane
        self._server = server
        self._hall = hall
        self._connections: set[Connection] = set()
        self._accepting: asyncio.Server | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is under way here."""
        return any(connection.busy for connection in self._connections)

    async def open(self) -> None:
        """Begin to accept."""
        # Not `create_unix_server`, which from Python 3.13 on removes the file of a socket that is a service manager's.
        loop = asyncio.get_running_loop()
        self._accepting = await loop.create_server(self._connection, sock=self.listener.socket, backlog=BACKLOG)

    def stop_accepting(self) -> None:
        """No new connections; each that is open ends after its next answer. Idempotent.

        One that is idle is not closed yet: its client may be about to send, and would lose that request.
        """
        if self._accepting is not None:
            self._accepting.close()
            self._accepting = None
        self.listener.close()
        for connection in self._connections:
            connection.leaving = True

    async def drained(self, timeout_s: float) -> None:
        """Wait until no request is under way, nor about to come, but not longer than that."""
        now = monotonic()
        until, moment = now + timeout_s, now + min(timeout_s, _FIRST_REQUEST_S)
        # An event per request would cost every request.
        while (self.busy and now < until) or (self._awaited and now < moment):
            await asyncio.sleep(_LOOK_S)
            now = monotonic()

    @property
    def _awaited(self) -> bool:
        return any(connection.silent for connection in self._connections)

    async def close(self, timeout_s: float) -> None:
        """Close every connection, once what was written to it has left; after that time, whatever is left."""
        self.stop_accepting()
        until = monotonic() + timeout_s
        self._server.pre_shutdown()
        # aiohttp takes 0 for "wait for ever".
        await self._server.shutdown(max(timeout_s, _LOOK_S))
        while self._connections and monotonic() < until:  # noqa: ASYNC110 - once in the life of a door
            await asyncio.sleep(_LOOK_S)

    def _connection(self) -> Connection:
        hall = self._hall
        return Connection(self._server, hall.limits, hall.crowd, hall.refusals, self._connections, lane=self._lane)
