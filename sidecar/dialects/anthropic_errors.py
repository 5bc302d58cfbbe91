"""Errors in the dialect's shape, both ways, and the event that ends a broken stream.

    {"type": "error", "error": {"type": "overloaded_error", "message": "..."}, "request_id": null}

Source: platform.claude.com/docs/en/api/errors, .../build-with-claude/streaming (error events) (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from sidecar.dialects import openai_errors
from sidecar.model.failures import Failure, Kind
from sidecar.model.topology import Dialect

__all__ = ["ERROR_TYPES", "decode_failure", "encode_failure", "fault_event"]

_INVALID, _API, _OVERLOADED, _TIMEOUT = "invalid_request_error", "api_error", "overloaded_error", "timeout_error"

ERROR_TYPES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.INVALID_REQUEST: _INVALID,
        Kind.CONTENT_POLICY: _INVALID,
        Kind.CONTEXT_LENGTH: _INVALID,
        # The client's own key is in order: what is wrong is between us and the provider.
        Kind.MODEL_UNAVAILABLE: _API,
        Kind.CREDENTIAL: _API,
        Kind.QUOTA_EXHAUSTED: "billing_error",
        Kind.RATE_LIMITED: "rate_limit_error",
        Kind.OVERLOADED: _OVERLOADED,
        Kind.SERVER_ERROR: _API,
        Kind.GATEWAY_ERROR: _API,
        Kind.UNREACHABLE: _API,
        Kind.FIRST_TOKEN_TIMEOUT: _TIMEOUT,
        Kind.IDLE_TIMEOUT: _TIMEOUT,
        Kind.MALFORMED: _API,
        Kind.TRUNCATED: _API,
        Kind.DEADLINE: _TIMEOUT,
        Kind.CLIENT_DEADLINE: _TIMEOUT,
        Kind.CLIENT_GONE: _API,
        Kind.LOSSY: _INVALID,
        Kind.NO_ROUTE: "not_found_error",
        Kind.NO_TARGET: _OVERLOADED,
        Kind.INTERNAL: _API,
    }
)
"""What an error of ours is called in this dialect."""

# A request at fault is told apart by the status that it gets.
_BY_STATUS: Mapping[int, str] = MappingProxyType(
    {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large"}
)
# By these words clients know that they have to shorten the conversation.
_TOO_LONG = "prompt is too long"


def decode_failure(status: int, headers: Mapping[str, str], body: bytes, now_utc: float) -> Failure:
    """What a provider's error answer means.

    Args:
        status: The HTTP status; 200 for an error inside of a stream or an answer.
        headers: In lower case.
        body: As it came.
        now_utc: Seconds since 1970, to read a Retry-After that is a date.
    """
    failure = openai_errors.decode_failure(status, headers, body, now_utc)
    if failure.upstream is None:
        return failure
    upstream = msgspec.structs.replace(failure.upstream, dialect=Dialect.ANTHROPIC_MESSAGES)
    return msgspec.structs.replace(failure, upstream=upstream)


def encode_failure(failure: Failure, attempts: Sequence[Mapping[str, Any]] = ()) -> tuple[bytes, str]:
    """The body and content type of the error answer.

    What a provider of this dialect said of a request that is at fault, the client gets unchanged; what it
    said of its length, when nobody else was asked.
    """
    told_by_one = failure.kind is Kind.CONTEXT_LENGTH and len(attempts) == 1
    theirs = failure.upstream if failure.kind is Kind.INVALID_REQUEST or told_by_one else None
    if theirs is not None and theirs.dialect is Dialect.ANTHROPIC_MESSAGES:
        return theirs.body, theirs.content_type
    return _encoded(failure, attempts), "application/json"


def fault_event(failure: Failure, attempts: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """The event that ends a broken stream; the SDKs raise on it."""
    return b"event: error\ndata: " + _encoded(failure, attempts) + b"\n\n"


def _encoded(failure: Failure, attempts: Sequence[Mapping[str, Any]]) -> bytes:
    error: dict[str, Any] = {"type": _type(failure), "message": _message(failure), "kind": failure.kind.value}
    if failure.param is not None:
        error["param"] = failure.param
    if attempts:
        error["attempts"] = list(attempts)
    return msgspec.json.encode({"type": "error", "error": error, "request_id": None})


def _type(failure: Failure) -> str:
    named = ERROR_TYPES[failure.kind]
    return _BY_STATUS.get(failure.client_status, named) if failure.kind is Kind.INVALID_REQUEST else named


def _message(failure: Failure) -> str:
    if failure.kind is Kind.CONTEXT_LENGTH and _TOO_LONG not in failure.message:
        return f"{_TOO_LONG}: {failure.message}"
    return failure.message
