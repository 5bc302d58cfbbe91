"""The quick look at an event and the close one give the same facts, and so does a stream that is looked at closely."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.dialects import openai_facts, relay
from sidecar.dialects.mould import Mould
from sidecar.dialects.openai_facts import EventFacts, read_event
from tests.dialects import oracle
from tests.dialects.oracle import tapped

MISSING = object()


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object that lacks what is missing."""
    return st.fixed_dictionaries(fields).map(
        lambda found: {name: value for name, value in found.items() if value is not MISSING}
    )


def often(usual: Any, *odd: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([usual, usual, usual, usual, MISSING, *odd])


ODD = (None, "", 0, 5, 0.0, [], {}, False, True, "error", [5], {"content": "x"}, "\ud83d")
DELTA = st.one_of(
    st.sampled_from([{"content": "word "}, {}, {"role": "assistant", "content": ""}, MISSING, *ODD]),
    some(
        role=often("assistant", *ODD),
        content=often("word é\n", *ODD),
        refusal=often(None, *ODD),
        reasoning_content=often(None, *ODD),
        tool_calls=often(MISSING, *ODD),
        provider_metadata=often(MISSING, {"gateway": {}}),
    ),
)
CHOICE = some(
    index=often(0, 1, -1, 2**70, "0", *ODD),
    delta=DELTA,
    message=often(MISSING, {"content": "x"}, *ODD),
    text=often(MISSING, "x", *ODD),
    finish_reason=often(None, "stop", "length", "tool_calls", "eos", *ODD),
    error=often(MISSING, {"code": 502}, *ODD),
)
TOKENS = often(3, -1, 2**70, *ODD)
USAGE = some(
    prompt_tokens=TOKENS,
    completion_tokens=TOKENS,
    total_tokens=often(9, *ODD),
    prompt_tokens_details=often({"cached_tokens": 2}, {"cached_tokens": "2"}, *ODD),
    completion_tokens_details=often({"reasoning_tokens": 1}, *ODD),
)
EVENT = some(
    id=often("c"),
    object=often("chat.completion.chunk", "text_completion", "list", *ODD),
    model=often("m-1", *ODD),
    choices=st.one_of(
        CHOICE.map(lambda choice: [choice]), st.lists(CHOICE, max_size=3), st.sampled_from([MISSING, *ODD])
    ),
    usage=st.one_of(st.sampled_from([MISSING, MISSING, MISSING, None]), USAGE, st.sampled_from(ODD)),
    type=often(MISSING, *ODD),
    error=often(MISSING, {"message": "broke"}, *ODD),
)


def told(facts: EventFacts | None) -> Any:
    if facts is None:
        return None
    choices = [(choice.index, choice.finish_reason or None, choice.content) for choice in facts.choices]
    return facts.model, choices, facts.usage, facts.usage_only, facts.fault


def spelled(event: Any, how: int) -> bytes:
    """An event as JSON, the one way or the other; sometimes a little broken."""
    separators = ((",", ":"), (", ", ": "), (" , ", " : "))[how % 3]
    text = json.dumps(event, ensure_ascii=how % 2 == 0, separators=separators)
    data = text.encode("utf-8", "replace").replace(b"{}", b"{ }" if how % 5 == 1 else b"{}")
    return {7: data.replace(b"word", b"\xff"), 17: data + b"}", 27: data + data[1:]}.get(how, data)


FRAMES = st.tuples(EVENT, st.integers(0, 29)).map(lambda made: b"data: %b\n\n" % spelled(*made))


@settings(max_examples=1_000, derandomize=True)
@given(EVENT, st.integers(0, 29))
def test_both_looks_at_an_event_give_the_same_facts(event: Any, how: int) -> None:
    data = spelled(event, how)
    assert told(read_event(data)) == told(openai_facts._all_event_facts(data))


@settings(max_examples=300, derandomize=True)
@given(st.lists(FRAMES, max_size=12), st.lists(st.integers(0, 11), max_size=8), oracle.CUTS, st.booleans())
def test_a_stream_passes_and_says_the_same_when_it_is_looked_at_closely(
    frames: list[bytes], again: list[int], cuts: list[int], withhold: bool
) -> None:
    stream = b"".join([*frames, *(frames[place % len(frames)] for place in again if frames), b"data: [DONE]\n\n"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relay, "read_event", openai_facts._all_event_facts)
        patch.setattr(Mould, "of", lambda _: None)
        close, passed = tapped([stream], withhold_usage=withhold)
    for pieces in ([stream], oracle.torn(stream, cuts), oracle.frames(stream)):
        tap, parts = tapped(pieces, withhold_usage=withhold)
        assert b"".join(parts) == b"".join(passed)
        assert (oracle.facts(tap), tap.usage) == (oracle.facts(close), close.usage)
