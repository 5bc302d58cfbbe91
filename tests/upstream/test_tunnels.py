"""Through a proxy by CONNECT: to a private authority's server that asks for a certificate, and what can go wrong."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sidecar.model.topology import Tls
from sidecar.upstream.factory import open_transport
from sidecar.upstream.transport import Breach, Origin, Transport, TransportError
from tests.upstream.scripted import BOUND_S, OK, Peer, Server, answering, get, post, serving
from tests.upstream.test_connecting import Authority
from tests.upstream.test_pool import fetch, text

BOTH_LOOPS = True

NAME = "provider.example"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tunnels"))


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Proxy:
    """Tunnels to one server, whatever name is asked for; notes the heads."""

    def __init__(self, to: Server) -> None:
        self._port = to.origin.port
        self.heads: list[bytes] = []
        self.bytes_through = 0

    async def __call__(self, peer: Peer) -> None:
        self.heads.append(await peer.head())
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(self._pass(peer.reader, writer), self._pass(reader, peer.writer))
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                self.bytes_through += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def tunnelled(
    server: Server, tls: Tls, monkeypatch: pytest.MonkeyPatch, user: str = ""
) -> AsyncIterator[tuple[Transport, Proxy]]:
    """A transport to `NAME`, which only the proxy can find."""
    proxy = Proxy(server)
    async with serving(proxy) as running:
        monkeypatch.setenv("https_proxy", f"http://{user}127.0.0.1:{running.origin.port}")
        transport = open_transport(Origin("https", NAME, 443, tls, trust_env=True), aiohttp=True)
        async with contextlib.aclosing(transport), asyncio.timeout(BOUND_S):  # type: ignore[type-var]
            yield transport, proxy


async def test_a_provider_behind_a_proxy_with_certificates_on_both_sides(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = authority.server(NAME, asks_for_client=True)
    tls = Tls(authority.file, *authority.client())
    async with serving(answering(OK), context=context) as server:
        async with tunnelled(server, tls, monkeypatch, user="me:secret@") as (transport, proxy):
            for _ in range(3):
                assert await fetch(transport, get(headers=[("Authorization", "Bearer key")])) == b"ok"
            await transport.check(connect_s=BOUND_S)
        assert server.accepted == 1
    head = proxy.heads[0]
    assert head.startswith(f"CONNECT {NAME}:443 HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"me:secret") in head
    assert b"Bearer" not in head
    assert proxy.bytes_through


@pytest.mark.parametrize("size", [1, 300_000])
async def test_streams_pass_both_ways(authority: Authority, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    async def script(peer: Peer) -> None:
        _, body = await peer.request()
        assert body == b"x" * size
        chunks = [b"data: %d\n\n" % number for number in range(5)]
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.send(*(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks), b"0\r\n\r\n")

    context = authority.server(NAME)
    async with (
        serving(script, context=context) as server,
        tunnelled(server, Tls(authority.file), monkeypatch) as (transport, _),
    ):
        reply = await transport.send(post(b"x" * size), connect_s=BOUND_S)
        assert await text(reply) == b"".join(b"data: %d\n\n" % number for number in range(5))


@pytest.mark.parametrize(
    ("name", "trusts", "shows"), [("other.example", True, True), (NAME, False, True), (NAME, True, False)]
)
async def test_a_tunnel_hides_no_wrong_certificate(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, name: str, trusts: bool, shows: bool
) -> None:
    context = authority.server(name, asks_for_client=True)
    files = authority.client() if shows else (None, None)
    tls = Tls(authority.file if trusts else None, *files)
    async with (
        serving(answering(OK), context=context) as server,
        tunnelled(server, tls, monkeypatch) as (transport, _),
    ):
        with pytest.raises(TransportError) as caught:
            await fetch(transport)
    # A client's certificate is asked for after the handshake (TLS 1.3): its lack shows as an end.
    assert caught.value.breach in ((Breach.TLS,) if shows else (Breach.TLS, Breach.RESET, Breach.CUT))


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "407"), (b"", "ended")],
)
async def test_a_proxy_that_does_not_let_through(monkeypatch: pytest.MonkeyPatch, answer: bytes, said: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer)

    async with serving(script) as proxy, asyncio.timeout(BOUND_S):
        monkeypatch.setenv("https_proxy", f"http://me:canary@127.0.0.1:{proxy.origin.port}")
        transport = open_transport(Origin("https", NAME, 443, trust_env=True))
        with pytest.raises(TransportError, match=said) as caught:
            await transport.send(get(), connect_s=BOUND_S)
        await transport.aclose()
    assert caught.value.breach in (Breach.CONNECT, Breach.RESET)
    assert "canary" not in str(caught.value)


async def test_our_own_connection_never_looks_at_proxies(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pooled: Callable[[Origin], Transport]
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    context = authority.server()
    async with serving(answering(OK), context=context, tls=Tls(authority.file)) as server, asyncio.timeout(BOUND_S):
        assert await fetch(pooled(server.origin)) == b"ok"
