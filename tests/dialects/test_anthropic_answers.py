"""Answers, streams and errors of the Anthropic dialect, read and written; the vendor's SDK reads what we write."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.lib.streaming._messages import accumulate_event, build_events
from anthropic.types import ErrorResponse, Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sidecar.dialects import anthropic_messages as dialect
from sidecar.dialects.anthropic_blocks import ANSWER_TOOL
from sidecar.dialects.anthropic_errors import ERROR_TYPES
from sidecar.dialects.sse import parse, split
from sidecar.model.blocks import Block, Media, MediaKind, Opaque, Text, Thinking, ToolUse
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Fault, Start, Stop, fold, unfold
from sidecar.model.failures import Failure, Kind, UpstreamError
from sidecar.model.hub import HubResponse, Loss, StopReason
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect
from tests.dialects import values
from tests.dialects.codecs import keeps_grammar, read_stream, write_stream
from tests.dialects.test_laws import few

OWN, CHAT = Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT
_EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


def frames(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def begun(**usage: Any) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    return {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def ended(reason: str | None = "end_turn", **usage: Any) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


def text(*pieces: str) -> list[dict[str, Any]]:
    return block(0, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def sdk_message(stream: bytes) -> Message:
    """What the SDK makes of a stream, each event held to its type."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for frame in map(parse, split(stream)):
        value = json.loads(frame.data or b"")
        assert frame.event == value["type"]
        event = _EVENT.validate_python(value)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
        build_events(event=event, message_snapshot=snapshot)
    return _MESSAGE.validate_python(snapshot.to_dict())


def seen(message: Message) -> dict[str, Any]:
    """A message, absent things apart."""
    value: dict[str, Any] = message.to_dict(exclude_none=True)
    return value


# -- whole


ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-5",
    "content": [
        {"type": "thinking", "thinking": "Hm", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "text", "text": "See", "citations": [{"type": "char_location", "cited_text": "x"}]},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "container": None,
    "usage": {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 3},
        "service_tier": "standard",
    },
}


def test_an_answer_is_read_and_given_back() -> None:
    response = dialect.decode_response(ANSWER)
    assert isinstance(response, HubResponse)
    thinking, redacted, said, search, call = response.blocks
    assert thinking == Thinking("Hm", "EqQB", OWN)
    assert redacted == Thinking("", "EmwK", OWN, redacted=True)
    assert isinstance(said, Text)
    assert said.text == "See"
    assert isinstance(search, Opaque)
    assert call == ToolUse("toolu_1", "f", '{"a":1}', extra={"caller": {"type": "direct"}})
    assert response.usage == Usage(130, 7, 100, 20, 3)
    assert (response.stop, response.stop_native) == (StopReason.TOOL_USE, "tool_use")
    losses: list[Loss] = []
    assert dialect.encode_response(response, losses) == ANSWER
    assert losses == []


STOPS = {
    "end_turn": StopReason.END,
    "max_tokens": StopReason.LENGTH,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "tool_use": StopReason.TOOL_USE,
    "pause_turn": StopReason.PAUSE,
    "refusal": StopReason.REFUSAL,
    "model_context_window_exceeded": StopReason.CONTEXT,
    "new_one": StopReason.OTHER,
}


@pytest.mark.parametrize(("native", "reason"), STOPS.items())
def test_stop_reasons(native: str, reason: StopReason) -> None:
    response = dialect.decode_response({**ANSWER, "stop_reason": native})
    assert isinstance(response, HubResponse)
    assert (response.stop, response.stop_native) == (reason, native)
    foreign = HubResponse(CHAT, "i", "m", (), reason, "their_word", usage=Usage(1, 1))
    losses: list[Loss] = []
    word = dialect.encode_response(foreign, losses)["stop_reason"]
    assert word == ("end_turn" if reason is StopReason.OTHER else native)
    assert bool(losses) == (reason is StopReason.OTHER)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Kind.OVERLOADED),
        ({"choices": []}, Kind.MALFORMED),
        ({}, Kind.MALFORMED),
        ({"content": "text"}, Kind.MALFORMED),
    ],
)
def test_what_is_no_answer(body: dict[str, Any], kind: Kind) -> None:
    failure = dialect.decode_response(body)
    assert isinstance(failure, Failure)
    assert failure.kind is kind


