"""What all processes of a benchmark share: the upstream, the load generator, two cores, a directory, an end.

Each proxy runs on one core, everything else on another, so that a proxy's clock shows its own work. All
end with this process, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import secure

__all__ = ["BENCH", "ROOT", "Rig", "chat", "free_port"]

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent.parent

_LIFE_S = 1800
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Rig:
    """Lives as long as its `with`.

    Attributes:
        up: The port that answers.
        down: The port that refuses.
        tls: The port that answers over TLS; None when there is none.
        no_tls: Why there is none.
        files: How many files a process may have open.
    """

    def __init__(self) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.proxy_core, self.load_core = cores[0], cores[-1]
        self.run = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))
        self._started: list[subprocess.Popen[bytes]] = []
        self._affinity = set(cores)
        self.up = self.down = 0
        self.tls: int | None = None
        self.no_tls: str | None = None
        _, self.files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.files, self.files))

    def __enter__(self) -> Rig:
        os.sched_setaffinity(0, {self.load_core})
        command = [str(BENCH / "build" / "upstream"), "-t", str(_LIFE_S)]
        try:
            upstream = self._keep(self.start(command, core=self.load_core, stdout=subprocess.PIPE))
            assert upstream.stdout is not None
            self.up, self.down = (int(upstream.stdout.readline()) for _ in range(2))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def add_tls(self) -> None:
        """Put a door with TLS before the upstream, if this machine has what that takes."""
        port = free_port()
        try:
            command = secure.door(self.run, port, self.up)
        except secure.UnavailableError as error:
            self.no_tls = str(error)
            return
        self._keep(self.start(command, core=self.load_core, stdout=subprocess.DEVNULL))
        secure.wait(self.run, port)
        self.tls = port

    def start(
        self, command: Sequence[str], *, core: int, env: Mapping[str, str] | None = None, stdout: Any = None
    ) -> subprocess.Popen[bytes]:
        """Start a process on one core, which ends with this one."""

        def prepare() -> None:
            os.sched_setaffinity(0, {core})
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

        # `python -m` looks in the current directory first: another checkout there is not to be measured.
        return subprocess.Popen(
            command, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stdout, preexec_fn=prepare
        )

    def load(self, target: str, *arguments: str, pid: int | None = None) -> dict[str, Any]:
        """Load a port or path; what was measured.

        Raises:
            RuntimeError: When the generator fails.
        """
        watched = [] if pid is None else ["-p", str(pid)]
        command = [str(BENCH / "build" / "load"), *watched, *arguments, target]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
        measured: dict[str, Any] = json.loads(done.stdout)
        return measured

    def accepted(self) -> int:
        """How many connections the upstream has accepted so far."""
        connection = http.client.HTTPConnection("127.0.0.1", self.up, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/stats")
            return int(json.loads(connection.getresponse().read())["accepted"])

    def _end(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()
        shutil.rmtree(self.run, ignore_errors=True)
        os.sched_setaffinity(0, self._affinity)

    def _keep(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        self._started.append(process)
        return process


def chat(connection: http.client.HTTPConnection, model: str) -> http.client.HTTPResponse:
    """Ask for an answer and read it to its end."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}]})
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
