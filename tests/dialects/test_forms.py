"""What a translated answer is given that its provider's dialect does not tell: an id, the model, and when it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from sidecar.dialects.body import peek
from sidecar.dialects.forms import Form, Whole, form_of
from sidecar.model.hub import Wire
from sidecar.model.request import Call
from sidecar.model.topology import Operation, Params
from sidecar.model.ways import CLIENT_DIALECT_OF

NOW = 1_760_000_000
STAMP = "2025-10-09T08:53:20Z"
SAID: Mapping[Operation, Mapping[str, Any]] = {
    Operation.MESSAGES: {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-1",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    Operation.CONVERSE: {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
    },
}
STREAM = (
    {"type": "message_start", "message": {**SAID[Operation.MESSAGES], "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
    {"type": "message_stop"},
)
ASKED: Mapping[Operation, Mapping[str, Any]] = {
    Operation.CHAT: {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    Operation.RESPONSES: {"model": "m", "input": "Hi"},
    Operation.GENERATE: {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}
WHEN = {
    Operation.CHAT: ("created", NOW),
    Operation.RESPONSES: ("created_at", NOW),
    Operation.GENERATE: ("createTime", STAMP),
}


def form(asked: Operation, endpoint: Operation, *, stream: bool) -> Form:
    body = json.dumps({**ASKED[asked], "stream": stream}).encode()
    glance = peek(body, asked, model="m", stream=stream)
    call = Call(asked, CLIENT_DIALECT_OF[asked], glance, "req_7")
    return form_of(call, endpoint, Wire("claude-9"), Params(), now_utc=lambda: NOW + 0.9)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("endpoint", SAID)
def test_a_whole_answer_tells_when_it_came(asked: Operation, endpoint: Operation) -> None:
    whole = form(asked, endpoint, stream=False).whole(json.dumps(SAID[endpoint]).encode(), streamed=False)
    assert isinstance(whole, Whole)
    name, value = WHEN[asked]
    assert json.loads(whole.body)[name] == value


@pytest.mark.parametrize("asked", ASKED)
def test_a_stream_tells_when_it_began_and_the_same_in_every_event(asked: Operation) -> None:
    tap = form(asked, Operation.MESSAGES, stream=True).tap()
    frames = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in STREAM).encode()
    passed = tap.feed(frames) + tap.end()
    assert tap.verdict() is None
    events = [json.loads(line[6:]) for line in passed.splitlines() if line.startswith(b"data: {")]
    name, value = WHEN[asked]
    told = [event.get("response", event).get(name) for event in events]
    assert set(told) - {None} == {value}
    assert told[0] == value


def test_an_answer_without_a_name_has_that_of_the_request_and_the_model_that_was_asked() -> None:
    whole = form(Operation.CHAT, Operation.CONVERSE, stream=False).whole(
        json.dumps(SAID[Operation.CONVERSE]).encode(), streamed=False
    )
    assert isinstance(whole, Whole)
    body = json.loads(whole.body)
    assert (body["id"], body["model"]) == ("req_7", "claude-9")
    named = form(Operation.CHAT, Operation.MESSAGES, stream=False).whole(
        json.dumps(SAID[Operation.MESSAGES]).encode(), streamed=False
    )
    assert isinstance(named, Whole)
    body = json.loads(named.body)
    assert (body["id"], body["model"]) == ("msg_1", "claude-1")


def test_who_tells_the_time_is_believed() -> None:
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    }
    whole = form(Operation.RESPONSES, Operation.CHAT, stream=False).whole(json.dumps(answer).encode(), streamed=False)
    assert isinstance(whole, Whole)
    assert json.loads(whole.body)["created_at"] == 5
