"""The process's first lines: signals that come before anything is ready must not be lost.

As PID 1 of a container a process gets no default action for a signal: a SIGTERM before the daemon has
its own handlers would do nothing at all, and the container would be killed after its grace period.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType


def _leave(number: int, _: FrameType | None) -> None:
    """Nothing has begun yet: leave at once, as if by the signal."""
    os._exit(0 if number == signal.SIGTERM else 130)


def main() -> int:
    """The `sidecar` command."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.argv[1:2] == ["serve"]:
        # Nearly all that a start makes stays: once is enough to look through it. What goes leaves room for the rest.
        gc.set_threshold(10_000, 1_000, 1_000)
    from sidecar.cli import main as command  # noqa: PLC0415 - after the handlers, on purpose

    return command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
