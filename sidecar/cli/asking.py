"""The commands that ask a running daemon, or change it by hand.

Each is a question, an answer, and its exit code; how answers look to people is `overview`, `figures`
and `feed`, which are imported only when there is something to show.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import AbstractContextManager
from typing import Any

from sidecar.cli.admin import Admin, opened, path_of
from sidecar.cli.exits import CONFIG, NO, OK
from sidecar.cli.terminal import complain, paint, say, say_json, span

__all__ = ["drain", "explain", "health", "reload", "reset", "stats", "status", "tail", "weight"]

_WAIT_S = 90.0
_CHECK_S = 60.0


def _daemon(args: argparse.Namespace, **timeout: float) -> AbstractContextManager[Admin]:
    return opened(args.socket, os.environ, **timeout)


def status(args: argparse.Namespace) -> int:
    """What is down, why, and when it is tried next."""
    with _daemon(args) as admin:
        now = admin.get("/status")
        if args.json:
            say_json(now)
            return OK
        counted = admin.get("/stats")
    from sidecar.cli.overview import show_status  # noqa: PLC0415 - imports rich

    show_status(now, counted)
    return OK


def stats(args: argparse.Namespace) -> int:
    """Counters since the start."""
    with _daemon(args) as admin:
        counted = admin.get("/stats")
    if args.json:
        say_json(counted)
        return OK
    from sidecar.cli.figures import show_stats  # noqa: PLC0415 - imports rich

    show_stats(counted)
    return OK


def health(args: argparse.Namespace) -> int:
    """Whether the daemon takes requests; with --check also whether providers answer."""
    with _daemon(args, timeout_s=_CHECK_S if args.check else 10.0) as admin:
        checked: dict[str, bool] = admin.change("POST", "/health-check") if args.check else {}
        now = admin.get("/status")
    ready = not now["draining"]
    healthy = all(checked.values())
    reasons = {name: _reason(now["providers"].get(name, {})) for name, good in checked.items() if not good}
    if args.json:
        providers = {"providers": checked, "reasons": reasons} if args.check else {}
        say_json({"ready": ready, "generation": now["generation"], "uptime_s": now["uptime_s"], **providers})
        return OK if ready and healthy else NO
    word = paint("ready", "green") if ready else paint("not ready: draining", "red")
    say(f"{word}, generation {now['generation']}, up {span(now['uptime_s'])}")
    if not now["last_reload_successful"]:
        say(paint("the config on disk is rejected; `sidecar status` says why", "yellow"))
    for name, good in checked.items():
        reason = reasons.get(name)
        why = f" ({reason.removeprefix(f'{name}: ')})" if reason else ""
        say(f"  {name}: {paint('healthy', 'green') if good else paint('not healthy', 'red')}{why}")
    return OK if ready and healthy else NO


def _reason(provider: dict[str, Any]) -> str | None:
    """Why a provider of the status did not pass its check."""
    return next((error for target in provider.get("targets", {}).values() if (error := target["check_error"])), None)


def explain(args: argparse.Namespace) -> int:
    """Where a request would go."""
    with _daemon(args) as admin:
        plan = admin.get("/explain", model=args.model, route=args.route)
    if args.json:
        say_json(plan)
        return OK
    from sidecar.cli.overview import show_plan  # noqa: PLC0415 - imports rich

    show_plan(plan)
    return OK


def reload(args: argparse.Namespace) -> int:
    """Read the config now."""
    with _daemon(args, timeout_s=_WAIT_S if args.wait else 10.0) as admin:
        reply = admin.ask("POST", "/reload")
        result: dict[str, Any] = reply.value if "applied" in reply.value else admin.agreed(reply)
    if args.json:
        say_json(result)
    elif result["applied"]:
        say(f"{'applied' if result['changed'] else 'unchanged'}, generation {result['generation']}")
    if not result["applied"] and not args.json:
        complain(f"the config is rejected; generation {result['generation']} goes on")
        sys.stderr.write("".join(f"{problem}\n" for problem in result["problems"]))
    return OK if result["applied"] else CONFIG


def reset(args: argparse.Namespace) -> int:
    """Forget what was held against a provider or a target."""
    place = ("targets", args.name, "reset") if "/" in args.name else ("providers", args.name, "reset")
    return _change(args, "POST", place, f"{args.name}: its failures are forgotten")


def weight(args: argparse.Namespace) -> int:
    """Change a weight."""
    text = f"{args.target}: weight {args.weight:g}, until it is edited in the file"
    return _change(args, "PUT", ("targets", args.target, "weight"), text, {"weight": args.weight})


def drain(args: argparse.Namespace) -> int:
    """Stop the daemon in good order."""
    return _change(args, "POST", ("drain",), "draining: requests under way go on to their end, then the daemon stops")


def _change(
    args: argparse.Namespace, method: str, place: tuple[str, ...], done: str, body: dict[str, Any] | None = None
) -> int:
    with _daemon(args) as admin:
        result = admin.change(method, path_of(*place), body)
    if args.json:
        say_json(result)
    else:
        say(done)
    return OK


def tail(args: argparse.Namespace) -> int:
    """The latest attempts, and with --follow those that come."""
    from sidecar.cli.feed import told  # noqa: PLC0415 - only this command needs it

    with _daemon(args) as admin:
        try:
            for line in admin.lines("/attempts?follow=1" if args.follow else "/attempts"):
                text = line.decode(errors="replace").rstrip("\n") if args.json else told(line)
                if text is not None:
                    say(text)
                    sys.stdout.flush()
        except KeyboardInterrupt:
            return OK
    if args.follow:
        complain(f"{admin.address}: the daemon has gone")
    return OK
