"""`status` on paper: what is down comes first and says why."""

import io
import sys
from typing import Any

import pytest

from sidecar.cli.overview import show_plan, show_status

WELL: dict[str, Any] = {
    "breaker": "closed",
    "reason": None,
    "open_for_s": None,
    "down_for_s": None,
    "admin": "ready",
    "health": "healthy",
    "refusal": None,
    "in_flight": 3,
    "weight": 70.0,
    "last_success_s_ago": 1.5,
    "last_error": "long ago",
    "check_error": None,
}
OPEN = {
    **WELL,
    "breaker": "open",
    "reason": "overloaded",
    "refusal": "open: overloaded",
    "open_for_s": 8.2,
    "down_for_s": 252.0,
    "last_error": "The [model] is down.",
    "last_success_s_ago": 250.0,
}


def status(**targets: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "1.0",
        "generation": 7,
        "source": "/etc/sidecar.yaml",
        "applied_at": "2026-03-01T11:58:00+00:00",
        "uptime_s": 7320.0,
        "pid": 4,
        "draining": False,
        "in_flight": 2,
        "listen": ["127.0.0.1:4141"],
        "last_reload_successful": True,
        "rejected": [],
        "rejected_at": None,
        "warnings": [],
        "overrides": [],
        "routes": {"default": {"chain": "[p/a, p/b]", "balance": ["weighted"]}},
        "providers": {"p": {"next_check_s": 3.2, "targets": {f"p/{name}": target for name, target in targets.items()}}},
    }


STATS = {"providers": {"p": {"targets": {"p/a": {"first_token_s": {"p50": 0.412}}}}}}


def shown(capsys: pytest.CaptureFixture[str], said: dict[str, Any]) -> list[str]:
    show_status(said, STATS)
    return capsys.readouterr().out.splitlines()


def row(lines: list[str], start: str) -> str:
    return " ".join(next(line for line in lines if line.startswith(start)).split())


def test_the_first_line_says_what_serves(capsys: pytest.CaptureFixture[str]) -> None:
    first = shown(capsys, status(a=WELL))[0]
    assert first == "sidecar 1.0 serving  generation 7  up 2h 2m  last reload ok  2 requests in flight  pid 4"


def test_what_is_down_comes_first_and_says_why_and_when(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, status(a=WELL, b=OPEN, c={**WELL, "breaker": "slow_start", "reason": "overloaded"}))
    assert "1 of 3 targets not available" in lines
    order = [line.split()[0] for line in lines if line.startswith("p/")]
    assert order == ["p/b", "p/c", "p/a"]
    assert row(lines, "p/b") == "p/b open overloaded: The [model] is down. 4m 12s in 8.2 s 4m 10s ago healthy 3 70"
    assert row(lines, "p/a") == "p/a closed 1.5 s ago healthy 3 70 412 ms"
    assert row(lines, "default") == "default [p/a, p/b] weighted"


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"admin": "maint", "refusal": "maint"}, "maint"),
        ({"admin": "drain"}, "drain"),
        ({"refusal": "no key"}, "no key"),
        (
            {"refusal": "unhealthy: check", "health": "unhealthy", "down_for_s": 9.0, "check_error": "no answer"},
            "unhealthy check: no answer 9.0 s check in 3.2 s",
        ),
        (
            {"breaker": "open", "reason": "unreachable", "open_for_s": 0.0, "refusal": "unhealthy: check"},
            "open unreachable: long ago check in 3.2 s",
        ),
        ({"refusal": "busy"}, "busy"),
        ({"breaker": "half_open", "reason": "unreachable"}, "half_open unreachable: long ago next request"),
        ({"breaker": "open", "reason": "unreachable", "open_for_s": 0.0}, "open unreachable: long ago next request"),
    ],
)
def test_every_reason_to_stay_away_is_a_word(
    change: dict[str, Any], state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(capsys, status(a={**WELL, **change}))
    assert row(lines, "p/a").startswith(f"p/a {state}")


def test_a_rejected_config_is_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    problems = ["s.yaml:42:9: routes.fast: one", "s.yaml:43:9: two"]
    said = status(a=WELL) | {
        "last_reload_successful": False,
        "rejected": problems,
        "rejected_at": "2026-03-01T12:00:01.930514+00:00",
        "warnings": ["careful"],
        "overrides": [{"kind": "weight", "name": "p/a", "text": "weight 5"}],
    }
    lines = shown(capsys, said)
    assert "last reload REJECTED" in lines[0]
    assert lines[1].startswith("config /etc/sidecar.yaml applied at 11:58:00 UTC (")
    assert lines[2].startswith("the config on disk is rejected since 12:00:01 UTC (")
    assert lines[3:7] == [*(f"  {each}" for each in problems), "warning: careful", "changed by hand: p/a: weight 5"]


class _Narrow(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_narrow_terminal_why_stands_under_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Narrow()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    show_status(status(a=OPEN), STATS)
    lines = screen.getvalue().splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("p/a"))
    assert lines[at + 1].strip() == "overloaded: The [model] is down."
    assert "8.2 s" in lines[at]


CLOSED = {"breaker": "closed", "reason": None, "open_for_s": None, "effective_weight": 1.0, "first_token_limit_s": 12.0}


def plan(*skipped: str | None, **row: object) -> dict[str, Any]:
    targets = [
        {"pool": f"r[{i}]", "target": f"p/{i}", "weight": 1.0, "share": 0.5, "skipped": why, **CLOSED, **row}
        for i, why in enumerate(skipped)
    ]
    return {"model": "m", "route": "r", "strict": False, "targets": targets}


def test_a_plan_says_who_is_asked_and_who_stands_behind(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(plan("open: unreachable", None, None))
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines if " p/" in line] == [
        "1 r[0] p/0 1 50% skipped: open: unreachable closed 12 s",
        "2 r[1] p/1 1 50% asked closed 12 s",
        "3 r[2] p/2 1 50% fallback closed 12 s",
    ]
    assert "nothing is available" not in lines[-1]


@pytest.mark.parametrize(
    ("skipped", "row", "end"),
    [
        (
            "open: overloaded",
            {"breaker": "open", "reason": "overloaded", "open_for_s": 8.2},
            "1 50% skipped: open: overloaded open, next try in 8.2 s 12 s",
        ),
        (
            None,
            {"breaker": "open", "reason": "overloaded", "open_for_s": 0.0},
            "1 50% asked open: overloaded, next try is the next request 12 s",
        ),
        (
            None,
            {"breaker": "slow_start", "reason": "unreachable", "effective_weight": 0.25, "first_token_limit_s": 36.0},
            "0.25 of 1 50% asked slow_start: unreachable 36 s",
        ),
    ],
)
def test_a_plan_shows_the_breaker_until_when_the_weight_and_the_limit(
    skipped: str | None, row: dict[str, Any], end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_plan(plan(skipped, **row))
    (line,) = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if " p/" in line]
    assert line == f"1 r[0] p/0 {end}"


@pytest.mark.parametrize("drained", ["weight 0", "drain"])
def test_a_plan_says_that_what_drains_is_asked_when_nothing_else_is_left(
    drained: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_plan(plan("open: unreachable", drained))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "nothing else is left: a request would go to p/1 all the same"


def test_a_plan_without_anybody_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(plan("maint"))
    assert "nothing is available" in capsys.readouterr().out
