"""Every way not to get a connection has its own name, its time limit, and a message that shows no secret."""

import asyncio
import contextlib
import os
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from sidecar.model.topology import Tls
from sidecar.upstream.pool import Pool
from sidecar.upstream.transport import Breach, Origin, Transport, TransportError
from tests.upstream.scripted import BOUND_S, OK, Peer, answering, get, serving
from tests.upstream.test_pool import fetch

BOTH_LOOPS = True


async def refusal(transport: Transport, connect_s: float = BOUND_S) -> TransportError:
    """The error of a request and of a check, which must be of one kind."""
    with pytest.raises(TransportError) as checked:
        await transport.check(connect_s=connect_s)
    with pytest.raises(TransportError) as sent:
        await transport.send(get(headers=[("Authorization", "Bearer canary")]), connect_s=connect_s)
    assert sent.value.breach is checked.value.breach
    chain: BaseException | None = sent.value
    while chain is not None:
        assert "canary" not in f"{chain} {chain!r}"
        chain = chain.__cause__
    return sent.value


@contextlib.contextmanager
def unanswered() -> Iterator[int]:
    """A port that takes no connection and refuses none: its queue is full and nobody accepts."""
    with contextlib.ExitStack() as held:
        listening = held.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


async def test_a_check_connects_and_hangs_up(opened: Callable[..., Transport]) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        await opened(server.origin).check(connect_s=BOUND_S)
        while not server.accepted:
            await asyncio.sleep(0.001)
        await server.emptied()
    assert server.accepted == 1


async def test_refused(opened: Callable[..., Transport]) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        error = await refusal(opened(Origin("http", "127.0.0.1", port)))
    assert error.breach is Breach.CONNECT
    assert f"127.0.0.1:{port}" in str(error)


async def test_not_answered_in_time(opened: Callable[..., Transport]) -> None:
    with unanswered() as port:
        async with asyncio.timeout(BOUND_S):
            error = await refusal(opened(Origin("http", "127.0.0.1", port)), connect_s=0.05)
    assert error.breach is Breach.CONNECT_TIMEOUT


async def test_a_silent_handshake_is_within_the_limit(opened: Callable[..., Transport]) -> None:
    async with serving(lambda peer: peer.gone()) as server, asyncio.timeout(BOUND_S):
        error = await refusal(opened(Origin("https", "127.0.0.1", server.origin.port)), connect_s=0.05)
        await server.emptied()
    assert error.breach is Breach.CONNECT_TIMEOUT


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".example"])
async def test_a_name_without_address(opened: Callable[..., Transport], host: str) -> None:
    assert (await refusal(opened(Origin("http", host, 80)))).breach is Breach.RESOLVE


