"""Embeddings in Gemini's shape and in OpenAI's, both ways, requests and answers.

A Gemini client asks for one (`embedContent`) or for several (`batchEmbedContents`), each with its own
settings; a provider is always asked for several. An OpenAI client asks for several with the same settings,
and its SDK wants the numbers as base64 of little-endian floats. Both mean the same vectors, so that the
same model can be asked at a provider of either kind.

Source: ai.google.dev/api/embeddings; platform.openai.com/docs/api-reference/embeddings (read 2026-11).
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sidecar.dialects.dialect import Untranslatable
from sidecar.dialects.gemini_errors import decode_failure
from sidecar.dialects.gemini_fields import camel, integer, items, obj, string, wrong
from sidecar.dialects.loose import object_of, objects
from sidecar.dialects.losses import changed, dropped, foreign
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import Loss
from sidecar.model.topology import Dialect

__all__ = ["batch_request", "gemini_answer", "gemini_request", "one_of_batch", "openai_answer", "openai_request"]

_KNOWN = frozenset({"model", "content", "outputDimensionality"})
_FLOAT_BYTES = 4


# -- a Gemini client


def batch_request(fields: Mapping[str, Any], model: str, *, single: bool) -> dict[str, Any]:
    """The body of a `batchEmbedContents` to a provider of the same dialect.

    Args:
        fields: As the client wrote them.
        model: The provider's own name of the model, which every request in it must name.
        single: The client asked for one.

    Raises:
        ValidationError: When it is no such request.
    """
    named = {"model": f"models/{model.removeprefix('models/')}"}
    if single:
        return {"requests": [{**fields, **named}]}
    requests = items(fields.get("requests", ...), "requests")
    told = [{**obj(request, f"requests[{place}]"), **named} for place, request in enumerate(requests)]
    return {**fields, "requests": told}


def openai_request(fields: Mapping[str, Any], model: str, losses: list[Loss], *, single: bool) -> dict[str, Any]:
    """The same request in OpenAI's shape.

    Raises:
        ValidationError: When it is no such request.
        Untranslatable: When it asks for what OpenAI cannot say.
    """
    body = camel(dict(fields))
    requests = [body] if single else items(body.get("requests", ...), "requests")
    if not requests:
        raise wrong("requests", "a list with at least one request", requests)
    texts: list[str] = []
    sizes: set[int | None] = set()
    for place, each in enumerate(requests):
        path = "" if single else f"requests[{place}]."
        request = obj(each, path.rstrip(".") or "the body")
        texts.append(_text(request.get("content", ...), f"{path}content", losses))
        size = request.get("outputDimensionality")
        sizes.add(None if size is None else integer(size, f"{path}outputDimensionality"))
        rest = {name: value for name, value in request.items() if name not in _KNOWN}
        foreign(losses, rest, path.rstrip("."), Dialect.OPENAI_CHAT)
    if len(sizes) > 1:
        raise Untranslatable("embeddings of several sizes cannot be asked of OpenAI in one request")
    said: dict[str, Any] = {"model": model, "input": texts, "encoding_format": "float"}
    size = sizes.pop()
    return said if size is None else {**said, "dimensions": size}


def _text(content: Any, path: str, losses: list[Loss]) -> str:
    parts = items(obj(content, path).get("parts", ...), f"{path}.parts")
    texts = []
    for place, part in enumerate(parts):
        fields = obj(part, f"{path}.parts[{place}]")
        if "text" not in fields:
            raise Untranslatable(f"{path}.parts[{place}] is no text; OpenAI embeds nothing else")
        texts.append(string(fields["text"], f"{path}.parts[{place}].text"))
    if len(texts) > 1:
        changed(losses, f"{path}.parts", "several parts are embedded as lines of one text")
    return "\n".join(texts)


def one_of_batch(body: Mapping[str, Any]) -> dict[str, Any] | Failure:
    """The answer for a client that asked for one, from a provider that was asked for several."""
    vectors = objects(body.get("embeddings"))
    if not vectors:
        return _none(body)
    rest = {name: value for name, value in body.items() if name != "embeddings"}
    return {"embedding": vectors[0], **rest}


def gemini_answer(body: Mapping[str, Any], *, single: bool) -> dict[str, Any] | Failure:
    """OpenAI's answer for a Gemini client."""
    rows = objects(body.get("data"))
    rows.sort(key=lambda row: row["index"] if isinstance(row.get("index"), int) else 0)
    vectors = [_values(row.get("embedding")) for row in rows]
    good = [{"values": values} for values in vectors if values is not None]
    if not good or len(good) < len(rows):
        return _none(body)
    tokens = object_of(body.get("usage")).get("prompt_tokens")
    usage = {"usageMetadata": {"promptTokenCount": tokens, "totalTokenCount": tokens}} if _whole(tokens) else {}
    return {"embedding": good[0], **usage} if single else {"embeddings": good, **usage}


