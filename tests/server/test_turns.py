"""What takes long leaves the loop its turns, and is not different by that: translations, and scrapes of much."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Iterator
from time import monotonic
from typing import Any, cast

import pytest
from aiohttp import web

from sidecar.dialects import forms
from sidecar.model.records import AttemptRecord, RequestRecord
from sidecar.server.admin_plane import metrics_places
from sidecar.upstream import asking
from tests.fake_behaviours import ok
from tests.fake_provider import FakeProvider
from tests.server.alike import line_of, told_by
from tests.server.house import House, config, open_house
from tests.server.raw import RawClient, chat_body, post

_LONG_S = 0.4


def asked(messages: object, *, stream: bool = False) -> bytes:
    """A request in Anthropic's dialect to a provider of OpenAI's."""
    return post(
        json.dumps({"model": "default", "max_tokens": 9, "messages": messages, "stream": stream}).encode(),
        path="/v1/messages",
    )


def conversation(turns: int) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[turn % 2], "content": f"{turn} and so on"} for turn in range(turns)]


@pytest.fixture
def busy() -> Iterator[threading.Event]:
    """Something that was put aside before, until the event is set."""
    done = threading.Event()
    asking._ASIDE.submit(done.wait)
    yield done
    done.set()


async def paused_s(work: Awaitable[object]) -> tuple[float, float]:
    """How long the loop was held at most while the work was done, and how long that took."""
    longest_s, last = 0.0, monotonic()

    async def look() -> None:
        nonlocal longest_s, last
        while True:
            await asyncio.sleep(0.001)
            longest_s, last = max(longest_s, monotonic() - last), monotonic()

    looking, began = asyncio.create_task(look()), last
    await work
    took_s = monotonic() - began
    await asyncio.sleep(0.01)  # the last pause is seen, too
    looking.cancel()
    return longest_s, took_s


async def test_the_loop_goes_on_while_a_long_conversation_is_translated(house: House, fake: FakeProvider) -> None:
    async with await RawClient.to(house.socket) as client:
        await client.ask(post(chat_body()))  # leaves an idle connection: it could go the short way
        longest_s, took_s = await paused_s(client.ask(asked(conversation(20_000))))
    assert took_s > 0.1, "it is long enough to tell"
    assert longest_s < took_s / 2
    assert [line["outcome"] for line in await house.wait_lines("request", 2)] == ["ok", "ok"]
    assert len(fake.calls[1].json["messages"]) == 20_000


async def test_the_loop_goes_on_while_many_series_are_scraped(house: House) -> None:
    metrics = house.manager.metrics
    for number in range(1000):
        metrics.attempt(AttemptRecord(target=f"fake/m{number}", outcome="ok", duration_s=0.5, input_tokens=5))
        metrics.request(RequestRecord(route=f"r{number}", outcome="ok", duration_s=0.5, overhead_s=0.0003))
    [place] = metrics_places(house.manager)
    request = cast(Any, None)  # nobody looks at it
    scraping = asyncio.ensure_future(place.handler(request, {}))
    longest_s, took_s = await paused_s(scraping)
    assert took_s > 0.1, "it is long enough to tell"
    assert longest_s < took_s / 2
    assert cast(web.Response, scraping.result()).body == metrics.exposition()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "messages", [conversation(3), [{"role": "nobody", "content": "Hi"}], [{"role": "user", "content": 5}]]
)
async def test_it_comes_to_the_same(
    fake: FakeProvider, wire: str, messages: object, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.script(*[ok("so it is")] * 6)
    told = []
    for at_once in (forms._AT_ONCE_BYTES, 0):
        monkeypatch.setattr(forms, "_AT_ONCE_BYTES", at_once)
        before = len(fake.calls)
        async with open_house(config(fake.base_url, wire=wire)) as house:
            async with await RawClient.to(house.socket) as client:
                await client.ask(post(chat_body()))
                told.append([told_by(await client.ask(asked(messages, stream=stream)))])
            await house.wait_lines("request", 2)  # each is the last of its request's
            told[-1] += [line_of(line) for event in ("attempt", "request") for line in house.lines(event)]
            told[-1] += [(call.path, call.json) for call in fake.calls[before:]]
    assert told[0] == told[1]


async def test_its_time_runs_out_aside_as_elsewhere(
    fake: FakeProvider, wire: str, busy: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "_AT_ONCE_BYTES", 0)
    routes = f"{{default: {{chain: [fake/m], timeouts: {{total: {_LONG_S}s}}}}}}"
    async with open_house(config(fake.base_url, wire=wire, routes=routes)) as house:
        reply = await house.once("unix", asked(conversation(3)))
        assert (reply.status, reply.error["kind"]) == (504, "deadline")
        [line] = await house.wait_lines("attempt")
        assert (line["outcome"], line["kind"]) == ("failed", "deadline")
        busy.set()
    assert fake.calls == []


async def test_who_leaves_meanwhile_is_asked_for_nobody(
    house: House, fake: FakeProvider, busy: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "_AT_ONCE_BYTES", 0)
    async with await RawClient.to(house.socket) as client:
        await client.send(asked(conversation(3)))
        async with asyncio.timeout(5):
            while asking._ASIDE._work_queue.empty():
                await asyncio.sleep(0.005)
    [line] = await house.wait_lines("request")
    assert (line["outcome"], line["kind"]) == ("cancelled", "client_gone")
    busy.set()
    assert (await house.once("unix", asked(conversation(5)))).status == 200
    assert [len(call.json["messages"]) for call in fake.calls] == [5]
    assert [state.in_flight for state in house.manager.rooms.book.states] == [0]
