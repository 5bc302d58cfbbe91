"""A throw-away systemd as PID 1 of private namespaces, with the sidecar installed as an operator would.

    with booted(tmp_path) as guest:
        guest.run("systemctl", "start", "sidecar.socket")

It needs root, a second to boot, and leaves nothing: every process in it dies with the first one, every
mount with the namespace, and its control group is removed. The machine's own systemd, if there is one, is
never asked for anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

__all__ = ["Guest", "booted"]

ROOT = Path(__file__).resolve().parents[2]
_OPT = "/opt/llm-sidecar"
_BOOT_S = 20.0
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_NAMESPACES = ("--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup")
_TOOLS = ("unshare", "nsenter", "setpriv", "mount", "hostname", "ip", "systemctl", "journalctl")
_REFUSED = 77  # of guest.sh

_LAUNCHER = f"""#!{_OPT}/bin/python
import sys

sys.path.insert(0, "{_OPT}/src")
from sidecar.__main__ import main

sys.exit(main())
"""


class Guest:
    """A booted system.

    Args:
        leader: Its first process, by the number that it has for us.
    """

    def __init__(self, leader: int) -> None:
        self._leader = leader

    def path(self, path: str) -> Path:
        """Where we find what is there at `path`."""
        return Path(f"/proc/{self._leader}/root{path}")

    def attempt(self, *command: str, timeout_s: float = 20.0) -> subprocess.CompletedProcess[str]:
        """Run a command inside, whatever it comes to."""
        inside = ("nsenter", "-t", str(self._leader), "-a", "--", *command)
        environ = {"PATH": f"{_OPT}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LD_LIBRARY_PATH": f"{_OPT}/python/lib"}
        return subprocess.run(inside, capture_output=True, text=True, timeout=timeout_s, check=False, env=environ)

    def run(self, *command: str, timeout_s: float = 20.0) -> str:
        """What a command inside says; it must end well."""
        done = self.attempt(*command, timeout_s=timeout_s)
        assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def show(self, unit: str, setting: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", setting, unit).strip()

    def until(self, condition: Callable[[], bool], message: str, timeout_s: float = 10.0) -> None:
        """Wait until the condition holds.

        Raises:
            AssertionError: When it does not hold in time, with the end of the journal.
        """
        until = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until:
                raise AssertionError(f"{message} within {timeout_s} s\n{self.journal()}")
            time.sleep(0.02)

    def journal(self) -> str:
        """Its end."""
        return self.attempt("journalctl", "--no-pager", "-n", "60", "-o", "cat").stdout

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Sockets that this thread, and threads that it starts, make in here are on the guest's network."""
        with open("/proc/thread-self/ns/net") as ours, open(f"/proc/{self._leader}/ns/net") as theirs:
            _enter(theirs.fileno())
            try:
                yield
            finally:
                _enter(ours.fileno())


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def booted(state: Path) -> Iterator[Guest]:
    """A guest, from boot to its end; skips the test, with the reason, where there can be none.

    Args:
        state: An empty directory.
    """
    _check_machine()
    units = _units(state)
    (state / "guest").mkdir()
    with _control_group() as group, open(state / "console", "wb") as console:
        command = ["unshare", *_NAMESPACES, "--kill-child=SIGKILL", "--propagation", "private"]
        command += [str(Path(__file__).with_name("guest.sh")), str(state / "guest"), str(units), *_binds(state)]
        outer = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            preexec_fn=lambda: _enter_group(group),
        )
        try:
            leader = _leader(outer, state / "console")
            (group.parent / "cgroup.procs").write_text(str(outer.pid))  # the group's root is the guest's alone
            guest = Guest(leader)
            guest.until(lambda: _is_up(guest), f"not up: {(state / 'console').read_text()}", _BOOT_S)
            yield guest
        finally:
            _end(outer)


def _check_machine() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can boot a systemd")
    if not os.access("/lib/systemd/systemd", os.X_OK):
        pytest.skip("systemd is not installed")
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    done = subprocess.run(["unshare", *_NAMESPACES, "true"], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        pytest.skip(f"no namespaces may be made here: {done.stderr.strip()}")


@contextlib.contextmanager
def _control_group() -> Iterator[Path]:
    """A control group below our own, for as long as the guest lives."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    base = next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)
    own = next(
        (line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), None
    )
    if base is None or own is None:
        pytest.skip("there is no cgroup2")
    group = base / own.strip("/") / f"sidecar-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group may be made: {error}")
    try:
        yield group
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    """Its processes are dying; the kernel takes them out of it a moment later."""
    until = time.monotonic() + 5
    while group.exists():
        for directory, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        if time.monotonic() > until:
            raise AssertionError(f"{group} cannot be removed")
        time.sleep(0.01)


def _enter_group(group: Path) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    (group / "cgroup.procs").write_text("0")


def _units(state: Path) -> Path:
    """The units as they are shipped, and what this interpreter needs where it is not the system's."""
    units = state / "units"
    shutil.copytree(ROOT / "systemd", units)
    return units


def _binds(state: Path) -> Iterator[str]:
    """The program in /opt/llm-sidecar: this interpreter, what is installed with it, and these sources."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    home = "/usr" if sys.base_prefix == "/usr" else f"{_OPT}/python"
    place = state / "program"
    (place / "bin").mkdir(parents=True)
    for directory in ("python", "src/sidecar", f"lib/{version}/site-packages"):
        (place / directory).mkdir(parents=True)
    (place / "bin/python").symlink_to(f"{home}/bin/{version}")
    (place / "bin/sidecar").write_text(_LAUNCHER)
    (place / "bin/sidecar").chmod(0o755)
    (place / "pyvenv.cfg").write_text(f"home = {home}/bin\ninclude-system-site-packages = false\n")
    place.chmod(0o755)
    yield f"{place}:{_OPT}"
    if home != "/usr":
        yield f"{sys.base_prefix}:{_OPT}/python"
    yield f"{ROOT / 'sidecar'}:{_OPT}/src/sidecar"
    yield f"{sysconfig.get_path('purelib')}:{_OPT}/lib/{version}/site-packages"


def _leader(outer: subprocess.Popen[bytes], console: Path) -> int:
    """The number of the guest's first process, once systemd is what it runs."""
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    until = time.monotonic() + _BOOT_S
    while time.monotonic() < until:
        code = outer.poll()
        if code == _REFUSED:
            pytest.skip(f"this machine does not let it: {console.read_text().strip()}")
        assert code is None, f"the guest ended with {code}: {console.read_text()}"
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        time.sleep(0.01)
    raise AssertionError(f"no systemd within {_BOOT_S} s: {console.read_text()}")


def _is_up(guest: Guest) -> bool:
    return guest.attempt("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")


def _end(outer: subprocess.Popen[bytes]) -> None:
    """Its first process is killed by the kernel together with `unshare`, and everything inside with that one."""
    outer.kill()
    outer.wait(10)
