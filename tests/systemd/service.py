"""A service manager in miniature, for the daemon as a process: sockets, a line, a state directory, restarts.

What a real one makes of it is for `test_lifecycle`; this one needs no root and says exactly what it heard.
"""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType

from tests.daemon import RunningDaemon

__all__ = ["ServedDaemon", "ServiceManager"]

_HANDOVER = str(Path(__file__).with_name("handover.py"))


class ServiceManager:
    """One service's surroundings, over any number of its starts.

    Args:
        names: Of the sockets `data` (Unix), `port` (TCP) and `admin` (Unix) that it hands over, in this order.
        watchdog_s: What it asks for.
    """

    def __init__(self, *names: str, watchdog_s: float | None = None) -> None:
        self.run = Path(tempfile.mkdtemp(prefix="sc-", dir="/tmp"))
        self.state = self.run / "state"
        self.state.mkdir()
        self.names = names
        self.watchdog_s = watchdog_s
        self.sockets = {name: self._bind(name) for name in names}
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.bind(str(self.run / "notify"))
        self._line.setblocking(False)
        self._heard: list[str] = []

    def __enter__(self) -> ServiceManager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (*self.sockets.values(), self._line):
            sock.close()
        shutil.rmtree(self.run, ignore_errors=True)

    def _bind(self, name: str) -> socket.socket:
        if name == "port":
            sock = socket.socket(socket.AF_INET)
            sock.bind(("127.0.0.1", 0))
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(str(self.run / f"{name}.sock"))
        sock.listen(64)
        return sock

    @property
    def port(self) -> int:
        return int(self.sockets["port"].getsockname()[1])

    @property
    def environ(self) -> dict[str, str]:
        watchdog = {"WATCHDOG_USEC": str(round(self.watchdog_s * 1e6))} if self.watchdog_s else {}
        return {"NOTIFY_SOCKET": str(self.run / "notify"), "STATE_DIRECTORY": str(self.state), **watchdog}

    @property
    def heard(self) -> list[str]:
        """Every datagram so far."""
        while True:
            try:
                self._heard.append(self._line.recv(8192).decode())
            except BlockingIOError:
                return self._heard

    def hand(self) -> str:
        """Hand the sockets to whoever connects first; where to."""
        path = tempfile.mktemp(prefix="hand-", dir=self.run)
        hand = socket.socket(socket.AF_UNIX)
        hand.bind(path)
        hand.listen(1)
        hand.settimeout(15)
        threading.Thread(target=self._hand, args=(hand,), daemon=True).start()
        return path

    def _hand(self, hand: socket.socket) -> None:
        with hand, hand.accept()[0] as other:
            socket.send_fds(other, [b"."], [sock.fileno() for sock in self.sockets.values()])


class ServedDaemon(RunningDaemon):
    """The daemon under such a manager; its config is taken as it is.

    Args:
        tmp_path: As for `RunningDaemon`.
        config: As for `RunningDaemon`; in it `@RUN@` is the manager's directory.
        manager: Hands over what it has.
        arguments: As for `RunningDaemon`.
        env: As for `RunningDaemon`.
    """

    def __init__(
        self,
        tmp_path: Path,
        config: str,
        manager: ServiceManager,
        *,
        arguments: Collection[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._manager = manager
        wrapper = (sys.executable, _HANDOVER, manager.hand(), ":".join(manager.names)) if manager.sockets else ()
        super().__init__(tmp_path, config, env={**manager.environ, **(env or {})}, arguments=arguments, wrapper=wrapper)
        self.admin_path = manager.run / "admin.sock"

    def complete(self, config: str) -> str:
        return config.replace("@RUN@", str(self._manager.run))

    async def hears(self, condition: Callable[[list[str]], bool], timeout_s: float = 5.0) -> list[str]:
        """What the manager heard, once the condition holds of it."""
        await self.until(lambda: condition(self._manager.heard), f"heard only {self._manager.heard}", timeout_s)
        return self._manager.heard
