"""The short way of ordinary requests: who takes it, who does not, and that nobody can tell the difference."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.model.settings import ListenSettings
from sidecar.server.connection import Connection
from tests.fake_behaviours import Answer, silence, stall_after
from tests.fake_provider import FakeProvider, ok
from tests.server.house import House, config, open_house
from tests.server.raw import RawClient, chat_body, head, post

pytestmark = pytest.mark.parametrize("wire", ["direct"], indirect=True)


def connections(house: House) -> list[Connection]:
    """All that are open."""
    return [each for door in house.doors._all() for each in door._connections]


def crossings(house: House) -> int:
    """Requests that are on the short way."""
    return sum(each.crossing is not None for each in connections(house))


async def until_one_crosses(house: House) -> Connection:
    async with asyncio.timeout(5):
        while not crossings(house):
            await asyncio.sleep(0.005)
    return next(each for each in connections(house) if each.crossing is not None)


async def test_requests_of_one_head_and_other_lengths_follow_each_other(house: House) -> None:
    async with await RawClient.to(house.socket) as client:
        for words in ("a", "a b", "a" * 300, "a"):
            reply = await client.ask(post(chat_body(user=words)))
            assert (reply.status, reply.closes) == (200, False)
    assert len(await house.wait_lines("request", 4)) == 4


async def test_a_stream_goes_the_short_way_to_its_end(house: House, fake: FakeProvider) -> None:
    fake.script(*[ok("one two three four five six", gap_s=0.05)] * 2)
    async with await RawClient.to(house.socket) as client:
        await client.ask(post(chat_body()))  # leaves an idle connection to the provider
        await client.send(post(chat_body(stream=True)))
        crossing = (await until_one_crosses(house)).crossing
        assert crossing is not None
        reply = await client.reply()
        assert reply.complete
        assert reply.events[-1] == "[DONE]"
        assert not crossings(house)


async def test_a_stream_that_had_to_wait_for_a_connection_comes_back_to_the_short_way(
    house: House, fake: FakeProvider
) -> None:
    fake.script(ok("one two three four five six", gap_s=0.05))
    async with await RawClient.to(house.socket) as client:
        await client.send(post(chat_body(stream=True)))
        crossing = (await until_one_crosses(house)).crossing
        assert crossing is not None
        async with asyncio.timeout(5):
            while crossing._task is not None or not crossing._begun:
                await asyncio.sleep(0.002)
        assert crossings(house)
        reply = await client.reply()
        assert reply.complete
        assert reply.events[-1] == "[DONE]"
    assert [line["outcome"] for line in await house.wait_lines("request")] == ["ok"]


async def test_a_slow_reader_gets_the_whole_of_a_stream_that_was_under_way(house: House, fake: FakeProvider) -> None:
    words = ("w" * 10_000,) * 600
    fake.script(ok(), Answer(words=words, gap_s=0.001))
    async with await RawClient.to(house.socket, limit=4096) as client:
        await client.ask(post(chat_body()))
        await client.send(post(chat_body(stream=True)))
        await asyncio.sleep(0.3)  # sockets and buffers are full
        reply = await client.reply()
        assert reply.complete
        assert sum(event.count("w" * 10_000) for event in reply.events) == len(words)


_LONG_S = 0.6


@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("words", [0, 3])
async def test_time_that_the_provider_takes_is_not_counted_as_ours(
    fake: FakeProvider, wire: str, words: int, leaves: bool
) -> None:
    fake.script(ok(), stall_after(words))
    patience = f"{{default: {{chain: [fake/m], timeouts: {{first_token: {_LONG_S}s, idle: {_LONG_S}s}}}}}}"
    async with open_house(config(fake.base_url, wire=wire, routes=patience)) as house:
        async with await RawClient.to(house.socket) as client:
            await client.ask(post(chat_body()))
            await client.send(post(chat_body(stream=True)))
            if leaves:
                await asyncio.sleep(_LONG_S * 0.9)
            else:
                await client.reply()
        [_, attempt], [_, request] = await house.wait_lines("attempt", 2), await house.wait_lines("request", 2)
    for line in attempt, request:
        assert line["duration_s"] > _LONG_S * 0.8
        assert line["overhead_s"] < _LONG_S * 0.5


async def ask_until_one_is_slow(client: RawClient, house: House) -> int:
    """Ask, and read no answer, until one does not fit into the socket any more; how many were asked."""
    before = len(house.lines("request"))
    for asked in range(1, 20):
        await client.send(post(chat_body()))
        async with asyncio.timeout(5):
            while len(house.lines("request")) < before + asked or house.faults:
                slow = any(each.crossing is not None and each.crossing._wire.is_slow for each in connections(house))
                if slow or house.faults:
                    return asked
                await asyncio.sleep(0.002)
    raise AssertionError("all of them fitted")


@pytest.mark.parametrize("size_bytes", [8_000_000, 100_000])
async def test_time_that_the_client_takes_for_a_whole_answer_is_not_counted_as_ours(
    house: House, fake: FakeProvider, size_bytes: int
) -> None:
    """The small ones fill the socket together."""
    fake.script(ok(), *[ok("w" * size_bytes)] * 20)
    async with await RawClient.to(house.socket, limit=4096) as client:
        await client.ask(post(chat_body()))
        asked = await ask_until_one_is_slow(client, house)
        await asyncio.sleep(_LONG_S)
        for _ in range(asked):
            assert len((await client.reply()).body) > size_bytes
    request = (await house.wait_lines("request", 1 + asked))[-1]
    assert request["duration_s"] > _LONG_S * 0.8
    assert request["overhead_s"] < _LONG_S * 0.5


async def test_a_bug_while_a_whole_answer_waits_for_its_client_is_told_as_what_it_is(
    house: House, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: Connection) -> None:
        raise LookupError("a bug")

    fake.script(ok(), *[ok("w" * 100_000)] * 20)
    async with await RawClient.to(house.socket, limit=4096) as client:
        await client.ask(post(chat_body()))
        monkeypatch.setattr(Connection, "_drain_helper", fails)
        await ask_until_one_is_slow(client, house)
        async with asyncio.timeout(5):
            while crossings(house):
                await asyncio.sleep(0.005)
    assert [state.in_flight for state in house.manager.rooms.book.states] == [0]
    assert not house.manager.active
    [fault] = house.faults
    assert "LookupError" in fault
    house.faults.clear()


async def test_what_is_sent_ahead_is_answered_in_its_turn(house: House, fake: FakeProvider) -> None:
    fake.script(ok(), ok("slowly", gap_s=0.1), ok())
    async with await RawClient.to(house.socket) as client:
        await client.ask(post(chat_body()))
        await client.send(post(chat_body(stream=True)))
        await until_one_crosses(house)
        await client.send(head("GET", "/healthz") + post(chat_body()))
        assert (await client.reply()).events[-1] == "[DONE]"
        assert (await client.reply()).json == {"status": "ok"}
        assert (await client.reply()).status == 200


async def test_a_head_that_was_let_in_is_judged_anew_by_a_new_guard(house: House) -> None:
    [tcp, unix] = house.manager.snapshot.settings.listen
    async with await RawClient.to(house.socket) as client:
        assert (await client.ask(post(chat_body()))).status == 200
        closed = ListenSettings(unix.address, allow_uids=(65533,))
        await house.doors.commit(house.doors.prepare([tcp, closed]), linger_s=1)
        assert (await client.ask(post(chat_body()))).status == 403


async def test_the_same_head_with_a_wrong_length_is_not_taken_for_it(house: House) -> None:
    request = post(chat_body())
    async with await RawClient.to(house.socket) as client:
        assert (await client.ask(request)).status == 200
        length = b"%d" % len(request.partition(b"\r\n\r\n")[2])
        assert request.count(b": " + length + b"\r\n") == 1
        for wrong in (b"-" + length, b"0x" + length, b"", length + b" " + length):
            async with await RawClient.to(house.socket) as other:
                reply = await other.ask(request.replace(b": " + length + b"\r\n", b": " + wrong + b"\r\n"))
                assert reply.status in (400, 415, 422), wrong


async def test_a_request_that_comes_in_parts_outlives_the_patience_with_silence(fake: FakeProvider, wire: str) -> None:
    text = config(fake.base_url, wire=wire, limits="{keepalive: 200ms}")
    async with open_house(text) as house, await RawClient.to(house.socket) as client:
        assert (await client.ask(head("GET", "/healthz"))).status == 200
        request = post(chat_body(user="a" * 300))
        await asyncio.sleep(0.12)
        await client.send(request[:-100])
        await asyncio.sleep(0.15)
        assert (await client.ask(request[-100:])).status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_just_as_a_task_takes_over_leaves_nothing(
    house: House, fake: FakeProvider, stream: bool
) -> None:
    fake.script(ok(), silence())
    async with await RawClient.to(house.socket) as client:
        await client.ask(post(chat_body()))
        await client.send(post(chat_body(stream=stream)))
        connection = await until_one_crosses(house)
        crossing = connection.crossing
        assert crossing is not None
        assert connection.transport is not None
        connection.transport.abort()  # in its next turn the loop first tells of the loss,
        crossing.late()  # and then would have had the task take its first step
    request = (await house.wait_lines("request", 2))[1]
    assert (request["outcome"], request["kind"]) == ("cancelled", "client_gone")
    assert not house.manager.active
    assert not crossings(house)
    assert [state.in_flight for state in house.manager.rooms.book.states] == [0]
    await fake.wait_closed_connections(5)
