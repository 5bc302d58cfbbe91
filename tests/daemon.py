"""The real daemon as a subprocess, for tests that need all of it.

    async with RunningDaemon(tmp_path, config) as daemon:
        status, headers, body = await daemon.chat("default")
        await daemon.edit(other_config)
        await daemon.admin("POST", "/reload")
        assert daemon.log_lines("attempt", outcome="failed")

The config is YAML text. Where it has no `listen:` it gets a free TCP port on loopback and a Unix socket,
where it has no `admin:` a socket in a directory whose path is short enough for one. In the text `@RUN@`
is that directory.

Everything is bounded, and the process is gone after the `async with` whatever happened. A daemon that
crashed somewhere inside, said something that is no line of JSON, warned, or did not end with 0 fails the
test, unless it was told what to expect.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

__all__ = ["START_S", "Reply", "RunningDaemon", "run_daemon"]

START_S = 30.0  # all these are for what hangs: a machine that others use, too, is slow at times
_STOP_S = 30.0
_PR_SET_PDEATHSIG = 1
_FAULTS = frozenset({"task.failed", "thread.failed", "finalizer.failed", "process.crashed", "daemon.failed"})

_KEY = re.compile(r'api_key: *"?([^"\s,{}$]{12,})')

Reply = tuple[int, Mapping[str, str], bytes]  # status, headers (names in any case), body


class RunningDaemon:
    """One daemon process; lives as long as its `async with`.

    Args:
        tmp_path: Holds its config and what it writes.
        config: YAML text; None starts it without a config.
        env: Beside PATH and HOME.
        arguments: More arguments of `sidecar serve`.
        expect: Events that would fail the test, but shall not: "task.failed", "library.logged", ...
        exit_code: What it ends with.
        wrapper: What runs the command: a command that takes one.
    """

    def __init__(
        self,
        tmp_path: Path,
        config: str | None,
        *,
        env: Mapping[str, str] | None = None,
        arguments: Collection[str] = (),
        expect: Collection[str] = (),
        exit_code: int = 0,
        wrapper: Sequence[str] = (),
    ) -> None:
        tmp_path.mkdir(parents=True, exist_ok=True)
        self.run = Path(tempfile.mkdtemp(prefix="sc-", dir="/tmp"))
        self.config_path = tmp_path / "sidecar.yaml"
        self.stderr_path = tmp_path / "stderr"
        self.admin_path = self.run / "admin.sock"
        self._command = [*wrapper, sys.executable, "-W", "default", "-m", "sidecar", "serve", *arguments]
        if config is not None:
            self.config_path.write_text(self.complete(config))
            self._command += ["--config", str(self.config_path)]
        self._env = _environment(tmp_path, env or {})
        self._expect = frozenset(expect)
        self._exit_code = exit_code
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._read_bytes = 0  # of what it has written, and the lines in it
        self._said: list[dict[str, Any]] = []
        self._said_by_event: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.listen: list[str] = []  # as the daemon tells it, real ports included

    # -- its life

    async def __aenter__(self) -> RunningDaemon:
        try:
            self.start()
            await self._ready()
        except BaseException:
            await self._clean_up()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            code = await self.stop()
        finally:
            await self._clean_up()
        if error is None:
            self.check()
            assert code == self._exit_code, f"the daemon ended with {code}:\n{self.stderr}"

    def start(self) -> None:
        """Start the process; `async with` does it, and waits until it is ready."""
        with open(self.stderr_path, "ab") as stderr:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env=self._env,
                cwd=self.run,
                preexec_fn=_die_with_parent,
            )

    async def stop(self, number: int = signal.SIGTERM, *, timeout_s: float = _STOP_S) -> int:
        """Send the signal and wait for the end; the exit code. Only waits when it has ended already."""
        self.signal(number)
        return await self.wait(timeout_s)

    def signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.running:
            self.process.send_signal(number)

    async def wait(self, timeout_s: float = _STOP_S) -> int:
        """Wait for the end; the exit code.

        Raises:
            AssertionError: When it does not end in time.
        """
        try:
            return await asyncio.to_thread(self.process.wait, timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s} s:\n{self.stderr}") from None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def rss_bytes(self) -> int:
        """Its resident memory now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def cpu_s(self) -> float:
        """The processor time it has taken so far, which other processes hardly change."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # -- where it is

    @property
    def base_url(self) -> str:
        """Of its first TCP listener, without `/v1`."""
        return f"http://{next(each for each in self.listen if not each.startswith('unix:'))}"

    @property
    def port(self) -> int:
        """Of its first TCP listener."""
        return int(self.base_url.rpartition(":")[2])

    @property
    def socket(self) -> str:
        """The path of its first Unix socket."""
        return next(each for each in self.listen if each.startswith("unix:")).removeprefix("unix:")

    # -- its config

    def complete(self, config: str) -> str:
        """The text with the listeners that it lacks, and `@RUN@` replaced."""
        lines = config.splitlines()
        if not any(line.startswith("listen:") for line in lines):
            config = f'listen: ["127.0.0.1:0", "unix:{self.run}/data.sock"]\n{config}'
        if not any(line.startswith("admin:") for line in lines):
            config = f'admin: {{listen: "unix:{self.admin_path}"}}\n{config}'
        return config.replace("@RUN@", str(self.run))

    def write(self, config: str) -> None:
        """Save another config, atomically, and go on."""
        temporary = self.config_path.with_suffix(".new")
        temporary.write_text(self.complete(config))
        temporary.replace(self.config_path)

    async def edit(self, config: str, *, event: str = "config.applied", timeout_s: float = 20.0) -> dict[str, Any]:
        """Save another config and wait until the daemon says what came of it; that line.

        Args:
            config: YAML text.
            event: What it is expected to say: `config.applied` or `config.rejected`.
            timeout_s: How long that may take.
        """

        def said() -> list[dict[str, Any]]:
            return [line for line in self.log_lines(event) if line.get("source") != "override"]

        before = len(said())
        self.write(config)
        await self.until(lambda: len(said()) > before, f"no {event}", timeout_s)
        if event == "config.applied":
            await self._locate()
        return said()[-1]

    # -- what it says

    @property
    def stderr(self) -> str:
        """All that it has written so far."""
        return self.stderr_path.read_text("utf-8", "replace") if self.stderr_path.exists() else ""

    def log_lines(self, event: str | None = None, **keys: object) -> list[dict[str, Any]]:
        """The log lines so far, of one event, with these values.

        Raises:
            AssertionError: When a line is no JSON object.
        """
        lines = self._lines()
        wanted = lines if event is None else self._said_by_event[event]
        return [line for line in wanted if all(line.get(key) == value for key, value in keys.items())]

    def _lines(self) -> list[dict[str, Any]]:
        """All whole lines; each is read once, as many a test asks again and again."""
        if self.stderr_path.exists():
            with open(self.stderr_path, "rb") as stderr:
                stderr.seek(self._read_bytes)
                lines = stderr.read().split(b"\n")[:-1]
            for line in lines:
                said = _parsed(line.decode("utf-8", "replace"))
                self._said.append(said)
                self._said_by_event[said["event"]].append(said)
            self._read_bytes += sum(len(line) + 1 for line in lines)
        return self._said

    async def wait_log(
        self, event: str, *, count: int = 1, timeout_s: float = 20.0, **keys: object
    ) -> list[dict[str, Any]]:
        """The log lines of that kind, once there are so many."""
        message = f"no {count} lines of {event} with {keys}"
        await self.until(lambda: len(self.log_lines(event, **keys)) >= count, message, timeout_s)
        return self.log_lines(event, **keys)

    async def until(self, condition: Callable[[], bool], message: str, timeout_s: float = 20.0) -> None:
        """Wait until the condition holds.

        Raises:
            AssertionError: When it does not hold in time, with this message and what the daemon said.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{message} within {timeout_s} s:\n{self.stderr[-4000:]}") from None

    def check(self) -> None:
        """Fail when it said what a healthy daemon does not say; no test may see a key in what was written."""
        text = self.stderr
        for key in self._keys():
            assert key not in text, f"a key is in the log: {text[max(0, text.index(key) - 300) : text.index(key)]}***"
        for line in self.log_lines():
            warned = line["event"] == "library.logged" and line.get("logger") == "py.warnings"
            faulty = line["event"] in _FAULTS or "traceback" in line or warned
            assert not faulty or line["event"] in self._expect, f"the daemon failed inside: {line}"

    def _keys(self) -> set[str]:
        """The keys of its config and its environment; those that are too short to be told from a word left out."""
        config = self.config_path.read_text("utf-8", "replace") if self.config_path.is_file() else ""
        named = {value for name, value in self._env.items() if name.endswith(("_KEY", "_TOKEN")) and len(value) > 11}
        return named | set(_KEY.findall(config))

    # -- requests

    async def chat(
        self,
        model: str = "default",
        *,
        stream: bool = False,
        headers: Mapping[str, str] | None = None,
        unix: bool = False,
        **fields: object,
    ) -> Reply:
        """Ask for a chat completion and read the answer to its end."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": stream, **fields}
        return await self.request("POST", "/v1/chat/completions", body, headers=headers, unix=unix)

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        unix: bool = False,
    ) -> Reply:
        """A request to the data plane, by TCP or by the Unix socket."""
        where = self.socket if unix else ""
        return await self._ask(where, f"{'http://localhost' if unix else self.base_url}{path}", method, body, headers)

    async def admin(self, method: str, path: str, json: object = None) -> tuple[int, Any]:
        """Ask the admin plane, with the header that changes need; the status and the decoded body."""
        headers = {"X-Sidecar-Request": "1"}
        status, _, body = await self._ask(str(self.admin_path), f"http://localhost{path}", method, json, headers)
        return status, _parsed(body.decode()) if body[:1] in (b"{", b"[") else body.decode()

    async def _ask(
        self, socket_path: str, url: str, method: str, body: object, headers: Mapping[str, str] | None
    ) -> Reply:
        options: dict[str, Any] = {} if body is None else {"json": body}
        session = self.session(socket_path)
        async with session.request(method, url, headers=headers, allow_redirects=False, **options) as response:
            return response.status, response.headers, await response.read()

    def session(self, socket_path: str = "") -> aiohttp.ClientSession:
        """The client for this Unix socket, or for TCP; closed with the daemon."""
        if socket_path not in self._sessions:
            connector = aiohttp.UnixConnector(socket_path) if socket_path else aiohttp.TCPConnector(limit=0)
            timeout = aiohttp.ClientTimeout(total=60)
            self._sessions[socket_path] = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._sessions[socket_path]

    # -- the rest

    async def _ready(self) -> None:
        """Wait until the admin plane answers, which it does after the data plane was opened."""

        async def answers() -> None:
            while True:
                if not self.running:
                    raise AssertionError(f"the daemon ended with {self.process.poll()}:\n{self.stderr}")
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    return await self._locate()
                await asyncio.sleep(0.02)

        try:
            await asyncio.wait_for(answers(), START_S)
        except TimeoutError:
            raise AssertionError(f"not ready within {START_S} s:\n{self.stderr}") from None

    async def _locate(self) -> None:
        status, told = await self.admin("GET", "/status")
        assert status == 200, told
        self.listen = told["listen"]

    async def _clean_up(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        if self._process is not None:
            if self.running:
                self._process.kill()
            await asyncio.to_thread(self._process.wait, _STOP_S)
        shutil.rmtree(self.run, ignore_errors=True)


async def run_daemon(
    tmp_path: Path, config: str | None, *, env: Mapping[str, str] | None = None, arguments: Collection[str] = ()
) -> tuple[int, str]:
    """Start a daemon that is to refuse; its exit code and all it said."""
    daemon = RunningDaemon(tmp_path, config, env=env, arguments=arguments)
    try:
        daemon.start()
        code = await daemon.wait(START_S)
        return code, daemon.stderr
    finally:
        await daemon._clean_up()


def _environment(home: Path, env: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: os.environ[name]
        for name in ("PATH", "LANG", "LC_ALL", "TZ", "COVERAGE_PROCESS_START")
        if name in os.environ
    }
    root = str(Path(__file__).parent.parent)
    return {**kept, "HOME": str(home), "PYTHONPATH": root, "PYTHONFAULTHANDLER": "1", **env}


def _die_with_parent() -> None:
    """A test run that is killed leaves no daemon behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        raise AssertionError(f"not JSON: {line!r}") from None
