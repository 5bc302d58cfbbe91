"""The short way of a request: from the bytes of its connection to those of its answer, without waiting.

Nearly every request is like the one before it: its head is the same but for the length, the body came
with it, its first target has an idle connection, and answers well. Such a request is answered within the
callbacks of its two sockets: no task is made for it, nothing is awaited, and aiohttp does not see it.

Whatever is not ordinary leaves this way where it is: before anything was done, to aiohttp's server, which
gets the very bytes; later to a task that runs the same `Sending` on to its end. Every rule about what is
rare has one home, and it is not here.

What a head means is never decided here either: aiohttp's parser reads it, once, and the guard judges it.
Then a head of the same bytes, but for the digits of its length, means the same.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage

from sidecar.manager import LLMManager
from sidecar.manager.answer import Answer
from sidecar.manager.ordinary import Ordinary
from sidecar.manager.ordinary_stream import OrdinaryStream
from sidecar.model.errors import LLMError
from sidecar.model.request import Call
from sidecar.model.settings import Wire as WireSetting
from sidecar.server.guard import Guard
from sidecar.server.intake import call_again, call_template
from sidecar.server.patrol import Patrol
from sidecar.server.sending import Sending
from sidecar.server.surfaces import Surface, surface
from sidecar.server.wire import DirectWire

if TYPE_CHECKING:
    from sidecar.server.connection import Connection

__all__ = ["Crossing", "Known", "Lane"]

_LENGTH = re.compile(rb"\r\n(?i:content-length):[ \t]*([0-9]{1,12})\r\n")
_KNOWN_MAX = 512
_HEAD_BYTES_MAX = 4096


class Known:
    """What heads mean that differ in the digits of their length only."""

    __slots__ = ("after", "before", "digits_at", "guard", "surface", "template")

    def __init__(self, before: bytes, after: bytes, guard: Guard, surface: Surface, template: Call) -> None:
        self.before = before
        self.digits_at = len(before)
        self.after = after  # to the end of the head
        self.guard = guard  # who has let them in; what another one has means nothing
        self.surface = surface
        self.template = template

    def body_begins(self, data: bytes) -> int:
        """Where the body does, if what came begins with such a head; else -1."""
        digits_at, after = self.digits_at, self.after
        digits_end = data.find(b"\r", digits_at, digits_at + 16)
        if not data.startswith(self.before) or not data.startswith(after, digits_end):
            return -1
        return digits_end + len(after) if data[digits_at:digits_end].isdigit() else -1


class Lane:
    """The short way through one door.

    Args:
        manager: Answers the calls.
        guard: Of the door.
        patrol: Watches the deadlines of what is under way.
    """

    def __init__(self, manager: LLMManager, guard: Guard, patrol: Patrol) -> None:
        self._manager = manager
        self._guard = guard
        self._known: dict[tuple[bytes, bytes, int | None], Known] = {}
        self.patrol = patrol

    def guard_anew(self, guard: Guard) -> None:
        """Judge by this from now on; what was let in before is judged again."""
        self._guard = guard
        self._known.clear()

    def enter(self, connection: Connection, data: bytes, last: Known | None) -> Known | None:
        """Take one request to its answer, or on its way there; None if it must go the long way, untouched.

        Of one that has not come whole, the connection gathers the rest, and enters again.

        Args:
            connection: Where it came; nothing is under way there.
            data: What came.
            last: What the head before it meant.
        """
        settings = self._manager.snapshot.settings
        if settings.wire is not WireSetting.DIRECT:
            return None
        known, begin = last, -1
        if known is not None and known.guard is self._guard:
            begin = known.body_begins(data)
        if known is None or begin < 0:
            known = self._look_up(connection, data)
            if known is None:
                return None
            begin = known.body_begins(data)
        size_bytes = int(data[known.digits_at : begin - len(known.after)])
        missing_bytes = begin + size_bytes - len(data)
        if size_bytes > settings.limits.max_body_bytes or missing_bytes < 0:
            return None
        if missing_bytes:
            connection.gather(data, missing_bytes)
            return known
        try:
            answer = self._manager.answer_promptly(call_again(known.template, known.surface, data[begin:]))
        except LLMError:
            return None
        Crossing(connection, self.patrol, answer).go()
        return known

    def _look_up(self, connection: Connection, data: bytes) -> Known | None:
        head_end = data.find(b"\r\n\r\n", 0, _HEAD_BYTES_MAX) + 4
        length = _LENGTH.search(data, 0, head_end) if head_end >= 4 else None
        if length is None:
            return None
        before, after = data[: length.start(1)], data[length.end(1) : head_end]
        key = (before, after, connection.peer_uid)
        known = self._known.get(key)
        if known is None:
            known = self._read(connection, before, after, data[:head_end])
            if known is not None:
                if len(self._known) >= _KNOWN_MAX:
                    self._known.clear()
                self._known[key] = known
        return known

    def _read(self, connection: Connection, before: bytes, after: bytes, head: bytes) -> Known | None:
        """What a new head means; None if it is not one of the ordinary ones, or not to be let in."""
        message = _parsed(connection, head)
        if message is None or message.method != "POST" or message.version != HttpVersion11:
            return None
        if message.should_close or message.upgrade or message.chunked or message.compression:
            return None
        headers = message.headers
        if "Expect" in headers or "Content-Encoding" in headers:
            return None
        if self._guard.judge(message.method, message.path, headers, connection.peer_uid) is not None:
            return None
        path, _, query = message.path.partition("?")
        asked = surface(path, query)
        if asked is None or asked.model is not None:
            return None
        try:
            return Known(before, after, self._guard, asked, call_template(asked, headers, connection.peer_uid))
        except LLMError:
            return None


class Crossing(Sending):
    """One request on the short way, until it is answered or a task goes on with it."""

    __slots__ = ("_connection", "_launched", "_passes", "_patrol", "_task")

    def __init__(self, connection: Connection, patrol: Patrol, answer: Answer | Ordinary) -> None:
        Sending.__init__(self, answer, DirectWire(connection))
        self._connection = connection
        self._patrol = patrol
        self._launched = False
        self._task: asyncio.Task[None] | None = None
        self._passes: Callable[[bytes], bool]  # of an ordinary stream, as soon as it flows

    @property
    def due(self) -> float:
        """When it must be looked after though nothing has come."""
        return self._answer.due

    def go(self) -> None:
        """Begin."""
        self._connection.enter(self)
        self._patrol.watch(self)
        self.news()

    def late(self) -> None:
        """A deadline has passed."""
        if self._task is None:
            self._hand_over()

    def leave(self) -> None:
        """The client has left."""
        if self._task is not None:
            self._task.cancel()
        elif self._connection.crossing is self:
            self._end(gone=True)

    def news(self, come: bytes | None = None, chunk: bytes = b"") -> None:
        """It begins, something has come from the provider or happened to it; or, as `flow` tells it, of a stream."""
        if come is None and (self._task is not None or self._connection.crossing is not self):
            return
        try:
            if come is not None and self._passes(come):
                is_slow = self._wire.write_now(come, chunk)
                self.sent_bytes += len(come)
                if not is_slow:
                    return
                over = None
            elif self._begun:
                over = self._pumped()
            elif self._launched:
                over = self.go_on()
                if over is False:
                    self._let_flow()
            else:
                self._launched = True
                over = self.launch(self.news)
        except ConnectionError:
            self._end(gone=True)
            return
        except Exception as error:  # noqa: BLE001 - the outermost door of this way: the client is told of the bug
            self.fail_internally(error)
            over = None
        self._stands(over)

    def _stands(self, over: bool | None) -> None:
        """How it stands now, as `go_on` tells it."""
        if over:
            self._end(gone=False)
        elif over is None:
            self._hand_over()
        else:
            due = self._answer.due
            if due < self._patrol.next_at:
                self._patrol.note(due)

    def _let_flow(self) -> None:
        """What comes of an ordinary stream that has begun is given to `news`."""
        stream = self._ordinary
        if self._begun and isinstance(stream, OrdinaryStream):
            self._passes = stream.passes
            stream.flow(self.news)

    def _hand_over(self) -> None:
        self._patrol.forget(self)
        self._must_be_answer()
        self._connection.settle()
        self._connection.answer_by = monotonic() + self._answer.total_s
        self._task = task = asyncio.get_running_loop().create_task(self._run())
        task.add_done_callback(self._ran)

    async def _run(self) -> None:
        over = gone = True
        try:
            over = await self.finish(self.news)
            gone = False
        except ConnectionError:
            pass
        except Exception as error:  # noqa: BLE001 - as above, when nothing can be told any more
            self.fail_internally(error)
        finally:
            if over:
                self._end(gone=gone)
        if not over:
            self._take_back()

    def _ran(self, task: asyncio.Task[None]) -> None:
        # Who leaves before the task's first step takes its `finally` away.
        if task.cancelled() and self._connection.crossing is self:
            self._end(gone=True)

    def _take_back(self) -> None:
        """A stream that had to be waited for has begun: the rest of it needs no task."""
        self._task = None
        self._connection.answer_by = None
        self._patrol.watch(self)
        self.news()

    def _end(self, *, gone: bool) -> None:
        self._patrol.forget(self)
        self._answer.close(bytes_out=self.sent_bytes, gone=gone)
        self._connection.crossed(keep_alive=self._wire.keep_alive and not gone)


def _parsed(connection: Connection, head: bytes) -> RawRequestMessage | None:
    """The head as aiohttp's parser reads it; None when it is none, or not one alone."""
    limit = connection.max_field_size
    parser = HttpRequestParser(connection, asyncio.get_running_loop(), 2**16, max_line_size=limit, max_field_size=limit)
    try:
        messages, upgraded, rest = parser.feed_data(head)
    except HttpProcessingError:
        return None
    return cast(Any, messages)[0][0] if len(messages) == 1 and not upgraded and not rest else None
