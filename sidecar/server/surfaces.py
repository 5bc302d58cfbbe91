"""Which path of the data plane is which operation, in which dialect.

The dialect of a path also decides how an error is told there, and how lists of models look. Gemini's
clients name the model and the verb in the path, under `/v1beta` or, the newer ones, under `/v1`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import unquote

import msgspec

from sidecar.model.topology import ClientDialect, Dialect, Operation
from sidecar.model.ways import CLIENT_DIALECT_OF

__all__ = ["PLACES", "Surface", "dialect_of", "meant", "surface"]

PLACES = (
    "POST /v1/chat/completions, /v1/responses, /v1/messages, /v1/messages/count_tokens, /v1/completions, "
    "/v1/embeddings, /v1beta/models/MODEL:generateContent, :streamGenerateContent, :countTokens, :embedContent and "
    ":batchEmbedContents; GET /v1/models, /v1beta/models, /healthz, /readyz; /providers/NAME/..."
)


class Surface(msgspec.Struct, frozen=True):
    """What a path asks for."""

    operation: Operation
    dialect: ClientDialect
    model: str | None = None  # where the path names it
    stream: bool | None = None  # where the path says so
    as_array: bool = False  # the stream is to be one JSON array
    single: bool = False  # one vector is asked for, not a batch


_SURFACES: Mapping[str, Surface] = MappingProxyType(
    {
        path: Surface(operation, CLIENT_DIALECT_OF[operation])
        for path, operation in {
            "/v1/chat/completions": Operation.CHAT,
            "/v1/completions": Operation.COMPLETIONS,
            "/v1/embeddings": Operation.EMBEDDINGS,
            "/v1/responses": Operation.RESPONSES,
            "/v1/messages": Operation.MESSAGES,
            "/v1/messages/count_tokens": Operation.COUNT_TOKENS,
        }.items()
    }
)
_VERBS: Mapping[str, tuple[Operation, bool]] = MappingProxyType(
    {
        "generateContent": (Operation.GENERATE, False),
        "streamGenerateContent": (Operation.GENERATE, True),
        "countTokens": (Operation.GEMINI_COUNT_TOKENS, False),
        "embedContent": (Operation.GEMINI_EMBEDDINGS, False),
        "batchEmbedContents": (Operation.GEMINI_EMBEDDINGS, False),
    }
)
_GEMINI = re.compile(r"/v1(?:beta|alpha)?/(?:models|tunedModels)/([^:]+(?::[^:/]+)*):(\w+)")
_PREFIXES = ("", "/v1", "/v1beta")
_MEANT_CHARS = 300
_SSE = re.compile(r"(?:^|&)alt=sse(?:&|$)")


def surface(path: str, query: str) -> Surface | None:
    """What a POST to the path asks for; None when it is nothing."""
    found = _SURFACES.get(path)
    if found is not None:
        return found
    match = _GEMINI.fullmatch(path)
    if match is None or match[2] not in _VERBS:
        return None
    operation, stream = _VERBS[match[2]]
    as_array = stream and not _SSE.search(query)
    return Surface(operation, Dialect.GEMINI_GENERATE, unquote(match[1]), stream, as_array, match[2] == "embedContent")


def meant(path: str) -> str | None:
    """What a client should ask whose base URL has a piece too much or too little; None when nobody can know.

    It is the longest end of the path that is a place, as it is or below a version.
    """
    path = path[:_MEANT_CHARS].rstrip("/")
    for start in [at for at, char in enumerate(path) if char == "/"]:
        for prefix in _PREFIXES:
            place = prefix + path[start:]
            if place == "/v1/models" or surface(place, "") is not None:
                return f"did you mean {place}{_advice(path[:start], prefix)}?"
    return None


def _advice(written: str, due: str) -> str:
    """What is to be done to a base URL."""
    if not written:
        return f" (add {due} to the base URL)" if due else ""
    return f" (put {due} in place of {written} in the base URL)" if due else f" (leave {written} out of the base URL)"


def dialect_of(path: str, headers: Mapping[str, str]) -> ClientDialect:
    """The dialect in which a client that asks there wants to be told of an error, or of models.

    Args:
        path: Without its query; any.
        headers: Of the request; case does not matter.
    """
    found = _SURFACES.get(path)
    if found is not None:
        return found.dialect
    if path.startswith("/v1beta/") or "x-goog-api-key" in headers or _GEMINI.fullmatch(path):
        return Dialect.GEMINI_GENERATE
    return Dialect.ANTHROPIC_MESSAGES if "anthropic-version" in headers else Dialect.OPENAI_CHAT
