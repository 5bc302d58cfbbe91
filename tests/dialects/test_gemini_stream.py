"""Gemini's streams and errors by examples, and what the vendor's own SDK makes of what is written."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import msgspec
import pytest
from google import genai
from google.genai import errors as sdk_errors

from sidecar.dialects import gemini_generate
from sidecar.dialects.dialect import Codec
from sidecar.dialects.gemini_array import ArrayFraming
from sidecar.dialects.gemini_errors import STATUSES
from sidecar.dialects.gemini_parts import SKIP
from sidecar.model.blocks import Logprob, Media, MediaKind, Opaque, Text, Thinking, ToolUse
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Fault, Start, Stop, fold
from sidecar.model.failures import Failure, Kind, UpstreamError
from sidecar.model.hub import HubResponse, Loss, StopReason
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect
from tests.dialects.codecs import read_stream

codec: Codec = gemini_generate
OWN = Dialect.GEMINI_GENERATE


def chunk(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    usage = fields.pop("usage", None)
    body: dict[str, Any] = {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **fields}]}
    body |= {"modelVersion": "gemini-3-flash", "responseId": "abc"}
    return body if usage is None else {**body, "usageMetadata": usage}


def read(*chunks: dict[str, Any]) -> list[Event]:
    return read_stream(codec, b"".join(b"data: " + json.dumps(each).encode() + b"\r\n\r\n" for each in chunks))


START = Start(OWN, "abc", "gemini-3-flash")


# -- reading


def test_text_grows_and_the_end_of_the_bytes_ends_the_answer() -> None:
    usage = {"promptTokenCount": 5, "totalTokenCount": 5}
    last = {"promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 1, "totalTokenCount": 8}
    events = read(
        chunk({"text": "Hm.", "thought": True}, usage=usage),
        chunk({"text": "It is"}, finishReason="STOP"),  # older models say so on every chunk
        chunk({"text": " sunny."}),
        chunk({"text": ""}, finishReason="STOP", usage=last),
    )
    assert events[:-1] == [
        msgspec.structs.replace(START, usage=Usage(5, 0)),
        BlockStart(Thinking("", signer=OWN)),
        Delta("Hm."),
        BlockStop(),
        BlockStart(Text("")),
        Delta("It is"),
        Delta(" sunny."),
        BlockStop(),
    ]
    stop = events[-1]
    assert isinstance(stop, Stop)
    assert (stop.reason, stop.native, stop.usage) == (StopReason.END, "STOP", Usage(5, 3, None, None, 1))


def test_tokens_are_the_last_that_were_told() -> None:
    whole = {"promptTokenCount": 9, "candidatesTokenCount": 21, "totalTokenCount": 30}
    spoilt: list[Any] = [{"trafficType": "ON_DEMAND"}, 5, [1], {}]
    for usage in spoilt:
        events = read(chunk({"text": "a"}, usage=whole), chunk({"text": "b"}, usage=usage, finishReason="STOP"))
        assert _response(events).usage == Usage(9, 21), usage
    last = {"promptTokenCount": 87, "thoughtsTokenCount": 78, "totalTokenCount": 165}
    events = read(chunk({"text": "a"}, usage=whole), chunk({"text": "b"}, usage=last, finishReason="STOP"))
    assert _response(events).usage == Usage(87, 78, None, None, 78)


def test_a_signature_closes_its_block() -> None:
    events = read(
        chunk({"text": "a"}),
        chunk({"text": "", "thoughtSignature": "c2ln"}),
        chunk({"text": "b", "thoughtSignature": "Yg=="}, finishReason="STOP"),
    )
    response = fold(events)
    assert isinstance(response, HubResponse)
    assert response.blocks == (Text("a", signature="c2ln"), Text("b", signature="Yg=="))


def test_calls_come_whole_whatever_stands_between_them() -> None:
    call = {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"}
    image = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    events = read(chunk({"text": "So:"}, call, image), chunk(code, finishReason="STOP"))
    assert events[4:-1] == [
        BlockStart(ToolUse("call_abc_0", "f", "", signature="c2ln", extra={"~functionCall.id": None})),
        Delta('{"x":1}'),
        BlockStop(),
        BlockStart(Media(MediaKind.IMAGE, "image/png", inline="iVBORw0KGgo=")),
        BlockStop(),
        BlockStart(Opaque(OWN, code)),
        BlockStop(),
    ]
    assert isinstance(events[-1], Stop)
    assert events[-1].reason is StopReason.TOOL_USE


def test_another_candidate_does_not_speak_for_the_first() -> None:
    other = {"content": {"parts": [{"text": "Or not."}]}, "finishReason": "SAFETY", "index": 1}
    events = read(chunk({"text": "Hi"}, index=0), {"candidates": [other]}, chunk(finishReason="STOP", index=0))
    assert [event.text for event in events if isinstance(event, Delta)] == ["Hi"]
    assert isinstance(events[-1], Stop)
    assert events[-1].reason is StopReason.END


def test_likelihoods_come_with_their_text() -> None:
    result = {"chosenCandidates": [{"token": "Hi", "logProbability": -0.5, "tokenId": 3}]}
    events = read(chunk({"text": "Hi"}, logprobsResult=result, finishReason="STOP"))
    assert events[2] == Delta("Hi", logprobs=(Logprob("Hi", -0.5, (72, 105)),))


@pytest.mark.parametrize(
    ("chunks", "kind", "words"),
    [
        ([], Kind.MALFORMED, "no answer"),
        ([{}], Kind.MALFORMED, "no answer"),
        ([chunk({"text": "Hi"})], Kind.TRUNCATED, "without a finish reason"),
        ([chunk({"text": "Hi"}), chunk(finishReason="MALFORMED_FUNCTION_CALL")], Kind.MALFORMED, "MALFORMED_FUNCTION"),
        (
            [chunk({"text": "Hi"}), {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}],
            Kind.OVERLOADED,
            "overloaded",
        ),
    ],
)
def test_a_stream_that_breaks_is_a_fault(chunks: list[dict[str, Any]], kind: Kind, words: str) -> None:
    events = read(*chunks)
    fault = events[-1]
    assert isinstance(fault, Fault)
    assert fault.failure.kind is kind
    assert words in fault.failure.message
    assert len(events) == 1 or isinstance(events[-2], BlockStop)


def test_a_refused_prompt_is_a_refusal() -> None:
    events = read({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "responseId": "abc"})
    assert isinstance(events[-1], Stop)
    assert (events[-1].reason, events[-1].native) == (StopReason.REFUSAL, "PROHIBITED_CONTENT")
    assert codec.encode_response(_response(events), [])["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}


def _response(events: list[Event]) -> HubResponse:
    response = fold(events)
    assert isinstance(response, HubResponse)
    return response


# -- writing


EVENTS: list[Event] = [
    Start(Dialect.ANTHROPIC_MESSAGES, "msg_1", "claude", usage=Usage(5)),
    BlockStart(Thinking("", signer=Dialect.ANTHROPIC_MESSAGES)),
    Delta("H"),
    Delta("m."),
    Delta(signature="RXJD"),
    BlockStop(),
    BlockStart(Text("")),
    Delta("It is"),
    Delta(" sunny."),
    BlockStop(),
    BlockStart(ToolUse("toolu_1", "f", "")),
    Delta('{"x"'),
    Delta(":1}"),
    BlockStop(),
    BlockStart(ToolUse("toolu_2", "f", "")),
    BlockStop(),
    Stop(StopReason.TOOL_USE, "tool_use", usage=Usage(5, 9, reasoning_tokens=3)),
]


def written(events: list[Event], *, together: bool) -> bytes:
    losses: list[Loss] = []
    encoder = codec.StreamEncoder(losses, wants_usage=False)
    stream = encoder.give(events) if together else b"".join([encoder.give([event]) for event in events])
    assert losses == []
    return stream


def test_each_event_is_written_as_soon_as_it_is_there() -> None:
    frames = [json.loads(frame[6:]) for frame in written(EVENTS, together=False).split(b"\n\n")[:-1]]
    parts = [frame["candidates"][0]["content"]["parts"] for frame in frames]
    mark = {"sidecar": {"signer": "anthropic-messages"}}
    assert parts == [
        [{"text": "H", "thought": True, "partMetadata": mark}],
        [{"text": "m.", "thought": True, "partMetadata": mark}],
        [
            {
                "text": "",
                "thought": True,
                "partMetadata": {"sidecar": {"signer": "anthropic-messages", "signature": "RXJD"}},
            }
        ],
        [{"text": "It is"}],
        [{"text": " sunny."}],
        [{"functionCall": {"id": "toolu_1", "name": "f", "args": {"x": 1}}, "thoughtSignature": SKIP}],
        [{"functionCall": {"id": "toolu_2", "name": "f", "args": {}}}],
        [{"text": ""}],
    ]
    assert {frame["responseId"] for frame in frames} == {"msg_1"}
    assert [frame["candidates"][0].get("finishReason") for frame in frames] == [None] * 7 + ["STOP"]
    assert frames[0]["usageMetadata"] == {"promptTokenCount": 5, "totalTokenCount": 5}
    assert frames[-1]["usageMetadata"] == {
        "promptTokenCount": 5,
        "candidatesTokenCount": 6,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 14,
    }


def test_what_comes_together_is_written_together() -> None:
    frames = [json.loads(frame[6:]) for frame in written(EVENTS, together=True).split(b"\n\n")[:-1]]
    assert len(frames) == 1
    assert frames[0]["candidates"][0]["content"]["parts"][2] == {"text": "It is sunny."}
    assert _response(read_stream(codec, written(EVENTS, together=True))) == _response(
        read_stream(codec, written(EVENTS, together=False))
    )


def test_a_stream_of_the_dialect_is_written_with_all_that_it_had() -> None:
    grounding = {"webSearchQueries": ["weather"]}
    events = read(
        chunk(
            {"text": "Hi", "mediaResolution": {"level": "L"}}, usage={"promptTokenCount": 5, "trafficType": "ON_DEMAND"}
        ),
        chunk({"text": ""}, finishReason="STOP", finishMessage="done", groundingMetadata=grounding),
    )
    last = json.loads(written(events, together=False).split(b"\n\n")[-2][6:])
    assert last["candidates"][0]["groundingMetadata"] == grounding
    assert last["candidates"][0]["finishMessage"] == "done"
    assert last["usageMetadata"] == {"promptTokenCount": 5, "trafficType": "ON_DEMAND"}


def test_a_stream_can_be_one_array() -> None:
    framing = ArrayFraming()
    fault = codec.fault_event(Failure(Kind.OVERLOADED, "try later"))
    frames = written(EVENTS, together=False)
    cut = frames.index(b"\n\n") + 2
    array = (
        framing.take(frames[:cut]) + framing.take(b": ping\n\n") + framing.take(frames[cut:] + fault) + framing.end()
    )
    assert len(json.loads(array)) == 9
    assert json.loads(array)[-1]["error"]["status"] == "UNAVAILABLE"
    assert ArrayFraming().end() == b"[]"


# -- errors


def test_every_kind_has_its_status() -> None:
    assert set(STATUSES) == set(Kind)


def test_an_error_says_what_clients_look_for() -> None:
    failure = Failure(Kind.RATE_LIMITED, "slow down", param="contents", retry_after_s=12.0)
    body, content_type = codec.encode_failure(failure, [{"provider": "a"}])
    assert content_type == "application/json"
    error = json.loads(body)["error"]
    assert (error["code"], error["status"], error["kind"]) == (429, "RESOURCE_EXHAUSTED", "rate_limited")
    assert [detail["@type"].rpartition(".")[2] for detail in error["details"]] == [
        "ErrorInfo",
        "BadRequest",
        "RetryInfo",
    ]
    assert error["attempts"] == [{"provider": "a"}]
    assert codec.decode_failure(429, {}, body, 0.0).retry_after_s == 12.0


def test_googles_own_words_pass_and_others_do_not() -> None:
    body = b'{"error":{"code":400,"message":"Please use a valid role","status":"INVALID_ARGUMENT"}}'
    failure = codec.decode_failure(400, {"content-type": "application/json; charset=UTF-8"}, body, 0.0)
    assert failure.kind is Kind.INVALID_REQUEST
    assert codec.encode_failure(failure) == (body, "application/json; charset=UTF-8")
    theirs = UpstreamError(404, b'{"error":{"message":"no"}}', "application/json", Dialect.OPENAI_CHAT)
    told, _ = codec.encode_failure(Failure(Kind.INVALID_REQUEST, "no such thing", 404, upstream=theirs))
    assert json.loads(told)["error"]["status"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}, Kind.CREDENTIAL),
        (400, {"message": "API key expired. Please renew the API key."}, Kind.CREDENTIAL),
        (400, {"message": "User location is not supported for the API use."}, Kind.CREDENTIAL),
        (
            400,
            {"message": "The input token count (5) exceeds the maximum number of tokens allowed (4)."},
            Kind.CONTEXT_LENGTH,
        ),
        (403, {"message": "no", "status": "PERMISSION_DENIED"}, Kind.CREDENTIAL),
        (
            404,
            {"message": "models/x is not found for API version v1beta", "status": "NOT_FOUND"},
            Kind.MODEL_UNAVAILABLE,
        ),
        (429, {"message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}, Kind.RATE_LIMITED),
        (499, {"message": "The operation was cancelled.", "status": "CANCELLED"}, Kind.GATEWAY_ERROR),
        (500, {"message": "An internal error has occurred", "status": "INTERNAL"}, Kind.SERVER_ERROR),
        (503, {"message": "The model is overloaded.", "status": "UNAVAILABLE"}, Kind.OVERLOADED),
        (504, {"message": "Deadline expired", "status": "DEADLINE_EXCEEDED"}, Kind.GATEWAY_ERROR),
        (200, {"message": "An internal error has occurred", "status": "INTERNAL"}, Kind.SERVER_ERROR),
        (200, {"message": "Deadline expired", "status": "DEADLINE_EXCEEDED"}, Kind.GATEWAY_ERROR),
    ],
)
def test_googles_errors_are_of_the_right_kind(status: int, error: dict[str, Any], kind: Kind) -> None:
    failure = codec.decode_failure(status, {}, json.dumps({"error": error}).encode(), 0.0)
    assert failure.kind is kind
    if failure.upstream is not None:
        assert failure.upstream.dialect is OWN


# -- the vendor's SDK


@contextmanager
def serving(status: int, body: bytes, content_type: str) -> Iterator[genai.Client]:
    """A client of a server that answers every request alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        yield genai.Client(api_key="k", http_options={"base_url": address, "retry_options": {"attempts": 1}})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_sdk_reads_a_stream() -> None:
    with serving(200, written(EVENTS, together=False), "text/event-stream") as client:
        chunks = list(client.models.generate_content_stream(model="m", contents="Hi"))
    assert (
        "".join(part.text or "" for each in chunks for part in each.parts or [] if not part.thought) == "It is sunny."
    )
    calls = [call for each in chunks for call in each.function_calls or []]
    assert [(call.id, call.name, call.args) for call in calls] == [("toolu_1", "f", {"x": 1}), ("toolu_2", "f", {})]
    assert chunks[-1].candidates is not None
    assert chunks[-1].candidates[0].finish_reason == "STOP"


def test_the_sdk_raises_on_a_stream_that_breaks() -> None:
    frames = written(EVENTS[:8], together=False) + codec.fault_event(Failure(Kind.OVERLOADED, "try later"))
    seen: list[Any] = []
    with serving(200, frames, "text/event-stream") as client, pytest.raises(sdk_errors.ServerError, match="try later"):
        seen.extend(client.models.generate_content_stream(model="m", contents="Hi"))
    assert len(seen) == 4


def test_the_sdk_understands_an_error() -> None:
    body, content_type = codec.encode_failure(Failure(Kind.RATE_LIMITED, "slow down"))
    with serving(429, body, content_type) as client, pytest.raises(sdk_errors.ClientError) as caught:
        client.models.generate_content(model="m", contents="Hi")
    assert (caught.value.code, caught.value.status, caught.value.message) == (429, "RESOURCE_EXHAUSTED", "slow down")
