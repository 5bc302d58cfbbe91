"""What holds when many ask, when clients leave or hurry, and when the config moves: faults 17 to 25."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from time import monotonic

import openai
import pytest

from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider, error_event_in_200, ok, silence, status
from tests.scenarios.stage import Pair, ahead, client, left_at_once, staged

pytestmark = [pytest.mark.asyncio(loop_scope="module")]

both_ways = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])

LONG_OPEN = "breaker: {open: {base: 60s, floor: 60s}}"
SHORT_OPEN = "breaker: {open: {base: 400ms, floor: 400ms}}"


async def opened(pair: Pair, *fakes: FakeProvider) -> None:
    """Open the breakers of these by three 503s each."""
    for fake in fakes:
        fake.script(status(503))
    keys = {pair.primary: pair.primary_key, pair.fallback: pair.fallback_key}
    async with asyncio.timeout(10):
        while [(await pair.state(keys[fake]))["breaker"] for fake in fakes] != ["open"] * len(fakes):
            await pair.ask(stream=False)


async def test_17_an_error_event_after_the_preamble_of_a_200_is_unseen(pair: Pair) -> None:
    pair.primary.script(error_event_in_200())
    answer = await pair.ask()
    answer.whole()
    assert await pair.tried(answer) == [("a", "server_error"), ("a", "server_error"), ("b", "ok")]
    assert answer.model == "beta"


async def test_17_an_error_object_as_the_body_of_a_200_is_unseen(pair: Pair) -> None:
    pair.primary.script(error_event_in_200())
    answer = await pair.ask(stream=False)
    answer.whole()
    assert answer.model == "beta"


@both_ways
async def test_18_a_prompt_of_1_mib_fails_over_when_the_primary_is_down(pair: Pair, stream: bool) -> None:
    await pair.primary.down()
    prompt = "word " * (1024 * 1024 // 5)
    answer = await pair.ask(stream=stream, prompt=prompt)
    answer.whole()
    assert answer.headers["x-sidecar-target"] == pair.fallback_key
    (call,) = pair.fallback.calls
    assert call.json["messages"][0]["content"] == prompt


@both_ways
@pytest.mark.parametrize("head", [False, True], ids=["no_head", "head"])
async def test_19_a_client_that_leaves_before_the_first_token_is_followed_at_once(
    pair: Pair, stream: bool, head: bool
) -> None:
    pair.primary.script(silence(head=head))
    async with client(pair, stream=stream) as raw:
        await pair.primary.wait_calls(1)
        await left_at_once(raw, pair.primary)
    (line,) = await pair.daemon.wait_log("attempt", route=pair.name)
    assert (line["outcome"], line["kind"], line["breaker_after"]) == ("cancelled", "client_gone", "closed")
    state = await pair.state()
    assert (state["recent_failures"], state["in_flight"]) == (0, 0)
    assert pair.fallback.calls == []


@staged("attempts: {max_inline_wait: 30s}")
async def test_19_a_client_that_leaves_in_the_middle_of_a_wait_is_asked_for_no_more(pair: Pair) -> None:
    pair.primary.script(status(429, retry_after=20))
    async with client(pair) as raw:
        await pair.primary.wait_idle()
        await pair.primary.wait_calls(1)
        await pair.daemon.wait_log("attempt", route=pair.name)
        raw.abort()
    (line,) = await pair.daemon.wait_log("request", route=pair.name)
    assert (line["outcome"], line["kind"]) == ("cancelled", "client_gone")
    assert line["duration_s"] < 15
    assert len(pair.primary.calls) == 1


@both_ways
@ahead
async def test_20_a_hundred_short_deadlines_of_the_client_eject_nobody(pair: Pair, stream: bool) -> None:
    pair.primary.script(ok(first_token_delay_s=4))
    hurry = {"x-sidecar-timeout": "1"}
    answers = await asyncio.gather(*(pair.ask(stream=stream, headers=hurry) for _ in range(100)))
    assert {answer.status for answer in answers} == {504}
    assert {answer.error["kind"] for answer in answers if answer.error} == {"client_deadline"}
    state = await pair.state()
    assert (state["breaker"], state["openings"], state["recent_failures"]) == ("closed", 0, 0)
    assert pair.fallback.calls == []
    pair.primary.script(ok())
    answer = await pair.ask(stream=stream)
    assert answer.headers["x-sidecar-target"] == pair.primary_key


@both_ways
@staged(provider=SHORT_OPEN)
async def test_21_a_hundred_requests_at_half_open_are_one_probe(pair: Pair, stream: bool) -> None:
    await opened(pair, pair.primary)
    pair.primary.script(ok(first_token_delay_s=1.5))
    await asyncio.sleep(0.5)  # now a probe is admitted
    before = len(pair.primary.calls)
    answers = await asyncio.gather(*(pair.ask(stream=stream) for _ in range(100)))
    for answer in answers:
        answer.whole()
    assert len(pair.primary.calls) - before == 1
    assert (await pair.state())["breaker"] == "half_open"
    (probe,) = await pair.daemon.wait_log("attempt", target=pair.primary_key, outcome="ok")
    assert probe["breaker_before"] == "open"


@staged(provider=SHORT_OPEN)
async def test_21_the_slot_of_a_probe_is_free_when_its_client_has_left(pair: Pair) -> None:
    await opened(pair, pair.primary)
    pair.primary.script(silence())
    await asyncio.sleep(0.5)
    before = len(pair.primary.calls)
    async with client(pair) as raw:
        await pair.primary.wait_calls(before + 1)
        assert (await pair.ask()).headers["x-sidecar-target"] == pair.fallback_key
        await left_at_once(raw, pair.primary)
    await pair.daemon.wait_log("attempt", target=pair.primary_key, kind="client_gone")
    pair.primary.script(ok())
    answer = await pair.ask()
    assert answer.headers["x-sidecar-target"] == pair.primary_key
    assert (await pair.state())["breaker"] == "half_open"  # one good probe of two


@both_ways
@staged(provider=LONG_OPEN)
async def test_22_with_everything_open_one_panics_and_the_rest_is_answered_here(pair: Pair, stream: bool) -> None:
    await opened(pair, pair.primary, pair.fallback)
    await asyncio.sleep(1.1)  # the panic attempt of the last second is over
    before = len(pair.primary.calls) + len(pair.fallback.calls)
    began = monotonic()
    answers = await asyncio.gather(*(pair.ask(stream=stream) for _ in range(100)))
    burst_s = monotonic() - began
    calls = len(pair.primary.calls) + len(pair.fallback.calls) - before
    assert calls <= 1 + int(burst_s)
    local = [answer for answer in answers if "x-sidecar-attempts" not in answer.headers]
    assert len(local) == 100 - calls
    for answer in local:
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.error is not None
        assert answer.error["kind"] == "no_target"


async def test_23_an_sdk_that_retries_does_not_multiply_what_was_tried(pair: Pair) -> None:
    pair.primary.script(status(500))
    pair.fallback.script(status(500))
    async with openai.AsyncOpenAI(base_url=f"{pair.daemon.base_url}/v1", api_key="none", max_retries=2) as sdk:
        with pytest.raises(openai.InternalServerError) as caught:
            await sdk.chat.completions.create(model=pair.name, messages=[{"role": "user", "content": "Hi"}])
    assert caught.value.status_code == 502
    assert len(pair.primary.calls) + len(pair.fallback.calls) <= 3
    assert caught.value.response.headers["x-should-retry"] == "false"


async def test_24_a_thousand_reloads_fail_no_request(tmp_path: Path) -> None:
    async with FakeProvider() as fake:
        fake.script(ok("one two three", gap_s=0.01))

        def config(number: int) -> str:
            return f"""
