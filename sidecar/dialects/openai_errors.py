"""Errors in OpenAI's shape, both ways: a provider's answer to a `Failure`, a `Failure` to an answer.

Knows the shapes in which OpenAI-compatible servers put an error: `{"error": {...}}`, `{"error": "text"}`,
the same without `error` around it, in a list, in a choice, with `detail` or `innererror`, or no JSON at
all. Which kind of failure it is, is `openai_kinds`' business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sidecar.dialects.loose import MALFORMED, object_of, objects, read
from sidecar.dialects.openai_kinds import ErrorFacts, kind_of, status_of
from sidecar.dialects.retry_after import retry_after_s
from sidecar.model.failures import POLICY, Failure, Kind, UpstreamError
from sidecar.model.topology import Dialect

__all__ = ["decode_failure", "encode_failure", "fault_event"]

_DECODE = msgspec.json.Decoder().decode
_MAX_MESSAGE = 500  # characters
_STATUS_NAMES = ("code", "status", "status_code", "raw_status_code")
_WORDS = ("message", "msg", "detail", "error")


def decode_failure(status: int, headers: Mapping[str, str], body: bytes, now_utc: float) -> Failure:
    """What a provider's error answer means.

    Args:
        status: The HTTP status; the error inside a 2xx is looked at for the one it stands for.
        headers: In lower case.
        body: As it came.
        now_utc: Seconds since 1970, to read a Retry-After that is a date.
    """
    try:
        value: Any = read(_DECODE, body)
    except MALFORMED:
        facts, value = ErrorFacts(_plain_text(body)), None
    else:
        facts = _facts(value, body)
    retry_after = retry_after_s(status, headers, body, now_utc)
    meant = status_of(status, facts)
    kind = kind_of(meant, facts, timed=retry_after is not None)
    own = None
    if meant >= 400 and isinstance(value, dict) and value.get("error"):
        own = UpstreamError(meant, body, _content_type(headers))
    message = (facts.message or _wordless(meant, headers))[:_MAX_MESSAGE]
    return Failure(kind, message, meant, next(iter(facts.codes), None), facts.param, retry_after, own)


def _facts(value: Any, body: bytes) -> ErrorFacts:
    if isinstance(value, list) and value:  # Gemini's compatible endpoint wraps its error in a list
        value = value[0]
    if not isinstance(value, dict):
        return ErrorFacts(_words(value))
    error = value.get("error") or next(
        (choice["error"] for choice in objects(value.get("choices")) if choice.get("error")), value
    )
    if not isinstance(error, dict):
        error = {**value, "message": error}
    metadata = object_of(error.get("metadata"))
    message = next((words for name in _WORDS if (words := _words(error.get(name)))), "")
    if raw := _text(metadata.get("raw")):  # OpenRouter's own message says only that its provider failed
        message = f"{message}: {raw}"
    codes = (object_of(error.get("innererror")).get("code"), error.get("code"), _reason(error), error.get("type"))
    return ErrorFacts(
        message or _plain_text(body),
        tuple(filter(None, map(_text, (*codes, error.get("status"))))),
        _text(error.get("param")),
        next((status for name in _STATUS_NAMES if (status := _status(error.get(name)))), None),
        moderated="flagged_input" in metadata,
    )


def _words(value: Any) -> str:
    """The text that a message is, or that a list of complaints about fields comes to."""
    if isinstance(value, dict):
        value = value.get("detail") or value.get("message")
    if isinstance(value, str):
        return value
    complaints = [f"{_path(complaint.get('loc'))}: {complaint.get('msg')}" for complaint in objects(value)]
    return "; ".join(complaints)


def _path(loc: Any) -> str:
    return ".".join(map(str, loc)) if isinstance(loc, list) else "body"


def _status(value: Any) -> int | None:
    """An HTTP status of an error: a number, or its digits."""
    number = int(value) if isinstance(value, str) and len(value) == 3 and value.isdecimal() else value
    return number if isinstance(number, int) and 400 <= number < 600 else None


def _reason(error: Mapping[str, Any]) -> str | None:
    """Google's `details[].reason`, such as API_KEY_INVALID."""
    return next((reason for detail in objects(error.get("details")) if (reason := _text(detail.get("reason")))), None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _plain_text(body: bytes) -> str:
    text = " ".join(body[:2000].decode("utf-8", "replace").split())
    return f"not JSON: {text[:200]}" if text.startswith("<") else text[:_MAX_MESSAGE]


def _content_type(headers: Mapping[str, str]) -> str:
    """Of a body that is JSON; it may have come as an event of a stream."""
    told = headers.get("content-type", "")
    return told if told.startswith("application/json") else "application/json"


def _wordless(status: int, headers: Mapping[str, str]) -> str:
    if 300 <= status < 400:
        place = headers.get("location", "somewhere else")
        return f"HTTP {status}, a redirect to {place}; set base_url to where the API is"
    return f"HTTP {status} without a message"


def encode_failure(failure: Failure, attempts: Sequence[Mapping[str, Any]] = ()) -> tuple[bytes, str]:
    """The body and content type of the error answer.

    A provider's own words, in this dialect, on a request that is at fault go to the client unchanged, those
    on its length when nobody else was asked; any other failure is told in our words, with every attempt listed.
    """
    told_by_one = failure.kind is Kind.CONTEXT_LENGTH and len(attempts) == 1
    own = failure.upstream if failure.upstream and failure.upstream.dialect is Dialect.OPENAI_CHAT else None
    if own is not None and (failure.kind is Kind.INVALID_REQUEST or told_by_one):
        return own.body, own.content_type
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
