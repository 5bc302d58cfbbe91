"""A stream of events as one JSON array, for the clients of Gemini's dialect that do not ask for events."""

from __future__ import annotations

from sidecar.dialects.gemini_array import ArrayFraming
from sidecar.server import web
from sidecar.server.wire import Headers, ResponseWire

__all__ = ["ArrayWire"]

_JSON = ("content-type", "application/json; charset=UTF-8")


class ArrayWire:
    """Puts what is written into an array, on its way to another wire; lives as long as one response."""

    def __init__(self, wire: ResponseWire) -> None:
        self._wire = wire
        self._framing = ArrayFraming()

    async def whole(self, status: int, headers: Headers, body: bytes) -> web.StreamResponse:
        """As `ResponseWire`; an answer that came whole is an array, too, an error is not."""
        if status == 200:
            body, headers = self._framing.take(body) + self._framing.end(), _as_json(headers)
        return await self._wire.whole(status, headers, body)

    async def begin(self, status: int, headers: Headers, first: bytes) -> None:
        """As `ResponseWire`."""
        await self._wire.begin(status, _as_json(headers), self._framing.take(first))

    async def write(self, data: bytes) -> None:
        """As `ResponseWire`; a comment is nothing."""
        elements = self._framing.take(data)
        if elements:
            await self._wire.write(elements)

    async def end(self, *, complete: bool) -> web.StreamResponse:
        """As `ResponseWire`; an array is closed after an error, too, which is its last element."""
        await self._wire.write(self._framing.end())
        return await self._wire.end(complete=complete)


def _as_json(headers: Headers) -> list[tuple[str, str]]:
    return [_JSON if name == "content-type" else (name, value) for name, value in headers]
