"""Whole answers: what they say, and how one becomes a stream and a stream becomes one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.dialects.openai_facts import AnswerFacts, read_answer, stream_of, usage_of
from sidecar.dialects.openai_reading import answer_of, read_message
from sidecar.model.failures import Failure, Kind
from sidecar.model.records import Usage
from sidecar.model.topology import Operation
from tests.dialects import oracle

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 2}}
CALL = {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def answer(message: Any = None, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Hello"} if message is None else message
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    head = {"id": "c", "object": "chat.completion", "created": 5, "model": "m", "system_fingerprint": "fp"}
    return {**head, "choices": [choice], "usage": USAGE, **more}


def read(value: Any, operation: Operation = Operation.CHAT) -> AnswerFacts | Failure:
    return read_answer(value if isinstance(value, bytes) else json.dumps(value).encode(), operation)


def streamed(value: dict[str, Any], *, with_usage: bool = True, indent: int | None = None) -> list[dict[str, Any]]:
    """The events of an answer's stream, which must be whole and plain."""
    stream = stream_of(json.dumps(value, indent=indent).encode(), with_usage=with_usage)
    assert stream.endswith(b"data: [DONE]\n\n")
    reading = oracle.read(stream)
    assert (reading.passed, reading.malformed, reading.complete) == (stream, 0, True)
    return list(oracle.events(stream))


# -- facts


def test_facts_of_an_answer() -> None:
    assert read(answer()) == AnswerFacts("m", "stop", Usage(3, 4, 2))


def test_facts_of_embeddings() -> None:
    vectors = {"object": "list", "data": [{"embedding": [0.1]}], "model": "e", "usage": {"prompt_tokens": 2}}
    assert read(vectors, Operation.EMBEDDINGS) == AnswerFacts("e", None, Usage(2))
    failure = read({"object": "list", "data": []}, Operation.EMBEDDINGS)
    assert isinstance(failure, Failure)
    assert '"data"' in failure.message


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "no"}},
        {"error": "no"},
        {"object": "error", "message": "no"},
        {"choices": [{"index": 0, "error": {"code": 502}, "finish_reason": "error"}]},
        {"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "error"}]},
    ],
)
def test_an_error_inside_a_200_is_a_fault(value: Any) -> None:
    facts = read(value)
    assert isinstance(facts, AnswerFacts)
    assert facts.fault


@pytest.mark.parametrize("nothing", [None, {}, "", False])
def test_an_error_that_is_nothing_is_none(nothing: Any) -> None:
    facts = read(answer(error=nothing))
    assert isinstance(facts, AnswerFacts)
    assert not facts.fault


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "an empty body"),
        (b"  \n", "an empty body"),
        (b"<html>Welcome</html>", "starts with: <html>Welcome</html>"),
        (b'{"choices":[', "not the JSON that was due"),
        (b"[1]", "not the JSON that was due"),
        (b"{}", 'no "choices"'),
        (b'{"choices":[]}', 'no "choices"'),
        (b'{"choices":null}', 'no "choices"'),
        (b'{"choices":[1]}', 'no "choices"'),
        (b"[" * 100_000, "not the JSON that was due"),
    ],
)
def test_what_is_no_answer_is_malformed_and_says_how(body: bytes, words: str) -> None:
    failure = read(body)
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.MALFORMED
    assert words in failure.message


@pytest.mark.parametrize(
    "odd",
    [{"model": 5}, {"usage": 5}, {"usage": {"prompt_tokens": "x"}}, {"usage": None}, {"system_fingerprint": []}],
)
def test_one_odd_value_does_not_spoil_an_answer(odd: dict[str, Any]) -> None:
    facts = read(answer(**odd))
    assert isinstance(facts, AnswerFacts)
    assert facts.finish_reason == "stop"


def test_an_empty_finish_reason_is_none() -> None:
    assert read(answer(finish="")) == AnswerFacts("m", None, Usage(3, 4, 2))


def test_half_an_emoji_does_not_spoil_an_answer() -> None:
    assert read(answer({"content": "\ud83d"})) == AnswerFacts("m", "stop", Usage(3, 4, 2))


# -- a JSON answer to `stream: true`


def test_an_answer_as_a_stream_says_the_same() -> None:
    message = {"role": "assistant", "content": "Hello", "reasoning_content": "hm", "tool_calls": [CALL, CALL]}
    events = streamed(answer(message, "tool_calls"))
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert all((event["id"], event["created"], event["model"]) == ("c", 5, "m") for event in events)
    first, last, usage = events
    assert first["choices"][0]["delta"] == {**message, "tool_calls": [{"index": 0, **CALL}, {"index": 1, **CALL}]}
    assert first["choices"][0]["finish_reason"] is None
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]
    assert (usage["choices"], usage["usage"]) == ([], USAGE)


def test_the_usage_chunk_comes_only_to_who_asked() -> None:
    assert all("usage" not in event for event in streamed(answer(), with_usage=False))
    assert all("usage" not in event for event in streamed(answer(usage=None), with_usage=True))


def test_an_answer_over_several_lines_makes_events_of_one() -> None:
    assert streamed(answer({"content": "a\nb", "tool_calls": [CALL]}), indent=2) == streamed(
        answer({"content": "a\nb", "tool_calls": [CALL]})
    )


