"""The reply of our own HTTP/1.1 connection: what its reader holds, so that a connection is never read twice.

Holds the connection until the body was read to its end, or nobody wants the rest; what it says then
no longer depends on what the connection does next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sidecar.upstream.transport import Breach, TransportError

if TYPE_CHECKING:
    from sidecar.upstream.http import Connection

__all__ = ["HttpReply"]


class HttpReply:
    """A response whose head has come, until it is read to its end or closed."""

    __slots__ = ("_connection", "_ended", "connect_s", "headers", "status")

    def __init__(
        self, connection: Connection, status: int, headers: Sequence[tuple[str, str]], connect_s: float | None
    ) -> None:
        self.status: int = status
        self.headers: Sequence[tuple[str, str]] = headers
        self.connect_s: float | None = connect_s
        self._connection: Connection | None = connection
        self._ended = False

    @property
    def launched(self) -> Connection | None:
        """See `PromptReply.launched`."""
        return self._connection

    @property
    def over(self) -> bool:
        """See `PromptReply.over`."""
        connection = self._connection
        return connection is None or connection.over

    def take(self) -> bytes | None:
        """See `Reply.take`."""
        connection = self._connection
        if connection is None:
            if self._ended:
                return b""
            raise TransportError(Breach.CUT, "the reply was closed")
        data = connection.take()
        if data is not None and not data:
            self._ended = True
            self._connection = None
        return data

    def take_rest(self) -> bytes | None:
        """All that is left of the body, if its end has come; None while it has not."""
        connection = self._connection
        rest = None if connection is None else connection.take_rest()
        if rest is not None:
            self._ended = True
            self._connection = None
        return rest

    async def wait(self) -> None:
        """See `Reply.wait`."""
        if self._connection is not None:
            await self._connection.wait()

    async def read(self) -> bytes:
        """See `Reply.read`."""
        while (data := self.take()) is None:
            await self.wait()
        return data

    def close(self) -> None:
        """See `Reply.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
