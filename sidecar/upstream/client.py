"""The Transport protocol over aiohttp's client: for outbound proxies, and as the second opinion in tests.

Knows which of that client's habits a proxy must not have, and turns each off: redirects, cookies,
decompression, headers of its own, a total timeout, a limit on connections, `.netrc`. Its exceptions
hold the request's headers, so none of them is shown or kept as a cause.

Where it differs from our own connection: a stale pooled connection is tried again for idempotent
methods only; a connection that ends inside the head is RESET rather than CUT, and broken framing of a
body is CUT rather than PROTOCOL; a fault spoils all that came in the same read; a reset ends a
close-delimited body as if it were whole; a head is limited by its lines, trailers are not. With a
proxy, `check` knocks at the proxy.
"""

from __future__ import annotations

import asyncio
import io
import math
import socket
import time
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from urllib.request import getproxies_environment, proxy_bypass

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientError,
    ClientHttpProxyError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    TCPConnector,
    TraceConfig,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from sidecar.upstream.dial import Dialer, link_local, resolve
from sidecar.upstream.head import encode_head
from sidecar.upstream.tls import client_context, handshake_error
from sidecar.upstream.transport import Breach, Origin, TransportError, UpstreamRequest

__all__ = ["AiohttpReply", "AiohttpTransport"]

HEAD_LINE_BYTES_MAX = 64 * 1024
IDLE_S = 60.0
_WARNED_BYTES = 1 << 20  # a larger `bytes` body makes aiohttp warn; a file does not
_AUTO_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class AiohttpTransport:
    """The connections to one origin, from first use to `aclose`."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._where = origin.authority
        self._base = f"{origin.scheme}://{origin.authority}"
        self._proxy = _proxy(origin) if origin.trust_env else None
        self._session: ClientSession | None = None
        self._replies: set[AiohttpReply] = set()  # open ones
        self._closed = False

    async def send(self, request: UpstreamRequest, *, connect_s: float) -> AiohttpReply:
        """See `Transport.send`."""
        encode_head(request, "Host: h\r\n")  # for its refusals: aiohttp's own differ
        session = self._open()
        timing = SimpleNamespace(started=0.0, connect_s=None)
        try:
            response = await session.request(
                request.method,
                URL(self._base + request.path, encoded=True),
                headers=list(request.headers),
                data=_payload(request.body),
                allow_redirects=False,
                proxy=self._proxy,
                timeout=ClientTimeout(total=None, connect=connect_s, ceil_threshold=math.inf),
                trace_request_ctx=timing,
            )
        except (ClientError, OSError) as error:
            raise _translated(self._where, error) from None
        reply = AiohttpReply(self._where, response, timing.connect_s, self._replies)
        if response.status == 101:
            reply.close()
            raise TransportError(Breach.PROTOCOL, f"{self._where}: the answer changes the protocol")
        return reply

    async def check(self, *, connect_s: float) -> None:
        """See `Transport.check`."""
        origin = self._origin
        if self._proxy is not None:
            origin = Origin("http", self._proxy.host or "", self._proxy.port or 80)
        await Dialer(origin).dial(_Knock, connect_s=connect_s)

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        self._closed = True
        for reply in self._replies:
            reply.hang_up()
        await asyncio.sleep(0)  # their readers are told in the loop's next turn; a closed session would not
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)  # the sockets are closed in the loop's next turn

    def _open(self) -> ClientSession:
        """The session, made at first use because it belongs to a running loop."""
        if self._closed:
            raise TransportError(Breach.CONNECT, f"{self._where}: the transport is closed")
        if self._proxy is None and _is_link_local(self._origin.host):  # aiohttp does not resolve addresses
            message = f"{self._origin.host}: link-local addresses are never connected to"
            raise TransportError(Breach.RESOLVE, message)
        if self._session is None:
            connector = TCPConnector(
                limit=0,
                keepalive_timeout=IDLE_S,
                resolver=_Resolver(),
                use_dns_cache=False,
                ssl=client_context(self._origin.tls) if self._origin.scheme == "https" else True,
            )
            self._session = ClientSession(
                connector=connector,
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=_AUTO_HEADERS,
                max_line_size=HEAD_LINE_BYTES_MAX,
                max_field_size=HEAD_LINE_BYTES_MAX,
                trace_configs=[_stopwatch()],
            )
        return self._session


class AiohttpReply:
    """A response whose head has come, until it is read to its end or closed."""

    def __init__(
        self, where: str, response: ClientResponse, connect_s: float | None, open_replies: set[AiohttpReply]
    ) -> None:
        self.status: int = response.status
        self.headers: Sequence[tuple[str, str]] = [
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.raw_headers
        ]
        self.connect_s: float | None = connect_s
        self._where = where
        self._response = response
        self._ended = False
        self._broken = False
        self._open_replies = open_replies
        open_replies.add(self)

    async def read(self) -> bytes:
        """See `Reply.read`."""
        if self._ended:
            return b""
        chunk = b""
        try:
            if not self._broken:
                chunk = await self._response.content.readany()
        except asyncio.CancelledError:
            self.close()
            raise
        except (ClientError, HttpProcessingError, OSError):
            self._broken = True
        if self._broken and not chunk:
            raise TransportError(Breach.CUT, f"{self._where}: the response's body broke off")
        if not chunk:
            self._ended = True
            self.close()
        return chunk

    def close(self) -> None:
        """See `Reply.close`."""
        if self in self._open_replies:
            self._open_replies.discard(self)
            if not self._ended:
                self.hang_up()
            self._response.close()

    def hang_up(self) -> None:
        """Abort the connection: the body will not go on."""
        self._broken = True
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()


class _Resolver(AbstractResolver):
    """Resolves by the same rules as our own connections."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=found, proto=0, flags=socket.AI_NUMERICHOST)
            for found, address in await resolve(host, port)
            if family in (socket.AF_UNSPEC, found)
        ]

    async def close(self) -> None:
        """Nothing is held."""


