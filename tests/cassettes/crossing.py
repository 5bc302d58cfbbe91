"""Recorded replies on their way to a client, and the vendors' own types as judges of what arrives.

A recording is replayed as the provider's answer to a small request of the client's dialect; what the client gets is
read by the SDK's models, strictly, and told again as dicts.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from anthropic.types import Message, RawMessageStreamEvent
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from sidecar.dialects.body import peek
from sidecar.dialects.forms import Form, form_of
from sidecar.model.failures import Failure
from sidecar.model.hub import Wire
from sidecar.model.request import Call
from sidecar.model.topology import Dialect, Operation, Params
from sidecar.model.ways import CLIENT_DIALECT_OF

__all__ = ["CLIENTS", "form", "read_by_sdk", "streamed"]

CLIENTS: Mapping[str, Operation] = {
    "openai-chat": Operation.CHAT,
    "openai-responses": Operation.RESPONSES,
    "anthropic-messages": Operation.MESSAGES,
    "gemini-generate": Operation.GENERATE,
}
_ASKED: Mapping[Operation, Mapping[str, Any]] = {
    Operation.CHAT: {"messages": [{"role": "user", "content": "Hi"}]},
    Operation.RESPONSES: {"input": "Hi"},
    Operation.MESSAGES: {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9},
    Operation.GENERATE: {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}


def form(client: str, endpoint: Operation, *, stream: bool) -> Form:
    """How such a client is answered by a provider that is asked by this endpoint."""
    operation = CLIENTS[client]
    asked = {"model": "m", **_ASKED[operation], **({"stream": True} if stream else {})}
    if stream and operation is Operation.CHAT:
        asked["stream_options"] = {"include_usage": True}
    glance = peek(json.dumps(asked).encode(), operation, model="m", stream=stream)
    call = Call(operation, CLIENT_DIALECT_OF[operation], glance, "r")
    return form_of(call, endpoint, Wire("m"), Params())


def streamed(client: str, endpoint: Operation, pieces: Iterable[bytes]) -> bytes | Failure:
    """What the client gets of a stream that comes in these pieces; how it broke, if it did."""
    tap = form(client, endpoint, stream=True).tap()
    passed = [tap.feed(piece) for piece in pieces]
    passed.append(tap.end())
    failure = tap.verdict()
    return failure or b"".join([*passed, tap.closing()])


_Reader = Callable[[Any], dict[str, Any]]


def _openai(type_: Any) -> _Reader:
    adapter = TypeAdapter(type_)
    return lambda value: adapter.validate_python(value).to_dict(mode="json", exclude_unset=True)


def _google(value: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of words newer than the SDK
        read = GenerateContentResponse.model_validate(value)
        return read.model_dump(mode="json", by_alias=True, exclude_none=True)


@cache
def read_by_sdk(dialect: str, *, event: bool) -> _Reader:
    """A reader of an answer, or of one event of a stream, by the types of the vendor's SDK.

    It raises `ValidationError` of pydantic for what they do not allow.
    """
    types: Mapping[str, tuple[Any, Any]] = {
        Dialect.OPENAI_CHAT.value: (ChatCompletion, ChatCompletionChunk),
        Dialect.OPENAI_RESPONSES.value: (Response, ResponseStreamEvent),
        Dialect.ANTHROPIC_MESSAGES.value: (Message, RawMessageStreamEvent),
    }
    return _google if dialect == Dialect.GEMINI_GENERATE.value else _openai(types[dialect][event])
