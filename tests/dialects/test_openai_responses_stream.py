"""Streams of the Responses dialect by examples, written from OpenAI's documentation."""

from __future__ import annotations

import json
import typing
from typing import Any

import msgspec
import openai
import pytest
from openai.types.responses import ResponseStreamEvent

from sidecar.dialects import openai_responses as codec
from sidecar.dialects.sse import parse, split
from sidecar.model.blocks import Block, Logprob, Media, MediaKind, Opaque, Text, Thinking, ToolUse
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Fault, Start, Stop, fold, unfold
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubResponse, StopReason
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect
from tests.dialects.codecs import keeps_grammar, read_stream, write_stream
from tests.dialects.openai_client import client_of

OWN = Dialect.OPENAI_RESPONSES
CREATED = {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5", "created_at": 7, "output": []}}
MODELS = {
    typing.get_args(model.model_fields["type"].annotation)[0]: model
    for model in typing.get_args(typing.get_args(ResponseStreamEvent)[0])
}


def stream_of(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def read(*events: dict[str, Any]) -> list[Event]:
    found = read_stream(codec, stream_of(*events))
    assert keeps_grammar(found)
    return found


def plain(events: list[Event]) -> list[Event]:
    """The events without what only the wire needs."""
    bare: list[Event] = []
    for event in events:
        if isinstance(event, Delta) and not (event.text or event.signature or event.logprobs):
            continue
        if isinstance(event, BlockStart) and not isinstance(event.block, Opaque):
            bare.append(BlockStart(msgspec.structs.replace(event.block, extra={})))
        elif isinstance(event, Start | Delta | Stop):
            bare.append(msgspec.structs.replace(event, extra={}))
        else:
            bare.append(event)
    return bare


def added(index: int, **item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, **item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def text_delta(index: int, delta: str, part: int = 0) -> dict[str, Any]:
    return {
        "type": "response.output_text.delta",
        "output_index": index,
        "content_index": part,
        "item_id": f"msg_{index}",
        "delta": delta,
        "logprobs": [],
    }


def arguments_delta(index: int, delta: str) -> dict[str, Any]:
    return {"type": "response.function_call_arguments.delta", "output_index": index, "delta": delta}


def message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "role": "assistant", "status": "completed", "content": [part]}


def completed(**response: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    said = {"id": "resp_1", "model": "gpt-5", "created_at": 7, "status": "completed", "usage": usage, **response}
    return {"type": "response.completed", "response": said}


CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f"}
END = Stop(StopReason.END, "completed", usage=Usage(3, 2))


def test_text_comes_as_it_is_said() -> None:
    events = read(
        CREATED,
        {**CREATED, "type": "response.in_progress"},
        added(0, type="message", id="msg_0", status="in_progress", role="assistant", content=[]),
        {"type": "response.content_part.added", "output_index": 0, "content_index": 0, "part": {"type": "output_text"}},
        text_delta(0, "Hel"),
        text_delta(0, "lo"),
        {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Hello"},
        done(0, id="msg_0", **message("Hello")),
        completed(),
    )
    assert plain(events) == [
        Start(OWN, "resp_1", "gpt-5", 7),
        BlockStart(Text("")),
        Delta("Hel"),
        Delta("lo"),
        BlockStop(),
        END,
    ]


def test_calls_that_overlap_are_told_one_after_the_other() -> None:
    second = {**CALL, "id": "fc_2", "call_id": "call_2"}
    events = read(
        CREATED,
        added(0, **CALL, arguments=""),
        arguments_delta(0, '{"a"'),
        added(1, **second, arguments=""),
        arguments_delta(1, '{"b"'),
        arguments_delta(0, ":1}"),
        done(0, **CALL, arguments='{"a":1}'),
        arguments_delta(1, ":2}"),
        done(1, **second, arguments='{"b":2}'),
        completed(),
    )
    assert plain(events) == [
        Start(OWN, "resp_1", "gpt-5", 7),
        BlockStart(ToolUse("call_1", "f", "")),
        Delta('{"a"'),
        Delta(":1}"),
        BlockStop(),
        BlockStart(ToolUse("call_2", "f", "")),
        Delta('{"b"'),
        Delta(":2}"),
        BlockStop(),
        Stop(StopReason.TOOL_USE, "completed", usage=Usage(3, 2)),
    ]


def test_thoughts_have_paragraphs_and_are_signed_at_their_end() -> None:
    def thought(place: int, delta: str) -> dict[str, Any]:
        return {
            "type": "response.reasoning_summary_text.delta",
            "output_index": 0,
            "summary_index": place,
            "delta": delta,
        }

    summary = [{"type": "summary_text", "text": "ab"}, {"type": "summary_text", "text": "c"}]
    item = {"type": "reasoning", "id": "rs_1"}
    events = read(
        CREATED,
        added(0, **item, summary=[], encrypted_content="half"),
        thought(0, "a"),
        thought(0, "b"),
        thought(1, "c"),
        done(0, **item, summary=summary, encrypted_content="whole"),
        completed(),
    )
    assert plain(events)[1:-1] == [
        BlockStart(Thinking("", signer=OWN)),
        Delta("a"),
        Delta("b"),
        Delta("\n\nc"),
        Delta(signature="whole"),
        BlockStop(),
    ]
    response = fold(events)
    assert isinstance(response, HubResponse)
    assert codec.encode_response(response, [])["output"] == [{**item, "summary": summary, "encrypted_content": "whole"}]


def test_thoughts_without_words_are_redacted() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sig"}
    events = plain(read(CREATED, added(0, **item), done(0, **item), completed()))
    assert events[1:-1] == [BlockStart(Thinking("", "sig", OWN, redacted=True)), BlockStop()]


def test_a_built_in_tool_is_told_whole() -> None:
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    searching = {"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_1"}
    events = read(CREATED, added(0, **{**item, "status": "in_progress"}), searching, done(0, **item), completed())
    assert events[1:-1] == [BlockStart(Opaque(OWN, item)), BlockStop()]


# Streams that are not as they should be, and all say the same.
UNUSUAL = {
    "no deltas": [CREATED, added(0, type="message", content=[]), done(0, **message("Hi")), completed()],
    "the end alone": [completed(output=[message("Hi")])],
    "items only when they are done": [CREATED, done(0, **message("Hi")), completed()],
    "no beginnings": [text_delta(0, "H"), text_delta(0, "i"), completed()],
    "an item that is never done": [
        CREATED,
        added(0, type="message"),
        text_delta(0, "H"),
        completed(output=[message("Hi")]),
    ],
    "an item that is done twice": [CREATED, *[done(0, id="msg_0", **message("Hi"))] * 2, completed()],
    "the answer instead of events": [
        {"type": "x", "object": "response", **completed()["response"], "output": [message("Hi")]}
    ],
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_streams_of_servers_that_tell_less_say_the_same(name: str) -> None:
    response = fold(read(*UNUSUAL[name]))
    assert isinstance(response, HubResponse)
    assert [block.text for block in response.blocks if isinstance(block, Text)] == ["Hi"]
    assert (response.stop, response.usage) == (StopReason.END, Usage(3, 2))


def test_items_that_are_all_numbered_alike_are_several() -> None:
    events = read(
        CREATED,
        added(0, **CALL, arguments=""),
        done(0, **CALL, arguments="{}"),
        added(0, type="message", id="msg_1", content=[]),
        text_delta(0, "Hi"),
        done(0, id="msg_1", **message("Hi")),
        completed(),
    )
    response = fold(events)
    assert isinstance(response, HubResponse)
    assert [type(block) for block in response.blocks] == [ToolUse, Text]


def test_an_event_may_be_named_in_its_frame_alone() -> None:
    frames = stream_of(CREATED, text_delta(0, "Hi"), completed())
    for name in ("response.created", "response.output_text.delta", "response.completed"):
        frames = frames.replace(f'"type": "{name}", '.encode(), b"")
    assert fold(read_stream(codec, frames)) == fold(read(CREATED, text_delta(0, "Hi"), completed()))


@pytest.mark.parametrize(
    ("last", "kind", "words"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "slow"}, Kind.RATE_LIMITED, "slow"),
        ({"type": "error", "error": {"type": "server_error", "message": "oops"}}, Kind.SERVER_ERROR, "oops"),
        (
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "oops"}}},
            Kind.SERVER_ERROR,
            "oops",
        ),
        ({"type": "response.failed", "response": {}}, Kind.SERVER_ERROR, "not why"),
        ({"type": "response.output_text.done"}, Kind.TRUNCATED, "ended without response.completed"),
    ],
)
@pytest.mark.parametrize("before", [[], [CREATED, text_delta(0, "Hi")]])
def test_a_stream_that_breaks_is_a_fault(last: dict[str, Any], kind: Kind, words: str, before: list[Any]) -> None:
    fault = read(*before, last, *([completed()] if kind is not Kind.TRUNCATED else []))[-1]
    assert isinstance(fault, Fault)
    assert fault.failure.kind is kind
    assert words in fault.failure.message


