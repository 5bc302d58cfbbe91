"""Frames that are like one before them: what fits its mould is valid, and means what that one meant."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.dialects import relay
from sidecar.dialects.mould import Mould
from sidecar.dialects.relay import Tap
from tests.dialects import oracle
from tests.dialects.oracle import tapped

OBFUSCATED = (
    b'data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"%b"},'
    b'"finish_reason":null}],"usage":null,"obfuscation":"%b"}\n\n'
)
SPACED = b'data: {"model": "m", "choices": [{"index": 0, "delta": {"content": "%b"}, "finish_reason": null}]}\n\n'
TOOL = (
    b'data: {"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"%b"}}]},'
    b'"finish_reason":null}]}\n\n'
)


def frame(shape: bytes, said: bytes, more: bytes = b"xy") -> bytes:
    return shape % (said, more) if shape is OBFUSCATED else shape % said


def mould(shape: bytes = SPACED) -> Mould:
    made = Mould.of(frame(shape, b"word"))
    assert made is not None
    return made


@pytest.mark.parametrize("shape", [SPACED, OBFUSCATED, TOOL])
def test_what_differs_in_its_text_fits(shape: bytes) -> None:
    texts = [b"", b"a", b"error usage null }{", "é🙂".encode(), b"]}", rb"\n", rb"\"\\", rb"\u0022", rb"\ud83d"]
    frames = [frame(shape, text, text[:2] if text.isalpha() else b"z") for text in texts]
    assert all(map(mould(shape).fits, frames))
    assert mould(shape).fits(b"".join(frames))


HIDDEN = [
    b'x"},"finish_reason":"stop","y":{"z":"',
    b'"',
    b"\\",
    rb"\\" + b'"',
    rb"\u00g0",
    rb"\x",
    b"\\" * 3,
    b"\n",
    b"\x00",
    b"\x1f",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\xbd",
    b'"}],"error":{"message":"x',
    b'x"}}\n\ndata: {"error":{"content":"x',
]


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("shape", [SPACED, OBFUSCATED, TOOL])
def test_nothing_but_a_piece_of_text_fits(shape: bytes, hidden: bytes) -> None:
    good, bad = frame(shape, b"word"), frame(shape, hidden)
    for frames in (bad, good + bad, bad + good, good + bad + good):
        assert not mould(shape).fits(frames)


def test_two_halves_of_a_character_do_not_make_one() -> None:
    assert mould().fits(frame(SPACED, b"\xc3\xa9") * 2)
    assert not mould().fits(frame(SPACED, b"\xc3") + frame(SPACED, b"\xa9"))
    assert not mould(OBFUSCATED).fits(frame(OBFUSCATED, b"\xc3", b"\xa9"))


def test_each_frame_has_each_of_its_texts() -> None:
    begin, middle, end = OBFUSCATED.split(b"%b")
    assert mould(OBFUSCATED).fits(begin + b"a" + middle + b"b" + end)
    assert not mould(OBFUSCATED).fits(begin + b"a" + end)
    assert not mould(OBFUSCATED).fits(begin + b"a" + middle + b"b" + middle + b"c" + end)
    assert not mould(OBFUSCATED).fits(begin + b"a" + middle + b"b" + middle + b"c" + end + begin + b"d" + end)
    assert not mould(OBFUSCATED).fits(begin + b"a" + end + begin + b"b" + middle + b"c" + middle + b"d" + end)


def test_half_of_a_frame_does_not_fit() -> None:
    begin, end = SPACED.split(b"%b")
    whole = frame(SPACED, b"word")
    for frames in (b"", begin, end, begin[:-1] + end, begin + end[1:], whole[:-1], whole + begin, end + whole):
        assert not mould().fits(frames)


@pytest.mark.parametrize(
    "odd",
    [
        b": comment\n\n",
        b"data: [DONE]\n\n",
        b"data: {}\n\n",
        b'event: x\ndata: {"content":"a"}\n\n',
        b'data: {"content":"a"}\r\r',
        b'data: {"content":"a\\n"}\n\n',
        b'data: {"content":"a",\ndata: "b":1}\n\n',
        b'data: {"content":"a","text":"b","reasoning":"c"}\n\n',
        b'data: {"finish_reason":"stop"}\n\n',
    ],
)
def test_what_is_unlike_others_has_no_mould(odd: bytes) -> None:
    assert Mould.of(odd) is None


# -- the law: with moulds, a stream passes and is seen as a full reading of its JSON sees it

PIECE = st.one_of(
    st.sampled_from([b"", b"word ", b"a", "é".encode(), b"\\n", b"\\ud83d", b'\\"', b"}\n\ndata: {", *HIDDEN]),
    st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "replace")),
)
FRAME = st.builds(frame, st.sampled_from([SPACED, SPACED, OBFUSCATED, OBFUSCATED, TOOL]), PIECE, PIECE)
STRAY = st.sampled_from(
    [
        b": ping\n\n",
        b"\n",
        b"data: [DONE]\n\n",
        frame(SPACED, b"x").replace(b"finish_reason", b"finish\\u005freason").replace(b"null", b'"stop"'),
        frame(OBFUSCATED, b"x").replace(b'"usage":null', b'"usage":{"prompt_tokens":1,"completion_tokens":2}'),
        frame(OBFUSCATED, b"x").replace(b"usage", b"err\\u006fr").replace(b"null,", b'{"message":"x"},'),
        frame(OBFUSCATED, b"x").replace(b"obfuscation", b"error"),
        frame(OBFUSCATED, b"x").replace(b"null}", b'"stop"}'),
        frame(SPACED, b"x").replace(b"null", b'"error"'),
        frame(SPACED, b"x").replace(b'"index": 0', b'"index": 1'),
    ]
)


@settings(max_examples=400)
@given(st.lists(st.one_of(FRAME, FRAME, FRAME, STRAY), max_size=10).map(b"".join), oracle.CUTS)
def test_moulds_change_neither_what_passes_nor_what_is_seen(stream: bytes, cuts: list[int]) -> None:
    stream = frame(SPACED, b"first") + stream
    expected = oracle.read(stream, withhold_usage=True)
    for pieces in ([stream], oracle.torn(stream, cuts), oracle.frames(stream)):
        tap, passed = tapped(pieces, withhold_usage=True)
        assert b"".join(passed) == expected.passed
        assert oracle.facts(tap) == {name: getattr(expected, name) for name in oracle.facts(tap)}
        assert (tap.usage is not None) == (expected.usage is not None)


@pytest.mark.parametrize("shape", [SPACED, OBFUSCATED, TOOL])
def test_a_frame_like_one_before_it_is_not_decoded(shape: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    tap = Tap(withhold_usage=True)
    tap.feed(frame(SPACED, b"first") + frame(shape, b"second"))
    tap.feed(frame(shape, b"third"))

    def decoded(data: bytes) -> None:
        raise AssertionError(data)

    monkeypatch.setattr(relay, "read_event", decoded)
    for frames in (frame(shape, b"more"), frame(shape, b"a lot") * 100):
        assert tap.feed(frames) == frames
    with pytest.raises(AssertionError):
        tap.feed(frame(shape, b"a", b"b").replace(b"null", b'"stop"', 1))
