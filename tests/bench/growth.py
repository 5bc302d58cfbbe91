"""What is measured of a proxy that has much to hold, or whose config is another: its cost shall stay flat.

Many routes, many targets, many open streams, many idle clients; an upstream behind TLS; no log lines; and
a large config that is saved again and again. All of it in one life of the proxy, whose config is edited
from phase to phase. Costs are the least of several short loads: what else runs on a machine only adds.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from phases import Figures, Scale, cost
from rig import Rig
from subjects import Proxy, Sidecar, Variation

__all__ = ["GROWTH", "beginning", "least_files", "measured", "models", "settle"]

_EVENTS_PER_S, _RAMP_S, _WARM_S, _COUNTED_S = 1000, 1.5, 2.0, 1.5
_LAG = "sidecar_loop_lag_seconds"
_LAG_FORGOTTEN_S = 31.0
_LAG_AT_REST_MS = 10.0


def beginning(rig: Rig, scale: Scale) -> Variation:
    """The config that the life begins with."""
    return Variation(secure=rig.tls is not None, connections=2 * scale.idle + 1000)


def least_files(scale: Scale) -> int:
    """How many files a process must be allowed to open, that no connection of the phase `idle` is refused.

    The daemon leaves a quarter of its descriptors to what its clients ask for.
    """
    return (scale.idle + 200) * 4 // 3


def models(scale: Scale) -> tuple[str, ...]:
    """All that the phases ask for beside `answer`."""
    return tuple(_lasting(size, scale) for size in scale.sizes)


def _lasting(size: int, scale: Scale) -> str:
    """The stream of which so many together make the rate, and that outlasts the counting."""
    gap_ms = 1000 * size // _EVENTS_PER_S
    lasts_s = (_WARM_S + _COUNTED_S) * scale.share + 0.3
    return f"stream-{int(1000 * lasts_s / gap_ms) + 2}-{gap_ms}"


def _sizes_of(scale: Scale, least: Callable[[int], float]) -> Figures:
    """The cost at the least size, and that at the others as multiples of it."""
    costs = {size: least(size) for size in scale.sizes}
    first = costs[scale.sizes[0]] or 1.0
    times = {f"x_{size}": costs[size] / first for size in scale.sizes[1:]}
    return {"cpu_us": first, **times, "x_most": times[f"x_{scale.sizes[-1]}"]}


def _quiet(proxy: Proxy, scale: Scale) -> Figures:
    """Plain requests that write no line."""
    assert isinstance(proxy, Sidecar)
    proxy.change(Variation(quiet=True))
    return cost(proxy, proxy.place("answer"), 1.5 * scale.share)


def _tls(proxy: Proxy, scale: Scale) -> Figures:
    """Plain requests that go to an upstream behind TLS, over connections that stay open."""
    if isinstance(proxy, Sidecar):
        proxy.change(beginning(proxy.rig, scale))
    return cost(proxy, proxy.encrypted(), 1.5 * scale.share)


def _idle(proxy: Proxy, scale: Scale) -> Figures:
    """Plain requests beside connections that each asked once and stay open."""
    place, seconds = proxy.place("answer"), 1.5 * scale.share
    alone = cost(proxy, place, seconds)
    beside = cost(proxy, place, seconds, idle=scale.idle)
    faults = alone.pop("faults") + beside.pop("faults")
    return beside | {"x_alone": beside["cpu_us"] / (alone["cpu_us"] or 1.0), "faults": faults}


def _routes(proxy: Proxy, scale: Scale) -> Figures:
    """Plain requests to the last of many routes."""
    assert isinstance(proxy, Sidecar)
    faults = 0.0
    costs: dict[int, list[float]] = {size: [] for size in scale.sizes}
    for size in (*scale.sizes, *reversed(scale.sizes)):
        proxy.change(Variation(routes=size))
        told = cost(proxy, proxy.place(f"route-{size - 1}"), 0.6 * scale.share)
        costs[size].append(told["cpu_us"])
        faults += told["faults"]
    return _sizes_of(scale, lambda size: min(costs[size])) | {"faults": faults}


def _targets(kind: str) -> Callable[[Proxy, Scale], Figures]:
    """Plain requests to a pool of many targets, or to a chain whose first is well."""

    def phase(proxy: Proxy, scale: Scale) -> Figures:
        assert isinstance(proxy, Sidecar)
        proxy.change(Variation(targets=scale.sizes))
        faults = 0.0
        costs: dict[int, list[float]] = {size: [] for size in scale.sizes}
        for _ in range(3):
            for size in scale.sizes:
                told = cost(proxy, proxy.place(f"{kind}-{size}"), 0.4 * scale.share)
                costs[size].append(told["cpu_us"])
                faults += told["faults"]
        return _sizes_of(scale, lambda size: min(costs[size])) | {"faults": faults}

    return phase


def _open_streams(proxy: Proxy, scale: Scale) -> Figures:
    """Events at one rate in all, in few streams or many; while they are counted, no stream begins or ends."""
    ramp_s, warm_s, seconds = (part * scale.share for part in (_RAMP_S, _WARM_S, _COUNTED_S))
    faults = 0.0

    def least(size: int) -> float:
        nonlocal faults
        length = ["-u", f"{ramp_s:.2f}", "-w", f"{warm_s:.2f}", "-d", f"{seconds:.2f}", "-c", str(size)]
        told = proxy.rig.load(str(proxy.port), *length, "-s", "-m", _lasting(size, scale), pid=proxy.pid)
        faults += told["faults"]
        return float(told["cpu_us"] / max(1, told["events"]))

    return _sizes_of(scale, least) | {"faults": faults}


def _reload(proxy: Proxy, scale: Scale) -> Figures:
    """A large config is saved again and again under 100 requests a second: whatever holds the loop delays them."""
    assert isinstance(proxy, Sidecar)
    proxy.change(Variation(routes=scale.sizes[-1]))
    rest_s = 3.0 * scale.share
    give_up = time.monotonic() + _LAG_FORGOTTEN_S * scale.share
    while True:  # what came before is to be forgotten
        rest = _asked(proxy, rest_s)
        pause_before_ms = 1000 * proxy.metric(_LAG)
        if pause_before_ms < _LAG_AT_REST_MS or time.monotonic() > give_up:
            break
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(_asked, proxy, scale.reloads * 0.5)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)) as connection:
            for _ in range(scale.reloads):
                saved = proxy.save()
                answered, _ = proxy.await_effect(connection)
                time.sleep(max(0.0, 0.4 - (answered - saved)))
        told = asking.result()
    return {
        "pause_ms": 1000 * proxy.metric(_LAG),
        "pause_before_ms": pause_before_ms,
        "slowest_ms": told["whole_most_us"] / 1000,
        "slowest_before_ms": rest["whole_most_us"] / 1000,
        "faults": rest["faults"] + told["faults"],
    }


def _asked(proxy: Proxy, seconds: float) -> Figures:
    load = ["-c", "64", "-r", "100", "-w", "0", "-d", f"{seconds:.2f}"]
    return proxy.rig.load(str(proxy.port), *load, "-m", "answer", pid=proxy.pid)


@dataclass(frozen=True)
class Phase:
    """One of them.

    Attributes:
        measure: Gives its figures.
        both: nginx is measured, too.
        long: Not in every round.
    """

    measure: Callable[[Proxy, Scale], Figures]
    both: bool = False
    long: bool = True


# In this order: memory before much was allocated, the loop's lag when nothing has filled the loop.
GROWTH = {
    "idle": Phase(_idle, both=True),
    "open_streams": Phase(_open_streams, both=True),
    "reload": Phase(_reload),
    "tls": Phase(_tls, both=True, long=False),
    "quiet": Phase(_quiet, long=False),
    "routes": Phase(_routes),
    "pools": Phase(_targets("pool")),
    "chains": Phase(_targets("chain")),
}


def settle(proxy: Proxy) -> None:
    """Have a new life do what it does once: the first scrape imports what writes the metrics, on the loop."""
    if isinstance(proxy, Sidecar):
        proxy.metric(_LAG)


def measured(proxy: Proxy, name: str, scale: Scale) -> Figures:
    """The figures of one phase."""
    return GROWTH[name].measure(proxy, scale)