def test_a_stream_without_anything_is_malformed() -> None:
    for events in (read(), read({"type": "response.completed"})):
        [fault] = events
        assert isinstance(fault, Fault)
        assert fault.failure.kind is Kind.MALFORMED


def test_a_stream_that_is_too_long_is_incomplete() -> None:
    last = completed(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    stop = read(CREATED, text_delta(0, "Hi"), {**last, "type": "response.incomplete"})[-1]
    assert isinstance(stop, Stop)
    assert (stop.reason, stop.native) == (StopReason.LENGTH, "max_output_tokens")


# -- written


ANSWERS: dict[str, tuple[tuple[Block, ...], StopReason]] = {
    "text": ((Text("Hello "), Text("world", logprobs=(Logprob("world", -0.1, (119,)),))), StopReason.END),
    "thoughts": ((Thinking("hm", "sig", Dialect.ANTHROPIC_MESSAGES), Text("Yes.")), StopReason.END),
    "hidden thoughts": ((Thinking("", "sig", Dialect.ANTHROPIC_MESSAGES, True), Text("Yes.")), StopReason.END),
    "calls": ((Text("Let me see."), ToolUse("c1", "f", '{"a":1}'), ToolUse("c2", "g")), StopReason.TOOL_USE),
    "a refusal": ((Text("No.", refusal=True),), StopReason.REFUSAL),
    "text around a call": ((Text("a"), ToolUse("c1", "f"), Text("b")), StopReason.TOOL_USE),
    "a picture": ((Text("Here:"), Media(MediaKind.IMAGE, "image/png", inline="iVBORw0KGgo=")), StopReason.END),
    "nothing": ((), StopReason.END),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_event_is_one_of_the_sdks_and_its_helper_gives_the_answer(name: str) -> None:
    blocks, stop = ANSWERS[name]
    response = HubResponse(Dialect.ANTHROPIC_MESSAGES, "msg_1", "claude", blocks, stop, usage=Usage(10, 5), created_s=7)
    stream, losses = write_stream(codec, unfold(response))
    assert losses == []
    said = [(parse(frame).event, json.loads(parse(frame).data or b"")) for frame in split(stream)]
    assert [value["sequence_number"] for _, value in said] == list(range(len(said)))
    for event, value in said:
        assert event == value["type"]
        MODELS[event].model_validate(value)
    with client_of(stream).responses.stream(model="m", input="x") as reading:
        final = reading.get_final_response()
    assert final.output_text == "".join(text.text for text in blocks if isinstance(text, Text) and not text.refusal)
    calls = [(item.call_id, item.name, item.arguments) for item in final.output if item.type == "function_call"]
    assert calls == [(call.id, call.name, call.arguments) for call in blocks if isinstance(call, ToolUse)]
    assert final.usage is not None
    assert (final.usage.input_tokens, final.usage.output_tokens) == (10, 5)
    assert said[-1][1]["response"] == json.loads(json.dumps(codec.encode_response(response, [])))


def test_the_events_of_a_text_and_a_call() -> None:
    blocks = (Text("Hi"), ToolUse("c1", "f", "{}"))
    stream, _ = write_stream(codec, unfold(HubResponse(Dialect.OPENAI_CHAT, "1", "m", blocks, StopReason.TOOL_USE)))
    assert [parse(frame).event for frame in split(stream)] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_an_answer_that_was_cut_off_ends_as_incomplete() -> None:
    response = HubResponse(Dialect.OPENAI_CHAT, "1", "m", (Text("Hi"),), StopReason.LENGTH)
    stream, _ = write_stream(codec, unfold(response))
    events = list(client_of(stream).responses.create(model="m", input="x", stream=True))
    assert events[-1].type == "response.incomplete"


def test_a_fault_after_some_text_makes_the_sdk_raise() -> None:
    events = [*unfold(HubResponse(Dialect.OPENAI_CHAT, "1", "m", (Text("Hi"),), StopReason.END))][:3]
    failure = Failure(Kind.IDLE_TIMEOUT, "silence")
    stream, _ = write_stream(codec, [*events, Fault(failure)])
    reading = client_of(stream + codec.fault_event(failure)).responses.create(model="m", input="x", stream=True)
    seen = [next(reading).type for _ in split(stream)]
    assert seen[-1] == "response.output_text.delta"
    with pytest.raises(openai.APIError, match="silence"):
        next(reading)
