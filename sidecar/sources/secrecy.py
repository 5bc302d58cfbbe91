"""What a process that holds keys keeps to itself; knows the process, not its config.

Only for a process that is wholly the sidecar's: an embedding application decides for itself. After
`keep_secrets` no process of the same user can read our memory, our environment or a core dump. What the
kernel copied at our start stays in `/proc/PID/environ`, for root alone; keys in files are not even there.

Source: prctl(2), PR_SET_DUMPABLE (read 2026-11): also makes root the owner of our files in `/proc`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource

from sidecar.sources.environment import Environment, scrub

__all__ = ["keep_secrets"]

_PR_SET_DUMPABLE = 4


def keep_secrets() -> Environment:
    """The environment as it was; from now on the process shows no secret of it, nor of anything else."""
    captured = Environment.capture(os.environ)
    scrub(os.environ)
    with contextlib.suppress(AttributeError):  # no such call on systems other than Linux
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid even that
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return captured
