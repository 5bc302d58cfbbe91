"""What flows to a taker is what the parser would have found, though whole chunks pass it by."""

from __future__ import annotations

import asyncio
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.upstream.http import Connection
from sidecar.upstream.transport import TransportError

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n'
_WHOLE = _EVENT % b"a"


def _chunk(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)


_LIKE = _chunk(_WHOLE)


class _Keeper:
    def keep(self, connection: Connection) -> None:
        """It is not asked again."""

    def forget(self, connection: Connection) -> None:
        """Nor now."""


class _Wire(asyncio.Transport):
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """To nobody."""

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Much was held."""

    def resume_reading(self) -> None:
        """Not any more."""

    def abort(self) -> None:
        """It broke."""


def _came(reads: list[bytes], *, flows: bool) -> tuple[bytes, str, int]:
    """The body, how it ended, and how many chunks were at hand; taken as it flows, or when all has come."""

    async def feed() -> tuple[bytes, str, int]:
        connection, parts, chunks = Connection(_Keeper(), "here"), [], []
        connection.connection_made(_Wire())
        connection.begin(b"", b"", bodiless=False)

        def take(part: bytes, chunk: bytes) -> None:
            assert part
            assert chunk in (b"", _chunk(part))
            parts.append(part)
            if chunk:
                chunks.append(chunk)

        connection.listen(lambda: None)
        if flows:
            connection.flow(take)
        for read in reads:
            if connection.over:  # the connection is free, or gone
                break
            connection.data_received(read)
        try:
            while rest := connection.take():
                parts.append(rest)
        except TransportError as error:
            return b"".join(parts), str(error), len(chunks)
        return b"".join(parts), "goes on" if rest is None else "over", len(chunks)

    return asyncio.run(feed())


_FRAMES = st.binary(max_size=40).map(lambda text: _EVENT % text.hex().encode())
_PARTS = st.one_of(
    _FRAMES,
    _FRAMES.map(lambda frame: frame * 20),  # three digits, and four
    _FRAMES.map(_chunk),  # a chunk in a chunk
    st.sampled_from(
        [b"\n\n", b"a\n\n", b"1", b"\r\n", b"\n\n\r\n", b"0\r\n\r\n", b"a" * 253 + b"\n\n", b"a" * 254 + b"\n\n"]
    ),
    st.binary(min_size=1, max_size=300),
)
_CHUNKS = st.one_of(
    *[_PARTS.map(_chunk)] * 4,
    _PARTS.map(lambda part: b"%X\r\n%b\r\n" % (len(part), part)),
    _PARTS.map(lambda part: b"0%x;a=1\r\n%b\r\n" % (len(part), part)),
    st.sampled_from([b"0\r\n\r\n", b"0\r\na: b\r\n\r\n", b"\n\n\r\n", b"5\r\n", b"zz\r\n", b"\r\n", b"\n"]),
)


@given(
    pieces=st.lists(_CHUNKS, max_size=12),
    ends=st.booleans(),
    by_piece=st.booleans(),
    cuts=st.lists(st.tuples(st.integers(0, 12), st.integers(-6, 6)), max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_it_is_what_the_parser_finds(
    pieces: list[bytes], ends: bool, by_piece: bool, cuts: list[tuple[int, int]]
) -> None:
    pieces = [_HEAD, *pieces, *([b"0\r\n\r\n"] if ends else [])]
    stream = b"".join(pieces)
    borders = [*accumulate(map(len, pieces))]
    places = {borders[where % len(borders)] + by for where, by in cuts} | set(borders if by_piece else ())
    marks = [0, *sorted(place for place in places if 0 < place < len(stream)), len(stream)]
    reads = [stream[begin:end] for begin, end in pairwise(marks)]
    assert _came(reads, flows=True)[:2] == _came(reads, flows=False)[:2]


def test_chunks_that_come_one_by_one_are_at_hand() -> None:
    chunks = [_chunk(_EVENT % (b"a" * length)) for length in (1, 100, 175, 179, 500, 3900)]
    body, end, at_hand = _came([_HEAD + chunks[0], *chunks, b"0\r\n\r\n"], flows=True)
    assert (end, at_hand) == ("over", len(chunks))
    assert body == _came([_HEAD + chunks[0], *chunks, b"0\r\n\r\n"], flows=False)[0]


@pytest.mark.parametrize(
    "reads",
    [
        [b"%x\r\n" % len(_LIKE), _LIKE, b"\r\n"],  # its chunk's head came alone
        [b"%x\r\n%b" % (2 * len(_LIKE) + len(_WHOLE), _WHOLE), _LIKE, _LIKE + b"\r\n"],  # it goes on after an event
    ],
)
def test_a_part_of_a_chunk_may_look_like_one(reads: list[bytes]) -> None:
    reads = [_HEAD + _LIKE, _LIKE, *reads, _LIKE, b"0\r\n\r\n"]
    body, end, at_hand = _came(reads, flows=True)
    assert (body, end) == _came(reads, flows=False)[:2]
    assert (end, at_hand) == ("over", 1)


def test_bytes_that_look_like_a_chunk_may_be_the_body() -> None:
    """A body with a length, or one that ends with its connection, has no chunks."""
    for framing in (b"content-length: 1000\r\n", b""):
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n%b\r\n" % framing
        body, end, at_hand = _came([head, _WHOLE + b"\r\n", _LIKE, _LIKE], flows=True)
        assert (body, end, at_hand) == (_WHOLE + b"\r\n" + 2 * _LIKE, "goes on", 0)


def test_a_stream_knows_nothing_of_the_one_before_it() -> None:
    """Not even where that has empty lines behind its end, which a parser reads over."""

    async def ask() -> list[bytes]:
        connection, chunks = Connection(_Keeper(), "here"), []
        connection.connection_made(_Wire())
        for first, *rest in ([_HEAD + _LIKE, _LIKE + b"0\r\n\r\n\n\n\r\n"], [_HEAD + b"%x\r\n" % len(_LIKE), _LIKE]):
            connection.begin(b"", b"", bodiless=False)
            connection.listen(lambda: None)
            connection.data_received(first)
            connection.flow(lambda _, chunk: chunks.append(chunk))
            for read in rest:
                connection.data_received(read)
            connection.take_rest()
        return chunks

    assert asyncio.run(ask()) == [b"", b""]
