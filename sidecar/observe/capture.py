"""What others have to say, as lines of ours: libraries, warnings, and what nobody caught.

Knows the hooks of the interpreter and of asyncio; for a process that is ours alone. An embedding
app's logging is not touched: nobody but the daemon installs this. Tracebacks hold no local
variables, for those hold keys; they are one value, cut at the outer frames.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sidecar.observe.log import LEVELS, DebugLogger

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

__all__ = ["Capture"]

_TRACEBACK_CHARS = 2400
_LEVEL_NAMES = {number: name for name, number in LEVELS.items()} | {logging.CRITICAL: "error"}


class Capture:
    """The hooks of one process, from `install` to `uninstall`."""

    def __init__(self, logger: DebugLogger) -> None:
        self._logger = logger
        self._undo: list[Callable[[], None]] = []

    def install(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Hear the libraries' logs, warnings, uncaught exceptions, and those of the loop's tasks."""
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        root.handlers[:] = [_Handler(self._logger)]
        root.setLevel(LEVELS[self._logger.level])
        logging.captureWarnings(True)
        hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
        sys.excepthook = self._uncaught
        threading.excepthook = self._thread_failed
        sys.unraisablehook = self._unraisable

        def undo() -> None:
            root.handlers[:] = handlers
            root.setLevel(level)
            logging.captureWarnings(False)
            sys.excepthook, threading.excepthook, sys.unraisablehook = hooks

        self._undo.append(undo)
        if loop is not None:
            self.watch(loop)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hear also what this loop's tasks and callbacks did not catch."""
        before = loop.get_exception_handler()
        loop.set_exception_handler(self._loop_failed)
        self._undo.append(lambda: loop.set_exception_handler(before))

    def uninstall(self) -> None:
        """Put everything back as it was. Idempotent."""
        while self._undo:
            self._undo.pop()()

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        self._logger.event("error", "process.crashed", error=error, traceback=_told(error.with_traceback(trace)))

    def _thread_failed(self, args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread is not None else None
        self._failed("thread.failed", args.exc_value, thread=name)

    def _unraisable(self, args: UnraisableHookArgs) -> None:
        self._failed("finalizer.failed", args.exc_value, message=args.err_msg)

    def _loop_failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # The context's other values are transports, tasks and handles, whose repr may hold anything.
        self._failed("task.failed", context.get("exception"), message=context.get("message"))

    def _failed(self, event: str, error: BaseException | None, **keys: str | None) -> None:
        if self._logger.limited(event):
            return
        self._logger.event("error", event, **keys, error=error, traceback=_told(error))


class _Handler(logging.Handler):
    """Turns a library's log record into a `library.logged` line."""

    def __init__(self, logger: DebugLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, unless this library has said enough for this second."""
        if self._logger.limited(f"library {record.name}"):
            return
        try:
            message = record.getMessage()
        except Exception as problem:  # noqa: BLE001 - a library's wrong format string must not become our failure
            message = f"{record.msg!r}: {problem}"
        error = record.exc_info[1] if record.exc_info else None
        self._logger.event(
            _LEVEL_NAMES.get(min(record.levelno, logging.CRITICAL) // 10 * 10, "debug"),
            "library.logged",
            logger=record.name,
            message=message,
            traceback=_told(error),
        )


def _told(error: BaseException | None) -> str | None:
    """The traceback without locals; of a long one the end, where it happened."""
    if error is None:
        return None
    text = "".join(traceback.TracebackException.from_exception(error, limit=-30, max_group_width=5).format()).rstrip()
    return text if len(text) <= _TRACEBACK_CHARS else "…" + text[1 - _TRACEBACK_CHARS :]
