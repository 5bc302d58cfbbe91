"""Threat 2: another user of this machine, or of another one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.model.errors import ConfigurationError
from sidecar.model.secret import Secret
from sidecar.model.settings import ListenAuth, ListenSettings
from sidecar.server.listen import bind
from sidecar.server.side_door import fit_for_admin
from tests.daemon import RunningDaemon, run_daemon
from tests.fake_provider import FakeProvider
from tests.server.raw import RawClient, RawReply, chat_body, head, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN, OTHER_TOKEN = "token-of-the-app-0123456789", "token-of-another-0123456789"
ME = os.getuid()
_NOBODY = 65534
_REST = """
providers: {{fake: {{type: openai-compatible, base_url: "{url}", api_key: k-fake}}}}
routes: {{default: {{chain: [fake/m]}}}}
health: {{mode: "off"}}
"""
_CONFIG = f"""
listen:
  - {{{{address: "127.0.0.1:0", auth: {{{{token_file: "@RUN@/tokens"}}}}}}}}
  - {{{{address: "unix:@RUN@/mine.sock", mode: "0666", allow_uids: [{ME}]}}}}
  - {{{{address: "unix:@RUN@/theirs.sock", mode: "0666", allow_uids: [{ME + 1}]}}}}
  - {{{{address: "unix:@RUN@/private.sock", mode: "0600"}}}}
  - {{{{address: "unix:@RUN@/usual.sock"}}}}
metrics: {{{{listen: "127.0.0.1:0", auth: {{{{token_file: "@RUN@/tokens"}}}}}}}}
{_REST}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(fake: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningDaemon]:
    daemon = RunningDaemon(tmp_path_factory.mktemp("users"), _CONFIG.format(url=fake.base_url))
    _write_tokens(daemon, TOKEN)
    daemon.run.chmod(0o711)
    async with daemon:
        yield daemon


def _write_tokens(daemon: RunningDaemon, *tokens: str) -> None:
    new = daemon.run / "tokens.new"
    new.touch(0o600)
    new.write_text("# who may ask\n" + "\n".join(tokens) + "\n")
    new.replace(daemon.run / "tokens")


async def _ask(where: int | Path, request: bytes) -> RawReply:
    async with await RawClient.to(where if isinstance(where, int) else str(where)) as client:
        return await client.ask(request)


async def test_02_what_others_reach_is_not_opened_without_a_token(tmp_path: Path) -> None:
    config = 'listen: ["0.0.0.0:0", "[::]:0", "192.0.2.1:4141"]\nadmin: {listen: "127.0.0.1:0"}\n'
    code, said = await run_daemon(tmp_path, config + _REST.format(url="http://127.0.0.1:1"))
    assert code == 78
    assert said.count("can be reached from other machines, so who may use it must show a token") == 3
    assert "admin.listen: every process of this machine can reach it" in said


PLACES = [
    ("Authorization", f"Bearer {TOKEN}"),
    ("Authorization", f"bearer   {TOKEN}"),
    ("x-api-key", TOKEN),
    ("X-Goog-Api-Key", TOKEN),
    ("api-key", TOKEN),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[0])
async def test_02_a_token_is_taken_where_sdks_put_it_and_goes_no_further(
    daemon: RunningDaemon, fake: FakeProvider, place: tuple[str, str]
) -> None:
    reply = await _ask(daemon.port, post(chat_body(), place, host=f"localhost:{daemon.port}"))
    assert reply.status == 200
    sent = fake.calls[-1]
    assert sent.headers["authorization"] == "Bearer k-fake"
    assert TOKEN not in str(sent.headers) + sent.path


NOT_TOKENS = [
    (),
    (("Authorization", f"Basic {TOKEN}"),),
    (("Authorization", TOKEN),),
    (("Authorization", "Bearer "),),
    (("Authorization", f"Bearer {TOKEN}x"),),
    (("Authorization", f"Bearer {TOKEN[:-1]}"),),
    (("Authorization", f"Bearer {TOKEN.upper()}"),),
    (("Authorization", "Bearer # who may ask"),),
    (("x-api-key", OTHER_TOKEN),),
    (("x-api-key", b"\xff\xfe"),),
    (("Cookie", f"token={TOKEN}"),),
    (("Proxy-Authorization", f"Bearer {TOKEN}"),),
]


