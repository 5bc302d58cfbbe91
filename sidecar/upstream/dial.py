"""From an origin to an open connection: resolves, refuses what must not be reached, connects.

Knows addresses and time limits; must not know HTTP. One limit covers DNS, TCP and TLS together.

A name is resolved for every connection (the system's resolver caches), but only once at a time: the
system resolves in a few threads, which a name whose server is silent would take for itself, one for each
connection that is tried, until no other name is resolved either. What came is filtered
before anything is sent: link-local addresses are where clouds keep their metadata services, and no
provider lives there, so a config or a DNS answer that points at one is refused, without exception.

Addresses are tried one after the other, each with its share of the time that is left, so that a
silent first address does not use up the limit. The address that worked last is tried first: a silent
one then costs its share once, not for every connection. Racing two (RFC 8305) would save that share
at the price of a second socket to clean up at every cancellation.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

from sidecar.model.topology import Tls
from sidecar.upstream.tls import client_context, handshake_error
from sidecar.upstream.transport import Breach, Origin, TransportError

__all__ = ["Dialer", "link_local", "resolve"]

P = TypeVar("P", bound=asyncio.Protocol)


class Dialer:
    """Opens connections to one origin; lives as long as its pool."""

    def __init__(self, origin: Origin) -> None:
        self._host, self._port = origin.host, origin.port
        self._where = origin.authority
        self._tls = origin.tls if origin.scheme == "https" else None
        self._context: ssl.SSLContext | None = None
        self._making: asyncio.Task[ssl.SSLContext] | None = None  # of the context
        self._last_good: str | None = None
        self._number = _is_number(origin.host)  # nobody has to be asked for its address

    async def dial(self, protocol: Callable[[], P], *, connect_s: float) -> P:
        """A connected protocol, after the TLS handshake; nothing is left when it fails or is cancelled.

        Raises:
            TransportError: RESOLVE, CONNECT, CONNECT_TIMEOUT or TLS.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + connect_s
        try:
            async with asyncio.timeout_at(ends_at):
                if self._tls is not None and self._context is None:
                    self._context = await self._made(self._tls)
                if self._number:
                    return await self._connect(protocol, self._host)
                addresses = [address for _, address in await resolve(self._host, self._port)]
                addresses.sort(key=lambda address: address != self._last_good)  # the rest keeps its order
                for untried, address in zip(range(len(addresses), 1, -1), addresses, strict=False):
                    try:
                        async with asyncio.timeout((ends_at - loop.time()) / untried):
                            return await self._connect(protocol, address)
                    except TimeoutError:
                        continue
                    except TransportError as error:
                        if error.breach is not Breach.CONNECT:
                            raise
                return await self._connect(protocol, addresses[-1])
        except TimeoutError:
            raise TransportError(Breach.CONNECT_TIMEOUT, f"{self._where}: not connected in {connect_s:g} s") from None

    async def _made(self, tls: Tls) -> ssl.SSLContext:
        """The context, made in a thread: a loop that reads every authority of the system answers nobody meanwhile."""
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(asyncio.to_thread(client_context, tls))
            self._making.add_done_callback(_seen)
        return await asyncio.shield(self._making)

    async def _connect(self, protocol: Callable[[], P], address: str) -> P:
        """Connect to one address. Both kinds of loop set TCP_NODELAY, and clean up when this is cancelled."""
        try:
            _, connected = await asyncio.get_running_loop().create_connection(
                protocol,
                address,
                self._port,
                ssl=self._context,
                server_hostname=self._host if self._context is not None else None,
            )
        except ssl.SSLError as error:
            raise handshake_error(self._where, error) from None
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            reason = os.strerror(error.errno) if error.errno else "the connection was closed during the handshake"
            raise TransportError(Breach.CONNECT, f"{self._where}: {reason}") from None
        self._last_good = address
        return connected


async def resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    """The addresses of a host that may be connected to, in the resolver's order; at least one.

    Raises:
        TransportError: RESOLVE, when there is none.
    """
    try:
        addresses = await _lookup(host, port)
    except socket.gaierror as error:
        raise TransportError(Breach.RESOLVE, f"{host}: no address: {error.strerror}") from None
    except UnicodeError:
        raise TransportError(Breach.RESOLVE, f"{host}: not a host name") from None
    admitted = [each for each in addresses if not link_local(each[1])]
    if not admitted:
        where = ", ".join(address for _, address in addresses)
        raise TransportError(Breach.RESOLVE, f"{host}: link-local addresses ({where}) are never connected to")
    return admitted


_Addresses = list[tuple[socket.AddressFamily, str]]
_lookups: dict[tuple[asyncio.AbstractEventLoop, str, int], asyncio.Task[_Addresses]] = {}


async def _lookup(host: str, port: int) -> _Addresses:
    """What the system says; whoever asks meanwhile gets the same answer."""
    loop = asyncio.get_running_loop()
    key = loop, host, port
    running = _lookups.get(key)
    if running is None:
        running = _lookups[key] = loop.create_task(_ask(host, port))
        running.add_done_callback(lambda task: _answered(key, task))
    return await asyncio.shield(running)


async def _ask(host: str, port: int) -> _Addresses:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, _, _, _, address in found]


def _answered(key: tuple[asyncio.AbstractEventLoop, str, int], task: asyncio.Task[_Addresses]) -> None:
    del _lookups[key]
    _seen(task)


def _seen(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # whoever asked may be gone: then nobody else looks at it


def _is_number(host: str) -> bool:
    """Whether a host is an address that may be connected to."""
    try:
        return not link_local(host)
    except ValueError:
        return False


def link_local(text: str) -> bool:
    """Whether an address is link-local, also when it is IPv4 written as IPv6."""
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_link_local
