"""A client of a daemon's admin socket, on the standard library alone, because a probe must start fast.

Knows how to find and ask; must not know what the answers mean. One connection serves one command.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from sidecar.cli.exits import NO, UNREACHABLE, Failed

__all__ = ["Admin", "Reply", "opened", "path_of"]

_TIMEOUT_S = 10.0
_CHANGING = {"X-Sidecar-Request": "1", "Content-Type": "application/json"}


class Reply(NamedTuple):
    """A status, and the JSON that came with it."""

    status: int
    value: Any

    @property
    def good(self) -> bool:
        """Whether the daemon did what it was asked."""
        return self.status < 300


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Admin:
    """A connection to one daemon.

    Args:
        address: For messages.
        connection: Connected.
    """

    def __init__(self, address: str, connection: HTTPConnection) -> None:
        self.address = address
        self._connection = connection

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """What the daemon answers, whatever it is.

        Raises:
            Failed: It does not answer.
        """
        data = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, path, data, {} if method == "GET" else _CHANGING)
            response = self._connection.getresponse()
            return Reply(response.status, json.loads(response.read()))
        except (OSError, HTTPException, ValueError) as error:
            raise self._silent(error) from error

    def get(self, path: str, **query: str | None) -> Any:
        """The JSON of a good answer.

        Raises:
            Failed: It does not answer, or says no.
        """
        asked = {name: value for name, value in query.items() if value is not None}
        return self.agreed(self.ask("GET", f"{path}?{urlencode(asked)}" if asked else path))

    def change(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a change that was made.

        Raises:
            Failed: It does not answer, or refuses.
        """
        return self.agreed(self.ask(method, path, body))

    def agreed(self, reply: Reply) -> Any:
        """The value of a good reply.

        Raises:
            Failed: The daemon said no; the message is its own.
        """
        if reply.good:
            return reply.value
        error = reply.value.get("error") if isinstance(reply.value, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        raise Failed(NO, str(message or f"{self.address}: status {reply.status}: {reply.value}"))

    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of an answer as they come, until the daemon ends it or is gone.

        Raises:
            Failed: It does not answer.
        """
        try:
            self._connection.request("GET", path)
            if self._connection.sock is not None:
                self._connection.sock.settimeout(None)  # nobody knows when the next line comes
            response = self._connection.getresponse()
        except (OSError, HTTPException) as error:
            raise self._silent(error) from error
        if response.status != 200:
            raise Failed(NO, f"{self.address}: {path}: status {response.status}")
        while line := _line(response.readline):
            yield line

    def _silent(self, error: Exception) -> Failed:
        why = "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return Failed(UNREACHABLE, f"{self.address}: the daemon does not answer: {why}")


def _line(read: Any) -> bytes:
    """The next line; nothing once the daemon is gone, in whatever way."""
    try:
        line: bytes = read()
    except (OSError, HTTPException, ValueError):
        return b""
    return line


def path_of(*parts: str) -> str:
    """A path of names that may hold anything; a slash in a name stays a slash."""
    return "".join(f"/{quote(part)}" for part in parts)


@contextmanager
def opened(named: str | None, environ: Mapping[str, str], *, timeout_s: float = _TIMEOUT_S) -> Iterator[Admin]:
    """A connection to the daemon that was named, or that is found in the usual places.

    Args:
        named: A socket's path or `host:port`; None looks at `$SIDECAR_ADMIN`, then where a daemon
            makes its socket when its config does not say.
        environ: Where the variables are.
        timeout_s: For each answer.

    Raises:
        Failed: None answers; the message says where was looked.
    """
    tried = []
    for address in (named,) if named else _candidates(environ):
        with closing(_connection(address, timeout_s)) as connection:
            try:
                connection.connect()
            except OSError as error:
                tried.append(f"{address}: {error.strerror or error}{_remedy(error)}")
                continue
            yield Admin(address, connection)
            return
    looked = "".join(f"\n  {each}" for each in tried)
    raise Failed(
        UNREACHABLE,
        f"no daemon answers; start one with `sidecar serve`, or say where it is by --socket or $SIDECAR_ADMIN{looked}",
    )


def _remedy(error: OSError) -> str:
    return f" (run this as the daemon's user, not as uid {os.getuid()})" if isinstance(error, PermissionError) else ""


def _candidates(environ: Mapping[str, str]) -> tuple[str, ...]:
    from sidecar.sources.places import admin_candidates  # noqa: PLC0415 - a probe that names its socket is spared it

    return admin_candidates(environ)


def _connection(address: str, timeout_s: float) -> HTTPConnection:
    """A path has a slash in it or no port behind it; anything else is `host:port`."""
    path = address.removeprefix("unix:")
    host, _, port = path.rpartition(":")
    if "/" in path or not host or not port.isdigit():
        return _UnixConnection(path, timeout_s)
    return HTTPConnection(host.strip("[]"), int(port), timeout=timeout_s)
