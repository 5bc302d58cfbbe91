"""Vertex behind a sidecar: whose token is shown, when it is got anew, and how each model is asked."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.model.secret import Secret
from sidecar.model.topology import Auth, AuthScheme
from sidecar.upstream.authorised import Lease, aside
from sidecar.upstream.google import GoogleToken
from sidecar.upstream.transport import Breach, Origin, TransportError, UpstreamRequest
from tests.providers.clouds import Asked, answer, ask, behind
from tests.upstream.scripted import BOUND_S

ORIGIN = Origin("https", "aiplatform.googleapis.com", 443)
QUESTION = {"model": "any", "messages": [{"role": "user", "content": "hi"}]}
GENERATED = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
    "modelVersion": "gemini-3-flash",
    "responseId": "r1",
}
SAID = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}


def vertex(asked: Asked) -> bytes:
    if "anthropic" in asked.path:
        if asked.path.endswith("count-tokens:rawPredict"):
            return answer(b'{"input_tokens": 7}')
        return answer(json.dumps(SAID).encode())
    if "streamGenerateContent" in asked.path:
        return answer(b"data: " + json.dumps(GENERATED).encode() + b"\r\n\r\n", "text/event-stream")
    return answer(json.dumps(GENERATED).encode())


class Tokens:
    """Who gives tokens; what was asked of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self.lasts_s = 3600


@pytest.fixture
def tokens() -> Iterator[Tokens]:
    """A token endpoint, and a machine's own metadata server, on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            given.asked.append({name: values[0] for name, values in parse_qs(body).items()})
            self._give()

        def do_GET(self) -> None:
            if self.path.startswith("/computeMetadata/v1/instance/service-accounts/default/token"):
                given.asked.append({"metadata": self.path})
                self._give()
            else:
                self._write(200, {"email": "default", "scopes": [], "aliases": []})

        def _give(self) -> None:
            number = len(given.asked)
            told = {"access_token": f"token-{number}", "expires_in": given.lasts_s, "token_type": "Bearer"}
            self._write(given.status, told if given.status == 200 else {"error": "invalid_grant"})

        def _write(self, status: int, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    given = Tokens(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield given
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, format_ = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, format_, serialization.NoEncryption()).decode()


@pytest.fixture
def provider(tokens: Tokens, private_key: str, tmp_path: Path) -> str:
    account = {
        "type": "service_account",
        "client_email": "sidecar@my-project.iam.gserviceaccount.com",
        "private_key": private_key,
        "private_key_id": "1",
        "token_uri": f"{tokens.url}/token",
    }
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account))
    path.chmod(0o600)
    return f"type: vertex, base_url: URL, project: my-project, location: europe-west4, credentials: '${{file:{path}}}'"


BEGIN = "/v1/projects/my-project/locations/europe-west4/publishers"


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-3-flash", False, f"{BEGIN}/google/models/gemini-3-flash:generateContent"),
        ("gemini-3-flash", True, f"{BEGIN}/google/models/gemini-3-flash:streamGenerateContent?alt=sse"),
        ("claude-sonnet-4-5@20250929", False, f"{BEGIN}/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"),
        ("claude-opus-4-6", True, f"{BEGIN}/anthropic/models/claude-opus-4-6:streamRawPredict"),
    ],
)
async def test_every_model_is_asked_in_its_own_way(
    provider: str, tokens: Tokens, model: str, stream: bool, path: str
) -> None:
    async with behind(vertex, provider, f'"cloud/{model}"') as (house, cloud):
        reply = await ask(house, "/v1/chat/completions", {**QUESTION, "stream": stream})
    assert reply.status == 200
    assert b"hi" in reply.body
    (asked,) = cloud.asked
    assert (asked.path, asked.headers["authorization"]) == (path, "Bearer token-1")
    assert "model" not in asked.json
    if "anthropic" in path:
        assert asked.json["anthropic_version"] == "vertex-2023-10-16"
        assert asked.json.get("stream", False) is stream
    (grant,) = tokens.asked
    claims = grant["assertion"].split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert said["iss"] == "sidecar@my-project.iam.gserviceaccount.com"
    assert said["scope"] == "https://www.googleapis.com/auth/cloud-platform"


async def test_claudes_tokens_are_counted_by_their_own_path(provider: str) -> None:
    async with behind(vertex, provider, "cloud/claude-opus-4-6") as (house, cloud):
        reply = await ask(house, "/v1/messages/count_tokens", QUESTION)
    assert json.loads(reply.body) == {"input_tokens": 7}
    assert cloud.asked[0].path == f"{BEGIN}/anthropic/models/count-tokens:rawPredict"
    assert cloud.asked[0].json["model"] == "claude-opus-4-6"


async def test_one_token_serves_all_who_ask_at_once(provider: str, tokens: Tokens) -> None:
    async with behind(vertex, provider, "cloud/gemini-3-flash") as (house, cloud):
        replies = await asyncio.gather(*(ask(house, "/v1/chat/completions", QUESTION) for _ in range(5)))
    assert [reply.status for reply in replies] == [200] * 5
    assert len(tokens.asked) == 1
    assert {asked.headers["authorization"] for asked in cloud.asked} == {"Bearer token-1"}


@pytest.mark.parametrize(("status", "token"), [(401, 2), (403, 1), (500, 1)])
async def test_a_token_that_is_not_accepted_is_got_anew(
    tokens: Tokens, private_key: str, status: int, token: int
) -> None:
    fields = {"type": "service_account", "client_email": "a@b", "private_key": private_key, "token_uri": tokens.url}
    auth = GoogleToken(Auth(AuthScheme.GOOGLE_OAUTH, access={"credentials": Secret(json.dumps(fields))}), ORIGIN)
    request = UpstreamRequest("GET", "/", [])
    assert dict((await auth.authorise(request)).headers) == {"Authorization": "Bearer token-1"}
    auth.answered(status)
    assert dict((await auth.authorise(request)).headers) == {"Authorization": f"Bearer token-{token}"}


async def test_credentials_that_are_none_are_told_without_them() -> None:
    auth = GoogleToken(
        Auth(AuthScheme.GOOGLE_OAUTH, access={"credentials": Secret('{"type": "authorized_user"}')}), ORIGIN
    )
    with pytest.raises(TransportError) as caught:
        await auth.authorise(UpstreamRequest("GET", "/", []))
    assert caught.value.breach is Breach.CREDENTIAL
    assert "authorized_user" not in str(caught.value)


async def test_a_key_that_is_a_directory_is_a_credential_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path))
    provider = "type: vertex, base_url: URL, project: my-project, location: europe-west4"
    async with behind(vertex, provider, "cloud/gemini-3-flash") as (house, cloud):
        await ask(house, "/v1/chat/completions", QUESTION)
        (line,) = await house.wait_lines("attempt")
    assert (line["kind"], cloud.asked) == ("credential", [])
    assert f"{tmp_path}: the credentials in it cannot be read: Is a directory" in line["error"]


async def test_an_account_that_gets_no_token_is_a_credential_that_is_wrong(provider: str, tokens: Tokens) -> None:
    tokens.status = 400
    async with behind(vertex, provider, "cloud/gemini-3-flash") as (house, cloud):
        reply = await ask(house, "/v1/chat/completions", QUESTION)
        (line,) = await house.wait_lines("attempt")
    assert reply.status >= 500
    assert line["kind"] == "credential"
    assert "invalid_grant" not in line["error"]
    assert cloud.asked == []


async def test_the_machines_own_account(tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from google.auth.compute_engine import _metadata

    host = tokens.url.removeprefix("http://")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    for name, value in vars(_metadata).items():  # read from the environment when it is imported
        if isinstance(value, str) and ("metadata.google.internal" in value or "169.254.169.254" in value):
            changed = value.replace("metadata.google.internal", host).replace("169.254.169.254", host)
            monkeypatch.setattr(_metadata, name, changed)
    monkeypatch.setenv("GCE_METADATA_HOST", host)
    monkeypatch.setenv("GCE_METADATA_IP", host)
    provider = "type: vertex, base_url: URL, project: my-project"
    async with behind(vertex, provider, "cloud/gemini-3-flash") as (house, cloud):
        reply = await ask(house, "/v1/chat/completions", QUESTION)
        lines = await house.wait_lines("attempt")
    assert reply.status == 200, lines
    assert cloud.asked[0].headers["authorization"].startswith("Bearer token-")
    assert "metadata" in tokens.asked[0]


# -- leases


class Source:
    """Gives numbers, each good for ten seconds of a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.given = 0
        self.broken = False
        self.open = threading.Event()
        self.open.set()

    def get(self) -> tuple[int, float | None]:
        self.open.wait(BOUND_S)
        if self.broken:
            raise RuntimeError("no more")
        self.given += 1
        return self.given, self.now + 10

    def lease(self) -> Lease[int]:
        return Lease(self.get, early_s=4, now=lambda: self.now)


