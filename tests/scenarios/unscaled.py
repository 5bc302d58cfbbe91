"""Faults 1 to 16 with the settings that everybody has, but for `rescue: continue`: all at once, against one daemon.

    python -m tests.scenarios.unscaled

Plays the functions of `test_faults` at their real pace, which takes about 100 s, and after each one asks for
a healthy answer. Prints a table; exits with 1 when something did not hold.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from tests.daemon import RunningDaemon
from tests.scenarios import test_faults as faults
from tests.scenarios.stage import Pair, Stage, Staging

_STAGGER_S = 0.2  # a start in one moment would be a fault of its own: retries have a common budget
_BOUND_S = 170.0


@dataclass(frozen=True)
class _Play:
    number: int
    fault: str
    test: Callable[..., Coroutine[Any, Any, None]]
    parameters: tuple[tuple[str, object], ...] = ()

    @property
    def name(self) -> str:
        return f"fault-{self.number:02}"


_STREAMED = (("stream", True),)
_PLAYS = (
    _Play(1, "429 + Retry-After: 2, then healthy", faults.test_01_a_429_with_retry_after_2_is_waited_for, _STREAMED),
    _Play(2, "429 for ever, no header", faults.test_02_429_for_ever_costs_few_attempts, _STREAMED),
    _Play(3, "500 once", faults.test_03_a_single_500_is_retried_at_the_same_target, _STREAMED),
    _Play(4, "503 for ever", faults.test_04_503_for_ever_is_answered_by_the_fallback, _STREAMED),
    _Play(5, "TCP reset before headers", faults.test_05_a_reset_before_the_head_is_answered, _STREAMED),
    _Play(6, "accepts, silent 120 s, no head", faults.test_06_a_silent_primary_gets_exactly_one_attempt, _STREAMED),
    _Play(7, "headers at once, first token after 20 s", faults.test_07_a_head_and_then_a_late_first_token_is_answered),
    _Play(8, "stream cut at token 40 of 60", faults.test_08_a_stream_cut_at_token_40_is_rescued, (("cut", "fin"),)),
    _Play(9, "stalls for ever mid-stream", faults.test_09_a_stream_that_stalls_is_noticed_and_rescued),
    _Play(10, "one malformed SSE chunk", faults.test_10_one_malformed_chunk_is_skipped),
    _Play(11, "no [DONE]", faults.test_11_a_stream_without_done_ends_at_once),
    _Play(12, "400 context_length_exceeded", faults.test_12_an_overlong_context_goes_to_the_fallback_once, _STREAMED),
    _Play(
        13,
        "400 content_policy_violation",
        faults.test_13_a_refused_content_is_told_and_not_shopped_around,
        _STREAMED,
    ),
    _Play(
        14,
        "cut stream, fallback takes no trailing assistant",
        faults.test_14_a_fallback_that_takes_no_assistant_message_never_hides_the_break,
        (("role_last", True),),
    ),
    _Play(
        15,
        "503 for 60 s, then healthy; one request in 4 s",
        faults.test_15_an_outage_costs_few_attempts_and_ends_quickly,
        _STREAMED,
    ),
    _Play(16, "500 for ever: accounting", faults.test_16_the_answer_names_who_served_and_what_it_took, _STREAMED),
)


@dataclass
class _Row:
    play: _Play
    problem: str | None
    took_s: float


async def _played(play: _Play, pair: Pair, delay_s: float) -> _Row:
    await asyncio.sleep(delay_s)
    test = getattr(play.test, "ahead", play.test)
    began = monotonic()
    problem = None
    try:
        async with asyncio.timeout(_BOUND_S):
            await test(pair, **dict(play.parameters))
            held_s = monotonic() - began
            await pair.recovers()
    except Exception:
        held_s = monotonic() - began
        problem = traceback.format_exc()
    return _Row(play, problem, held_s)


def _story(daemon: RunningDaemon, play: _Play) -> str:
    """What the first request met, and what all of them cost."""
    requests = daemon.log_lines("request", route=play.name)
    lines = daemon.log_lines("attempt", route=play.name)
    attempts = [line for line in lines if line["outcome"] != "skipped"]
    if not requests:
        return "nothing"
    steps = [_step(line) for line in attempts if line["request_id"] == requests[0]["request_id"]]
    at_primary = sum(line["provider"].endswith("-a") for line in attempts)
    malformed = sum(line.get("malformed_events", 0) for line in attempts)
    extra = f"; {malformed} chunk skipped" if malformed else ""
    return f"{', '.join(steps)}{extra} ({len(requests)} requests, {at_primary} attempts at a)"


def _step(line: dict[str, Any]) -> str:
    waited = f"after {line['backoff_s']:.2f} s " if line.get("backoff_s") else ""
    rescue = "rescued by " if line["selection"] == "rescue" else ""
    return f"{waited}{rescue}{line['provider'][-1]} {line.get('kind') or line['outcome']} {line['duration_s']:.2f} s"


async def _run() -> int:
    with tempfile.TemporaryDirectory(prefix="unscaled-") as directory:
        stagings = {play.name: Staging() for play in _PLAYS}
        async with Stage(Path(directory), stagings) as stage:
            began = monotonic()
            plays = (_played(play, stage.pair(play.name), at * _STAGGER_S) for at, play in enumerate(_PLAYS))
            rows = await asyncio.gather(*plays)
            await asyncio.sleep(0.1)  # the last log lines
            print(f"{'no':>2}  {'ok':3} {'held':>7}  {'fault':50}  what happened (a: primary, b: fallback)")
            for row in rows:
                held = "yes" if row.problem is None else "NO"
                story = _story(stage.daemon, row.play)
                print(f"{row.play.number:2}  {held:3} {row.took_s:5.1f} s  {row.play.fault:50}  {story}")
            broken = [row for row in rows if row.problem is not None]
            for row in broken:
                print(f"\n-- {row.play.number}\n{row.problem}")
            print(f"\n{len(rows) - len(broken)} of {len(rows)} held, in {monotonic() - began:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_run()))
