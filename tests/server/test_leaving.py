"""Clients that leave early or read slowly, and streams that break: nothing is left open, nothing is a lie."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.fake_behaviours import Behaviour, Exchange
from tests.fake_provider import FakeProvider, cut_after, error_event_in_200, ok, silence, stall_after, status
from tests.server.house import House, config, open_house
from tests.server.raw import RawClient, chat_body, post

_WIDE_S = 1.0


async def _cancelled(house: House, fake: FakeProvider, attempts: int = 1) -> None:
    """The provider saw the close, and the log tells of it in one line each."""
    await fake.wait_for(lambda each: each.active == 0 and each.open == 0, _WIDE_S)
    [request] = await house.wait_lines("request")
    lines = await house.wait_lines("attempt", attempts)
    assert [line["outcome"] for line in lines] == ["failed"] * (attempts - 1) + ["cancelled"]
    assert (request["outcome"], request["kind"], request["status"]) == ("cancelled", "client_gone", 499)
    assert len(house.lines("attempt")) == attempts
    assert not house.manager.active


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_while_no_head_has_come_closes_upstream(
    house: House, fake: FakeProvider, via: str, stream: bool
) -> None:
    fake.script(silence())
    async with await RawClient.to(house.where(via)) as client:
        await client.send(post(chat_body(stream=stream), host=house.host(via)))
        await fake.wait_calls(1)
    await _cancelled(house, fake)


async def test_leaving_before_the_first_content_closes_upstream(house: House, fake: FakeProvider, via: str) -> None:
    fake.script(stall_after(0))
    async with await RawClient.to(house.where(via)) as client:
        await client.send(post(chat_body(stream=True), host=house.host(via)))
        await fake.wait_calls(1)
        await asyncio.sleep(0.05)
    await _cancelled(house, fake)


@pytest.mark.parametrize("stalled", [False, True])
async def test_leaving_in_the_middle_of_a_stream_closes_upstream(
    house: House, fake: FakeProvider, via: str, stalled: bool
) -> None:
    fake.script(stall_after(5) if stalled else ok(gap_s=0.05))
    async with await RawClient.to(house.where(via)) as client:
        await client.send(post(chat_body(stream=True), host=house.host(via)))
        assert (await client.head()).status == 200
        await client.chunk()
    await _cancelled(house, fake)


async def test_leaving_in_the_middle_of_a_plain_answer_closes_upstream(
    house: House, fake: FakeProvider, via: str
) -> None:
    fake.script(stall_after(5))
    async with await RawClient.to(house.where(via)) as client:
        await client.send(post(chat_body(), host=house.host(via)))
        await fake.wait_calls(1)
        await asyncio.sleep(0.05)
    await _cancelled(house, fake)


async def test_leaving_during_a_wait_between_attempts_ends_it(fake: FakeProvider, wire: str, via: str) -> None:
    text = config(fake.base_url, wire=wire, resilience="{same_target_retries: 1, backoff_base: 60s, backoff_cap: 60s}")
    fake.script(status(500))
    async with open_house(text) as house:
        async with await RawClient.to(house.where(via)) as client:
            await client.send(post(chat_body(), host=house.host(via)))
            await house.wait_lines("attempt")
            await asyncio.sleep(0.02)
        [line] = await house.wait_lines("request")
        assert line["outcome"] in ("cancelled", "failed")  # a short wait may have been drawn
        assert not house.manager.active


async def test_leaving_in_the_middle_of_a_body_leaves_nothing(house: House, fake: FakeProvider, via: str) -> None:
    request = post(chat_body(), host=house.host(via))
    async with await RawClient.to(house.where(via)) as client:
        await client.send(request[:-5])
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)
    assert not fake.calls
    assert not house.lines("request")
    assert (await house.once(via, request)).status == 200


async def test_a_stream_that_breaks_ends_with_an_error_event_and_a_fin(
    house: House, fake: FakeProvider, via: str
) -> None:
    fake.script(cut_after(4, "rst"))
    async with await RawClient.to(house.where(via)) as client:
        reply = await client.ask(post(chat_body(stream=True), host=house.host(via)))
        assert (reply.status, reply.complete) == (200, False)
        assert "[DONE]" not in reply.events
        assert "error" in json.loads(reply.events[-1])
        assert await client.rest() == b""  # a RST would raise
    [line] = await house.wait_lines("request")
    assert line["outcome"] == "truncated"


@pytest.mark.parametrize("cut", ["fin", "clean"])
async def test_however_it_breaks_the_client_is_told(house: House, fake: FakeProvider, via: str, cut: str) -> None:
    fake.script(cut_after(4, cut))  # type: ignore[arg-type]
    async with await RawClient.to(house.where(via)) as client:
        reply = await client.ask(post(chat_body(stream=True), host=house.host(via)))
        assert not reply.complete
        assert "error" in json.loads(reply.events[-1])
        assert await client.rest() == b""


async def test_an_error_event_in_a_committed_stream_is_its_end(house: House, fake: FakeProvider, via: str) -> None:
    fake.script(error_event_in_200(at=3, gap_s=0.02))
    async with await RawClient.to(house.where(via)) as client:
        reply = await client.ask(post(chat_body(stream=True), host=house.host(via)))
        assert not reply.complete
        assert "error" in json.loads(reply.events[-1])
        assert "[DONE]" not in reply.events


async def test_over_http_1_0_a_broken_stream_has_its_error_event_too(
    house: House, fake: FakeProvider, via: str
) -> None:
    fake.script(cut_after(4))
    async with await RawClient.to(house.where(via)) as client:
        reply = await client.ask(post(chat_body(stream=True), host=house.host(via), version="1.0"))
        assert "error" in json.loads(reply.events[-1])
        assert "[DONE]" not in reply.events


async def test_a_slow_reader_holds_the_provider_back(house: House, fake: FakeProvider, via: str) -> None:
    frame = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": "w" * 1000}}]}).encode() + b"\n\n"
    sent = 0

    class Torrent(Behaviour):
        """Sends for ever, as fast as it may."""

        async def play(self, exchange: Exchange) -> None:
            nonlocal sent
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            await exchange.send(head)
            while True:
                await exchange.send(b"%x\r\n%b\r\n" % (len(frame), frame))
                sent += len(frame)
                await asyncio.sleep(0)

    fake.script(Torrent())
    async with await RawClient.to(house.where(via), limit=4096) as client:
        await client.send(post(chat_body(stream=True), host=house.host(via)))
        assert (await client.head()).status == 200
        async with asyncio.timeout(10):
            before = -1
            while before != sent:  # until nothing moved for a while
                before = sent
                await asyncio.sleep(0.15)
        assert sent < 32_000_000, "kernel buffers and a few of ours, no more"
        assert fake.active == 1
        taken = 0
        async with asyncio.timeout(10):
            while sent < before + 1_000_000:  # and it goes on when somebody reads
                taken += len(await client.reader.read(65536))
        assert taken
    await _cancelled(house, fake)
