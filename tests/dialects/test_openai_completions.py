"""Completions by way of chat: the request there, the answer and the stream back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.dialects.body import peek
from sidecar.dialects.openai_completions import chat_peek, completion_events, completion_of
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Kind
from sidecar.model.topology import Operation


def asked(**fields: Any) -> dict[str, Any]:
    """The chat that stands for a completion; its top level."""
    seen = peek(json.dumps({"model": "m", **fields}).encode(), Operation.COMPLETIONS)
    chat = chat_peek(seen)
    assert (chat.model, chat.stream, chat.wants_usage) == (seen.model, seen.stream, seen.wants_usage)
    return {name: json.loads(bytes(value)) for name, value in chat.fields.items()}


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_the_prompt_becomes_a_users_message_and_the_rest_stays() -> None:
    assert asked(prompt="Once", max_tokens=5, stop=["."], stream=True, stream_options={"include_usage": True}) == {
        "model": "m",
        "messages": said("Once"),
        "max_tokens": 5,
        "stop": ["."],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert asked(prompt=["Once"])["messages"] == said("Once")
    assert asked(prompt="")["messages"] == said("")


def test_logprobs_are_asked_for_as_chat_asks() -> None:
    fields = asked(prompt="x", logprobs=3)
    assert (fields["logprobs"], fields["top_logprobs"]) == (True, 3)
    assert "logprobs" not in asked(prompt="x", logprobs=None)


@pytest.mark.parametrize("fields", [{"echo": False}, {"best_of": 1}, {"suffix": None}, {"suffix": ""}, {"echo": None}])
def test_what_asks_for_nothing_is_left_out(fields: dict[str, Any]) -> None:
    assert asked(prompt="x", **fields) == {"model": "m", "messages": said("x")}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "x", "echo": True}, "echo"),
        ({"prompt": "x", "suffix": "end"}, "suffix"),
        ({"prompt": "x", "best_of": 2}, "best_of"),
        ({"prompt": ["x", "y"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({}, "prompt"),
    ],
)
def test_what_chat_cannot_say_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ValidationError) as caught:
        asked(**fields)
    failure = caught.value.failure
    assert (failure.kind, failure.param) == (Kind.INVALID_REQUEST, param)
    assert f'"{param}"' in failure.message


CHOICE = {"index": 0, "message": {"role": "assistant", "content": "upon"}, "finish_reason": "stop"}
ANSWER = {"id": "c", "object": "chat.completion", "model": "m", "choices": [CHOICE], "usage": {"prompt_tokens": 1}}


def completion(*choices: Any) -> dict[str, Any]:
    return json.loads(completion_of(json.dumps({**ANSWER, "choices": choices}).encode()))


def test_the_answer_has_the_shape_of_completions() -> None:
    text = {"index": 0, "text": "upon", "logprobs": None, "finish_reason": "stop"}
    assert completion(CHOICE) == {**ANSWER, "object": "text_completion", "choices": [text]}


def test_every_choice_comes_back() -> None:
    choices = completion(CHOICE, {**CHOICE, "index": 1, "finish_reason": "length"})["choices"]
    assert [(choice["index"], choice["finish_reason"]) for choice in choices] == [(0, "stop"), (1, "length")]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None}, ""),
        ({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "upon"}]}, "upon"),
        ({}, ""),
        (None, ""),
        ("odd", ""),
    ],
)
def test_whatever_a_message_holds_there_is_a_text(message: Any, text: str) -> None:
    assert completion({**CHOICE, "message": message})["choices"][0]["text"] == text


def test_logprobs_come_back_as_parallel_lists() -> None:
    tokens = [
        {
            "token": "up",
            "logprob": -0.1,
            "top_logprobs": [{"token": "up", "logprob": -0.1}, {"token": "a", "logprob": -3}],
        },
        {"token": "on", "logprob": -0.2, "top_logprobs": []},
    ]
    assert completion({**CHOICE, "logprobs": {"content": tokens}})["choices"][0]["logprobs"] == {
        "tokens": ["up", "on"],
        "token_logprobs": [-0.1, -0.2],
        "top_logprobs": [{"up": -0.1, "a": -3}, {}],
    }


def test_a_stream_has_the_shape_of_completions_and_keeps_what_is_no_event() -> None:
    def frame(choices: list[Any], **more: Any) -> bytes:
        return (
            b"data: "
            + json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": choices, **more}).encode()
            + b"\n\n"
        )

    stream = b": ping\n\n" + b"".join(
        [
            frame([{"index": 0, "delta": {"role": "assistant", "content": "up"}, "finish_reason": None}]),
            b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\r\n\r\n',
            frame([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
            frame([], usage={"prompt_tokens": 1}),
            b"data: [DONE]\n\n",
        ]
    )
    shaped = completion_events(stream)
    assert shaped.startswith(b": ping\n\ndata: {")
    assert shaped.endswith(b"data: [DONE]\n\n")
    events = [json.loads(line[6:]) for line in shaped.splitlines()[2:-2] if line]
    assert {event["object"] for event in events} == {"text_completion"}
    texts = [choice["text"] for event in events for choice in event["choices"]]
    assert texts == ["up", "\ufffd", ""]
    assert events[2]["choices"][0]["finish_reason"] == "stop"
    assert (events[3]["choices"], events[3]["usage"]) == ([], {"prompt_tokens": 1})
