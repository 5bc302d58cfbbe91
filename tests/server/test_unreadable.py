"""Bodies whose depths are no JSON, or none that can be held: a 400 in the client's words, and both log lines."""

from __future__ import annotations

import pytest

from tests.fake_provider import FakeProvider, cut_after, ok
from tests.server.house import House, config, open_house
from tests.server.raw import RawClient, chat_body, post

_ASK = b'{"model":"default","max_tokens":5,"messages":[{"role":"user","content":%s}]}'
_RESPOND = b'{"model":"default","input":[{"id":"x","content":%s}]}'
_COUNT = b'{"model":"default","messages":[{"role":"user","content":%s}]}'

DEPTHS = pytest.mark.parametrize(
    "inner", [b'"\xff\xfe"', b"9" * 6000, b"1e999"], ids=["no UTF-8", "a huge integer", "a huge number"]
)


@DEPTHS
@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/messages", _ASK), ("/v1/responses", _RESPOND), ("/v1/messages/count_tokens", _COUNT)],
    ids=["messages", "responses", "count"],
)
async def test_what_the_glance_passed_over_is_the_clients_error(
    house: House, fake: FakeProvider, path: str, body: bytes, inner: bytes
) -> None:
    async with await RawClient.to(house.socket) as client:
        assert (await client.ask(post(chat_body()))).status == 200
        reply = await client.ask(post(body % inner, path=path))
        assert reply.status == 400
        assert b"the body is not valid" in reply.body
        assert not reply.closes
    assert len(fake.calls) == 1
    [_, line] = await house.wait_lines("request", 2)
    assert (line["status"], line["kind"]) == (400, "invalid_request")


async def test_a_stream_that_breaks_after_a_body_that_only_its_target_understood_is_cut(
    fake: FakeProvider, wire: str
) -> None:
    fake.script(cut_after(4), ok())
    route = "{default: {chain: [fake/m, fake/n], rescue: continue}}"
    async with open_house(config(fake.base_url, wire=wire, routes=route)) as house:
        body = chat_body(stream=True).replace(b'"Hi"', b"1e999")
        reply = await house.once("unix", post(body))
        assert reply.status == 200
        [line] = await house.wait_lines("request")
        assert line["outcome"] == "truncated"
        assert b'"kind":"truncated"' in reply.body
