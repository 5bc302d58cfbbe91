"""Answers as values: nothing is rewritten, calls find their place, finish reasons get their common name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sidecar import ResponseNormalizer
from sidecar.dialects.openai_reading import Reading, answer_of, read_message


def read(*deltas: dict[str, Any], **choice: Any) -> Reading:
    reading = Reading()
    for delta in deltas:
        reading.take({"choices": [{"index": 0, "delta": delta, **choice}]})
    return reading


def whole(**message: Any) -> Reading:
    return read_message(msgspec.json.encode({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}))


@pytest.mark.parametrize(
    ("native", "common"),
    [
        (None, None),
        ("", None),
        *((name, name) for name in ("stop", "length", "tool_calls", "content_filter")),
        ("STOP", "stop"),
        ("end_turn", "stop"),
        ("MAX_TOKENS", "length"),
        ("max_output_tokens", "length"),
        ("function_call", "tool_calls"),
        ("tool_use", "tool_calls"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("refusal", "content_filter"),
        ("insufficient_system_resource", "insufficient_system_resource"),
        ("Odd", "Odd"),
    ],
)
def test_a_finish_reason_has_one_name_and_an_unknown_one_stays(native: str | None, common: str | None) -> None:
    assert ResponseNormalizer().finish_reason(native) == common


def test_a_refusal_is_not_a_stop() -> None:
    assert ResponseNormalizer().finish_reason("stop", refused=True) == "content_filter"


@pytest.mark.parametrize(
    "text",
    [
        "```json\n{}\n```",
        "  spaced \n",
        "<tool_call>{}</tool_call>",
        "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    ],
)
def test_content_is_never_rewritten(text: str) -> None:
    assert whole(content=text).content == text
    assert read(*({"content": character} for character in text)).content == text


def test_tool_calls_never_pollute_content() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":1}'}}
    reading = read({"content": "Let me see."}, {"tool_calls": [call]})
    assert reading.content == "Let me see."
    assert reading.tool_calls[0].function.arguments == '{"a":1}'


def test_only_the_first_choice_is_read() -> None:
    reading = Reading()
    reading.take(
        {"choices": [{"index": 1, "delta": {"content": "second"}}, {"index": 0, "delta": {"content": "first"}}]}
    )
    reading.take({"choices": []})
    assert reading.content == "first"


def test_parts_in_place_of_a_text_give_their_texts() -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "one"}, {"type": "text", "text": " two"}]
    assert whole(content=parts).content == "one two"
    assert whole(content=None).content == ""


def test_reasoning_and_refusal_are_apart() -> None:
    reading = read({"reasoning_content": "Hm"}, {"reasoning": "m."}, {"refusal": "No."}, {"content": "x"})
    assert reading.metadata == {"reasoning": "Hmm.", "refusal": "No."}
    assert reading.content == "x"


@pytest.mark.parametrize(
    "deltas",
    [
        # As documented: the index identifies, id and name come first.
        [
            {"index": 0, "id": "c0", "function": {"name": "add", "arguments": ""}},
            {"index": 0, "function": {"arguments": '{"a"'}},
            {"index": 1, "id": "c1", "function": {"name": "sub", "arguments": "{}"}},
            {"index": 0, "function": {"arguments": ":1}"}},
        ],
        # No index: a new id is a new call, no id goes on with the last one.
        [
            {"id": "c0", "function": {"name": "add", "arguments": '{"a"'}},
            {"function": {"arguments": ":1}"}},
            {"id": "c1", "function": {"name": "sub", "arguments": "{}"}},
        ],
        # No index, and the id repeated in every delta.
        [
            {"id": "c0", "function": {"name": "add", "arguments": '{"a"'}},
            {"id": "c1", "function": {"name": "sub", "arguments": "{}"}},
            {"id": "c0", "function": {"arguments": ":1}"}},
        ],
        # Whole calls, with null where nothing is.
        [
            {"index": None, "id": "c0", "function": {"name": "add", "arguments": '{"a":1}'}},
            {"index": None, "id": "c1", "function": {"name": "sub", "arguments": None}},
        ],
    ],
    ids=["documented", "no index", "id repeated", "whole"],
)
def test_deltas_of_calls_find_their_place(deltas: list[dict[str, Any]]) -> None:
    calls = read(*({"tool_calls": [delta]} for delta in deltas)).tool_calls
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        ("c0", "add", '{"a":1}'),
        ("c1", "sub", "{}"),
    ]


def test_a_whole_answer_needs_neither_indices_nor_ids_nor_texts() -> None:
    calls = whole(
        tool_calls=[{"function": {"name": "add", "arguments": {"a": 1}}}, {"function": {"name": "sub"}}]
    ).tool_calls
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        ("call_0", "add", '{"a":1}'),
        ("call_1", "sub", "{}"),
    ]


def test_a_stream_read_as_one_answer_keeps_all_of_it() -> None:
    frames = [
        {"id": "x", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}}]},
        {"id": "x", "model": "m", "choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": "stop"}]},
        {"id": "x", "model": "m", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    ]
    stream = b"".join(b"data: " + msgspec.json.encode(frame) + b"\n\n" for frame in frames)
    body = answer_of(stream + b"data: [DONE]\n\n")
    assert body is not None
    reading = read_message(body)
    assert (reading.content, reading.finish_reason, reading.model) == ("ab", "stop", "m")
    assert reading.usage == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert answer_of(b"data: " + msgspec.json.encode(frames[0]) + b"\n\n") is None
