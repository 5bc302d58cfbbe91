"""Whose time it was: what a client takes to read its stream is neither the sidecar's nor the provider's."""

from __future__ import annotations

import asyncio

import pytest

from tests.fake_behaviours import Answer
from tests.fake_provider import FakeProvider, ok
from tests.server.house import House
from tests.server.raw import RawClient, chat_body, post

_LONG_S = 0.6


@pytest.mark.parametrize("connected", [True, False])
async def test_time_that_the_client_takes_for_a_stream_is_not_counted_as_ours(
    house: House, fake: FakeProvider, connected: bool
) -> None:
    """An idle connection to the provider is taken without waiting, another is waited for."""
    fake.script(*[ok()] * connected, Answer(words=("w" * 10_000,) * 600))
    async with await RawClient.to(house.socket, limit=4096) as client:
        if connected:
            await client.ask(post(chat_body()))
        await client.send(post(chat_body(stream=True)))
        await asyncio.sleep(_LONG_S)  # sockets and buffers are full
        assert (await client.reply()).complete
    [*_, attempt], [*_, request] = [await house.wait_lines(event, 1 + connected) for event in ("attempt", "request")]
    for line in attempt, request:
        assert line["duration_s"] > _LONG_S * 0.8
        assert line["overhead_s"] < _LONG_S * 0.5
    assert attempt["overhead_s"] > 0, "nor was any of it counted twice"