@pytest.mark.parametrize("shown", NOT_TOKENS)
async def test_02_whoever_shows_no_token_is_401(
    daemon: RunningDaemon, fake: FakeProvider, shown: tuple[tuple[str, str | bytes], ...]
) -> None:
    before, host = len(fake.calls), f"localhost:{daemon.port}"
    for request in (post(chat_body(), *shown, host=host), head("GET", "/v1/models", *shown, host=host),
                    head("GET", "/readyz", *shown, host=host), head("GET", "/nowhere", *shown, host=host),
                    post(chat_body(), *shown, path=f"/v1/chat/completions?key={TOKEN}", host=host)):  # fmt: skip
        reply = await _ask(daemon.port, request)
        assert (reply.status, reply.header("www-authenticate")) == (401, "Bearer")
        assert reply.error["code"] == "invalid_api_key"
        assert "token" in reply.error["message"]
    assert len(fake.calls) == before
    assert (await _ask(daemon.port, head("GET", "/healthz", *shown, host=host))).status == 200


async def test_02_a_page_is_refused_before_it_can_guess(daemon: RunningDaemon) -> None:
    reply = await _ask(daemon.port, post(chat_body(), ("x-api-key", TOKEN), host=f"evil.test:{daemon.port}"))
    assert reply.status == 421


async def test_02_a_token_in_a_url_is_taken_of_gemini_s_clients_and_never_logged(daemon: RunningDaemon) -> None:
    host = f"localhost:{daemon.port}"
    for path in ("/v1beta/models/default:generateContent", "/v1/models/default:generateContent"):
        for query in (f"key={TOKEN}", f"alt=sse&key={TOKEN}"):
            assert (await _ask(daemon.port, post(b"{}", path=f"{path}?{query}", host=host))).status != 401
        assert (await _ask(daemon.port, post(b"{}", path=f"{path}?key=x{TOKEN}", host=host))).status == 401
        assert (await _ask(daemon.port, post(b"{}", path=f"{path}?monkey={TOKEN}", host=host))).status == 401
    await daemon.wait_log("request.refused", status=401)
    assert TOKEN not in daemon.stderr


async def test_02_tokens_rotate_while_it_serves(daemon: RunningDaemon) -> None:
    host = f"localhost:{daemon.port}"

    async def status(token: str) -> int:
        return (await _ask(daemon.port, post(chat_body(), ("x-api-key", token), host=host))).status

    for tokens, good, bad in (
        ((TOKEN, OTHER_TOKEN), (TOKEN, OTHER_TOKEN), ()),
        ((OTHER_TOKEN,), (OTHER_TOKEN,), (TOKEN,)),
        ((), (OTHER_TOKEN,), (TOKEN,)),  # a file without one is a mistake: what was in force stays
        ((TOKEN,), (TOKEN,), (OTHER_TOKEN,)),
    ):
        before = len(daemon.log_lines("config.applied")) + len(daemon.log_lines("config.rejected"))
        _write_tokens(daemon, *tokens)
        async with asyncio.timeout(5):
            while len(daemon.log_lines("config.applied")) + len(daemon.log_lines("config.rejected")) == before:
                await asyncio.sleep(0.02)
        assert {await status(token) for token in good} == {200}
        assert {await status(token) for token in bad} <= {401}
    assert TOKEN not in daemon.stderr
    assert OTHER_TOKEN not in daemon.stderr


async def test_02_a_socket_can_be_for_some_uids_only(daemon: RunningDaemon, fake: FakeProvider) -> None:
    assert (await _ask(daemon.run / "mine.sock", post(chat_body()))).status == 200
    before = len(fake.calls)
    for request in (post(chat_body()), head("GET", "/healthz"), head("GET", "/v1/models")):
        reply = await _ask(daemon.run / "theirs.sock", request)
        assert reply.status == 403
        assert f"uid {ME} may not use this socket" in reply.error["message"]
    assert len(fake.calls) == before
    async with asyncio.timeout(5):  # after ten refusals within a second, whatever they were, their number is told alone
        while not (lines := daemon.log_lines("request.refused", status=403)):
            await asyncio.sleep(0.2)
            await _ask(daemon.run / "theirs.sock", head("GET", "/healthz"))
    assert lines[0]["peer_uid"] == ME


