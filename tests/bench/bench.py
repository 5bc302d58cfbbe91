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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import aims
import growth
import phases
import report
from rig import BENCH, Rig
from subjects import PLAIN, Nginx, Proxy, Sidecar

PHASES = ("cold", *phases.LOADS, *growth.GROWTH, "compile", "edit")

Values = defaultdict[str, defaultdict[str, defaultdict[str, list[float]]]]


def main() -> int:
    """Run it; 1 when an answer was wrong or missing."""
    options = _options()
    scale = phases.SCALES[options.scale]
    if options.rounds:
        scale = replace(scale, rounds=options.rounds)
    _build()
    machine = _machine()
    for line in machine.values():
        print(line)
    began = time.monotonic()
    with Rig() as rig:
        run = Run(rig, scale, options.phases)
        run.all()
    faulty = _faulty(run.values)
    faults = sum(count for _, _, count in faulty)
    judged = aims.verdicts(run.values)
    print(f"\n{report.table(run.values)}\n\n{aims.told(judged)}\n")
    for note in run.notes:
        print(f"note: {note}")
    for phase, subject, count in faulty:
        print(f"FAULTS: {count:.0f} in phase {phase} with {subject}; its figures mean nothing")
    print(f"faults: {faults:.0f}; {scale.rounds} round(s), {time.monotonic() - began:.0f} s")
    if options.json:
        told = {"machine": machine, "scale": options.scale, "rounds": scale.rounds, "faults": faults}
        told |= {"notes": run.notes, "aims": [asdict(each) for each in judged], "phases": run.values}
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    return 1 if faults else 0


class Run:
    """All that is measured, in the order in which it is.

    Attributes:
        values: phase -> subject -> figure -> one value for each round.
        notes: What was left out or made smaller, and why.
    """

    def __init__(self, rig: Rig, scale: phases.Scale, wanted: list[str]) -> None:
        self.values: Values = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        self.notes: list[str] = []
        self._rig, self._wanted, self._began = rig, list(wanted), time.monotonic()
        self._scale = self._fit(scale)
        names = dict.fromkeys((*phases.models(self._scale), *growth.models(self._scale)))
        self._sidecar = Sidecar(rig, tuple(names))
        self._subjects: list[Proxy] = [self._sidecar] if Nginx.program is None else [Nginx(rig), self._sidecar]

    def all(self) -> None:
        """Every round."""
        if "cold" in self._wanted and self._scale.starts > 1:
            for subject in self._subjects:
                with subject:  # once unmeasured: byte code gets compiled, files get into memory
                    pass
        for number in range(self._scale.rounds):
            print(f"round {number + 1} of {self._scale.rounds}", file=sys.stderr)
            self._round(number)

    def _fit(self, scale: phases.Scale) -> phases.Scale:
        """What this machine allows of it."""
        if "tls" in self._wanted:
            self._rig.add_tls()
            if self._rig.no_tls is not None:
                self._wanted.remove("tls")
                self.notes.append(f"phase tls left out: {self._rig.no_tls}")
        if "idle" in self._wanted and self._rig.files < growth.least_files(scale):
            fewer = replace(scale, idle=max(1, self._rig.files * 3 // 4 - 200))
            self.notes.append(f"{fewer.idle} idle connections: a process may open {self._rig.files} files only")
            return fewer
        return scale

    def _round(self, number: int) -> None:
        subjects = self._subjects if number % 2 == 0 else self._subjects[::-1]
        for name in [name for name, load in phases.LOADS.items() if load.direct and name in self._wanted]:
            self._note(name, "direct", phases.direct(self._rig, name, self._scale))
        for subject in subjects:
            self._plain_life(subject, number)
        for subject in subjects:
            self._varied_life(subject, number)
        if "compile" in self._wanted:
            self._note("compile", "sidecar", phases.compiled(self._sidecar, self._scale))

    def _plain_life(self, subject: Proxy, number: int) -> None:
        scale = self._scale
        loads = [name for name in phases.LOADS if name in self._wanted and (name not in phases.LONG or number == 0)]
        edited = "edit" in self._wanted and subject is self._sidecar and number == 0
        if not (loads or edited or "cold" in self._wanted):
            return
        with subject:
            begun = phases.rested(subject)
            for name in loads:
                self._note(name, subject.name, phases.loaded(subject, name, scale), subject)
            if edited:
                self._note("edit", subject.name, phases.edit(self._sidecar, scale), subject)
        if "cold" in self._wanted:
            self._note("cold", subject.name, phases.cold(subject, scale, begun))

    def _varied_life(self, subject: Proxy, number: int) -> None:
        wanted = [
            name
            for name, phase in growth.GROWTH.items()
            if name in self._wanted
            and (phase.both or subject is self._sidecar)
            and (not phase.long or number < self._scale.long_rounds)
        ]
        if not wanted:
            return
        subject.variation = growth.beginning(self._rig, self._scale)
        with subject:
            growth.settle(subject)
            for name in wanted:
                self._note(name, subject.name, growth.measured(subject, name, self._scale), subject)
        subject.variation = PLAIN

    def _note(self, phase: str, subject: str, figures: phases.Figures, proxy: Proxy | None = None) -> None:
        told = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items())
        past_s = time.monotonic() - self._began
        print(f"{past_s:4.0f} s  {phase:18} {subject:8} {told}", file=sys.stderr, flush=True)
        for name, value in figures.items():
            self.values[phase][subject][name].append(value)
        if proxy is not None and figures.get("faults") and (complaint := proxy.complaint()):
            self.notes.append(f"{phase} with {subject}: {complaint}")


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
    parser.add_argument("--phases", type=_phases, default=list(PHASES), help=", ".join(PHASES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there")
    parser.set_defaults(scale="full")
    return parser.parse_args()


def _phases(text: str) -> list[str]:
    wanted = text.split(",")
    unknown = [name for name in wanted if name not in PHASES]
    if unknown:
        raise argparse.ArgumentTypeError(f"no phase {unknown[0]!r}; there are {', '.join(PHASES)}")
    return wanted


if __name__ == "__main__":
    sys.exit(main())
