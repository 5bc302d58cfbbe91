"""What one request comes to when a provider misbehaves: faults 1 to 16, one route and one pair for each.

The times of 6, 7, 9 and 15 run at a tenth here; `unscaled` plays the same functions with the defaults.
"""

from __future__ import annotations

import asyncio
import json
from time import monotonic

import msgspec
import pytest

from tests.fake_behaviours import Behaviour, Request
from tests.fake_provider import (
    WORDS,
    cut_after,
    half_json,
    malformed_chunk_at,
    no_done,
    ok,
    raw,
    reset,
    silence,
    stall_after,
    status,
)
from tests.scenarios.models import goes_on
from tests.scenarios.stage import MARGIN_S, POEM, Answer, Pair, ahead, staged

pytestmark = [pytest.mark.asyncio(loop_scope="module")]

both_ways = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])

TENTH = 0.1


async def served(pair: Pair, answer: Answer, by: str) -> None:
    """Check that it is the whole answer, given by the primary or the fallback."""
    answer.whole()
    key = {"a": pair.primary_key, "b": pair.fallback_key}[by]
    assert answer.headers["x-sidecar-target"] == key
    request, attempts = await pair.told(answer)
    assert (request["outcome"], request["target"], request["attempts"]) == ("ok", key, len(attempts))


@both_ways
@ahead
async def test_01_a_429_with_retry_after_2_is_waited_for(pair: Pair, stream: bool) -> None:
    pair.primary.script(status(429, retry_after=2), ok())
    answer = await pair.ask(stream=stream)
    await served(pair, answer, "a")
    first, second = pair.primary.calls
    assert second.at - first.at >= 1.8
    assert pair.fallback.calls == []
    request, attempts = await pair.told(answer)
    assert [line["selection"] for line in attempts] == ["primary", "retry"]
    assert request["backoff_s"] >= 1.8


@both_ways
@ahead
async def test_02_429_for_ever_costs_few_attempts(pair: Pair, stream: bool) -> None:
    pair.primary.script(status(429))
    began = monotonic()
    while monotonic() - began < 3.0:
        await served(pair, await pair.ask(stream=stream), "b")
        await asyncio.sleep(0.1)
    assert 1 <= len(pair.primary.calls) <= 4
    for _ in range(20):
        await served(pair, await pair.ask(stream=stream), "b")
    assert len(pair.primary.calls) <= 6


@both_ways
async def test_03_a_single_500_is_retried_at_the_same_target(pair: Pair, stream: bool) -> None:
    pair.primary.script(status(500), ok())
    answer = await pair.ask(stream=stream)
    await served(pair, answer, "a")
    assert await pair.tried(answer) == [("a", "server_error"), ("a", "ok")]
    assert pair.fallback.calls == []


@both_ways
async def test_04_503_for_ever_is_answered_by_the_fallback(pair: Pair, stream: bool) -> None:
    pair.primary.script(status(503))
    for _ in range(5):
        await served(pair, await pair.ask(stream=stream), "b")
    assert len(pair.primary.calls) == 3  # then its breaker is open


@both_ways
async def test_05_a_reset_before_the_head_is_answered(pair: Pair, stream: bool) -> None:
    pair.primary.script(reset(), ok())
    await served(pair, await pair.ask(stream=stream), "a")
    # Two calls, but maybe one attempt: a pooled connection that breaks at once may only have been idle too long.
    assert len(pair.primary.calls) == 2


@both_ways
async def test_05_resets_for_ever_are_answered_by_the_fallback(pair: Pair, stream: bool) -> None:
    pair.primary.script(reset())
    answer = await pair.ask(stream=stream)
    await served(pair, answer, "b")
    assert await pair.tried(answer) == [("a", "unreachable"), ("a", "unreachable"), ("b", "ok")]


@both_ways
@staged("rescue: continue", pace=TENTH)
@ahead
async def test_06_a_silent_primary_gets_exactly_one_attempt(pair: Pair, stream: bool) -> None:
    pair.primary.script(silence(pair.s(120)))
    answer = await pair.ask(stream=stream)
    await served(pair, answer, "b")
    assert await pair.tried(answer) == [("a", "first_token_timeout"), ("b", "ok")]
    assert len(pair.primary.calls) == 1
    assert pair.s(12) <= answer.took_s < pair.s(12) + MARGIN_S
    await pair.primary.wait_idle()


