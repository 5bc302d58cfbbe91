"""`status` and `explain` for people: what is down comes first, then why, since when, and until when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from sidecar.cli.tables import Cell, show
from sidecar.cli.terminal import count, cut, paint, printable, say, span

__all__ = ["show_plan", "show_status"]

_STATES: Mapping[str, str] = MappingProxyType(
    {"closed": "green", "slow_start": "yellow", "half_open": "yellow", "drain": "yellow", "busy": "yellow"}
)  # any other keeps requests away
_HEALTH: Mapping[str, str] = MappingProxyType({"healthy": "green", "unhealthy": "red", "unknown": "dim"})
_WHY_CHARS = 120
_NEXT = {"half_open": "next request", "unhealthy": "next check"}


def show_status(status: dict[str, Any], stats: dict[str, Any]) -> None:
    """The whole of `status`.

    Args:
        status: Of the daemon.
        stats: Likewise; the first-token times of targets are taken from them.
    """
    targets = {key: each for provider in status["providers"].values() for key, each in provider["targets"].items()}
    say(_headline(status))
    _say_config(status)
    refused = sum(1 for target in targets.values() if target["refusal"])
    if refused:
        say(paint(f"{refused} of {count(len(targets), 'target')} not available", "red"))
    else:
        say(paint(f"{count(len(targets), 'target')}, all available", "green"))
    say()
    rows = sorted(_targets(targets, _first_tokens(stats)), key=lambda row: row[0])
    show(
        ("TARGET", "STATE", "WHY", "LAST OK", "NEXT TRY", "HEALTH", "IN FLIGHT", "WEIGHT", "FIRST TOKEN P50"),
        [cells for _, cells in rows],
        wraps="WHY",
        right=("IN FLIGHT", "WEIGHT", "FIRST TOKEN P50"),
    )
    say()
    routes = [(name, route["chain"], ", ".join(route["balance"])) for name, route in status["routes"].items()]
    show(("ROUTE", "CHAIN", "BALANCE"), routes, wraps="CHAIN")


def _headline(status: dict[str, Any]) -> str:
    state = paint("draining", "red") if status["draining"] else paint("serving", "green")
    reloaded = "ok" if status["last_reload_successful"] else paint("REJECTED", "red")
    return (
        f"sidecar {status['version']} {state}  generation {status['generation']}  up {span(status['uptime_s'])}  "
        f"last reload {reloaded}  {count(status['in_flight'], 'request')} in flight  pid {status['pid']}"
    )


def _say_config(status: dict[str, Any]) -> None:
    say(f"config {printable(status['source'])}  listening on {', '.join(status['listen'])}")
    if not status["last_reload_successful"]:
        say(paint(f"the config on disk is rejected{_since(status['rejected_at'])}, this one goes on:", "red"))
        for problem in status["rejected"]:
            say(f"  {printable(problem)}")
    for warning in status["warnings"]:
        say(f"{paint('warning', 'yellow')}: {printable(warning)}")
    for override in status["overrides"]:
        say(f"{paint('changed by hand', 'yellow')}: {printable(override['name'])}: {printable(override['text'])}")


def _since(moment: str | None) -> str:
    if moment is None:
        return ""
    ago = datetime.now(UTC) - datetime.fromisoformat(moment)
    return f" since {moment[11:19]} UTC ({span(max(0.0, ago.total_seconds()))})"


def _first_tokens(stats: dict[str, Any]) -> dict[str, float | None]:
    return {
        key: told["first_token_s"]["p50"]
        for provider in stats["providers"].values()
        for key, told in provider["targets"].items()
    }


def _targets(
    targets: Mapping[str, dict[str, Any]], first_tokens: Mapping[str, float | None]
) -> Iterator[tuple[int, list[Cell]]]:
    """A row for each, with how far up it belongs: what gets no requests, what is not well, the rest."""
    for key, target in targets.items():
        state = _state(target)
        well = state == "closed"
        success = target["last_success_s_ago"]
        health = target["health"]
        weight = target["weight"]
        yield (
            0 if target["refusal"] else 2 if well else 1,
            [
                key,
                (state, _STATES.get(state, "red")),
                "" if well else _why(target),
                "never" if success is None else f"{span(success)} ago",
                _next_try(state, target["open_for_s"]),
                (health, _HEALTH.get(health, "")),
                str(target["in_flight"]),
                "" if weight is None else f"{weight:g}",
                span(first_tokens.get(key)),
            ],
        )


def _state(target: dict[str, Any]) -> str:
    """The one word that matters most: an operator's, the breaker's, or what else keeps requests away."""
    if target["admin"] != "ready":
        return str(target["admin"])
    if target["breaker"] != "closed" or not target["refusal"]:
        return str(target["breaker"])
    return str(target["refusal"]).partition(":")[0]


def _why(target: dict[str, Any]) -> str:
    """The kind of the failure and what was said; else what keeps requests away."""
    reason = target["reason"] or str(target["refusal"] or "").partition(": ")[2]
    return cut(": ".join(filter(None, (reason, target["last_error"]))), _WHY_CHARS)


def _next_try(state: str, open_for_s: float | None) -> str:
    if open_for_s is None:
        return _NEXT.get(state, "")
    return f"in {span(open_for_s)}" if open_for_s else "next request"


def show_plan(plan: dict[str, Any]) -> None:
    """Where a request would go, in order."""
    strict = " (named directly: no fallback)" if plan["strict"] else ""
    say(f"{printable(plan['model'])} -> route {printable(plan['route'])}{strict}")
    say()
    rows: list[list[Cell]] = []
    for number, row in enumerate(plan["targets"], 1):
        verdict: Cell = (f"skipped: {row['skipped']}", "red") if row["skipped"] else ("asked", "green")
        share = f"{row['share']:.0%}"
        rows.append([str(number), row["pool"], row["target"], f"{row['weight']:g}", share, verdict, row["breaker"]])
    show(("", "POOL", "TARGET", "WEIGHT", "SHARE", "NOW", "BREAKER"), rows, wraps="NOW", right=("WEIGHT", "SHARE"))
    if all(row["skipped"] for row in plan["targets"]):
        say(
            paint(
                "nothing is available: a request would be answered 503 or 429 at once, or tried as a last resort", "red"
            )
        )
