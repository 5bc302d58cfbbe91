"""What a proxied request may cost: a table of aims, and whether a run held them.

An aim that nothing was measured for is neither held nor missed. Times of a busy machine say little: read
a verdict together with the spread in the table.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from report import Results, paired

__all__ = ["AIMS", "Aim", "Verdict", "told", "verdicts"]

Measure = Callable[[Results, str, str], list[float]]


def _own(results: Results, phase: str, figure: str) -> list[float]:
    return list(results.get(phase, {}).get("sidecar", {}).get(figure, ()))


def _pairs(results: Results, phase: str, figure: str) -> list[tuple[float, float]]:
    """The daemon's figure with nginx's."""
    return paired(_own(results, phase, figure), results.get(phase, {}).get("nginx", {}).get(figure, ()))


def _ratio(results: Results, phase: str, figure: str) -> list[float]:
    return [own / unit for own, unit in _pairs(results, phase, figure) if unit > 0]


def _later_ms(results: Results, phase: str, figure: str) -> list[float]:
    return [(own - unit) / 1000 for own, unit in _pairs(results, phase, figure)]


@dataclass(frozen=True)
class Aim:
    """A bound on the median over the rounds of what one figure tells."""

    title: str
    phase: str
    figure: str
    most: float
    unit: str
    measure: Measure = _own


@dataclass(frozen=True)
class Verdict:
    """What came of an aim; `measured` and `held` are None when nothing was measured."""

    aim: str
    most: float
    unit: str
    measured: float | None
    held: bool | None


AIMS = (
    Aim("plain request", "plain", "cpu_us", 2.5, "x nginx", _ratio),
    Aim("event of 200 streams", "streams", "cpu_us_per_event", 1.4, "x nginx", _ratio),
    Aim("event of a burst", "bursts", "cpu_us_per_event", 1.1, "us"),
    Aim("prompt of 100 kB", "prompt_100k", "cpu_us", 2.5, "x nginx", _ratio),
    Aim("first event, p50, later than nginx", "streams", "first_p50_us", 0.25, "ms", _later_ms),
    Aim("memory at rest", "cold", "idle_mb", 45, "MB"),
    Aim("memory for each open stream", "open", "kb_per_stream", 16, "kB"),
    Aim("start to first answer", "cold", "first_answer_s", 0.5, "s"),
    Aim("upstream connections opened", "plain", "upstream_connections", 32, ""),
    Aim("memory grown by many requests", "after", "grown_mb", 5, "MB"),
    Aim("memory grown by many streams", "after_streams", "grown_mb", 5, "MB"),
    Aim("plain request, most against one route", "routes", "x_most", 1.25, "x"),
    Aim("plain request, pool of most against one target", "pools", "x_most", 1.25, "x"),
    Aim("plain request, chain of most against one target", "chains", "x_most", 1.25, "x"),
    Aim("event, most against one open stream", "open_streams", "x_most", 1.25, "x"),
    Aim("plain request beside idle connections", "idle", "x_alone", 1.25, "x"),
    Aim("config of 1,000 routes to a snapshot", "compile", "compile_ms", 300, "ms"),
    Aim("save to effect, p95", "edit", "effect_p95_ms", 300, "ms"),
    Aim("longest pause by reloads of 1,000 routes", "reload", "pause_ms", 20, "ms"),
)


def verdicts(results: Results, aims: Sequence[Aim] = AIMS) -> list[Verdict]:
    """One for each aim, in their order."""
    return [_verdict(results, aim) for aim in aims]


def _verdict(results: Results, aim: Aim) -> Verdict:
    values = aim.measure(results, aim.phase, aim.figure)
    if not values:
        return Verdict(aim.title, aim.most, aim.unit, None, None)
    measured = round(statistics.median(values), 3)
    return Verdict(aim.title, aim.most, aim.unit, measured, measured <= aim.most)


def told(judged: Sequence[Verdict]) -> str:
    """For people: a line for each that was measured, then how many were held."""
    known = [each for each in judged if each.measured is not None]
    width = max((len(each.aim) for each in judged), default=0)
    lines = [
        f"{each.aim.ljust(width)}  {each.measured:>9,.2f}  of {each.most:>6,g} {each.unit:8} "
        f"{'held' if each.held else 'MISSED'}"
        for each in known
    ]
    held = sum(each.held is True for each in known)
    return "\n".join([*lines, f"aims: {held} of {len(known)} held, {len(judged) - len(known)} not measured"])
