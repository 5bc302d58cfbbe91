"""AWS's binary framing, however it is cut, becomes server-sent events; what is not as it must be breaks."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from itertools import pairwise

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.upstream.event_stream import (
    CONTENT_TYPE,
    BrokenError,
    EventStreamReply,
    EventStreamTransport,
    Messages,
)
from sidecar.upstream.pool import Pool
from sidecar.upstream.transport import Breach, Reply, TransportError, UpstreamRequest
from tests.upstream.scripted import BOUND_S, Peer, answering, serving

__all__ = ["event", "message"]

BOTH_LOOPS = True


def message(payload: bytes, /, **headers: str | int | bytes) -> bytes:
    """One message; `event_type` is the header `:event-type`."""
    heads = b"".join(_header(":" + name.replace("_", "-"), value) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(heads) + len(payload), len(heads))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    whole = prelude + heads + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def _header(name: str, value: str | int | bytes) -> bytes:
    begin = bytes([len(name)]) + name.encode()
    if isinstance(value, int):
        return begin + b"\x04" + struct.pack(">i", value)
    kind, data = (7, value.encode()) if isinstance(value, str) else (6, value)
    return begin + bytes([kind]) + struct.pack(">H", len(data)) + data


def event(name: str, value: object) -> bytes:
    return message(json.dumps(value).encode(), event_type=name, message_type="event", extra=5, raw=b"\0\1")


START = event("messageStart", {"role": "assistant"})
INNER = b'{"type":"message_stop","a":"\\u00e9"}'
CHUNK = event("chunk", {"bytes": base64.b64encode(INNER).decode(), "p": "abc"})
THROTTLED = message(b'{"message":"slow down"}', exception_type="throttlingException", message_type="exception")
READ = (
    b'event: messageStart\ndata: {"role": "assistant"}\n\n'
    b"event: message_stop\ndata: " + INNER + b"\n\n"
    b'event: error\ndata: {"type":"error","error":'
    b'{"type":"throttlingException","status":429,"message":"slow down"}}\n\n'
)


def test_these_messages_are_aws_own() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(START + CHUNK + THROTTLED)
    assert [found.headers[":message-type"] for found in buffer] == ["event", "event", "exception"]


@given(st.lists(st.integers(0, len(START + CHUNK + THROTTLED)), max_size=5))
@settings(max_examples=50, derandomize=True)
def test_any_cut_gives_the_same_events(cuts: list[int]) -> None:
    data, messages = START + CHUNK + THROTTLED, Messages()
    places = [0, *sorted(cuts), len(data)]
    parts = [messages.feed(data[a:b]) for a, b in pairwise(places)]
    assert b"".join(parts) == READ
    assert not messages.within


def test_byte_by_byte() -> None:
    messages = Messages()
    data = START + CHUNK + THROTTLED
    assert b"".join(messages.feed(data[place : place + 1]) for place in range(len(data))) == READ


@pytest.mark.parametrize("place", range(0, len(START), 5))
def test_a_flipped_bit_breaks_the_stream(place: int) -> None:
    data = bytearray(START)
    data[place] ^= 0x10
    messages = Messages()
    with pytest.raises(BrokenError, match="wrong"):
        messages.feed(bytes(data) + START)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (struct.pack(">II", 1 << 30, 0), "length"),
        (struct.pack(">II", 17, 9), "length"),
    ],
)
def test_lengths_that_cannot_be(data: bytes, why: str) -> None:
    with pytest.raises(BrokenError, match=why):
        Messages().feed(data + struct.pack(">I", zlib.crc32(data)))


@pytest.mark.parametrize("payload", [b"", b"{", b'{"bytes": "?"}', b'{"bytes": "bm8gSlNPTg=="}', b'{"bytes": 1}'])
def test_chunks_that_hold_nothing(payload: bytes) -> None:
    with pytest.raises(BrokenError, match="chunk"):
        Messages().feed(message(payload, event_type="chunk", message_type="event"))


def test_headers_that_cannot_be_read() -> None:
    heads = b"\x05ab"
    prelude = struct.pack(">II", 16 + len(heads), len(heads))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + heads
    with pytest.raises(BrokenError, match="headers"):
        Messages().feed(whole + struct.pack(">I", zlib.crc32(whole)))


@pytest.mark.parametrize(
    ("broken", "status", "said"),
    [
        (message(b"", error_code="InternalError", error_message="oops", message_type="error"), 500, "oops"),
        (message(b"no json", exception_type="ModelStreamErrorException", message_type="exception"), 500, "modelStr"),
        (message(b'{"Message":"no"}', exception_type="validationException", message_type="exception"), 400, "no"),
    ],
)
def test_errors_of_every_kind(broken: bytes, status: int, said: str) -> None:
    name, data = Messages().feed(broken).split(b"\n", 1)
    error = json.loads(data.removeprefix(b"data: "))["error"]
    assert name == b"event: error"
    assert error["status"] == status
    assert error["message"].startswith(said)


def test_a_name_cannot_forge_a_frame() -> None:
    assert b"\nx" not in Messages().feed(event("a\nx: y", {"b": 1}))


# -- the transport


async def whole(reply: Reply) -> bytes:
    parts = []
    while part := await reply.read():
        parts.append(part)
    return b"".join(parts)


def head(content_type: str, length: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n".encode()


async def test_streams_are_read_as_events_and_asked_for_by_their_own_name() -> None:
    heads = []

    async def script(peer: Peer) -> None:
        heads.append((await peer.request())[0])
        data = START + CHUNK
        await peer.send(head(CONTENT_TYPE, len(data)), data[:30], data[30:])

    async with serving(script) as server:
        transport = EventStreamTransport(Pool(server.origin))
        request = UpstreamRequest("POST", "/", [("Accept", "text/event-stream")], b"{}")
        reply = await transport.send(request, connect_s=BOUND_S)
        assert isinstance(reply, EventStreamReply)
        assert dict(reply.headers)["content-type"] == "text/event-stream"
        read = await whole(reply)
        reply.close()
        await transport.aclose()
    assert read == READ[: READ.index(b"event: error")]
    assert f"Accept: {CONTENT_TYPE}".encode() in heads[0]


@pytest.mark.parametrize(("data", "breach"), [(START + CHUNK[:-3], Breach.CUT), (START[:-1] + b"?", Breach.PROTOCOL)])
async def test_streams_that_break(data: bytes, breach: Breach) -> None:
    async with serving(answering(head(CONTENT_TYPE, len(data)), data)) as server:
        transport = EventStreamTransport(Pool(server.origin))
        reply = await transport.send(UpstreamRequest("POST", "/", [], b"{}"), connect_s=BOUND_S)
        with pytest.raises(TransportError) as caught:
            await whole(reply)
        reply.close()
        await transport.aclose()
    assert caught.value.breach is breach


async def test_what_is_no_stream_passes() -> None:
    async with serving(answering(head("application/json", 2), b"{}")) as server:
        transport = EventStreamTransport(Pool(server.origin))
        await transport.check(connect_s=BOUND_S)
        reply = await transport.send(UpstreamRequest("POST", "/", [], b"{}"), connect_s=BOUND_S)
        assert await reply.read() == b"{}"
        reply.close()
        await transport.aclose()
