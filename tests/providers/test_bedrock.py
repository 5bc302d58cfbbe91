"""Bedrock behind a sidecar: who signs, how each model is asked, and what comes back."""

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sidecar.model.secret import Secret
from sidecar.model.topology import Auth, AuthScheme
from sidecar.upstream.aws import AwsSignature
from sidecar.upstream.transport import Breach, Origin, TransportError, UpstreamRequest
from tests.providers.clouds import Asked, answer, ask, behind
from tests.upstream.test_event_stream import event, message

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
EVENT_STREAM = "application/vnd.amazon.eventstream"
QUESTION = {"model": "any", "messages": [{"role": "user", "content": "hi"}]}
CLAUDE, NOVA = "us.anthropic.claude-sonnet-4-6", "amazon.nova-lite-v1:0"
BY_KEY = "type: bedrock, base_url: URL, api_key: k-bedrock"

CONVERSED = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4},
}
CONVERSING = b"".join(
    event(name, value)
    for name, value in [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "hi"}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": CONVERSED["usage"]}),
    ]
)
SAID: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}


def saying() -> bytes:
    """What `SAID` is as a stream, in AWS's frames."""
    events = [
        {"type": "message_start", "message": {**SAID, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": SAID["usage"]},
        {"type": "message_stop"},
    ]
    frames = (base64.b64encode(json.dumps(each).encode()).decode() for each in events)
    return b"".join(event("chunk", {"bytes": frame, "p": "abc"}) for frame in frames)


def bedrock(asked: Asked) -> bytes:
    """Answers as each of the four paths does."""
    match asked.path.rpartition("/")[2]:
        case "converse":
            return answer(json.dumps(CONVERSED).encode())
        case "converse-stream":
            return answer(CONVERSING, EVENT_STREAM)
        case "invoke":
            return answer(json.dumps(SAID).encode())
        case _:
            return answer(saying(), EVENT_STREAM)


def text_of(body: bytes) -> str:
    """What a chat client reads, of a whole answer or of a stream."""
    if body.startswith(b"{"):
        return str(json.loads(body)["choices"][0]["message"]["content"])
    chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        (NOVA, False, "/model/amazon.nova-lite-v1%3A0/converse"),
        (NOVA, True, "/model/amazon.nova-lite-v1%3A0/converse-stream"),
        (CLAUDE, False, f"/model/{CLAUDE}/invoke"),
        (CLAUDE, True, f"/model/{CLAUDE}/invoke-with-response-stream"),
        ("arn:aws:bedrock:us-east-1:1:x/y", False, "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ax%2Fy/converse"),
    ],
)
async def test_a_chat_client_is_answered_by_every_model(model: str, stream: bool, path: str) -> None:
    async with behind(bedrock, BY_KEY, f'"cloud/{model}"') as (house, cloud):
        reply = await ask(house, "/v1/chat/completions", {**QUESTION, "stream": stream})
        (line,) = await house.wait_lines("attempt")
    assert (reply.status, text_of(reply.body)) == (200, "hi")
    (asked,) = cloud.asked
    assert asked.path == path
    assert asked.headers["authorization"] == "Bearer k-bedrock"
    assert (line["outcome"], line["input_tokens"], line["output_tokens"]) == ("ok", 3, 1)
    assert not asked.json.keys() & {"model", "stream"}
    if "invoke" in path:
        assert asked.json["anthropic_version"] == "bedrock-2023-05-31"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_of_converse_names_the_model_and_has_an_id(stream: bool) -> None:
    async with behind(bedrock, BY_KEY, f"cloud/{NOVA}") as (house, _):
        reply = await ask(house, "/v1/messages", {**QUESTION, "max_tokens": 9, "stream": stream})
    first = reply.body if not stream else reply.body.split(b"data: ", 2)[1].split(b"\n")[0]
    said = json.loads(first)
    said = said.get("message", said)
    assert said["model"] == NOVA
    assert said["id"]


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropics_client_gets_claudes_own_words(stream: bool) -> None:
    beta = ("anthropic-beta", "context-1m-2025-08-07, claude-code-20250219")
    async with behind(bedrock, BY_KEY, f"cloud/{CLAUDE}") as (house, cloud):
        body = {**QUESTION, "max_tokens": 9, "stream": stream, "thinking": {"type": "adaptive"}}
        reply = await ask(house, "/v1/messages", body, [beta])
    asked = cloud.asked[0].json
    assert asked["anthropic_beta"] == ["context-1m-2025-08-07"]
    assert asked["thinking"] == {"type": "adaptive"}
    assert dict(reply.headers)["x-sidecar-losses"] == "anthropic-beta=dropped"
    if stream:
        assert reply.body.startswith(b"event: message_start\ndata: {")
        assert reply.body.rstrip().endswith(b'data: {"type": "message_stop"}')
    else:
        assert json.loads(reply.body) == SAID


