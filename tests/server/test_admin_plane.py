"""The admin plane: who may change what, and what it says."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider, ok, status
from tests.server.raw import RawClient, head

CONFIG = """
providers:
  a: {{type: openai-compatible, base_url: "{url}", api_key: sk-canary-a-0123456789}}
  b: {{type: openai-compatible, base_url: "{url}", api_key: sk-canary-b-0123456789}}
  spare: {{type: openai-compatible, base_url: "{url}", api_key: sk-canary-c-0123456789}}
routes:
  default: {{chain: [a/one, b/two]}}
  split: {{chain: [{{a/one: 70, b/two: 30}}]}}
health: {{mode: "off"}}
"""

CHANGE = ("X-Sidecar-Request", "1")

CHANGES = [
    ("POST", "/reload", b""),
    ("POST", "/health-check", b""),
    ("POST", "/providers/a/reset", b""),
    ("POST", "/targets/a/one/reset", b""),
    ("POST", "/targets/a/one/maint", b""),
    ("POST", "/targets/a/one/drain", b""),
    ("POST", "/targets/a/one/ready", b""),
    ("PUT", "/targets/a/one/weight", b'{"weight": 5}'),
    ("PUT", "/routes/default/chain", b'{"chain": ["b/two"]}'),
    ("PUT", "/routes/split/balance", b'{"balance": "random"}'),
]
READINGS = ["/status", "/stats", "/config", "/metrics", "/routes", "/providers", "/explain?model=default", "/attempts"]


@pytest.fixture
async def daemon(tmp_path: Path, fake: FakeProvider):
    fake.script(ok("hello"))
    async with RunningDaemon(tmp_path, CONFIG.format(url=fake.base_url)) as running:
        yield running


async def _ask(daemon: RunningDaemon, method: str, path: str, *headers: tuple[str, str], body: bytes = b""):
    request = head(method, path, ("Content-Length", str(len(body))), *headers) + body
    async with await RawClient.to(str(daemon.admin_path)) as client:
        reply = await client.ask(request, head_only=method == "HEAD")
        assert reply.header("server") is None
        return reply


async def test_changes_need_the_method_and_the_header(daemon: RunningDaemon) -> None:
    for method, path, body in CHANGES:
        refused = await _ask(daemon, method, path, body=body)
        assert refused.status == 403, path
        assert "X-Sidecar-Request: 1" in refused.error["message"]
        for value in ("0", "true", ""):
            assert (await _ask(daemon, method, path, ("X-Sidecar-Request", value), body=body)).status == 403
        wrong = await _ask(daemon, "GET", path, CHANGE)
        assert (wrong.status, wrong.header("allow")) == (405, method), path
        assert wrong.error["message"]
    assert (await daemon.admin("GET", "/status"))[1]["overrides"] == []
    assert daemon.log_lines("target.changed") == []
    for method, path, body in CHANGES:
        assert (await _ask(daemon, method, path, CHANGE, body=body)).status == 200, path


async def test_a_name_in_a_path_may_be_encoded(daemon: RunningDaemon) -> None:
    weighed = await _ask(daemon, "PUT", "/targets/a%2Fone/weight", CHANGE, body=b'{"weight": 5}')
    assert (weighed.status, weighed.json) == (200, {"target": "a/one", "weight": 5.0})
    assert (await _ask(daemon, "HEAD", "/targets/a%2Fone/weight", CHANGE)).header("allow") == "PUT"
    assert (await _ask(daemon, "POST", "/status", CHANGE)).header("allow") == "GET,HEAD"
    assert (await _ask(daemon, "HEAD", "/status")).status == 200


async def test_a_body_that_cannot_be_read_is_told_and_ends_the_connection(daemon: RunningDaemon) -> None:
    place = ("PUT", "/targets/a/one/weight", CHANGE)
    waits, chunked = ("Expect", "100-continue"), ("Transfer-Encoding", "chunked")
    for asked, body, status_code in (
        (head(*place, ("Content-Length", str(1024 * 1024 + 1))), b"", 413),
        (head(*place, chunked, waits), b"100001\r\n" + b" " * (1024 * 1024 + 1) + b"\r\n0\r\n\r\n", 413),
        (head(*place, chunked, waits), b"no number\r\n", 400),
    ):
        async with await RawClient.to(str(daemon.admin_path)) as client:
            await client.send(asked)
            if body:
                assert (await client.head()).status == 100
            reply = await client.ask(body)
            assert (reply.status, reply.closes) == (status_code, True), reply
            assert reply.error["message"]


async def test_readings_change_nothing_and_hold_no_key(daemon: RunningDaemon) -> None:
    await daemon.chat()
    said = b""
    for path in READINGS:
        reply = await _ask(daemon, "GET", path)
        assert reply.status == 200, path
        said += reply.body
        for method in ("POST", "PUT", "DELETE"):
            assert (await _ask(daemon, method, path, CHANGE)).status == 405
    assert b"canary" not in said
    assert b"canary" not in daemon.stderr.encode()
    assert b'"***"' in said


WRONG = [
    ("POST", "/targets/no/such/reset", b"", 404),
    ("POST", "/targets/no/such/maint", b"", 404),
    ("POST", "/providers/nope/reset", b"", 404),
    ("PUT", "/targets/no/such/weight", b'{"weight": 1}', 404),
    ("PUT", "/routes/nope/chain", b'{"chain": ["a/one"]}', 404),
    ("PUT", "/routes/nope/balance", b'{"balance": "random"}', 404),
    ("PUT", "/routes/split/balance", b'{"balance": "sideways"}', 422),
    ("PUT", "/routes/default/chain", b'{"chain": []}', 422),
    ("PUT", "/routes/default/chain", b'{"chain": ["zzz/one"]}', 422),
    ("PUT", "/routes/default/chain", b'{"chains": ["a/one"]}', 400),
    ("PUT", "/routes/default/chain", b"{", 400),
    ("PUT", "/routes/default/chain", b"\xff", 400),
    ("PUT", "/targets/a/one/weight", b'{"weight": -1}', 422),
    ("PUT", "/targets/a/one/weight", b'{"weight": "heavy"}', 400),
    ("GET", "/nowhere", b"", 404),
    ("GET", "/explain", b"", 400),
    ("GET", "/explain?model=", b"", 400),
    ("GET", "/explain?model=x&route=nope", b"", 404),
    ("GET", "http://localhost/status", b"", 400),
    ("POST", "/targets/a/one/explode", b"", 404),
    ("POST", "/targets/%ff%fe/%0d%0aX-Evil:%201/reset", b"", 404),
    ("PUT", "/routes/%0d%0aX-Evil:%201/chain", b'{"chain": ["a/one"]}', 404),
    ("GET", "/explain?model=%ff%00", b"", 200),
]


async def test_what_is_wrong_is_told_as_json(daemon: RunningDaemon) -> None:
    for method, path, body, expected in WRONG:
        reply = await _ask(daemon, method, path, CHANGE, body=body)
        assert (method, path, reply.status) == (method, path, expected)
        assert reply.status == 200 or reply.error["message"]
        assert reply.header("x-evil") is None
    assert (await daemon.admin("GET", "/status"))[1]["overrides"] == []


@pytest.mark.parametrize(("given", "meant"), [("a/on", "a/one"), ("spaer", "spare")])
async def test_a_weight_for_a_target_or_provider_that_is_none_is_told_what_was_meant(
    daemon: RunningDaemon, given: str, meant: str
) -> None:
    reply = await _ask(daemon, "PUT", f"/targets/{given}/weight", CHANGE, body=b'{"weight": 1}')
    assert reply.error["message"] == f'there is no target or provider "{given}"; did you mean "{meant}"?'


async def test_changes_by_hand_are_in_force_at_once_and_a_chain_ends_with_an_edit(
    daemon: RunningDaemon, fake: FakeProvider
) -> None:
    await daemon.admin("POST", "/targets/a/one/maint")
    assert (await daemon.chat())[1]["x-sidecar-target"] == "b/two"
    await daemon.admin("POST", "/targets/a/one/ready")
    assert (await daemon.chat())[1]["x-sidecar-target"] == "a/one"
    await daemon.admin("PUT", "/routes/default/chain", {"chain": ["b/two", "a/one"]})
    assert (await daemon.chat())[1]["x-sidecar-target"] == "b/two"
    overrides = (await daemon.admin("GET", "/status"))[1]["overrides"]
    assert [(each["kind"], each["name"]) for each in overrides] == [("chain", "default")]
    edited = CONFIG.format(url=fake.base_url).replace("[a/one, b/two]", "[a/three]")
    await daemon.edit(edited)
    assert (await daemon.chat())[1]["x-sidecar-target"] == "a/three"
    assert (await daemon.admin("GET", "/status"))[1]["overrides"] == []


async def test_the_feed_shows_each_line_once_and_goes_on(daemon: RunningDaemon, fake: FakeProvider) -> None:
    fake.script(status(500), ok("fine"))
    await daemon.chat()
    async with await RawClient.to(str(daemon.admin_path)) as client:
        await client.send(head("GET", "/attempts?follow=1"))
        assert (await client.head()).header("content-type") == "application/x-ndjson"
        text = b""
        await daemon.chat()
        async with asyncio.timeout(5):
            while text.count(b'"event":"request"') < 2:
                text += await client.chunk()
    events = [json.loads(line)["event"] for line in text.splitlines()]
    assert events.count("request") == 2
    assert events.count("attempt") >= 3


async def test_the_feed_has_a_head_that_nothing_follows(daemon: RunningDaemon) -> None:
    await daemon.chat()
    async with await RawClient.to(str(daemon.admin_path)) as client:
        for path in ("/attempts", "/attempts?follow=1", "/attempts"):
            reply = await client.ask(head("HEAD", path), head_only=True)
            assert (reply.status, reply.header("content-type")) == (200, "application/x-ndjson")


async def test_the_admin_socket_is_its_owners_alone_and_as_strict_as_the_others(daemon: RunningDaemon) -> None:
    assert stat.S_IMODE(daemon.admin_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(daemon.socket).stat().st_mode) == 0o660
    for path in ("/status", "/reload", "/metrics", "/config"):
        for unix in (False, True):
            assert (await daemon.request("GET", path, unix=unix))[0] == 404  # not on the data plane
    async with await RawClient.to(str(daemon.admin_path)) as client:
        reply = await client.ask(b"nonsense\r\n\r\n")
        assert reply.status == 400
        assert reply.error["message"]
    await daemon.wait_log("request.refused", status=400)


async def test_drain_by_hand_is_a_stop_and_a_follower_does_not_hold_it_up(daemon: RunningDaemon) -> None:
    async with await RawClient.to(str(daemon.admin_path)) as client:
        await client.send(head("GET", "/attempts?follow=1"))
        await client.head()
        began = asyncio.get_running_loop().time()
        assert (await daemon.admin("POST", "/drain"))[0] == 202
        assert await daemon.wait() == 0
        assert asyncio.get_running_loop().time() - began < 10
