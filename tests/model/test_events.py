"""Streams and whole answers are the same thing, told in two ways."""

from __future__ import annotations

import pytest

from sidecar.model.blocks import Block, Logprob, Media, MediaKind, Opaque, Text, Thinking, ToolUse
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Fault, Start, Stop, fold, unfold
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubResponse, StopReason
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect

START = Start(Dialect.OPENAI_CHAT, "id-1", "model-1", 7)
STOP = Stop(StopReason.END, "stop")
HI = Logprob("Hi", -0.1)


def answer(*blocks: Block) -> HubResponse:
    return HubResponse(Dialect.OPENAI_CHAT, "id-1", "model-1", blocks, StopReason.END, "stop", created_s=7)


@pytest.mark.parametrize(
    ("begun", "deltas", "whole"),
    [
        (Text(""), [Delta("a"), Delta("b")], Text("ab")),
        (Text("a"), [Delta("b")], Text("ab")),
        (Text(""), [], Text("")),
        (Text("", refusal=True), [Delta("no")], Text("no", refusal=True)),
        (Text(""), [Delta("Hi", logprobs=(HI,)), Delta("", logprobs=(HI,))], Text("Hi", logprobs=(HI, HI))),
        (Text(""), [Delta("a"), Delta(signature="s")], Text("a", signature="s")),
        (Thinking(""), [Delta("a"), Delta(signature="s1"), Delta(signature="s2")], Thinking("a", "s1s2")),
        (Thinking("", "data", redacted=True), [], Thinking("", "data", redacted=True)),
        (ToolUse("c", "f", ""), [Delta('{"a"'), Delta(":1}")], ToolUse("c", "f", '{"a":1}')),
        (ToolUse("c", "f", ""), [], ToolUse("c", "f", "{}")),
        (ToolUse("c", "f", ""), [Delta("")], ToolUse("c", "f", "{}")),
        (ToolUse("c", "f", ""), [Delta("{}", signature="s")], ToolUse("c", "f", "{}", signature="s")),
        (Media(MediaKind.IMAGE, url="u"), [], Media(MediaKind.IMAGE, url="u")),
        (Opaque(Dialect.GEMINI_GENERATE, {"a": 1}), [], Opaque(Dialect.GEMINI_GENERATE, {"a": 1})),
        (Text(""), [Delta("a", extra={"x": [1], "y": 1}), Delta(extra={"x": [2], "y": 2})],
         Text("a", extra={"x": [1, 2], "y": 2})),
    ],
)  # fmt: skip
def test_a_block_grows_by_its_deltas(begun: Block, deltas: list[Delta], whole: Block) -> None:
    assert fold([START, BlockStart(begun), *deltas, BlockStop(), STOP]) == answer(whole)


def test_the_stop_completes_what_the_start_began() -> None:
    early, late = Usage(5), Usage(5, 7)
    start = Start(Dialect.OPENAI_CHAT, "id-1", "model-1", usage=early, extra={"a": 1, "b": 1})
    end = Stop(StopReason.STOP_SEQUENCE, "stop_sequence", "END", late, {"b": 2})
    folded = fold([start, end])
    assert folded == HubResponse(
        Dialect.OPENAI_CHAT, "id-1", "model-1", (), StopReason.STOP_SEQUENCE, "stop_sequence", "END", late, None,
        {"a": 1, "b": 2},
    )  # fmt: skip
    without = fold([start, STOP])
    assert isinstance(without, HubResponse)
    assert without.usage == early


@pytest.mark.parametrize("before", [[], [START], [START, BlockStart(Text("")), Delta("a"), BlockStop()]])
def test_a_broken_stream_comes_to_its_failure(before: list[Event]) -> None:
    failure = Failure(Kind.TRUNCATED, "the stream ended without its end")
    assert fold([*before, Fault(failure)]) == failure


def test_a_whole_answer_streams_what_grows_and_gives_the_rest_at_once() -> None:
    image = Media(MediaKind.IMAGE, url="u")
    hidden = Thinking("", "data", redacted=True)
    response = answer(hidden, Thinking("hm", "s"), Text("Hi", logprobs=(HI,)), ToolUse("c", "f", '{"a":1}'), image)
    assert list(unfold(response)) == [
        START,
        BlockStart(hidden),
        BlockStop(),
        BlockStart(Thinking("")),
        Delta("hm", "s"),
        BlockStop(),
        BlockStart(Text("")),
        Delta("Hi", logprobs=(HI,)),
        BlockStop(),
        BlockStart(ToolUse("c", "f", "")),
        Delta('{"a":1}'),
        BlockStop(),
        BlockStart(image),
        BlockStop(),
        STOP,
    ]


def test_a_stream_without_an_end_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match="last event"):
        fold([START])
