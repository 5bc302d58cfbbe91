"""From an HTTP request to a `Call`: reads the body within its bounds, the ids, the client's own limits.

Everything here is the client's word and is checked: ids that are not well-formed are replaced, limits
that cannot be read are an error that says how to write them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from collections.abc import AsyncIterator

import msgspec
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import PayloadEncodingError
from aiohttp.web_protocol import RequestPayloadError
from multidict import CIMultiDictProxy

from sidecar.dialects.body import peek
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure, Kind
from sidecar.model.request import UNLIMITED, Call, ClientLimits, Peek
from sidecar.server import web
from sidecar.server.refusal import refused
from sidecar.server.surfaces import Surface

__all__ = [
    "BROKEN_CHUNKS",
    "BodyTooLarge",
    "MalformedBody",
    "call_again",
    "call_of",
    "call_template",
    "new_request_id",
    "passed_body",
    "read_body",
    "request_id_of",
    "stalled",
]

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s)?")
_COUNTED = re.compile(r"[0-9]{1,5}")
_FORWARDED = ("User-Agent", "Idempotency-Key", "OpenAI-Beta", "Anthropic-Version", "Anthropic-Beta")
_SWITCHES = frozenset({"on", "off"})
_WHOLE_BYTES = 1024 * 1024
_UNSEEN = Peek({}, "")

# Unique per process and cheap: a random prefix and a count, instead of randomness for each request.
_PREFIX = "req_" + os.urandom(6).hex()
_COUNT = itertools.count(1)


BROKEN_CHUNKS = refused(400, "the body's chunks are not valid HTTP")


class BodyTooLarge(Exception):  # noqa: N818 - becomes a 413
    """The body is larger than the config allows."""


class MalformedBody(Exception):  # noqa: N818 - becomes a 400
    """The body's framing is broken."""


def stalled(idle_s: float) -> Failure:
    """What a client is told whose body did not go on for so long."""
    return refused(408, f"the body stalled for {idle_s:g} s (limits.body_idle)")


async def read_body(request: web.BaseRequest, max_bytes: int, idle_s: float) -> bytes:
    """The whole body.

    Args:
        request: Its head has come.
        max_bytes: The largest body that is taken.
        idle_s: The longest silence within a body.

    Raises:
        BodyTooLarge: As soon as it is known, without reading the rest.
        TimeoutError: When the body stalls.
        MalformedBody: When its chunks are none.
    """
    if (request.content_length or 0) > max_bytes:
        raise BodyTooLarge
    content = request.content
    if content.is_eof():  # everything came with the head: nearly always
        body = content.read_nowait(-1)
        if len(body) > max_bytes:
            raise BodyTooLarge
        return body
    _invite(request)
    pieces: list[bytes] = []
    size = 0
    try:
        while True:
            async with asyncio.timeout(idle_s):
                piece = await content.readany()
            if not piece:
                return b"".join(pieces)
            size += len(piece)
            if size > max_bytes:
                raise BodyTooLarge
            pieces.append(piece)
    except (RequestPayloadError, PayloadEncodingError):
        raise MalformedBody from None


async def passed_body(request: web.BaseRequest, idle_s: float) -> bytes | AsyncIterator[bytes]:
    """The body of a request that is passed on: a small one whole, so that its length can be told; else as it comes.

    Raises:
        TimeoutError: When a small body stalls.
        MalformedBody: When its chunks are none.
    """
    length = request.content_length
    if not request.can_read_body or (length is not None and length <= _WHOLE_BYTES):
        return await read_body(request, _WHOLE_BYTES, idle_s)
    _invite(request)
    return _pieces(request, idle_s)


async def _pieces(request: web.BaseRequest, idle_s: float) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(idle_s):
                piece = await request.content.readany()
        except TimeoutError:
            raise ValidationError(failure=stalled(idle_s)) from None
        except (RequestPayloadError, PayloadEncodingError):
            raise ValidationError(failure=BROKEN_CHUNKS) from None
        if not piece:
            return
        yield piece


