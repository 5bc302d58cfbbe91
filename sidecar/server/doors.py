"""The open listeners of the daemon, and how they change while it serves.

A change is a transaction: what is new is bound first, and only when that has worked the rest follows
(`prepare`, then `commit` or `abandon`). A listener that stays keeps its socket and its connections, and
is only guarded anew. One that goes stops accepting; its requests go on to their end.

Sockets that the service manager has bound are always open: the config can say how to guard them, by
naming their address, but not close them. When there are some, what the config does not say is not bound:
its default is for those who have nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from sidecar.manager import LLMManager
from sidecar.model.errors import ConfigurationError
from sidecar.model.settings import DEFAULT_LISTEN, ListenSettings
from sidecar.server import web
from sidecar.server.data_plane import DataPlane
from sidecar.server.door import Door, Hall
from sidecar.server.guard import Guard
from sidecar.server.lane import Lane
from sidecar.server.listen import Listener, bind, is_tcp, numeric

__all__ = ["Change", "Doors", "guard_of"]

_LAST_WORDS_S = 2.0  # for an answer's last bytes to reach a slow client


def guard_of(settings: ListenSettings, port: int) -> Guard:
    """The guard that a listener's settings ask for."""
    own = settings.address.rpartition(":")[0]  # a name cannot be rebound to it: it is a number, or localhost
    return Guard(
        tcp=is_tcp(settings),
        port=port,
        allowed_hosts=(*settings.allowed_hosts, f"{own}:{port}"),
        allowed_origins=settings.allowed_origins,
        allow_uids=settings.allow_uids,
        tokens=() if settings.auth is None else [token.reveal() for token in settings.auth.tokens],
    )


class _DataDoor(Door):
    """A door of the data plane."""

    def __init__(self, listener: Listener, manager: LLMManager, hall: Hall) -> None:
        guard = guard_of(listener.settings, listener.port)
        self._plane = DataPlane(manager, guard, hall.refusals)
        self._short = Lane(manager, guard, hall.patrol)
        super().__init__(listener, web.Server(self._plane.handle, handler_cancellation=True), hall, self._short)

    def guard_anew(self) -> None:
        """Take over the listener's settings."""
        guard = guard_of(self.listener.settings, self.listener.port)
        self._plane.guard = guard
        self._short.guard_anew(guard)


class Change:
    """A prepared change of the doors."""

    def __init__(self) -> None:
        self.new: dict[str, Listener] = {}
        self.stay: dict[str, ListenSettings] = {}  # with what they had before


class Doors:
    """All listeners of the data plane.

    Args:
        manager: Answers the calls.
        hall: What all doors share.
        inherited: What the service manager has bound; owned from now on.
    """

    def __init__(self, manager: LLMManager, hall: Hall, inherited: Iterable[Listener] = ()) -> None:
        self._manager = manager
        self._hall = hall
        self._inherited = {listener.address: listener for listener in inherited}
        self._doors: dict[str, _DataDoor] = {}
        self._leaving: dict[_DataDoor, asyncio.Task[None]] = {}

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as people write it."""
        return [door.listener.address for door in self._doors.values()]

    def prepare(self, listens: Iterable[ListenSettings]) -> Change:
        """Bind what is not bound yet, and give what stays its new mode and group.

        Raises:
            ConfigurationError: When something of it cannot be done; nothing has changed then.
        """
        change = Change()
        try:
            for settings in self._wanted(tuple(listens)):
                self._prepare(change, settings)
        except ConfigurationError:
            self.abandon(change)
            raise
        return change

    def _wanted(self, listens: tuple[ListenSettings, ...]) -> list[ListenSettings]:
        """What is to be open: all that was handed over, and what the config says."""
        if self._inherited and listens is DEFAULT_LISTEN:
            listens = ()
        said = {numeric(settings.address) for settings in listens}
        return [*(ListenSettings(address) for address in self._inherited if address not in said), *listens]

    def _prepare(self, change: Change, settings: ListenSettings) -> None:
        address = numeric(settings.address)
        if address in change.new or address in change.stay:
            raise ConfigurationError(f"listen: {address} is named twice; remove one of the two")
        if address not in self._doors:
            change.new[address] = self._bound(settings)
            return
        listener = self._doors[address].listener
        change.stay[address] = listener.settings
        listener.change(settings)

    def _bound(self, settings: ListenSettings) -> Listener:
        listener = self._inherited.get(numeric(settings.address))
        if listener is None:
            return bind(settings)
        listener.change(settings)
        return listener

    def abandon(self, change: Change) -> None:
        """Give back what `prepare` bound, and what it changed."""
        for listener in change.new.values():
            if listener not in self._inherited.values():
                listener.close()
        for address, before in change.stay.items():
            with suppress(ConfigurationError):  # the file is gone: there is nothing to put back
                self._doors[address].listener.change(before)

    async def commit(self, change: Change, *, linger_s: float) -> None:
        """Open what is new, guard anew what stays, let go of the rest.

        Args:
            change: From `prepare`.
            linger_s: How long requests of a door that goes may go on.
        """
        for address, listener in change.new.items():
            self._doors[address] = door = _DataDoor(listener, self._manager, self._hall)
            await door.open()
        for address in change.stay:
            self._doors[address].guard_anew()
        for address in [each for each in self._doors if each not in change.new and each not in change.stay]:
            self._let_go(self._doors.pop(address), linger_s)

    def stop_accepting(self) -> None:
        """Close every listener; requests under way go on."""
        for door in self._doors.values():
            door.stop_accepting()

    async def drained(self, timeout_s: float) -> None:
        """Wait until no request is under way at any door, but not longer than that."""
        await asyncio.gather(*(door.drained(timeout_s) for door in self._all()))

    async def close(self, timeout_s: float) -> None:
        """Close everything; after that time, whatever is left. Idempotent."""
        doors, tasks = self._all(), list(self._leaving.values())
        self._doors.clear()
        self._leaving.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(door.close(timeout_s) for door in doors))

    def _all(self) -> list[_DataDoor]:
        return [*self._doors.values(), *self._leaving]

    def _let_go(self, door: _DataDoor, linger_s: float) -> None:
        door.stop_accepting()
        self._leaving[door] = task = asyncio.get_running_loop().create_task(_end(door, linger_s))
        task.add_done_callback(lambda _: self._leaving.pop(door, None))


async def _end(door: Door, linger_s: float) -> None:
    await door.drained(linger_s)
    await door.close(_LAST_WORDS_S)
