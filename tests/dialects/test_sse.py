"""Frames: whatever the line ends and wherever a stream is torn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.dialects.sse import Frame, Framer, parse, split
from tests.dialects import oracle

LINES = st.sampled_from(
    [
        b"data: {}",
        b"data:x",
        b"data",
        b": ping",
        b"event: error",
        b"id: 1",
        "data: é€🙂".encode(),
        b"retry: 5",
        b"",
        b"",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=14).map(lambda lines: b"".join(map(b"".join, lines)))


def cut(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    """The frames of a stream that came in these pieces, and all its bytes."""
    framer = Framer()
    came = [framer.feed(piece) for piece in pieces] + [framer.end()]
    assert framer.held_bytes == 0
    found = [frame for some in came for frame in split(some)]
    return [frame for frame in found if frame.strip(b"\r\n")], b"".join(came)


@given(STREAMS, oracle.CUTS)
def test_any_tearing_gives_the_same_frames_and_the_same_bytes(stream: bytes, cuts: list[int]) -> None:
    whole = cut([stream])
    assert cut(oracle.torn(stream, cuts)) == whole
    assert cut(oracle.sliced(stream, 1)) == whole
    assert whole[0] == [frame for frame in oracle.frames(stream) if frame.strip(b"\r\n")]
    assert whole[1].startswith(stream)
    assert len(whole[1]) <= len(stream) + 2


@given(STREAMS)
def test_a_frame_says_what_its_lines_say(stream: bytes) -> None:
    for frame in cut([stream])[0]:
        said = parse(frame)
        assert (said.event, said.data) == oracle.event(frame)


@given(STREAMS, oracle.CUTS)
def test_a_whole_frame_is_given_at_once(stream: bytes, cuts: list[int]) -> None:
    for pieces in (oracle.torn(stream, cuts), oracle.sliced(stream, 1)):
        framer = Framer()
        came = gone = b""
        for piece in pieces:
            came += piece
            gone += framer.feed(piece)
            assert came.startswith(gone)
            assert framer.held_bytes == len(came) - len(gone)
            # What is kept is no whole frame; but a last CR may be half of a CRLF.
            kept = came[len(gone) :].lstrip(b"\r\n")
            assert not kept or kept.endswith(b"\r") or (len(oracle.frames(kept)) == 1 and oracle.frames(kept) != [kept])


@pytest.mark.parametrize(
    ("frame", "event", "data"),
    [
        (b"data: a\n\n", None, b"a"),
        (b"data:a\n\n", None, b"a"),
        (b"data:  a\n\n", None, b" a"),
        (b"data: a\ndata: b\n\n", None, b"a\nb"),
        (b"data\n\n", None, b""),
        (b"event: ping\n\n", "ping", None),
        (b"event: x\ndata: {}\n\n", "x", b"{}"),
        (b": comment\n\n", None, None),
        (b"data: a\r\rdata", None, b"a\n"),
        (b"data: a\r\n\r\n", None, b"a"),
        (b"\xef\xbb\xbfdata: a\n\n", None, b"a"),
        (b"data: {}\nid: 3\n\n", None, b"{}"),
        (b'data: {"a":\ndata: 1}\n\n', None, b'{"a":\n1}'),
        (b"dataset: a\n\n", None, None),
        (b"\n\n", None, None),
    ],
)
def test_parse(frame: bytes, event: str | None, data: bytes | None) -> None:
    assert parse(frame) == Frame(event, data)


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b"a\n\nb\n\n", [b"a\n\n", b"b\n\n"]),
        (b"a\r\n\r\nb\r\n\r\n", [b"a\r\n\r\n", b"b\r\n\r\n"]),
        (b"a\r\rb\r\r", [b"a\r\r", b"b\r\r"]),
        (b"a\r\n\nb\n\r\n", [b"a\r\n\n", b"b\n\r\n"]),
        (b"a\n\n\nb\n\n", [b"a\n\n", b"\n", b"b\n\n"]),
        (b"a\nb", [b"a\nb\n\n"]),
        (b"a\n", [b"a\n\n"]),
        (b"a\r", [b"a\r\n\n"]),
        (b"", []),
    ],
)
def test_split(stream: bytes, frames: list[bytes]) -> None:
    framer = Framer()
    assert split(framer.feed(stream)) + split(framer.end()) == frames


def test_half_a_crlf_ends_nothing_yet() -> None:
    framer = Framer()
    assert framer.feed(b"data: a\r\n\r") == b""
    assert framer.feed(b"\ndata: b") == b"data: a\r\n\r\n"
    assert framer.end() == b"data: b\n\n"


def test_a_large_frame_in_small_pieces_costs_no_square() -> None:
    framer = Framer()
    for _ in range(100_000):
        assert framer.feed(b"x" * 40) == b""
    assert framer.held_bytes == 4_000_000
    assert len(framer.feed(b"\n\n")) == 4_000_002
    assert framer.held_bytes == 0
