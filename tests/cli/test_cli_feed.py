"""The log's lines for people."""

import json
from typing import Any

import pytest

from sidecar.cli.feed import news, told

TS = "2026-03-01T12:00:01.930514Z"


def line(event: str = "attempt", **keys: Any) -> bytes:
    return json.dumps({"ts": TS, "level": "info", "event": event, **keys}).encode() + b"\n"


def test_a_good_attempt() -> None:
    said = told(
        line(
            outcome="ok",
            target="claude/sonnet",
            selection="fallback",
            route="default",
            attempt=2,
            status=200,
            duration_s=1.82,
            input_tokens=118,
            output_tokens=240,
        )
    )
    assert said == (
        "12:00:01.930  ok         claude/sonnet             fallback  default #2  200  1.8 s  118+240 tokens"
    )


def test_a_failed_attempt_says_why() -> None:
    said = told(
        line(
            outcome="failed",
            target="a/b",
            selection="primary",
            kind="rate_limited",
            status=429,
            error="Slow down.\nNow",
        )
    )
    assert said == "12:00:01.930  failed     a/b                       primary  rate_limited  429  Slow down. Now"


def test_a_skipped_target_says_why_and_how_often() -> None:
    said = told(line(outcome="skipped", target="a/b", route="fast", skipped="open: unreachable", count=12))
    assert said == "12:00:01.930  skipped    a/b                       fast  open: unreachable  x12"


def test_a_health_check_names_the_provider() -> None:
    said = told(line(outcome="ok", provider="a", operation="health", selection="probe", status=200))
    assert said == "12:00:01.930  ok         a                         probe  health  200"


def test_a_request_is_told_only_if_no_attempt_tells_of_it() -> None:
    assert told(line("request", outcome="ok", attempts=1)) is None
    said = told(line("request", outcome="failed", model_requested="nope", kind="no_route", status=404))
    assert said == "12:00:01.930  failed     nope                      request  no_route  404"


def test_an_event_is_told_by_its_keys() -> None:
    said = told(line("config.applied", generation=2, changes=["a -> b", "c -> d"]))
    assert said == "12:00:01.930  config.applied  generation=2 changes=a -> b; c -> d"


@pytest.mark.parametrize("text", [b"not json\x1b[2J\n", line(target="\x1b]0;owned\x07", outcome="ok", error="\x1b[2J")])
def test_nothing_that_a_terminal_would_obey_gets_through(text: bytes) -> None:
    assert "\x1b" not in (told(text) or "")


def test_news_are_neither_old_nor_health_checks() -> None:
    assert news(line(outcome="ok", target="a/b"), TS) is not None
    assert news(line(outcome="ok", target="a/b"), "2026-03-01T12:00:01.930515Z") is None
    assert news(line(outcome="ok", provider="a", operation="health"), TS) is None
