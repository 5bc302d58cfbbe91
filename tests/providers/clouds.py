"""A cloud that notes what it is asked and answers as it is told, and a sidecar in front of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from tests.server.house import House, open_house
from tests.server.raw import RawReply
from tests.upstream.scripted import Peer, serving

__all__ = ["Asked", "Cloud", "answer", "ask", "behind"]


class Asked(NamedTuple):
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Asked], bytes]


class Cloud:
    """What was asked so far, and where."""

    def __init__(self, url: str, asked: list[Asked]) -> None:
        self.url = url
        self.asked = asked


def answer(body: bytes, content_type: str = "application/json", status: int = 200, extra: str = "") -> bytes:
    """A whole HTTP answer."""
    head = f"HTTP/1.1 {status} S\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


@asynccontextmanager
async def cloud(answered: Answer) -> AsyncIterator[Cloud]:
    """A server that answers every request by this function."""
    asked: list[Asked] = []

    async def script(peer: Peer) -> None:
        while True:
            head, body = await peer.request()
            first, *lines = head.decode("latin-1").split("\r\n")[:-2]
            method, path, _ = first.split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            asked.append(Asked(method, path, headers, body))
            await peer.send(answered(asked[-1]))

    async with serving(script) as server:
        yield Cloud(f"http://127.0.0.1:{server.origin.port}", asked)


@asynccontextmanager
async def behind(answered: Answer, provider: str, chain: str = "cloud/m") -> AsyncIterator[tuple[House, Cloud]]:
    """A sidecar whose only provider is this cloud.

    Args:
        answered: What the cloud answers.
        provider: The keys of the provider in flow style, with `URL` where its address goes.
        chain: Of the route `default`.
    """
    async with cloud(answered) as there:
        text = (
            f"providers:\n  cloud: {{{provider.replace('URL', there.url)}}}\nroutes:\n  default: {{chain: [{chain}]}}\n"
            'health: {mode: "off"}\nresilience: {same_target_retries: 0}\n'
        )
        async with open_house(text) as house:
            yield house, there


async def ask(house: House, path: str, body: Any, headers: Sequence[tuple[str, str]] = ()) -> RawReply:
    """One request of a client."""
    said = json.dumps(body).encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {house.host('tcp')}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(said)}\r\n{lines}\r\n"
    )
    return await house.once("tcp", head.encode() + said)
