"""The benchmark works: every phase runs, and every request is answered rightly. No figure is judged here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent / "bench"
PHASES = {
    "cold",
    "open",
    "plain",
    "unix",
    "tls",
    "rate",
    "streams",
    "bursts",
    "prompt_100k",
    "prompt_1m",
    "translated",
    "translated_streams",
    "quiet",
    "compile",
    "failover",
    "after",
    "after_streams",
    "edit",
    "idle",
    "open_streams",
    "reload",
    "routes",
    "pools",
    "chains",
}

pytestmark = pytest.mark.skipif(
    not shutil.which("cc") or not shutil.which("make"), reason="needs a C compiler and make"
)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "bench.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)


def test_every_phase_runs_without_a_fault(tmp_path: Path) -> None:
    done = bench("--smoke", "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "figures.json").read_text())
    assert told["faults"] == 0
    assert set(told["phases"]) | {"tls"} == PHASES
    assert "tls" in told["phases"] or any("tls left out" in note for note in told["notes"])
    for phase, subjects in told["phases"].items():
        assert subjects["sidecar"], phase
    assert "plain request, CPU us" in done.stdout
    for aim in told["aims"]:
        assert (aim["held"] is None) == (aim["measured"] is None), aim
        assert aim["measured"] is None or aim["held"] == (aim["measured"] <= aim["most"]), aim
    plain = {subject: figures["cpu_us"][0] for subject, figures in told["phases"]["plain"].items()}
    ratio = plain["sidecar"] / plain["nginx"] if "nginx" in plain else None
    judged = {aim["aim"]: aim["measured"] for aim in told["aims"]}
    assert judged["plain request"] == (None if ratio is None else pytest.approx(ratio, abs=0.001))


def test_an_unknown_phase_is_refused_by_name() -> None:
    done = bench("--phases", "plain,plian")
    assert done.returncode == 2
    assert "no phase 'plian'" in done.stderr


@pytest.mark.parametrize("target", ["192.0.2.1:80", "0", "localhost"])
def test_the_generator_loads_nothing_but_this_machine(target: str) -> None:
    subprocess.run(["make", "-s", "-C", str(BENCH)], check=True, timeout=50)
    done = subprocess.run([BENCH / "build" / "load", target], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2
    assert "neither a port of 127.0.0.1 nor a path" in done.stderr


def test_the_generator_counts_what_goes_wrong() -> None:
    subprocess.run(["make", "-s", "-C", str(BENCH)], check=True, timeout=50)
    with subprocess.Popen([BENCH / "build" / "upstream", "-t", "20"], stdout=subprocess.PIPE, text=True) as upstream:
        assert upstream.stdout is not None
        answers, refuses = (upstream.stdout.readline().strip() for _ in range(2))
        load = [str(BENCH / "build" / "load"), "-c", "2", "-n", "20", "-w", "0", "-d", "5"]
        good, bad, unterminated = (
            json.loads(subprocess.run([*load, *more], capture_output=True, timeout=20, check=True).stdout)
            for more in ([answers], [refuses], ["-s", answers])
        )
        upstream.kill()
    assert (good["requests"], good["faults"]) == (20, 0)
    assert bad["requests"] == 0
    assert bad["faults"] >= 20
    assert unterminated["faults"] >= 20  # a whole answer where a stream with its end was due