def _values(embedding: Any) -> list[float] | None:
    """The numbers of a vector, also where they come as base64 of floats."""
    if isinstance(embedding, str):
        try:
            data = base64.b64decode(embedding, validate=True)
        except (binascii.Error, ValueError):
            return None
        return list(struct.unpack(f"<{len(data) // _FLOAT_BYTES}f", data)) if len(data) % _FLOAT_BYTES == 0 else None
    if isinstance(embedding, list) and all(isinstance(item, int | float) for item in embedding):
        return embedding
    return None


# -- an OpenAI client


def gemini_request(fields: Mapping[str, Any], model: str, losses: list[Loss]) -> dict[str, Any]:
    """An OpenAI client's request as a `batchEmbedContents`.

    Raises:
        ValidationError: When it is no such request.
        Untranslatable: When it asks for what Gemini cannot embed.
    """
    if "input" not in fields:
        raise wrong("input", "a text or a list of texts")
    given = fields["input"]
    texts = given if isinstance(given, list) else [given]
    if not texts:
        raise wrong("input", "a text or a list of texts", given)
    if any(isinstance(text, int | list) for text in texts):
        raise Untranslatable("input is tokens, which mean something to one vendor's models alone; send text")
    size = fields.get("dimensions")
    common: dict[str, Any] = {"model": f"models/{model.removeprefix('models/')}"}
    if size is not None:
        common["outputDimensionality"] = integer(size, "dimensions")
    if fields.get("user") is not None:
        dropped(losses, "user", "Gemini has no field for who asks")
    known = ("model", "input", "dimensions", "encoding_format", "user")
    rest = {name: value for name, value in fields.items() if name not in known}
    foreign(losses, rest, "", Dialect.GEMINI_GENERATE)
    requests = []
    for place, text in enumerate(texts):
        said = string(text, f"input[{place}]" if texts is given else "input")
        requests.append({**common, "content": {"parts": [{"text": said}]}})
    return {"requests": requests}


def openai_answer(body: Mapping[str, Any], model: str, *, as_base64: bool) -> dict[str, Any] | Failure:
    """Gemini's answer for an OpenAI client.

    Args:
        body: Of a `batchEmbedContents`, or of an `embedContent`.
        model: The one that served.
        as_base64: The client asked for `encoding_format: base64`.
    """
    vectors = objects(body.get("embeddings")) or objects([body.get("embedding")])
    rows: list[dict[str, Any]] = []
    for index, vector in enumerate(vectors):
        values = _values(vector.get("values"))
        embedding = _packed(values) if values and as_base64 else values
        if not embedding:
            return _none(body)
        rows.append({"object": "embedding", "index": index, "embedding": embedding})
    if not rows:
        return _none(body)
    told = object_of(body.get("usageMetadata")).get("promptTokenCount")
    tokens = told if _whole(told) else 0  # the vendor does not always say
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": rows, "model": model, "usage": usage}


def _packed(values: Sequence[float]) -> str | None:
    try:
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    except (OverflowError, struct.error):
        return None


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _none(body: Mapping[str, Any]) -> Failure:
    """Why an answer holds no vectors."""
    if body.get("error"):
        return decode_failure(200, {}, msgspec.json.encode(body), 0.0)
    return Failure(Kind.MALFORMED, "the answer holds no embeddings")
