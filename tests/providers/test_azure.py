"""Azure OpenAI in both forms of its API, by a key and by tokens."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from sidecar.model.secret import Secret
from sidecar.model.topology import Auth, AuthScheme
from sidecar.upstream.entra import EntraToken
from sidecar.upstream.transport import Breach, Origin, TransportError, UpstreamRequest
from tests.providers.clouds import Asked, answer, ask, behind

SAID = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}],
}
QUESTION = {"model": "gpt", "messages": [{"role": "user", "content": "hi"}]}
WHOLE = answer(json.dumps(SAID).encode())


def whole(asked: Asked) -> bytes:
    return WHOLE


@pytest.mark.parametrize("suffix", ["", "/", "/openai", "/openai/v1", "/openai/v1/"])
async def test_the_newer_form_has_the_deployment_in_the_body(suffix: str) -> None:
    provider = f"type: azure-openai, base_url: 'URL{suffix}', api_key: k-azure"
    async with behind(whole, provider) as (house, cloud):
        reply = await ask(house, "/v1/chat/completions", QUESTION, [("Authorization", "Bearer client")])
    assert reply.status == 200
    (asked,) = cloud.asked
    assert asked.path == "/openai/v1/chat/completions"
    assert asked.headers["api-key"] == "k-azure"
    assert "authorization" not in asked.headers
    assert asked.json["model"] == "m"


@pytest.mark.parametrize(
    ("path", "body", "upstream"),
    [
        ("/v1/chat/completions", QUESTION, "chat/completions"),
        ("/v1/completions", {"model": "gpt", "prompt": "hi"}, "completions"),
        ("/v1/embeddings", {"model": "gpt", "input": "hi"}, "embeddings"),
    ],
)
async def test_the_dated_form_has_it_in_the_path(path: str, body: dict[str, object], upstream: str) -> None:
    provider = "type: azure-openai, base_url: 'URL/openai/v1', api_key: k, api_version: '2024-10-21'"
    async with behind(whole, provider, "cloud/my gpt") as (house, cloud):
        await ask(house, path, body)
    assert cloud.asked[0].path == f"/openai/deployments/my%20gpt/{upstream}?api-version=2024-10-21"


async def test_a_version_without_a_date_is_one_of_the_newer_form() -> None:
    provider = "type: azure-openai, base_url: URL, api_key: k, api_version: preview"
    async with behind(whole, provider) as (house, cloud):
        await ask(house, "/v1/responses", {"model": "gpt", "input": "hi"})
    assert cloud.asked[0].path == "/openai/v1/responses?api-version=preview"


async def test_a_responses_client_is_translated_where_the_form_has_no_responses() -> None:
    provider = "type: azure-openai, base_url: URL, api_key: k, api_version: '2024-10-21'"
    async with behind(whole, provider) as (house, cloud):
        reply = await ask(house, "/v1/responses", {"model": "gpt", "input": "hi"})
    assert reply.status == 200
    assert cloud.asked[0].path.startswith("/openai/deployments/m/chat/completions?")
    assert json.loads(reply.body)["output"][0]["content"][0]["text"] == "hi"


async def test_a_stream_whose_first_chunk_is_about_the_prompt() -> None:
    chunks = [
        {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [{}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": None}], "id": "c"},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "id": "c", "model": "gpt-4o"},
    ]
    events = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    stream = answer(events, "text/event-stream")
    async with behind(lambda asked: stream, "type: azure-openai, base_url: URL, api_key: k") as (house, _):
        reply = await ask(house, "/v1/chat/completions", {**QUESTION, "stream": True})
        assert reply.status == 200
        assert b"prompt_filter_results" in reply.body
        (line,) = await house.wait_lines("attempt")
    assert (line["outcome"], line["finish_reason"]) == ("ok", "stop")


async def test_a_filtered_prompt_is_the_clients_own_business() -> None:
    error = {
        "error": {
            "message": "The prompt triggered Azure OpenAI's content management policy.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
        }
    }
    refused = answer(json.dumps(error).encode(), status=400)
    async with behind(lambda asked: refused, "type: azure-openai, base_url: URL, api_key: k") as (house, cloud):
        reply = await ask(house, "/v1/chat/completions", QUESTION)
        (line,) = await house.wait_lines("attempt")
    assert reply.status == 400
    assert line["kind"] == "content_policy"
    assert len(cloud.asked) == 1


async def test_quirks_of_the_file_stand_in_the_place_of_the_types() -> None:
    provider = "type: azure-openai, base_url: URL, api_key: k, quirks: [max_tokens, no_stream_options]"
    async with behind(whole, provider) as (house, cloud):
        body = {**QUESTION, "max_completion_tokens": 5, "stream": True, "stream_options": {"include_usage": True}}
        await ask(house, "/v1/chat/completions", body)
    asked = cloud.asked[0].json
    assert asked["max_tokens"] == 5
    assert "stream_options" not in asked


# -- Entra ID

ENTRA = "type: azure-openai, base_url: URL, auth: entra"
ORIGIN = Origin("https", "r.openai.azure.com", 443)
UNUSED = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_USERNAME", "AZURE_TOKEN_CREDENTIALS")


class Identity:
    """A machine's own identity; what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = 200
        self.lasts_s = 3600


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Identity]:
    """The endpoint that App Service gives to what runs there, on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given.asked.append(self.path)
            told = {
                "access_token": f"token-{len(given.asked)}",
                "expires_on": str(int(time.time()) + given.lasts_s),
                "resource": "https://cognitiveservices.azure.com",
                "token_type": "Bearer",
            }
            body = json.dumps(told if given.status == 200 else {"statusCode": 400, "message": "not-to-be-told"})
            self.send_response(given.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    given = Identity()
    for name in UNUSED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # no `az`
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.server_port}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "h")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield given
    server.shutdown()
    server.server_close()


async def test_a_token_is_shown_in_place_of_a_key_and_one_serves_all(identity: Identity) -> None:
    async with behind(whole, ENTRA) as (house, cloud):
        replies = await asyncio.gather(*(ask(house, "/v1/chat/completions", QUESTION) for _ in range(4)))
        lines = await house.wait_lines("attempt", 4)
    assert [reply.status for reply in replies] == [200] * 4, lines
    assert {asked.headers["authorization"] for asked in cloud.asked} == {"Bearer token-1"}
    assert all("api-key" not in asked.headers for asked in cloud.asked)
    (asked,) = identity.asked
    assert "resource=https://cognitiveservices.azure.com" in asked
    assert "token-1" not in json.dumps(lines)


async def test_no_token_is_a_credential_that_is_wrong_and_told_in_our_words(identity: Identity) -> None:
    identity.status = 400
    async with behind(whole, ENTRA) as (house, cloud):
        reply = await ask(house, "/v1/chat/completions", QUESTION)
        (line,) = await house.wait_lines("attempt")
    assert reply.status >= 500
    assert line["kind"] == "credential"
    assert "az login" in line["error"]
    assert "not-to-be-told" not in line["error"]
    assert cloud.asked == []


async def test_a_certificate_that_is_not_there_is_a_credential_that_is_wrong(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TENANT_ID", "t" * 8), ("CLIENT_ID", "c"), ("CLIENT_CERTIFICATE_PATH", "/nowhere/c.pem")):
        monkeypatch.setenv(f"AZURE_{name}", value)
    async with behind(whole, ENTRA) as (house, cloud):
        await ask(house, "/v1/chat/completions", QUESTION)
        (line,) = await house.wait_lines("attempt")
    assert (line["kind"], cloud.asked) == ("credential", [])
    assert "/nowhere/c.pem: the credentials in it cannot be read: No such file or directory" in line["error"]


@pytest.mark.parametrize(("status", "token"), [(401, 2), (403, 1), (500, 1)])
async def test_a_token_that_is_not_accepted_is_got_anew(identity: Identity, status: int, token: int) -> None:
    auth = EntraToken(Auth(AuthScheme.ENTRA), ORIGIN)
    request = UpstreamRequest("GET", "/", [])
    assert dict((await auth.authorise(request)).headers) == {"Authorization": "Bearer token-1"}
    auth.answered(status)
    assert dict((await auth.authorise(request)).headers) == {"Authorization": f"Bearer token-{token}"}


async def test_a_token_near_its_end_is_renewed_while_it_serves(identity: Identity) -> None:
    identity.lasts_s = 200
    auth = EntraToken(Auth(AuthScheme.ENTRA), ORIGIN)
    request = UpstreamRequest("GET", "/", [])
    assert dict((await auth.authorise(request)).headers) == {"Authorization": "Bearer token-1"}
    identity.lasts_s = 3600
    assert dict((await auth.authorise(request)).headers) == {"Authorization": "Bearer token-1"}
    async with asyncio.timeout(10):
        while dict((await auth.authorise(request)).headers) != {"Authorization": "Bearer token-2"}:
            await asyncio.sleep(0.01)
    assert len(identity.asked) == 2


async def test_the_governments_cloud_has_tokens_of_its_own(identity: Identity) -> None:
    auth = EntraToken(Auth(AuthScheme.ENTRA), Origin("https", "r.openai.azure.us", 443))
    await auth.authorise(UpstreamRequest("GET", "/", []))
    assert "resource=https://cognitiveservices.azure.us" in identity.asked[0]


class Principal:
    """In the place of the library's own, which would go to Microsoft."""

    def __init__(self, *args: str, **options: object) -> None:
        self.args = args

    def __enter__(self) -> Principal:
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def get_token(self, scope: str) -> AccessToken:
        if self.args[0] == "nowhere":
            raise ClientAuthenticationError("very-secret") from ServiceRequestError("very-secret")
        if self.args[2] != "very-secret":
            raise ClientAuthenticationError("very-secret")
        return AccessToken(f"{'-'.join(self.args[:2])} for {scope}", int(time.time()) + 3600)


def principal(tenant: str, secret: str) -> EntraToken:
    access = {"AZURE_CLIENT_SECRET": secret, "AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": tenant}
    return EntraToken(Auth(AuthScheme.ENTRA, access={name: Secret(value) for name, value in access.items()}), ORIGIN)


async def test_a_principal_of_the_environment_gets_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azure.identity.ClientSecretCredential", Principal)
    request = await principal("t", "very-secret").authorise(UpstreamRequest("GET", "/", []))
    assert dict(request.headers) == {"Authorization": "Bearer t-c for https://cognitiveservices.azure.com/.default"}


@pytest.mark.parametrize(("tenant", "breach"), [("nowhere", Breach.CONNECT), ("t", Breach.CREDENTIAL)])
async def test_a_principal_that_gets_none_is_told_by_the_errors_class_alone(
    monkeypatch: pytest.MonkeyPatch, tenant: str, breach: Breach
) -> None:
    monkeypatch.setattr("azure.identity.ClientSecretCredential", Principal)
    with pytest.raises(TransportError) as caught:
        await principal(tenant, "wrong").authorise(UpstreamRequest("GET", "/", []))
    assert caught.value.breach is breach
    assert "very-secret" not in str(caught.value)
