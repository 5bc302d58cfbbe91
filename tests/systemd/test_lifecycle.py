"""The service's life on a real systemd: installed from the units as they are shipped, on one machine for all checks.

Each test is one check, and says aloud that it held; together they are one operator's story, but each
begins with a service that runs well.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.fake_provider import FakeProvider, ok
from tests.server.raw import chat_body
from tests.systemd.guest import Guest, booted
from tests.systemd.load import loaded

HERE = Path(__file__).parent
SOCKET = "/run/sidecar/sidecar.sock"
ADMIN = "/run/sidecar/admin/admin.sock"
CONFIG = "/etc/sidecar/sidecar.yaml"
KEY = "/etc/sidecar/keys/rotating"
PORT = 4141
PRIORITIES = {"debug": "7", "info": "6", "warning": "4", "error": "3"}

# What an operator says by `systemctl edit`; the short times make every drain ask for more, and the watchdog quick.
SERVICE_EDIT = f"""
[Service]
SupplementaryGroups=adm
WatchdogSec=3s
TimeoutStopSec=1s
{"" if sys.base_prefix == "/usr" else "Environment=LD_LIBRARY_PATH=/opt/llm-sidecar/python/lib"}
"""
SOCKET_EDIT = f"""
[Socket]
SocketGroup=adm
ListenStream=127.0.0.1:{PORT}
"""


def config(url: str, *more: str) -> str:
    return "\n".join(
        (
            "providers:",
            f'  fake: {{type: openai-compatible, base_url: "{url}", api_key: "${{credential:openai_api_key}}"}}',
            f'  rotating: {{type: openai-compatible, base_url: "{url}", api_key: "${{file:{KEY}}}"}}',
            "routes:",
            "  default: {chain: [fake/fast]}",
            "  fast: {chain: [fake/fast]}",
            "  slow: {chain: [fake/slow]}",
            "  slower: {chain: [fake/slower]}",
            "  rotating: {chain: [rotating/fast]}",
            'health: {mode: "off"}',
            *more,
            "",
        )
    )


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=15)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Installed:
    """The service as it is installed on a guest, and what tests do to it."""

    unit = "sidecar.service"

    def __init__(self, guest: Guest, fake: FakeProvider) -> None:
        self.guest = guest
        self.fake = fake

    @property
    def socket(self) -> str:
        return str(self.guest.path(SOCKET))

    @property
    def pid(self) -> int:
        """Of its main process, as the guest counts."""
        return int(self.guest.show(self.unit, "MainPID"))

    def ask(
        self, method: str = "GET", path: str = "/readyz", body: bytes | None = None, where: str = ""
    ) -> tuple[int, bytes]:
        connection = _UnixConnection(where or self.socket)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def chat(self, model: str = "default", where: str = "") -> tuple[int, bytes]:
        return self.ask("POST", "/v1/chat/completions", chat_body(model), where)

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.ask("GET", "/status", where=str(self.guest.path(ADMIN)))[1])
        return told

    def write(self, text: str) -> None:
        """Save a config, atomically."""
        path = self.guest.path(CONFIG)
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").replace(path)

    def good_config(self, *more: str) -> str:
        return config(self.fake.base_url, *more)

    def healthy(self) -> None:
        """Wait until it serves, with the good config."""
        self.write(self.good_config())
        self.guest.run("systemctl", "start", "sidecar.socket", self.unit)
        self.guest.until(lambda: self.status()["last_reload_successful"], "the good config is not in force")

    def journal(self, *more: str) -> list[dict[str, str]]:
        """What it has said since its last start, oldest first."""
        invocation = self.guest.show(self.unit, "InvocationID")
        return self.entries(f"_SYSTEMD_INVOCATION_ID={invocation}", *more)

    def entries(self, *arguments: str) -> list[dict[str, str]]:
        text = self.guest.run("journalctl", "--no-pager", "-o", "json", *arguments)
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    state = tmp_path_factory.mktemp("systemd")
    with booted(state) as guest, guest.network(), _Upstream() as fake:
        files = {
            CONFIG: config(fake.base_url),
            KEY: "key-one\n",
            "/etc/credstore/openai_api_key": "key-of-the-credential\n",
            "/etc/systemd/system/sidecar.service.d/edit.conf": SERVICE_EDIT,
            "/etc/systemd/system/sidecar@.service.d/edit.conf": SERVICE_EDIT,
            "/etc/systemd/system/sidecar.socket.d/edit.conf": SOCKET_EDIT,
            "/tmp/of-others": "secret",
            "/home/of-others": "secret",
            "/root/of-others": "secret",
        }
        for name, text in files.items():
            path = guest.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        guest.path("/etc/credstore").chmod(0o700)
        guest.path(KEY).chmod(0o640)
        shutil.chown(guest.path(KEY), group="adm")
        guest.run("systemctl", "daemon-reload")
        yield Installed(guest, fake)


class _Upstream:
    """The fake provider on a loop and thread of its own, on the network of whoever enters."""

    def __enter__(self) -> FakeProvider:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._fake = FakeProvider()
        self._fake.script(ok("hello"))
        self._fake.on("slow", ok(gap_s=0.0125))  # three quarters of a second
        self._fake.on("slower", ok(gap_s=0.025))
        self._do(self._fake.__aenter__())
        return self._fake

    def __exit__(self, *_: object) -> None:
        try:
            self._do(self._fake.__aexit__(None, None, None))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            self._loop.close()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


@pytest.fixture
def held(request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """The last line of a check: says its name, and what it measured."""

    def say(*measured: str) -> None:
        name = request.node.name.removeprefix("test_").replace("_", " ")
        with capfd.disabled():
            print(f"  systemd: {name}{''.join(f' ({each})' for each in measured)}", file=sys.stderr, flush=True)

    return say


Held = Callable[..., None]


def test_a_connection_starts_the_service(service: Installed, held: Held) -> None:
    guest = service.guest
    guest.run("systemctl", "start", "sidecar.socket")
    assert guest.show(service.unit, "ActiveState") == "inactive"
    assert oct(guest.path(SOCKET).stat().st_mode) == "0o140660"
    began = time.monotonic()
    assert service.chat()[0] == 200
    first_s = time.monotonic() - began
    assert guest.show(service.unit, "ActiveState") == "active"
    assert set(service.status()["listen"]) == {f"unix:{SOCKET}", f"127.0.0.1:{PORT}"}
    held(f"first answer after {first_s:.2f} s")


def test_it_notifies_systemd_of_what_it_does(service: Installed, held: Held) -> None:
    service.healthy()
    generation = service.status()["generation"]
    text = service.guest.show(service.unit, "StatusText")
    assert text.startswith(f"generation {generation}, 5 routes of {CONFIG}")
    assert service.guest.show(service.unit, "NRestarts") == "0"
    held(text)


def test_its_key_is_a_credential(service: Installed, held: Held) -> None:
    service.healthy()
    assert service.chat()[0] == 200
    assert service.fake.calls[-1].headers["authorization"] == "Bearer key-of-the-credential"
    held()


def test_a_good_reload_takes_effect_in_the_same_process(service: Installed, held: Held) -> None:
    service.healthy()
    before, generation = service.pid, service.status()["generation"]
    service.write(service.good_config("log: {level: debug}"))
    service.guest.run("systemctl", "reload", service.unit)
    told = service.status()
    assert (service.pid, told["generation"]) == (before, generation + 1)
    assert service.guest.show(service.unit, "ActiveState") == "active"
    held()


def test_a_bad_reload_fails_and_changes_nothing(service: Installed, held: Held) -> None:
    service.healthy()
    before = service.pid
    service.write(service.good_config().replace("fake/slow", "nobody/slow"))
    done = service.guest.attempt("systemctl", "reload", service.unit)
    assert done.returncode != 0
    assert service.guest.show(service.unit, "ActiveState") == "active"
    assert (service.pid, service.chat("slow")[0]) == (before, 200)
    problem = f"{CONFIG}:7:"
    text = service.guest.show(service.unit, "StatusText")
    assert f"THE CONFIG ON DISK IS REJECTED: {problem}" in text
    # The command's own words, which the operator is sent to: systemd logs them with the unit.
    told = service.journal("_COMM=sidecar") + service.journal("SYSLOG_IDENTIFIER=sidecar")
    assert any(entry["MESSAGE"].startswith(problem) for entry in told)
    held(text.partition("REJECTED: ")[2])


def test_a_key_rotates_by_its_file_without_a_restart(service: Installed, held: Held) -> None:
    service.healthy()
    before, path = service.pid, service.guest.path(KEY)
    assert service.chat("rotating")[0] == 200
    assert service.fake.calls[-1].headers["authorization"] == "Bearer key-one"
    path.write_text("key-two\n")
    began = time.monotonic()

    def rotated() -> bool:
        assert service.chat("rotating")[0] == 200
        return service.fake.calls[-1].headers["authorization"] == "Bearer key-two"

    service.guest.until(rotated, "the old key is still used")
    assert service.pid == before
    assert service.status()["warnings"] == []
    held(f"in use after {time.monotonic() - began:.2f} s")


def test_the_command_line_finds_it(service: Installed, held: Held) -> None:
    service.healthy()
    assert "ready" in service.guest.run("/opt/llm-sidecar/bin/sidecar", "health")
    held()


# -- the sandbox


def test_the_sandbox_holds(service: Installed, held: Held) -> None:
    guest = service.guest
    lines = guest.path("/etc/systemd/system/sidecar.service").read_text().splitlines()
    others = ("Type=", "Restart", "WatchdogSec", "Exec", "Requires=", "RuntimeDirectory=", "StateDirectory=")
    unit = [line for line in lines if not line.startswith(others)]
    at = unit.index("[Service]") + 1
    unit[at:at] = [
        "Type=oneshot",
        "StateDirectory=probe",
        "ExecStart=/opt/llm-sidecar/bin/python /usr/local/sandbox.py",
        "StandardOutput=truncate:/run/sandbox.json",
    ]
    edit = guest.path("/etc/systemd/system/probe.service.d/edit.conf")
    edit.parent.mkdir()
    edit.write_text("\n".join(line for line in SERVICE_EDIT.splitlines() if not line.startswith("WatchdogSec")))
    guest.path("/etc/systemd/system/probe.service").write_text("\n".join(unit))
    shutil.copy(HERE / "sandbox.py", guest.path("/usr/local/sandbox.py"))
    guest.run("systemctl", "daemon-reload")
    guest.run("ip", "route", "add", "169.254.0.0/16", "dev", "lo")  # it shall fail for another reason than this
    guest.run("systemctl", "start", "probe.service")
    came: dict[str, str] = json.loads(guest.path("/run/sandbox.json").read_text())
    allowed = {name for name, result in came.items() if result == "done"}
    assert allowed == {"write its state", "write its own /tmp", "reach this machine"}, came
    assert came["write /etc"] == came["write the program"] == "EROFS"
    assert came["reach the cloud's metadata"] == came["map memory to write and execute"] == "EPERM"
    held(f"{len(came) - len(allowed)} attempts failed")


def test_the_service_has_no_right_of_its_own(service: Installed, held: Held) -> None:
    service.healthy()
    text = service.guest.run("cat", f"/proc/{service.pid}/status")
    facts = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert {facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    uid = int(facts["Uid"].split()[0])
    assert 61184 <= uid <= 65519  # a dynamic user's
    held(f"uid {uid}")


# -- the journal


def test_the_journal_has_json_with_priorities(service: Installed, held: Held) -> None:
    service.healthy()
    service.write("routes: 1")
    service.guest.until(lambda: not service.status()["last_reload_successful"], "the edit is not seen")
    service.healthy()
    service.chat()

    def lines() -> list[tuple[str, dict[str, Any]]]:
        pid = f"_PID={service.pid}"
        return [(entry["PRIORITY"], json.loads(entry["MESSAGE"])) for entry in service.journal(pid)]

    wanted = {"daemon.started", "attempt", "request", "config.rejected", "config.applied"}
    service.guest.until(lambda: wanted <= {line["event"] for _, line in lines()}, f"not all of {wanted}")
    found = lines()
    assert all(priority == PRIORITIES[line["level"]] for priority, line in found)
    assert {priority for priority, _ in found} >= {"6", "3"}
    assert {line["peer_uid"] for _, line in found if line["event"] == "request"} == {0}  # ours, seen from in there
    held(f"{len(found)} lines")


# -- ends and beginnings


def test_a_stop_lets_a_running_stream_end(service: Installed, held: Held) -> None:
    service.healthy()
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(service.ask, "POST", "/v1/chat/completions", chat_body("slower", stream=True))
        service.guest.until(lambda: service.fake.active == 1, "no stream is running")
        began = time.monotonic()
        service.guest.run("systemctl", "stop", service.unit)  # longer than TimeoutStopSec: it asked for more
        took_s = time.monotonic() - began
        status, body = stream.result(10)
    assert (status, body.endswith(b"data: [DONE]\n\n")) == (200, True)
    assert service.guest.show(service.unit, "Result") == "success"
    assert service.guest.path(SOCKET).exists()
    assert service.chat()[0] == 200  # by the socket, which starts it again
    held(f"stopped after {took_s:.2f} s, allowed 1 s without asking for more")


def test_a_restart_under_load_loses_nothing(service: Installed, held: Held) -> None:
    service.healthy()
    before = service.pid

    async def restarted() -> str:
        async with loaded(service.socket, PORT) as load:
            for _ in range(2):
                await load.grown(5)
                await asyncio.to_thread(service.guest.run, "systemctl", "restart", service.unit)
            await load.grown(5)
        assert (load.refused, load.broken) == ([], [])
        return str(load)

    told = asyncio.run(restarted())
    assert service.pid != before
    held(f"2 restarts: {told}")


def test_after_a_crash_under_load_nobody_was_refused(service: Installed, held: Held) -> None:
    service.healthy()
    before = service.pid

    async def crashed() -> str:
        async with loaded(service.socket, PORT) as load:
            await load.grown(5)
            await asyncio.to_thread(service.guest.run, "systemctl", "kill", "--signal=KILL", service.unit)
            await load.grown(5)
        assert load.refused == []
        assert len(load.broken) <= 14  # what it had taken on, at most one for each client
        return str(load)

    told = asyncio.run(crashed())
    assert service.pid != before
    assert service.guest.show(service.unit, "ActiveState") == "active"
    held(told)


def test_a_loop_that_stops_is_noticed_by_the_watchdog(service: Installed, held: Held) -> None:
    service.healthy()
    before, restarts = service.pid, int(service.guest.show(service.unit, "NRestarts"))
    began = time.monotonic()
    service.guest.run("kill", "-STOP", str(before))
    stopped = ("grep", "-q", "^State:.T", f"/proc/{before}/status")
    service.guest.until(lambda: service.guest.attempt(*stopped).returncode == 0, "it does not stop")
    try:
        status = service.chat()[0]  # waits at the socket for the next one
    except ConnectionError:  # the old one accepted it in its last moment, while it wrote down where it stood
        status = service.chat()[0]
    assert status == 200
    took_s = time.monotonic() - began
    assert service.pid != before
    assert int(service.guest.show(service.unit, "NRestarts")) == restarts + 1

    def last_words() -> str:
        return "\n".join(entry["MESSAGE"] for entry in service.entries("-u", service.unit, f"_PID={before}"))

    service.guest.until(lambda: "Fatal Python error: Aborted" in last_words(), "no last words")
    assert re.search(r'File ".*", line \d+ in ', last_words())
    held(f"answered after {took_s:.2f} s, watchdog 3 s")


def test_a_start_with_a_broken_config_goes_on_with_the_last_good_one(service: Installed, held: Held) -> None:
    service.healthy()
    service.write("routes: {default: {chain: [nobody/m]}}\n")
    service.guest.run("systemctl", "restart", service.unit)
    assert service.chat()[0] == 200
    status, body = service.ask()
    assert (status, b"last good" in body) == (200, True)
    text = service.guest.show(service.unit, "StatusText")
    assert "REJECTED" in text
    [kept] = service.guest.path("/var/lib/private/sidecar").iterdir()
    assert oct(kept.stat().st_mode) == "0o100600"
    assert "key-of-the-credential" not in kept.read_text()
    held(text)


def test_an_instance_of_the_template_is_a_service_of_its_own(service: Installed, held: Held) -> None:
    service.healthy()
    guest = service.guest
    guest.path("/etc/sidecar/one.yaml").write_text(service.good_config())
    guest.run("systemctl", "start", "sidecar@one.socket")
    assert service.chat(where=str(guest.path("/run/sidecar-one/sidecar.sock")))[0] == 200
    users = [
        guest.run("stat", "-c", "%u", f"/proc/{guest.show(unit, 'MainPID')}").strip()
        for unit in (service.unit, "sidecar@one")
    ]
    assert users[0] != users[1]
    guest.run("systemctl", "reload", "sidecar@one")
    guest.run("systemctl", "stop", "sidecar@one.socket", "sidecar@one")
    assert not guest.path("/run/sidecar-one/sidecar.sock").exists()
    held(f"uids {' and '.join(users)}")
