"""Only an origin that trusts the environment goes through its proxy, and nothing else of it is taken."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from sidecar.upstream.client import AiohttpTransport
from sidecar.upstream.factory import open_transport, parse_origin
from sidecar.upstream.transport import Breach, TransportError
from tests.upstream.scripted import BOUND_S, OK, Peer, Server, answering, get, serving
from tests.upstream.test_pool import fetch

BOTH_LOOPS = True


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("default login canary password canary\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.origin.port}"


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
async def test_an_origin_that_trusts_the_environment_goes_through_its_proxy(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    heads = []

    async def script(peer: Peer) -> None:
        heads.append(await peer.head())
        await peer.send(OK)

    async with serving(script) as proxy, asyncio.timeout(BOUND_S):
        monkeypatch.setenv(variable, url_of(proxy))
        origin, _ = parse_origin("http://provider.example:81", trust_env=True)
        async with contextlib.aclosing(open_transport(origin)) as transport:
            request = get("/v1/models", [("Authorization", "Bearer key")])
            assert await fetch(transport, request) == b"ok"
    assert heads[0].startswith(b"GET http://provider.example:81/v1/models HTTP/1.1\r\nHost: provider.example:81\r\n")
    assert heads[0].count(b"Authorization") == 1
    assert b"Bearer key" in heads[0]


async def test_https_is_tunnelled(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []

    async def script(peer: Peer) -> None:
        heads.append(await peer.head())
        await peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    async with serving(script) as proxy, asyncio.timeout(BOUND_S):
        monkeypatch.setenv("https_proxy", url_of(proxy).replace("http://", "http://user:canary@"))
        origin, _ = parse_origin("https://provider.example", trust_env=True)
        async with contextlib.aclosing(open_transport(origin)) as transport:
            with pytest.raises(TransportError, match="403") as caught:
                await transport.send(get(headers=[("Authorization", "Bearer key")]), connect_s=BOUND_S)
    assert caught.value.breach is Breach.CONNECT
    assert "canary" not in str(caught.value)
    assert heads[0].startswith(b"CONNECT provider.example:443 HTTP/1.1\r\n")
    assert b"Bearer" not in heads[0]


async def test_a_check_knocks_at_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(OK)) as proxy, asyncio.timeout(BOUND_S):
        monkeypatch.setenv("http_proxy", url_of(proxy))
        origin, _ = parse_origin("http://provider.example", trust_env=True)
        async with contextlib.aclosing(open_transport(origin)) as transport:
            await transport.check(connect_s=BOUND_S)
        while not proxy.accepted:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(("trust_env", "no_proxy"), [(False, ""), (True, "127.0.0.1")])
async def test_nobody_else_does(monkeypatch: pytest.MonkeyPatch, trust_env: bool, no_proxy: str) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", no_proxy)
    async with serving(answering(OK)) as server, asyncio.timeout(BOUND_S):
        origin, _ = parse_origin(url_of(server), trust_env=trust_env)
        transports = [open_transport(origin), AiohttpTransport(origin)]
        for transport in transports:
            async with contextlib.aclosing(transport):
                assert await fetch(transport) == b"ok"