async def settled(source: Source, given: int) -> None:
    async with asyncio.timeout(BOUND_S):
        while source.given < given:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)


async def test_a_lease_is_renewed_early_while_the_old_one_serves() -> None:
    source = Source()
    lease = source.lease()
    assert await lease.value() == 1
    source.now += 5
    assert await lease.value() == 1
    source.now += 2
    source.open.clear()
    assert [await lease.value(), await lease.value()] == [1, 1]
    source.open.set()
    await settled(source, 2)
    assert await lease.value() == 2
    assert source.given == 2


async def test_a_lease_that_has_ended_is_waited_for_and_its_error_told_to_all() -> None:
    source = Source()
    lease = source.lease()
    await lease.value()
    source.now += 11
    source.broken = True
    told = await asyncio.gather(lease.value(), lease.value(), return_exceptions=True)
    assert [str(error) for error in told] == ["no more", "no more"]
    source.broken = False
    assert await lease.value() == 2
    lease.end()
    assert await lease.value() == 3


async def test_an_early_renewal_that_fails_harms_nobody() -> None:
    source = Source()
    lease = source.lease()
    await lease.value()
    source.now += 7
    source.broken = True
    for _ in range(3):
        assert await lease.value() == 1
        await asyncio.sleep(0.01)


async def test_whoever_gives_up_does_not_take_the_value_from_the_others() -> None:
    source = Source()
    lease = source.lease()
    source.open.clear()
    first, second = (asyncio.create_task(lease.value()) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    source.open.set()
    assert await second == 1
    assert first.cancelled()


async def test_what_is_done_aside_does_not_hold_the_loop() -> None:
    began = time.monotonic()
    gate = threading.Event()
    waiting = asyncio.create_task(aside(lambda: gate.wait(BOUND_S)))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    gate.set()
    assert await waiting is True
    assert time.monotonic() - began < BOUND_S
