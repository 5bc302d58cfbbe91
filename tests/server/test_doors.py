"""Listeners change while they serve: all of a change or nothing of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sidecar.model.errors import ConfigurationError
from sidecar.model.settings import ListenSettings
from tests.fake_provider import FakeProvider, ok
from tests.server.house import House
from tests.server.raw import RawClient, chat_body, head, post


def listens(house: House, *more: ListenSettings) -> tuple[ListenSettings, ...]:
    return (*house.manager.snapshot.settings.listen, *more)


async def test_a_new_listener_serves_and_the_old_ones_stay(house: House) -> None:
    new = ListenSettings(f"unix:{house.run}/new")
    async with await RawClient.to(house.socket) as client:
        await client.ask(head("GET", "/healthz"))
        await house.doors.commit(house.doors.prepare(listens(house, new)), linger_s=1)
        for where in (f"{house.run}/new", house.socket):
            async with await RawClient.to(where) as other:
                assert (await other.ask(post(chat_body()))).status == 200
        assert not (await client.ask(head("GET", "/healthz"))).closes


async def test_a_listener_that_goes_ends_its_requests_well(house: House, fake: FakeProvider) -> None:
    fake.script(ok("one two three four five six seven eight nine ten", gap_s=0.02))
    [tcp, _] = house.manager.snapshot.settings.listen
    async with await RawClient.to(house.socket) as client:
        await client.send(post(chat_body(stream=True)))
        await client.head()
        await house.doors.commit(house.doors.prepare([tcp]), linger_s=5)
        assert not os.path.exists(house.socket)
        stream = b""
        while piece := await client.chunk():
            stream += piece
        assert stream.endswith(b"data: [DONE]\n\n")
        assert await client.rest() == b""
    assert (await house.once("tcp", post(chat_body(), host=house.host("tcp")))).status == 200


async def test_a_listener_that_went_can_come_back_at_once(house: House, fake: FakeProvider) -> None:
    fake.script(ok("one two three four five six seven eight nine ten", gap_s=0.02))
    both = listens(house)
    async with await RawClient.to(house.socket) as client:
        await client.send(post(chat_body(stream=True)))
        await client.head()
        for wanted in (both[:1], both, both[:1], both):
            await house.doors.commit(house.doors.prepare(wanted), linger_s=5)
        assert (await house.once("unix", post(chat_body()))).status == 200
        while await client.chunk():
            pass


@pytest.mark.parametrize("bad", ["unix:@RUN@/file", "0.0.0.0:0", "unix:@RUN@/" + "x" * 120, "unix:@RUN@/n"])
async def test_a_change_that_cannot_be_bound_changes_nothing(house: House, bad: str) -> None:
    Path(house.run, "file").write_text("precious")
    before = house.doors.addresses
    new = ListenSettings(f"unix:{house.run}/n")
    with pytest.raises(ConfigurationError):
        house.doors.prepare(listens(house, new, ListenSettings(bad.replace("@RUN@", house.run))))
    assert house.doors.addresses == before
    assert not os.path.exists(f"{house.run}/n")
    assert (await house.once("unix", post(chat_body()))).status == 200


async def test_a_mode_that_was_changed_is_put_back_when_the_change_fails(house: House) -> None:
    wanted = [ListenSettings(f"unix:{house.socket}", mode=0o600), ListenSettings("0.0.0.0:0")]
    with pytest.raises(ConfigurationError):
        house.doors.prepare(wanted)
    assert stat.S_IMODE(os.stat(house.socket).st_mode) == 0o660
    await house.doors.commit(house.doors.prepare(wanted[:1]), linger_s=0)
    assert stat.S_IMODE(os.stat(house.socket).st_mode) == 0o600
