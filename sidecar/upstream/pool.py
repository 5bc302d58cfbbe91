"""Keep-alive connections to one origin: knows which are idle, which are in use, and when to make a new one.

Must not know the bytes on them. The connection used last is used first, so that a burst's surplus grows
old and is closed. There is no cap on connections in use and no queue: whoever limits requests does so
where a request can still go elsewhere.

A server may close an idle connection at the moment we use it again. Then nothing comes back, and the
request is sent once more, on a new connection: once only, because a second silence is an answer; only
when not a byte had come, because then the server had begun; and only with a body that can be sent twice.
"""

from __future__ import annotations

import asyncio
import time

from sidecar.upstream.dial import Dialer
from sidecar.upstream.head import Heads
from sidecar.upstream.http import Connection
from sidecar.upstream.reply import HttpReply
from sidecar.upstream.transport import Breach, Origin, TransportError, UpstreamRequest

__all__ = ["Pool"]


class Pool:
    """The connections to one origin, from first use to `aclose`; a Transport and a Keeper.

    Args:
        origin: Where they go.
        idle_s: How long an idle connection is kept. Servers close theirs after 60 s and more.
        max_idle: How many idle connections are kept.
    """

    def __init__(self, origin: Origin, *, idle_s: float = 60.0, max_idle: int = 1024) -> None:
        self.opened = 0  # connections ever opened
        self._where = origin.authority
        self._heads = Heads(f"Host: {origin.authority}\r\n")
        self._dialer = Dialer(origin)
        self._idle_s = idle_s
        self._max_idle = max_idle
        self._idle: dict[Connection, None] = {}  # in the order in which they became idle
        self._running: set[Connection] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self._idle)

    @property
    def in_use(self) -> int:
        """How many connections carry an exchange."""
        return len(self._running)

    # -- Transport

    async def send(self, request: UpstreamRequest, *, connect_s: float) -> HttpReply:
        """See `Transport.send`."""
        launched = self.launch(request, connect_s=connect_s)
        return await self.land(launched, request, connect_s=connect_s)

    def launch(self, request: UpstreamRequest, *, connect_s: float | None = None) -> Connection | None:
        """Send the request at once, on an idle connection, or on a new one as soon as it is there. `land` comes next.

        Args:
            request: What to send.
            connect_s: As for `send`; None: only an idle connection will do, and without one there is None.
        """
        connection = self._reused() if self._idle else None
        if connection is not None:
            self._begin(connection, request)
        elif connect_s is not None and not self._closed:
            connection = self._dialled(request, connect_s)
        return connection

    async def land(self, connection: Connection | None, request: UpstreamRequest, *, connect_s: float) -> HttpReply:
        """The response to what was launched; what could not be, or got no answer at all, is sent now."""
        if connection is not None:
            try:
                return await connection.response()
            except TransportError as error:
                again = error.breach is Breach.RESET and isinstance(request.body, bytes) and not connection.fresh
                if not again or self._closed:
                    raise
        self._require_open()
        return await self._dialled(request, connect_s).response()

    def _dialled(self, request: UpstreamRequest, connect_s: float) -> Connection:
        """A connection that sends the request once it is there; whoever listens to it is told if it will not be."""
        connection = Connection(self, self._where)
        self._running.add(connection)
        dialling = self._dial(connection, request, connect_s)
        connection.await_transport(asyncio.get_running_loop().create_task(dialling))
        return connection

    async def _dial(self, connection: Connection, request: UpstreamRequest, connect_s: float) -> None:
        started = time.monotonic()  # uvloop's own clock stands still within a turn
        try:
            await self._dialer.dial(lambda: connection, connect_s=connect_s)
            if connection.broken:  # given up in the very turn in which it was connected, now or at an earlier address
                connection.abort()
                return
            self.opened += 1
            connection.connect_s = time.monotonic() - started
            self._begin(connection, request)
        except Exception as error:  # noqa: BLE001 - told to whoever waits for the response, bugs included
            connection.fail(error)

    def _begin(self, connection: Connection, request: UpstreamRequest) -> None:
        try:
            connection.begin(self._heads.encode(request), request.body, bodiless=request.method == "HEAD")
        except BaseException:
            connection.abort()
            raise

    async def check(self, *, connect_s: float) -> None:
        """See `Transport.check`."""
        self._require_open()
        connection = await self._dialer.dial(lambda: Connection(self, self._where), connect_s=connect_s)
        connection.abort()

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        self._closed = True
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        for connection in (*self._idle, *self._running):
            connection.hang_up()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next turn

    # -- Keeper

    def keep(self, connection: Connection) -> None:
        """See `Keeper.keep`."""
        if self._closed or len(self._idle) >= self._max_idle:
            connection.abort()
            return
        self._running.discard(connection)
        connection.connect_s = None
        connection.fresh = False
        self._idle[connection] = None
        connection.idle_since = time.monotonic()
        if self._expiry is None:
            self._expiry = asyncio.get_running_loop().call_later(self._idle_s, self._expire)

    def forget(self, connection: Connection) -> None:
        """See `Keeper.forget`."""
        self._running.discard(connection)
        self._idle.pop(connection, None)

    # -- what send asks

    def _reused(self) -> Connection | None:
        """The idle connection that was used last, unless even that one is too old."""
        connection, _ = self._idle.popitem()
        if time.monotonic() - connection.idle_since > self._idle_s:
            connection.abort()
            return None
        self._running.add(connection)
        return connection

    def _require_open(self) -> None:
        if self._closed:
            raise TransportError(Breach.CONNECT, f"{self._where}: the transport is closed")

    def _expire(self) -> None:
        """Close what has been idle for too long, and come back when the next one may have been."""
        now = time.monotonic()
        for connection in [each for each in self._idle if now - each.idle_since >= self._idle_s]:
            connection.abort()
        self._expiry = None
        if self._idle:
            left_s = next(iter(self._idle)).idle_since + self._idle_s - now
            self._expiry = asyncio.get_running_loop().call_later(left_s, self._expire)