class _Knock(asyncio.Protocol):
    """Hangs up as soon as it is connected."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.abort()  # type: ignore[attr-defined]  # declared for write transports only


def _payload(body: bytes | AsyncIterator[bytes]) -> bytes | io.BytesIO | AsyncIterator[bytes] | None:
    if not isinstance(body, bytes):
        return body
    return io.BytesIO(body) if len(body) > _WARNED_BYTES else body or None


def _proxy(origin: Origin) -> URL | None:
    """The environment's proxy for an origin, unless `no_proxy` names it."""
    proxies = getproxies_environment()
    address = proxies.get(origin.scheme) or proxies.get("all")
    if not address or proxy_bypass(f"{origin.host}:{origin.port}"):
        return None
    return URL(address if "://" in address else f"http://{address}")


def _is_link_local(host: str) -> bool:
    try:
        return link_local(host)
    except ValueError:  # a name
        return False


def _stopwatch() -> TraceConfig:
    """Notes how long a request's own connection took, if it made one."""

    async def started(_: object, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.started = time.monotonic()

    async def ended(_: object, context: SimpleNamespace, __: object) -> None:
        timing = context.trace_request_ctx
        timing.connect_s = time.monotonic() - timing.started

    trace = TraceConfig()
    trace.on_connection_create_start.append(started)
    trace.on_connection_create_end.append(ended)
    return trace


def _translated(where: str, error: ClientError | OSError) -> TransportError:
    """An error before the head, in our words; the order matters, for these classes inherit from each other."""
    match error:
        case ConnectionTimeoutError():
            return TransportError(Breach.CONNECT_TIMEOUT, f"{where}: not connected in time")
        case ClientConnectorCertificateError():
            return handshake_error(where, error.certificate_error)
        case ClientConnectorSSLError():
            return handshake_error(where, error.os_error)
        case ClientHttpProxyError():
            return TransportError(Breach.CONNECT, f"{where}: the proxy answered {error.status}")
        case ClientConnectorError():
            return TransportError(Breach.CONNECT, f"{where}: {error.os_error.strerror or 'not reachable'}")
        case ClientResponseError():
            return TransportError(Breach.PROTOCOL, f"{where}: the answer is not HTTP/1.1")
        case _:
            return TransportError(Breach.RESET, f"{where}: the connection ended before the response began")
