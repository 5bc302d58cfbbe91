"""Threat 7: a key shows up in a log, an answer, a dump, or a file.

Three keys are planted, one from each kind of source. The provider quotes them wherever it can, the config is
broken around them, and then everything that was written is searched.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.daemon import RunningDaemon
from tests.fake_behaviours import Behaviour, Canned
from tests.fake_provider import FakeProvider, ok, raw, reset, status
from tests.server.raw import RawClient, RawReply, chat_body, head, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

FROM_ENV = "canary-env/Aa+0123456789"
FROM_FILE = 'canary-file"Bb\\0123456789'
LITERAL = "canary-literal-Cc0123456789"
TOKEN = "canary-token-Dd0123456789"
KEYS = (FROM_ENV, FROM_FILE, LITERAL, TOKEN)
_SPELLINGS = [
    spelled
    for key in KEYS
    for spelled in (
        key,
        json.dumps(key)[1:-1],
        quote(key, safe=""),
        base64.b64encode(key.encode()).decode()[:-4],
    )
]
_CONFIG = """
listen:
  - "127.0.0.1:0"
  - "unix:@RUN@/data.sock"
  - {{address: "127.0.0.2:0", auth: {{token_file: "@RUN@/token"}}}}
metrics: {{listen: "unix:@RUN@/metrics.sock"}}
log: {{output: "@RUN@/log", level: debug}}
providers:
  env: {{type: openai-compatible, base_url: "{url}", api_key: "${{PLANTED}}"}}
  file: {{type: openai-compatible, base_url: "{url}", api_key: "${{file:@RUN@/key}}"}}
  literal:
    type: openai-compatible
    base_url: "{url}"
    api_key: {literal}
    headers: {{x-account-token: "{literal}"}}
routes:
  default: {{chain: [env/m, file/m, literal/m]}}
  env: {{chain: [env/m]}}
  file: {{chain: [file/m]}}
  literal: {{chain: [literal/m]}}
health: {{mode: models}}
resilience: {{same_target_retries: 0, breaker: {{consecutive_failures: 1000, consecutive_gateway_failures: 1000,
  fixed_open: 10ms, rate_limit: {{default: 10ms, max: 10ms}}, failure_percentage: {{min_requests: 1000000}}}}}}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(fake: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningDaemon]:
    path = tmp_path_factory.mktemp("canary")
    (path / "state").mkdir()
    env = {"PLANTED": FROM_ENV, "SPARE_API_KEY": FROM_ENV, "STATE_DIRECTORY": str(path / "state")}
    daemon = RunningDaemon(path, _CONFIG.format(url=fake.base_url, literal=LITERAL), env=env)
    for name, text in (("key", FROM_FILE), ("token", TOKEN)):
        (daemon.run / name).touch(0o600)
        (daemon.run / name).write_text(text + "\n")
    async with daemon:
        yield daemon


def _quoted(key: str) -> list[Behaviour]:
    """Ways in which a provider says what it was shown."""
    said = f"Incorrect API key provided: {key}. Authorization: Bearer {key}"
    encoded = json.dumps(said).encode()
    event = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    word = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n'
    headers = {
        "www-authenticate": f"Bearer {key}",
        "x-ratelimit-limit-requests": key,
        "openai-organization": key,
        "x-request-id": key,
        "retry-after": key,
        "set-cookie": f"key={key}",
    }
    return [
        *(status(code, said) for code in (400, 401, 403, 404, 429, 500, 503)),
        status(400, said, code=key, kind=key),
        status(401, f"your key is {quote(key, safe='')} or {base64.b64encode(key.encode()).decode()}"),
        Canned(401, said.encode(), "text/plain"),
        Canned(500, f"<html>{said}</html>".encode(), "text/html"),
        Canned(400, b'{"error": {"message": %b, "param": %b, "code": %b}}' % (encoded, encoded, encoded)),
        Canned(400, b'{"detail": [{"loc": ["header", %b], "msg": %b}]}' % (encoded, encoded)),
        Canned(200, b'{"error": {"message": %b}}' % encoded),
        Canned(200, b"{broken " + encoded),
        Canned(302, b"", headers={"location": f"http://elsewhere.test/?key={key}"}),
        Canned(429, b"{}", headers=headers),
        ok("fine", headers=headers),
        raw(b"nonsense " + key.encode()),
        raw(b"HTTP/1.1 200 OK\r\n" + key.encode() + b"\r\n\r\n"),
        raw(event + b'data: {"error": {"message": %b}}\n\n' % encoded),
        raw(event + word + b'data: {"error": {"message": %b}}\n\n' % encoded),
        raw(event + word + b"event: error\ndata: " + encoded + b"\n\n"),
        raw(event + b"data: " + encoded + b"\n\n"),
        reset(),
    ]


