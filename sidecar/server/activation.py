"""Sockets that the service manager has bound and handed over; knows how they come, not what is said on them.

They are numbered from descriptor 3 on, counted by `$LISTEN_FDS`, named by `$LISTEN_FDNAMES`, and meant for
the process `$LISTEN_PID`. The service manager keeps each open as well: while we restart, or after a crash,
connections wait in the socket's queue and none is refused. So such a socket is never bound anew, never
unlinked, and its mode is the service manager's; what the config says of its address is only how to guard it.

One that is called `admin` is the admin plane's, every other the data plane's. Source: sd_listen_fds(3)
(read 2026-11).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping

import msgspec

from sidecar.model.errors import ConfigurationError
from sidecar.model.settings import ListenSettings
from sidecar.server.listen import Listener

__all__ = ["NOTHING", "Inherited", "forget", "inherit"]

_FIRST = 3  # SD_LISTEN_FDS_START
_ADMIN = "admin"


class Inherited(msgspec.Struct, frozen=True):
    """What was handed over."""

    data: tuple[Listener, ...] = ()
    admin: Listener | None = None


NOTHING = Inherited()


def inherit(environ: Mapping[str, str], pid: int) -> Inherited:
    """The sockets that are meant for the process `pid`; they belong to whoever calls, who does so once.

    Raises:
        ConfigurationError: When one of them is nothing to serve on, or there are two for the admin plane.
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not (count.isascii() and count.isdigit()):
        return NOTHING
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    data: list[Listener] = []
    admin: list[Listener] = []
    for index in range(int(count)):
        is_admin = index < len(names) and names[index] == _ADMIN
        (admin if is_admin else data).append(_listener(_FIRST + index, 0o600 if is_admin else 0o660))
    if len(admin) > 1:
        raise ConfigurationError("two sockets were handed over for the admin plane; give one of them another name")
    return Inherited(tuple(data), admin[0] if admin else None)


def _listener(fd: int, mode: int) -> Listener:
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=fd)
    listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.type != socket.SOCK_STREAM or not listens or sock.family not in _FAMILIES:
        raise ConfigurationError(
            f"descriptor {fd}, handed over by the service manager, is no listening TCP or Unix socket; "
            "its socket unit needs ListenStream= and Accept=no"
        )
    sock.setblocking(False)
    return Listener(ListenSettings(_address(sock), mode=mode), sock)


_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)


def _address(sock: socket.socket) -> str:
    """As the config would write it."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        path = name if isinstance(name, str) else "@" + os.fsdecode(name[1:])
        return f"unix:{path}"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def forget(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove what was meant for this process alone, so that no child takes it for its own."""
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
