"""Errors in OpenAI's shape, both ways: a provider's answer to a `Failure`, a `Failure` to an answer.

A provider's failure is classified by its status and its structured code; a message is looked at only
beside a status that leaves the question open, and only for the markers in the tables below.

Sources: platform.openai.com/docs/guides/error-codes; openrouter.ai/docs/api-reference/errors;
docs.vllm.ai (OpenAI-compatible server); learn.microsoft.com/azure/ai-services/openai (content filter);
ai.google.dev/gemini-api/docs/openai (all read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from sidecar.dialects.retry_after import retry_after_s
from sidecar.model.failures import POLICY, Failure, Kind, UpstreamError

__all__ = ["decode_failure", "encode_failure", "fault_event"]

_CODES: Mapping[str, Kind] = MappingProxyType(
    {
        "context_length_exceeded": Kind.CONTEXT_LENGTH,
        "string_above_max_length": Kind.CONTEXT_LENGTH,
        "content_policy_violation": Kind.CONTENT_POLICY,
        "content_filter": Kind.CONTENT_POLICY,
        "responsibleaipolicyviolation": Kind.CONTENT_POLICY,
        "moderation_blocked": Kind.CONTENT_POLICY,
        "model_not_found": Kind.MODEL_UNAVAILABLE,
        "model_not_available": Kind.MODEL_UNAVAILABLE,
        "model_decommissioned": Kind.MODEL_UNAVAILABLE,
        "deploymentnotfound": Kind.MODEL_UNAVAILABLE,
        "insufficient_quota": Kind.QUOTA_EXHAUSTED,
        "billing_hard_limit_reached": Kind.QUOTA_EXHAUSTED,
        "invalid_api_key": Kind.CREDENTIAL,
        "api_key_invalid": Kind.CREDENTIAL,
        "rate_limit_exceeded": Kind.RATE_LIMITED,
        "server_error": Kind.SERVER_ERROR,
        "overloaded_error": Kind.OVERLOADED,
    }
)

# A 400, 404, 413 or 422 whose code says nothing, by what its message holds (in lower case).
_MARKERS: Sequence[tuple[str, Kind]] = (
    ("maximum context length", Kind.CONTEXT_LENGTH),
    ("longer than the model's context length", Kind.CONTEXT_LENGTH),
    ("prompt is too long", Kind.CONTEXT_LENGTH),
    ("exceed context limit", Kind.CONTEXT_LENGTH),
    ("exceeds the maximum number of tokens", Kind.CONTEXT_LENGTH),
    ("input tokens exceed the configured limit", Kind.CONTEXT_LENGTH),
    ("exceeds the available context size", Kind.CONTEXT_LENGTH),
    ("api key not valid", Kind.CREDENTIAL),
    ("credit balance is too low", Kind.QUOTA_EXHAUSTED),
    ("usage limit", Kind.QUOTA_EXHAUSTED),
    ("content management policy", Kind.CONTENT_POLICY),
)

_STATUSES: Mapping[int, Kind] = MappingProxyType(
    {
        401: Kind.CREDENTIAL,
        402: Kind.QUOTA_EXHAUSTED,
        403: Kind.CREDENTIAL,
        408: Kind.GATEWAY_ERROR,
        429: Kind.RATE_LIMITED,
        502: Kind.GATEWAY_ERROR,
        503: Kind.OVERLOADED,
        504: Kind.GATEWAY_ERROR,
        529: Kind.OVERLOADED,
    }
)

_MAX_MESSAGE = 500  # characters


class _Facts(msgspec.Struct, frozen=True):
    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    status: int | None = None  # some send a number as `code`


def decode_failure(status: int, headers: Mapping[str, str], body: bytes, now_utc: float) -> Failure:
    """What a provider's error answer means.

    Args:
        status: The HTTP status; a 2xx is looked at for the number its error object holds.
        headers: In lower case.
        body: As it came.
        now_utc: Seconds since 1970, to read a Retry-After that is a date.
    """
    facts = _facts(body)
    if status < 400 and facts.status is not None and facts.status >= 400:
        status = facts.status
    retry_after = retry_after_s(status, headers, body, now_utc)
    kind = _kind(status, facts, retry_after)
    message = facts.message or f"HTTP {status} without a message"
    own = UpstreamError(status, body, headers.get("content-type", "application/json")) if status >= 400 else None
    return Failure(kind, message[:_MAX_MESSAGE], status, facts.code or facts.type, facts.param, retry_after, own)


def _kind(status: int, facts: _Facts, retry_after: float | None) -> Kind:
    named = _CODES.get((facts.code or "").lower()) or _CODES.get((facts.type or "").lower())
    if status < 400:
        return named or Kind.MALFORMED
    if 300 <= status < 400:
        return Kind.SERVER_ERROR
    if named and (status < 500 or named is Kind.OVERLOADED) and not (named is Kind.RATE_LIMITED and status != 429):
        return named
    if status in (503, 529) and retry_after is not None:
        return Kind.RATE_LIMITED
    if status in _STATUSES:
        return _STATUSES[status]
    if status >= 500:
        return Kind.SERVER_ERROR
    text = facts.message.lower()
    for marker, kind in _MARKERS:
        if marker in text:
            return kind
    if status in (400, 404) and "model" in text and ("not found" in text or "does not exist" in text):
        return Kind.MODEL_UNAVAILABLE
    return Kind.INVALID_REQUEST


def _facts(body: bytes) -> _Facts:
    """What an error body says, in any of the shapes that OpenAI-compatible servers use."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Facts(_plain_text(body))
    if isinstance(value, list) and value:  # Gemini's compatible endpoint wraps its error in a list
        value = value[0]
    if not isinstance(value, dict):
        return _Facts(str(value))
    error = value.get("error", value)
    if isinstance(error, str):
        return _Facts(error, _text(value.get("code")), _text(value.get("type")))
    if not isinstance(error, dict):
        return _Facts(_plain_text(body))
    inner = error.get("innererror")
    code = _text(inner.get("code")) if isinstance(inner, dict) else None
    number = error.get("code")
    return _Facts(
        _text(error.get("message")) or _text(error.get("detail")) or _plain_text(body),
        code or _text(number) or _reason(error),
        _text(error.get("type")) or _text(error.get("status")),
        _text(error.get("param")),
        number if isinstance(number, int) else None,
    )


