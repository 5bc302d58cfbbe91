"""What is measured of a proxy with a plain config: a table of loads, and the few things that are no load.

A phase gives figures, numbers by name; the report knows what each is called. CPU comes from the proxy
process's own clock, all threads: it is the figure that a busy machine disturbs least.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from rig import ROOT, Rig
from subjects import PLAIN, Place, Proxy, Sidecar, Variation

__all__ = [
    "LOADS",
    "LONG",
    "SCALES",
    "Figures",
    "Scale",
    "cold",
    "compiled",
    "cost",
    "direct",
    "edit",
    "loaded",
    "models",
    "rested",
]

Figures = dict[str, float]

_COST_LEAST_S = 0.1  # in less, a busy machine may answer nothing


@dataclass(frozen=True)
class Scale:
    """How long everything takes.

    Attributes:
        share: Of each load's full time.
        rounds: How often all is measured.
        long_rounds: In how many of them also what takes long.
        starts: Cold starts in a round, that of the loads among them.
        saves: Of the live edit.
        reloads: Of a large config.
        events: Of a stream.
        open_gap_ms: Between the events of the streams that are open at once.
        streams: That are open at once.
        requests: After which memory is read.
        ended: Streams after which memory is read.
        idle: Connections that stay open.
        sizes: Numbers of routes, of targets and of open streams whose cost is compared.
    """

    share: float
    rounds: int
    long_rounds: int
    starts: int
    saves: int
    reloads: int
    events: int
    open_gap_ms: int
    streams: int
    requests: int
    ended: int
    idle: int
    sizes: tuple[int, ...]


_SIZES = (1, 10, 100, 1000)
SCALES = {
    "full": Scale(1.0, 3, 2, 2, 50, 20, 50, 1000, 1000, 100_000, 10_000, 10_000, _SIZES),
    "quick": Scale(0.5, 1, 1, 2, 15, 5, 50, 1000, 1000, 8000, 1000, 2000, _SIZES),
    "smoke": Scale(0.06, 1, 1, 1, 2, 2, 4, 50, 50, 300, 50, 100, (1, 20)),
}


@dataclass(frozen=True)
class Load:
    """One kind of load.

    Attributes:
        seconds: Measured, at full scale.
        arguments: More of the generator's.
        model: Asked for; gives it for a scale.
        warm_s: Before it, not measured.
        ramp_s: Over which the first requests are spread.
        place: Where a proxy takes it.
        direct: Also put on the upstream alone, to know what the proxy adds.
        translated: The daemon is asked in another dialect than its provider; nginx, which knows none, is not.
    """

    seconds: float
    arguments: tuple[str, ...] = ()
    model: Callable[[Scale], str] = lambda scale: "answer"
    warm_s: float = 0.5
    ramp_s: float = 0.0
    place: Callable[[Proxy, str], Place] = lambda proxy, model: proxy.place(model)
    direct: bool = False
    translated: bool = False


def _steady(scale: Scale) -> str:
    return f"stream-{scale.events}-20"


def _open(scale: Scale) -> str:
    return f"stream-4-{scale.open_gap_ms}"


def _burst(scale: Scale) -> str:
    return "stream-100-0"


def _short(scale: Scale) -> str:
    return "stream-10-0"


LOADS = {
    # First of all, because what memory later loads leave behind would hide what streams need.
    "open": Load(3.2, ("-s",), _open, warm_s=0.0, ramp_s=0.4),
    "plain": Load(2.5, ("-c", "32")),
    "unix": Load(1.5, ("-c", "32"), place=lambda proxy, model: proxy.place(model, unix=True)),
    "rate": Load(3.0, ("-c", "64", "-r", "100"), direct=True),
    "streams": Load(2.5, ("-s", "-c", "200"), _steady, warm_s=1.0, ramp_s=0.8, direct=True),
    "bursts": Load(1.5, ("-s", "-c", "8"), _burst),
    "prompt_100k": Load(1.5, ("-b", "100000", "-c", "16")),
    "prompt_1m": Load(1.5, ("-b", "1000000", "-c", "8")),
    "translated": Load(1.5, ("-c", "32"), translated=True),
    "translated_streams": Load(2.5, ("-s", "-c", "200"), _steady, warm_s=1.0, ramp_s=0.8, translated=True),
    "failover": Load(1.5, ("-c", "32"), place=lambda proxy, model: proxy.failover()),
    # Last of all, when everything has been asked for once.
    "after": Load(100.0, ("-c", "32"), warm_s=0.0),
    "after_streams": Load(100.0, ("-s", "-c", "32"), _short, warm_s=0.0),
}
LONG = frozenset({"after", "after_streams"})  # once is enough


def models(scale: Scale) -> tuple[str, ...]:
    """All that the loads ask for."""
    return tuple(dict.fromkeys(load.model(scale) for load in LOADS.values()))


def _arguments(name: str, scale: Scale) -> list[str]:
    load = LOADS[name]
    seconds, warm_s, ramp_s = load.seconds * scale.share, load.warm_s * scale.share, load.ramp_s * scale.share
    arguments = ["-d", f"{seconds:.2f}", "-w", f"{warm_s:.2f}", "-u", f"{ramp_s:.2f}", *load.arguments]
    counts = {"open": ["-c", str(scale.streams)], "after": ["-n", str(scale.requests)]}
    counts["after_streams"] = ["-n", str(scale.ended)]
    return arguments + counts.get(name, [])


def loaded(proxy: Proxy, name: str, scale: Scale) -> Figures:
    """One load on a proxy: what it spent, how long the client waited, and the faults."""
    load, rig = LOADS[name], proxy.rig
    place = load.place(proxy, load.model(scale))
    if name == "open":  # what the first streams of a life make once is not to be counted as the others'
        rig.load(place.target, "-s", "-c", "8", "-n", "8", "-w", "0", "-m", _short(scale))
    accepted = rig.accepted()
    dialect = ["-a"] if load.translated and isinstance(proxy, Sidecar) else []
    told = rig.load(place.target, *_arguments(name, scale), *dialect, "-m", place.model, pid=proxy.pid)
    figures: Figures = {"faults": told["faults"]}
    if name == "open":
        grown_kb = told["most_kb"] - told["before_kb"]
        return figures | {"kb_per_stream": grown_kb * 1.024 / scale.streams}
    if name in LONG:
        grown_kb = told["after_kb"] - told["before_kb"]
        mb = {"mb": told["after_kb"] * 1.024 / 1000, "grown_mb": grown_kb * 1.024 / 1000}
        return figures | mb | {"answered": told["requests"]}
    if told["events"]:
        figures["cpu_us_per_event"] = told["cpu_us"] / told["events"]
    elif told["requests"]:
        figures["cpu_us"] = told["cpu_us"] / told["requests"]
    if name == "plain":
        figures["per_s"] = told["per_s"]
        figures["upstream_connections"] = rig.accepted() - accepted - 1  # one was asking for this number
    return figures | {key: value for key, value in told.items() if key.endswith(("p50_us", "p99_us"))}


def direct(rig: Rig, name: str, scale: Scale) -> Figures:
    """One load on the upstream without a proxy."""
    told = rig.load(str(rig.up), *_arguments(name, scale), "-m", LOADS[name].model(scale))
    return {key: value for key, value in told.items() if key.endswith(("p50_us", "p99_us")) or key == "faults"}


def cost(proxy: Proxy, place: Place, seconds: float, *, idle: int = 0) -> Figures:
    """CPU for each plain request of 32 connections that ask as fast as they can, beside some that are idle.

    Each idle one has asked once. The memory that they took is told, and one that was closed is a fault.
    """
    seconds = max(_COST_LEAST_S, seconds)
    length = ["-d", f"{seconds:.2f}", "-w", f"{seconds / 4:.2f}", "-c", "32"]
    told = proxy.rig.load(place.target, *length, "-i", str(idle), "-m", place.model, pid=proxy.pid)
    figures = {"cpu_us": told["cpu_us"] / max(1, told["requests"]), "faults": told["faults"] + idle - told["idle"]}
    return figures | ({"kb_per_connection": told["idle_kb"] * 1.024 / idle} if idle else {})


def rested(proxy: Proxy) -> Figures:
    """How a life began: the time to its first answer, and the memory when it then rests."""
    time.sleep(0.3)
    return {"first_answer_s": proxy.cold_s, "idle_mb": proxy.resident_mb}


def cold(proxy: Proxy, scale: Scale, begun: Figures) -> Figures:
    """The medians of how a life began that is over now, and of how some others do."""
    all_begun = [begun]
    for _ in range(scale.starts - 1):
        with proxy:
            all_begun.append(rested(proxy))
    figures = {name: statistics.median(each[name] for each in all_begun) for name in begun}
    if isinstance(proxy, Sidecar):
        figures["import_s"] = statistics.median(_import_s(proxy) for _ in range(scale.starts))
    return figures


def _import_s(proxy: Sidecar) -> float:
    """How long the daemon's modules take to import, beyond the bare interpreter's start."""

    def run_s(code: str) -> float:
        began = time.monotonic()
        process = proxy.rig.start(
            [sys.executable, "-c", code], core=proxy.rig.proxy_core, env=proxy.environment(), stdout=subprocess.DEVNULL
        )
        if process.wait(30):
            raise RuntimeError(f"{sys.executable} -c {code!r} failed with PYTHONPATH={ROOT}")
        return time.monotonic() - began

    bare_s = min(run_s("pass") for _ in range(2))
    return run_s("import sidecar.daemon") - bare_s


def compiled(proxy: Sidecar, scale: Scale) -> Figures:
    """How long a config of 1,000 routes takes from its text to a snapshot."""
    proxy.variation = Variation(routes=scale.sizes[-1])
    try:
        path = proxy.write()
    finally:
        proxy.variation = PLAIN
    code = (
        "import time; from sidecar.sources.configuration import ConfigurationManager as C; import sys; "
        "config = C(sys.argv[1], environ={}); config.load(); began = time.perf_counter(); config.load(); "
        "print(1000 * (time.perf_counter() - began))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        env=proxy.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {"compile_ms": float(done.stdout)}


def edit(proxy: Sidecar, scale: Scale) -> Figures:
    """Saves the config while a client asks, until each time an answer comes from where the edit says."""
    effects_ms, faults = [], 0
    pause = random.Random(1)  # so that saves do not march in step with the daemon's own looks
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    with contextlib.closing(connection):
        for _ in range(scale.saves):
            time.sleep(pause.uniform(0.02, 0.12))
            saved = proxy.save()
            answered, wrong = proxy.await_effect(connection)
            faults += wrong
            effects_ms.append(1000 * (answered - saved))
    ordered = sorted(effects_ms)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return {"effect_p50_ms": statistics.median(ordered), "effect_p95_ms": p95, "faults": faults}
