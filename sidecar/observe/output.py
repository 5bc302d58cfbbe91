"""Where log lines end up: an inherited descriptor, or a file that others may rename.

Knows system calls and how they fail; knows no lines. Everything here runs on the writer's thread and
may block: a full pipe blocks in `write`, a full non-blocking one in `poll`. Nothing raises: what could
not be written is told by how much was.
"""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from typing import Protocol

__all__ = ["Descriptor", "File", "Output", "is_journal", "open_output"]

_POLL_MS = 200
_STREAMS: Mapping[str, int] = {"stdout": 1, "stderr": 2}


class Output(Protocol):
    """A place for bytes."""

    def write(self, data: bytes) -> int:
        """How many of the bytes were written; fewer than all means that the rest will not be."""

    def reopen(self) -> None:
        """Let go of a file and open its path anew."""

    def abandon(self) -> None:
        """Stop waiting for room; called from another thread."""

    def fileno(self) -> int:
        """The descriptor written to at this moment."""


class Descriptor:
    """A descriptor that somebody else opened, and closes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._abandoned = False

    def write(self, data: bytes) -> int:
        """How many of the bytes were written: all, unless the reader is gone, the disk full, or we leave."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                # Whoever shares the descriptor made it non-blocking for all of us.
                if not self._room_comes():
                    break
            except OSError:
                break
        return len(data) - len(rest)

    def reopen(self) -> None:
        """Nothing to do: it has no path."""

    def abandon(self) -> None:
        """Stop waiting for room."""
        self._abandoned = True

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def _room_comes(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while not self._abandoned:
            if poll.poll(_POLL_MS):
                return True
        return False


class File:
    """A file by its path, appended to; opened anew when the path no longer names it.

    Raises:
        OSError: By the constructor only, so that a wrong path is an error of the start.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._open = _opened(path)

    def write(self, data: bytes) -> int:
        """How many of the bytes were written."""
        if self._moved():
            self.reopen()
        return self._open.write(data)

    def reopen(self) -> None:
        """Open the path anew; what is open stays when that fails, for a misplaced line beats a lost one."""
        try:
            fresh = _opened(self._path)
        except OSError:
            return
        os.close(self._open.fileno())
        self._open = fresh

    def abandon(self) -> None:
        """Stop waiting for room."""
        self._open.abandon()

    def fileno(self) -> int:
        """The descriptor written to at this moment."""
        return self._open.fileno()

    def _moved(self) -> bool:
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._open.fileno()))
        except OSError:
            return True


def _opened(path: str) -> Descriptor:
    return Descriptor(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640))


def open_output(where: str | int) -> Output:
    """The output of that name: `stderr`, `stdout`, a descriptor's number, or a file's path.

    Raises:
        OSError: When the file cannot be opened.
    """
    if isinstance(where, int):
        return Descriptor(where)
    if where in _STREAMS:
        return Descriptor(_STREAMS[where])
    return File(where)


def is_journal(fd: int, environ: Mapping[str, str]) -> bool:
    """Whether the descriptor is the journal's socket, as systemd says it in JOURNAL_STREAM (device:inode).

    The variable alone proves nothing: it is inherited by children whose output was redirected.
    """
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