def _reason(error: Mapping[str, Any]) -> str | None:
    """Google's `details[].reason`, such as API_KEY_INVALID."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(detail.get("reason"), str):
            return str(detail["reason"])
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _plain_text(body: bytes) -> str:
    text = " ".join(body[:2000].decode("utf-8", "replace").split())
    return f"not JSON: {text[:200]}" if text.startswith("<") else text[:_MAX_MESSAGE]


def encode_failure(failure: Failure, attempts: Sequence[Mapping[str, Any]] = ()) -> tuple[bytes, str]:
    """The body and content type of the error answer.

    A provider's own words on a request that is at fault go to the client unchanged, those on its length
    when nobody else was asked; any other failure is told in our words, with every attempt listed.
    """
    told_by_one = failure.kind is Kind.CONTEXT_LENGTH and len(attempts) == 1
    if failure.upstream is not None and (failure.kind is Kind.INVALID_REQUEST or told_by_one):
        return failure.upstream.body, failure.upstream.content_type
    return msgspec.json.encode({"error": _error(failure, attempts)}), "application/json"


def fault_event(failure: Failure, attempts: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """The event that ends a broken stream; the SDKs raise on it. No `[DONE]` follows."""
    return b"data: " + msgspec.json.encode({"error": _error(failure, attempts)}) + b"\n\n"


def _error(failure: Failure, attempts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    error: dict[str, Any] = {
        "message": failure.message,
        "type": POLICY[failure.kind].error_type,
        "param": failure.param,
        "code": failure.code or failure.kind.value,
        "kind": failure.kind.value,
    }
    if attempts:
        error["attempts"] = list(attempts)
    return error
