"""Joining the stream of a second target to what a client has: nothing lost, nothing twice, however it is torn."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.dialects.body import peek
from sidecar.dialects.forms import StreamTap
from sidecar.dialects.openai_reading import Reading
from sidecar.dialects.rescue import Continuation, continuation, joined
from sidecar.dialects.sse import parse, split
from sidecar.model.hub import Wire
from sidecar.model.records import Usage
from sidecar.model.request import Call
from sidecar.model.topology import Operation, Params
from sidecar.model.ways import DIALECT_OF
from tests.fake_behaviours import WORDS

POEM = " ".join(WORDS)
DONE = b"data: [DONE]\n\n"
FINISH = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}

few_letters = st.text(alphabet="ab ", max_size=30)


def frame(event: object) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


def said(text: str, **delta: object) -> bytes:
    return frame({"choices": [{"index": 0, "delta": {"content": text, **delta}, "finish_reason": None}]})


def events(stream: bytes) -> list[dict[str, Any]]:
    data = [parse(piece).data for piece in split(stream)]
    return [msgspec.json.decode(each) for each in data if each is not None and each != b"[DONE]"]


def text_of(stream: bytes) -> str:
    reading = Reading()
    for event in events(stream):
        reading.take(event)
    return reading.content


def pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


# What is new.


@pytest.mark.parametrize(
    ("delivered", "new", "rest"),
    [
        ("one two", " three", " three"),  # goes on
        ("one two", "one two three", " three"),  # begins again
        ("one two", "two three", " three"),  # repeats the last word
        ("one two ", "two three", "three"),
        ("one two ", " three", "three"),  # a blank is an overlap, too
        ("one tw", "two three", "o three"),  # repeats a word that was cut
        ("one tw", "o three", "o three"),
        ("one two", "one two", ""),  # only repeats
        ("one two", "one", ""),
        ("one two", "on the way", "on the way"),  # begins alike, and is something else
        ("a banana", "na na", "na na"),  # letters that are equal by chance
        ("the end of a sentence.", "nd of a sentence. And more", " And more"),  # long enough to be no chance
        ("", "one", "one"),
        ("one", "", ""),
        ("日本語 テキスト", "テキスト です", " です"),
    ],
)
def test_what_is_new(delivered: str, new: str, rest: str) -> None:
    assert joined(delivered, new, over=True) == rest


@settings(deadline=None)
@given(few_letters, few_letters)
def test_nothing_is_invented_and_only_what_was_delivered_is_swallowed(delivered: str, new: str) -> None:
    rest = joined(delivered, new, over=True)
    assert rest is not None
    assert new.endswith(rest)
    swallowed = new.removesuffix(rest) if rest else new
    assert delivered.startswith(swallowed) or delivered.endswith(swallowed)


@settings(deadline=None)
@given(few_letters, few_letters)
def test_what_is_said_early_stays_true(delivered: str, new: str) -> None:
    whole = joined(delivered, new, over=True)
    assert whole is not None
    for size in range(len(new)):
        early = joined(delivered, new[:size], over=False)
        if early is not None:
            assert early + new[size:] == whole


@settings(deadline=None)
@given(st.integers(0, len(POEM)), st.integers(0, len(WORDS)))
def test_no_overlap_is_repeated(cut: int, words: int) -> None:
    """Wherever the first stream was cut, and at whichever word before that the second one begins."""
    delivered = POEM[:cut]
    restart = min(cut, len(" ".join(WORDS[:words])))
    if 0 < restart < cut:
        restart = min(cut, restart + 1)  # after the blank
    rest = joined(delivered, POEM[restart:], over=True)
    assert rest is not None
    assert delivered + rest == POEM


def test_an_overlap_is_looked_for_in_what_is_at_the_end_of_a_long_text() -> None:
    delivered = "word " * 200_000 + "and the last sentence"
    assert joined(delivered, "and the last sentence goes on", over=True) == " goes on"


# The stream.


def asked(operation: Operation = Operation.CHAT, **fields: object) -> Call:
    said = (
        {"prompt": "Say:"} if operation is Operation.COMPLETIONS else {"messages": [{"role": "user", "content": "Hi"}]}
    )
    if operation is Operation.MESSAGES:
        said["max_tokens"] = 100
    body = {"model": "m", "stream": True, **said, **fields}
    return Call(operation, DIALECT_OF[operation], peek(msgspec.json.encode(body), operation), "req_1")


def broken(delivered: bytes, call: Call | None = None, usage: Usage | None = None) -> Continuation:
    following = continuation(call or asked(), delivered, usage)
    assert following is not None
    return following


def going_on(following: Continuation, call: Call | None = None) -> tuple[dict[str, Any], StreamTap]:
    """What the next target is asked, and what its stream goes through."""
    form = following.form(call or asked(), Operation.CHAT, Wire("beta"), Params(), "b/beta")
    return msgspec.json.decode(form.body), form.tap()


def joiner(delivered: str) -> StreamTap:
    return going_on(broken(frame(ROLE) + said(delivered) if delivered else frame(ROLE)))[1]


@settings(deadline=None)
@given(few_letters, few_letters, st.lists(st.integers(0, 30)), st.lists(st.integers(0, 40)))
def test_any_splitting_of_the_second_stream_gives_the_same(
    delivered: str, new: str, cuts: list[int], feeds: list[int]
) -> None:
    frames = [frame(ROLE), *(said(piece) for piece in pieces(new, cuts)), frame(FINISH), DONE]
    tap = joiner(delivered)
    got = b""
    places = sorted({0, len(frames), *(feed % (len(frames) + 1) for feed in feeds)})
    for start, end in pairwise(places):
        got += tap.feed(b"".join(frames[start:end]))
    got += tap.end() + tap.closing()
    assert tap.complete
    assert text_of(got) == joined(delivered, new, over=True)
    assert events(got)[-1]["choices"][0]["finish_reason"] == "stop"
    assert got.endswith(DONE)


def test_the_client_is_told_who_goes_on_once_and_first() -> None:
    tap = joiner("one two")
    got = tap.feed(frame(ROLE) + said(" three")) + tap.feed(said(" four"))
    assert got.startswith(b": rescued by b/beta\n\n")
    assert got.count(b"rescued") == 1
    assert text_of(got) == " three four"


def test_who_speaks_is_not_said_twice() -> None:
    got = joiner("one two").feed(frame(ROLE) + said(" three"))
    assert [event["choices"][0]["delta"] for event in events(got)] == [{"content": " three"}]


def test_a_tool_call_ends_the_search_for_what_is_new() -> None:
    tap = joiner("one two three")
    got = tap.feed(frame(ROLE) + said("two") + said("", tool_calls=[CALL]) + frame(FINISH) + DONE)
    reading = Reading()
    for event in events(got):
        reading.take(event)
    assert reading.content == "two"
    assert [call.function.name for call in reading.tool_calls] == ["f"]


def test_the_tokens_of_both_streams_are_summed() -> None:
    call = asked(stream_options={"include_usage": True})
    _, tap = going_on(broken(said("one"), call, Usage(7, 3)), call)
    usage = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}}
    got = tap.feed(frame(ROLE) + said(" two") + frame(FINISH) + frame(usage) + DONE)
    told = events(got)[-1]["usage"]
    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (17, 7, 24)


def test_completions_are_joined_as_well() -> None:
    call = asked(Operation.COMPLETIONS)
    delivered = frame({"choices": [{"index": 0, "text": "one two", "finish_reason": None}]})
    body, tap = going_on(broken(delivered, call), call)
    assert [message["content"] for message in body["messages"]][:2] == ["Say:", "one two"]
    assert text_of(tap.feed(frame(ROLE) + said("two") + said(" three"))) == " three"


def test_a_stream_of_another_dialect_goes_on_in_the_block_that_is_open() -> None:
    call = asked(Operation.MESSAGES)
    usage = {"input_tokens": 5, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": [], "usage": usage}
    message |= {"stop_reason": None, "stop_sequence": None}
    delivered = b"".join(
        f"event: {event['type']}\n".encode() + frame(event)
        for event in (
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "one two"}},
        )
    )
    _, tap = going_on(broken(delivered, call), call)
    got = events(tap.feed(frame(ROLE) + said("two three") + frame(FINISH) + DONE))
    assert [event["type"] for event in got] == [
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert got[0] == {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " three"}}


# What was delivered, and whether it can be gone on with.


@pytest.mark.parametrize(
    "last",
    [said("", tool_calls=[CALL]), said("", refusal="no"), frame(FINISH) + DONE],
    ids=["tool_call", "refusal", "finished"],
)
def test_what_is_no_text_cannot_be_gone_on_with(last: bytes) -> None:
    assert continuation(asked(), said("one") + last, None) is None


@pytest.mark.parametrize(
    ("fields", "can"),
    [
        ({}, True),
        ({"n": 1}, True),
        ({"n": 2}, False),
        ({"response_format": {"type": "text"}}, True),
        ({"response_format": None}, True),
        ({"response_format": {"type": "json_object"}}, False),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}, False),
    ],
)
def test_only_one_answer_of_plain_text_can_be_gone_on_with(fields: dict[str, object], can: bool) -> None:
    assert (continuation(asked(**fields), said("one"), None) is not None) is can


def test_the_next_target_gets_the_original_request_and_what_was_said() -> None:
    body, _ = going_on(broken(frame(ROLE) + b": ping\n\n" + said("one") + said(" two")), asked(temperature=0.5))
    assert body["messages"][:2] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "one two"}]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]


def test_without_any_text_the_request_is_asked_as_it_was() -> None:
    body, _ = going_on(broken(frame(ROLE)))
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