def test_an_answer_by_tool_is_text_again() -> None:
    call = {"type": "tool_use", "id": "t", "name": ANSWER_TOOL, "input": {"city": "Paris"}}
    response = dialect.decode_response({**ANSWER, "content": [call]})
    assert isinstance(response, HubResponse)
    assert response.blocks == (Text('{"city":"Paris"}'),)
    assert (response.stop, response.stop_native) == (StopReason.END, "end_turn")
    pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", '{"city":', '"Paris"}')]
    stream = frames(begun(input_tokens=1), *block(0, {**call, "input": {}}, *pieces), *ended("tool_use"))
    events = read_stream(dialect, stream)
    assert Delta('{"city":') in events
    streamed = fold(events)
    assert isinstance(streamed, HubResponse)
    assert (streamed.blocks, streamed.stop) == (response.blocks, StopReason.END)
    other = {"type": "tool_use", "id": "u", "name": "f", "input": {}}
    mixed = dialect.decode_response({**ANSWER, "content": [call, other]})
    assert isinstance(mixed, HubResponse)
    assert mixed.stop is StopReason.TOOL_USE


def test_what_an_answer_of_others_has_that_this_dialect_has_not() -> None:
    blocks: tuple[Block, ...] = (
        Text("No.", refusal=True),
        Media(MediaKind.IMAGE, "image/png", inline="iVBORw0KGgo="),
        ToolUse("c", "f", "{broken", signature="sig"),
        Thinking("Hm", "sig", Dialect.GEMINI_GENERATE),
    )
    response = HubResponse(CHAT, "i", "m", blocks, StopReason.END, extra={"system_fingerprint": "f", "x": 1})
    losses: list[Loss] = []
    body = dialect.encode_response(response, losses)
    assert body["content"] == [
        {"type": "text", "text": "No."},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"arguments": "{broken"}},
        {"type": "thinking", "thinking": "Hm", "signature": "gemini-generate:sig"},
    ]
    assert body["stop_reason"] == "refusal"
    paths = ["content[0]", "content[1]", "content[2].arguments", "content[2].signature", "x", "usage"]
    assert [loss.path for loss in losses] == paths


# -- streams


def cited(name: str) -> dict[str, Any]:
    place = {"document_index": 0, "document_title": None, "start_char_index": 0, "end_char_index": 1}
    return {"type": "char_location", "cited_text": name, **place}


def test_a_documented_stream_is_read() -> None:
    stream = frames(
        begun(input_tokens=472, cache_read_input_tokens=8, output_tokens=2),
        {"type": "ping"},
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Let"},
            {"type": "thinking_delta", "thinking": " me"},
            {"type": "signature_delta", "signature": "EqQB"},
        ),
        *block(1, {"type": "redacted_thinking", "data": "EmwK"}),
        *block(
            2,
            {"type": "text", "text": "", "citations": []},
            {"type": "text_delta", "text": "Okay"},
            {"type": "citations_delta", "citation": cited("a")},
            {"type": "citations_delta", "citation": cited("b")},
        ),
        *block(
            3,
            {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}},
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"location":'},
            {"type": "input_json_delta", "partial_json": ' "Paris"}'},
        ),
        *block(
            4,
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"query":"x"}'},
        ),
        *block(5, {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}),
        *ended("tool_use", output_tokens=89),
    )
    events = read_stream(dialect, stream)
    assert keeps_grammar(events)
    response = fold(events)
    assert isinstance(response, HubResponse)
    assert response.blocks == (
        Thinking("Let me", "EqQB", OWN),
        Thinking("", "EmwK", OWN, redacted=True),
        Text("Okay", extra={"citations": [cited("a"), cited("b")]}),
        ToolUse("toolu_1", "get_weather", '{"location": "Paris"}'),
        Opaque(OWN, {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}),
        ToolUse("toolu_2", "now", "{}"),
    )
    assert response.usage == Usage(480, 89, 8)
    assert seen(sdk_message(write_stream(dialect, events)[0])) == seen(sdk_message(stream.replace(PING, b"")))


