"""Real traffic of Gemini's dialect, where the recordings are at hand: nothing of it is lost, read or written."""

from __future__ import annotations

import copy
import json
import warnings
from collections import Counter
from functools import cache
from typing import Any

import pytest
from google.genai import types as sdk

from sidecar.dialects import gemini_generate as codec
from sidecar.dialects.gemini_count import counted
from sidecar.dialects.gemini_embeddings import gemini_answer, openai_answer, openai_request
from sidecar.dialects.gemini_fields import camel
from sidecar.dialects.sse import parse, split
from sidecar.model.blocks import Text, Thinking, ToolUse
from sidecar.model.errors import ValidationError
from sidecar.model.events import fold
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubResponse, Loss, Wire
from sidecar.model.topology import Dialect
from tests.dialects.codecs import keeps_grammar, read_stream, write_stream
from tests.dialects.oracle import sliced
from tests.dialects.test_recorded import RECORDINGS, recorded

SMALL_BYTES = 10_000
# Recorded requests that are not what the client sent, or that no server took.
SPOILT = {
    "2eaf27497ae3f779": "the recorder has cut the PDF inside of its base64",
    "13ffc300668b914a": "the same",
    "1b29ff87314dceb0": "the same",
    "0c026bffa17679fb": 'role "invalid_role", which the provider refused as well',
    "362ac822c7da1627": "the body was not recorded",
}
NUMBERED = "0760b9065ecbb9d2"  # enumerations as numbers, which the SDK never asks for and cannot read

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not beside this checkout")


@cache
def rows(*dialects: str) -> list[dict[str, Any]]:
    return [row for row in recorded() if row["dialect"] in dialects]


def requests() -> list[tuple[str, str, dict[str, Any]]]:
    found = [row for row in rows("gemini", "gemini-stream") if row["id"] not in SPOILT]
    return [(row["id"], row["url"].rpartition("models/")[2].partition(":")[0], row["req"]["json"]) for row in found]


def answers() -> list[tuple[str, dict[str, Any]]]:
    found = [row for row in rows("gemini", "gemini-stream") if row["res"]["status"] == 200]
    return [(row["id"], row["res"]["json"]) for row in found if isinstance(row["res"].get("json"), dict)]


def streams() -> list[tuple[str, bytes]]:
    """Those that came as one array, too."""
    found: list[tuple[str, bytes]] = []
    for row in rows("gemini", "gemini-stream"):
        reply = row["res"]
        if reply["status"] != 200:
            continue
        if "text" in reply:
            found.append((row["id"], reply["text"].encode()))
        elif isinstance(reply["json"], list):
            frames = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in reply["json"]]
            found.append((row["id"], b"".join(frames)))
    return found


def chunks_of(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(data) for frame in split(stream) if (data := parse(frame).data)]


