"""AWS's binary event stream as server-sent events: a reply whose bytes are told in the house's one framing.

A message is a prelude (the lengths of the whole and of its headers, and their CRC), headers, a payload, and the
CRC of it all. What a message is, its headers say: an event, which becomes `event: NAME` with the payload as data;
or an exception, which becomes `event: error` with a body that names it, and the status that it stands for. What a
model streams in a format of its own comes as `chunk` events whose payload holds the model's event in base64; it is
told by its own type.

Knows nothing of models or dialects. Source: smithy.io/2.0/aws/amazon-eventstream.html;
docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html (read 2026-11).
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from sidecar.upstream.transport import Breach, Reply, Transport, TransportError, UpstreamRequest

__all__ = ["CONTENT_TYPE", "EventStreamReply", "EventStreamTransport", "Messages"]

CONTENT_TYPE = "application/vnd.amazon.eventstream"
MAX_MESSAGE_BYTES = 24 * 1024 * 1024  # what AWS itself allows

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
# How long the value of a header is, by its type; of texts and bytes their length comes before them.
_SIZES: Mapping[int, int] = MappingProxyType({0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16})
_BYTES, _TEXT = 6, 7

_STATUSES: Mapping[str, int] = MappingProxyType(
    {
        "accessDeniedException": 403,
        "internalServerException": 500,
        "modelStreamErrorException": 500,
        "modelTimeoutException": 504,
        "serviceUnavailableException": 503,
        "throttlingException": 429,
        "validationException": 400,
    }
)
_EVENT_STREAM = "text/event-stream"


class _Chunk(msgspec.Struct):
    bytes: str = ""


class _Typed(msgspec.Struct):
    type: str = ""


class _Told(msgspec.Struct):
    message: str = ""
    Message: str = ""


_CHUNK = msgspec.json.Decoder(_Chunk).decode
_TYPED = msgspec.json.Decoder(_Typed).decode
_TOLD = msgspec.json.Decoder(_Told).decode


class BrokenError(ValueError):
    """What came is no such stream; the message says why."""


class Messages:
    """Reads one stream; lives as long as it."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def within(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._held)

    def feed(self, data: bytes) -> bytes:
        """The server-sent events that are complete now.

        Raises:
            BrokenError: When a message is not what it must be.
        """
        held = self._held
        held += data
        events: list[bytes] = []
        start = 0
        while len(held) - start >= _PRELUDE.size:
            whole, heads, crc = _PRELUDE.unpack_from(held, start)
            if zlib.crc32(held[start : start + 8]) != crc:
                raise BrokenError("the checksum of a message's prelude is wrong")
            if whole > MAX_MESSAGE_BYTES or whole < _PRELUDE.size + heads + _CRC.size:
                raise BrokenError("the length of a message is wrong")
            if len(held) - start < whole:
                break
            events.append(_event(bytes(held[start : start + whole]), heads))
            start += whole
        del held[:start]
        return b"".join(events)


def _event(message: bytes, heads: int) -> bytes:
    end = len(message) - _CRC.size
    if zlib.crc32(message[:end]) != _CRC.unpack_from(message, end)[0]:
        raise BrokenError("the checksum of a message is wrong")
    headers = _headers(message[_PRELUDE.size : _PRELUDE.size + heads])
    payload = message[_PRELUDE.size + heads : end]
    kind = headers.get(":message-type", "event")
    if kind == "event":
        name = headers.get(":event-type", "")
        return _chunk(payload) if name == "chunk" else _sse(name, payload)
    name = headers.get(":exception-type") or headers.get(":error-code") or kind
    return _error(name, payload, headers.get(":error-message", ""))


def _headers(data: bytes) -> dict[str, str]:
    """Those that are texts, which all that matter are."""
    found: dict[str, str] = {}
    place = 0
    try:
        while place < len(data):
            end = place + 1 + data[place]
            name, kind, place = data[place + 1 : end].decode(), data[end], end + 1
            if kind in _SIZES:
                place += _SIZES[kind]
                continue
            if kind not in (_BYTES, _TEXT):
                raise BrokenError("a header of a message has no known type")
            (length,) = struct.unpack_from(">H", data, place)
            value = data[place + 2 : place + 2 + length]
            place += 2 + length
            if len(value) != length:
                raise BrokenError("a header of a message is cut off")
            if kind == _TEXT:
                found[name] = value.decode()
    except (IndexError, struct.error, UnicodeDecodeError):
        raise BrokenError("the headers of a message cannot be read") from None
    return found


def _chunk(payload: bytes) -> bytes:
    """The model's own event."""
    try:
        inner = base64.b64decode(_CHUNK(payload).bytes, validate=True)
        name = _TYPED(inner).type
    except (msgspec.MsgspecError, binascii.Error, UnicodeDecodeError):
        raise BrokenError("a chunk holds no event") from None
    return _sse(name, inner)


def _error(name: str, payload: bytes, said: str) -> bytes:
    try:
        told = _TOLD(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = _Told()
    name = name[:1].lower() + name[1:]
    message = told.message or told.Message or said or name
    error = {"type": name, "status": _STATUSES.get(name, 500), "message": message}
    return _sse("error", msgspec.json.encode({"type": "error", "error": error}))


def _sse(name: str, data: bytes) -> bytes:
    line = b" ".join(data.splitlines())  # JSON has line ends only between its tokens
    named = b"event: " + name.encode() + b"\n" if name.isprintable() and name else b""
    return named + b"data: " + line + b"\n\n"


class EventStreamReply:
    """A reply that is read as server-sent events."""

    __slots__ = ("_messages", "_reply", "connect_s", "headers", "status")

    def __init__(self, reply: Reply) -> None:
        self.status: int = reply.status
        self.headers: Sequence[tuple[str, str]] = [
            (name, _EVENT_STREAM if name == "content-type" else value) for name, value in reply.headers
        ]
        self.connect_s: float | None = reply.connect_s
        self._reply = reply
        self._messages = Messages()

    async def read(self) -> bytes:
        """See `Reply.read`."""
        while data := await self._reply.read():
            try:
                events = self._messages.feed(data)
            except BrokenError as error:
                self._reply.close()
                raise TransportError(Breach.PROTOCOL, f"the provider's event stream is broken: {error}") from None
            if events:
                return events
        if self._messages.within:
            raise TransportError(Breach.CUT, "the connection ended inside of an event")
        return b""

    def close(self) -> None:
        """See `Reply.close`."""
        self._reply.close()


class EventStreamTransport:
    """A transport whose streams come in AWS's framing.

    Args:
        inner: What carries the bytes; closed with this.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    async def send(self, request: UpstreamRequest, *, connect_s: float) -> Reply:
        """See `Transport.send`."""
        headers = [
            (name, CONTENT_TYPE if name.lower() == "accept" and value == _EVENT_STREAM else value)
            for name, value in request.headers
        ]
        request = msgspec.structs.replace(request, headers=headers)
        reply = await self._inner.send(request, connect_s=connect_s)
        if any(name == "content-type" and value.startswith(CONTENT_TYPE) for name, value in reply.headers):
            return EventStreamReply(reply)
        return reply

    async def check(self, *, connect_s: float) -> None:
        """See `Transport.check`."""
        await self._inner.check(connect_s=connect_s)

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        await self._inner.aclose()