def test_completions_stay_completions() -> None:
    choice = {"index": 0, "text": "upon", "logprobs": None, "finish_reason": "length"}
    events = streamed(answer(object="text_completion", choices=[choice]), with_usage=False)
    assert {event["object"] for event in events} == {"text_completion"}
    assert events[0]["choices"] == [{**choice, "finish_reason": None}]
    assert events[1]["choices"] == [{"index": 0, "text": "", "finish_reason": "length"}]


def test_every_choice_is_streamed() -> None:
    choices = [{"index": index, "message": {"content": str(index)}, "finish_reason": "stop"} for index in (0, 1)]
    events = streamed(answer(choices=choices), with_usage=False)
    assert [event["choices"][0]["index"] for event in events] == [0, 0, 1, 1]


@pytest.mark.parametrize("message", ["odd", [], {}, {"content": None}, {"content": "x", "tool_calls": "odd"}])
def test_an_odd_message_is_streamed_as_far_as_it_goes(message: Any) -> None:
    assert len(streamed(answer(message), with_usage=False)) == 2
    assert len(streamed(answer({}, None), with_usage=False)) == 2


@pytest.mark.parametrize("finish", ["stop", "tool_calls"])
def test_there_and_back_again(finish: str) -> None:
    message = {"role": "assistant", "content": "Hi é🙂", "tool_calls": [CALL], "reasoning_content": "hm"}
    whole = answer(message, finish)
    body = answer_of(stream_of(json.dumps(whole).encode(), with_usage=True))
    assert body is not None
    back = json.loads(body)
    del whole["choices"][0]["logprobs"]
    assert back == whole


# -- an SSE answer to `stream: false`


def frame(*choices: dict[str, Any], **more: Any) -> bytes:
    value = {"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": list(choices), **more}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(index: int = 0, finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {"index": index, "delta": said, "finish_reason": finish}


def test_a_stream_as_an_answer_keeps_its_usage_in_full() -> None:
    body = answer_of(frame(delta(content="a")) + frame(delta(finish="stop")) + frame(usage=USAGE))
    assert body is not None
    assert json.loads(body)["usage"] == USAGE
    assert read(body) == AnswerFacts("m", "stop", Usage(3, 4, 2))


def test_a_stream_of_several_choices_as_an_answer() -> None:
    frames = [delta(1, content="b"), delta(0, content="a"), delta(1, "stop"), delta(0, "length")]
    body = answer_of(b"".join(frame(choice) for choice in frames))
    assert body is not None
    choices = json.loads(body)["choices"]
    found = [(choice["index"], choice["message"]["content"], choice["finish_reason"]) for choice in choices]
    assert found == [(0, "a", "length"), (1, "b", "stop")]


def test_a_stream_of_completions_as_an_answer() -> None:
    frames = [{"index": 0, "text": text, "finish_reason": None} for text in ("up", "on")]
    body = answer_of(b"".join(frame(choice) for choice in [*frames, {"index": 0, "text": "", "finish_reason": "stop"}]))
    assert body is not None
    value = json.loads(body)
    assert value["object"] == "text_completion"
    assert value["choices"] == [{"index": 0, "text": "upon", "finish_reason": "stop"}]


@pytest.mark.parametrize("end", [b"", frame(delta(1, content="b"), delta(0, "stop"))])
def test_a_stream_that_is_not_complete_is_no_answer(end: bytes) -> None:
    assert answer_of(frame(delta(content="a")) + end) is None
    assert answer_of(b"") is None
    assert answer_of(b"data: [DONE]\n\n") is None


def test_the_mark_of_the_end_completes_an_answer() -> None:
    body = answer_of(frame(delta(content="a")) + b"data: [DONE]\n\n")
    assert body is not None
    assert read_message(body).content == "a"


def test_a_stream_that_tells_of_an_error_gives_the_error() -> None:
    error = b'{"error":{"message":"broke"}}'
    body = answer_of(frame(delta(content="a")) + b"data: " + error + b"\n\n" + frame(delta(finish="stop")))
    assert body == error
    facts = read(error)
    assert isinstance(facts, AnswerFacts)
    assert facts.fault


def test_what_is_malformed_in_a_stream_is_passed_over() -> None:
    stream = frame(delta(content="a")) + b"data: {\n\n: ping\n\n" + frame(delta(content="b", finish="stop"))
    body = answer_of(stream)
    assert body is not None
    assert read_message(body).content == "ab"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Usage(3, 4)),
        ({"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}, Usage(3, 4, 2)),
        ({"prompt_tokens": 3, "completion_tokens": 4, "prompt_cache_hit_tokens": 2}, Usage(3, 4, 2)),
        ({"prompt_tokens": 3, "completion_tokens": 4, "cached_tokens": 2}, Usage(3, 4, 2)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "cache_read_input_tokens": 2,
                "cache_creation_input_tokens": 5,
            },
            Usage(9, 4, 2, 5),
        ),
        (
            {"prompt_tokens": 3, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 1}},
            Usage(3, 4, None, None, 1),
        ),
        # The total tells that thoughts are counted apart.
        (
            {
                "prompt_tokens": 3,
                "completion_tokens": 4,
                "total_tokens": 17,
                "completion_tokens_details": {"reasoning_tokens": 10},
            },
            Usage(3, 14, None, None, 10),
        ),
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 17}, Usage(3, 14, None, None, 10)),
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 5}, Usage(3, 4)),
    ],
)
def test_usage_is_read_in_every_spelling(said: dict[str, Any], meant: Usage) -> None:
    assert usage_of(json.dumps(said).encode()) == meant