def plain(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The first candidate, by nothing but dicts."""
    text = thought = ""
    calls, signatures = [], []
    finish = usage = None
    for chunk in chunks:
        usage = chunk.get("usageMetadata") or usage
        finish = finish or chunk.get("promptFeedback", {}).get("blockReason")
        for candidate in chunk.get("candidates", [])[:1]:
            finish = candidate.get("finishReason") or finish
            for part in candidate.get("content", {}).get("parts", []):
                if part.get("thought"):
                    thought += part.get("text", "")
                elif "functionCall" in part:
                    calls.append((part["functionCall"]["name"], part["functionCall"].get("args", {})))
                elif "text" in part:
                    text += part["text"]
                if part.keys() & {"text", "functionCall"} and part.get("thoughtSignature"):
                    signatures.append(part["thoughtSignature"])
    return {
        "text": text,
        "thought": thought,
        "calls": calls,
        "signatures": signatures,
        "finish": "STOP" if finish == 1 else finish,
        "tokens": _tokens(usage or {}),
    }


def _tokens(usage: dict[str, Any]) -> tuple[int, int]:
    prompt, tools = usage.get("promptTokenCount", 0), usage.get("toolUsePromptTokenCount", 0)
    answer, thoughts = usage.get("candidatesTokenCount", 0), usage.get("thoughtsTokenCount", 0)
    if "totalTokenCount" in usage:
        assert prompt + tools + answer + thoughts == usage["totalTokenCount"]
    return prompt + tools, answer + thoughts


def told(response: HubResponse) -> dict[str, Any]:
    texts = [block.text for block in response.blocks if isinstance(block, Text)]
    thoughts = [block.text for block in response.blocks if isinstance(block, Thinking)]
    calls = [(block.name, json.loads(block.arguments)) for block in response.blocks if isinstance(block, ToolUse)]
    signed = [block.signature for block in response.blocks if isinstance(block, Text | Thinking | ToolUse)]
    usage = response.usage
    return {
        "text": "".join(texts),
        "thought": "".join(thoughts),
        "calls": calls,
        "signatures": [signature for signature in signed if signature],
        "finish": response.stop_native,
        "tokens": ((usage.input_tokens or 0), (usage.output_tokens or 0)) if usage else (0, 0),
    }


def seen(body: dict[str, Any]) -> dict[str, Any]:
    """What the SDK makes of an answer or a chunk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of words newer than it
        response = sdk.GenerateContentResponse._from_response(response=copy.deepcopy(body), kwargs={})
    return response.model_dump()


def response_of(stream: bytes) -> HubResponse:
    events = read_stream(codec, stream)
    assert keeps_grammar(events)
    response = fold(events)
    assert isinstance(response, HubResponse), response
    return response


def test_recorded_requests_come_back_as_they_were() -> None:
    found = requests()
    assert len(found) > 280
    for name, model, body in found:
        losses: list[Loss] = []
        request = codec.decode_request(body, model, stream=False)
        again = json.loads(json.dumps(codec.encode_request(request, Wire(model), losses)))
        expected = camel(body)
        if isinstance(expected.get("tools"), dict):  # one object for a list of one
            expected["tools"] = [expected["tools"]]
        assert again == expected, name
        assert losses == [], name


def test_recorded_requests_that_are_none_are_refused() -> None:
    for row in rows("gemini", "gemini-stream"):
        if row["id"] in SPOILT:
            with pytest.raises(ValidationError):
                codec.decode_request(row["req"].get("json") or {}, "m", stream=False)


def test_recorded_answers_are_read_and_come_back_as_they_were() -> None:
    stops = Counter[str]()
    for name, body in answers():
        response = codec.decode_response(body)
        assert isinstance(response, HubResponse), (name, response)
        assert told(response) == plain([body]), name
        losses: list[Loss] = []
        again = json.loads(json.dumps(codec.encode_response(response, losses)))
        assert again == body, name
        assert losses == [], name
        assert seen(again) == seen(body), name
        stops[response.stop.value] += 1
    assert stops["end"] > 100
    assert stops["tool_use"] > 80
    assert stops["refusal"] == 2


def test_recorded_streams_are_read_alike_however_they_are_torn() -> None:
    found = streams()
    assert len(found) > 50
    for name, stream in found:
        events = read_stream(codec, stream)
        assert told(response_of(stream)) == plain(chunks_of(stream)), name
        for size in (1, 3, 64):
            if size == 1 and len(stream) > SMALL_BYTES:
                continue  # seconds, for what the others show
            assert read_stream(codec, *sliced(stream, size)) == events, name


def test_recorded_streams_written_anew_say_the_same_to_the_sdk() -> None:
    for name, stream in streams():
        response = response_of(stream)
        again, losses = write_stream(codec, read_stream(codec, stream))
        assert losses == [], name
        assert told(response_of(again)) == told(response), name
        if name != NUMBERED:
            assert [seen(chunk) for chunk in chunks_of(again)], name


def test_a_recorded_stream_that_is_cut_is_never_taken_for_whole() -> None:
    for name, stream in streams():
        frames = split(stream)
        finish = next(
            number for number, frame in enumerate(frames) if (data := parse(frame).data) and b'"finishReason"' in data
        )
        cut = b"".join(frames[:finish]) + frames[finish][: len(frames[finish]) // 2]
        failure = fold(read_stream(codec, cut))
        assert isinstance(failure, Failure), name
        assert failure.kind in (Kind.TRUNCATED, Kind.MALFORMED), name


def test_recorded_answers_as_another_dialects_are_read_by_the_sdk() -> None:
    """As if another vendor had given them: what Google alone knows is gone, the rest is there."""
    for name, body in answers():
        response = codec.decode_response(body)
        assert isinstance(response, HubResponse)
        other = type(response)(
            Dialect.OPENAI_CHAT,
            response.id,
            response.model,
            response.blocks,
            response.stop,
            usage=response.usage,
        )
        again = json.loads(json.dumps(codec.encode_response(other, [])))
        assert seen(again), name
        back = codec.decode_response(again)
        assert isinstance(back, HubResponse)
        without_word = {key: value for key, value in told(response).items() if key != "finish"}
        assert {key: value for key, value in told(back).items() if key != "finish"} == without_word, name
        assert back.stop is response.stop, name


def test_recorded_errors_are_googles_own() -> None:
    kinds = Counter[Kind]()
    for row in rows("gemini", "gemini-stream", "gemini-embed"):
        reply = row["res"]
        if reply["status"] < 400:
            continue
        body = reply["text"].encode() if "text" in reply else json.dumps(reply["json"]).encode()
        failure = codec.decode_failure(reply["status"], {}, body, 0.0)
        assert failure.upstream is not None
        assert failure.upstream.dialect is Dialect.GEMINI_GENERATE
        kinds[failure.kind] += 1
    assert kinds == {
        Kind.CREDENTIAL: 4,
        Kind.MODEL_UNAVAILABLE: 2,
        Kind.RATE_LIMITED: 1,
        Kind.INVALID_REQUEST: 2,
    }


def test_recorded_vectors_are_the_same_for_an_openai_client() -> None:
    count = 0
    for row in rows("gemini-embed"):
        reply = row["res"].get("json") or {}
        if "embeddings" not in reply:  # Vertex' older `predict`, and errors
            continue
        count += 1
        answer = openai_answer(reply, "m", as_base64=False)
        assert isinstance(answer, dict)
        again = gemini_answer(answer, single=False)
        assert isinstance(again, dict)
        assert again["embeddings"] == reply["embeddings"]
        told_tokens = reply.get("usageMetadata", {}).get("promptTokenCount", 0)
        assert again["usageMetadata"]["promptTokenCount"] == told_tokens
        if "inline_data" not in json.dumps(row["req"]["json"]):
            wanted = openai_request(row["req"]["json"], "m", [], single=False)
            assert len(wanted["input"]) == len(reply["embeddings"])
    assert count >= 6


def test_recorded_counts_are_estimated_upwards() -> None:
    found = rows("gemini-count")
    assert found
    for row in found:
        exact = row["res"]["json"]["totalTokens"]
        assert exact <= counted(row["req"]["json"])["totalTokens"] <= 3 * exact + 10
