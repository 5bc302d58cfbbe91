"""`stats` for people: requests, then attempts target by target."""

from __future__ import annotations

from typing import Any

from sidecar.cli.tables import Cell, show
from sidecar.cli.terminal import count, say, span

__all__ = ["show_stats"]

_CHECKED = ("HEALTH CHECKS", "OK", "P50", "P95")
_NUMBERS = ("ATTEMPTS", "OK", "P50", "P95", "FIRST TOKEN P50", "TOKENS IN", "TOKENS OUT", "COST")


def show_stats(stats: dict[str, Any]) -> None:
    """The whole of `stats`."""
    requests = stats["summary"]["requests"]
    attempts = stats["summary"]["attempts"]
    latency, first, overhead = requests["latency_s"], requests["first_token_s"], requests["overhead_s"]
    say(f"since the start, {span(stats['manager']['uptime_s'])} ago; latencies are those of good answers")
    say(
        f"{count(requests['total'], 'request')}, {_ratio(requests)} ok, {stats['manager']['in_flight']} in flight"
        f"{_kinds(requests, '; failed: ')}"
    )
    say(
        f"latency p50 {_time(latency['p50'])}, p95 {_time(latency['p95'])}, max {_time(latency['max'])}; "
        f"first token p50 {_time(first['p50'])}, p95 {_time(first['p95'])}; "
        f"of it ours p50 {_time(overhead['p50'])}"
    )
    say(
        f"{count(attempts['total'], 'attempt')}, {attempts['tokens']['input']:,} tokens in, "
        f"{attempts['tokens']['output']:,} out{_cost(attempts, ', ')}"
    )
    say()
    rows = [
        _row(target, told) for provider in stats["providers"].values() for target, told in provider["targets"].items()
    ]
    show(("TARGET", *_NUMBERS, "FAILURES"), rows, wraps="FAILURES", right=_NUMBERS)
    checked = {name: told["checks"] for name, told in stats["providers"].items() if told["checks"]["total"]}
    if checked:
        say()
        show(
            ("PROVIDER", *_CHECKED, "FAILURES"),
            [_check(name, told) for name, told in checked.items()],
            wraps="FAILURES",
            right=_CHECKED,
        )


def _check(name: str, told: dict[str, Any]) -> list[Cell]:
    latency = told["latency_s"]
    return [name, f"{told['total']:,}", _ratio(told), span(latency["p50"]), span(latency["p95"]), (_kinds(told), "red")]


def _row(name: str, told: dict[str, Any]) -> list[Cell]:
    tokens = told["tokens"]
    return [
        name,
        f"{told['total']:,}",
        _ratio(told),
        span(told["latency_s"]["p50"]),
        span(told["latency_s"]["p95"]),
        span(told["first_token_s"]["p50"]),
        f"{tokens['input']:,}",
        f"{tokens['output']:,}",
        _cost(told),
        (_kinds(told), "red"),
    ]


def _ratio(told: dict[str, Any]) -> str:
    return "-" if told["success_ratio"] is None else f"{told['success_ratio']:.1%}"


def _cost(told: dict[str, Any], lead: str = "") -> str:
    """Nothing where no price is known."""
    return f"{lead}${told['cost_usd']:.4f}" if told["cost_usd"] else ""


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else span(seconds)


def _kinds(told: dict[str, Any], lead: str = "") -> str:
    kinds = sorted(told["kinds"].items(), key=lambda item: -item[1])
    return lead + ", ".join(f"{kind} {number}" for kind, number in kinds) if kinds else ""
