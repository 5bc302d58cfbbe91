"""One arming of the operating system's watches; knows that something happened, never what.

A thread, because the waiting is done in native code that looks at a stop flag every few milliseconds.
It ends by itself when the operating system refuses (inotify has a limit of instances, which raises a
`RuntimeError`, and one of watches, which raises an `OSError`), and when a watched directory itself is
touched: a directory that was removed and made again can have the same inode, and a silent watch.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import closing

__all__ = ["Hints"]

_STEP_MS = 25  # how long events are gathered, and how long a stop can take
_DEBOUNCE_MS = 50  # at most; this groups events, it does not wait for quiet
_ARMED_MS = 200  # a fresh watch hints once after this time, for what happened while it was made

# It logs every event at INFO; with a log file in a watched directory each line would be the next event.
_LOG = logging.getLogger("watchfiles.main")


class Hints:
    """Watches on some directories, from `start` until `stop` or a refusal.

    Args:
        directories: Absolute paths; watched without what is below them.
        hint: Called in the watching thread.
        problem: Why there were no hints before; kept until the watches are known to work.
    """

    def __init__(self, directories: Collection[str], hint: Callable[[], None], *, problem: str | None) -> None:
        self.problem = problem
        self._directories = frozenset(directories)
        self._hint = hint
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sidecar-watch", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begins to watch; a refusal shows in `problem` and `alive`."""
        if not self._directories:
            self.problem = "there is no directory to watch"
            return
        if _LOG.level == logging.NOTSET:
            _LOG.setLevel(logging.WARNING)
        try:
            self._thread.start()
        except RuntimeError as error:
            self.problem = str(error)

    def stop(self) -> None:
        """Asks the thread to end; it does so within a few steps."""
        self._stop.set()

    def _run(self) -> None:
        try:
            self._watch()
        except (OSError, RuntimeError) as error:
            self.problem = str(error) or type(error).__name__

    def _watch(self) -> None:
        from watchfiles.main import watch  # noqa: PLC0415 - not before the first answer

        events = watch(
            *sorted(self._directories),
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            stop_event=self._stop,
            rust_timeout=_ARMED_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            force_polling=False,
            recursive=False,
        )
        with closing(events):
            next(events, None)
            self.problem = None
            self._hint()
            for changes in events:
                if changes:
                    self._hint()
                if any(path in self._directories for _, path in changes):
                    return
