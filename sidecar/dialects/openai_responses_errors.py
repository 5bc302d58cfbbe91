"""Errors of the OpenAI Responses dialect: in the shape that they have in chat, and as a stream's last event.

In a stream the documentation has code and message in the event itself; the SDK raises only on an `error` beside
them, which the service sends: both are there.

Sources (read 2026-11): platform.openai.com/docs/api-reference/responses-streaming;
github.com/openai/openai-python/pull/3934 (what the SDK raises on).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sidecar.dialects import openai_errors
from sidecar.model.failures import Failure
from sidecar.model.topology import Dialect

__all__ = ["decode_failure", "encode_failure", "fault_event"]

_DIALECT = Dialect.OPENAI_RESPONSES
_LAST_NUMBER = 2**31 - 1  # after every other event of the stream, however many there were


def decode_failure(status: int, headers: Mapping[str, str], body: bytes, now_utc: float) -> Failure:
    """See `dialect.Codec`."""
    failure = openai_errors.decode_failure(status, headers, body, now_utc)
    if failure.upstream is None:
        return failure
    return msgspec.structs.replace(failure, upstream=msgspec.structs.replace(failure.upstream, dialect=_DIALECT))


def encode_failure(failure: Failure, attempts: Sequence[Mapping[str, Any]] = ()) -> tuple[bytes, str]:
    """See `dialect.Codec`."""
    own = failure.upstream
    if own is not None:  # the shape is that of chat; whose words they are, is not
        told = own.dialect is _DIALECT
        own = msgspec.structs.replace(own, dialect=Dialect.OPENAI_CHAT) if told else None
    return openai_errors.encode_failure(msgspec.structs.replace(failure, upstream=own), attempts)


def fault_event(failure: Failure, attempts: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """See `dialect.Codec`."""
    body, _ = openai_errors.encode_failure(msgspec.structs.replace(failure, upstream=None), attempts)
    error = msgspec.json.decode(body)["error"]
    told = {name: error[name] for name in ("code", "message", "param")}
    event = {"type": "error", "sequence_number": _LAST_NUMBER, **told, "error": error}
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"
