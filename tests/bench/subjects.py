"""The processes of a benchmark: the upstream, and the proxies before it that are measured.

Each proxy runs on one core, everything else on another, so that a proxy's clock shows its own work. All
share one temporary directory and end with this process, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["BENCH", "ROOT", "Nginx", "Place", "Proxy", "Rig", "Sidecar", "chat"]

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent.parent

_START_S = 15.0
_STOP_S = 10.0
_POLL_S = 0.002
_LIFE_S = 1800
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)

_NGINX = """
daemon off; master_process off; pid {run}/nginx.pid; error_log {run}/nginx.error warn; worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
  log_format line escape=json '{{"ts":"$time_iso8601","request_id":"$request_id","path":"$uri","status":$status,'
    '"bytes_out":$bytes_sent,"duration_s":$request_time,"target":"$upstream_addr","wait_s":"$upstream_response_time"}}';
  access_log {run}/nginx.log line;
  client_body_temp_path {run}/t1; proxy_temp_path {run}/t2; fastcgi_temp_path {run}/t3;
  uwsgi_temp_path {run}/t4; scgi_temp_path {run}/t5;
  client_max_body_size 32m; client_body_buffer_size 2m; tcp_nodelay on;
  keepalive_requests 1000000000; keepalive_timeout 300s;
  upstream healthy {{ server 127.0.0.1:{up}; keepalive 2000; keepalive_requests 1000000000; }}
  upstream broken {{
    server 127.0.0.1:{down} max_fails=0; server 127.0.0.1:{up} backup;
    keepalive 2000; keepalive_requests 1000000000;
  }}
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Authorization "Bearer key";
  proxy_buffering off; proxy_next_upstream error timeout http_503 non_idempotent;
  server {{
    listen 127.0.0.1:{port} backlog=4096; listen unix:{run}/nginx.sock backlog=4096;
    location / {{ proxy_pass http://healthy; }}
  }}
  server {{ listen 127.0.0.1:{failover} backlog=4096; location / {{ proxy_pass http://broken; }} }}
}}
"""

# The second target is where failover goes; a breaker that opened would hide what a failover costs.
_SIDECAR = """
listen: ["127.0.0.1:{port}", "unix:{run}/sidecar.sock"]
admin: {{listen: "unix:{run}/admin.sock"}}
providers:
  up: {{type: openai-compatible, base_url: "http://127.0.0.1:{up}/v1", api_key: key}}
  down:
    type: openai-compatible
    base_url: "http://127.0.0.1:{down}/v1"
    api_key: key
    breaker:
      consecutive_failures: 1000000000
      consecutive_gateway_failures: 1000000000
      failure_percentage: {{min_requests: 1000000000}}
routes:
{routes}
  failover: {{chain: [down/answer, up/answer], attempts: {{same_target_retries: 0}}}}
  edited: {{chain: [up/edit-{edit}]}}
"""


@dataclass(frozen=True)
class Place:
    """Where a load goes: a port or a path, and the model to ask for."""

    target: str
    model: str


class Rig:
    """The upstream, the cores and the directory that all proxies share; lives as long as its `with`."""

    def __init__(self) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.proxy_core, self.load_core = cores[0], cores[-1]
        self.run = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))
        self._upstream: subprocess.Popen[bytes] | None = None
        self._affinity = set(cores)
        self.up = self.down = 0  # ports: answers, refuses

    def __enter__(self) -> Rig:
        os.sched_setaffinity(0, {self.load_core})
        command = [str(BENCH / "build" / "upstream"), "-t", str(_LIFE_S)]
        self._upstream = self.start(command, core=self.load_core, stdout=subprocess.PIPE)
        assert self._upstream.stdout is not None
        self.up, self.down = (int(self._upstream.stdout.readline()) for _ in range(2))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._upstream is not None:
            self._upstream.kill()
            self._upstream.communicate()
        shutil.rmtree(self.run, ignore_errors=True)
        os.sched_setaffinity(0, self._affinity)

    def start(
        self, command: Sequence[str], *, core: int, env: Mapping[str, str] | None = None, stdout: Any = None
    ) -> subprocess.Popen[bytes]:
        """Start a process on one core, which ends with this one."""

        def prepare() -> None:
            os.sched_setaffinity(0, {core})
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

        return subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stdout, preexec_fn=prepare
        )

    def load(self, target: str, *arguments: str, pid: int | None = None) -> dict[str, Any]:
        """Load a port or path; what was measured.

        Raises:
            RuntimeError: When the generator fails.
        """
        watched = [] if pid is None else ["-p", str(pid)]
        command = [str(BENCH / "build" / "load"), *watched, *arguments, target]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
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


class Proxy:
    """A proxy that is measured; each `with` is one life of its process.

    Attributes:
        cold_s: From its start to its first answer.
    """

    name: str

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.port = _free_port()
        self.cold_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Proxy:
        command, env = self.command()
        log = self.rig.run / f"{self.name}.out"
        began = time.monotonic()
        with open(log, "wb") as output:
            self._process = self.rig.start(command, core=self.rig.proxy_core, env=env, stdout=output)
        try:
            while not self._answers():
                if self._process.poll() is not None or time.monotonic() - began > _START_S:
                    raise RuntimeError(f"{self.name} does not answer:\n{log.read_text()[-2000:]}")
                time.sleep(_POLL_S)
        except BaseException:
            self._end()
            raise
        self.cold_s = time.monotonic() - began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def resident_mb(self) -> float:
        """Its memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def place(self, model: str, *, unix: bool = False) -> Place:
        """Where to ask for a model."""
        return Place(f"{self.rig.run}/{self.name}.sock" if unix else str(self.port), model)

    def failover(self) -> Place:
        """Where the first target refuses and the second one answers."""
        raise NotImplementedError

    def command(self) -> tuple[list[str], dict[str, str]]:
        """How it is started: arguments and environment."""
        raise NotImplementedError

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            with contextlib.closing(connection):
                return chat(connection, "answer").status == 200
        return False

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class Nginx(Proxy):
    """The unit of measure: it writes a line of JSON for each request, and passes the same bytes."""

    name = "nginx"
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self._failover_port = _free_port()

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Its config is written first."""
        assert self.program is not None, "nginx is not installed"
        rig, config = self.rig, self.rig.run / "nginx.conf"
        ports = {"port": self.port, "failover": self._failover_port, "up": rig.up, "down": rig.down}
        config.write_text(_NGINX.format(run=rig.run, **ports))
        return [self.program, "-c", str(config), "-e", f"{rig.run}/nginx.error"], {"PATH": os.environ["PATH"]}

    def failover(self) -> Place:
        """A port of its own: nginx chooses by address, not by model."""
        return Place(str(self._failover_port), "answer")


class Sidecar(Proxy):
    """The daemon of this checkout, in the interpreter that runs the benchmark.

    Args:
        rig: What it shares.
        models: The models that are asked for.
    """

    name = "sidecar"

    def __init__(self, rig: Rig, models: Sequence[str]) -> None:
        super().__init__(rig)
        self._routes = "\n".join(f"  {model}: {{chain: [up/{model}]}}" for model in models)
        self._config = rig.run / "sidecar.yaml"
        self._more, self._more_routes = "", ""

    def vary(self, more: str, routes: int) -> None:
        """Have the next config say more, and so many routes more."""
        self._more = more
        self._more_routes = "".join(f"  route-{number}: {{chain: [up/answer]}}\n" for number in range(routes))

    def write(self) -> Path:
        """Write the config only; its path."""
        self.save(0)
        return self._config

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Its config is written first."""
        self.save(0)
        return [sys.executable, "-m", "sidecar", "serve", "--config", str(self._config)], self.environment()

    def environment(self) -> dict[str, str]:
        """Without PYTHONDONTWRITEBYTECODE, which would falsify its start."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        return {"PATH": os.environ["PATH"], "HOME": str(self.rig.run), "PYTHONPATH": path}

    def failover(self) -> Place:
        """A route of its own."""
        return Place(str(self.port), "failover")

    def save(self, edit: int) -> float:
        """Save the config with another target for the route `edited`, atomically; the moment of that."""
        rig, new = self.rig, self._config.with_suffix(".new")
        routes = f"{self._routes}\n{self._more_routes}"
        text = _SIDECAR.format(port=self.port, run=rig.run, up=rig.up, down=rig.down, routes=routes, edit=edit)
        text += self._more
        new.write_text(text)
        saved = time.monotonic()
        new.replace(self._config)
        return saved


def chat(connection: http.client.HTTPConnection, model: str) -> http.client.HTTPResponse:
    """Ask for an answer and read it to its end."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}]})
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
