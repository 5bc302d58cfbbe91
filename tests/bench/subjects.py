"""The proxies that are measured: how each is configured, started and reached."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import secure
from rig import ROOT, Rig, chat, free_port

__all__ = ["PLAIN", "Nginx", "Place", "Proxy", "Sidecar", "Variation"]

_START_S = 15.0
_STOP_S = 10.0
_EFFECT_S = 10.0
_POLL_S = 0.002
_WRONG = ('"level":"error"', '"level":"warning"', '"outcome":"failed"', '"outcome":"truncated"')

_NGINX = """
daemon off; master_process off; pid {run}/nginx.pid; error_log {run}/nginx.error warn; worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
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
{more}
}}
"""
_NGINX_SECURE = """
  upstream encrypted {{ server 127.0.0.1:{tls}; keepalive 2000; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{secure} backlog=4096;
    proxy_ssl_session_reuse on; proxy_ssl_verify on; proxy_ssl_name localhost;
    proxy_ssl_trusted_certificate {run}/{certificate};
    location / {{ proxy_pass https://encrypted; }}
  }}
"""

# The second target is where failover goes; a breaker that opened would hide what a failover costs.
_SIDECAR = """
listen: ["127.0.0.1:{port}", "unix:{run}/sidecar.sock"]
admin: {{listen: "unix:{run}/admin.sock"}}
log: {{level: {level}}}
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
{providers}
routes:
  failover: {{chain: [down/answer, up/answer], attempts: {{same_target_retries: 0}}}}
  edited: {{chain: [up/edit-{edit}]}}
{routes}
"""
_SIDECAR_SECURE = """
  encrypted:
    type: openai-compatible
    base_url: "https://127.0.0.1:{tls}/v1"
    api_key: key
    tls: {{ca_file: "{run}/{certificate}"}}
"""


@dataclass(frozen=True)
class Place:
    """Where a load goes: a port or a path, and the model to ask for."""

    target: str
    model: str


@dataclass(frozen=True)
class Variation:
    """How a config differs from the plain one.

    Attributes:
        quiet: Requests write no line.
        routes: How many more there are: `route-0` and so on.
        targets: Of each number a pool of so many (`pool-10`), and a chain (`chain-10`).
        secure: There is an upstream behind TLS; with it the route `secure`.
        connections: That nginx makes room for when it starts.
    """

    quiet: bool = False
    routes: int = 0
    targets: tuple[int, ...] = ()
    secure: bool = False
    connections: int = 10000


PLAIN = Variation()


class Proxy:
    """A proxy that is measured; each `with` is one life of its process.

    Attributes:
        variation: Of the config that it starts with.
        cold_s: From its start to its first answer.
    """

    name: str

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.port = free_port()
        self.variation = PLAIN
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

    def complaint(self) -> str:
        """The last line that it wrote of something that went wrong; nothing if there is none."""
        lines = (self.rig.run / f"{self.name}.out").read_text(errors="replace").splitlines()
        bad = (line for line in reversed(lines) if not line.startswith("{") or any(map(line.__contains__, _WRONG)))
        return next(bad, "")[:1000]

    def place(self, model: str, *, unix: bool = False) -> Place:
        """Where to ask for a model."""
        return Place(f"{self.rig.run}/{self.name}.sock" if unix else str(self.port), model)

    def failover(self) -> Place:
        """Where the first target refuses and the second one answers."""
        raise NotImplementedError

    def encrypted(self) -> Place:
        """Where the upstream is behind TLS."""
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
    program = secure.NGINX

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self._failover_port, self._secure_port = free_port(), free_port()

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Its config is written first."""
        assert self.program is not None, "nginx is not installed"
        rig, config = self.rig, self.rig.run / "nginx.conf"
        facts = {"run": rig.run, "certificate": secure.CERTIFICATE, "up": rig.up, "down": rig.down, "tls": rig.tls}
        facts |= {"port": self.port, "failover": self._failover_port, "secure": self._secure_port}
        facts |= {"files": rig.files, "connections": self.variation.connections}
        more = _NGINX_SECURE.format(**facts) if self.variation.secure else ""
        config.write_text(_NGINX.format(**facts, more=more))
        return [self.program, "-c", str(config), "-e", f"{rig.run}/nginx.error"], {"PATH": os.environ["PATH"]}

    def failover(self) -> Place:
        """A port of its own: nginx chooses by address, not by model."""
        return Place(str(self._failover_port), "answer")

    def encrypted(self) -> Place:
        """A port of its own, too."""
        return Place(str(self._secure_port), "answer")


class Sidecar(Proxy):
    """The daemon of this checkout, in the interpreter that runs the benchmark.

    Args:
        rig: What it shares.
        models: The models that are asked for.
    """

    name = "sidecar"

    def __init__(self, rig: Rig, models: Sequence[str]) -> None:
        super().__init__(rig)
        self._models = models
        self._config = rig.run / "sidecar.yaml"
        self._edit = 0

    def write(self) -> Path:
        """Write the config only; its path."""
        self.save()
        return self._config

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Its config is written first."""
        self.save()
        return [sys.executable, "-m", "sidecar", "serve", "--config", str(self._config)], self.environment()

    def environment(self) -> dict[str, str]:
        """Without PYTHONDONTWRITEBYTECODE, which would falsify its start."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        return {"PATH": os.environ["PATH"], "HOME": str(self.rig.run), "PYTHONPATH": path}

    def failover(self) -> Place:
        """A route of its own."""
        return Place(str(self.port), "failover")

    def encrypted(self) -> Place:
        """A route of its own, too."""
        return Place(str(self.port), "secure")

    def change(self, variation: Variation) -> None:
        """Have the config of the running daemon differ so from now on."""
        self.variation = variation
        self.save()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
            self.await_effect(connection)

    def save(self) -> float:
        """Save the config, each time with another target for the route `edited`, atomically; the moment of that."""
        self._edit += 1
        new = self._config.with_suffix(".new")
        new.write_text(self._text())
        saved = time.monotonic()
        new.replace(self._config)
        return saved

    def await_effect(self, connection: http.client.HTTPConnection) -> tuple[float, int]:
        """Ask until an answer comes from where the last save says: the moment of that, and how many were no 200.

        Raises:
            RuntimeError: The save has no effect.
        """
        faults, give_up = 0, time.monotonic() + _EFFECT_S
        while True:
            response = chat(connection, "edited")
            answered = time.monotonic()
            faults += response.status != 200
            if response.headers["x-sidecar-target"] == f"up/edit-{self._edit}":
                return answered, faults
            if answered > give_up:
                raise RuntimeError(f"a save has no effect after {_EFFECT_S:g} s")
            time.sleep(0.001)

    def metric(self, name: str) -> float:
        """A gauge of its own, as its admin socket tells it."""
        connection = http.client.HTTPConnection("localhost", timeout=10)
        with contextlib.closing(connection):
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(f"{self.rig.run}/admin.sock")
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    def _text(self) -> str:
        rig, variation = self.rig, self.variation
        secured = _SIDECAR_SECURE.format(tls=rig.tls, run=rig.run, certificate=secure.CERTIFICATE)
        return _SIDECAR.format(
            port=self.port,
            run=rig.run,
            up=rig.up,
            down=rig.down,
            edit=self._edit,
            level="error" if variation.quiet else "info",
            providers=secured if variation.secure else "",
            routes="\n".join(f"  {name}: {{chain: [{chain}]}}" for name, chain in self._routes().items()),
        )

    def _routes(self) -> dict[str, str]:
        """The rest of the routes, each with its chain."""
        variation = self.variation
        routes = {model: f"up/{model}" for model in self._models}
        if variation.secure:
            routes["secure"] = "encrypted/answer"
        for count in variation.targets:
            targets = [f"up/of-{count}-{number}" for number in range(count)]
            routes[f"chain-{count}"] = ", ".join(targets)
            routes[f"pool-{count}"] = "{" + ", ".join(f"{target}: 1" for target in targets) + "}"
        return routes | {f"route-{number}": "up/answer" for number in range(variation.routes)}
