"""Checks of all providers: in parallel, bounded, free; and when which is due."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import pytest

from sidecar import ConfigurationManager
from sidecar.manager.checks import Checks, groups
from sidecar.model.topology import Provider
from sidecar.routing.health import HealthBook
from tests.fake_provider import FakeProvider, model_list, ok, silence, status
from tests.manager.managing import HI, Managed, listed

CHAIN = "routes: {default: {chain: [a, b]}}\n"


async def test_every_provider_is_told(a: FakeProvider, b: FakeProvider) -> None:
    b.models_status = 500
    async with Managed(listed(a=a, b=b, c=b, d=a).replace("key-of-d, model: m", "key-of-d") + CHAIN) as managed:
        assert await managed.manager.health_check_all() == {"a": True, "b": False, "c": False, "d": True}
        probes = managed.lines("attempt", selection="probe")
    assert [request.path for request in a.requests] == ["/v1/models"] * 2
    assert a.requests[0].headers["authorization"] == "Bearer key-of-a"
    assert not a.calls + b.calls
    assert sorted((line["provider"], line["outcome"]) for line in probes) == [
        ("a", "ok"),
        ("b", "failed"),
        ("c", "failed"),
        ("d", "ok"),
    ]


@pytest.mark.parametrize(
    ("models_status", "healthy"), [(200, True), (401, False), (403, False), (404, True), (429, True), (503, False)]
)
async def test_what_a_status_means(a: FakeProvider, b: FakeProvider, models_status: int, healthy: bool) -> None:
    a.models_status = models_status
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        assert (await managed.manager.health_check_all())["a"] is healthy


async def test_without_a_list_it_only_connects_from_then_on(a: FakeProvider, b: FakeProvider) -> None:
    a.models_status = 404
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        for _ in range(3):
            assert (await managed.manager.health_check_all())["a"] is True
        assert len(a.requests) == 1
        assert len(managed.lines("health.downgraded")) == 1
        await a.down()
        assert (await managed.manager.health_check_all())["a"] is False
        await a.up()
        assert await managed.manager.reset_provider("a")
        assert len(a.requests) == 2  # a reset looks for the list again


async def test_what_is_down_or_silent_is_unhealthy_within_its_time(a: FakeProvider, b: FakeProvider) -> None:
    await a.down()
    b.on_models(silence())
    config = "health: {timeout: 200ms}\n" + listed(a=a, b=b) + CHAIN
    async with Managed(config) as managed:
        began = monotonic()
        assert await managed.manager.health_check_all() == {"a": False, "b": False}
    assert monotonic() - began < 4


async def test_a_provider_without_a_key_is_not_asked(a: FakeProvider) -> None:
    config = f"""providers:
  a: {{type: openai, base_url: "{a.base_url}", api_key: "", model: m}}
routes: {{default: {{chain: [a]}}}}
"""
    async with Managed(config) as managed:
        assert await managed.manager.health_check_all() == {"a": False}
    assert not a.requests


async def test_checks_that_are_off_ask_nobody(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed('health: {mode: "off"}\n' + listed(a=a, b=b) + CHAIN) as managed:
        assert await managed.manager.health_check_all() == {"a": True, "b": True}
    assert not a.requests + b.requests


async def test_bad_checks_in_a_row_move_traffic_and_a_good_one_begins_to_bring_it_back(
    a: FakeProvider, b: FakeProvider
) -> None:
    a.models_status = 503
    config = "health: {fall: 2, rise: 1}\n" + listed(a=a, b=b) + CHAIN
    async with Managed(config) as managed:
        manager = managed.manager
        await manager.health_check_all()
        assert (await manager.chat(HI)).provider == "a"
        manager.book.find("a/m").last_success_at = None  # as if its traffic were long ago
        await manager.health_check_all()
        await manager.health_check_all()
        assert (await manager.chat(HI)).provider == "b"
        a.models_status = 200
        await manager.health_check_all()
        assert (await manager.chat(HI)).provider == "a"


async def test_the_checks_run_by_themselves_until_cancelled(a: FakeProvider, b: FakeProvider) -> None:
    a.on_models(status(503), model_list())
    config = "health: {interval: 10s, unhealthy_interval: 50ms}\n" + listed(a=a, b=b) + CHAIN
    async with Managed(config) as managed:
        task = asyncio.create_task(managed.manager.run_health_checks())
        await a.wait_for(lambda fake: len(fake.requests) >= 2, 5.0)  # soon again after a bad one
        await b.wait_for(lambda fake: len(fake.requests) == 1, 5.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not a.calls + b.calls


# -- when which is due


CONFIG = """
health: {interval: 30s, unhealthy_interval: 5s, jitter: 0}
providers:
  a: {type: openai-compatible, base_url: "http://127.0.0.1:1/v1", api_key: one, model: m}
  twin: {type: openai-compatible, base_url: "http://127.0.0.1:1/v1", api_key: one, model: n}
  other_key: {type: openai-compatible, base_url: "http://127.0.0.1:1/v1", api_key: two, model: m}
  unasked: {type: openai-compatible, base_url: "http://127.0.0.1:2/v1", health: {mode: "off"}}
