"""The question for a local Ollama, asked of real servers that answer well, badly or never."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sidecar.sources import places
from sidecar.sources.configuration import ConfigurationManager
from sidecar.sources.ollama import Ollama, _address, find_ollama

TAGS = (
    b'{"models": [{"name": "nomic-embed-text:latest", "details": {"family": "nomic-bert"}},'
    b' {"name": "qwen3:8b", "size": 5, "details": {"family": "qwen3"}}, {"name": "mystery"}]}'
)


def answer(status: bytes, body: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 " + status + b"\r\nContent-Type: application/json\r\n\r\n" + body)

    return serve


def drip(connection: socket.socket) -> None:
    try:
        for _ in range(100):
            connection.sendall(b"HTTP/1.0 200 OK\r\n")
            time.sleep(0.05)
    except OSError:
        return


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def test_models_that_can_chat_are_listed() -> None:
    with listening(answer(b"200 OK", TAGS)) as port:
        found = find_ollama({"OLLAMA_HOST": f"0.0.0.0:{port}"})
    assert found == Ollama(f"http://127.0.0.1:{port}", ("qwen3:8b", "mystery"))


@pytest.mark.parametrize(
    "serve",
    [
        answer(b"200 OK", b'{"models": []}'),
        answer(b"200 OK", b'{"models": 1}'),
        answer(b"200 OK", b"<html>"),
        answer(b"404 Not Found", TAGS),
        lambda connection: connection.sendall(b"220 mail.example ESMTP\r\n"),
        lambda connection: None,
    ],
    ids=["no models", "another shape", "no JSON", "404", "another protocol", "closed"],
)
def test_whatever_else_listens_there_is_no_ollama(serve: Callable[[socket.socket], None]) -> None:
    with listening(serve) as port:
        assert find_ollama({"OLLAMA_HOST": f"http://127.0.0.1:{port}"}) is None


def test_a_server_that_drips_is_left_after_a_second() -> None:
    with listening(drip) as port:
        started = time.monotonic()
        assert find_ollama({"OLLAMA_HOST": f"127.0.0.1:{port}"}) is None
        assert time.monotonic() - started < 2.5


def test_without_any_config_or_key_the_one_that_runs_here_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_SYSTEM_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.chdir(tmp_path)
    with listening(answer(b"200 OK", TAGS)) as port:
        environ = {"HOME": str(tmp_path), "OLLAMA_HOST": f"127.0.0.1:{port}"}
        snapshot = ConfigurationManager(environ=environ).load()
    assert snapshot.source == "environment"
    assert snapshot.providers["ollama"].base_url == f"http://127.0.0.1:{port}"
    assert [target.key for target in snapshot.routes["default"].targets] == ["ollama/qwen3:8b"]


@pytest.mark.parametrize(
    ("setting", "address"),
    [
        ("", ("127.0.0.1", 11434)),
        (":8080", ("127.0.0.1", 8080)),
        ("localhost", ("127.0.0.1", 11434)),
        ("http://localhost", ("127.0.0.1", 80)),
        ("0.0.0.0:1", ("127.0.0.1", 1)),
        ("[::]:1", ("::1", 1)),
        ("[::1]", ("::1", 11434)),
        ("192.168.1.5:11434", None),
        ("gpu.example:11434", None),
        ("127.0.0.1:port", None),
    ],
)
def test_only_this_machine_is_asked(setting: str, address: tuple[str, int] | None) -> None:
    assert _address(setting) == address