PING = frames({"type": "ping"})


def test_content_is_given_as_it_comes() -> None:
    decoder = dialect.StreamDecoder()
    assert decoder.take(None, begun())[0] == Start(OWN, "msg_1", "claude", extra={})
    first, delta, stop = text("Hi")
    assert decoder.take(None, first) == [BlockStart(Text(""))]
    assert list(decoder.take(None, delta)) == [Delta("Hi")]
    assert decoder.take(None, stop) == [BlockStop()]
    last = [event for value in ended(output_tokens=3) for event in decoder.take(None, value)]
    assert last == [Stop(StopReason.END, "end_turn", usage=Usage(None, 3))]
    assert decoder.end(marked=False) == ()


def test_blocks_that_overlap_are_given_one_after_the_other() -> None:
    one = block(0, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in "ab"))
    two = block(1, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in "cd"))
    mixed = [event for pair in zip(one, two, strict=True) for event in pair]
    events = read_stream(dialect, frames(begun(), *mixed, *ended()))
    assert keeps_grammar(events)
    assert [event.text for event in events if isinstance(event, Delta)] == ["a", "b", "c", "d"]
    response = fold(events)
    assert isinstance(response, HubResponse)
    assert response.blocks == (Text("ab"), Text("cd"))


def fault_of(*events: dict[str, Any]) -> Failure:
    found = read_stream(dialect, frames(*events))
    assert keeps_grammar(found)
    last = found[-1]
    assert isinstance(last, Fault)
    return last.failure


def test_a_stream_that_breaks() -> None:
    assert fault_of().kind is Kind.MALFORMED
    assert fault_of({"type": "ping"}).kind is Kind.MALFORMED
    assert fault_of(begun()).kind is Kind.TRUNCATED
    assert fault_of(begun(), *text("Hi")[:2]).kind is Kind.TRUNCATED
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    failure = fault_of(begun(), *text("Hi"), overloaded)
    assert (failure.kind, failure.message) == (Kind.OVERLOADED, "Overloaded")
    assert fault_of(overloaded).kind is Kind.OVERLOADED


def test_a_stream_without_its_last_event_is_whole() -> None:
    events = read_stream(dialect, frames(begun(), *text("Hi"), ended()[0]))
    assert isinstance(events[-1], Stop)
    bare = read_stream(dialect, frames(begun(), *text("Hi"), {"type": "message_stop"}))
    assert bare[-1] == Stop(StopReason.END)


def test_a_call_that_comes_at_once_has_its_arguments() -> None:
    start = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    response = fold(read_stream(dialect, frames(begun(), *block(0, start), *ended("tool_use"))))
    assert isinstance(response, HubResponse)
    assert response.blocks == (ToolUse("t", "f", '{"a":1}'),)


def test_a_delta_without_a_start_begins_a_block() -> None:
    response = fold(read_stream(dialect, frames(begun(), *text("Hi", "!")[1:], *ended())))
    assert isinstance(response, HubResponse)
    assert response.blocks == (Text("Hi!"),)


@given(data=st.data())
@few
def test_the_sdk_reads_a_stream_as_it_reads_the_whole(data: st.DataObject) -> None:
    answers = values.rich_answers(OWN).filter(lambda answer: answer.dialect is not OWN)
    response = data.draw(answers)
    stream, _ = write_stream(dialect, data.draw(values.chopped(response)))
    whole = _MESSAGE.validate_python(json.loads(json.dumps(dialect.encode_response(response, []))))
    assert seen(sdk_message(stream)) == seen(whole)


