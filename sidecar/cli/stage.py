"""The demo's daemon: a real process on a copy of the demo's config, asked as an app would ask it.

Knows how to start, ask, edit and stop; what is played on it is `story`'s. Everything lives in one
directory: the config, the admin socket, the log.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from sidecar.cli.admin import opened
from sidecar.cli.exits import NO, Failed
from sidecar.cli.shipped import shipped

__all__ = ["Answer", "Missed", "Stage", "staged"]

_HOST = "127.0.0.1"
_WRITTEN = 'listen: ["127.0.0.1:4141"]'  # the line of demo.yaml that the copy replaces
_START_S = 8.0
_STOP_S = 5.0
_ANSWER_S = 5.0
_LOOK_S = 0.02
_LOG_LINES = 5


class Missed(Exception):  # noqa: N818 - the story's outcome, not a mistake of ours
    """Something did not come about as it was told."""


class Answer(NamedTuple):
    """What the app got."""

    status: int
    target: str  # the x-sidecar-target header: who answered
    attempts: str  # x-sidecar-attempts
    generation: int  # x-sidecar-generation
    request_id: str
    text: str
    duration_s: float


class Stage:
    """One running daemon.

    Args:
        directory: Holds all its files.
        port: Where it serves.
    """

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self.config = directory / "demo.yaml"
        self.log = directory / "sidecar.log"
        self.admin = str(directory / "admin.sock")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What an app is given as its base URL."""
        return f"http://{_HOST}:{self.port}/v1"

    def start(self) -> None:
        """Write the config, start the daemon, wait until it answers.

        Raises:
            Failed: It does not come up; the message is what it said.
        """
        self._copy_config()
        command = [sys.executable, "-m", "sidecar", "serve", "--config", str(self.config)]
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C is for the demo, which then stops the daemon in good order.
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, and no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).resolve().parents[2],
                start_new_session=True,
            )
        if not self.happens(self._is_up, _START_S):
            raise Failed(NO, f"the daemon did not come up; it said:\n{self.last_words()}")

    def _copy_config(self) -> None:
        text = shipped("demo.yaml").read_text("utf-8")
        listen = f'listen: ["{_HOST}:{self.port}"]\nadmin: {{listen: {json.dumps(f"unix:{self.admin}")}}}'
        try:
            with self.config.open("x", encoding="utf-8") as file:
                file.write(text.replace(_WRITTEN, listen, 1))
        except FileExistsError:
            raise Failed(NO, f"{self.config}: is there already; remove it, or name another directory") from None

    def _is_up(self) -> bool:
        try:
            return bool(self.status())
        except Failed:
            return False

    def stop(self) -> None:
        """End the daemon: in good order, or at least. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(_STOP_S)

    def happens(self, what: Callable[[], bool], within_s: float) -> bool:
        """Whether it comes about within that time; looks again and again while the daemon lives."""
        until = monotonic() + within_s
        while not what():
            if monotonic() > until or not self.rests(_LOOK_S):
                return False
        return True

    def rests(self, seconds: float) -> bool:
        """Wait that long; False when the daemon has died meanwhile."""
        if self._process is None:
            return False
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def last_words(self) -> str:
        """The end of the log."""
        lines = self.log.read_text("utf-8", "replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-_LOG_LINES:])

    def ask(self, model: str) -> Answer:
        """One chat completion, over HTTP.

        Raises:
            Missed: There is no answer at all.
        """
        connection = HTTPConnection(_HOST, self.port, timeout=_ANSWER_S)
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
        began = monotonic()
        try:
            connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, HTTPException, ValueError) as error:
            raise Missed(f"{self.url} gave no answer: {error!r}") from error
        finally:
            connection.close()
        return Answer(
            response.status,
            response.getheader("x-sidecar-target", ""),
            response.getheader("x-sidecar-attempts", ""),
            int(response.getheader("x-sidecar-generation", "0")),
            response.getheader("x-request-id", ""),
            _text(answer),
            monotonic() - began,
        )

    def status(self) -> dict[str, Any]:
        """What the daemon says of itself.

        Raises:
            Failed: It does not answer.
        """
        with opened(self.admin, {}, timeout_s=_ANSWER_S) as admin:
            status: dict[str, Any] = admin.get("/status")
            return status

    def events(self, event: str, **keys: object) -> list[bytes]:
        """The log's lines so far that are this event, with these keys."""
        return [line for line, record in self._records() if record.items() >= {"event": event, **keys}.items()]

    def _records(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        for line in self.log.read_bytes().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # not whole yet
            yield line, record


def _text(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return str(answer["error"].get("message"))
    return str(answer["choices"][0]["message"]["content"])


def port_for(wanted: int) -> int:
    """The port, or a free one if somebody else listens there."""
    for port in (wanted, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((_HOST, port))
                sock.listen()
            except OSError:
                continue
            return int(sock.getsockname()[1])
    raise Failed(NO, f"no port is free on {_HOST}")


@contextmanager
def staged(directory: Path, wanted_port: int) -> Iterator[Stage]:
    """A daemon that serves from this directory, and is gone at the end."""
    stage = Stage(directory, port_for(wanted_port))
    try:
        stage.start()
        yield stage
    finally:
        stage.stop()
