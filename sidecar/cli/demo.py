"""The demo: a story on providers that live inside the sidecar, and then a daemon to play with.

What serves is a daemon like any other, started as a process of its own; what is shown is what an app
and an operator would see.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from time import monotonic

from sidecar.cli.admin import opened
from sidecar.cli.exits import NO, OK, Failed
from sidecar.cli.feed import news
from sidecar.cli.stage import Missed, Stage, staged
from sidecar.cli.story import STEPS
from sidecar.cli.terminal import complain, paint, say, span

__all__ = ["demo"]

_FLUSH_S = 0.1  # the log is written in batches


def demo(args: argparse.Namespace) -> int:
    """Play the story; without --once, go on serving until Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # however it is ended, the daemon is stopped
    with _directory(args.keep) as directory, staged(directory, args.port) as stage:
        _introduce(stage, args.port)
        if not _played(stage):
            return NO
        return OK if args.once else _serve_on(stage)


@contextmanager
def _directory(keep: str | None) -> Iterator[Path]:
    """Where everything is: a directory that is named and stays, or one that goes with the demo."""
    if keep is None:
        with TemporaryDirectory(prefix="sidecar-demo-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    path = Path(keep).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(NO, f"{path}: cannot be made: {error.strerror}") from error
    yield path


def _introduce(stage: Stage, wanted_port: int) -> None:
    say("Two providers, alpha and beta, that live inside the sidecar: no key, no network.")
    if stage.port != wanted_port:
        say(paint(f"port {wanted_port} is taken, so this is port {stage.port}", "yellow"))
    say(f"   serving  {stage.url}")
    say(f"   config   {stage.config}")


def _played(stage: Stage) -> bool:
    """Whether every step came about."""
    began = monotonic()
    for number, step in enumerate(STEPS, 1):
        say()
        say(paint(f"{number}. {step.title}", "bold"))
        try:
            step.play(stage)
        except (Missed, Failed) as missed:
            say(f"   {paint('FAILED', 'red')}: {missed}")
            stage.rests(_FLUSH_S)
            say(f"   the end of {stage.log}:\n{stage.last_words()}")
            return False
        sys.stdout.flush()
    say()
    say(f"{paint('ok', 'green')}: {len(STEPS)} steps, each as told, in {span(monotonic() - began)}")
    return True


def _serve_on(stage: Stage) -> int:
    """Show how to play, then what comes, until Ctrl-C."""
    say(_PLAY.format(url=stage.url, config=stage.config, command=_command(), admin=stage.admin))
    sys.stdout.flush()
    began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    try:
        with opened(stage.admin, {}) as admin:
            for line in admin.lines("/attempts?follow=1"):
                text = news(line, began)
                if text is not None:
                    say(text)
                    sys.stdout.flush()
    except KeyboardInterrupt:
        say("\nstopped")
        return OK
    complain("the daemon has gone")
    return NO


def _command() -> str:
    """What another terminal calls this program: its name where that is found, else its path."""
    if which("sidecar"):
        return "sidecar"
    beside = Path(sys.executable).with_name("sidecar")
    return shlex.quote(str(beside)) if beside.exists() else f"{shlex.quote(sys.executable)} -m sidecar"


_PLAY = """
It serves on until Ctrl-C (with --once it would not). Ask it from another terminal:

   curl -s {url}/chat/completions -H 'content-type: application/json' \\
     -d '{{"model": "fragile", "messages": [{{"role": "user", "content": "Hello"}}]}}'

or from Python, with the OpenAI SDK:

   from openai import OpenAI
   client = OpenAI(base_url="{url}", api_key="unused")
   client.chat.completions.create(model="default", messages=[{{"role": "user", "content": "Hello"}}])

Edit  {config}  and ask again.
See   {command} status --socket {admin}

What comes now:
"""
