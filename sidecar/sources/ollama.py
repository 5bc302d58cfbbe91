"""Whether an Ollama runs on this machine, and what it can serve; asked only when nothing is configured.

A question to a stranger's port has to be cheap and bounded: 200 ms to connect, one second for all of it,
HTTP/1.0 so that the end of the answer is the end of the connection. Only this machine is asked:
`$OLLAMA_HOST` may name another, but who wants that one names it in a config.

Source: https://docs.ollama.com/api (`/api/tags`) and https://docs.ollama.com/faq (`OLLAMA_HOST`), 2026-10.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import msgspec

__all__ = ["Ollama", "find_ollama"]

_CONNECT_S = 0.2
_TOTAL_S = 1.0
_MAX_ANSWER_BYTES = 1024 * 1024
_DEFAULT_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}  # noqa: S104 - compared


class Ollama(msgspec.Struct, frozen=True):
    """A running Ollama."""

    base_url: str
    models: tuple[str, ...]  # those that can chat, as it lists them: the last changed first


class _Details(msgspec.Struct):
    family: str = ""


class _Model(msgspec.Struct):
    name: str
    details: _Details = msgspec.field(default_factory=_Details)


class _Tags(msgspec.Struct):
    models: list[_Model]


def find_ollama(env: Mapping[str, str]) -> Ollama | None:
    """The local Ollama at `$OLLAMA_HOST` or the usual port; None without one, or when it has no model."""
    if (address := _address(env.get("OLLAMA_HOST", ""))) is None:
        return None
    host, port = address
    try:
        head, _, body = _ask(host, port).partition(b"\r\n\r\n")
        if head.split(b" ", 2)[1:2] != [b"200"]:
            return None
        tags = msgspec.json.decode(body, type=_Tags)
    except (OSError, msgspec.MsgspecError):
        return None
    models = tuple(model.name for model in tags.models if not model.details.family.endswith("bert"))  # embeddings
    url_host = f"[{host}]" if ":" in host else host
    return Ollama(f"http://{url_host}:{port}", models) if models else None


def _address(setting: str) -> tuple[str, int] | None:
    """`$OLLAMA_HOST` as Ollama reads it, if it is this machine; listening everywhere includes it."""
    try:
        parts = urlsplit(setting if "://" in setting else f"//{setting}")
        host = _EVERYWHERE.get(parts.hostname or "", parts.hostname or "")
        if not ipaddress.ip_address(host).is_loopback:
            return None
        return host, parts.port or _SCHEME_PORTS.get(parts.scheme, _DEFAULT_PORT)
    except ValueError:
        return None


def _ask(host: str, port: int) -> bytes:
    with socket.create_connection((host, port), timeout=_CONNECT_S) as connection:
        connection.sendall(b"GET /api/tags HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n")
        return b"".join(_pieces(connection, time.monotonic() + _TOTAL_S))


def _pieces(connection: socket.socket, until_s: float) -> Iterator[bytes]:
    rest_bytes = _MAX_ANSWER_BYTES
    while rest_bytes > 0:
        if (left_s := until_s - time.monotonic()) <= 0:
            raise TimeoutError("the answer takes too long")
        connection.settimeout(left_s)
        piece = connection.recv(min(rest_bytes, 65536))
        if not piece:
            return
        yield piece
        rest_bytes -= len(piece)
