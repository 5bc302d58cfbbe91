"""The table for people, and the words for the interpreter and the machine that the figures come from."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence

__all__ = ["Results", "interpreter", "loop_ms", "paired", "table"]

# phase -> subject -> figure -> one value for each round
Results = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]

# How a row's values come of the figures: as they are, less the upstream's own time, or less nginx's.
_AS_IS, _ADDED, _LATER = "as is", "added", "later"
# phase, figure, what it is called, decimals, how
_ROWS = (
    ("plain", "cpu_us", "plain request, CPU us", 1, _AS_IS),
    ("unix", "cpu_us", "plain request on a Unix socket, CPU us", 1, _AS_IS),
    ("tls", "cpu_us", "plain request, upstream behind TLS, CPU us", 1, _AS_IS),
    ("translated", "cpu_us", "request in another dialect, CPU us", 1, _AS_IS),
    ("quiet", "cpu_us", "plain request without log lines, CPU us", 1, _AS_IS),
    ("failover", "cpu_us", "first target answers 503, CPU us", 1, _AS_IS),
    ("prompt_100k", "cpu_us", "prompt of 100 kB, CPU us", 0, _AS_IS),
    ("prompt_1m", "cpu_us", "prompt of 1 MB, CPU us", 0, _AS_IS),
    ("streams", "cpu_us_per_event", "200 streams, CPU us per event", 1, _AS_IS),
    ("translated_streams", "cpu_us_per_event", "200 streams in another dialect, CPU us per event", 1, _AS_IS),
    ("bursts", "cpu_us_per_event", "100 events at once, CPU us per event", 2, _AS_IS),
    ("rate", "whole_p50_us", "100 requests/s, added us, p50", 0, _ADDED),
    ("rate", "whole_p99_us", "100 requests/s, added us, p99", 0, _ADDED),
    ("rate", "cpu_us", "100 requests/s, CPU us", 0, _AS_IS),
    ("streams", "first_p50_us", "200 streams, first event, added us, p50", 0, _ADDED),
    ("streams", "first_p99_us", "200 streams, first event, added us, p99", 0, _ADDED),
    ("streams", "first_p50_us", "200 streams, first event, us later than nginx, p50", 0, _LATER),
    ("plain", "per_s", "plain requests a second, one core", 0, _AS_IS),
    ("plain", "upstream_connections", "upstream connections opened for them", 0, _AS_IS),
    ("routes", "x_10", "plain request: 10 routes, x one", 2, _AS_IS),
    ("routes", "x_100", "plain request: 100 routes, x one", 2, _AS_IS),
    ("routes", "x_1000", "plain request: 1,000 routes, x one", 2, _AS_IS),
    ("pools", "x_10", "plain request: pool of 10 targets, x one", 2, _AS_IS),
    ("pools", "x_100", "plain request: pool of 100 targets, x one", 2, _AS_IS),
    ("pools", "x_1000", "plain request: pool of 1,000 targets, x one", 2, _AS_IS),
    ("chains", "x_10", "plain request: chain of 10 targets, x one", 2, _AS_IS),
    ("chains", "x_100", "plain request: chain of 100 targets, x one", 2, _AS_IS),
    ("chains", "x_1000", "plain request: chain of 1,000 targets, x one", 2, _AS_IS),
    ("open_streams", "cpu_us", "1,000 events/s of one stream, CPU us per event", 1, _AS_IS),
    ("open_streams", "x_10", "event: 10 streams open, x one", 2, _AS_IS),
    ("open_streams", "x_100", "event: 100 streams open, x one", 2, _AS_IS),
    ("open_streams", "x_1000", "event: 1,000 streams open, x one", 2, _AS_IS),
    ("idle", "cpu_us", "plain request beside idle clients, CPU us", 1, _AS_IS),
    ("idle", "x_alone", "the same, x without them", 2, _AS_IS),
    ("idle", "kb_per_connection", "kB per idle client", 1, _AS_IS),
    ("open", "kb_per_stream", "kB per open stream", 1, _AS_IS),
    ("cold", "idle_mb", "MB at rest", 0, _AS_IS),
    ("after", "mb", "MB after many requests", 0, _AS_IS),
    ("after", "grown_mb", "of which grown by them", 1, _AS_IS),
    ("after_streams", "mb", "MB after many streams", 0, _AS_IS),
    ("after_streams", "grown_mb", "of which grown by them", 1, _AS_IS),
    ("cold", "first_answer_s", "start to first answer, s", 3, _AS_IS),
    ("cold", "import_s", "of which imports, s", 3, _AS_IS),
    ("compile", "compile_ms", "config of 1,000 routes to a snapshot, ms", 0, _AS_IS),
    ("edit", "effect_p50_ms", "save to effect, ms, median", 0, _AS_IS),
    ("edit", "effect_p95_ms", "save to effect, ms, p95", 0, _AS_IS),
    ("reload", "pause_before_ms", "pause of the loop at rest, ms", 1, _AS_IS),
    ("reload", "pause_ms", "the same while 1,000 routes are reloaded", 1, _AS_IS),
    ("reload", "slowest_before_ms", "slowest answer at rest, ms", 1, _AS_IS),
    ("reload", "slowest_ms", "the same while 1,000 routes are reloaded", 1, _AS_IS),
)
_HEAD = ("", "nginx", "", "sidecar", "", "x nginx", "")


def table(results: Results) -> str:
    """Medians with the spread over the rounds (half of highest minus lowest), and ratios within a round."""
    rows = [_HEAD, *filter(None, (_row(results, *row) for row in _ROWS))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _row(results: Results, phase: str, figure: str, title: str, decimals: int, how: str) -> tuple[str, ...] | None:
    values = {
        subject: list(figures[figure]) for subject, figures in results.get(phase, {}).items() if figure in figures
    }
    alone = values.pop("direct", [])
    if how is _ADDED and alone:
        values = {
            subject: [value - base for value, base in zip(each, alone, strict=False)]
            for subject, each in values.items()
        }
    pairs = paired(values.get("sidecar", []), values.get("nginx", []))
    if how is _LATER:
        values = {"sidecar": [own - unit for own, unit in pairs]}
        pairs = []
    if not values.get("sidecar"):
        return None
    ratios = [own / unit for own, unit in pairs] if all(unit > 0 for _, unit in pairs) else []
    return (title, *_cell(values.get("nginx", []), decimals), *_cell(values["sidecar"], decimals), *_cell(ratios, 2))


def paired(own: Sequence[float], unit: Sequence[float]) -> list[tuple[float, float]]:
    """The values of each round; none if one of them lacks a round, for its faults."""
    return list(zip(own, unit, strict=True)) if len(own) == len(unit) else []


def _cell(values: Sequence[float], decimals: int) -> tuple[str, str]:
    if not values:
        return "-", ""
    spread = (max(values) - min(values)) / 2
    return f"{statistics.median(values):,.{decimals}f}", f"± {spread:,.{decimals}f}" if len(values) > 1 else ""


def interpreter() -> str:
    """Which Python it is, and whether it was built with profile-guided optimization: 20 to 30 % of it all."""
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    if "--enable-optimizations" in arguments:
        built = "built with PGO"
    elif os.path.realpath(sys.executable).startswith("/usr/bin/"):
        built = "the distribution's build; Debian and Ubuntu use PGO without saying so in CONFIG_ARGS"
    else:
        built = "built WITHOUT PGO: expect 20 to 30 % more CPU than with it"
    return f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}, {built}"


def loop_ms() -> float:
    """A fixed piece of Python, best of five: tells a slow hour or interpreter from a slow change."""

    def run_s() -> float:
        began = time.perf_counter()
        table: dict[str, int] = {}
        for number in range(100_000):
            table[str(number & 255)] = number
        return time.perf_counter() - began

    return 1000 * min(run_s() for _ in range(5))
