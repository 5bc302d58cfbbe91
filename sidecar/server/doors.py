"""The open listeners of the daemon, and how they change while it serves.

A change is a transaction: what is new is bound first, and only when that has worked the rest follows
(`prepare`, then `commit` or `abandon`). A listener that stays keeps its socket and its connections, and
is only guarded anew. One that goes stops accepting; its requests go on to their end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from aiohttp import web

from sidecar.manager import LLMManager
from sidecar.model.errors import ConfigurationError
from sidecar.model.settings import LimitSettings, ListenSettings
from sidecar.server.data_plane import DataPlane
from sidecar.server.guard import Guard
from sidecar.server.listen import Listener, bind, is_tcp

__all__ = ["Change", "Door", "Doors", "guard_of"]

_BACKLOG = 4096


def guard_of(settings: ListenSettings, port: int) -> Guard:
    """The guard that a listener's settings ask for."""
    return Guard(
        tcp=is_tcp(settings),
        port=port,
        allowed_hosts=settings.allowed_hosts,
        allowed_origins=settings.allowed_origins,
    )


class Door:
    """One listener that serves the data plane."""

    def __init__(self, listener: Listener, manager: LLMManager, limits: LimitSettings) -> None:
        self.listener = listener
        self._plane = DataPlane(manager, guard_of(listener.settings, listener.port))
        self._server = web.Server(
            self._plane.handle,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=limits.keepalive_s,
            max_line_size=limits.max_header_bytes,
            max_field_size=limits.max_header_bytes,
            auto_decompress=False,
            lingering_time=0,
        )
        self._accepting: asyncio.Server | None = None

    async def open(self) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        if is_tcp(self.listener.settings):
            self._accepting = await loop.create_server(self._server, sock=self.listener.socket, backlog=_BACKLOG)
        else:
            self._accepting = await loop.create_unix_server(self._server, sock=self.listener.socket, backlog=_BACKLOG)

    def guard_anew(self, settings: ListenSettings) -> None:
        """Take over changed settings of the same address."""
        self.listener.settings = settings
        self._plane.guard = guard_of(settings, self.listener.port)
        self.listener.apply_mode()

    def stop_accepting(self) -> None:
        """No new connections; idle ones are closed, busy ones after their answer. Idempotent."""
        if self._accepting is not None:
            self._accepting.close()
            self._accepting = None
        self.listener.close()
        self._server.pre_shutdown()

    async def close(self, timeout_s: float) -> None:
        """Let requests under way end, then close what is left."""
        self.stop_accepting()
        await self._server.shutdown(timeout_s)


class Change:
    """A prepared change of the doors."""

    def __init__(self, stay: dict[str, ListenSettings], new: dict[str, Listener]) -> None:
        self.stay = stay
        self.new = new


class Doors:
    """All listeners of the data plane.

    Args:
        manager: Answers the calls.
    """

    def __init__(self, manager: LLMManager) -> None:
        self._manager = manager
        self._doors: dict[str, Door] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as people write it."""
        return [door.listener.address for door in self._doors.values()]

    def prepare(self, listens: Iterable[ListenSettings]) -> Change:
        """Bind what is not bound yet.

        Raises:
            ConfigurationError: When something cannot be bound; nothing has changed then.
        """
        change = Change({}, {})
        try:
            for settings in listens:
                if settings.address in self._doors:
                    change.stay[settings.address] = settings
                else:
                    change.new[settings.address] = bind(settings)
        except ConfigurationError:
            self.abandon(change)
            raise
        return change

    def abandon(self, change: Change) -> None:
        """Give back what `prepare` bound."""
        for listener in change.new.values():
            listener.close()

    async def commit(self, change: Change, *, linger_s: float) -> None:
        """Open what is new, guard anew what stays, let go of the rest.

        Args:
            change: From `prepare`.
            linger_s: How long requests of a door that goes may go on.
        """
        limits = self._manager.snapshot.settings.limits
        for address, listener in change.new.items():
            door = Door(listener, self._manager, limits)
            await door.open()
            self._doors[address] = door
        for address, settings in change.stay.items():
            self._doors[address].guard_anew(settings)
        for address in [a for a in self._doors if a not in change.new and a not in change.stay]:
            self._let_go(self._doors.pop(address), linger_s)

    def stop_accepting(self) -> None:
        """Close every listener; requests under way go on."""
        for door in self._doors.values():
            door.stop_accepting()

    async def close(self, timeout_s: float) -> None:
        """Close everything. Idempotent."""
        doors, self._doors = list(self._doors.values()), {}
        await asyncio.gather(*(door.close(timeout_s) for door in doors))
        for task in list(self._leaving):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _let_go(self, door: Door, linger_s: float) -> None:
        task = asyncio.get_running_loop().create_task(door.close(linger_s))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
