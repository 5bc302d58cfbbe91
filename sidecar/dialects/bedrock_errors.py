"""Errors of Bedrock: `{"message": ...}`, whose name is in a header, or inside of a stream in the error itself.

Source: docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sidecar.dialects import openai_errors
from sidecar.dialects.loose import json_object, object_of, text
from sidecar.model.failures import Failure

__all__ = ["decode_failure"]

_NAME = "x-amzn-errortype"  # "ThrottlingException:http://internal.amazon.com/..."


def decode_failure(status: int, headers: Mapping[str, str], body: bytes, now_utc: float) -> Failure:
    """What a provider's error answer means.

    Args:
        status: The HTTP status; 200 for an error inside of a stream.
        headers: In lower case.
        body: As it came.
        now_utc: Seconds since 1970, to read a Retry-After that is a date.
    """
    value = json_object(body) or {}
    inner = object_of(value.get("error"))
    name = headers.get(_NAME, "").partition(":")[0] or text(inner.get("type"))
    said = text(inner.get("message")) or text(value.get("message")) or text(value.get("Message"))
    if name and said:
        told = {"message": said, "code": name, "status": inner.get("status")}
        body = msgspec.json.encode({"error": told})
    failure = openai_errors.decode_failure(status, headers, body, now_utc)
    return msgspec.structs.replace(failure, upstream=None)  # no client reads errors of this dialect
