"""Threat 5: a config, or who answers for a name, sends requests to where they should not go, or in clear."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from sidecar.config import ConfigErrors, Source, load
from tests.config.conftest import outside
from tests.fake_provider import FakeProvider, ok
from tests.server.house import config, open_house
from tests.server.raw import chat_body, post


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v1", "http://10.0.0.1/v1", "http://localhost.example.com/v1", "http://127.0.0.1.x.test",
        "ftp://127.0.0.1/", "file:///etc/passwd", "unix:/run/x", "https://user:pw@api.example.com/v1",
        "https://api.example.com/v1?key=x", "https://api.example.com/v1#x", "https://api.example.com/../x", "https://",
        "http://0x7f000001.x/", "https://api.example.com:99999/",
    ],
)  # fmt: skip
def test_05_an_address_in_clear_or_with_something_hidden_in_it_is_refused(url: str) -> None:
    text = f'providers: {{a: {{type: openai-compatible, base_url: "{url}", api_key: k}}}}\n'
    with pytest.raises(ConfigErrors):
        load([Source("sidecar.yaml", text)], outside())


def test_05_in_clear_to_another_machine_has_to_be_said() -> None:
    text = 'providers: {a: {type: openai-compatible, base_url: "http://10.0.0.1/v1", api_key: k, insecure: true}}\n'
    assert load([Source("sidecar.yaml", text)], outside()).providers["a"].base_url == "http://10.0.0.1/v1"


@pytest.mark.parametrize("transport", ["direct", "aiohttp"])
@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"])
async def test_05_link_local_addresses_are_never_connected_to(transport: str, host: str) -> None:
    """Whatever the config says: clouds hand out a machine's credentials there. Names are tried in `tests/limits`."""
    text = config("http://127.0.0.1:9").replace("http://127.0.0.1:9", f"http://{host}").replace(
        "api_key: k-fake", f"api_key: k-fake, insecure: true, transport: {transport}"
    )  # fmt: skip
    async with open_house(text) as house:
        reply = await house.once("unix", post(chat_body()))
        assert reply.status == 502
        assert "link-local" in reply.error["message"]


@pytest.mark.parametrize("transport", ["direct", "aiohttp"])
async def test_05_only_a_trusted_certificate_for_the_right_name_is_spoken_to(tmp_path: Path, transport: str) -> None:
    ca, stranger = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")

    def server(authority: trustme.CA, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        return context

    old = server(ca, "127.0.0.1")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for context, trusted, expected in (
        (server(ca, "127.0.0.1"), True, 200),
        (old, True, 200),
        (server(ca, "127.0.0.1"), False, 502),  # nobody vouches for it
        (server(stranger, "127.0.0.1"), True, 502),  # somebody else does
        (server(ca, "api.example.com"), True, 502),  # for another name
    ):
        async with FakeProvider(tls=context) as fake:
            fake.script(ok("fine"))
            tls = f'tls: {{ca_file: "{tmp_path}/ca.pem"}}' if trusted else "tls: {}"
            text = config(fake.base_url).replace("api_key: k-fake", f"api_key: k-fake, transport: {transport}, {tls}")
            async with open_house(text) as house:
                reply = await house.once("unix", post(chat_body()))
                assert reply.status == expected, reply.body
                assert bool(fake.requests) == (expected == 200)  # no byte of a request was sent
