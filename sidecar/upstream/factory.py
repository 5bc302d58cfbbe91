"""From a provider's base URL to an origin, and from an origin to the transport that serves it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from importlib import import_module
from urllib.parse import urlsplit

from sidecar.dialects.table import provider_codec
from sidecar.model.topology import Dialect, Provider, Tls, TransportName
from sidecar.upstream.pool import Pool
from sidecar.upstream.tls import client_context
from sidecar.upstream.transport import Origin, Transport, TransportError

__all__ = ["open_transport", "parse_origin", "prepare"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


def open_transport(origin: Origin, *, aiohttp: bool = False) -> Transport:
    """A transport for an origin; makes no connection yet.

    Args:
        origin: Where its connections go.
        aiohttp: Use aiohttp's client. An origin that trusts the environment gets it anyway, because only
            that client can speak to a proxy.
    """
    if not aiohttp and not origin.trust_env:
        return Pool(origin)
    from sidecar.upstream.client import AiohttpTransport  # noqa: PLC0415 - rarely asked for, and dear to import

    return AiohttpTransport(origin)


def prepare(providers: Collection[Provider]) -> None:
    """Make what the first calls to these providers would have to wait for: some 50 ms, meant for a thread."""
    for each in providers:
        if Dialect.OPENAI_CHAT not in each.dialects:  # what most clients speak will be translated
            for dialect in (Dialect.OPENAI_CHAT, *each.dialects[:1]):
                provider_codec(dialect)
    if any(each.trust_env or each.transport is TransportName.AIOHTTP for each in providers):
        import_module("sidecar.upstream.client")
    if any(each.base_url.startswith("https:") and each.tls == Tls() for each in providers):
        with contextlib.suppress(TransportError):  # the connection that meets it tells of it
            client_context(Tls())


def parse_origin(base_url: str, tls: Tls = Tls(), trust_env: bool = False) -> tuple[Origin, str]:  # noqa: B008  # frozen
    """The origin of a base URL, and the prefix that every path under it begins with ("" or "/v1").

    Raises:
        ValueError: When it is not `http(s)://host[:port][/prefix]`; userinfo, a query or a fragment is refused.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError("a base URL is http(s)://host[:port][/prefix]")
    if "@" in parts.netloc:
        raise ValueError("a base URL holds no user or password; give the key as api_key")
    if parts.query or parts.fragment:
        raise ValueError("a base URL holds no query and no fragment")
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    port = parts.port if parts.port is not None else _DEFAULT_PORTS[parts.scheme]
    return Origin(parts.scheme, host, port, tls, trust_env), parts.path.rstrip("/")