@staged("rescue: continue", pace=TENTH)
@ahead
async def test_07_a_head_and_then_a_late_first_token_is_answered(pair: Pair) -> None:
    pair.primary.script(ok(first_token_delay_s=pair.s(20)))
    answer = await pair.ask()
    await served(pair, answer, "b")
    assert await pair.tried(answer) == [("a", "first_token_timeout"), ("b", "ok")]
    assert pair.s(12) <= answer.took_s < pair.s(12) + MARGIN_S
    await served(pair, await pair.ask(), "a")  # a slow model costs one needless failover


@pytest.mark.parametrize("cut", ["fin", "rst", "clean"])
async def test_08_a_stream_cut_at_token_40_is_rescued(pair: Pair, cut: str) -> None:
    pair.primary.script(cut_after(40, cut))
    pair.fallback.script(goes_on)
    answer = await pair.ask()
    answer.whole()
    assert await pair.tried(answer) == [("a", "truncated"), ("b", "ok")]
    _, attempts = await pair.told(answer)
    assert attempts[1]["selection"] == "rescue"
    assert len(pair.primary.calls) == 1


@pytest.mark.parametrize("cut", ["fin", "rst", "clean"])
@staged("rescue: off")
async def test_08_without_rescue_a_cut_stream_is_told_as_broken(pair: Pair, cut: str) -> None:
    pair.primary.script(cut_after(40, cut))
    answer = await pair.ask()
    answer.broken("truncated")
    assert answer.text == " ".join(WORDS[:40])
    assert pair.fallback.calls == []
    request, _ = await pair.told(answer)
    assert (request["outcome"], request["committed"]) == ("truncated", True)


@pytest.mark.parametrize("cut", ["fin", "rst"])
async def test_08_a_plain_answer_that_is_cut_is_answered_by_the_fallback(pair: Pair, cut: str) -> None:
    pair.primary.script(cut_after(40, cut))
    answer = await pair.ask(stream=False)
    await served(pair, answer, "b")
    assert await pair.tried(answer) == [("a", "truncated"), ("b", "ok")]


@staged("rescue: continue", pace=TENTH)
@ahead
async def test_09_a_stream_that_stalls_is_noticed_and_rescued(pair: Pair) -> None:
    pair.primary.script(stall_after(40))
    pair.fallback.script(goes_on)
    answer = await pair.ask()
    answer.whole()
    assert await pair.tried(answer) == [("a", "idle_timeout"), ("b", "ok")]
    assert pair.s(30) <= answer.took_s < pair.s(35) + MARGIN_S
    await pair.primary.wait_idle()


@staged("rescue: off", pace=TENTH)
@ahead
async def test_09_without_rescue_a_stall_is_told_and_the_daemon_stays_well(pair: Pair) -> None:
    pair.primary.script(stall_after(40))
    answer = await pair.ask()
    answer.broken("idle_timeout")
    assert answer.text == " ".join(WORDS[:40])
    assert answer.took_s < pair.s(35) + MARGIN_S
    status_code, _, _ = await pair.daemon.request("GET", "/healthz")
    assert status_code == 200


@staged("rescue: continue", pace=TENTH)
@ahead
async def test_09_a_plain_answer_that_stalls_is_answered_by_the_fallback(pair: Pair) -> None:
    pair.primary.script(stall_after(40))
    await served(pair, await pair.ask(stream=False), "b")


async def test_10_one_malformed_chunk_is_skipped(pair: Pair) -> None:
    pair.primary.script(malformed_chunk_at(30))
    answer = await pair.ask()
    await served(pair, answer, "a")
    _, attempts = await pair.told(answer)
    assert attempts[0]["malformed_events"] == 1


async def test_10_a_plain_answer_that_is_half_a_json_is_answered_by_the_fallback(pair: Pair) -> None:
    pair.primary.script(half_json())
    answer = await pair.ask(stream=False)
    await served(pair, answer, "b")
    assert await pair.tried(answer) == [("a", "malformed"), ("b", "ok")]


async def test_11_a_stream_without_done_ends_at_once(pair: Pair) -> None:
    pair.primary.script(no_done(usage_chunk="always"))
    answer = await pair.ask(stream_options={"include_usage": True})
    await served(pair, answer, "a")
    assert answer.usage is not None
    assert answer.usage["completion_tokens"] == 60
    assert answer.took_s < MARGIN_S


