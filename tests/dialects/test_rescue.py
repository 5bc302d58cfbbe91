"""Joining the stream of a second target to what a client has: nothing lost, nothing twice, however it is torn."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.dialects.body import peek
from sidecar.dialects.openai_reading import Reading
from sidecar.dialects.rescue import Joiner, continuation, delivered_text, joined, rescuable
from sidecar.dialects.sse import parse, split
from sidecar.model.request import Peek
from sidecar.model.topology import Operation
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


@settings(deadline=None)
@given(few_letters, few_letters, st.lists(st.integers(0, 30)), st.lists(st.integers(0, 40)))
def test_any_splitting_of_the_second_stream_gives_the_same(
    delivered: str, new: str, cuts: list[int], feeds: list[int]
) -> None:
    frames = [frame(ROLE), *(said(piece) for piece in pieces(new, cuts)), frame(FINISH), DONE]
    joiner = Joiner(delivered, "b/beta")
    got = b""
    places = sorted({0, len(frames), *(feed % (len(frames) + 1) for feed in feeds)})
    for start, end in pairwise(places):
        got += joiner.feed(b"".join(frames[start:end]))
    assert text_of(got) == joined(delivered, new, over=True)
    assert events(got)[-1]["choices"][0]["finish_reason"] == "stop"
    assert got.endswith(DONE)


def test_the_client_is_told_who_goes_on_once_and_first() -> None:
    joiner = Joiner("one two", "b/beta")
    got = joiner.feed(said(" three")) + joiner.feed(said(" four"))
    assert got.startswith(b": rescued by b/beta\n\n")
    assert got.count(b"rescued") == 1
    assert text_of(got) == " three four"


def test_who_speaks_is_not_said_twice() -> None:
    got = Joiner("one two", "b/beta").feed(frame(ROLE) + said(" three"))
    assert [event["choices"][0]["delta"] for event in events(got)] == [{"content": " three"}]


def test_after_the_join_frames_pass_as_they_came() -> None:
    joiner = Joiner("one", "b/beta")
    joiner.feed(said(" two"))
    odd = b'event: x\ndata: {"choices":[{"index":0,"delta":{"content":"!"},"extra":1}]}\n\n'
    assert joiner.feed(odd) == odd


def test_the_usage_and_comments_pass_while_it_is_not_clear_what_is_new() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 60, "total_tokens": 67}}
    got = Joiner("one two", "b/beta").feed(said("one") + b": ping\n\n" + frame(usage))
    assert b": ping\n\n" in got
    assert events(got) == [usage]


def test_a_tool_call_ends_the_search_for_what_is_new() -> None:
    got = Joiner("one two three", "b/beta").feed(said("two") + said("", tool_calls=[CALL]))
    (event,) = events(got)
    assert event["choices"][0]["delta"]["tool_calls"] == [CALL]
    assert text_of(got) == "two"


def test_a_stream_that_ends_without_a_finish_reason_loses_nothing() -> None:
    joiner = Joiner("one two three", "b/beta")
    got = joiner.feed(said("two")) + joiner.feed(DONE)
    assert text_of(got) == "two"
    assert got.endswith(DONE)


def test_completions_are_joined_as_well() -> None:
    chunks = [{"choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in ("two", " three")]
    got = Joiner("one two", "b/beta").feed(b"".join(map(frame, chunks)))
    assert text_of(got) == " three"


# What was delivered, and whether it can be gone on with.


def test_what_was_delivered_is_the_text_of_all_frames() -> None:
    assert delivered_text(frame(ROLE) + b": ping\n\n" + said("one") + said(" two")) == "one two"


@pytest.mark.parametrize(
    "last",
    [said("", tool_calls=[CALL]), said("", refusal="no"), frame(FINISH)],
    ids=["tool_call", "refusal", "finished"],
)
def test_what_is_no_text_cannot_be_gone_on_with(last: bytes) -> None:
    assert delivered_text(said("one") + last) is None


def asked(**fields: object) -> Peek:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True, **fields}
    return peek(msgspec.json.encode(body), Operation.CHAT)


@pytest.mark.parametrize(
    ("fields", "can"),
    [
        ({}, True),
        ({"n": 1}, True),
        ({"n": 2}, False),
        ({"response_format": {"type": "text"}}, True),
        ({"response_format": None}, True),
        ({"response_format": {"type": "json_object"}}, False),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, False),
    ],
)
def test_only_one_answer_of_plain_text_can_be_gone_on_with(fields: dict[str, object], can: bool) -> None:
    assert rescuable(asked(**fields), Operation.CHAT) is can


def test_the_next_target_gets_the_original_request_and_what_was_said() -> None:
    request = asked(temperature=0.5)
    following = continuation(request, Operation.CHAT, "one two")
    original, messages = (msgspec.json.decode(each.fields["messages"]) for each in (request, following))
    assert messages[: len(original)] == original
    assert messages[len(original)] == {"role": "assistant", "content": "one two"}
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert following.fields["temperature"] == request.fields["temperature"]


def test_of_completions_the_prompt_goes_on() -> None:
    request = peek(msgspec.json.encode({"model": "m", "prompt": "Say:", "stream": True}), Operation.COMPLETIONS)
    following = continuation(request, Operation.COMPLETIONS, " one")
    assert msgspec.json.decode(following.fields["prompt"]) == "Say: one"


def test_without_any_text_the_request_is_asked_as_it_was() -> None:
    request = asked()
    assert continuation(request, Operation.CHAT, "") is request
