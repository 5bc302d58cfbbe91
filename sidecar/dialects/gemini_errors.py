"""Errors in Google's shape, both ways: `{"error": {"code", "message", "status", "details"}}`.

`code` is the HTTP status, `status` the name of a gRPC code, and `details` holds typed messages, of which
clients read three: why (`ErrorInfo`), which field (`BadRequest`), and when to ask again (`RetryInfo`). What
we add beside them (`kind`, `attempts`) no SDK minds. In a stream an error is an event of its own; the
vendor's SDKs look for one that begins with `error`, so that it stands first and alone.

Source: ai.google.dev/gemini-api/docs/troubleshooting; google.rpc.Code, error_details.proto (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from sidecar.dialects import openai_errors
from sidecar.model.failures import Failure, Kind
from sidecar.model.topology import Dialect

__all__ = ["STATUSES", "decode_failure", "encode_failure", "fault_event"]

_OWN = Dialect.GEMINI_GENERATE
_TYPE = "type.googleapis.com/google.rpc."

STATUSES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.INVALID_REQUEST: "INVALID_ARGUMENT",
        Kind.CONTENT_POLICY: "INVALID_ARGUMENT",
        Kind.CONTEXT_LENGTH: "INVALID_ARGUMENT",
        Kind.MODEL_UNAVAILABLE: "UNAVAILABLE",
        Kind.CREDENTIAL: "UNAVAILABLE",  # ours, not the client's: asking with another key would not help
        Kind.QUOTA_EXHAUSTED: "RESOURCE_EXHAUSTED",
        Kind.RATE_LIMITED: "RESOURCE_EXHAUSTED",
        Kind.OVERLOADED: "UNAVAILABLE",
        Kind.SERVER_ERROR: "INTERNAL",
        Kind.GATEWAY_ERROR: "UNAVAILABLE",
        Kind.UNREACHABLE: "UNAVAILABLE",
        Kind.FIRST_TOKEN_TIMEOUT: "DEADLINE_EXCEEDED",
        Kind.IDLE_TIMEOUT: "DEADLINE_EXCEEDED",
        Kind.MALFORMED: "INTERNAL",
        Kind.TRUNCATED: "INTERNAL",
        Kind.DEADLINE: "DEADLINE_EXCEEDED",
        Kind.CLIENT_DEADLINE: "DEADLINE_EXCEEDED",
        Kind.CLIENT_GONE: "CANCELLED",
        Kind.LOSSY: "INVALID_ARGUMENT",
        Kind.NO_ROUTE: "NOT_FOUND",
        Kind.NO_TARGET: "UNAVAILABLE",
        Kind.INTERNAL: "INTERNAL",
    }
)
# A request that is at fault may be so in a way that HTTP has a number for.
_BY_NUMBER: Mapping[int, str] = MappingProxyType(
    {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED", 429: "RESOURCE_EXHAUSTED"}
)


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
    return msgspec.structs.replace(failure, upstream=msgspec.structs.replace(failure.upstream, dialect=_OWN))


def encode_failure(failure: Failure, attempts: Sequence[Mapping[str, Any]] = ()) -> tuple[bytes, str]:
    """The body and content type of the error that a client gets.

    Google's own words on a request that is at fault go to the client unchanged, those on its length when
    nobody else was asked.
    """
    told_by_one = failure.kind is Kind.CONTEXT_LENGTH and len(attempts) == 1
    upstream = failure.upstream
    if upstream is not None and upstream.dialect is _OWN and (failure.kind is Kind.INVALID_REQUEST or told_by_one):
        return upstream.body, upstream.content_type
    return msgspec.json.encode({"error": _error(failure, attempts)}), "application/json"


def fault_event(failure: Failure, attempts: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """The event that ends a broken stream."""
    return b"data: " + msgspec.json.encode({"error": _error(failure, attempts)}) + b"\n\n"


def _error(failure: Failure, attempts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    status = failure.client_status
    named = _BY_NUMBER.get(status) if failure.kind is Kind.INVALID_REQUEST else None
    reason = (failure.code or failure.kind.value).upper()
    details: list[dict[str, Any]] = [{"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "sidecar"}]
    if failure.param is not None:
        violation = {"field": failure.param, "description": failure.message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if failure.retry_after_s is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{failure.retry_after_s:g}s"})
    error: dict[str, Any] = {
        "code": status,
        "message": failure.message,
        "status": named or STATUSES[failure.kind],
        "details": details,
        "kind": failure.kind.value,
    }
    if attempts:
        error["attempts"] = list(attempts)
    return error