async def test_11_a_stream_that_is_finished_but_never_ends_is_ended(pair: Pair) -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "alpha"}
    usage = {"prompt_tokens": 7, "completion_tokens": 60, "total_tokens": 67}
    deltas = ({"delta": {"content": POEM}, "finish_reason": None}, {"delta": {}, "finish_reason": "stop"})
    frames = [{**chunk, "choices": [{"index": 0, **delta}]} for delta in deltas]
    frames.append({**chunk, "choices": [], "usage": usage})
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    data = b"".join(b"data: " + msgspec.json.encode(frame) + b"\n\n" for frame in frames)
    pair.primary.script(raw(head + b"%x\r\n%b\r\n" % (len(data), data), b"", then=None, gap_s=60.0))
    answer = await pair.ask(stream_options={"include_usage": True})
    await served(pair, answer, "a")
    assert answer.usage == usage
    assert answer.took_s < 1 + MARGIN_S


@both_ways
async def test_12_an_overlong_context_goes_to_the_fallback_once(pair: Pair, stream: bool) -> None:
    pair.primary.script(status(400, "too long", code="context_length_exceeded"))
    answer = await pair.ask(stream=stream)
    await served(pair, answer, "b")
    assert await pair.tried(answer) == [("a", "context_length"), ("b", "ok")]
    assert (await pair.state())["recent_failures"] == 0


@both_ways
async def test_13_a_refused_content_is_told_and_not_shopped_around(pair: Pair, stream: bool) -> None:
    refusal = "Your request was rejected by our safety system"
    pair.primary.script(status(400, refusal, code="content_policy_violation"))
    answer = await pair.ask(stream=stream)
    assert answer.status == 400
    assert answer.error is not None
    assert refusal in answer.error["message"]
    assert answer.error["code"] == "content_policy_violation"
    assert len(pair.primary.calls) == 1
    assert pair.fallback.calls == []


def _refuses(role_last: bool) -> object:
    """A provider that takes no assistant message at the end, or none at all."""

    def move(request: Request) -> Behaviour:
        roles = [message["role"] for message in request.json["messages"]]
        refused = roles[-1] == "assistant" if role_last else "assistant" in roles
        return status(400, "the last message must be the user's") if refused else goes_on(request)

    return move


@pytest.mark.parametrize("role_last", [True, False], ids=["at_the_end", "anywhere"])
async def test_14_a_fallback_that_takes_no_assistant_message_never_hides_the_break(pair: Pair, role_last: bool) -> None:
    pair.primary.script(cut_after(40))
    pair.fallback.script(_refuses(role_last))  # type: ignore[arg-type]
    answer = await pair.ask()
    if role_last:
        answer.whole()
    else:
        error = answer.broken("truncated")
        assert "must be the user's" not in json.dumps(error["message"])
        assert answer.text == " ".join(WORDS[:40])


@both_ways
@staged("rescue: continue", "health: {interval: 100ms}", pace=TENTH)  # the list is green, and often read
@ahead
async def test_15_an_outage_costs_few_attempts_and_ends_quickly(pair: Pair, stream: bool) -> None:
    pair.primary.script(status(503))
    began = monotonic()
    outage_ends = began + pair.s(60)
    asked = 0
    while monotonic() < outage_ends:  # one every 4 s
        answer = await pair.ask(stream=stream)
        answer.whole()
        asked += 1
        await asyncio.sleep(max(0.0, began + asked * pair.s(4) - monotonic()))
    assert asked <= 15
    assert len(pair.primary.calls) <= 12
    pair.primary.script(ok())
    before, recovered = len(pair.primary.calls), monotonic()
    while len(pair.primary.calls) == before:
        assert monotonic() - recovered < pair.s(15) + MARGIN_S
        (await pair.ask(stream=stream)).whole()
        await asyncio.sleep(pair.s(1))
    assert len(pair.daemon.log_lines("request", route=pair.name, status=200)) > asked


@both_ways
async def test_16_the_answer_names_who_served_and_what_it_took(pair: Pair, stream: bool) -> None:
    pair.primary.script(status(500))
    options = {"stream_options": {"include_usage": True}} if stream else {}
    answer = await pair.ask(stream=stream, **options)
    await served(pair, answer, "b")
    assert answer.model == "beta"
    assert answer.usage == {"prompt_tokens": 7, "completion_tokens": 60, "total_tokens": 67}
    request, attempts = await pair.told(answer)
    assert (request["model_served"], request["input_tokens"], request["output_tokens"]) == ("beta", 7, 60)
    assert [line["outcome"] for line in attempts] == ["failed", "failed", "ok"]
    assert answer.headers["x-sidecar-attempts"].count(",") == 2
