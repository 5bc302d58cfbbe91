#!/usr/bin/env python3
"""What a proxied request costs, beside nginx in the same run as the unit of measure.

    bench.py [--quick] [--rounds N] [--phases plain,streams] [--json FILE]

Needs a C compiler and make; nginx if there shall be ratios. README.md beside it tells how to read the table.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import phases
import report
from subjects import BENCH, Nginx, Proxy, Rig, Sidecar

Values = defaultdict[str, defaultdict[str, defaultdict[str, list[float]]]]


def main() -> int:
    """Run it; 1 when an answer was wrong or missing."""
    options = _options()
    scale = phases.SCALES[options.scale]
    if options.rounds:
        scale = replace(scale, rounds=options.rounds)
    wanted = options.phases
    _build()
    machine = _machine()
    for line in machine.values():
        print(line)
    began = time.monotonic()
    values = _measure(scale, wanted)
    faulty = _faulty(values)
    faults = sum(count for _, _, count in faulty)
    print(f"\n{report.table(values)}\n")
    for phase, subject, count in faulty:
        print(f"FAULTS: {count:.0f} in phase {phase} with {subject}; its figures mean nothing")
    print(f"faults: {faults:.0f}; {scale.rounds} round(s), {time.monotonic() - began:.0f} s")
    if options.json:
        told = {"machine": machine, "scale": options.scale, "rounds": scale.rounds, "faults": faults, "phases": values}
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    return 1 if faults else 0


def _measure(scale: phases.Scale, wanted: list[str]) -> Values:
    values: Values = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))

    def note(phase: str, subject: str, figures: phases.Figures) -> None:
        told = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items())
        print(f"  {phase:12} {subject:8} {told}", file=sys.stderr, flush=True)
        for name, value in figures.items():
            values[phase][subject][name].append(value)

    with Rig() as rig:
        sidecar = Sidecar(rig, phases.MODELS)
        subjects: list[Proxy] = [sidecar] if Nginx.program is None else [Nginx(rig), sidecar]
        if "cold" in wanted and scale.starts > 1:
            for subject in subjects:
                with subject:  # once unmeasured: byte code gets compiled, files get into memory
                    pass
        for number in range(scale.rounds):
            print(f"round {number + 1} of {scale.rounds}", file=sys.stderr)
            for name in [name for name in wanted if name in phases.LOADS and phases.LOADS[name].direct]:
                note(name, "direct", phases.direct(rig, name, scale))
            for subject in subjects if number % 2 == 0 else subjects[::-1]:
                if "cold" in wanted:
                    note("cold", subject.name, phases.cold(subject, scale))
                with subject:
                    for name in [name for name in phases.LOADS if name in wanted and (name != "after" or number == 0)]:
                        note(name, subject.name, phases.loaded(subject, name, scale))
                    if "edit" in wanted and subject is sidecar and number == 0:
                        note("edit", subject.name, phases.edit(sidecar, scale))
            for name in [name for name in phases.VARIANTS if name in wanted]:
                note(name, sidecar.name, phases.variant(sidecar, name, scale))
            if "compile" in wanted:
                note("compile", sidecar.name, phases.compiled(sidecar))
    return values


def _faulty(values: Values) -> list[tuple[str, str, float]]:
    counted = [
        (phase, subject, sum(figures["faults"]))
        for phase, subjects in values.items()
        for subject, figures in subjects.items()
        if "faults" in figures
    ]
    return [each for each in counted if each[2]]


def _machine() -> dict[str, str]:
    cores = len(os.sched_getaffinity(0))
    shared = "" if cores > 1 else ", SHARED by proxy and load: only CPU figures mean something"
    unit = Nginx.program or "not installed: no ratios"
    return {
        "python": f"python: {report.interpreter()}",
        "loop": f"fixed loop of Python: {report.loop_ms():.1f} ms",
        "cores": f"cores: {cores}{shared}; load average {os.getloadavg()[0]:.1f} before the run",
        "nginx": f"nginx: {unit}",
    }


def _build() -> None:
    compiler = os.environ.get("CC", "cc")
    missing = [program for program in ("make", compiler) if shutil.which(program) is None]
    if missing:
        sys.exit(f"bench: {' and '.join(missing)} missing; Debian: apt install build-essential")
    subprocess.run(["make", "-s", "-C", str(BENCH), f"CC={compiler}"], check=True, timeout=120)


def _options() -> Any:
    parser = argparse.ArgumentParser(description="What a proxied request costs, as a ratio to nginx.")
    parser.add_argument("--quick", dest="scale", action="store_const", const="quick", help="one short round")
    parser.add_argument("--smoke", dest="scale", action="store_const", const="smoke", help="only whether it works")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often all is measured, in alternating order")
    parser.add_argument("--phases", type=_phases, default=list(phases.PHASES), help=", ".join(phases.PHASES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there")
    parser.set_defaults(scale="full")
    return parser.parse_args()


def _phases(text: str) -> list[str]:
    wanted = text.split(",")
    unknown = [name for name in wanted if name not in phases.PHASES]
    if unknown:
        raise argparse.ArgumentTypeError(f"no phase {unknown[0]!r}; there are {', '.join(phases.PHASES)}")
    return wanted


if __name__ == "__main__":
    sys.exit(main())
