"""Finished lines on their way out: batched where they are made, written by a thread that may block.

Knows bytes and batches; knows nothing of what a line says. A request only appends to a list. A batch
leaves when it is 20 ms old or 64 KiB large, or at once where no event loop runs. The thread does one
write for each; while it is stuck (a full pipe, a dead disk) batches pile up to a bound, and beyond
that are dropped and counted. The first write that works again is preceded by a line which tells the
number.

Order is kept. A line is whole or absent: when a write ends inside a line, the next one starts anew.
Several threads may write: a captured warning comes from anywhere.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable
from queue import SimpleQueue

import msgspec

from sidecar.observe.output import open_output

__all__ = ["LineWriter"]

_BATCH_S = 0.02
_BATCH_BYTES = 64 * 1024
_MAX_PENDING_BYTES = 8 * 1024 * 1024
_EXIT_S = 2.0
_NEWLINE = 10


class _Job(msgspec.Struct, frozen=True):
    data: bytes = b""
    after: Callable[[], None] | None = None


class LineWriter:
    """One output for the lifetime of the process, or until `close`.

    Args:
        output: `stderr`, `stdout`, a descriptor, or a file's path.
        max_pending_bytes: What may wait for the output before lines are dropped.

    Raises:
        OSError: When the file cannot be opened.
    """

    def __init__(self, output: str | int = "stderr", *, max_pending_bytes: int = _MAX_PENDING_BYTES) -> None:
        self.notice: Callable[[int], bytes] = lambda count: b'{"event":"log.dropped","count":%d}\n' % count
        self._output = open_output(output)
        self._max_pending_bytes = max_pending_bytes
        # Reentrant: a finalizer that warns may run in the middle of a hand-over.
        self._lock = threading.RLock()
        self._lines: list[bytes] = []
        self._size_bytes = 0
        self._handed_bytes = 0
        self._done_bytes = 0  # moved by the thread only
        self._dropped = 0
        self._untold = 0  # of the dropped ones
        self._torn = False  # the last byte written is inside a line
        self._loop: asyncio.AbstractEventLoop | None = None  # where the batch's timer runs
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        atexit.register(self._at_exit)

    @property
    def dropped(self) -> int:
        """How many lines were lost so far."""
        return self._dropped

    def fileno(self) -> int:
        """The descriptor written to at this moment."""
        return self._output.fileno()

    def write(self, line: bytes) -> None:
        """Take one line, its newline included. Never waits for the output."""
        # Without the lock, which would be a sixth of a line's cost: appending is one step of the
        # interpreter, the list is never replaced, and the size is but a hint.
        self._lines.append(line)
        self._size_bytes += len(line)
        if self._size_bytes >= _BATCH_BYTES:
            self._hand_over()
        # A loop that ended took its timer with it.
        elif self._loop is None or self._loop.is_closed():
            self._arm()

    def reopen(self) -> None:
        """Open a file's path anew, once what was written before has gone to the old file."""
        self._then(self._output.reopen)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything so far is written or given up; False when it took longer than that."""
        done = threading.Event()
        self._then(done.set)
        return done.wait(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Write what there is and stop the thread; lines that come later are dropped. Idempotent.

        Returns:
            Whether everything had gone out within the time.
        """
        if self._closed:
            return True
        flushed = self.flush(timeout_s)
        self._closed = True
        atexit.unregister(self._at_exit)
        if not flushed:
            self._output.abandon()
        if self._thread is not None:
            self._jobs.put(_Job(after=_stop))
            if flushed:
                self._thread.join(timeout_s)
        return flushed

    def _then(self, action: Callable[[], None]) -> None:
        self._hand_over()
        with self._lock:
            if self._thread is not None and not self._closed:
                self._jobs.put(_Job(after=action))
                return
        action()  # nothing was ever written, or nothing will be

    def _arm(self) -> None:
        with self._lock:
            self._start()  # here, for no thread can be started any more while the interpreter exits
            try:
                self._loop = asyncio.get_running_loop()
            except RuntimeError:
                self._loop = None
                self._hand_over()
            else:
                self._loop.call_later(_BATCH_S, self._tick)

    def _tick(self) -> None:
        self._loop = None
        self._hand_over()

    def _hand_over(self) -> None:
        with self._lock:
            lines = self._lines[:]
            del self._lines[: len(lines)]
            self._size_bytes = 0
            if not lines:
                return
            data = b"".join(lines)
            pending_bytes = self._handed_bytes - self._done_bytes
            # Once lines are being lost, half the room must come free first: few large gaps, not many small ones.
            room_bytes = self._max_pending_bytes // 2 if self._untold else self._max_pending_bytes
            if self._closed or pending_bytes + len(data) > room_bytes:
                self._lose(len(lines))
                return
            self._handed_bytes += len(data)
            self._start()
            self._jobs.put(_Job(data))

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="sidecar-log", daemon=True)
            self._thread.start()

    def _at_exit(self) -> None:
        self.close(_EXIT_S)

    def _lose(self, lines: int) -> None:
        with self._lock:
            self._dropped += lines
            self._untold += lines

    # Below: on the thread.

    def _run(self) -> None:
        after: Callable[[], None] | None = None
        while after is not _stop:
            job = self._jobs.get()
            if job.data:
                self._put(job.data)
                self._done_bytes += len(job.data)
            if self._untold and self._jobs.empty():
                self._put(b"")  # nothing follows that could carry the notice
            after = job.after
            if after is not None:
                after()

    def _put(self, data: bytes) -> None:
        untold = self._untold
        head = (b"\n" if self._torn else b"") + (self.notice(untold) if untold else b"")
        batch = head + data
        written = self._output.write(batch)
        if written:
            self._torn = batch[written - 1] != _NEWLINE
        if untold and written >= len(head):
            with self._lock:
                self._untold -= untold
        self._lose(batch[max(written, len(head)) :].count(b"\n"))


def _stop() -> None:
    """The last job's marker."""
