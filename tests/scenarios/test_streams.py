"""Streams that are rescued, held, buffered, kept awake and hedged, end to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import msgspec
import openai
import pytest

from tests.fake_behaviours import Behaviour, Request
from tests.fake_provider import WORDS, cut_after, error_event_in_200, ok, raw, silence, status
from tests.scenarios.models import goes_on, repeats
from tests.scenarios.stage import LEFT_WITHIN_S, POEM, Pair, Stage, Staging, client, left_at_once, staged

pytestmark = [pytest.mark.asyncio(loop_scope="module")]

BEGINNING = " ".join(WORDS[:40])
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

# Rescue.


@pytest.mark.parametrize("words", [0, 1, 3, 40], ids=["goes_on", "repeats_a_word", "repeats_three", "begins_again"])
async def test_whatever_the_next_model_repeats_the_client_reads_it_once(pair: Pair, words: int) -> None:
    pair.primary.script(cut_after(40))
    pair.fallback.script(repeats(words))
    answer = await pair.ask()
    answer.whole()
    assert answer.comments == [f"rescued by {pair.fallback_key}"]
    request, attempts = await pair.told(answer)
    assert [(line["selection"], line["outcome"]) for line in attempts] == [("primary", "truncated"), ("rescue", "ok")]
    assert (request["outcome"], request["target"]) == ("ok", pair.fallback_key)
    (asked,) = pair.fallback.calls
    assert [message["role"] for message in asked.json["messages"]] == ["user", "assistant", "user"]
    assert asked.json["messages"][1]["content"] == BEGINNING


async def test_an_error_event_after_some_text_is_rescued_too(pair: Pair) -> None:
    pair.primary.script(error_event_in_200(at=40, gap_s=0.002))
    pair.fallback.script(goes_on)
    answer = await pair.ask()
    answer.whole()
    assert await pair.tried(answer) == [("a", "server_error"), ("b", "ok")]


async def test_a_tool_call_that_was_begun_is_not_gone_on_with(pair: Pair) -> None:
    pair.primary.script(ok(tool_calls=(("weather", '{"city": "Oslo"}'),), cut_after=2))
    answer = await pair.ask()
    answer.broken("truncated")
    assert pair.fallback.calls == []


@pytest.mark.parametrize(
    "fields", [{"response_format": {"type": "json_object"}}, {"n": 2}], ids=["structured", "two_answers"]
)
async def test_what_is_not_one_plain_text_is_not_gone_on_with(pair: Pair, fields: dict[str, object]) -> None:
    pair.primary.script(cut_after(40))
    answer = await pair.ask(**fields)
    answer.broken("truncated")
    assert pair.fallback.calls == []


@pytest.mark.parametrize("refusal", [400, 401, 429, 500], ids=str)
async def test_when_the_rescue_is_refused_the_client_is_told_of_the_break(pair: Pair, refusal: int) -> None:
    pair.primary.script(cut_after(40))
    pair.fallback.script(status(refusal, "not like this"))
    answer = await pair.ask()
    error = answer.broken("truncated")
    assert answer.text == BEGINNING
    assert "not like this" not in error["message"]
    assert error["attempts"][0]["kind"] == "truncated"
    request, _ = await pair.told(answer)
    assert (request["outcome"], request["kind"]) == ("truncated", "truncated")


@staged(chain="[{a}, {b}, {c}]")
async def test_a_request_is_rescued_once(pair: Pair) -> None:
    pair.primary.script(cut_after(40))
    pair.fallback.script(_cut_again)
    answer = await pair.ask()
    answer.broken("truncated")
    assert answer.text == " ".join(WORDS[:50])
    assert await pair.tried(answer) == [("a", "truncated"), ("b", "truncated")]


def _cut_again(request: Request) -> Behaviour:
    return ok(words=(f" {WORDS[40]}", *WORDS[41:]), cut_after=10) if len(request.json["messages"]) > 1 else ok()


@staged(chain="[{a}, {b}, {c}]")
async def test_when_one_refuses_the_rescue_another_may_do_it(pair: Pair) -> None:
    pair.primary.script(cut_after(40))
    pair.fallback.on("beta", status(503))
    pair.fallback.on("gamma", goes_on)
    answer = await pair.ask()
    answer.whole()
    assert (await pair.tried(answer))[-1] == ("c", "ok")
    pair.fallback.on("beta", ok())


@staged("rescue: off")
async def test_an_sdk_raises_on_a_stream_that_breaks(pair: Pair) -> None:
    pair.primary.script(cut_after(40, gap_s=0.002))
    text = ""
    async with openai.AsyncOpenAI(base_url=f"{pair.daemon.base_url}/v1", api_key="none", max_retries=2) as sdk:
        chunks = await sdk.chat.completions.create(
            model=pair.name, messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        with pytest.raises(openai.APIError, match="the connection ended"):  # noqa: PT012 - the text before is asserted, too
            async for chunk in chunks:
                text += chunk.choices[0].delta.content or ""
    assert text == BEGINNING
    assert len(pair.primary.calls) == 1


async def test_the_requests_line_sums_what_both_targets_used(pair: Pair) -> None:
    def chunk(text: str, spent: int) -> bytes:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        usage = {"prompt_tokens": 7, "completion_tokens": spent, "total_tokens": 7 + spent}
        event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "alpha", "choices": [choice]}
        data = b"data: " + msgspec.json.encode({**event, "usage": usage}) + b"\n\n"
        return b"%x\r\n%b\r\n" % (len(data), data)

    pair.primary.script(raw(HEAD + chunk(" ".join(WORDS[:20]), 20) + chunk(" " + " ".join(WORDS[20:40]), 40)))
    pair.fallback.script(goes_on)
    answer = await pair.ask()
    answer.whole()
    request, attempts = await pair.told(answer)
    assert [line["output_tokens"] for line in attempts] == [40, 20]
    assert (request["input_tokens"], request["output_tokens"]) == (14, 60)


async def test_a_client_that_leaves_during_the_rescue_is_followed_at_once(pair: Pair) -> None:
    pair.primary.script(cut_after(40))
    pair.fallback.script(silence())
    async with client(pair) as one:
        await pair.fallback.wait_calls(1)
        await left_at_once(one, pair.fallback)
    (request,) = await pair.daemon.wait_log("request", route=pair.name)
    assert (request["outcome"], request["kind"]) == ("cancelled", "client_gone")


# Hold and buffer.


@staged("stream: hold, hold: {events: 20, time: 5s}")
async def test_what_breaks_while_it_is_held_is_never_seen(pair: Pair) -> None:
    pair.primary.script(cut_after(10))
    answer = await pair.ask()
    answer.whole()
    assert answer.model == "beta"
    assert await pair.tried(answer) == [("a", "truncated"), ("b", "ok")]


@staged("stream: hold, hold: {events: 20, time: 5s}")
async def test_what_breaks_after_it_was_held_is_told(pair: Pair) -> None:
    pair.primary.script(cut_after(40, gap_s=0.002))
    answer = await pair.ask()
    answer.broken("truncated")
    assert answer.text == BEGINNING


@staged("stream: hold, hold: {events: 1000, time: 400ms}")
async def test_a_stream_is_held_no_longer_than_it_is_meant_to_be(pair: Pair) -> None:
    pair.primary.script(ok(gap_s=0.05))
    async with client(pair) as one:
        began = monotonic()
        assert (await one.head()).status == 200
        assert 0.3 < monotonic() - began < 2.5  # all of it takes 3 s
        body = b""
        while piece := await one.chunk():
            body += piece
    assert body.endswith(b"data: [DONE]\n\n")
    assert body.count(b'"content"') >= len(WORDS)


@staged("stream: buffer")
@pytest.mark.parametrize("fault", ["cut", "event"])
async def test_of_a_buffered_stream_no_break_is_seen(pair: Pair, fault: str) -> None:
    pair.primary.script({"cut": cut_after(59), "event": error_event_in_200(at=30)}[fault])
    answer = await pair.ask()
    answer.whole()
    assert answer.model == "beta"


@staged("stream: buffer")
async def test_a_buffered_stream_comes_when_it_is_whole(pair: Pair) -> None:
    pair.primary.script(ok(gap_s=0.01))
    async with client(pair) as one:
        began = monotonic()
        await one.head()
        assert monotonic() - began > 0.5
    # the client left: nothing was under way any more, or it was ended
    await pair.primary.wait_idle()


# Kept awake.


@staged("sse_keepalive: 100ms")
async def test_a_client_that_waits_hears_comments_and_then_the_answer(pair: Pair) -> None:
    pair.primary.script(ok(first_token_delay_s=0.6))
    answer = await pair.ask()
    answer.whole()
    assert len(answer.comments) >= 2
    assert answer.body.startswith(b": ")


@staged("sse_keepalive: 100ms")
async def test_a_failure_after_comments_is_told_in_the_stream(pair: Pair) -> None:
    pair.primary.script(status(503, delay_s=0.3))
    pair.fallback.script(status(503, delay_s=0.1))
    answer = await pair.ask()
    error = answer.broken("overloaded")
    assert answer.comments
    assert len(error["attempts"]) == 3
    request, _ = await pair.told(answer)
    assert (request["outcome"], request["kind"]) == ("failed", "overloaded")


@staged("sse_keepalive: 2s")
async def test_a_failure_before_any_comment_has_its_status(pair: Pair) -> None:
    pair.primary.script(status(400, code="content_policy_violation"))
    answer = await pair.ask()
    assert (answer.status, answer.framed) == (400, True)


@staged("sse_keepalive: 100ms")
async def test_a_whole_answer_is_waited_for_in_silence(pair: Pair) -> None:
    pair.primary.script(ok(first_token_delay_s=0.4))
    answer = await pair.ask(stream=False)
    answer.whole()
    assert not answer.streamed


@staged("sse_keepalive: 100ms")
async def test_a_client_that_leaves_while_it_is_kept_awake_is_followed_at_once(pair: Pair) -> None:
    pair.primary.script(silence())
    async with client(pair) as one:
        assert (await one.head()).status == 200
        await one.chunk()
        await left_at_once(one, pair.primary)


@staged("sse_keepalive: 100ms, rescue: continue")
async def test_a_stream_that_was_kept_awake_is_rescued_all_the_same(pair: Pair) -> None:
    pair.primary.script(cut_after(40, first_token_delay_s=0.3))
    pair.fallback.script(goes_on)
    (await pair.ask()).whole()


# Hedges.

POOL = "[{{{a}: 1, {b}: 1}}]"
HEDGED = "hedge: {after: 500ms, max_extra_load: 100%}"


def in_turn(pair: Pair, *behaviours: Behaviour) -> list[str]:
    """Let whichever provider is asked first do the first of these, and so on; names them as they are asked."""
    asked: list[str] = []

    def mover(name: str) -> Callable[[Request], Behaviour]:
        def move(_: Request) -> Behaviour:
            asked.append(name)
            return behaviours[min(len(asked), len(behaviours)) - 1]

        return move

    pair.primary.script(mover("a"))
    pair.fallback.script(mover("b"))
    return asked


async def free(pair: Pair) -> None:
    """Nothing is held of either target, and nothing counted against it."""
    for key in (pair.primary_key, pair.fallback_key):
        state = await pair.state(key)
        assert (state["in_flight"], state["breaker"], state["recent_failures"]) == (0, "closed", 0), state


@staged(HEDGED, chain=POOL)
async def test_the_second_target_wins_when_the_first_is_late(pair: Pair) -> None:
    asked = in_turn(pair, ok(first_token_delay_s=30), ok())
    answer = await pair.ask()
    answer.whole()
    assert answer.took_s < 10
    assert sorted(asked) == ["a", "b"]
    request, attempts = await pair.told(answer)
    assert {line["selection"]: line["outcome"] for line in attempts} == {"primary": "hedge_lost", "hedge": "ok"}
    for line in (request, *attempts):
        assert line["overhead_s"] < 0.3, "what any of them waited for the provider is not ours"
    await {"a": pair.primary, "b": pair.fallback}[asked[0]].wait_idle(LEFT_WITHIN_S)
    await free(pair)


@staged(HEDGED, chain=POOL)
async def test_the_first_target_wins_when_it_is_only_a_little_late(pair: Pair) -> None:
    asked = in_turn(pair, ok(first_token_delay_s=1.0), ok(first_token_delay_s=30))
    answer = await pair.ask()
    answer.whole()
    assert answer.took_s < 10
    _, attempts = await pair.told(answer)
    assert {line["selection"]: line["outcome"] for line in attempts} == {"primary": "ok", "hedge": "hedge_lost"}
    await {"a": pair.primary, "b": pair.fallback}[asked[1]].wait_idle(LEFT_WITHIN_S)
    await free(pair)


@staged(HEDGED, chain=POOL)
async def test_who_fails_in_a_race_leaves_the_other_to_go_on(pair: Pair) -> None:
    in_turn(pair, ok(first_token_delay_s=1.5), status(500, delay_s=0.1))
    answer = await pair.ask()
    answer.whole()
    _, attempts = await pair.told(answer)
    assert {line["selection"]: line["outcome"] for line in attempts} == {"primary": "ok", "hedge": "failed"}


@staged(HEDGED, chain=POOL)
async def test_when_both_fail_the_client_is_told_of_both(pair: Pair) -> None:
    in_turn(pair, status(503, delay_s=1.2), status(500, delay_s=0.1))
    answer = await pair.ask()
    assert answer.status == 503
    assert answer.error is not None
    assert {attempt["kind"] for attempt in answer.error["attempts"]} == {"overloaded", "server_error"}


@staged(HEDGED, chain=POOL)
async def test_who_answers_in_time_races_with_nobody(pair: Pair) -> None:
    asked = in_turn(pair, ok())
    for _ in range(5):
        (await pair.ask()).whole()
    assert len(asked) == 5


@staged(HEDGED, chain=POOL)
async def test_a_whole_answer_is_not_hedged(pair: Pair) -> None:
    asked = in_turn(pair, ok(first_token_delay_s=0.8))
    (await pair.ask(stream=False)).whole()
    assert len(asked) == 1


@staged("hedge: {after: p95, max_extra_load: 100%}", chain=POOL)
async def test_late_may_mean_later_than_usual(pair: Pair) -> None:
    for _ in range(60):
        (await pair.ask()).whole()
    asked = in_turn(pair, ok(first_token_delay_s=30), ok())
    answer = await pair.ask()
    answer.whole()
    assert answer.took_s < 10
    assert sorted(asked) == ["a", "b"]


@staged(HEDGED, chain=POOL)
async def test_a_client_that_leaves_a_race_is_followed_by_both(pair: Pair) -> None:
    in_turn(pair, silence(), silence(head=True))
    async with client(pair) as one:
        await pair.primary.wait_calls(1)
        await pair.fallback.wait_calls(1)
        await left_at_once(one, pair.primary, pair.fallback)
    lines = await pair.daemon.wait_log("attempt", route=pair.name, count=2)
    assert [(line["outcome"], line["kind"]) for line in lines] == [("cancelled", "client_gone")] * 2
    await free(pair)


async def test_hedges_add_no_more_load_than_they_may(tmp_path: Path) -> None:
    staging = Staging("hedge: {after: 150ms, max_extra_load: 10%}", chain=POOL)
    async with Stage(tmp_path, {"hedged": staging}) as stage:
        pair = stage.pair("hedged")
        for fake in (pair.primary, pair.fallback):
            fake.script(ok(first_token_delay_s=0.6))
        answers = await asyncio.gather(*(pair.ask() for _ in range(40)))
        assert {answer.text for answer in answers} == {POEM}
        hedges = await pair.daemon.wait_log("attempt", selection="hedge", count=1)
        assert 1 <= len(hedges) <= 4
        assert len(pair.primary.calls) + len(pair.fallback.calls) == 40 + len(hedges)
        await free(pair)
