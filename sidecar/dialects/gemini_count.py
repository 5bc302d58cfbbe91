"""What clients of the dialect ask beside answers: how many tokens a request has.

An estimate errs upwards, so that whoever plans by it has room: Google's tokens are about four characters of
English and fewer of other scripts, hence bytes of UTF-8 are counted; of media so many for each piece.

Source: ai.google.dev/gemini-api/docs/tokens and /media-resolution (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sidecar.dialects.gemini_fields import camel

__all__ = ["count_request", "counted"]

_BYTES_A_TOKEN = 3.5
_CONTENT_TOKENS = 4  # around each
_IMAGE_TOKENS = 1120  # at the resolution that is the default
_MEDIA_TOKENS = 258  # a page, a second of film, ...
_MEDIA_BYTES = 50_000  # ... for so many bytes of base64
_MAX_DEPTH = 100


def count_request(fields: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The body of a `countTokens` for a target: a whole request in it names its model itself.

    Args:
        fields: As the client wrote them.
        model: The provider's own name of the model.
    """
    said: dict[str, Any] = dict(fields)
    for name in ("generateContentRequest", "generate_content_request"):
        if isinstance(said.get(name), dict):
            said[name] = {**said[name], "model": f"models/{model.removeprefix('models/')}"}
    return said


def counted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An answer to `countTokens` by estimate; never raises, whatever the body is."""
    try:
        body = camel(dict(fields))
    except RecursionError:
        body = {}
    inner = body.get("generateContentRequest")
    request = inner if isinstance(inner, dict) else body
    parts = [request.get(name) for name in ("contents", "systemInstruction", "tools")]
    return {"totalTokens": max(1, round(sum(_tokens(part, 0) for part in parts)))}


def _tokens(value: Any, depth: int) -> float:
    if depth > _MAX_DEPTH or value is None:
        return 0
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace")) / _BYTES_A_TOKEN
    if isinstance(value, list):
        return sum(_tokens(item, depth + 1) for item in value)
    if not isinstance(value, dict):
        return 1
    total = float(_CONTENT_TOKENS if "parts" in value else 0)
    for name, item in value.items():
        if name in ("inlineData", "fileData") and isinstance(item, dict):
            total += _media(item)
        elif name in ("functionDeclarations", "args", "response"):
            total += len(_json(item)) / _BYTES_A_TOKEN
        elif name not in ("role", "thoughtSignature"):
            total += _tokens(item, depth + 1)
    return total


def _media(blob: Mapping[str, Any]) -> float:
    data, mime = blob.get("data"), blob.get("mimeType")
    if isinstance(mime, str) and mime.startswith("image/"):
        return _IMAGE_TOKENS
    return _MEDIA_TOKENS * (1 + (len(data) // _MEDIA_BYTES if isinstance(data, str) else 0))


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except RecursionError:
        return b""
