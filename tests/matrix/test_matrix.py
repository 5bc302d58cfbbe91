"""Every client dialect against every provider dialect, by the vendors' own SDKs through one real daemon.

Both ends are judged: what the provider was asked, and what the SDK made of its answer.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.daemon import RunningDaemon
from tests.matrix.asked import ANSWERS, CACHED, CALLS, INPUT, OUTPUT, SIGNATURES, THOUGHT, Asked
from tests.matrix.clients import CLIENTS, PICTURE, Client, Wishes
from tests.matrix.vendors import CONFIG, Vendors

pytestmark = [pytest.mark.asyncio(loop_scope="module")]

NAMES = ("chat", "responses", "messages", "gemini")
PAIRS = list(itertools.product(NAMES, NAMES))
SIDES = pytest.mark.parametrize(("client", "provider"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
WAYS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

# Clients in whose dialect only thoughts are signed: Google's signature of a text or a call is lost, and said to be.
UNSIGNED = {("responses", "gemini"), ("messages", "gemini")}
NAMED = {"chat", "responses"}  # whose formats of answers have names

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where"}},
    "required": ["city"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}


@dataclass
class House:
    daemon: RunningDaemon
    vendors: Vendors
    clients: dict[str, Client]

    @property
    def last(self) -> Asked:
        assert not self.vendors.faults
        return self.vendors.asked[-1]

    def lost(self, client: str) -> dict[str, str]:
        """What the answer's header says was lost: path and how."""
        told = self.clients[client].headers.get("x-sidecar-losses", "")
        return dict(each.rsplit("=", 1) for each in told.split(",") if each)

    async def attempts(self, client: str) -> list[dict[str, Any]]:
        """The lines of the log on the client's last request."""
        id_ = self.clients[client].headers["x-request-id"]
        await self.daemon.wait_log("request", request_id=id_)
        return self.daemon.log_lines("attempt", request_id=id_)

    async def loses_signature(self, client: str, block: int) -> bool:
        """Whether the log says so of a block of the last answer; a stream's headers are sent before it."""
        lost = [loss for line in await self.attempts(client) for loss in line.get("losses", ())]
        return any(str(loss).startswith(f"content[{block}].signature dropped") for loss in lost)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with Vendors() as vendors:
        config = CONFIG.format(at=f"http://127.0.0.1:{vendors.port}")
        async with RunningDaemon(tmp_path_factory.mktemp("matrix"), config) as daemon:
            clients = {name: CLIENTS[name](daemon.base_url) for name in NAMES}
            yield House(daemon, vendors, clients)
            for client in clients.values():
                await client.close()


@pytest.fixture(autouse=True)
def _understood(house: House) -> Any:
    """No vendor was asked anything that it could not read."""
    house.vendors.faults.clear()
    yield
    assert house.vendors.faults == []


@WAYS
@SIDES
async def test_plain(house: House, client: str, provider: str, stream: bool) -> None:
    sdk = house.clients[client]
    told = await sdk.ask(provider, sdk.user("Say hällo."), Wishes(system="Be kind."), stream=stream)
    assert (told.text, told.stop) == (ANSWERS["plain"], sdk.stops[0])
    assert told.tokens == (INPUT, CACHED, OUTPUT)
    asked = house.last
    assert (asked.vendor, asked.stream) == (provider, stream)
    assert (asked.system, asked.texts, asked.max_tokens) == ("Be kind.", [("user", "Say hällo.")], 3000)
    assert house.lost(client) == {}


@WAYS
@SIDES
async def test_tools(house: House, client: str, provider: str, stream: bool) -> None:
    sdk, wishes = house.clients[client], Wishes(tools={"weather": WEATHER})
    turns = sdk.user("How warm?")
    told = await sdk.ask(provider, turns, wishes, stream=stream)
    assert told.stop == sdk.stops[1]
    assert [(name, arguments) for _, name, arguments in told.calls] == list(CALLS)
    assert len({id_ for id_, _, _ in told.calls}) == 2 or (client, provider) == ("gemini", "gemini")
    schema = house.last.tools["weather"]
    assert (schema["properties"], schema["required"]) == (WEATHER["properties"], ["city"])
    assert await house.loses_signature(client, 0) == ((client, provider) in UNSIGNED)

    given = [(id_, name, f"{degrees} degrees") for (id_, name, _), degrees in zip(told.calls, (18, 24), strict=True)]
    answer = await sdk.ask(provider, [*turns, *told.turn, *sdk.results(given)], wishes, stream=stream)
    assert (answer.text, answer.stop, answer.calls) == (ANSWERS["results"], sdk.stops[0], [])
    asked = house.last
    assert list(asked.calls.values()) == list(CALLS)
    assert [(id_, text) for id_, _, text in asked.results] == list(
        zip(asked.calls, ("18 degrees", "24 degrees"), strict=True)
    )
    if (client, provider) in UNSIGNED:
        assert house.lost(client) == {"messages[1].thought_signature": "added"}
    else:
        assert house.lost(client) == {}