async def test_an_exception_inside_of_a_stream_is_its_failure() -> None:
    slow = message(b'{"message":"slow down"}', exception_type="throttlingException", message_type="exception")
    reply = answer(event("messageStart", {"role": "assistant"}) + slow, EVENT_STREAM)
    async with behind(lambda asked: reply, BY_KEY, f"cloud/{NOVA}") as (house, _):
        told = await ask(house, "/v1/chat/completions", {**QUESTION, "stream": True})
        (line,) = await house.wait_lines("attempt")
    assert (told.status, line["kind"]) == (429, "rate_limited")


async def test_a_broken_frame_is_malformed() -> None:
    reply = answer(CONVERSING[:-1] + b"?", EVENT_STREAM)
    async with behind(lambda asked: reply, BY_KEY, f"cloud/{NOVA}") as (house, _):
        await ask(house, "/v1/chat/completions", {**QUESTION, "stream": True})
        (line,) = await house.wait_lines("attempt")
    assert line["kind"] in ("malformed", "truncated")


# -- signatures


def signature(asked: Asked, host: str, secret: str, region: str, service: str) -> str:
    """The signature that a request must have: by the description of the algorithm, and nothing else."""
    scope, signed, _ = parts(asked)
    path, _, query = asked.path.partition("?")
    headers = {**asked.headers, "host": host}
    canonical = "\n".join(
        [
            asked.method,
            quote(path, safe="/~"),
            query,
            *(f"{name}:{headers[name]}" for name in signed.split(";")),
            "",
            signed,
            hashlib.sha256(asked.body).hexdigest(),
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    date = headers["x-amz-date"]
    to_sign = f"AWS4-HMAC-SHA256\n{date}\n{scope.partition('/')[2]}\n{digest}"
    key = f"AWS4{secret}".encode()
    for part in (date[:8], region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def parts(asked: Asked) -> tuple[str, str, str]:
    """Credential, signed headers and signature of a request."""
    scheme, _, rest = asked.headers["authorization"].partition(" ")
    assert scheme == "AWS4-HMAC-SHA256"
    fields = dict(field.split("=", 1) for field in rest.split(", "))
    return fields["Credential"], fields["SignedHeaders"], fields["Signature"]


def test_the_tests_own_signature_is_that_of_awss_example() -> None:
    """docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html (read 2026-11)."""
    authorization = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, Signature=x"
    )
    headers = {
        "authorization": authorization,
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "x-amz-date": "20150830T123600Z",
    }
    asked = Asked("GET", "/?Action=ListUsers&Version=2010-05-08", headers, b"")
    wanted = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    assert signature(asked, "iam.amazonaws.com", KEYS["AWS_SECRET_ACCESS_KEY"], "us-east-1", "iam") == wanted


@pytest.mark.parametrize("token", [None, "session-token-of-sts"])
async def test_requests_are_signed_with_the_credentials_of_the_environment(token: str | None) -> None:
    access = {name: Secret(value) for name, value in KEYS.items()}
    if token is not None:
        access["AWS_SESSION_TOKEN"] = Secret(token)
    auth = Auth(AuthScheme.AWS_SIGV4, access=access, region="us-west-2")
    origin = Origin("https", "bedrock-runtime.us-west-2.amazonaws.com", 443)
    request = UpstreamRequest(
        "POST", "/model/amazon.nova-lite-v1%3A0/converse", [("Content-Type", "application/json")], b'{"messages":[]}'
    )
    made = await AwsSignature(auth, origin).authorise(request)
    headers = {name.lower(): value for name, value in made.headers}
    asked = Asked(made.method, made.path, headers, bytes(made.body))  # type: ignore[arg-type]
    credential, signed, given = parts(asked)
    assert credential.startswith("AKIDEXAMPLE/")
    assert credential.endswith("/us-west-2/bedrock/aws4_request")
    assert headers.get("x-amz-security-token") == token
    assert ("x-amz-security-token" in signed) == (token is not None)
    secret = KEYS["AWS_SECRET_ACCESS_KEY"]
    assert given == signature(asked, origin.host, secret, "us-west-2", "bedrock")


@pytest.fixture
def aws_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which AWS's own library finds what is in these files, and nothing else."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


SIGNED = "type: bedrock, base_url: URL, location: eu-west-1"


async def test_a_signed_request_from_end_to_end(aws_home: Path) -> None:
    lines = [f"{name.lower()} = {value}" for name, value in KEYS.items()]
    (aws_home / "credentials").write_text("\n".join(["[default]", "aws_access_key_id = other", "", "[work]", *lines]))
    async with behind(bedrock, f"{SIGNED}, profile: work", f"cloud/{NOVA}") as (house, cloud):
        replies = [await ask(house, "/v1/chat/completions", {**QUESTION, "stream": stream}) for stream in (False, True)]
    assert [text_of(reply.body) for reply in replies] == ["hi", "hi"]
    for asked in cloud.asked:
        credential, _, given = parts(asked)
        assert credential.startswith("AKIDEXAMPLE/")
        host = cloud.url.removeprefix("http://")
        assert given == signature(asked, host, KEYS["AWS_SECRET_ACCESS_KEY"], "eu-west-1", "bedrock")
        sent = datetime.datetime.strptime(asked.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
        assert abs((datetime.datetime.now(datetime.UTC) - sent).total_seconds()) < 300


@pytest.mark.parametrize("profile", ["", ", profile: none-such"])
async def test_no_credentials_at_all(aws_home: Path, profile: str) -> None:
    async with behind(bedrock, SIGNED + profile, f"cloud/{NOVA}") as (house, cloud):
        reply = await ask(house, "/v1/chat/completions", QUESTION)
        (line,) = await house.wait_lines("attempt")
    assert reply.status >= 500
    assert line["kind"] == "credential"
    assert "AWS" in line["error"]
    assert cloud.asked == []


async def test_a_token_file_that_is_not_there(aws_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
    async with behind(bedrock, SIGNED, f"cloud/{NOVA}") as (house, cloud):
        await ask(house, "/v1/chat/completions", QUESTION)
        (line,) = await house.wait_lines("attempt")
    assert (line["kind"], cloud.asked) == ("credential", [])
    assert "/nowhere/token: the credentials in it cannot be read: No such file or directory" in line["error"]


async def test_a_body_that_comes_in_pieces_is_signed_whole() -> None:
    async def pieces() -> Any:
        yield b"a"
        await asyncio.sleep(0)
        yield b"b"

    access = {name: Secret(value) for name, value in KEYS.items()}
    signs = AwsSignature(Auth(AuthScheme.AWS_SIGV4, access=access, region="r"), Origin("http", "h", 80))
    made = await signs.authorise(UpstreamRequest("POST", "/x", [], pieces()))
    assert made.body == b"ab"


async def test_a_body_without_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless() -> Any:
        while True:
            yield b"x" * (1 << 20)

    access = {name: Secret(value) for name, value in KEYS.items()}
    signs = AwsSignature(Auth(AuthScheme.AWS_SIGV4, access=access, region="r"), Origin("http", "h", 80))
    with pytest.raises(TransportError) as caught:
        await signs.authorise(UpstreamRequest("POST", "/x", [], endless()))
    assert caught.value.breach is Breach.PROTOCOL