def _named(key: str) -> list[Behaviour]:
    """Good answers of a model that is called like a key, or ended because of one."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    return [
        Canned(200, json.dumps({"id": "1", "choices": [choice | more], "model": model}).encode())
        for model, more in ((key, {}), ("m", {"finish_reason": key}))
    ]


def _found(text: str) -> list[str]:
    """Where a key is, with what stands around it."""
    places = [(text.find(spelled), spelled) for spelled in _SPELLINGS if spelled in text]
    return [text[max(0, at - 200) : at + 60] for at, _ in places]


def _told(reply: RawReply) -> str:
    return f"{reply.headers}\n{reply.body.decode('utf-8', 'replace')}"


async def _asked(daemon: RunningDaemon, *requests: bytes, at: str = "data.sock") -> str:
    said = []
    for request in requests:
        async with await RawClient.to(str(daemon.run / at)) as client:
            said.append(_told(await client.ask(request)))
    return "\n".join(said)


async def test_07_what_a_provider_quotes_is_not_passed_on(daemon: RunningDaemon, fake: FakeProvider) -> None:
    planted = (("env", FROM_ENV), ("file", FROM_FILE), ("literal", LITERAL))
    for route, key in planted:
        for number, behaviour in enumerate(_quoted(key)):
            fake.script(behaviour)
            for stream in (False, True, False, True):  # the first may take another way than those after it
                assert (await daemon.admin("POST", f"/providers/{route}/reset"))[0] == 200
                asked = len(fake.calls)
                said = await _asked(daemon, post(chat_body(route, stream=stream)))
                assert len(fake.calls) > asked
                assert not _found(said), (route, number, stream, behaviour)
        for behaviour in _named(key):
            fake.script(behaviour)
            for _ in range(3):  # their bodies are the client's, what is said of them is not
                await _asked(daemon, *(post(chat_body(route, stream=stream)) for stream in (False, True)))
    for _, key in planted:
        fake.on_models(*_quoted(key)[:3])
        assert (await daemon.admin("POST", "/health-check"))[0] == 200
    fake.script(ok("fine"))
    sent = {call.headers["authorization"] for call in fake.calls}
    assert sent == {f"Bearer {key}" for key in (FROM_ENV, FROM_FILE, LITERAL)}
    assert fake.calls[-1].headers["x-account-token"] == LITERAL


async def test_07_what_a_client_says_is_not_logged(daemon: RunningDaemon) -> None:
    """A client may hold a token of ours, or think that it needs a key; it may put it anywhere."""
    bearer = ("Authorization", f"Bearer {TOKEN}")
    await _asked(
        daemon,
        post(chat_body(), bearer, ("x-api-key", LITERAL), ("Cookie", f"k={TOKEN}")),
        head("GET", f"/v1/models?key={TOKEN}", bearer),
        head("GET", f"/v1/nowhere?key={TOKEN}", bearer),
        head("GET", "/healthz", ("Content-Type", LITERAL), ("Origin", LITERAL)),
        f"GET /healthz HTTP/1.1\r\nAuthorization Bearer {TOKEN}\r\n\r\n".encode(),
        f"{TOKEN} / HTTP/1.1\r\n\r\n".encode(),
        post(json.dumps({"model": "default", "messages": [], "api_key": LITERAL}).encode()),
        post(f'{{"model": "default", "api_key": "{LITERAL}", '.encode()),
        post(chat_body(), ("X-Sidecar-Timeout", LITERAL)),
    )


async def test_07_what_the_config_says_wrongly_is_told_without_the_key(daemon: RunningDaemon) -> None:
    good = daemon.config_path.read_text()
    for old, new in (
        (f"api_key: {LITERAL}", f"api_key: [{LITERAL}]"),
        (f"api_key: {LITERAL}", f"api_kee: {LITERAL}"),
        (f"api_key: {LITERAL}", f"type: {LITERAL}"),
        ("x-account-token: ", f"{LITERAL} x: "),
        ("chain: [env/m]", f"chain: [{LITERAL}/m]"),
        ('"${PLANTED}"', '"${PLANTED}${file:@RUN@/key}\\n"'.replace("@RUN@", str(daemon.run))),
        ("health: {mode: models}", f"health: {{mode: {LITERAL}}}"),
    ):
        assert old in good
        daemon.config_path.write_text(good.replace(old, new, 1))
        _, result = await daemon.admin("POST", "/reload")
        # A word in a place of its own is quoted, or nobody could find the slip; a key's place is never shown.
        if new.startswith(("api_key", "type", '"$')):
            assert not _found(json.dumps(result)), (new, result)
    daemon.config_path.write_text(good)
    await daemon.admin("POST", "/reload")


async def test_07_nothing_that_was_written_holds_a_key(daemon: RunningDaemon, fake: FakeProvider) -> None:
    fake.script(ok("fine"))
    places = ["status", "stats", "config", "metrics", "routes", "providers", "explain?model=default", "attempts"]
    for place in places:
        said = await _asked(daemon, head("GET", f"/{place}"), at="admin.sock")
        assert len(said) > 100, place
        assert not _found(said), place
    assert not _found(await _asked(daemon, head("GET", "/metrics"), at="metrics.sock"))
    log = (daemon.run / "log").read_text()
    assert len(log.splitlines()) > 200
    assert "***" in log
    assert not _found(log)
    assert not _found(daemon.stderr)
    assert not _found(Path(f"/proc/{daemon.process.pid}/cmdline").read_text())
    kept = [path for path in daemon.stderr_path.parent.rglob("*") if path.is_file() and path != daemon.config_path]
    for path in kept:
        text = path.read_text("utf-8", "replace")
        if path.parent.name == "state":  # a copy of the config as it is written, for the owner alone
            assert path.stat().st_mode & 0o077 == 0
            text = text.replace(LITERAL, "")
        assert not _found(text), path
    others = [path for path in daemon.run.iterdir() if path.is_file() and path.name not in ("key", "token", "log")]
    assert not [path for path in others if _found(path.read_text("utf-8", "replace"))]
