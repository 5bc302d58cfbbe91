"""Real traffic of thirty vendors, where the recordings are at hand: the tap against a plain reading."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import zstandard

from sidecar.dialects.openai_errors import decode_failure
from sidecar.dialects.openai_facts import AnswerFacts, read_answer, stream_of
from sidecar.dialects.openai_reading import Reading, answer_of, read_message
from sidecar.dialects.sse import split
from sidecar.model.failures import Failure, Kind
from sidecar.model.topology import Operation
from tests.dialects import oracle

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "cassettes" / "replies.jsonl.zst"
MINE = ("openai-chat", "openai-completions")

SMALL_BYTES = 10_000

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not beside this checkout")


@cache
def recorded() -> list[dict[str, Any]]:
    with RECORDINGS.open("rb") as file:
        lines = zstandard.ZstdDecompressor().stream_reader(file).read().splitlines()
    return [json.loads(line) for line in lines]


def streams() -> list[tuple[str, bytes]]:
    found = [row for row in recorded() if row["dialect"] in MINE and row["res"]["status"] == 200]
    return [(f"{row['vendor']} {row['id']}", row["res"]["text"].encode()) for row in found if "text" in row["res"]]


def answers() -> list[tuple[str, dict[str, Any]]]:
    found = [row for row in recorded() if row["dialect"] in MINE and row["res"]["status"] == 200]
    return [(f"{row['vendor']} {row['id']}", row["res"]["json"]) for row in found if "json" in row["res"]]


def said(events: list[dict[str, Any]], *, whole: bool = False) -> dict[str, Any]:
    """The first choice, by nothing but dicts: text, reasoning, calls in order, finish reason, usage."""
    text = reasoning = ""
    calls: dict[int, list[str]] = {}
    finish = usage = None
    for event in events:
        usage = event.get("usage") or usage
        for choice in event.get("choices") or []:
            if choice.get("index", 0) != 0:
                continue
            delta = choice.get("message" if whole else "delta") or {"content": choice.get("text")}
            content = delta.get("content")
            if isinstance(content, list):
                text += "".join(part["text"] for part in content if part["type"] == "text")
                thoughts = [part["thinking"] for part in content if part["type"] == "thinking"]
                reasoning += "".join(piece["text"] for some in thoughts for piece in some)
            else:
                text += content or ""
            reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
            finish = choice.get("finish_reason") or finish
            for position, call in enumerate(delta.get("tool_calls") or []):
                into = calls.setdefault(call.get("index", position), ["", "", ""])
                into[0] = into[0] or call.get("id") or ""
                into[1] = into[1] or call["function"].get("name") or ""
                into[2] += call["function"].get("arguments") or ""
    return {
        "text": text,
        "reasoning": reasoning,
        "calls": [(name, arguments or "{}") for _, (_, name, arguments) in sorted(calls.items())],
        "finish": finish,
        "tokens": usage and tokens(usage),
    }


def tokens(usage: dict[str, Any]) -> tuple[int, int]:
    """What went in and what came out, thoughts included."""
    prompt, completion = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    return prompt, max(completion, usage.get("total_tokens", 0) - prompt)


def read(reading: Reading) -> dict[str, Any]:
    usage = reading.usage
    return {
        "text": reading.content,
        "reasoning": reading.reasoning,
        "calls": [(call.function.name, call.function.arguments) for call in reading.tool_calls],
        "finish": reading.finish_reason,
        "tokens": usage and (usage["prompt_tokens"], usage["completion_tokens"]),
    }


def taken(stream: bytes) -> Reading:
    reading = Reading()
    for event in oracle.events(stream):
        reading.take(event)
    return reading


def test_streams_pass_whole_and_are_seen_alike_at_every_size() -> None:
    found = streams()
    assert len(found) > 200
    for name, stream in found:
        expected = oracle.read(stream)
        plain = said(list(oracle.events(stream)))
        for size in (1, 2, 3, 7, 64, len(stream)):
            if size < 7 and len(stream) > SMALL_BYTES:
                continue  # seconds, for what the others show
            tap, passed = oracle.tapped(oracle.sliced(stream, size))
            joined = b"".join(passed)
            assert joined == expected.passed == stream, name
            assert oracle.facts(tap) == {fact: getattr(expected, fact) for fact in oracle.facts(tap)}, name
            assert tap.verdict() is None, name
            assert tap.malformed == 0, name
            assert tap.model, name
            tokens = tap.usage and (tap.usage.input_tokens, tap.usage.output_tokens)
            assert (tap.finish_reason, tokens) == (plain["finish"], plain["tokens"]), name
        assert read(taken(stream)) == plain, name


def test_withholding_takes_out_the_usage_chunk_and_nothing_else() -> None:
    held = Counter[bool]()
    for name, stream in streams():
        _, passed = oracle.tapped(oracle.sliced(stream, 512), withhold_usage=True)
        kept = split(b"".join(passed))
        lost = [frame for frame in split(stream) if frame not in kept]
        events = [event for frame in lost for event in oracle.events(frame)]
        assert all(event["choices"] == [] and event["usage"] for event in events), name
        held[bool(lost)] += 1
    assert held[True] > 20


def test_a_stream_cut_anywhere_is_never_taken_for_a_whole_one() -> None:
    for name, stream in streams():
        frames = split(stream)
        finish = next(
            number
            for number, frame in enumerate(frames)
            if any(choice.get("finish_reason") for event in oracle.events(frame) for choice in event["choices"])
        )
        cut = b"".join(frames[:finish]) + frames[finish][: len(frames[finish]) // 2]
        tap, _ = oracle.tapped(oracle.sliced(cut, 64))
        verdict = tap.verdict()
        assert verdict is not None, name
        assert verdict.kind in (Kind.TRUNCATED, Kind.MALFORMED), name


def test_a_recorded_stream_reads_the_same_as_one_answer() -> None:
    for name, stream in streams():
        body = answer_of(stream)
        assert body is not None, name
        assert read(read_message(body)) == said(list(oracle.events(stream))), name


def test_recorded_answers_are_read_and_can_be_streamed() -> None:
    kinds = Counter[str]()
    for name, value in answers():
        body = json.dumps(value).encode()
        facts = read_answer(body, Operation.CHAT)
        if isinstance(facts, Failure):
            assert not value.get("choices"), name  # recordings of other services: transcripts, rankings
            kinds[facts.kind] += 1
            continue
        if facts.fault:
            assert value.get("error"), name
            kinds[decode_failure(200, {}, body, 0.0).kind] += 1
            continue
        plain = said([value], whole=True)
        assert (facts.finish_reason, facts.model) == (plain["finish"], value["model"]), name
        assert read(read_message(body)) == plain, name
        stream = stream_of(body, with_usage=True)
        tap, _ = oracle.tapped(oracle.sliced(stream, 100))
        assert tap.verdict() is None, name
        assert read(taken(stream)) == {**plain, "finish": plain["finish"] or "stop"}, name
        kinds["answer"] += 1
    assert kinds["answer"] > 600
    assert kinds[Kind.CONTENT_POLICY] == 1
    assert set(kinds) <= {"answer", Kind.CONTENT_POLICY, Kind.MALFORMED}


# What the recorded errors of every vendor and dialect are taken for.
PLAUSIBLE = {
    400: {
        Kind.INVALID_REQUEST,
        Kind.CONTEXT_LENGTH,
        Kind.MODEL_UNAVAILABLE,
        Kind.CONTENT_POLICY,
        Kind.CREDENTIAL,
        Kind.QUOTA_EXHAUSTED,
    },
    401: {Kind.CREDENTIAL},
    403: {Kind.CREDENTIAL, Kind.MODEL_UNAVAILABLE},
    404: {Kind.MODEL_UNAVAILABLE},
    429: {Kind.RATE_LIMITED, Kind.QUOTA_EXHAUSTED},
    500: {Kind.SERVER_ERROR},
}


def test_recorded_errors_are_of_a_plausible_kind() -> None:
    counts = Counter[tuple[int, str]]()
    for row in recorded():
        reply = row["res"]
        if reply["status"] < 400:
            continue
        body = reply["text"].encode() if "text" in reply else json.dumps(reply["json"]).encode()
        failure = decode_failure(reply["status"], reply["headers"], body, 0.0)
        counts[reply["status"], failure.kind.value] += 1
        assert failure.kind in PLAUSIBLE[reply["status"]], (row["vendor"], failure)
        assert not failure.message.startswith(("{", "[", "HTTP")), failure
    print("\n".join(f"{status} {kind}: {count}" for (status, kind), count in sorted(counts.items())))
    assert sum(counts.values()) > 50
    assert counts[400, Kind.CONTEXT_LENGTH] >= 3
    assert counts[400, Kind.CREDENTIAL] >= 2


def test_recorded_answers_of_200_hold_facts_of_type() -> None:
    facts = [read_answer(json.dumps(value).encode(), Operation.CHAT) for _, value in answers()]
    assert sum(isinstance(fact, AnswerFacts) and fact.usage is not None for fact in facts) > 600