@SIDES
async def test_image(house: House, client: str, provider: str) -> None:
    sdk = house.clients[client]
    told = await sdk.ask(provider, sdk.user("What is it?", PICTURE), Wishes(), stream=False)
    assert told.text == ANSWERS["image"]
    assert house.last.images == [("image/png", PICTURE)]
    assert house.last.texts == [("user", "What is it?")]
    assert house.lost(client) == {}


@WAYS
@SIDES
async def test_structured(house: House, client: str, provider: str, stream: bool) -> None:
    sdk = house.clients[client]
    told = await sdk.ask(provider, sdk.user("How warm?"), Wishes(schema=SCHEMA), stream=stream)
    assert told.text == ANSWERS["structured"]
    assert told.stop == sdk.stops[0]
    assert house.last.schema == SCHEMA
    names = {path.partition(".")[2]: how for path, how in house.lost(client).items()}
    if client not in NAMED and provider in NAMED:
        assert names == {"name": "added"}
    else:
        assert names == {}


@WAYS
@SIDES
async def test_thinking(house: House, client: str, provider: str, stream: bool) -> None:
    sdk, turns = house.clients[client], house.clients[client].user("Think!")
    told = await sdk.ask(provider, turns, Wishes(thinks=True), stream=stream)
    assert house.last.thinks
    assert (told.text, told.thought) == (ANSWERS["thinking"], THOUGHT)
    assert told.tokens == (INPUT, CACHED, OUTPUT)
    assert await house.loses_signature(client, 1) == ((client, provider) in UNSIGNED)

    await sdk.ask(provider, [*turns, *told.turn, *sdk.user("And now?")], Wishes(thinks=True), stream=stream)
    asked = house.last
    said = {role: "".join(text for who, text in asked.texts if who == role) for role in ("user", "assistant")}
    assert said == {"user": "Think!And now?", "assistant": ANSWERS["thinking"]}
    thoughts = [(text, signature) for text, signature in asked.thoughts if signature]
    if provider == "gemini":  # which signs what comes after a thought, and does not want the thought back
        assert thoughts == ([] if (client, provider) in UNSIGNED else [("", SIGNATURES["gemini"])])
    else:
        assert thoughts == [(THOUGHT, SIGNATURES[provider])]


@pytest.mark.parametrize("status", [400, 429])
@SIDES
async def test_error(house: House, client: str, provider: str, status: int) -> None:
    sdk = house.clients[client]
    for way in ("whole", "stream"):
        model = f"{provider}/failing-{client}-{status}-{way}"  # whose breaker nobody else minds
        with pytest.raises(sdk.wrong[status], match=f"{provider} says {status}") as raised:
            await sdk.ask(model, sdk.user(f"fail {status}"), Wishes(), stream=way == "stream")
        assert getattr(raised.value, "status_code", getattr(raised.value, "code", None)) == status
        assert sdk.headers["x-sidecar-attempts"] == f"{model}={status}"
        (line,) = await house.attempts(client)
        kind = {400: "invalid_request", 429: "rate_limited"}[status]
        assert (line["outcome"], line["kind"], line["status"]) == ("failed", kind, status)


@SIDES
async def test_broken_stream(house: House, client: str, provider: str) -> None:
    sdk = house.clients[client]
    with pytest.raises(sdk.broken, match="it broke in the middle"):
        await sdk.ask(f"{provider}/breaking-{client}", sdk.user("break"), Wishes(), stream=True)
    (line,) = await house.attempts(client)
    assert (line["outcome"], line["kind"]) == ("failed", "server_error")