@pytest.mark.parametrize("host", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"])
async def test_link_local_addresses_are_denied(opened: Callable[..., Transport], host: str) -> None:
    error = await refusal(opened(Origin("http", host, 80)))
    assert error.breach is Breach.RESOLVE
    assert "link-local" in str(error)


@pytest.mark.parametrize("found", [["169.254.169.254"], ["fe80::1"], ["::ffff:169.254.1.1", "169.254.1.1"]])
async def test_names_of_link_local_addresses_are_denied(
    opened: Callable[..., Transport], monkeypatch: pytest.MonkeyPatch, found: list[str]
) -> None:
    answer_lookups(monkeypatch, found)
    error = await refusal(opened(Origin("http", "metadata.example", 80)))
    assert error.breach is Breach.RESOLVE
    assert "link-local" in str(error)


async def test_the_next_address_is_tried(pooled: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(OK), host="many.example") as server, asyncio.timeout(BOUND_S):
        answer_lookups(monkeypatch, ["169.254.1.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"])
        pool = pooled(server.origin)
        assert await fetch(pool) == b"ok"


async def test_a_silent_address_leaves_time_for_the_next(
    pooled: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    with unanswered() as port, socket.create_server(("127.0.0.2", port)) as listening:
        answer_lookups(monkeypatch, ["127.0.0.1", "127.0.0.2"])
        pool = pooled(Origin("http", "two.example", port))
        async with asyncio.timeout(BOUND_S):
            await pool.check(connect_s=0.2)
            await pool.check(connect_s=60)  # the address that worked is tried first
        listening.close()


@pytest.mark.parametrize("turns", range(6))
async def test_an_address_given_up_as_it_connects_leaves_no_connection(
    pooled: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    share_s = 0.05
    async with serving(answering(OK), host="two.example") as server, asyncio.timeout(BOUND_S):
        answer_lookups(monkeypatch, ["127.0.0.1", "127.0.0.1"])
        pool = pooled(server.origin)
        asking = asyncio.ensure_future(pool.send(get(), connect_s=2 * share_s))
        for _ in range(turns):
            await asyncio.sleep(0)
        time.sleep(share_s)  # a busy loop, in which the first address has had its time
        with contextlib.suppress(TransportError):
            (await asking).close()
        while pool.in_use:
            await asyncio.sleep(0.001)
        await pool.aclose()
        await server.emptied()


def answer_lookups(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    """Stand in for the resolver, the one thing here that a test cannot bring along."""

    async def lookup(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
        return [(socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in addresses]

    monkeypatch.setattr("sidecar.upstream.dial._lookup", lookup)


class Authority:
    """A private authority, its file, and servers that it vouches for."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.file = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.file)
        self.folder = folder

    def server(self, name: str = "127.0.0.1", *, asks_for_client: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(name).configure_cert(context)
        if asks_for_client:
            self.ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self) -> tuple[str, str]:
        """A client's certificate and key."""
        issued = self.ca.issue_cert("client@example.org")
        paths = str(self.folder / "client.pem"), str(self.folder / "client.key")
        issued.cert_chain_pems[0].write_to_path(paths[0])
        issued.private_key_pem.write_to_path(paths[1])
        return paths


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


async def test_a_private_authority_is_trusted_by_its_file(
    opened: Callable[..., Transport], authority: Authority
) -> None:
    tls = Tls(ca_file=authority.file)
    async with serving(answering(OK), context=authority.server(), tls=tls) as server, asyncio.timeout(BOUND_S):
        transport = opened(server.origin)
        for _ in range(20):
            assert await fetch(transport) == b"ok"
        assert server.accepted == 1
        await transport.check(connect_s=BOUND_S)


async def test_the_loop_goes_on_while_authorities_are_read(tmp_path: Path, authority: Authority) -> None:
    """A pipe for a file: it has nothing to read until somebody writes, which the loop must be free to see to."""
    pipe = tmp_path / "ca.pem"
    os.mkfifo(pipe)
    turned = threading.Event()
    in_time: list[bool] = []

    def write() -> None:
        in_time.append(turned.wait(5))
        pipe.write_bytes(Path(authority.file).read_bytes())

    writer = threading.Thread(target=write)
    async with (
        serving(answering(OK), context=authority.server(), tls=Tls(str(pipe))) as server,
        asyncio.timeout(BOUND_S),
        contextlib.aclosing(Pool(server.origin)) as pool,
    ):
        writer.start()
        answers = [asyncio.create_task(fetch(pool)) for _ in range(3)]
        await asyncio.sleep(0.05)  # the pipe is waited for by now: once, or a second reader would wait for ever
        turned.set()
        assert await asyncio.gather(*answers) == [b"ok"] * 3
    writer.join(5)
    assert in_time == [True]


async def test_an_unknown_authority_is_refused(opened: Callable[..., Transport], authority: Authority) -> None:
    async with serving(answering(OK), context=authority.server()) as server, asyncio.timeout(BOUND_S):
        error = await refusal(opened(server.origin))
    assert error.breach is Breach.TLS
    assert "127.0.0.1" in str(error)
    assert "certificate" in str(error)


async def test_a_certificate_of_another_name_is_refused(opened: Callable[..., Transport], authority: Authority) -> None:
    tls = Tls(ca_file=authority.file)
    context = authority.server("other.example")
    async with serving(answering(OK), context=context, tls=tls) as server, asyncio.timeout(BOUND_S):
        error = await refusal(opened(server.origin))
    assert error.breach is Breach.TLS
    assert "127.0.0.1" in str(error)


async def test_tls_1_1_is_refused(opened: Callable[..., Transport], authority: Authority) -> None:
    context = authority.server()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is the point of this test
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    tls = Tls(ca_file=authority.file)
    async with serving(answering(OK), context=context, tls=tls) as server, asyncio.timeout(BOUND_S):
        assert (await refusal(opened(server.origin))).breach in (Breach.TLS, Breach.CONNECT)


async def test_a_server_that_does_not_speak_tls(opened: Callable[..., Transport]) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(100)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(script) as server, asyncio.timeout(BOUND_S):
        error = await refusal(opened(Origin("https", "127.0.0.1", server.origin.port)))
    assert error.breach is Breach.TLS


@pytest.mark.parametrize("shown", [True, False])
async def test_client_certificates(opened: Callable[..., Transport], authority: Authority, shown: bool) -> None:
    cert_file, key_file = authority.client()
    tls = Tls(authority.file, cert_file, key_file) if shown else Tls(authority.file)
    context = authority.server(asks_for_client=True)
    async with serving(answering(OK), context=context, tls=tls) as server, asyncio.timeout(BOUND_S):
        transport = opened(server.origin)
        if shown:
            assert await fetch(transport) == b"ok"
        else:
            with pytest.raises(TransportError) as caught:  # TLS 1.3: after the handshake, instead of an answer
                await fetch(transport)
            assert caught.value.breach in (Breach.TLS, Breach.RESET)
        await transport.aclose()


@pytest.mark.parametrize("field", ["ca_file", "cert_file", "key_file"])
@pytest.mark.parametrize("content", [None, "not a certificate"])
async def test_a_file_that_cannot_be_used_is_named(
    opened: Callable[..., Transport], authority: Authority, tmp_path: Path, field: str, content: str | None
) -> None:
    cert_file, key_file = authority.client()
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_text(content)
    files = {"ca_file": authority.file, "cert_file": cert_file, "key_file": key_file, field: str(bad)}
    error = await refusal(opened(Origin("https", "127.0.0.1", 1, Tls(**files))))
    assert error.breach is Breach.TLS
    assert f"{field} {bad}" in str(error)
