"""The seam between an attempt and the bytes: what carries one HTTP/1.1 exchange to one origin.

Knows requests, replies and how an exchange can break; knows nothing of dialects, retries or deadlines
other than the one for connecting. Every other deadline is the caller's, who cancels the task that
awaits here: a transport must leave nothing behind when it is cancelled at any await.

Implementations: `http` (our own connection and pool), `client` (aiohttp's client), `embedded` (in
this process). They agree by differential tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec

from sidecar.model.topology import Tls

__all__ = [
    "Breach",
    "Launched",
    "Origin",
    "Prompt",
    "PromptReply",
    "Reply",
    "Transport",
    "TransportError",
    "UpstreamRequest",
]


class Breach(StrEnum):
    """How an exchange broke."""

    RESOLVE = "resolve"  # the name has no address
    CONNECT = "connect"  # refused, unreachable
    CONNECT_TIMEOUT = "connect_timeout"
    TLS = "tls"  # handshake or verification
    RESET = "reset"  # the connection ended before the first byte of a response
    CUT = "cut"  # it ended, or broke its framing, inside a response
    PROTOCOL = "protocol"  # what came is not HTTP/1.x
    CREDENTIAL = "credential"  # there is nothing to authorise the request with


class TransportError(Exception):
    """An exchange broke; the message holds no header and no secret."""

    def __init__(self, breach: Breach, message: str) -> None:
        super().__init__(message)
        self.breach = breach


class Origin(msgspec.Struct, frozen=True):
    """Where connections go."""

    scheme: str  # http | https
    host: str  # as in the URL, without brackets
    port: int
    tls: Tls = Tls()
    trust_env: bool = False

    @property
    def authority(self) -> str:
        """The Host header: the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One request. Host, Content-Length and Transfer-Encoding are the transport's business."""

    method: str
    path: str  # absolute, with the query
    headers: Sequence[tuple[str, str]]
    body: bytes | AsyncIterator[bytes] = b""  # an iterator is sent chunked and cannot be sent twice


class Reply(Protocol):
    """The response whose head has come. Owned by the caller until `close`."""

    status: int
    headers: Sequence[tuple[str, str]]  # names in lower case, in the order they came, repeats kept
    connect_s: float | None  # None when the connection came from the pool

    async def read(self) -> bytes:
        """All body bytes that have come since the last call, at least one; b"" at the clean end.

        Raises:
            TransportError: CUT when the body ends early, PROTOCOL when its framing is not HTTP.
        """

    def close(self) -> None:
        """Idempotent. A reply read to its end gives its connection back; any other is aborted at once."""


class Transport(Protocol):
    """Exchanges with one origin."""

    async def send(self, request: UpstreamRequest, *, connect_s: float) -> Reply:
        """Send the request and wait for the response's head; 1xx heads are passed over.

        Args:
            request: What to send.
            connect_s: The limit for DNS + TCP + TLS, in seconds.

        Raises:
            TransportError: When no head came.
        """

    async def check(self, *, connect_s: float) -> None:
        """Connect (and shake hands), then hang up.

        Raises:
            TransportError: When it could not.
        """

    async def aclose(self) -> None:
        """Close every connection; running exchanges break with CUT or RESET. Idempotent."""


class PromptReply(Reply, Protocol):
    """A reply that can be asked what has come, without waiting."""

    @property
    def launched(self) -> Launched | None:
        """What it is the reply to; None when it is over."""

    @property
    def over(self) -> bool:
        """Whether nothing more will come than `take` gives: its end, or a fault, has come as well."""

    def take(self) -> bytes | None:
        """As `read`; None when nothing has come yet.

        Raises:
            TransportError: As `read`.
        """

    def take_rest(self) -> bytes | None:
        """All that is left of the body if its end has come, which is then the reply's end; else None."""


class Launched(Protocol):
    """A request that was sent without waiting for anything."""

    @property
    def held_bytes(self) -> int:
        """How much of the reply's body has come and was not taken; there is a limit."""

    @property
    def broken(self) -> bool:
        """Whether the exchange has failed; what came before may still be taken."""

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Have this called whenever something has come or happened, until the exchange ends; None: no more."""

    def flow(self, taker: Callable[[bytes, bytes], None]) -> None:
        """Have this called with whatever comes of the body, and the listener for its end and whatever happens.

        With it comes the same as a chunk of HTTP (RFC 9112 section 7.1), where it came as one; else b"".
        """

    def whole_now(self) -> tuple[int, Sequence[tuple[str, str]], bytes] | None:
        """Status, headers and body of a response whose end has come; None before. It stays until `take_whole`."""

    def take_whole(self) -> None:
        """Take it, which ends the exchange."""

    def more(self) -> bytes | None:
        """What has come of a body that goes on; None: ask the reply, for there is none, or something else to tell."""

    def response_now(self) -> PromptReply | None:
        """The reply whose head has come; None when none has, for now or for good."""

    def abort(self) -> None:
        """Give the exchange up. Idempotent."""


@runtime_checkable
class Prompt(Protocol):
    """A transport that can send at once, when it has a connection at hand, or as soon as it has one."""

    def launch(self, request: UpstreamRequest, *, connect_s: float | None = None) -> Launched | None:
        """Send the request without waiting; None when that cannot be done.

        Args:
            request: What to send.
            connect_s: The limit for a new connection; None: only one that is at hand will do.
        """

    async def land(self, launched: Launched | None, request: UpstreamRequest, *, connect_s: float) -> Reply:
        """As `Transport.send`, of a request that was launched, or could not be."""
