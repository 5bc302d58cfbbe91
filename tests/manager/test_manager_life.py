"""A manager from its making to its cleanup; two of them in one process; without uvloop."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import warnings
from pathlib import Path
from time import monotonic

import pytest

from sidecar import (
    ConfigurationError,
    ConfigurationManager,
    DebugLogger,
    LLMManager,
    LLMProviderRegistry,
    MetricsCollector,
    ProviderUnavailableError,
    ResponseNormalizer,
)
from sidecar.sources import places
from tests.fake_provider import WORDS, FakeProvider, ok, silence, stall_after
from tests.manager.managing import HI, Managed, listed

ONE = "routes: {default: {chain: [a]}}\n"


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place without a config and an environment without a key."""
    monkeypatch.setattr(places, "_SYSTEM_CONFIG", str(tmp_path / "etc" / "sidecar.yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of_environment(home: Path, **environ: str) -> LLMManager:
    return LLMManager(ConfigurationManager(environ={"HOME": str(home), "OLLAMA_HOST": "elsewhere.example", **environ}))


# -- where its config comes from


def test_without_arguments_it_finds_the_config_as_the_command_line_does(nowhere: Path) -> None:
    (nowhere / "sidecar.yaml").write_text("providers: {embedded: {}}\nroutes: {default: {chain: [embedded/ok]}}\n")
    assert LLMManager().snapshot.source.endswith("sidecar.yaml")


def test_the_environment_names_providers_and_their_order(nowhere: Path) -> None:
    manager = of_environment(
        nowhere,
        OPENAI_API_KEY="k1",
        DEEPSEEK_API_KEY="k2",
        GEMINI_API_KEY="k3",
        OPENAI_MODEL="gpt-x",
        LLM_PROVIDER="deepseek",
        LLM_FALLBACK_CHAIN="gemini, openai",
    )
    assert [t.provider.name for t in manager.snapshot.routes["default"].targets] == ["deepseek", "gemini", "openai"]
    assert manager.snapshot.providers["openai"].model == "gpt-x"


def test_an_unknown_provider_in_the_environment_is_an_error(nowhere: Path) -> None:
    with pytest.raises(ConfigurationError, match="LLM_FALLBACK_CHAIN"):
        of_environment(nowhere, OPENAI_API_KEY="k", LLM_FALLBACK_CHAIN="openia")


async def test_no_key_of_the_environment_reaches_another_host(nowhere: Path, a: FakeProvider, b: FakeProvider) -> None:
    async with of_environment(
        nowhere,
        OPENAI_API_KEY="key-of-openai",
        OPENAI_BASE_URL=a.base_url,
        OPENAI_MODEL="one",
        DEEPSEEK_API_KEY="key-of-deepseek",
        DEEPSEEK_BASE_URL=b.base_url,
        DEEPSEEK_MODEL="two",
        XAI_API_KEY="key-of-xai",
        BASE_URL=a.base_url,
        LLM_BASE_URL=a.base_url,
    ) as manager:
        await manager.chat(HI, "openai")
        await manager.chat(HI, "deepseek")
        assert manager.snapshot.providers["xai"].base_url == "https://api.x.ai/v1"
    assert {call.headers["authorization"] for call in a.calls} == {"Bearer key-of-openai"}
    assert {call.headers["authorization"] for call in b.calls} == {"Bearer key-of-deepseek"}


# -- its parts


async def test_its_parts_can_be_given_and_are_new_by_default(a: FakeProvider) -> None:
    lines: list[bytes] = []
    log, metrics, registry = DebugLogger(lines.append), MetricsCollector(), LLMProviderRegistry()

    class Loud(ResponseNormalizer):
        def finish_reason(self, native: str | None, *, refused: bool = False) -> str | None:
            return (native or "").upper() or None

    configuration = ConfigurationManager.from_text(listed(a=a) + ONE, environ={})
    async with LLMManager(configuration, log, metrics, Loud(), registry) as manager:
        assert (await manager.chat(HI)).finish_reason == "STOP"
        chunks = [chunk async for chunk in manager.chat_stream(HI)]
    assert chunks[-1].finish_reason == "STOP"
    assert [json.loads(line)["event"] for line in lines].count("attempt") == 2
    assert metrics.stats()["summary"]["requests"]["total"] == 2
    one, other = (LLMManager(ConfigurationManager.from_text(listed(a=a) + ONE, environ={})) for _ in range(2))
    for part in ("log", "metrics", "normalizer", "registry", "book", "balancer", "active", "configuration"):
        assert getattr(one, part) is not getattr(other, part)


async def test_two_managers_share_nothing(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(x=a) + "routes: {default: {chain: [x]}}\n") as one:
        async with Managed(listed(x=b) + "routes: {default: {chain: [x]}}\n") as other:
            one.manager.balancer.update_provider_health("x", False)
            one.manager.enable_load_balancing()
            assert (await other.manager.chat(HI)).provider == "x"
            with pytest.raises(ProviderUnavailableError):
                await one.manager.chat(HI)
            assert other.manager.snapshot.generation == 1
            assert other.manager.get_stats()["summary"]["requests"]["total"] == 1
            assert one.manager.get_stats()["summary"]["attempts"]["total"] == 0
        one.manager.balancer.update_provider_health("x", True)
        assert (await one.manager.chat(HI)).provider == "x"
        assert "key-of-x" not in one.log_text + other.log_text
    assert (len(a.calls), len(b.calls)) == (1, 1)


# -- its end


async def test_cleanup_is_idempotent_and_closes_every_connection(a: FakeProvider, b: FakeProvider) -> None:
    async with Managed(listed(a=a, b=b) + "routes: {default: {chain: [a, b]}}\n") as managed:
        await asyncio.gather(managed.manager.chat(HI, "a"), managed.manager.chat(HI, "b"))
        assert a.open + b.open == 2
        await asyncio.gather(managed.manager.cleanup(), managed.manager.cleanup())
        await a.wait_closed_connections()
        await b.wait_closed_connections()
        await managed.manager.cleanup()
        assert managed.manager.readiness()["ready"] is False


async def test_cleanup_lets_calls_under_way_end(a: FakeProvider) -> None:
    a.script(ok(head_delay_s=0.1))
    async with Managed(listed(a=a) + ONE) as managed:
        call = asyncio.create_task(managed.manager.chat(HI))
        await a.wait_calls(1)
        await managed.manager.cleanup()
        assert call.done()
        assert (await call).provider == "a"


@pytest.mark.parametrize("behaviour", [silence(), stall_after(5)], ids=["silent", "stalled"])
async def test_what_does_not_end_in_time_is_told_why(a: FakeProvider, behaviour: object) -> None:
    a.script(behaviour)  # type: ignore[arg-type]
    async with Managed(listed(a=a) + ONE) as managed:

        async def read() -> None:
            async for _ in managed.manager.chat_stream(HI):
                pass

        call = asyncio.create_task(read())
        await a.wait_calls(1)
        await asyncio.sleep(0.02)
        began = monotonic()
        await managed.manager.close(0.05)
        assert monotonic() - began < 4
        with pytest.raises(ProviderUnavailableError, match="stopping"):
            await call
        await a.wait_closed_connections()


async def test_a_reset_under_way_is_told_its_result_when_the_manager_is_cleaned_up(a: FakeProvider) -> None:
    a.on_models(silence(0.2))
    async with Managed(listed(a=a) + ONE) as managed:
        reset = asyncio.create_task(managed.manager.reset_provider("a"))
        await a.wait_for(lambda fake: len(fake.requests) == 1)
        await managed.manager.cleanup()
        assert await reset is True
        await a.wait_closed_connections()


def test_a_plain_event_loop_is_enough_and_nothing_is_left_behind() -> None:
    program = """
import asyncio, gc
from sidecar import ConfigurationManager, LLMManager

async def main():
    text = "providers: {embedded: {}}\\nroutes: {default: {chain: [embedded/down, embedded/ok]}}\\n"
    async with LLMManager(ConfigurationManager.from_text(text, environ={})) as manager:
        assert (await manager.chat([{"role": "user", "content": "Hi"}])).model == "ok"
        async for chunk in manager.chat_stream([{"role": "user", "content": "Hi"}]):
            if chunk.delta:
                break
        await manager.health_check_all()
    assert "uvloop" not in type(asyncio.get_running_loop()).__module__

for _ in range(2):
    asyncio.run(main())
gc.collect()
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


async def test_no_resource_is_left_to_the_collector(a: FakeProvider) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with Managed(listed(a=a) + ONE) as managed:
            await managed.manager.chat(HI)
            async for _ in managed.manager.chat_stream(HI):
                break
            await asyncio.sleep(0.01)
        del managed
        gc.collect()
    assert not caught


async def test_a_reset_breaks_no_stream_of_another_provider_at_the_same_place(a: FakeProvider) -> None:
    a.script(ok(gap_s=0.02))
    async with Managed(listed(a=a, twin=a) + "routes: {default: {chain: [twin]}}\n") as managed:
        stream = managed.manager.chat_stream(HI)
        said = (await anext(stream)).delta
        assert await managed.manager.reset_provider("a")
        async for chunk in stream:
            said += chunk.delta
    assert said.split()[-1] == WORDS[-1]
