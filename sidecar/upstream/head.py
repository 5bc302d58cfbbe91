"""The head of a request as bytes: knows how HTTP/1.1 writes one down, and refuses what would write two.

Must not know connections. A value that carries a line break would be read by the server as another
header or another request (request splitting). Testing every value costs more than writing it, so the
head is joined first: the number of line breaks in it is known, and any other number is refused. Names
come from a small set (the config and an allow-list), so each is checked once and remembered.

RFC 9112 sections 3, 5 and 6.
"""

from __future__ import annotations

import re

from sidecar.upstream.transport import UpstreamRequest

__all__ = ["Heads", "encode_head"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"}
)
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})  # an empty body is not announced
_NAMES_MAX = 1024
_STARTS_MAX = 64  # they hold keys: few, and gone with the pool
_START_BYTES_MAX = 4096
_admitted: dict[str, str] = {}


def encode_head(request: UpstreamRequest, host_line: str) -> bytes:
    """The head to send, its empty line included.

    Args:
        request: The request; its header values may hold any Latin-1 text but CR, LF and NUL.
        host_line: `Host: ...` with its line end; the same for every request of a pool.

    Raises:
        ValueError: When a part of it would not be read as what it is; no value is shown.
    """
    return _start(request, host_line) + _framing(request)


class Heads:
    """The heads of requests to one origin. What requests repeat, all but the length, is written once.

    Args:
        host_line: `Host: ...` with its line end.
    """

    __slots__ = ("_host_line", "_starts")

    def __init__(self, host_line: str) -> None:
        self._host_line = host_line
        # By the identity of their headers, which are kept with them: to hash a dozen pairs would cost more.
        self._starts: dict[int, tuple[object, str, str, bytes]] = {}

    def encode(self, request: UpstreamRequest) -> bytes:
        """As `encode_head`."""
        headers, method, path, body = request.headers, request.method, request.path, request.body
        kept = self._starts.get(id(headers))
        if kept is not None and kept[:3] == (headers, path, method):
            if body and isinstance(body, bytes):
                return b"%bContent-Length: %d\r\n\r\n" % (kept[3], len(body))
            return kept[3] + _framing(request)
        start = _start(request, self._host_line)
        if type(headers) is tuple and len(start) <= _START_BYTES_MAX:
            if len(self._starts) >= _STARTS_MAX:
                self._starts.clear()
            self._starts[id(headers)] = (headers, path, method, start)
        return start + _framing(request)


def _start(request: UpstreamRequest, host_line: str) -> bytes:
    method, path = request.method, request.path
    lines = [f"{method} {path} HTTP/1.1\r\n", host_line]
    for name, value in request.headers:
        lines.append(f"{_admitted.get(name) or _admit(name)}{value}\r\n")
    text = "".join(lines)
    breaks = len(lines)
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise ValueError("a request's method, path or header holds a line break or NUL")
    if " " in path or path[:1] != "/" or not path.isascii() or not method.isalpha():
        raise ValueError("a request's method or path is not well-formed")
    return text.encode("latin-1")


def _framing(request: UpstreamRequest) -> bytes:
    """What tells the body's end, and the head's."""
    body = request.body
    if not isinstance(body, bytes):
        return b"Transfer-Encoding: chunked\r\n\r\n"
    if body or request.method not in _BODILESS:
        return b"Content-Length: %d\r\n\r\n" % len(body)
    return b"\r\n"


def _admit(name: str) -> str:
    """`Name: `, once the name is known to be a token and none of the transport's own."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name")
    if name.lower() in _FRAMING:
        raise ValueError(f"the header {name!r} is the transport's own business")
    prefix = f"{name}: "
    if len(_admitted) < _NAMES_MAX:
        _admitted[name] = prefix
    return prefix