routes: {default: {chain: [a, twin, other_key]}}
"""


class Looked:
    """Checks that only note whom they look at."""

    def __init__(self) -> None:
        self.snapshot = ConfigurationManager.from_text(CONFIG, environ={}).load()
        self.book = HealthBook(lambda: 0.0)
        self.book.adopt(self.snapshot, 0.0)
        self.seen: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.checks = Checks(lambda: self.snapshot, self.book, self.look, lambda: 0.0)

    async def look(self, providers: Sequence[Provider]) -> None:
        self.seen.append([provider.name for provider in providers])
        await self.gate.wait()


def test_one_check_serves_all_that_share_address_and_key() -> None:
    named = [[provider.name for provider in group] for group in groups(Looked().snapshot).values()]
    assert named == [["a", "twin"], ["other_key"]]


@pytest.mark.parametrize(
    ("mode", "twin", "together"),
    [
        ("models", "model: n", True),
        ("models", "model: m, tls: {ca_file: /ca.pem}", False),
        ("models", "model: m, transport: aiohttp", False),
        ("completion", "model: m", True),
        ("completion", "model: n", False),
    ],
)
def test_a_check_speaks_for_those_it_would_be_the_same_for(
    mode: str, twin: str, together: bool, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("certificate")
    entry = 'type: openai-compatible, base_url: "https://127.0.0.1:1/v1", api_key: one'
    config = f"""
health: {{mode: {mode}}}
providers:
  a: {{{entry}, model: m}}
  twin: {{{entry}, {twin.replace("/ca.pem", str(tmp_path / "ca.pem"))}}}
routes: {{default: {{chain: [a, twin]}}}}
"""
    found = groups(ConfigurationManager.from_text(config, environ={}).load())
    assert len(found) == (1 if together else 2)


async def test_the_time_of_the_next_check_is_known() -> None:
    looked = Looked()
    assert looked.checks.due_in("a", monotonic()) is None  # nobody checks
    task = asyncio.create_task(looked.checks.run(tick_s=0.001))
    async with asyncio.timeout(5):
        while not looked.checks.due_in("a", monotonic()):
            await asyncio.sleep(0.001)
    assert 20 < (looked.checks.due_in("twin", monotonic()) or 0) <= 30
    assert looked.checks.due_in("unasked", monotonic()) is None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_running_check_is_not_begun_again_and_a_failing_one_ends_nothing() -> None:
    looked = Looked()
    looked.gate.clear()
    task = asyncio.create_task(looked.checks.run(tick_s=0.001))
    await asyncio.sleep(0.05)
    assert looked.seen == [["a", "twin"], ["other_key"]]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_live_traffic_replaces_a_check() -> None:
    looked = Looked()
    for state in looked.book.of_provider("other_key"):
        state.last_success_at = monotonic()
    task = asyncio.create_task(looked.checks.run(tick_s=0.001))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert looked.seen == [["a", "twin"]]


async def test_a_check_costs_no_token(a: FakeProvider, b: FakeProvider) -> None:
    a.script(ok())
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        await managed.manager.health_check_all()
        assert managed.manager.get_stats()["summary"]["attempts"]["tokens"]["output"] == 0
    assert not a.calls
