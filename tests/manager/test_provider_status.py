"""What is told of providers: keys, meaning, no side effects, no secrets."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from tests.fake_provider import FakeProvider, ok, status
from tests.manager.managing import HI, Managed, listed

CHAIN = "routes: {default: {chain: [a, b]}}\n"
KEYS = {
    *("is_initialized", "is_initializing", "initialization_attempts", "can_retry", "last_error", "last_error_time"),
    *("backoff_until", "health_status", "targets"),
}


async def test_every_configured_provider_is_told_from_the_start(a: FakeProvider, b: FakeProvider) -> None:
    config = listed(a=a, b=b).replace("key-of-b, model: m", "key-of-b") + "routes: {default: {chain: [a]}}\n"
    async with Managed(config) as managed:
        told = managed.manager.get_provider_status()
    assert set(told) == {"a", "b"}
    for each in told.values():
        assert set(each) >= KEYS
        assert (each["is_initialized"], each["is_initializing"], each["initialization_attempts"]) == (False, False, 0)
        assert each["can_retry"] is True
        assert each["last_error"] is each["last_error_time"] is each["backoff_until"] is None
        assert each["health_status"] is None  # never checked
    assert set(told["a"]["targets"]) == {"a/m"}
    target = told["a"]["targets"]["a/m"]
    assert (target["breaker"], target["admin"], target["health"]) == ("closed", "ready", "unknown")
    assert (target["in_flight"], target["weight"], target["last_success_s_ago"]) == (0, 1, None)


async def test_it_follows_success_and_failure(a: FakeProvider, b: FakeProvider) -> None:
    a.script(status(429, "slow down", retry_after=30))
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        await managed.manager.chat(HI)
        told = managed.manager.get_provider_status()
    assert (told["a"]["is_initialized"], told["b"]["is_initialized"]) == (False, True)
    assert told["a"]["initialization_attempts"] == 1
    assert told["a"]["can_retry"] is False
    assert told["a"]["last_error"] == "slow down"
    now = datetime.now(UTC)
    assert abs((now - datetime.fromisoformat(told["a"]["last_error_time"])).total_seconds()) < 5
    assert 20 < (datetime.fromisoformat(told["a"]["backoff_until"]) - now).total_seconds() < 50
    target = told["a"]["targets"]["a/m"]
    assert (target["breaker"], target["reason"], target["last_error_kind"]) == ("open", "rate_limited", "rate_limited")
    since, until = (datetime.fromisoformat(target[key]) for key in ("down_since", "open_until"))
    assert since <= now < until
    assert told["b"]["targets"]["b/m"]["down_since"] is told["b"]["targets"]["b/m"]["open_until"] is None
    assert 0 <= told["b"]["targets"]["b/m"]["last_success_s_ago"] < 5


async def test_a_call_under_way_is_seen(a: FakeProvider, b: FakeProvider) -> None:
    a.script(ok(gap_s=0.01))
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        stream = managed.manager.chat_stream(HI)
        await anext(stream)
        told = managed.manager.get_provider_status()["a"]
        await stream.aclose()
        after = managed.manager.get_provider_status()["a"]
    assert (told["is_initializing"], told["targets"]["a/m"]["in_flight"]) == (True, 1)
    assert (after["is_initializing"], after["targets"]["a/m"]["in_flight"]) == (False, 0)


async def test_a_provider_is_healthy_if_any_of_its_targets_is(a: FakeProvider, b: FakeProvider) -> None:
    config = listed(a=a, b=b) + "routes: {default: {chain: [a/x, a/y]}}\n"
    async with Managed(config) as managed:
        book = managed.manager.book
        book.find("a/x").checks.declare(False)
        assert managed.manager.get_provider_status()["a"]["health_status"] is False
        book.find("a/y").checks.declare(True)
        assert managed.manager.get_provider_status()["a"]["health_status"] is True


async def test_a_check_is_seen_and_a_refused_one_too(a: FakeProvider, b: FakeProvider) -> None:
    b.models_status = 401
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        await managed.manager.health_check_all()
        told = managed.manager.get_provider_status()
    assert (told["a"]["health_status"], told["b"]["health_status"]) == (True, False)
    assert (told["a"]["is_initialized"], told["b"]["is_initialized"]) == (True, False)


async def test_asking_changes_nothing(a: FakeProvider, b: FakeProvider) -> None:
    a.script(status(503))
    breaker = "breaker: {consecutive_gateway_failures: 1, open: {base: 1ms, floor: 1ms}}"
    config = listed(a=a, b=b).replace("resilience: {", f"resilience: {{{breaker}, ") + CHAIN
    async with Managed(config) as managed:
        manager = managed.manager
        await manager.chat(HI)
        lines = managed.log_text
        epochs = [(state.key, state.breaker.state, state.breaker.epoch) for state in manager.book.states]
        for _ in range(3):
            manager.get_provider_status()
            manager.get_stats()
        assert [(state.key, state.breaker.state, state.breaker.epoch) for state in manager.book.states] == epochs
        assert managed.log_text == lines
    assert (len(a.requests), len(b.requests)) == (1, 1)


async def test_it_holds_no_secret_and_is_json(a: FakeProvider, b: FakeProvider) -> None:
    a.script(status(401, "Incorrect API key provided: key-of-a"))
    config = listed(a=a, b=b).replace("api_key: key-of-b", "headers: {x-own: secret-header-1}") + CHAIN
    async with Managed(config) as managed:
        await managed.manager.chat(HI)
        text = json.dumps(managed.manager.get_provider_status())
    assert "key-of-a" not in text
    assert "secret-header-1" not in text
    assert "Incorrect API key provided: ***" in text


async def test_what_is_told_is_a_copy(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        told = managed.manager.get_provider_status()
        told["a"]["targets"].clear()
        told.clear()
        assert managed.manager.get_provider_status()["a"]["targets"]


async def test_stats_count_health_checks_apart_and_tell_every_provider(a: FakeProvider, b: FakeProvider) -> None:
    b.models_status = 500
    async with Managed(listed(a=a, b=b, c=a) + CHAIN) as managed:
        assert set(managed.manager.get_stats()["providers"]) == {"a", "b", "c"}
        await managed.manager.health_check_all()
        await managed.manager.chat(HI)
        stats = managed.manager.get_stats()
    told, summary = stats["providers"], stats["summary"]
    assert {name: each["total"] for name, each in told.items()} == {"a": 1, "b": 0, "c": 0}
    assert {name: list(each["targets"]) for name, each in told.items()} == {"a": ["a/m"], "b": [], "c": []}
    assert {name: each["checks"]["outcomes"] for name, each in told.items()} == {
        "a": {"ok": 1},
        "b": {"failed": 1},
        "c": {"ok": 1},
    }
    assert (summary["attempts"]["total"], summary["checks"]["total"]) == (1, 3)
    assert summary["attempts"]["success_ratio"] == 1.0


async def test_stats_tell_attempts_and_requests_apart(a: FakeProvider, b: FakeProvider) -> None:
    a.script(status(500))
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        for _ in range(2):
            await managed.manager.chat(HI)
        stats = managed.manager.get_stats()
        stats["providers"].clear()
        again = managed.manager.get_stats()
    assert set(stats) == {"manager", "providers", "summary"}
    assert stats["summary"]["requests"]["total"] == 2
    assert stats["summary"]["attempts"]["total"] == 4
    assert stats["summary"]["requests"]["success_ratio"] == 1.0
    assert stats["summary"]["attempts"]["success_ratio"] == 0.5
    assert again["providers"]["a"]["kinds"] == {"server_error": 2}
    assert again["providers"]["b"]["tokens"]["output"] == 120
    for measure in ("latency_s", "first_token_s"):
        spread = again["providers"]["b"][measure]
        assert 0 < spread["p50"] <= spread["p95"] <= spread["max"] * 1.5
    assert again["providers"]["b"]["cost_usd"] == 0
    assert again["manager"]["generation"] == 1
