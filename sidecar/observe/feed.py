"""The live view: whoever follows gets every line as it is made, and hears how many it missed.

Knows lines and readers; a slow reader costs its own lines and nothing else. The lines may come from
any thread, the reader sits on the loop it subscribed on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["Subscription"]

_MAX_LINES = 1000


class Subscription:
    """One reader, from `subscribe` to `close`; `async for` gives its lines, newlines included."""

    def __init__(self, leave: Callable[[Subscription], None]) -> None:
        self.dropped = 0  # lines this reader was too slow for; its own line tells each gap
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._lines: deque[bytes] = deque()
        self._missed = 0  # since the last line that was taken in
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def offer(self, line: bytes, notice: Callable[[int], bytes]) -> None:
        """Take a line in if there is room; a gap before it is told by what `notice` makes of its size."""
        if len(self._lines) >= _MAX_LINES:
            self._missed += 1
            self.dropped += 1
            return
        if self._missed:
            self._lines.append(notice(self._missed))
            self._missed = 0
        self._lines.append(line)
        self._wake()

    def close(self) -> None:
        """No more lines; a waiting reader ends. Idempotent."""
        self._closed = True
        self._leave(self)
        self._wake()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> bytes:
        while not self._lines:
            if self._closed:
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            try:
                # A line of another thread may have come between the look and the future.
                if not self._lines and not self._closed:
                    await self._waiter
            finally:
                self._waiter = None
        return self._lines.popleft()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_ring, waiter)


def _ring(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
