"""`status` and `explain` for people: what is down comes first, then why, since when, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from sidecar.cli.tables import Cell, columns, show
from sidecar.cli.terminal import count, cut, paint, printable, say, span

__all__ = ["show_plan", "show_status"]

_STATES: Mapping[str, str] = MappingProxyType(
    {"closed": "green", "slow_start": "yellow", "half_open": "yellow", "drain": "yellow", "busy": "yellow"}
)  # any other keeps requests away
_HEALTH: Mapping[str, str] = MappingProxyType({"healthy": "green", "unhealthy": "red", "unknown": "dim"})
_DRAINED = frozenset({"weight 0", "drain"})  # why a target is passed over that is asked when nothing else is left
_WHY_CHARS = 120
_WIDE_COLUMNS = 130  # below it, why stands under the target, and the columns that explain no outage are left out
_FACTS = ("SINCE", "NEXT TRY", "LAST OK", "HEALTH")
_NUMBERS = ("IN FLIGHT", "WEIGHT", "FIRST TOKEN P50")


def show_status(status: dict[str, Any], stats: dict[str, Any]) -> None:
    """The whole of `status`.

    Args:
        status: Of the daemon.
        stats: Likewise; the first-token times of targets are taken from them.
    """
    targets = {
        key: {**target, "next_check_s": provider["next_check_s"]}
        for provider in status["providers"].values()
        for key, target in provider["targets"].items()
    }
    say(_headline(status))
    _say_config(status)
    refused = sum(1 for target in targets.values() if target["refusal"])
    if refused:
        say(paint(f"{refused} of {count(len(targets), 'target')} not available", "red"))
    else:
        say(paint(f"{count(len(targets), 'target')}, all available", "green"))
    say()
    _show_targets(targets, _first_tokens(stats))
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
    applied = f"applied at {_at(status['applied_at'])}"
    say(f"config {printable(status['source'])} {applied}  listening on {', '.join(status['listen'])}")
    if not status["last_reload_successful"]:
        say(paint(f"the config on disk is rejected{_since(status['rejected_at'])}, this one goes on:", "red"))
        for problem in status["rejected"]:
            say(f"  {printable(problem)}")
    for warning in status["warnings"]:
        say(f"{paint('warning', 'yellow')}: {printable(warning)}")
    for override in status["overrides"]:
        say(f"{paint('changed by hand', 'yellow')}: {printable(override['name'])}: {printable(override['text'])}")


def _since(moment: str | None) -> str:
    return "" if moment is None else f" since {_at(moment)}"


def _at(moment: str) -> str:
    ago = datetime.now(UTC) - datetime.fromisoformat(moment)
    return f"{moment[11:19]} UTC ({span(max(0.0, ago.total_seconds()))} ago)"


def _show_targets(targets: Mapping[str, dict[str, Any]], first_tokens: Mapping[str, float | None]) -> None:
    """One row for each: first what gets no requests, then what is not well, then the rest."""
    rows = sorted(targets.items(), key=lambda item: _rank(item[1]))
    if columns() < _WIDE_COLUMNS:
        show(("TARGET", "STATE", *_FACTS), [_narrow(key, target) for key, target in rows], wraps="TARGET")
        return
    cells = [_wide(key, target, first_tokens.get(key)) for key, target in rows]
    show(("TARGET", "STATE", "WHY", *_FACTS, *_NUMBERS), cells, wraps="WHY", right=_NUMBERS)


def _first_tokens(stats: dict[str, Any]) -> dict[str, float | None]:
    return {
        key: told["first_token_s"]["p50"]
        for provider in stats["providers"].values()
        for key, told in provider["targets"].items()
    }


def _rank(target: dict[str, Any]) -> int:
    if target["refusal"]:
        return 0
    return 2 if _state(target) == "closed" else 1


def _narrow(key: str, target: dict[str, Any]) -> list[Cell]:
    why = _why(target)
    return [f"{key}\n  {why}" if why else key, *_facts(target)]


def _wide(key: str, target: dict[str, Any], first_token_s: float | None) -> list[Cell]:
    state, *others = _facts(target)
    weight = "" if target["weight"] is None else f"{target['weight']:g}"
    return [key, state, _why(target), *others, str(target["in_flight"]), weight, span(first_token_s)]


def _facts(target: dict[str, Any]) -> list[Cell]:
    """State, since when, next try, last success, health."""
    state, success, health = _state(target), target["last_success_s_ago"], target["health"]
    return [
        (state, _STATES.get(state, "red")),
        span(target["down_for_s"]),
        _next_try(state, target),
        "never" if success is None else f"{span(success)} ago",
        (health, _HEALTH.get(health, "")),
    ]


def _state(target: dict[str, Any]) -> str:
    """The one word that matters most: an operator's, the breaker's, or what else keeps requests away."""
    if target["admin"] != "ready":
        return str(target["admin"])
    if target["breaker"] != "closed" or not target["refusal"]:
        return str(target["breaker"])
    return str(target["refusal"]).partition(":")[0]


def _why(target: dict[str, Any]) -> str:
    """The kind of the failure and what was said, else what keeps requests away; nothing for one that is well."""
    if _state(target) == "closed":
        return ""
    reason = target["reason"] or str(target["refusal"] or "").partition(": ")[2]
    error = target["check_error"] if _state(target) == "unhealthy" else target["last_error"]
    return cut(": ".join(filter(None, (reason, error))), _WHY_CHARS)


def _next_try(state: str, target: dict[str, Any]) -> str:
    open_for_s, check_s = target["open_for_s"], target["next_check_s"]
    if open_for_s:
        return f"in {span(open_for_s)}"
    if str(target["refusal"]).startswith("unhealthy"):  # which a breaker that would admit a probe does not change
        return "" if check_s is None else f"check in {span(check_s)}"
    return "next request" if state in ("open", "half_open") else ""


def show_plan(plan: dict[str, Any]) -> None:
    """Where a request would go, in order."""
    strict = " (named directly: no fallback)" if plan["strict"] else ""
    say(f"{printable(plan['model'])} -> route {printable(plan['route'])}{strict}")
    say()
    rows: list[list[Cell]] = []
    first = next((row["pool"] for row in plan["targets"] if not row["skipped"]), None)
    for number, row in enumerate(plan["targets"], 1):
        verdict: Cell = _verdict(row, first)
        share, limit = f"{row['share']:.0%}", span(row["first_token_limit_s"])
        rows.append([str(number), row["pool"], row["target"], _weight(row), share, verdict, _breaker(row), limit])
    headers = ("", "POOL", "TARGET", "WEIGHT", "SHARE", "NOW", "BREAKER", "FIRST TOKEN IN")
    show(headers, rows, wraps="NOW", right=("WEIGHT", "SHARE", "FIRST TOKEN IN"))
    if all(row["skipped"] for row in plan["targets"]):
        say(_left(plan["targets"]))


def _left(rows: list[dict[str, Any]]) -> str:
    """What comes of a request when everything is passed over: what only drains is asked all the same."""
    last = next((row["target"] for row in rows if row["skipped"] in _DRAINED), None)
    if last is not None:
        return paint(f"nothing else is left: a request would go to {printable(last)} all the same", "yellow")
    return paint(
        "nothing is available: a request would be answered 503 or 429 at once, or tried as a last resort", "red"
    )


def _weight(row: dict[str, Any]) -> str:
    """As configured, and what slow start leaves of it."""
    weight, effective = row["weight"], row["effective_weight"]
    return f"{weight:g}" if effective == weight else f"{effective:.3g} of {weight:g}"


def _breaker(row: dict[str, Any]) -> str:
    """Its state, and until when."""
    state, open_for_s = row["breaker"], row["open_for_s"]
    if row["reason"] and not str(row["skipped"]).startswith("open: "):
        state = f"{state}: {row['reason']}"  # else it was just said
    if open_for_s is None:
        return str(state)
    return f"{state}, next try {f'in {span(open_for_s)}' if open_for_s else 'is the next request'}"


def _verdict(row: dict[str, Any], first: str | None) -> Cell:
    if row["skipped"]:
        return f"skipped: {row['skipped']}", "red"
    return ("asked", "green") if row["pool"] == first else "fallback"
