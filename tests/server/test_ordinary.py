"""A request is taken as an ordinary one where it may be, and nobody can tell: neither its client nor the log.

Each case is played twice, to a daemon whose wire lets requests go the short way and to one whose wire does not;
answers and lines must be the same but for times. Two requests go before it: the first leaves an idle connection to
the provider, without which nothing is ordinary; the lines of the second are those that the next are copied from.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from sidecar.manager.ordinary import Ordinary
from sidecar.routing.health import AdminState
from sidecar.routing.rotation import Rotation
from tests.fake_behaviours import (
    Behaviour,
    cut_after,
    drip,
    empty,
    error_event_in_200,
    half_json,
    html,
    ok,
    raw,
    reset,
    silence,
    status,
)
from tests.fake_provider import FakeProvider
from tests.server.alike import WIRES, line_of, played_twice, told_by
from tests.server.house import House, config, open_house
from tests.server.raw import RawClient, chat_body, post

_PAGE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 400\r\n\r\n{"
_ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"two parts"},"finish_reason":"stop"}]}'
_TWO = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_ANSWER), _ANSWER)
_CASES: dict[str, Callable[[], Behaviour]] = {
    "well": lambda: ok("four words of it"),
    "error in a 200": lambda: error_event_in_200(),
    "busy": lambda: status(503),
    "rate limited": lambda: status(429, retry_after=30),
    "wrong key": lambda: status(401),
    "bad request": lambda: status(400, "no such thing", kind="invalid_request_error"),
    "a page": lambda: html(),
    "nothing": lambda: empty(),
    "half an object": lambda: half_json(),
    "cut off": lambda: cut_after(3),
    "cut off by its length": lambda: raw(_PAGE),
    "reset": lambda: reset(),
    "no HTTP": lambda: raw(b"SSH-2.0-fake\r\n"),
    "no hurry": lambda: drip(20_000),
    "one byte too many": lambda: raw(_PAGE[:-4] + b"2\r\n\r\n{}x"),
    "an answer in two parts": lambda: raw(_TWO[:90], _TWO[90:], then=None, gap_s=0.02),
    "too late": lambda: silence(),
}
_CHAIN = "{default: {chain: [fake/m, fake/other], timeouts: {answer: 600ms}}}"


async def _played(fake: FakeProvider, wire: str, *, move: Behaviour) -> tuple[Any, ...]:
    fake.on("m", ok(), ok(), move)
    fake.on("other", ok("the other one"))
    async with open_house(config(fake.base_url, wire=wire, routes=_CHAIN)) as house:
        async with await RawClient.to(house.socket) as client:
            assert [(await client.ask(post(chat_body()))).status for _ in range(2)] == [200, 200]
            reply = await client.ask(post(chat_body()))
        attempts, requests = (await _ended(house))[1:], house.lines("request")[1:]
        states = [state.describe(0.0) for state in house.manager.rooms.book.states]
        settled = [(state["in_flight"], state["breaker"], state["recent_requests"]) for state in states]
        lines = [*map(line_of, attempts), *map(line_of, requests)]
        assert all(line["overhead_s"] for line in lines)
        return told_by(reply), lines, settled


def _answer(number: int, usage: dict[str, Any] | None) -> Behaviour:
    choice = {"index": 0, "message": {"role": "assistant", "content": "x" * number}, "finish_reason": f"stop-{number}"}
    body = json.dumps({"model": f"m-{number}", "choices": [choice], "usage": usage}).encode()
    head = f"content-type: application/json\r\nx-request-id: up-{number}\r\nretry-after-ms: {number}\r\n"
    return raw(f"HTTP/1.1 200 OK\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body, then=None)


async def test_each_one_tells_its_own(fake: FakeProvider) -> None:
    """Whatever is copied from the lines of the one before it would be seen here."""
    details = {"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 5}}
    usages = [{"prompt_tokens": 10, "completion_tokens": 20, **details}, None, {"prompt_tokens": 7}, {**details}]
    models = "{m: {price: {input: 1, output: 2}}}"
    provider = f'{{fake: {{type: openai-compatible, base_url: "{fake.base_url}", api_key: k, models: {models}}}}}'
    told = []
    for wire in WIRES:
        fake.on("m", *[_answer(number, usage) for number, usage in enumerate([None, *usages, *usages[::-1]])])
        async with open_house(config(fake.base_url, wire=wire, providers=provider)) as house:
            async with await RawClient.to(house.socket) as client:
                for number in range(9):
                    named = [("X-Request-Id", f"mine-{number}")] if number % 2 else []
                    headers = [("X-Stainless-Retry-Count", str(number)), *named]
                    told.append(told_by(await client.ask(post(chat_body(user="u" * number), *headers))))
            lines = [*await house.wait_lines("attempt", 9), *await house.wait_lines("request", 9)]
            told += [(line_of(line), line.get("client_request_id"), line.get("upstream_request_id")) for line in lines]
    assert told[: len(told) // 2] == told[len(told) // 2 :]
    assert [line["client_retry_count"] for line, *_ in told[-9:]] == [*range(9)]


async def _ended(house: House) -> list[dict[str, Any]]:
    """The attempts, when all requests have their lines."""
    await house.wait_lines("request", 3)
    return house.lines("attempt")


@pytest.mark.parametrize("case", _CASES)
async def test_whatever_becomes_of_it_nobody_can_tell_the_difference(case: str) -> None:
    ordinary, awaited = await played_twice(partial(_played, move=_CASES[case]()))
    assert ordinary == awaited


@pytest.mark.parametrize("given", [("User-Agent", "a" * 2000), ("Idempotency-Key", "one")])
@pytest.mark.parametrize("wire", ["direct"])
async def test_what_is_long_or_of_one_request_alone_is_not_kept(
    house: House, fake: FakeProvider, given: tuple[str, str]
) -> None:
    """Clients would have us hold what they make up, or forget what others come with again and again."""
    fake.script(ok())
    async with await RawClient.to(house.socket) as client:
        await client.ask(post(chat_body()))
        account = house.manager.rooms.registry.account(house.manager.snapshot.providers["fake"])
        for _ in range(2):
            assert (await client.ask(post(chat_body(), given))).status == 200
        kept = [*house.manager.rooms.trails], [*account._ways]
        assert (await client.ask(post(chat_body(), ("User-Agent", "a")))).status == 200
    assert kept == ([("default", "chat", None, (), False, False)], [("chat", "m", (), False)])
    assert (len(house.manager.rooms.trails), len(account._ways), len(account._headers)) == (2, 2, 2)


@pytest.mark.parametrize("wire", WIRES)
async def test_the_targets_of_a_pool_take_turns(fake: FakeProvider, wire: str) -> None:
    pool = "{default: {chain: [{fake/m: 1, fake/other: 1, fake/third: 1}]}}"
    async with open_house(config(fake.base_url, wire=wire, routes=pool)) as house:

        async def served(client: RawClient, count: int) -> list[str]:
            before = len(house.lines("request"))
            for _ in range(count):
                assert (await client.ask(post(chat_body()))).status == 200
            return [line["target"] for line in (await house.wait_lines("request", before + count))[before:]]

        async with await RawClient.to(house.socket) as client:
            first = await served(client, 12)
            assert {*first} == {"fake/m", "fake/other", "fake/third"}
            assert first == first[:3] * 4
            house.manager.rooms.book.set_admin("fake/m", AdminState.MAINT)
            assert set(await served(client, 6)) == {"fake/other", "fake/third"}
            house.manager.rooms.book.set_admin("fake/m", AdminState.READY)
            again = await served(client, 6)
            assert {*again[:3]} == {"fake/m", "fake/other", "fake/third"}
            assert again == again[:3] * 2
            fake.on("m", status(503))
            last = await served(client, 3)
            assert "fake/m" not in last
            attempts = house.lines("attempt")[-4:]
            assert [line["outcome"] for line in attempts if line["target"] == "fake/m"] == ["failed"]


@pytest.mark.parametrize("wire", WIRES)
async def test_the_targets_of_a_pool_have_their_shares(
    fake: FakeProvider, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While all are well, while one is away, and afterwards; a prompt that one has no room for goes to the others."""
    taken, take = [], Rotation.take
    monkeypatch.setattr(Rotation, "take", lambda self, name: (taken.append(name), take(self, name)))
    pool = "{default: {chain: [{fake/m: 5, fake/other: 1, fake/third: 1}]}}"
    providers = (
        f'{{fake: {{type: openai-compatible, base_url: "{fake.base_url}", api_key: k, '
        "models: {third: {context: 4096}}}}"
    )
    async with open_house(config(fake.base_url, wire=wire, routes=pool, providers=providers)) as house:

        async def served(client: RawClient, count: int, **fields: object) -> Counter[str]:
            before = len(house.lines("request"))
            for _ in range(count):
                assert (await client.ask(post(chat_body(**fields)))).status == 200
            return Counter(line["target"] for line in (await house.wait_lines("request", before + count))[before:])

        async with await RawClient.to(house.socket) as client:
            assert await served(client, 14) == {"fake/m": 10, "fake/other": 2, "fake/third": 2}
            house.manager.rooms.book.set_admin("fake/other", AdminState.MAINT)
            assert await served(client, 12) == {"fake/m": 10, "fake/third": 2}
            house.manager.rooms.book.set_admin("fake/other", AdminState.READY)
            assert await served(client, 14) == {"fake/m": 10, "fake/other": 2, "fake/third": 2}
            long = [{"role": "user", "content": "lorem ipsum " * 20_000}]
            assert await served(client, 12, messages=long) == {"fake/m": 10, "fake/other": 2}
    # The engine chooses for the first of all, which needs a connection, and for the first when one is back.
    assert len(taken) == (26 if wire == "direct" else 0)


