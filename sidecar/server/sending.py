"""An answer on its way to its client: when its head is sent, what goes before it, and how it ends.

Knows an `Answer` and a wire; nothing of HTTP's paths, and nothing of providers.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from aiohttp import web

from sidecar.manager.answer import Answer
from sidecar.manager.passage import Passage
from sidecar.server.wire import ResponseWire

__all__ = ["send"]

_STILL_HERE = b": waiting for the first token\n\n"


async def send(answer: Answer | Passage, wire: ResponseWire) -> web.StreamResponse:
    """Send the answer, and close it however that goes: a cancellation here is the client leaving."""
    sending = _Sending(answer, wire)
    gone = True
    try:
        response = await sending.run()
        gone = False
        return response
    finally:
        answer.close(bytes_out=sending.sent_bytes, gone=gone)


class _Sending:
    """One answer and its wire."""

    def __init__(self, answer: Answer | Passage, wire: ResponseWire) -> None:
        self._answer = answer
        self._wire = wire
        self._begun = False  # the head of a stream was sent
        self.sent_bytes = 0

    async def run(self) -> web.StreamResponse:
        answer, wire = self._answer, self._wire
        if answer.keepalive_s is None:
            await self._open()
        else:
            await self._open_aloud(answer.keepalive_s)
        if not answer.streams and not self._begun:
            self.sent_bytes = len(answer.body)
            return await wire.whole(answer.status, answer.headers, answer.body)
        first, answer.body = answer.body, b""  # a stream lives long, its first bytes need not
        await self._write(first if answer.failure is None else answer.fault)
        while data := await self._more():
            await self._write(data)
        return await wire.end(complete=answer.failure is None)

    async def _write(self, data: bytes) -> None:
        began = monotonic()
        if not self._begun:
            self._begun = True
            await self._wire.begin(self._answer.status, self._answer.headers, data)
        elif data:
            await self._wire.write(data)
        self._answer.client_waited(monotonic() - began)
        self.sent_bytes += len(data)

    async def _open_aloud(self, every_s: float) -> None:
        """As `_open`, with a comment now and then; the first of them sends the status line."""
        opening = asyncio.get_running_loop().create_task(self._open())
        try:
            while not opening.done():
                await asyncio.wait({opening}, timeout=every_s)
                if not opening.done():
                    self._answer.promise()
                    await self._write(_STILL_HERE)
        finally:
            if not opening.done():
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)

    # The outermost doors: of a bug of ours the client learns that there was one, in its dialect.

    async def _open(self) -> None:
        try:
            await self._answer.open()
        except Exception as error:  # noqa: BLE001 - see above
            self._answer.fail_internally(error)

    async def _more(self) -> bytes:
        try:
            return await self._answer.read()
        except Exception as error:  # noqa: BLE001 - see above
            self._answer.fail_internally(error)
            return self._answer.fault
