"""What is measured: a table of loads, and the few things that are no load.

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

from subjects import ROOT, Place, Proxy, Rig, Sidecar, chat

__all__ = [
    "LOADS",
    "MODELS",
    "PHASES",
    "SCALES",
    "VARIANTS",
    "Figures",
    "Scale",
    "cold",
    "compiled",
    "direct",
    "edit",
    "loaded",
    "variant",
]

Figures = dict[str, float]

_STEADY, _OPEN, _BURST = "stream-50-20", "stream-4-500", "stream-100-0"
MODELS = ("answer", _STEADY, _OPEN, _BURST)


@dataclass(frozen=True)
class Scale:
    """How long everything takes.

    Attributes:
        share: Of each load's full time.
        rounds: How often all is measured.
        starts: Cold starts in a round.
        saves: Of the live edit.
        streams: That are open at once.
        requests: After which memory is read.
    """

    share: float
    rounds: int
    starts: int
    saves: int
    streams: int
    requests: int


SCALES = {
    "full": Scale(share=1.0, rounds=3, starts=2, saves=50, streams=1000, requests=100000),
    "quick": Scale(share=0.5, rounds=1, starts=2, saves=15, streams=1000, requests=8000),
    "smoke": Scale(share=0.06, rounds=1, starts=1, saves=2, streams=50, requests=300),
}


@dataclass(frozen=True)
class Load:
    """One kind of load.

    Attributes:
        seconds: Measured, at full scale.
        arguments: More of the generator's.
        model: Asked for.
        warm_s: Before it, not measured.
        ramp_s: Over which the first requests are spread.
        place: Where a proxy takes it.
        direct: Also put on the upstream alone, to know what the proxy adds.
        translated: The daemon is asked in another dialect than its provider; nginx, which knows none, is not.
    """

    seconds: float
    arguments: tuple[str, ...] = ()
    model: str = "answer"
    warm_s: float = 0.5
    ramp_s: float = 0.0
    place: Callable[[Proxy, str], Place] = lambda proxy, model: proxy.place(model)
    direct: bool = False
    translated: bool = False


LOADS = {
    # First of all, because what memory later loads leave behind would hide what streams need.
    "open": Load(2.2, ("-s",), _OPEN, warm_s=0.0, ramp_s=0.4),
    "plain": Load(2.5, ("-c", "32")),
    "unix": Load(1.5, ("-c", "32"), place=lambda proxy, model: proxy.place(model, unix=True)),
    "rate": Load(3.0, ("-c", "64", "-r", "100"), direct=True),
    "streams": Load(2.5, ("-s", "-c", "200"), _STEADY, warm_s=1.0, ramp_s=0.8, direct=True),
    "bursts": Load(1.5, ("-s", "-c", "8"), _BURST),
    "prompt_100k": Load(1.5, ("-b", "100000", "-c", "16")),
    "prompt_1m": Load(1.5, ("-b", "1000000", "-c", "8")),
    "translated": Load(1.5, ("-c", "32"), translated=True),
    "translated_streams": Load(2.5, ("-s", "-c", "200"), _STEADY, warm_s=1.0, ramp_s=0.8, translated=True),
    "failover": Load(1.5, ("-c", "32"), place=lambda proxy, model: proxy.failover()),
    "after": Load(60.0, ("-c", "32"), warm_s=0.0),
}
# What needs a life of its own: how its config differs, and the model that is asked for.
VARIANTS: dict[str, tuple[str, int, str]] = {
    "quiet": ("log: {level: error}", 0, "answer"),
    "routes_1000": ("", 1000, "route-999"),
}
PHASES = ("cold", *LOADS, *VARIANTS, "compile", "edit")


def _arguments(name: str, scale: Scale) -> list[str]:
    load = LOADS[name]
    seconds, warm_s, ramp_s = load.seconds * scale.share, load.warm_s * scale.share, load.ramp_s * scale.share
    arguments = ["-d", f"{seconds:.2f}", "-w", f"{warm_s:.2f}", "-u", f"{ramp_s:.2f}", *load.arguments]
    if name == "open":
        arguments += ["-c", str(scale.streams)]
    if name == "after":
        arguments += ["-n", str(scale.requests)]
    return arguments


def loaded(proxy: Proxy, name: str, scale: Scale) -> Figures:
    """One load on a proxy: what it spent, how long the client waited, and the faults."""
    load, rig = LOADS[name], proxy.rig
    place = load.place(proxy, load.model)
    accepted = rig.accepted()
    dialect = ["-a"] if load.translated and isinstance(proxy, Sidecar) else []
    told = rig.load(place.target, *_arguments(name, scale), *dialect, "-m", place.model, pid=proxy.pid)
    figures: Figures = {"faults": told["faults"]}
    if name == "open":
        grown_kb = told["most_kb"] - told["before_kb"]
        return figures | {"kb_per_stream": grown_kb * 1.024 / scale.streams}
    if name == "after":
        return figures | {"mb": told["after_kb"] * 1.024 / 1000}
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
    told = rig.load(str(rig.up), *_arguments(name, scale), "-m", LOADS[name].model)
    return {key: value for key, value in told.items() if key.endswith(("p50_us", "p99_us")) or key == "faults"}


def cold(proxy: Proxy, scale: Scale) -> Figures:
    """Starts it several times: to the first answer, and the memory when it then rests."""
    answered_s, resident_mb = [], []
    for _ in range(scale.starts):
        with proxy:
            time.sleep(0.3)
            answered_s.append(proxy.cold_s)
            resident_mb.append(proxy.resident_mb)
    figures = {"first_answer_s": statistics.median(answered_s), "idle_mb": statistics.median(resident_mb)}
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


def variant(proxy: Sidecar, name: str, scale: Scale) -> Figures:
    """Plain requests to a daemon whose config differs."""
    more, routes, model = VARIANTS[name]
    proxy.vary(more, routes)
    try:
        with proxy:
            told = proxy.rig.load(str(proxy.port), *_arguments("plain", scale), "-m", model, pid=proxy.pid)
    finally:
        proxy.vary("", 0)
    return {"cpu_us": told["cpu_us"] / max(1, told["requests"]), "faults": told["faults"]}


def compiled(proxy: Sidecar) -> Figures:
    """How long a config of 1,000 routes takes from its text to a snapshot."""
    proxy.vary("", 1000)
    try:
        path = proxy.write()
    finally:
        proxy.vary("", 0)
    code = (
        "import time; from sidecar.sources.configuration import ConfigurationManager as C; import sys; "
        "config = C(sys.argv[1], environ={}); config.load(); began = time.perf_counter(); config.load(); "
        "print(1000 * (time.perf_counter() - began))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env=proxy.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {"compile_ms": float(done.stdout)}


def edit(proxy: Sidecar, scale: Scale) -> Figures:
    """Saves the config while a client asks, until each time an answer comes from where the edit says.

    Raises:
        RuntimeError: When an edit has no effect.
    """
    effects_ms, faults = [], 0
    pause = random.Random(1)  # so that saves do not march in step with the daemon's own looks
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    with contextlib.closing(connection):
        for number in range(1, scale.saves + 1):
            time.sleep(pause.uniform(0.02, 0.12))
            saved = proxy.save(number)
            while True:
                response = chat(connection, "edited")
                answered = time.monotonic()
                faults += response.status != 200
                if response.headers["x-sidecar-target"] == f"up/edit-{number}":
                    break
                if answered - saved > 10:
                    raise RuntimeError(f"edit {number} has no effect after 10 s")
                time.sleep(0.001)
            effects_ms.append(1000 * (answered - saved))
    ordered = sorted(effects_ms)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return {"effect_p50_ms": statistics.median(ordered), "effect_p95_ms": p95, "faults": faults}
