"""What a service manager is told of this process: ready, reloading, stopping, alive, and a line for people.

Knows the protocol and nothing of the daemon. One datagram is one change of state, sent to the socket that
`$NOTIFY_SOCKET` names; without it nothing is sent. A reload is announced together with the time at which
it began, by the monotonic clock, in the same datagram, or the service manager could take an earlier
`READY=1` for its end. The watchdog is fed from the event loop: what it watches is that the loop turns.

Nothing here raises or waits: a service manager that does not listen must not stop the service. Sources:
sd_notify(3), sd_watchdog_enabled(3), systemd.service(5) (read 2026-11).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from time import CLOCK_MONOTONIC, clock_gettime_ns

__all__ = ["Notifier", "forget"]

_STATUS_CHARS = 500
_MORE_S = 15.0
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """The line to the service manager, for as long as the process lives.

    Args:
        address: A path, or an abstract name behind `@`; None when there is no service manager.
        watchdog_s: Within which time it expects to hear that we are alive; None when it does not.
    """

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address is not None and address.startswith("@") else address
        self._socket = None if address is None else socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if self._socket is not None:
            self._socket.setblocking(False)
        self.watchdog_s = watchdog_s

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> Notifier:
        """The line that the environment of the process `pid` describes."""
        address = environ.get("NOTIFY_SOCKET", "")
        if address[:1] not in ("/", "@"):  # a socket of a virtual machine's host is not for us
            return cls(None)
        return cls(address, _watchdog_s(environ, pid))

    @property
    def heard(self) -> bool:
        """Whether there is somebody to tell."""
        return self._socket is not None

    def ready(self, status: str) -> None:
        """It serves; also the end of a reload, whatever came of it."""
        self._tell("READY=1", _status(status))

    def reloading(self) -> None:
        """A reload has begun."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={clock_gettime_ns(CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """It is on its way out."""
        self._tell("STOPPING=1", _status(status))

    def alive(self) -> None:
        """For the watchdog."""
        self._tell("WATCHDOG=1")

    def extend(self, time_s: float) -> None:
        """What goes on now may take this long, from now, before another word of ours must come."""
        self._tell(f"EXTEND_TIMEOUT_USEC={round(time_s * 1_000_000)}")

    async def keep_alive(self) -> None:
        """Feed the watchdog until cancelled; twice in its time, so that one that is late does no harm."""
        while self.watchdog_s is not None:
            self.alive()
            await asyncio.sleep(self.watchdog_s / 2)

    async def keep_extending(self) -> None:
        """Ask for more time until cancelled, a little at a time: a drain that hangs gets no more."""
        while self.heard:
            self.extend(_MORE_S)
            await asyncio.sleep(_MORE_S / 3)

    def close(self) -> None:
        """Nothing more will be told. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, *assignments: str) -> None:
        if self._socket is None or self._address is None:
            return
        with suppress(OSError):
            self._socket.sendto("\n".join(assignments).encode(errors="replace"), self._address)


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:_STATUS_CHARS]}"


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    """The watchdog's time, if it is this process that it watches."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1_000_000 if text.isascii() and text.isdigit() and int(text) > 0 else None


def forget(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove what was meant for this process alone, so that no child takes it for its own."""
    for name in _OURS:
        environ.pop(name, None)