def _invite(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send the body (RFC 9110 section 10.1.1)."""
    asks = request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11
    if asks and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def request_id_of(headers: CIMultiDictProxy[str]) -> tuple[str, str | None]:
    """The request's id, and the client's own if it gave a well-formed one (then they are the same)."""
    given = headers.get("X-Request-Id")
    if given is not None and _ID.fullmatch(given):
        return given, given
    return new_request_id(), None


def new_request_id() -> str:
    """An id for a request that has none."""
    return f"{_PREFIX}{next(_COUNT):08x}"


def call_of(
    body: bytes,
    surface: Surface,
    headers: CIMultiDictProxy[str],
    request_id: tuple[str, str | None],
    peer_uid: int | None,
) -> Call:
    """The call that a request stands for.

    Raises:
        ValidationError: When the body or a header of ours is not right.
    """
    return _filled(call_template(surface, headers, peer_uid), surface, body, request_id)


def call_template(surface: Surface, headers: CIMultiDictProxy[str], peer_uid: int | None) -> Call:
    """What all calls have in common that come with the same head.

    Raises:
        ValidationError: When a header of ours is not right.
    """
    retries = headers.get("X-Stainless-Retry-Count")
    given = headers.get("X-Request-Id")
    return Call(
        operation=surface.operation,
        dialect=surface.dialect,
        peek=_UNSEEN,
        request_id="",
        headers=tuple([(name, value) for name in _FORWARDED if (value := headers.get(name)) and value.isascii()]),
        limits=_limits(headers),
        route=_route(headers),
        fallback=_fallback(headers),
        client_request_id=given if given is not None and _ID.fullmatch(given) else None,
        client_retry_count=int(retries) if retries and _COUNTED.fullmatch(retries) else None,
        peer_uid=peer_uid,
        single=surface.single,
        sticky=headers,
    )


def call_again(template: Call, surface: Surface, body: bytes) -> Call:
    """The call that a body stands for, which came with a head that is known.

    Raises:
        ValidationError: When the body is not right.
    """
    given = template.client_request_id
    return _filled(template, surface, body, (new_request_id(), None) if given is None else (given, given))


def _filled(template: Call, surface: Surface, body: bytes, request_id: tuple[str, str | None]) -> Call:
    return msgspec.structs.replace(
        template,
        peek=peek(body, surface.operation, model=surface.model, stream=surface.stream),
        request_id=request_id[0],
        client_request_id=request_id[1],
        bytes_in=len(body),
    )


def _route(headers: CIMultiDictProxy[str]) -> str | None:
    name = headers.get("X-Sidecar-Route")
    if name is None or name.isascii():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        message = "x-sidecar-route is not valid UTF-8"
        raise ValidationError(failure=Failure(Kind.INVALID_REQUEST, message, param="x-sidecar-route")) from None
    return name


def _fallback(headers: CIMultiDictProxy[str]) -> bool:
    text = headers.get("X-Sidecar-Fallback")
    if text is None:
        return True
    switch = text.strip().lower()
    if switch in _SWITCHES:
        return switch == "on"
    message = f"x-sidecar-fallback must be on or off, not {text[:40]!r}"
    raise ValidationError(failure=Failure(Kind.INVALID_REQUEST, message, param="x-sidecar-fallback"))


def _limits(headers: CIMultiDictProxy[str]) -> ClientLimits:
    total = _span(headers, "X-Sidecar-Timeout")
    if total is None:
        total = _span(headers, "X-Request-Timeout")
    read = _span(headers, "X-Stainless-Read-Timeout")
    return UNLIMITED if total is None and read is None else ClientLimits(total, read)


def _span(headers: CIMultiDictProxy[str], name: str) -> float | None:
    text = headers.get(name)
    if text is None:
        return None
    match = _SPAN.fullmatch(text.strip())
    seconds = float(match[1]) * (0.001 if match[2] == "ms" else 1.0) if match else 0.0
    if seconds > 0:
        return seconds
    message = f"{name.lower()} must be seconds above 0 such as 30 or 1.5, or 500ms, not {text[:40]!r}"
    raise ValidationError(failure=Failure(Kind.INVALID_REQUEST, message, param=name.lower()))
