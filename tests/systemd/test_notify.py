"""What the service manager is told: one datagram for each change, to a path or an abstract name, never waiting."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import CLOCK_MONOTONIC, clock_gettime_ns

import pytest

from sidecar.notify import Notifier, forget


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """A service manager's socket."""
    with (
        tempfile.TemporaryDirectory(prefix="sc-", dir="/tmp") as run,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        sock.bind(f"{run}/notify" if request.param == "path" else f"\0{run}/notify")
        sock.settimeout(5)
        yield sock


def address_of(manager: socket.socket) -> str:
    name = manager.getsockname()
    return name if isinstance(name, str) else "@" + name[1:].decode()


@pytest.fixture
def notifier(manager: socket.socket) -> Iterator[Notifier]:
    notifier = Notifier.of({"NOTIFY_SOCKET": address_of(manager)}, os.getpid())
    yield notifier
    notifier.close()


def test_each_change_is_one_datagram(manager: socket.socket, notifier: Notifier) -> None:
    notifier.ready("generation 1")
    notifier.alive()
    notifier.extend(1.5)
    notifier.stopping("draining")
    told = [manager.recv(4096).decode() for _ in range(4)]
    assert told == [
        "READY=1\nSTATUS=generation 1",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=1500000",
        "STOPPING=1\nSTATUS=draining",
    ]


def test_a_reload_is_told_together_with_the_time_at_which_it_began(manager: socket.socket, notifier: Notifier) -> None:
    before = clock_gettime_ns(CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    first, second = manager.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= clock_gettime_ns(CLOCK_MONOTONIC) // 1000


def test_a_status_is_one_line_and_cannot_say_anything_else(manager: socket.socket, notifier: Notifier) -> None:
    notifier.ready("bad\nSTOPPING=1 " + "x" * 5000)
    ready, status = manager.recv(8192).decode().split("\n")
    assert ready == "READY=1"
    assert status.startswith("STATUS=bad STOPPING=1 x")
    assert len(status) < 600


def test_a_manager_that_reads_nothing_holds_nobody_up(manager: socket.socket, notifier: Notifier) -> None:
    for _ in range(20_000):  # more than its queue holds
        notifier.alive()
    assert manager.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
def test_without_a_socket_of_ours_nothing_is_told(address: str) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}, 7)
    notifier.ready("nobody hears it")
    assert not notifier.heard
    assert notifier.watchdog_s is None


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "gone"))
    notifier.ready("nobody hears it")
    notifier.close()
    notifier.alive()


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_counts_only_if_it_watches_this_process(environ: dict[str, str], watchdog_s: float | None) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": "@sidecar-test", **environ}, 7)
    assert notifier.watchdog_s == watchdog_s
    notifier.close()


def test_no_child_inherits_the_line() -> None:
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "7", "PATH": "/bin"}
    forget(environ)
    assert environ == {"PATH": "/bin"}
