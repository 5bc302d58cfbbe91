"""One timer for all the deadlines of an attempt.

Pushing a deadline further away (every event of a stream does) only moves a number: the timer looks at
it when it fires, and sleeps on if the moment has not come. So a deadline costs nothing per event, where
a timeout scope per read would cost more than the relaying itself.

Expiry cancels the task inside the scope, as `asyncio.timeout` does, and `__exit__` turns exactly that
cancellation into `Expired`; a cancellation from outside passes untouched.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from sidecar.model.failures import Kind

__all__ = ["Expired", "Watchdog"]


class Expired(Exception):  # noqa: N818 - it is an event, and the caller makes the error of it
    """A deadline passed; `kind` says which."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind.value)
        self.kind = kind


class Watchdog:
    """The deadlines of one attempt: `due` and `kind` may be moved at any time, also outside the scope.

    It is a context manager that may be entered again and again, once for each await that it guards.
    Moments are those of the loop's clock.
    """

    __slots__ = ("_cancelling", "_fired", "_loop", "_task", "_timer", "_timer_at", "due", "kind")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._task: asyncio.Task[object] | None = None
        self._fired = False
        self._cancelling = 0
        self.due = float("inf")
        self.kind = Kind.DEADLINE

    def __enter__(self) -> None:
        self._task = task = asyncio.current_task(self._loop)
        self._cancelling = task.cancelling() if task is not None else 0
        if self._timer is None or self._timer_at > self.due:
            self._arm()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._fired:
            self._fired = False
            if task is not None and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise Expired(self.kind) from None

    def expire(self, kind: Kind) -> None:
        """The deadline is now: the await under way, or the next one, ends by it."""
        self.due, self.kind = self._loop.time(), kind
        self._arm()

    def close(self) -> None:
        """No more deadlines. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.due = float("inf")

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.due == float("inf"):
            self._timer = None
            return
        self._timer_at = self.due
        self._timer = self._loop.call_at(self.due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._loop.time() < self.due:
            self._arm()
        elif self._task is not None:
            self._fired = True
            self._task.cancel()
