"""A head says what its request says, or is refused: nothing in a value can become a second header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.topology import Dialect, Operation, Provider, Tls
from sidecar.upstream.account import Account
from sidecar.upstream.client import AiohttpTransport
from sidecar.upstream.factory import open_transport, parse_origin
from sidecar.upstream.head import encode_head
from sidecar.upstream.pool import Pool
from sidecar.upstream.transport import Origin, UpstreamRequest

HOST = "Host: example.org\r\n"
latin = st.text(st.characters(max_codepoint=255))
names = st.text("abcXYZ-0", min_size=1, max_size=8)


@given(st.lists(st.tuples(names, latin), max_size=5), latin, st.sampled_from(["GET", "POST"]), st.binary(max_size=9))
def test_a_head_is_its_lines_or_refused(headers: list[tuple[str, str]], path: str, method: str, body: bytes) -> None:
    path = f"/{path}"
    bad = {"\r", "\n", "\0"}
    refused = any(bad & set(value) for _, value in headers) or bad & set(path) or " " in path or not path.isascii()
    request = UpstreamRequest(method, path, headers, body)
    if refused:
        with pytest.raises(ValueError, match="request"):
            encode_head(request, HOST)
        return
    lines = encode_head(request, HOST).decode("latin-1").split("\r\n")
    framing = [f"Content-Length: {len(body)}"] if body or method == "POST" else []
    assert lines == [
        f"{method} {path} HTTP/1.1",
        "Host: example.org",
        *(f"{name}: {value}" for name, value in headers),
        *framing,
        "",
        "",
    ]


@pytest.mark.parametrize("name", ["", "a b", "a:", "é", "a\r\nb", "Host", "content-length", "Transfer-Encoding", "TE"])
def test_names_that_are_not_the_callers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="header"):
        encode_head(UpstreamRequest("GET", "/", [(name, "v")]), HOST)


@pytest.mark.parametrize("method", ["", "GET /x HTTP/1.1\r\nA: b\r\n\r\nGET", "G T", "GET\0"])
def test_methods_are_words(method: str) -> None:
    with pytest.raises(ValueError, match="method"):
        encode_head(UpstreamRequest(method, "/", []), HOST)


def test_a_refusal_shows_no_value() -> None:
    with pytest.raises(ValueError, match="line break") as caught:
        encode_head(UpstreamRequest("GET", "/", [("Authorization", "Bearer canary\r\n")]), HOST)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "origin", "prefix", "authority"),
    [
        ("https://api.example.org/v1/", Origin("https", "api.example.org", 443), "/v1", "api.example.org"),
        ("http://127.0.0.1:11434", Origin("http", "127.0.0.1", 11434), "", "127.0.0.1:11434"),
        ("https://[::1]:8443/a/b", Origin("https", "::1", 8443), "/a/b", "[::1]:8443"),
        ("HTTP://Example.ORG:80", Origin("http", "example.org", 80), "", "example.org"),
        ("https://bücher.example", Origin("https", "xn--bcher-kva.example", 443), "", "xn--bcher-kva.example"),
    ],
)
def test_base_urls(url: str, origin: Origin, prefix: str, authority: str) -> None:
    assert parse_origin(url) == (origin, prefix)
    assert origin.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://x",
        "https://",
        "https://u:p@x",
        "https://x?q=1",
        "https://x#f",
        "http://x:99999",
        "http://x:y",
    ],
)
def test_what_is_not_a_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_origin(url)


def test_which_transport_serves_an_origin() -> None:
    origin, _ = parse_origin("https://x", Tls(ca_file="ca.pem"))
    assert isinstance(open_transport(origin), Pool)
    assert isinstance(open_transport(origin, aiohttp=True), AiohttpTransport)
    trusting, _ = parse_origin("https://x", trust_env=True)
    assert isinstance(open_transport(trusting), AiohttpTransport)


def test_a_head_is_written_once_for_all_models_of_a_provider() -> None:
    up = Provider("up", "openai", "http://127.0.0.1:9", (Dialect.OPENAI_CHAT,), {Operation.CHAT: "/chat/completions"})
    account = Account(up, Pool(parse_origin(up.base_url)[0]), "")
    ways = [account.way(Operation.CHAT, f"model-{number}", (), stream=False) for number in range(3)]
    assert len({id(way.headers) for way in ways}) == 1
    assert account.way(Operation.CHAT, "model-0", (("x-title", "a"),), stream=False).headers != ways[0].headers
