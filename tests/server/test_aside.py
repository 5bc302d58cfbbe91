"""A long conversation that must be translated is translated aside: the loop goes on, and nothing else is different."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from sidecar.dialects import forms
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


async def test_the_loop_goes_on_while_it_is_translated(house: House, fake: FakeProvider) -> None:
    request = asked(conversation(20_000))
    longest_s, last = 0.0, monotonic()

    async def look() -> None:
        nonlocal longest_s, last
        while True:
            await asyncio.sleep(0.001)
            longest_s, last = max(longest_s, monotonic() - last), monotonic()

    async with await RawClient.to(house.socket) as client:
        await client.ask(post(chat_body()))  # leaves an idle connection: it could go the short way
        looking = asyncio.create_task(look())
        assert (await client.ask(request)).status == 200
        looking.cancel()
    line = (await house.wait_lines("request", 2))[1]
    assert line["overhead_s"] > 0.1, "it is long enough to tell"
    assert longest_s < line["overhead_s"] / 2
    assert len(fake.calls[1].json["messages"]) == 20_000


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
