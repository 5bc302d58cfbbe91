"""The `sidecar` command: what a person or a script may ask of a daemon, and the daemon itself.

    arguments  every command with its options, help and example: one table
    exits      the exit codes, and the error that ends a command with one
    terminal   plain text and JSON to people and pipes; `tables` the same in columns
    admin      a client of the admin socket
    asking     commands that ask a daemon, or change it     overview, figures, feed  how they show it
    files      commands about config files
    serving    the daemon
    demo       the demo: `stage` is its daemon, `story` what is played on it

A probe must start fast: nothing here is imported before the command that needs it is known, and the
commands that ask a daemon import neither the daemon nor what it is built of.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from sidecar.cli.arguments import parse
from sidecar.cli.exits import Failed
from sidecar.cli.terminal import complain, unbreakable

__all__ = ["main"]

_BROKEN_PIPE = 128 + signal.SIGPIPE
_INTERRUPTED = 128 + signal.SIGINT


def main(argv: Sequence[str]) -> int:
    """Run a command; gives the exit code of the process.

    Args:
        argv: Without the program's name.
    """
    unbreakable()
    args = parse(argv)
    if args.mortal:
        # The process began by catching signals for a daemon; what only asks dies of them, as is usual.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        code: int = getattr(import_module(args.home), args.function)(args)
        sys.stdout.flush()
    except Failed as failure:
        complain(str(failure))
        return failure.code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has left. Python flushes once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return code