@pytest.mark.parametrize("weight", [1, 3])
@pytest.mark.parametrize("wire", ["direct"])
async def test_a_request_to_a_pool_is_ordinary(fake: FakeProvider, wire: str, weight: int) -> None:
    pool = f"{{default: {{chain: [{{fake/m: {weight}, fake/other: 1}}]}}}}"
    async with (
        open_house(config(fake.base_url, wire=wire, routes=pool)) as house,
        await RawClient.to(house.socket) as client,
    ):
        for _ in range(4):
            await client.ask(post(chat_body()))
        fake.script(silence())
        await client.send(post(chat_body()))
        await _under_way(house)


async def _under_way(house: House) -> Ordinary:
    async with asyncio.timeout(5):
        while not (found := [each for each in house.manager.active if isinstance(each, Ordinary)]):
            await asyncio.sleep(0.002)
    return found[0]


@pytest.mark.parametrize("wire", ["direct"])
async def test_its_client_leaves(house: House, fake: FakeProvider) -> None:
    fake.script(ok(), silence())
    async with await RawClient.to(house.socket) as client:
        await client.ask(post(chat_body()))
        await client.send(post(chat_body()))
        await _under_way(house)
    request = (await house.wait_lines("request", 2))[1]
    attempt = house.lines("attempt")[1]
    assert (request["outcome"], request["status"], attempt["outcome"], attempt["kind"]) == (
        "cancelled",
        499,
        "cancelled",
        "client_gone",
    )
    assert not house.manager.active
    assert [state.in_flight for state in house.manager.rooms.book.states] == [0]
    await fake.wait_closed_connections(5)


