"""A stream is taken as an ordinary one where it may be, and nobody can tell: neither its client nor the log.

As in `test_ordinary`, each case is played twice. A stream may cease to be ordinary at any of its events: before its
head, before its first content, after it, at its end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import pytest

from sidecar.manager.ordinary_stream import OrdinaryStream
from tests.fake_behaviours import (
    Behaviour,
    cut_after,
    drip,
    error_event_in_200,
    html,
    malformed_chunk_at,
    no_done,
    ok,
    raw,
    reset,
    silence,
    stall_after,
    status,
)
from tests.fake_provider import FakeProvider
from tests.server.alike import WIRES, line_of, played_twice, told_by
from tests.server.house import House, config, open_house
from tests.server.raw import RawClient, RawReply, chat_body, post

_TIMEOUTS = "{first_token: 500ms, idle: 400ms}"
_CHAIN = f"{{default: {{chain: [fake/m, fake/other], timeouts: {_TIMEOUTS}}}}}"
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _said(text: str | None, finish: str | None = None, *, index: int = 0) -> bytes:
    delta = {} if text is None else {"content": text}
    value = {"model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}
    frame = b"data: %b\n\n" % json.dumps(value).encode()
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def _frames(*texts: str) -> list[bytes]:
    return [_said(text) for text in texts]


_END = _said(None, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
_WHOLE = _HEAD + b"".join(_frames("a", "b")) + _END
_KEEPALIVE = b"d\r\n: breathing\n\n\r\n"
_FLUENT = {"gap_s": 0.004}  # in many reads
_CASES: dict[str, Callable[[], Behaviour]] = {
    "well": lambda: ok("one two three four", **_FLUENT),
    "well, in one read": lambda: ok("one two three four"),
    "with tools": lambda: ok(tool_calls=[("look", '{"at": 1}'), ("see", "{}")], **_FLUENT),
    "with usage beside the finish": lambda: ok("one two", usage_chunk="on_finish", **_FLUENT),
    "always with usage": lambda: ok("one two", usage_chunk="always", **_FLUENT),
    "no usage": lambda: ok("one two", usage_chunk="never", **_FLUENT),
    "escapes and other tongues": lambda: ok('say "so" \\ \n 你好 🙂', **_FLUENT),
    "comments": lambda: raw(_HEAD, _KEEPALIVE, *_frames("a", "b"), _KEEPALIVE, _END, then=None, gap_s=0.01),
    "two choices": lambda: raw(
        _HEAD,
        _said("a"),
        _said("b", index=1),
        _said("", "stop"),
        _said("", "stop", index=1),
        _END,
        then=None,
        gap_s=0.01,
    ),
    "torn anywhere": lambda: raw(*[_WHOLE[at : at + 37] for at in range(0, len(_WHOLE), 37)], then=None, gap_s=0.004),
    "its last chunk comes late": lambda: raw(_HEAD, _said("a"), _END[:-5], _END[-5:], then=None, gap_s=0.05),
    "its last chunk never comes": lambda: raw(_HEAD, _said("a"), _END[:-5], then=None),
    "one byte too many": lambda: raw(_HEAD, _said("a"), _END + b"x", then=None, gap_s=0.02),
    "no last mark": lambda: no_done(words=("a", "b", "c"), **_FLUENT),
    "no last mark, and silence": lambda: raw(_HEAD, _said("a"), _said(None, "stop"), then=None),
    "no finish": lambda: cut_after(2, "clean", **_FLUENT),
    "cut off": lambda: cut_after(2, **_FLUENT),
    "cut off before its content": lambda: cut_after(0),
    "reset on its way": lambda: cut_after(2, "rst", **_FLUENT),
    "silent on its way": lambda: stall_after(2, **_FLUENT),
    "silent before its content": lambda: stall_after(0),
    "silent after its head": lambda: silence(head=True),
    "silent": lambda: silence(),
    "one event is no JSON": lambda: malformed_chunk_at(2, words=("a", "b", "c"), **_FLUENT),
    "an error first": lambda: error_event_in_200(),
    "an error on its way": lambda: error_event_in_200(at=2, **_FLUENT),
    "an error right behind content": lambda: error_event_in_200(at=2),
    "a whole answer": lambda: ok("four words of it", stream=False),
    "busy": lambda: status(503),
    "rate limited": lambda: status(429, retry_after=30),
    "bad request": lambda: status(400, "no such thing", kind="invalid_request_error"),
    "a page": lambda: html(),
    "an empty stream": lambda: raw(_HEAD + b"0\r\n\r\n", then=None),
    "reset": lambda: reset(),
    "no HTTP": lambda: raw(b"SSH-2.0-fake\r\n"),
    "no chunks": lambda: raw(_HEAD, b"zz\r\nnot a chunk\r\n"),
    "no chunks on its way": lambda: raw(_HEAD, _said("a"), b"zz\r\nnot a chunk\r\n", gap_s=0.01),
    "no hurry": lambda: drip(100_000),
}


async def _played(
    fake: FakeProvider, wire: str, *, move: Behaviour, fields: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Any, ...]:
    fake.on("m", ok(), ok(), move, ok())
    fake.on("other", ok("the other one"))
    asked = post(chat_body(stream=True, **fields))
    async with open_house(config(fake.base_url, wire=wire, routes=_CHAIN)) as house:
        async with await RawClient.to(house.socket) as client:
            for _ in range(2):
                assert (await client.ask(asked)).events[-1] == "[DONE]"
            reply = await client.ask(asked)
            again = None if reply.closes or not reply.complete else (await client.ask(asked)).status
        count = 3 if again is None else 4
        requests = await house.wait_lines("request", count)
        states = [state.describe(0.0) for state in house.manager.rooms.book.states]
        settled = [(state["in_flight"], state["breaker"], state["recent_requests"]) for state in states]
        settled += [len(state.speed._recent) for state in house.manager.rooms.book.states]
        lines = [line_of(line) for line in (*house.lines("attempt")[1:], *requests[1:])]
        assert all(line["overhead_s"] for line in lines)
        return told_by(reply), again, lines, settled


@pytest.mark.parametrize("case", _CASES)
async def test_whatever_becomes_of_it_nobody_can_tell_the_difference(case: str) -> None:
    ordinary, awaited = await played_twice(partial(_played, move=_CASES[case]()))
    assert ordinary == awaited


@pytest.mark.parametrize("case", [case for case in _CASES if "usage" in case or "well" in case])
async def test_who_asks_for_usage_gets_it(case: str) -> None:
    fields = {"stream_options": {"include_usage": True}}
    ordinary, awaited = await played_twice(partial(_played, move=_CASES[case](), fields=fields))
    assert ordinary == awaited
    assert ("prompt_tokens" in ordinary[0]) is (case != "no usage")


async def _under_way(house: House, *, begun: bool = True) -> OrdinaryStream:
    """The ordinary stream that is under way, when its content has come, or before."""
    async with asyncio.timeout(5):
        while True:
            for each in house.manager.active:
                if isinstance(each, OrdinaryStream) and (each.content_at is not None) is begun:
                    return each
            await asyncio.sleep(0.002)


async def _begun(house: House, fake: FakeProvider, client: RawClient, move: Behaviour) -> OrdinaryStream:
    """A stream whose first content has come to its client."""
    fake.script(ok(), ok(), move)
    asked = post(chat_body(stream=True))
    for _ in range(2):
        await client.ask(asked)
    await client.send(asked)
    stream = await _under_way(house)
    assert (await client.head()).status == 200
    assert b"amber" in await client.chunk()
    return stream


def _settled(house: House) -> bool:
    return not house.manager.active and [state.in_flight for state in house.manager.rooms.book.states] == [0]


@pytest.mark.parametrize(
    ("said", "last"),
    [
        ([_HEAD, _said("a"), _said(None, "stop")], "[DONE]"),
        ([_HEAD, *_frames("a", "b"), _said(None, "stop"), _said("c")], "[DONE]"),  # more, behind its finish
        ([_HEAD + _said("") + b"0\r\n\r\n"], "the other one"),
    ],
    ids=["finished", "finished with more behind", "over"],
)
async def test_it_is_known_soon_that_nothing_more_will_come(fake: FakeProvider, said: list[bytes], last: str) -> None:
    """Long before any silence would be long."""
    fake.on("m", ok(), raw(*said, then=None, gap_s=0.02))
    fake.on("other", ok("the other one"))
    async with (
        open_house(config(fake.base_url, routes="{default: {chain: [fake/m, fake/other]}}")) as house,
        await RawClient.to(house.socket) as client,
    ):
        await client.ask(post(chat_body(stream=True)))
        reply = await client.ask(post(chat_body(stream=True)))
        assert last in (reply.events[-1], _text(reply))
        assert reply.complete


@pytest.mark.parametrize("wire", ["direct"])
async def test_an_end_that_comes_with_more_of_what_is_said_is_told_at_once(house: House, fake: FakeProvider) -> None:
    fake.script(ok(), raw(_HEAD, *_frames("a", "b", "c"), _said("d") + b"0\r\n\r\n", then=None, gap_s=0.02))
    async with await RawClient.to(house.socket) as client:
        await client.ask(post(chat_body(stream=True)))
        reply = await client.ask(post(chat_body(stream=True)))
    assert not reply.complete
    assert _text(reply) == "abcd"
    assert "without a finish reason" in reply.events[-1]


def _text(reply: RawReply) -> str:
    """What a stream says."""
    deltas = [json.loads(data)["choices"][0]["delta"].get("content") for data in reply.events[:-1]]
    return "".join(filter(None, deltas))


@pytest.mark.parametrize(("timeouts", "kind"), [("{idle: 1s}", "idle_timeout"), ("{total: 1s}", "deadline")])
async def test_its_time_is_what_the_config_says(fake: FakeProvider, timeouts: str, kind: str) -> None:
    move = stall_after(2) if kind == "idle_timeout" else ok(gap_s=0.05)
    routes = f"{{default: {{chain: [fake/m], timeouts: {timeouts}}}}}"
    async with open_house(config(fake.base_url, routes=routes)) as house, await RawClient.to(house.socket) as client:
        await _begun(house, fake, client, move)
        assert kind in (await client.rest()).decode()
        attempt = (await house.wait_lines("attempt", 3))[2]
    assert attempt["kind"] == kind
    assert 0.9 < attempt["duration_s"] < 1.9


@pytest.mark.parametrize("wire", ["direct"])
async def test_its_client_leaves(house: House, fake: FakeProvider) -> None:
    async with await RawClient.to(house.socket) as client:
        await _begun(house, fake, client, stall_after(3))
    request = (await house.wait_lines("request", 3))[2]
    attempt = house.lines("attempt")[2]
    assert [attempt[key] for key in ("outcome", "kind", "committed")] == ["cancelled", "client_gone", True]
    assert [request[key] for key in ("outcome", "status")] == ["cancelled", 499]
    assert 0 < attempt["first_token_s"] <= attempt["duration_s"]
    assert _settled(house)
    await fake.wait_closed_connections(5)


@pytest.mark.parametrize("wire", ["direct"])
async def test_its_client_leaves_before_its_content(house: House, fake: FakeProvider) -> None:
    fake.script(ok(), silence(head=True))
    async with await RawClient.to(house.socket) as client:
        await client.ask(post(chat_body(stream=True)))
        await client.send(post(chat_body(stream=True)))
        stream = await _under_way(house, begun=False)
        async with asyncio.timeout(5):
            while stream.reply is None:
                await asyncio.sleep(0.002)
    attempt = (await house.wait_lines("attempt", 2))[1]
    assert (attempt["outcome"], attempt["status"], attempt["committed"]) == ("cancelled", 200, False)
    await house.wait_lines("request", 2)
    assert _settled(house)


@pytest.mark.parametrize("wire", ["direct"])
async def test_it_is_stopped(house: House, fake: FakeProvider) -> None:
    async with await RawClient.to(house.socket) as client:
        await _begun(house, fake, client, stall_after(3))
        house.manager.stop_active()
        rest = (await client.rest()).decode()
    assert '"error":{' in rest
    assert "[DONE]" not in rest
    assert not rest.endswith("\r\n0\r\n\r\n")
    assert [line["outcome"] for line in await house.wait_lines("attempt", 3)] == ["ok", "ok", "failed"]
    await house.wait_lines("request", 3)
    assert _settled(house)


@pytest.mark.parametrize("wire", ["direct"])
async def test_its_client_reads_slowly(house: House, fake: FakeProvider) -> None:
    """Who cannot take it all is waited for, and gets every word."""
    words = tuple(f"{number}:{'x' * 20_000}" for number in range(400))
    fake.script(ok(), ok(words=words, gap_s=0.0005))
    asked = post(chat_body(stream=True))
    async with await RawClient.to(house.socket, limit=1024) as client:
        await client.ask(asked)
        await client.send(asked)
        await _under_way(house)
        async with asyncio.timeout(5):  # reads nothing, until all buffers are full
            while any(isinstance(each, OrdinaryStream) for each in house.manager.active):
                await asyncio.sleep(0.002)
        [answer] = house.manager.active
        assert answer._exchange.bytes_out < 4_000_000  # of 8: the rest is not read before there is room for it
        reply = await client.reply()
    assert _text(reply) == " ".join(words)
    assert [line["outcome"] for line in await house.wait_lines("request", 2)] == ["ok", "ok"]
    assert _settled(house)


@pytest.mark.parametrize("wire", ["direct"])
async def test_its_breaker_opens_meanwhile(house: House, fake: FakeProvider) -> None:
    async with await RawClient.to(house.socket) as client:
        await _begun(house, fake, client, ok("amber basil cedar delta ember", gap_s=0.1))
        house.break_target()
        await house.wait_lines("request", 3)
    attempt = house.lines("attempt")[2]
    assert [attempt[key] for key in ("outcome", "breaker_before", "breaker_after")] == ["ok", "closed", "open"]


@pytest.mark.parametrize("named", ["read_now", "ended_now"])
@pytest.mark.parametrize("wire", ["direct"])
async def test_a_bug_on_its_way_is_told_and_frees_what_it_held(
    house: House, fake: FakeProvider, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise LookupError("a bug")

    async with await RawClient.to(house.socket) as client:
        await _begun(house, fake, client, ok("amber basil cedar delta ember", gap_s=0.1))
        monkeypatch.setattr(OrdinaryStream, named, fails)
        rest = (await client.rest()).decode()
    assert "LookupError" in rest
    assert not rest.endswith("\r\n0\r\n\r\n")
    assert [line["outcome"] for line in await house.wait_lines("request", 3)] == ["ok", "ok", "failed"]
    assert _settled(house)
    assert len(house.faults) == 1
    house.faults.clear()


@pytest.mark.parametrize("route", ["hedge: {after: 2s}", "rescue: continue", "stream: buffer", "sse_keepalive: 2s"])
async def test_who_wants_more_of_a_stream_gets_it(fake: FakeProvider, route: str) -> None:
    routes = f"{{default: {{chain: [fake/m], {route}}}}}"
    async with open_house(config(fake.base_url, routes=routes)) as house, await RawClient.to(house.socket) as client:
        fake.script(ok(), ok("amber basil", gap_s=0.1))
        await client.ask(post(chat_body(stream=True)))
        await client.send(post(chat_body(stream=True)))
        async with asyncio.timeout(5):
            while not house.manager.active:
                await asyncio.sleep(0.002)
        assert not any(isinstance(each, OrdinaryStream) for each in house.manager.active)
        assert (await client.reply()).events[-1] == "[DONE]"


async def test_each_one_tells_its_own(fake: FakeProvider) -> None:
    """Whatever is copied from the lines of the one before it would be seen here."""
    told = []
    for wire in WIRES:
        usages = [None, {"prompt_tokens": 10, "completion_tokens": 20}, {"prompt_tokens": 7}, {}]
        moves = [
            ok(
                f"{'x' * number} y",
                model=f"m-{number}",
                usage=usages[number % 4],
                headers={"x-request-id": f"up-{number}"},
                gap_s=0.02,
                malformed_at=1 if number in (1, 5) else None,
            )
            for number in range(9)
        ]
        fake.on("m", *moves)
        async with open_house(config(fake.base_url, wire=wire)) as house:
            async with await RawClient.to(house.socket) as client:
                for number in range(9):
                    headers = [("X-Stainless-Retry-Count", str(number)), ("X-Request-Id", f"mine-{number}")]
                    told.append(told_by(await client.ask(post(chat_body(stream=True, user="u" * number), *headers))))
            lines = [*await house.wait_lines("attempt", 9), *await house.wait_lines("request", 9)]
            assert all(line["first_token_s"] < line["duration_s"] - 0.01 for line in lines)
            told += [(line_of(line), line["client_request_id"], line.get("upstream_request_id")) for line in lines]
    assert told[: len(told) // 2] == told[len(told) // 2 :]