providers: {{fake: {{type: openai-compatible, base_url: "{fake.base_url}", api_key: k}}}}
routes: {{default: {{chain: [{{fake/a: {number % 97 + 1}, fake/b: 1}}]}}}}
health: {{mode: "off"}}
"""

        answers: list[tuple[int, bytes]] = []
        async with RunningDaemon(tmp_path, config(0)) as daemon:
            reloading = True

            async def load(stream: bool) -> None:
                while reloading:
                    code, _, body = await daemon.chat(stream=stream)
                    answers.append((code if b'"finish_reason":"stop"' in body else -1, body))
                    await asyncio.sleep(0.05)

            clients = [asyncio.create_task(load(bool(number % 2))) for number in range(8)]
            for number in range(1, 1001):
                daemon.write(config(number))
                code, told = await daemon.admin("POST", "/reload")
                assert code == 200, told
            reloading = False
            await asyncio.gather(*clients)
            assert (await daemon.admin("GET", "/status"))[1]["generation"] >= 1000
            assert daemon.log_lines("config.rejected") == []
        assert len(answers) > 100
        assert [answer for answer in answers if answer[0] != 200] == []
        assert any(b"[DONE]" in body for _, body in answers)


@pytest.mark.parametrize("balance", ["weighted", "round_robin", "random", "least_busy", "fastest"])
async def test_25_a_member_that_is_rate_limited_at_once_gains_no_share(tmp_path: Path, balance: str) -> None:
    async with contextlib.AsyncExitStack() as exits:
        fakes = [await exits.enter_async_context(FakeProvider()) for _ in range(3)]
        fakes[0].script(status(429, delay_s=0.03))
        for fake in fakes[1:]:
            fake.script(ok("one two three", first_token_delay_s=0.05))
        names = "abc"
        providers = "".join(
            f'  {name}: {{type: openai-compatible, base_url: "{fake.base_url}", api_key: k}}\n'
            for name, fake in zip(names, fakes, strict=True)
        )
        pool = ", ".join(f"{name}/m: 1" for name in names)
        config = f"providers:\n{providers}routes: {{default: {{balance: {balance}, chain: [{{{pool}}}]}}}}\n"
        daemon = await exits.enter_async_context(RunningDaemon(tmp_path, config))
        shares = []
        for _ in range(10):
            before = len(fakes[0].calls)
            replies = await asyncio.gather(*(daemon.chat(stream=True) for _ in range(12)))
            assert {code for code, _, _ in replies} == {200}
            shares.append(len(fakes[0].calls) - before)
        # The first dozen may be on its way before the first 429 comes; then it has no share left.
        assert shares[0] <= 12
        assert shares[1:] == [0] * 9
