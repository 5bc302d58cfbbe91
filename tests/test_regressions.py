"""What once went wrong with managers of this kind, by number: none of it may come back."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import math
import socket
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import pytest

from sidecar import (
    ConfigurationError,
    ConfigurationManager,
    DebugLogger,
    FallbackStrategy,
    LLMError,
    LLMManager,
    LLMResponse,
    LoadBalancer,
    NetworkError,
    ProviderError,
    ProviderUnavailableError,
    TokenLimitError,
    ValidationError,
)
from sidecar.dialects.body import peek
from sidecar.model.failures import Kind
from sidecar.model.request import Call
from sidecar.model.topology import Dialect, Operation
from sidecar.reload import Reloader
from tests.daemon import RunningDaemon
from tests.fake_behaviours import Canned
from tests.fake_provider import (
    WORDS,
    Behaviour,
    FakeProvider,
    cut_after,
    error_event_in_200,
    model_list,
    ok,
    raw,
    silence,
    status,
)
from tests.manager.managing import HI, Managed, listed

CHAIN = "routes: {default: {chain: [a, b]}}\n"
ONE = "routes: {default: {chain: [a]}}\n"
POOL = "routes: {default: {balance: weighted, chain: [{a/m: 5, b/m: 1, c/m: 1}]}}\n"
CANARY = "sk-canary-0123456789abcdef"


@pytest.fixture
async def a() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as fake:
        yield fake


@pytest.fixture
async def b() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as fake:
        yield fake


async def read(manager: LLMManager) -> str:
    content = ""
    async for chunk in manager.chat_stream(HI):
        content = chunk.content
    return content


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


async def as_http(manager: LLMManager, **fields: Any) -> tuple[int, dict[str, str], bytes]:
    """The answer that a client of the data plane would get."""
    body = msgspec.json.encode({"model": "default", "messages": HI, **fields})
    answer = manager.answer(Call(Operation.CHAT, Dialect.OPENAI_CHAT, peek(body, Operation.CHAT), "req_1"))
    try:
        await answer.open()
        whole = answer.body
        while answer.streams and (more := await answer.read()):
            whole += more
        return answer.status, dict(answer.headers), whole
    finally:
        answer.close()


# -- 1


async def test_01_reset_is_back_within_a_second_during_traffic(a: FakeProvider, b: FakeProvider) -> None:
    a.script(ok(gap_s=0.005))
    a.on_models(silence())  # the probe of a reset hangs
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        manager = managed.manager
        streams = [asyncio.create_task(read(manager)) for _ in range(20)]
        await a.wait_calls(20)
        began = monotonic()
        results = await asyncio.gather(*(manager.reset_provider("a") for _ in range(5)))
        assert monotonic() - began < 4  # within a second, on an idle machine; a check may take 5
        assert results == [True] * 5
        assert sum(request.method == "GET" for request in a.requests) == 1  # five at once are one
        assert await manager.reset_provider("nobody") is False
        await asyncio.gather(*streams, return_exceptions=True)
        a.on_models(model_list())
        assert await manager.reset_provider("a") is True
        assert (await manager.chat(HI)).provider == "a"


async def test_01_reset_is_back_within_a_second_during_cleanup(a: FakeProvider) -> None:
    a.script(ok(gap_s=0.005))
    a.on_models(silence())
    async with Managed(listed(a=a) + ONE) as managed:
        stream = asyncio.create_task(read(managed.manager))
        await a.wait_calls(1)
        began = monotonic()
        reset = asyncio.create_task(managed.manager.reset_provider("a"))
        await a.wait_for(lambda fake: any(request.method == "GET" for request in fake.requests))
        cleanup = asyncio.create_task(managed.manager.close(0.0))
        assert await reset is True
        assert monotonic() - began < 4
        with pytest.raises(ProviderUnavailableError):
            await managed.manager.reset_provider("a")
        await cleanup
        await asyncio.gather(stream, return_exceptions=True)
        await a.wait_closed_connections()


# -- 2


async def test_02_twenty_first_calls_against_a_failing_connect_are_one_round(a: FakeProvider) -> None:
    await a.down()
    breaker = "breaker: {consecutive_gateway_failures: 1, open: {base: 600ms, floor: 600ms}}"
    async with Managed(listed(a=a).replace("resilience: {", f"resilience: {{{breaker}, ") + ONE) as managed:
        manager = managed.manager
        outcomes = await asyncio.gather(*(manager.chat(HI) for _ in range(20)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {NetworkError}
        told = manager.get_provider_status()["a"]
        assert (told["initialization_attempts"], told["can_retry"], told["is_initialized"]) == (1, False, False)
        assert len(managed.lines("target.opened")) == 1
        await a.up()
        await until(lambda: bool(manager.get_provider_status()["a"]["can_retry"]))
        assert (await manager.chat(HI)).provider == "a"
        assert manager.get_provider_status()["a"]["is_initialized"] is True


# -- 3


async def test_03_after_a_cancel_during_connect_the_next_request_works_at_once() -> None:
    """The listener's queue is full, so a connect hangs; then somebody accepts."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            body = b'{"choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}'
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            writer.write(head + body)
            await writer.drain()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = [socket.socket() for _ in range(3)]
    server = None
    try:
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        config = f"""providers:
  a: {{type: openai-compatible, base_url: "http://127.0.0.1:{port}/v1", model: m}}
{ONE}"""
        async with Managed(config) as managed:
            manager = managed.manager
            call = asyncio.create_task(manager.chat(HI))
            await asyncio.sleep(0.1)
            assert not call.done()
            call.cancel()
            began = monotonic()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert monotonic() - began < 3
            assert not manager.active
            told = manager.get_provider_status()["a"]
            assert (told["is_initializing"], told["can_retry"], told["initialization_attempts"]) == (False, True, 0)
            for filler in fillers:
                filler.close()
            server = await asyncio.start_server(serve, sock=listener)
            began = monotonic()
            assert (await manager.chat(HI)).content == "Hi"
            assert monotonic() - began < 2
    finally:
        for filler in fillers:
            filler.close()
        if server is not None:
            server.close()
        listener.close()


# -- 4


@pytest.mark.parametrize(
    ("fault", "limits", "calls"),
    [
        (status(500), "same_target_retries: 2, max_attempts: 3, backoff_base: 1ms", 3),
        (status(500), "same_target_retries: 5, max_attempts: 2, backoff_base: 1ms", 2),
        (status(500), "same_target_retries: 0", 1),
        (status(429), "same_target_retries: 2", 1),  # it did not say when
        (status(429, retry_after=1), "same_target_retries: 1", 2),
        (status(429, retry_after=60), "same_target_retries: 1", 1),  # too long to wait for
        (silence(), "same_target_retries: 2", 1),  # a silent target is not asked twice
    ],
    ids=["500", "500 and few attempts", "500 once", "429", "429 soon", "429 late", "timeout"],
)
async def test_04_there_are_as_many_upstream_calls_as_configured_and_all_are_logged(
    a: FakeProvider, fault: Behaviour, limits: str, calls: int
) -> None:
    a.script(fault)
    config = listed(a=a).replace("same_target_retries: 0", limits)
    async with Managed(f"timeouts: {{answer: 100ms}}\n{config}{ONE}") as managed:
        with pytest.raises(LLMError) as caught:
            await managed.manager.chat(HI)
        lines = managed.lines("attempt")
        assert len(managed.lines("request")) == 1
    assert len(a.calls) == len(lines) == len(caught.value.attempts) == calls
    assert [line["attempt"] for line in lines] == list(range(1, calls + 1))
    assert all(line["outcome"] == "failed" and line["kind"] for line in lines)


# -- 5


async def test_05_a_context_length_400_comes_back_unchanged_and_costs_nothing(a: FakeProvider) -> None:
    fault = status(400, "This model's maximum context length is 8.", code="context_length_exceeded")
    a.script(fault)
    async with Managed(listed(a=a) + ONE) as managed:
        for _ in range(5):
            code, _, body = await as_http(managed.manager)
            assert (code, body) == (400, fault.body)
        with pytest.raises(TokenLimitError, match="maximum context length is 8"):
            await managed.manager.chat(HI)
        told = managed.manager.get_provider_status()["a"]["targets"]["a/m"]
    assert len(a.calls) == 6
    assert a.accepted == 1
    assert (told["breaker"], told["openings"], told["recent_failures"]) == ("closed", 0, 0)


# -- 6, 7


@pytest.mark.parametrize(
    "fault", [status(500), error_event_in_200(), cut_after(0), cut_after(0, "rst")], ids=["500", "event", "cut", "rst"]
)
async def test_06_a_stream_that_fails_before_its_first_delta_is_answered_by_the_next(
    a: FakeProvider, b: FakeProvider, fault: Behaviour
) -> None:
    a.script(fault)
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        assert await read(managed.manager) == " ".join(WORDS)
    assert (len(a.calls), len(b.calls)) == (1, 1)


async def test_06_a_stream_that_fails_after_its_first_delta_is_an_error(a: FakeProvider, b: FakeProvider) -> None:
    a.script(cut_after(30, "rst"))
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        with pytest.raises(ProviderError) as caught:
            await read(managed.manager)
        code, _, body = await as_http(managed.manager, stream=True)
    assert caught.value.partial == " ".join(WORDS[:30])
    assert code == 200
    assert b'data: {"error":' in body
    assert b"[DONE]" not in body
    assert not b.calls


async def test_07_a_stream_without_its_terminal_event_is_truncated(a: FakeProvider) -> None:
    a.script(cut_after(30, "clean"))
    async with Managed(listed(a=a) + ONE) as managed:
        with pytest.raises(ProviderError) as caught:
            await read(managed.manager)
        (attempt,), (request,) = managed.lines("attempt"), managed.lines("request")
    assert caught.value.failure.kind is Kind.TRUNCATED
    assert (attempt["outcome"], request["outcome"], request["kind"]) == ("truncated", "truncated", "truncated")


# -- 8, 9


async def test_08_a_client_that_leaves_leaves_nothing_behind(a: FakeProvider) -> None:
    a.script(ok(gap_s=0.01))
    async with Managed(listed(a=a) + ONE) as managed:
        stream = managed.manager.chat_stream(HI)
        while not (await anext(stream)).delta:
            pass
        await stream.aclose()
        assert not managed.manager.active
        await a.wait_for(lambda fake: fake.open == 0, 1.0)
        assert a.calls[0].peer_closed_at is not None
        (line,) = managed.lines("request")
        assert (line["outcome"], line["kind"]) == ("cancelled", "client_gone")
        assert len(managed.lines("attempt", outcome="cancelled")) == 1
        assert managed.manager.get_provider_status()["a"]["targets"]["a/m"]["in_flight"] == 0


async def test_09_a_thousand_streams_leave_nothing_behind(a: FakeProvider) -> None:
    a.script(ok("one two three"))
    async with Managed(listed(a=a) + ONE) as managed:
        manager = managed.manager

        async def some(count: int) -> None:
            for index in range(count):
                stream = manager.chat_stream(HI)
                async for chunk in stream:
                    if index % 5 == 0 and chunk.delta:
                        break
                await stream.aclose()

        async def streams(count: int) -> tuple[int, int, int]:
            await asyncio.gather(*(some(count // 20) for _ in range(20)))
            managed.forget()
            a.requests.clear()
            await a.wait_idle()
            gc.collect()
            return len(gc.get_objects()), len(asyncio.all_tasks()), a.open

        for _ in range(2):
            objects, tasks, connections = await streams(500)
        after = await streams(1000)
        assert not manager.active
    assert after[0] - objects < 1000  # less than one for each stream
    assert after[1] - tasks <= 20
    assert after[2] <= max(connections, 20)


# -- 10, 11, 12


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [("key-of-a", "rotated", ("one", "Bearer rotated")), ("a/one", "a/two", ("two", "Bearer key-of-a"))],
)
async def test_10_a_key_or_model_changed_in_the_file_is_used_by_the_next_request(
    a: FakeProvider, tmp_path: Path, old: str, new: str, expected: tuple[str, str]
) -> None:
    path = tmp_path / "sidecar.yaml"
    text = listed(a=a) + "routes: {default: {chain: [a/one]}}\n"
    path.write_text(text)
    async with LLMManager(ConfigurationManager(str(path), environ={})) as manager:
        await manager.chat(HI)
        path.write_text(text.replace(old, new))

        async def take_over(snapshot: Any) -> None:
            manager.adopt(snapshot)

        assert (await Reloader(manager, take_over).reload()).applied
        await manager.chat(HI)
    seen = [(call.model, call.headers["authorization"]) for call in a.calls]
    assert seen == [("one", "Bearer key-of-a"), expected]


async def test_11_two_entries_of_one_type_stay_apart(a: FakeProvider, b: FakeProvider) -> None:
    config = f"""providers:
  work: {{type: openai, base_url: "{a.base_url}", api_key: key-of-work, model: one}}
  home: {{type: openai, base_url: "{b.base_url}", api_key: key-of-home, model: two}}
  spare: {{type: openai, base_url: "{b.base_url}", api_key: key-of-spare, model: three}}
routes: {{default: {{chain: [work, home]}}}}
"""
    async with Managed(config) as managed:
        for name in ("work", "home", "spare", "work", "home", "spare"):
            await managed.manager.chat(HI, name)
    assert {(call.model, call.headers["authorization"]) for call in a.calls} == {("one", "Bearer key-of-work")}
    assert {(call.model, call.headers["authorization"]) for call in b.calls} == {
        ("two", "Bearer key-of-home"),
        ("three", "Bearer key-of-spare"),
    }


@pytest.mark.parametrize("order", ["z, a, m", "m, z, a", "a, m, z"])
async def test_12_the_chain_is_walked_in_the_order_it_is_written(a: FakeProvider, order: str) -> None:
    a.script(status(401))
    async with Managed(listed(a=a, m=a, z=a) + f"routes: {{default: {{chain: [{order}]}}}}\n") as managed:
        with pytest.raises(ProviderError) as caught:
            await managed.manager.chat(HI)
        managed.manager.set_fallback_chain(order.split(", ")[::-1])
        chain = managed.manager.snapshot.routes["default"].targets
    assert [each["provider"] for each in caught.value.attempts] == order.split(", ")
    assert [target.provider.name for target in chain] == order.split(", ")[::-1]


# -- 13


async def test_13_an_unhealthy_first_target_is_skipped_and_returns_after_a_probe(
    a: FakeProvider, b: FakeProvider
) -> None:
    a.models_status = 503
    async with Managed("health: {fall: 1, rise: 1}\n" + listed(a=a, b=b) + CHAIN) as managed:
        manager = managed.manager
        assert await manager.health_check_all() == {"a": False, "b": True}
        for _ in range(3):
            assert (await manager.chat(HI)).provider == "b"
        assert not a.calls
        (skipped,) = managed.lines("attempt", outcome="skipped")[:1]
        assert (skipped["target"], skipped["skipped"]) == ("a/m", "unhealthy: check")
        a.models_status = 200
        assert await manager.health_check_all() == {"a": True, "b": True}
        assert (await manager.chat(HI)).provider == "a"


# -- 14, 15


async def test_14_weights_of_5_1_1_are_exact_over_seven_picks(a: FakeProvider) -> None:
    async with Managed(listed(a=a, b=a, c=a) + POOL) as managed:
        for _ in range(3):
            asked = Counter([(await managed.manager.chat(HI)).provider for _ in range(7)])
            assert asked == {"a": 5, "b": 1, "c": 1}
    balancer = LoadBalancer()
    balancer.set_provider_weight("a", 5)
    assert "".join(balancer.select_provider(["a", "b", "c"], "weighted") for _ in range(7)) == "aabacaa"


async def test_14_a_weight_of_0_drains_and_no_weight_is_negative_or_nan(a: FakeProvider, b: FakeProvider) -> None:
    config = listed(a=a, b=b) + "routes: {default: {balance: weighted, chain: [{a/m: 0, b/m: 1}]}}\n"
    async with Managed(config) as managed:
        assert {(await managed.manager.chat(HI)).provider for _ in range(6)} == {"b"}
        b.script(status(401))
        assert (await managed.manager.chat(HI)).provider == "a"  # a last resort
        for weight in (-1, math.nan, math.inf):
            with pytest.raises(ConfigurationError):
                managed.manager.balancer.set_provider_weight("a", weight)
    for text in ("-1", ".nan", ".inf"):
        with pytest.raises(ConfigurationError, match="config:"):
            ConfigurationManager.from_text(config.replace("a/m: 0", f"a/m: {text}"), environ={}).load()


async def test_15_round_robin_is_fair_while_members_flap(a: FakeProvider) -> None:
    config = listed(a=a, b=a, c=a) + "routes: {default: {chain: [a, b, c]}}\n"
    async with Managed(config) as managed:
        manager = managed.manager
        manager.enable_load_balancing("round_robin")
        asked: Counter[str] = Counter()
        for turn in range(120):
            manager.balancer.update_provider_health("c", turn % 2 == 0)
            asked[(await manager.chat(HI)).provider] += 1
    assert abs(asked["a"] - asked["b"]) <= 2
    assert asked["c"] >= 120 / 2 / 3  # its share of the turns at which it was there


# -- 16


async def test_16_slow_checks_take_as_long_as_the_slowest_and_no_token(a: FakeProvider) -> None:
    slow_s, count = 0.3, 12
    a.on_models(dataclasses.replace(model_list("m"), delay_s=slow_s))
    names = [f"p{index}" for index in range(count)]
    config = listed(**dict.fromkeys(names, a)) + f"routes: {{default: {{chain: [{', '.join(names)}]}}}}\n"
    async with Managed(config) as managed:
        began = monotonic()
        assert await managed.manager.health_check_all() == dict.fromkeys(names, True)
        assert monotonic() - began < slow_s * (count - 1)
        assert managed.manager.get_stats()["summary"]["attempts"]["tokens"]["input"] == 0
    assert len(a.requests) == count
    assert not a.calls


# -- 17


async def test_17_stats_are_json_and_ten_thousand_error_texts_keep_them_small(a: FakeProvider) -> None:
    a.script(lambda request: status(400, f"odd {len(a.requests)}"))

    async with Managed(listed(a=a) + ONE) as managed:
        manager = managed.manager

        async def errors(count: int) -> int:
            for number in range(count):
                error = (ValidationError, ProviderError)[number % 2](f"error number {number}")

                async def fails(_: str, error: LLMError = error) -> LLMResponse:
                    raise error

                with pytest.raises(type(error), match=f"error number {number}"):
                    await manager.fallback.execute_with_fallback(["a"], fails)
                manager.book.reset_provider("a", monotonic())
            managed.forget()
            return len(json.dumps(manager.get_stats())) + len(json.dumps(manager.get_provider_status()))

        with pytest.raises(ValidationError, match="odd 1"):
            await manager.chat(HI)
        few = await errors(50)
        many = await errors(10_000)
        stats = manager.get_stats()
    assert many < few + 1000
    assert stats["providers"]["a"]["kinds"] == {"invalid_request": 5026, "server_error": 5025}
    assert "error number" not in json.dumps(stats)


# -- 18, 19


def _echo(code: int, text: str) -> Behaviour:
    return status(code, f"Incorrect API key provided: {CANARY}. {text}")


async def test_18_a_planted_key_shows_nowhere(a: FakeProvider) -> None:
    """The provider says it in its errors, in every way there is."""
    event = b'data: {"error": {"message": "key %s is bad"}}\n\n' % CANARY.encode()
    sse = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    faults = [
        _echo(401, ""),
        _echo(400, ""),
        _echo(500, ""),
        _echo(429, ""),
        raw(sse + event),
        raw(b"nonsense " + CANARY.encode()),
    ]
    config = listed(a=a).replace("key-of-a", CANARY) + ONE
    told: list[str] = []
    for fault in faults:
        a.script(fault)
        async with Managed(config) as managed:
            manager = managed.manager
            with pytest.raises(LLMError) as caught:
                await manager.chat(HI)
            told += ["".join(traceback.format_exception(caught.value)), repr(caught.value.failure)]
            with pytest.raises(LLMError) as caught:
                await read(manager)
            told += [str(caught.value), repr(caught.value.attempts)]
            for stream in (False, True):
                manager.book.reset_provider("a", monotonic())
                told.append(repr(await as_http(manager, stream=stream)))
            a.on_models(fault)
            await manager.health_check_all()
            told += [json.dumps(manager.get_provider_status()), json.dumps(manager.get_stats())]
            told += [repr(manager.snapshot), repr(manager.configuration), managed.log_text]
            told += [manager.metrics.exposition().decode(), repr(vars(manager))]
    assert {call.headers["authorization"] for call in a.calls} == {f"Bearer {CANARY}"}
    shown = [text[max(0, text.index(CANARY) - 200) :][:300] for text in told if CANARY in text]
    assert not shown


async def test_18_nor_does_a_daemon_show_it(a: FakeProvider, tmp_path: Path) -> None:
    a.script(_echo(401, ""))
    config = listed(a=a).replace("key-of-a", '"${PLANTED}"') + ONE
    async with RunningDaemon(tmp_path, config, env={"PLANTED": CANARY}) as daemon:
        told = [repr(await daemon.chat()), repr(await daemon.chat("a/m", stream=True))]
        for path in ("/status", "/stats", "/config", "/metrics", "/providers", "/routes", "/explain?model=default"):
            code, body = await daemon.admin("GET", path)
            assert code == 200, path
            told.append(repr(body))
        rejected = await daemon.edit(config.replace("routes:", "ruotes:"), event="config.rejected")
        told += [repr(rejected), daemon.stderr]
    assert a.calls[0].headers["authorization"] == f"Bearer {CANARY}"
    assert not [text for text in told if CANARY in text]


async def test_19_a_key_never_reaches_another_providers_host(a: FakeProvider, b: FakeProvider) -> None:
    moved = Canned(307, headers={"location": f"{b.base_url}/chat/completions"})
    a.script(status(503), moved, status(401), ok())
    steering = {
        "base_url": b.base_url,
        "api_base": b.base_url,
        "api_key": "mine",
        "extra_headers": {"x-api-key": "mine"},
    }
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        manager = managed.manager
        for _ in range(3):
            await manager.chat(HI)
        await manager.reset_provider("a")
        await manager.chat(HI, "a", **steering)
        await manager.health_check_all()
    for name, fake in (("a", a), ("b", b)):
        other = {"a": "key-of-b", "b": "key-of-a"}[name]
        assert fake.calls
        for request in fake.requests:
            assert request.headers["authorization"] == f"Bearer key-of-{name}"
            assert other not in repr(request.headers)
            assert "x-api-key" not in request.headers


# -- 20


async def test_20_an_invalid_file_leaves_the_old_config_serving_and_names_file_and_line(
    a: FakeProvider, tmp_path: Path
) -> None:
    path = tmp_path / "sidecar.yaml"
    text = listed(a=a) + ONE
    path.write_text(text)
    lines: list[bytes] = []
    async with LLMManager(ConfigurationManager(str(path), environ={}), DebugLogger(lines.append)) as manager:

        async def take_over(snapshot: Any) -> None:
            manager.adopt(snapshot)

        reloader = Reloader(manager, take_over)
        for bad, place in [(text + "routes: [", ":5:"), (text.replace("chain: [a]", "chain: [aa/m, nobody]"), ":4:")]:
            path.write_text(bad)
            outcome = await reloader.reload()
            assert not outcome.applied
            assert f"{path}{place}" in outcome.problems[0]
            assert manager.snapshot.generation == 1
            assert (await manager.chat(HI)).provider == "a"
            rejected = [json.loads(line) for line in lines if b'"config.rejected"' in line][-1]
            assert f"{path}{place}" in rejected["problems"][0]
        path.write_text(text.replace("[a]", "[a, a/n]"))
        assert (await reloader.reload()).applied
        assert manager.snapshot.generation == 2


# -- 21


def _answers(message: dict[str, Any], finish: str, *, stream: bool) -> Behaviour:
    """One answer, whole or as a stream of one-character deltas."""
    if not stream:
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
        return Canned(200, msgspec.json.encode({"model": "m", "choices": [choice]}))
    texts = [{name: piece} for name, text in message.items() if isinstance(text, str) for piece in text]
    calls = [{"tool_calls": [{"index": 0, **call}]} for call in message.get("tool_calls", ())]
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in texts + calls]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    body = b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    return Canned(200, body, "text/event-stream")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_21_content_is_what_was_said_and_nothing_else(a: FakeProvider, stream: bool) -> None:
    fenced = '```json\n{"a": 1}\n```'
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"x": 1}'}}
    a.script(
        _answers({"content": fenced}, "stop", stream=stream),
        _answers({"content": "Adding.", "tool_calls": [call]}, "tool_calls", stream=stream),
        _answers({"refusal": "I cannot."}, "stop", stream=stream),
    )
    async with Managed(listed(a=a) + ONE) as managed:

        async def ask() -> Any:
            if not stream:
                return await managed.manager.chat(HI)
            return [chunk async for chunk in managed.manager.chat_stream(HI)][-1]

        first, second, third = [await ask() for _ in range(3)]
    assert (first.content, first.finish_reason, first.tool_calls) == (fenced, "stop", [])
    assert (second.content, second.finish_reason) == ("Adding.", "tool_calls")
    assert [(each.id, each.function.arguments) for each in second.tool_calls] == [("c1", '{"x": 1}')]
    assert (third.content, third.finish_reason) == ("", "content_filter")
    assert third.metadata["refusal"] == "I cannot."


# -- 22


async def test_22_a_missing_key_is_told_at_the_start_and_burns_no_attempt(a: FakeProvider, b: FakeProvider) -> None:
    config = f"""providers:
  a: {{type: openai, base_url: "{a.base_url}", model: m}}
  b: {{type: openai, base_url: "{b.base_url}", api_key: key-of-b, model: m}}
{CHAIN}"""
    async with Managed(config) as managed:
        manager = managed.manager
        assert any("OPENAI_API_KEY" in warning and "a" in warning for warning in manager.snapshot.warnings)
        answer = await manager.chat(HI)
        assert [each["provider"] for each in answer.metadata["attempts"]] == ["b"]
        with pytest.raises(ProviderUnavailableError, match="no key"):
            await manager.chat(HI, "a")
        assert [line["skipped"] for line in managed.lines("attempt", target="a/m")][:1] == ["no key"]
    assert not a.requests
    with pytest.raises(ConfigurationError, match="NOT_SET"):
        LLMManager(ConfigurationManager.from_text(config.replace("key-of-b", '"${NOT_SET}"'), environ={}))


async def test_22_a_strategy_alone_burns_no_attempt_either(a: FakeProvider) -> None:
    asked: list[str] = []

    async def operation(name: str) -> LLMResponse:
        asked.append(name)
        raise ProviderError("no")

    config = f'providers: {{a: {{type: openai, base_url: "{a.base_url}", api_key: "", model: m}}}}\n{ONE}'
    async with Managed(config) as managed:
        strategy: FallbackStrategy = managed.manager.fallback
        with pytest.raises(ProviderUnavailableError, match="no key"):
            await strategy.execute_with_fallback(["a"], operation)
    assert asked == []
