"""Real traffic of the Responses dialect, where the recordings are at hand: nothing of it is lost, read or written."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any

import openai
import pytest
from openai._models import construct_type
from openai.types.responses import Response

from sidecar.dialects import openai_responses as codec
from sidecar.model.blocks import Text, ToolUse
from sidecar.model.errors import ValidationError
from sidecar.model.events import fold
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubResponse, Loss, StopReason, Wire
from sidecar.model.topology import Dialect
from tests.dialects.codecs import keeps_grammar, read_stream, write_stream
from tests.dialects.openai_client import client_of
from tests.dialects.oracle import sliced
from tests.dialects.test_recorded import RECORDINGS, recorded

SMALL_BYTES = 12_000
# Recorded under the address of this dialect, though they are of another.
ALIEN = {
    "1135bef62a4cfe0a": "embeddings",
    "1301383b9895c59e": "an answer of chat",
    "0bdeed7713f3fd94": "an answer of legacy completions",
}
NO_INPUT = "23738210097d2042"  # the body was not recorded
TWO_ANSWERS = {"3030fb18b15e3eac", "230eb082cc82a2a6"}  # several streams, one after the other
NO_ANNOTATIONS = "0425a08a69dfad23"  # of a text, which the SDK demands and we therefore write

pytestmark = [
    pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not beside this checkout"),
    # The SDK's types do not know every value that OpenAI sends, and say so when they are written out.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]


@cache
def rows() -> list[dict[str, Any]]:
    return [row for row in recorded() if row["dialect"] == "openai-responses" and row["id"] not in ALIEN]


def requests() -> list[tuple[str, dict[str, Any]]]:
    found = [row for row in rows() if isinstance(row["req"].get("json"), dict) and row["id"] != NO_INPUT]
    return [(row["id"], row["req"]["json"]) for row in found]


def answers() -> list[tuple[str, dict[str, Any]]]:
    return [(row["id"], row["res"]["json"]) for row in rows() if row["res"]["status"] == 200 and "json" in row["res"]]


def streams() -> list[tuple[str, bytes]]:
    return [(row["id"], row["res"]["text"].encode()) for row in rows() if "text" in row["res"]]


def asked_again(body: dict[str, Any]) -> tuple[dict[str, Any], list[Loss]]:
    losses: list[Loss] = []
    request = codec.decode_request(body, body["model"], stream=bool(body.get("stream")))
    return json.loads(json.dumps(codec.encode_request(request, Wire(body["model"]), losses))), losses


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """`include` is a set; `stream` is told beside the body."""
    rest = {name: value for name, value in body.items() if name != "stream" or value}
    return {**rest, "include": sorted(body["include"])} if body.get("include") else rest


def test_recorded_requests_come_back_as_they_were() -> None:
    found = requests()
    assert len(found) > 250
    for id_, body in found:
        again, losses = asked_again(body)
        assert normal(again) == normal(body), id_
        assert losses == [], id_


def test_recorded_items_that_are_none_are_refused() -> None:
    body = next(row["req"]["json"] for row in recorded() if row["id"] == "1135bef62a4cfe0a")
    with pytest.raises(ValidationError, match=r"input\[0\]"):
        codec.decode_request(body, "m", stream=False)


def said(output: list[dict[str, Any]]) -> dict[str, Any]:
    """Text, refusal and calls, by nothing but dicts."""
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    calls = [item for item in output if item["type"] == "function_call"]
    return {
        "text": "".join(part["text"] for part in parts if part["type"] == "output_text"),
        "refusal": "".join(part["refusal"] for part in parts if part["type"] == "refusal"),
        "calls": [(call["call_id"], call["name"], call["arguments"]) for call in calls],
    }


def read(response: HubResponse) -> dict[str, Any]:
    texts = [block for block in response.blocks if isinstance(block, Text)]
    return {
        "text": "".join(text.text for text in texts if not text.refusal),
        "refusal": "".join(text.text for text in texts if text.refusal),
        "calls": [(call.id, call.name, call.arguments) for call in response.blocks if isinstance(call, ToolUse)],
    }


def stop_of(body: dict[str, Any]) -> StopReason:
    if body["status"] == "incomplete":
        return StopReason.LENGTH
    spoken = said(body["output"])
    if spoken["calls"]:
        return StopReason.TOOL_USE
    return StopReason.REFUSAL if spoken["refusal"] else StopReason.END


def as_sdk(body: dict[str, Any]) -> dict[str, Any]:
    """What the SDK reads."""
    response = construct_type(type_=Response, value=body)
    assert isinstance(response, Response)
    return response.to_dict()


def test_recorded_answers_are_read_and_come_back_as_they_were() -> None:
    found = answers()
    assert len(found) > 200
    for id_, body in found:
        response = codec.decode_response(body)
        assert isinstance(response, HubResponse), id_
        assert read(response) == said(body["output"]), id_
        assert response.stop is stop_of(body), id_
        tokens = response.usage and (response.usage.input_tokens, response.usage.output_tokens)
        assert tokens == (body["usage"]["input_tokens"], body["usage"]["output_tokens"]), id_
        losses: list[Loss] = []
        again = json.loads(json.dumps(codec.encode_response(response, losses)))
        if id_ != NO_ANNOTATIONS:
            assert as_sdk(again) == as_sdk(body), id_
        assert losses == [], id_


def last_of(stream: bytes) -> dict[str, Any]:
    """The answer in the first event that ends one."""
    for line in stream.decode().splitlines():
        value = json.loads(line[5:]) if line.startswith("data: {") else {}
        if value.get("type") in ("response.completed", "response.incomplete"):
            return value["response"]  # type: ignore[no-any-return]
    raise AssertionError("no end")


def test_recorded_streams_are_read_however_they_are_torn() -> None:
    found = streams()
    assert len(found) > 90
    told = Counter[str]()
    for id_, stream in found:
        events = read_stream(codec, stream)
        assert keeps_grammar(events), id_
        for size in (1, 3, 7, 512):
            if size > 3 or len(stream) < SMALL_BYTES:
                assert read_stream(codec, *sliced(stream, size)) == events, id_
        response = fold(events)
        assert isinstance(response, HubResponse), id_
        last = last_of(stream)
        tokens = response.usage and (response.usage.input_tokens, response.usage.output_tokens)
        assert tokens == (last["usage"]["input_tokens"], last["usage"]["output_tokens"]), id_
        if last["output"] and id_ not in TWO_ANSWERS:
            assert read(response) == said(last["output"]), id_
            assert response.stop is stop_of(last), id_
            told["whole"] += 1
    assert told["whole"] > 80


def test_recorded_streams_are_written_so_that_the_sdk_reads_the_same() -> None:
    for id_, stream in streams():
        events = read_stream(codec, stream)
        response = fold(events)
        assert isinstance(response, HubResponse)
        written, losses = write_stream(codec, events)
        assert losses == []
        assert fold(read_stream(codec, written)) == response, id_
        if response.stop is StopReason.LENGTH:
            continue  # the SDK's helper gives no answer that is not complete
        with client_of(written).responses.stream(model="m", input="x") as reading:
            final = reading.get_final_response()
        assert final.id == response.id, id_
        assert said(final.to_dict()["output"]) == read(response), id_


def test_a_recorded_stream_that_is_cut_is_never_taken_for_a_whole_one() -> None:
    for id_, stream in streams():
        end = min(
            stream.find(mark) % len(stream) for mark in (b"event: response.completed", b"event: response.incomplete")
        )
        for cut in (end // 3, end // 2, end):
            failure = fold(read_stream(codec, stream[:cut]))
            assert isinstance(failure, Failure), id_
            assert failure.kind in (Kind.TRUNCATED, Kind.MALFORMED), id_


def test_recorded_errors_are_told_to_clients_in_the_words_of_the_provider() -> None:
    seen = Counter[Kind]()
    for row in rows():
        reply = row["res"]
        if reply["status"] == 200:
            continue
        body = json.dumps(reply["json"]).encode()
        failure = codec.decode_failure(reply["status"], reply["headers"], body, 0.0)
        seen[failure.kind] += 1
        assert failure.upstream is None or failure.upstream.dialect is Dialect.OPENAI_RESPONSES
        if failure.kind is Kind.INVALID_REQUEST:
            assert codec.encode_failure(failure)[0] == body
    assert set(seen) == {Kind.INVALID_REQUEST, Kind.MODEL_UNAVAILABLE, Kind.CREDENTIAL, Kind.CONTEXT_LENGTH}


def test_a_broken_stream_makes_the_sdk_raise() -> None:
    _, stream = streams()[0]
    cut = stream[: stream.find(b"event: response.completed")]
    failure = fold(read_stream(codec, cut))
    assert isinstance(failure, Failure)
    with pytest.raises(openai.APIError, match=r"ended without response\.completed"):
        list(client_of(cut + codec.fault_event(failure)).responses.create(model="m", input="x", stream=True))