@pytest.mark.skipif(ME != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv, to be somebody else")
async def test_02_another_user_is_kept_out_by_the_mode_and_by_the_kernels_word(daemon: RunningDaemon) -> None:
    said = await asyncio.to_thread(
        _as_nobody, [str(daemon.run / name) for name in ("mine.sock", "private.sock", "usual.sock", "admin.sock")]
    )
    assert said == [f"HTTP/1.1 403 uid {_NOBODY}", "PermissionError", "PermissionError", "PermissionError"]


_CLIENT = """
import json, socket, sys
for path in sys.argv[1:]:
    try:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        client.connect(path)
        client.sendall(b"GET /v1/models HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
        answer = client.recv(65536)
        told = json.loads(answer.partition(b"\\r\\n\\r\\n")[2])["error"]["message"]
        print(answer[:12].decode(), " ".join(told.split()[:2]))
    except OSError as error:
        print(type(error).__name__)
"""


def _as_nobody(paths: list[str]) -> list[str]:
    us = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    python = next(each for each in ("/usr/bin/python3", sys.executable) if Path(each).exists())
    done = subprocess.run([*us, python, "-c", _CLIENT, *paths], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.splitlines()


async def test_02_a_unix_socket_is_for_its_owner_and_group_unless_told_otherwise(daemon: RunningDaemon) -> None:
    modes = {"usual": 0o660, "private": 0o600, "mine": 0o666, "admin": 0o600}
    found = {name: stat.S_IMODE((daemon.run / f"{name}.sock").stat().st_mode) for name in modes}
    assert found == modes


async def test_02_the_metrics_ask_for_a_token_too(daemon: RunningDaemon) -> None:
    port = int((await daemon.wait_log("daemon.started"))[0]["metrics"].rpartition(":")[2])
    host = f"127.0.0.1:{port}"
    assert (await _ask(port, head("GET", "/metrics", host=host))).status == 401
    reply = await _ask(port, head("GET", "/metrics", ("Authorization", f"Bearer {TOKEN}"), host=host))
    assert b"sidecar_attempts_total" in reply.body
    for path in ("/status", "/config", "/attempts"):
        assert (await _ask(port, head("GET", path, ("x-api-key", TOKEN), host=host))).status == 404
    assert (await _ask(port, head("GET", "/metrics", ("x-api-key", TOKEN), host="evil.test"))).status == 421


async def test_02_nor_is_one_whose_socket_was_handed_over() -> None:
    for settings, fit in (
        (ListenSettings("127.0.0.1:0"), False),
        (ListenSettings("127.0.0.1:0", auth=ListenAuth("/t", (Secret(TOKEN),))), True),
    ):
        listener = bind(settings)
        try:
            with nullcontext() if fit else pytest.raises(ConfigurationError, match="handed over for the admin"):
                assert fit_for_admin(listener) is listener
        finally:
            listener.close()


async def test_02_an_admin_plane_over_tcp_asks_for_a_token(fake: FakeProvider, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = f'admin: {{listen: "127.0.0.1:{port}", auth: {{token_file: "@RUN@/tokens"}}}}\n'
    daemon = RunningDaemon(tmp_path, config + _REST.format(url=fake.base_url))
    _write_tokens(daemon, TOKEN)
    host, change = f"127.0.0.1:{port}", ("X-Sidecar-Request", "1")
    daemon.start()
    try:
        await daemon.wait_log("daemon.started", timeout_s=15)
        for request in (head("GET", "/status", host=host), head("POST", "/drain", change, host=host)):
            assert (await _ask(port, request)).status == 401
        token = ("Authorization", f"Bearer {TOKEN}")
        assert (await _ask(port, head("GET", "/status", token, host=host))).status == 200
        assert (await _ask(port, head("POST", "/drain", token, host=host))).status == 403
        assert (
            await _ask(port, head("GET", "/status", token, ("Origin", "http://evil.test"), host=host))
        ).status == 403
        assert (await _ask(port, head("POST", "/drain", token, change, host=host))).status == 202
        assert await daemon.wait() == 0
    finally:
        if daemon.running:
            daemon.process.kill()
        await daemon._clean_up()
    assert json.loads(daemon.stderr.splitlines()[0])["admin"] == host
