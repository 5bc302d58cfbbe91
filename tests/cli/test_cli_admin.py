"""The client of the admin socket: where it looks, what it makes of silence and nonsense, what it costs."""

import asyncio
import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest

from sidecar.cli import main
from sidecar.cli.admin import opened, path_of
from sidecar.cli.exits import Failed
from tests.cli.running import sidecar

STATUS = b'{"draining": false, "generation": 3, "uptime_s": 4.0, "last_reload_successful": true}'


def reply(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


@contextlib.contextmanager
def answering(says: bytes | None, path: str | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """Something that answers every request like this, or never; its address, and the heads it was sent."""
    heads: list[bytes] = []
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(5)
                    heads.append(connection.recv(65536))
                    if says is None:
                        over.wait(5)
                    else:
                        connection.sendall(says)

    if path:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
    else:
        listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        listener.settimeout(0.01)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path or f"127.0.0.1:{listener.getsockname()[1]}", heads
        finally:
            over.set()
            thread.join()


async def test_a_socket_is_a_path_or_a_port() -> None:
    good = reply(STATUS)
    with (
        TemporaryDirectory(prefix="sc-", dir="/tmp") as run,
        answering(good, f"{run}/a.sock") as (path, _),
        answering(good) as (port, _),
    ):
        for address in (path, f"unix:{path}", port):
            ended = await sidecar("health", "--socket", address)
            assert (ended.code, ended.err) == (0, "")
            assert ended.out == "ready, generation 3, up 4.0 s\n"


async def test_the_named_daemon_and_no_other_is_asked() -> None:
    with TemporaryDirectory(prefix="sc-", dir="/tmp") as run:
        os.mkdir(f"{run}/sidecar")
        with answering(reply(STATUS), f"{run}/sidecar/admin.sock"):
            usual = {"XDG_RUNTIME_DIR": run}
            assert (await sidecar("health", env=usual)).code == 0
            ended = await sidecar("health", env={**usual, "SIDECAR_ADMIN": f"{run}/gone.sock"})
            assert ended.code == 69
            assert f"{run}/gone.sock: No such file or directory" in ended.err
            assert (await sidecar("health", "--socket", f"{run}/gone.sock", env=usual)).code == 69


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["stats"],
        ["health"],
        ["explain", "m"],
        ["reload"],
        ["reset", "p"],
        ["weight", "p/m", "1"],
        ["drain"],
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize(
    "says", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", reply(b"<html>"), b"\0" * 99]
)
def test_whoever_speaks_no_sense_is_no_daemon(
    arguments: list[str], says: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(says) as (address, _):
        code = main([*arguments, "--socket", address])
    assert code == 69
    assert f"{address}: the daemon does not answer" in capsys.readouterr().err


def test_silence_is_not_waited_for_longer_than_said() -> None:
    with (
        answering(None) as (address, _),
        opened(address, {}, timeout_s=0.1) as admin,
        pytest.raises(Failed, match="took too long") as failed,
    ):
        admin.get("/status")
    assert failed.value.code == 69


def test_a_refusal_is_told_in_the_daemons_words() -> None:
    says = reply(b'{"error": {"message": "no such thing"}}', b"404 Not Found")
    with (
        answering(says) as (address, heads),
        opened(address, {}) as admin,
        pytest.raises(Failed, match="no such thing") as failed,
    ):
        admin.change("POST", path_of("targets", "a b/c?d#e", "reset"))
    assert failed.value.code == 1
    assert heads[0].startswith(b"POST /targets/a%20b/c%3Fd%23e/reset HTTP/1.1\r\n")
    assert b"X-Sidecar-Request: 1\r\n" in heads[0]


PROBE = """
import sys, time
began = time.perf_counter()
from sidecar.cli import main
code = main(["health", "--socket", sys.argv[1]])
took_s = time.perf_counter() - began
heavy = sorted({name.partition(".")[0] for name in sys.modules} & {"aiohttp", "uvloop", "rich", "yaml", "structlog"})
print(code, "sidecar.daemon" in sys.modules, heavy, took_s)
"""


async def test_a_probe_imports_no_daemon_and_is_quick() -> None:
    with answering(reply(STATUS)) as (address, _):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROBE, address, stdout=asyncio.subprocess.PIPE
        )
        out, _err = await asyncio.wait_for(process.communicate(), 20)
    code, daemon, rest = out.decode().splitlines()[-1].split(" ", 2)
    heavy, took_s = rest.rsplit(" ", 1)
    assert (code, daemon, heavy) == ("0", "False", "[]")
    assert float(took_s) < 2  # 0.05 on an idle machine
