r"""How HTTP/1.1 frames a body, as far as it can be told without a parser: knows bytes and heads, no connection.

A stream nearly always comes as whole chunks, one with each read. Whoever stands between two chunks and reads what
is one, to the byte, stands between two chunks again: a parser need not see it.

RFC 9112 sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["ends_a_chunk", "head_bytes", "sole_chunk", "until_close"]

_THREE_DIGITS = 262  # bytes of a chunk: from so many on, its size has three digits and no longer two


def sole_chunk(data: bytes) -> bytes:
    """What a chunk holds that is all of this; b"" if it is none of 16 to 4,095 bytes, written in the usual way."""
    part = data[4:-2] if len(data) < _THREE_DIGITS else data[5:-2]
    return part if b"%x\r\n%b\r\n" % (len(part), part) == data else b""


def ends_a_chunk(data: bytes, part: bytes) -> bool:
    """Whether a parser surely stands between two chunks; not whenever it does.

    The head of a chunk has no empty line. So if both end with one, that of `data` is the body's, and the CRLF that
    follows it, which is not, ends its chunk.

    Args:
        data: What the parser has read last, of a body that goes on.
        part: The last of what it found of the body there.
    """
    return data.endswith(b"\n\n\r\n") and part.endswith(b"\n\n")


def until_close(headers: Sequence[tuple[str, str]]) -> bool:
    """Whether a body ends with its connection: the last coding is not chunked, or nothing tells its length."""
    codings = [value for name, value in headers if name == "transfer-encoding"]
    if codings:
        return not codings[-1].lower().endswith("chunked")
    return all(name != "content-length" for name, _ in headers)


def head_bytes(headers: Sequence[tuple[str, str]]) -> int:
    """How long these are in a head, written in the usual way."""
    return sum(len(name) + len(value) + 4 for name, value in headers)