@pytest.mark.parametrize("wire", ["direct"])
async def test_its_breaker_opens_meanwhile(house: House, fake: FakeProvider) -> None:
    """The line tells what the breaker was when the attempt began, as that of any other does."""
    fake.script(ok(), silence())
    async with await RawClient.to(house.socket) as client:
        await client.ask(post(chat_body()))
        await client.send(post(chat_body()))
        await _under_way(house)
        house.break_target()
        house.manager.stop_active()
        assert (await client.reply()).status == 503
    assert [line["breaker_before"] for line in await house.wait_lines("attempt", 2)] == ["closed", "closed"]


@pytest.mark.parametrize("wire", ["direct"])
async def test_it_is_stopped(house: House, fake: FakeProvider) -> None:
    fake.script(ok(), silence())
    async with await RawClient.to(house.socket) as client:
        await client.ask(post(chat_body()))
        await client.send(post(chat_body()))
        await _under_way(house)
        house.manager.stop_active()
        reply = await client.reply()
    assert reply.status == 503
    assert [line["outcome"] for line in await house.wait_lines("attempt", 2)] == ["ok", "failed"]
    assert [state.in_flight for state in house.manager.rooms.book.states] == [0]


@pytest.mark.parametrize("wire", ["direct"])
async def test_a_bug_in_reading_its_answer_is_told_and_frees_what_it_held(
    house: House, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise LookupError("a bug")

    async with await RawClient.to(house.socket) as client:
        await client.ask(post(chat_body()))
        monkeypatch.setattr(Ordinary, "opened", fails)
        reply = await client.ask(post(chat_body()))
    assert reply.status == 500
    assert "LookupError" in reply.error["message"]
    assert [line["outcome"] for line in await house.wait_lines("request", 2)] == ["ok", "failed"]
    assert [state.in_flight for state in house.manager.rooms.book.states] == [0]
    assert len(house.faults) == 1
    house.faults.clear()


async def test_a_translated_answer_is_the_same_too() -> None:
    block = {"type": "text", "text": "Hi"}
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [block]}
    body = json.dumps({**answer, "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 1}}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while asked := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(asked.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
                writer.write(head + body)
        writer.close()

    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    provider = f'{{fake: {{type: anthropic, base_url: "{url}", api_key: k-fake}}}}'
    told = []
    for wire in WIRES:
        async with open_house(config(url, wire=wire, providers=provider)) as house:
            async with await RawClient.to(house.socket) as client:
                reply = [await client.ask(post(chat_body())) for _ in range(2)][1]
            assert reply.json["created"] == pytest.approx(time.time(), abs=60)
            attempt = line_of((await house.wait_lines("attempt", 2))[1])
            told.append(({**reply.json, "created": 0}, attempt))
    server.close()
    assert told[0] == told[1]
    assert (told[0][1]["mode"], told[0][1]["reused"]) == ("translate", True)
