"""A request's body as its top level with raw values: a glance at it, and splicing into it.

Only the top level is decoded; everything below stays bytes, so that a 1 MB prompt costs a copy, not a
parse, and every byte the client wrote below the top level goes upstream as written. Of a key that a
client wrote twice, the last one counts, and only that one is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure, Kind
from sidecar.model.request import Needs, Peek
from sidecar.model.topology import Operation, Params

__all__ = ["peek", "splice"]

_T = TypeVar("_T", str, bool)

_TOP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODE = msgspec.json.Encoder().encode
_EMPTY = frozenset({b"null", b"[]", b"{}", b'""', b"false"})
_TRUE = msgspec.Raw(b"true")


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


def peek(body: bytes, operation: Operation) -> Peek:
    """The facts that routing needs of a body.

    Raises:
        ValidationError: When the body is not a JSON object, or `model` or `stream` are not what they
            must be.
    """
    try:
        fields = _TOP.decode(body)
    except msgspec.ValidationError:
        raise _invalid(f"the body must be a JSON object, not {_shape(body)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _invalid(f"the body is not valid JSON: {error}" if body else "the body is empty; send JSON") from None
    model = _typed(fields, "model", str)
    if not model:
        raise _invalid('"model" is missing; name a route or provider/model', "model")
    stream = operation is not Operation.EMBEDDINGS and bool(_typed(fields, "stream", bool))
    return Peek(fields, model, stream, stream and _wants_usage(fields), _needs(body, fields, operation))


def _typed(fields: Mapping[str, msgspec.Raw], name: str, kind: type[_T]) -> _T | None:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=kind | None)
    except (msgspec.DecodeError, UnicodeDecodeError):
        words = {str: "a string", bool: "true or false"}[kind]
        raise _invalid(f'"{name}" must be {words}, not {bytes(raw)[:60].decode("utf-8", "replace")}', name) from None


def _wants_usage(fields: Mapping[str, msgspec.Raw]) -> bool:
    raw = fields.get("stream_options")
    if raw is None:
        return False
    try:
        options = msgspec.json.decode(raw, type=_StreamOptions | None)
    except msgspec.DecodeError:
        raise _invalid('"stream_options" must be an object such as {"include_usage": true}', "stream_options") from None
    return bool(options and options.include_usage)


def _needs(body: bytes, fields: Mapping[str, msgspec.Raw], operation: Operation) -> Needs:
    if operation is not Operation.CHAT:
        return _NOTHING
    messages = fields.get("messages")
    if messages is None:
        raise _invalid('"messages" is missing', "messages")
    if memoryview(messages)[0] != ord("["):
        raise _invalid('"messages" must be a list', "messages")
    tools = "tools" in fields and bytes(fields["tools"]) not in _EMPTY
    images = b'"image_url"' in body
    reasoning = "reasoning_effort" in fields or "reasoning" in fields
    return Needs(tools, images, reasoning) if tools or images or reasoning else _NOTHING


_NOTHING = Needs()


def splice(peek: Peek, model: str, params: Params, *, add_usage: bool) -> bytes:
    """The body for one attempt: the client's, with the model that is sent and the provider's params.

    Args:
        peek: The original; left as it is.
        model: The upstream's own name of the model.
        params: What the provider's config says of the top level.
        add_usage: Ask for the usage chunk of a stream whose client did not.
    """
    fields: dict[str, object] = dict(peek.fields)
    fields["model"] = model
    for name, value in params.default.items():
        fields.setdefault(name, msgspec.Raw(value))
    for name in params.drop:
        fields.pop(name, None)
    for name, value in params.set.items():
        fields[name] = msgspec.Raw(value)
    if add_usage and "stream_options" not in params.drop:
        fields["stream_options"] = _with_usage(peek.fields.get("stream_options"))
    return _ENCODE(fields)


_USAGE = msgspec.Raw(b'{"include_usage":true}')


def _with_usage(options: msgspec.Raw | None) -> object:
    if options is None or bytes(options) in _EMPTY:
        return _USAGE
    return {**msgspec.json.decode(options, type=dict[str, msgspec.Raw]), "include_usage": _TRUE}


def _shape(body: bytes) -> str:
    first = body.lstrip()[:1]
    return {b"[": "a list", b'"': "a string", b"n": "null", b"t": "a boolean", b"f": "a boolean"}.get(first, "a number")


def _invalid(message: str, param: str | None = None) -> ValidationError:
    return ValidationError(failure=Failure(Kind.INVALID_REQUEST, message, param=param))
