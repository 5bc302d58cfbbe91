"""The OpenAI Responses dialect: items in a list, numbered events in a stream.

Knows what a request is pinned by, its errors, and where the rest is:

`openai_responses_items`    what requests and answers share: thoughts, calls, texts
`openai_responses_reading`  requests, read          `openai_responses_writing`  written
`openai_responses_answer`   answers, read           `openai_responses_events`   written, whole and streamed
`openai_responses_stream`   streams, read           `openai_responses_options`  tools, form, thinking, written
`openai_responses_pins`     what ties a request to a provider

An error has the shape that it has in chat. In a stream the documentation has code and message in the event
itself; the SDK raises only on an `error` beside them, which the service sends: both are there.

Sources (read 2026-11): platform.openai.com/docs/api-reference/responses and /responses-streaming;
github.com/openai/openai-python/pull/3934 (what the SDK raises on).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sidecar.dialects import openai_errors
from sidecar.dialects.openai_responses_answer import decode_response
from sidecar.dialects.openai_responses_events import StreamEncoder, encode_response
from sidecar.dialects.openai_responses_items import DIALECT, MINTED
from sidecar.dialects.openai_responses_pins import pin_id, pinned
from sidecar.dialects.openai_responses_reading import decode_request
from sidecar.dialects.openai_responses_stream import StreamDecoder
from sidecar.dialects.openai_responses_writing import encode_request
from sidecar.model.failures import Failure
from sidecar.model.topology import Dialect

__all__ = [
    "MINTED",
    "StreamDecoder",
    "StreamEncoder",
    "decode_failure",
    "decode_request",
    "decode_response",
    "encode_failure",
    "encode_request",
    "encode_response",
    "fault_event",
    "pin_id",
    "pinned",
]

_LAST_NUMBER = 2**31 - 1  # after every other event of the stream, however many there were


def decode_failure(status: int, headers: Mapping[str, str], body: bytes, now_utc: float) -> Failure:
    """See `dialect.Codec`."""
    failure = openai_errors.decode_failure(status, headers, body, now_utc)
    if failure.upstream is None:
        return failure
    return msgspec.structs.replace(failure, upstream=msgspec.structs.replace(failure.upstream, dialect=DIALECT))


def encode_failure(failure: Failure, attempts: Sequence[Mapping[str, Any]] = ()) -> tuple[bytes, str]:
    """See `dialect.Codec`."""
    own = failure.upstream
    if own is not None:  # the shape is that of chat; whose words they are, is not
        told = own.dialect is DIALECT
        own = msgspec.structs.replace(own, dialect=Dialect.OPENAI_CHAT) if told else None
    return openai_errors.encode_failure(msgspec.structs.replace(failure, upstream=own), attempts)


def fault_event(failure: Failure, attempts: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """See `dialect.Codec`."""
    body, _ = openai_errors.encode_failure(msgspec.structs.replace(failure, upstream=None), attempts)
    error = msgspec.json.decode(body)["error"]
    told = {name: error[name] for name in ("code", "message", "param")}
    event = {"type": "error", "sequence_number": _LAST_NUMBER, **told, "error": error}
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"