def test_usage_is_told_at_the_end_and_without_the_cache() -> None:
    usage = Usage(100, 7, cache_read_tokens=60, cache_write_tokens=30, reasoning_tokens=2)
    response = HubResponse(CHAT, "i", "m", (Text("Hi"),), StopReason.END, usage=usage)
    told = sdk_message(write_stream(dialect, unfold(response))[0]).usage
    assert (told.input_tokens, told.output_tokens) == (10, 7)
    assert (told.cache_read_input_tokens, told.cache_creation_input_tokens) == (60, 30)
    assert told.output_tokens_details is not None
    assert told.output_tokens_details.thinking_tokens == 2


def test_a_fault_writes_nothing_and_losses_are_noted_once() -> None:
    losses: list[Loss] = []
    encoder = dialect.StreamEncoder(losses, wants_usage=False)
    events: Iterable[Event] = [
        Start(CHAT, "i", "m"),
        BlockStart(Text("")),
        Delta("a", signature="s", extra={"annotations": [1]}),
        Delta("b", signature="s", extra={"annotations": [2]}),
    ]
    assert encoder.give(list(events))
    assert encoder.give([Fault(Failure(Kind.TRUNCATED, "cut"))]) == b""
    assert [loss.path for loss in losses] == ["content[0].signature", "content[0].annotations"]


# -- errors


def test_every_kind_has_a_type_that_the_vendor_knows() -> None:
    assert set(ERROR_TYPES) == set(Kind)
    for kind in Kind:
        body, content_type = dialect.encode_failure(Failure(kind, "what is wrong"), [{"target": "a/b"}])
        assert content_type == "application/json"
        error = TypeAdapter(ErrorResponse).validate_json(body).error
        assert error.type == ERROR_TYPES[kind]
        assert "what is wrong" in error.message
        assert error.to_dict()["attempts"] == [{"target": "a/b"}]


@pytest.mark.parametrize(
    ("status", "type_"), [(400, "invalid_request_error"), (404, "not_found_error"), (413, "request_too_large")]
)
def test_a_request_at_fault_is_named_by_its_status(status: int, type_: str) -> None:
    body, _ = dialect.encode_failure(Failure(Kind.INVALID_REQUEST, "no", status, param="messages[0]"))
    assert json.loads(body)["error"]["type"] == type_
    assert json.loads(body)["error"]["param"] == "messages[0]"


def test_a_prompt_that_is_too_long_is_told_in_the_words_that_clients_know() -> None:
    body, _ = dialect.encode_failure(Failure(Kind.CONTEXT_LENGTH, "maximum context length is 8192 tokens"))
    assert json.loads(body)["error"]["message"].startswith("prompt is too long: ")


def test_the_vendors_own_words_pass_and_those_of_others_do_not() -> None:
    theirs = b'{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: Field required"}}'
    failure = dialect.decode_failure(400, {}, theirs, 0.0)
    assert failure.upstream == UpstreamError(400, theirs, "application/json", OWN)
    assert dialect.encode_failure(failure) == (theirs, "application/json")
    other = UpstreamError(400, b'{"error":{"message":"x"}}', "application/json", CHAT)
    body, _ = dialect.encode_failure(Failure(Kind.INVALID_REQUEST, "x", 400, upstream=other))
    assert json.loads(body)["type"] == "error"


def test_the_sdk_raises_on_the_event_that_ends_a_broken_stream() -> None:
    event = dialect.fault_event(Failure(Kind.OVERLOADED, "all targets are overloaded"))
    body = frames(begun(input_tokens=1, output_tokens=1), *text("Hi")) + event
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    )
    with (
        anthropic.Anthropic(api_key="k", max_retries=0, http_client=httpx2.Client(transport=transport)) as client,
        pytest.raises(anthropic.APIStatusError, match="all targets are overloaded"),
        client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]) as stream,
    ):
        stream.get_final_message()
