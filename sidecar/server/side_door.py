"""A door beside those of the data plane: the admin plane's, or that of the metrics alone.

It is opened once and stays: an operator who edits the config must not lock the operator out. What an edit
changes at once is who may come in. Its connections are counted apart, so that a crowd at the data plane
does not keep out who comes to look after it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sidecar.manager import LLMManager
from sidecar.model.errors import ConfigurationError
from sidecar.model.settings import ListenSettings
from sidecar.server import web
from sidecar.server.admin_plane import AdminPlane
from sidecar.server.door import Door, Hall
from sidecar.server.doors import guard_of
from sidecar.server.guard import Guard
from sidecar.server.listen import Listener, is_tcp
from sidecar.server.places import Place

__all__ = ["SideDoor", "fit_for_admin"]

_FOLLOWERS_S = 0.2  # for those who follow the feed, who would stay for ever


def fit_for_admin(listener: Listener) -> Listener:
    """The same listener, if not just anybody of this machine can reach it.

    Raises:
        ConfigurationError: It is reached by TCP, and nobody has to show a token.
    """
    if is_tcp(listener.settings) and listener.settings.auth is None:
        raise ConfigurationError(
            f"admin: every process of this machine can reach {listener.address}, which was handed over for the admin "
            "plane: name it in admin.listen and add auth, or hand over a Unix socket"
        )
    return listener


class SideDoor:
    """One listener, from `serving` to its end.

    Args:
        listener: Bound; owned from now on.
        manager: Gives the limits and the log.
    """

    def __init__(self, listener: Listener, manager: LLMManager) -> None:
        self._listener = listener
        self._manager = manager
        self._hall = Hall(manager)
        self._settings = listener.settings
        self._guard = guard_of(listener.settings, listener.port)

    @property
    def address(self) -> str:
        """Where it listens, as people write it."""
        return self._listener.address

    def guard(self) -> Guard:
        """The guard of the moment."""
        return self._guard

    def guard_anew(self, settings: ListenSettings | None) -> str | None:
        """Take over the settings of an edit; what of them has to wait for the next start, if anything.

        Args:
            settings: None when the config says nothing of this door, which then stays as it is.
        """
        if settings is None or settings == self._settings:
            return None
        if settings.address != self._settings.address:
            return f"{settings.address} takes the place of {self.address} with the next start"
        try:
            self._listener.change(settings)
        except ConfigurationError as error:
            return str(error)
        finally:
            self._guard = guard_of(settings, self._listener.port)  # tokens count, whatever became of the file's mode
        self._settings = settings
        return None

    @contextlib.asynccontextmanager
    async def serving(self, places: tuple[Place, ...]) -> AsyncIterator[None]:
        """Serve these places."""
        plane = AdminPlane(self._manager, self.guard, places)
        door = Door(self._listener, web.Server(plane.handle, handler_cancellation=True), self._hall)
        try:
            await door.open()
            yield
        finally:
            await door.close(_FOLLOWERS_S)
