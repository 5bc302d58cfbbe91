"""An answer on its way to its client: when its head is sent, what goes before it, and how it ends.

Knows an `Answer` and a wire; nothing of HTTP's paths, and nothing of providers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from sidecar.manager.answer import Answer
from sidecar.manager.ordinary import Ordinary
from sidecar.manager.passage import Passage
from sidecar.server import web
from sidecar.server.wire import DirectWire, ResponseWire

__all__ = ["Sending", "send"]

_STILL_HERE = b": waiting for the first token\n\n"


async def send(answer: Answer | Passage, wire: ResponseWire) -> web.StreamResponse:
    """Send the answer, and close it however that goes: a cancellation here is the client leaving."""
    sending = _Waiting(answer, wire)
    gone = True
    try:
        response = await sending.run()
        gone = False
        return response
    finally:
        answer.close(bytes_out=sending.sent_bytes, gone=gone)


class _Waiting:
    """One answer and its wire, all the way by waiting."""

    __slots__ = ("_answer", "_begun", "_wire", "sent_bytes")

    def __init__(self, answer: Answer | Passage, wire: ResponseWire) -> None:
        self._answer = answer
        self._wire = wire
        self._begun = False  # the head of a stream was sent
        self.sent_bytes = 0

    async def run(self) -> web.StreamResponse:
        """From here to the end."""
        await self._begin()
        return await (self._relay() if self._begun else self._whole_answer())

    async def _begin(self) -> None:
        """Until there is an answer; of a stream, until its first bytes are sent."""
        answer = self._answer
        if answer.keepalive_s is None:
            await self._open()
        else:
            await self._open_aloud(answer.keepalive_s)
        if answer.streams or self._begun:
            first, answer.body = answer.body, b""  # a stream lives long, its first bytes need not
            await self._write(first if answer.failure is None else answer.fault)

    async def _whole_answer(self) -> web.StreamResponse:
        answer = self._answer
        self.sent_bytes = len(answer.body)
        began = monotonic()
        try:
            return await self._wire.whole(answer.status, answer.headers, answer.body)
        finally:
            answer.client_waited(monotonic() - began)

    async def _relay(self) -> web.StreamResponse:
        while data := await self._more():
            await self._write(data)
        return await self._wire.end(complete=self._answer.failure is None)

    async def _write(self, data: bytes) -> None:
        began = monotonic()
        try:
            if not self._begun:
                self._begun = True
                await self._wire.begin(self._answer.status, self._answer.headers, data)
            elif data:
                await self._wire.write(data)
        finally:
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


class Sending(_Waiting):
    """One answer on the short way: as far as it goes without waiting, and then, where it must be, by waiting.

    `launch` and `go_on` give True when all is over, False when there will be news, None when `finish` must go on.
    """

    __slots__ = ("_failed", "_ordinary", "_whole")

    _answer: Answer
    _wire: DirectWire

    def __init__(self, answer: Answer | Ordinary, wire: DirectWire) -> None:
        self._ordinary = answer if isinstance(answer, Ordinary) else None
        self._answer = answer  # type: ignore[assignment] # it is an `Answer` as soon as it has to be
        self._wire = wire
        self._begun = False
        self._failed = False
        self._whole = False  # all of it was written
        self.sent_bytes = 0

    def launch(self, news: Callable[[], None]) -> bool | None:
        """Begin; there will be news until it is over."""
        return self._opened(self._answer.launch(news))

    def go_on(self) -> bool | None:
        """There is news, and nothing was sent yet; `_pumped` afterwards."""
        return self._opened(self._answer.opened())

    def fail_internally(self, error: Exception) -> None:
        """A bug of ours ended it; `finish` tells the client."""
        self._failed = True
        self._must_be_answer()
        self._answer.fail_internally(error)

    def _must_be_answer(self) -> None:
        """It is not ordinary after all."""
        if self._ordinary is not None:
            self._answer = self._ordinary.going_on()
            self._ordinary = None

    async def finish(self, news: Callable[[], None]) -> bool:
        """From wherever it is to the end, by waiting; False if a stream has begun of which there will be news again."""
        began = monotonic()
        try:
            await self._wire.room()
        finally:
            self._answer.client_waited(monotonic() - began)
        if self._whole:
            return True
        if self._begun:
            if self._failed:
                await self._write(self._answer.fault)
            await self._relay()
        elif not await self._begun_by_waiting():
            await self._whole_answer()
        elif self._answer.relaunch(news):
            return False
        else:
            await self._relay()
        return True

    async def _begun_by_waiting(self) -> bool:
        """Whether a stream has begun; a whole answer, or the failure, is still to be sent."""
        if not self._failed:
            await self._begin()
        return self._begun

    def _opened(self, opened: bool | None) -> bool | None:
        if not opened:
            return opened
        answer, wire = self._answer, self._wire
        data, answer.body = answer.body, b""
        self.sent_bytes = len(data)
        if not answer.streams:
            wire.whole_now(answer.status, answer.headers, data)
            self._whole = True
            return None if wire.is_slow else True
        wire.begin_now(answer.status, answer.headers, data)
        self._begun = True
        return None if wire.is_slow else self._pumped()

    def _pumped(self) -> bool | None:
        """What has come goes on at once, joined as it came."""
        answer, wire = self._answer, self._wire
        data = answer.read_now()
        if data:
            is_slow = wire.write_now(data)
            self.sent_bytes += len(data)
            if is_slow:
                return None
        if data is None or not answer.ending:
            return None if data == b"" else False
        last = answer.ended_now()
        if last is None:
            return None
        if last:
            wire.write_now(last)
            self.sent_bytes += len(last)
        wire.end_now()
        return True
