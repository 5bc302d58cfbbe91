"""Tries, from within a service's sandbox, what the service must not be able to do; prints what came of it as JSON.

Run by the interpreter of the service, with nothing of the project. Each attempt is an error's name, or "done".
"""

import ctypes
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
READ_WRITE_EXECUTE, PRIVATE_ANONYMOUS = 7, 0x22
NEWUSER = 0x10000000


def write(path: str) -> None:
    with open(path, "w") as file:
        file.write("x")


def list_something(path: str) -> None:
    if not os.listdir(path):
        raise FileNotFoundError(errno.ENOENT, "empty")


def called(result: int | None) -> None:
    if result in (-1, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "refused")


def send(host: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:  # TCP would only hear nothing
        sock.sendto(b"x", (host, 80))


def opened(family: int, kind: int) -> None:
    socket.socket(family, kind).close()


def see_processes_of_others() -> None:
    mine = os.getuid()
    if not [entry for entry in os.scandir("/proc") if entry.name.isdigit() and entry.stat().st_uid != mine]:
        raise FileNotFoundError(errno.ENOENT, "none")


def make_setuid() -> None:
    path = os.path.join(os.environ["STATE_DIRECTORY"], "setuid")
    write(path)
    os.chmod(path, 0o4755)


ATTEMPTS: dict[str, Callable[[], object]] = {
    "write /etc": lambda: write("/etc/x"),
    "write /usr": lambda: write("/usr/x"),
    "write /run": lambda: write("/run/x"),
    "write the program": lambda: write("/opt/llm-sidecar/x"),
    "write its config": lambda: write("/etc/sidecar/sidecar.yaml"),
    "see /home": lambda: list_something("/home"),
    "see /root": lambda: list_something("/root"),
    "see the others' /tmp": lambda: list_something("/tmp"),
    "see others' processes": see_processes_of_others,
    "see the kernel's settings": lambda: list_something("/proc/sys"),
    "read root's credentials": lambda: list_something("/etc/credstore"),
    "map memory to write and execute": lambda: called(
        LIBC.mmap(None, 4096, READ_WRITE_EXECUTE, PRIVATE_ANONYMOUS, -1, 0)
    ),
    "make a namespace": lambda: called(LIBC.unshare(NEWUSER)),
    "mount": lambda: called(LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    "become root": lambda: os.setuid(0),
    "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "make a file setuid": make_setuid,
    "open a netlink socket": lambda: opened(socket.AF_NETLINK, socket.SOCK_RAW),
    "open a packet socket": lambda: opened(socket.AF_PACKET, socket.SOCK_RAW),
    "reach the cloud's metadata": lambda: send("169.254.169.254"),
    # What it must be able to do, so that the others fail for the right reason:
    "write its state": lambda: write(os.path.join(os.environ["STATE_DIRECTORY"], "x")),
    "write its own /tmp": lambda: write("/tmp/x"),
    "reach this machine": lambda: send("127.0.0.1"),
}


def tried(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return "done"


if __name__ == "__main__":
    json.dump({name: tried(attempt) for name, attempt in ATTEMPTS.items()}, sys.stdout)
