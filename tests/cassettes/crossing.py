"""Recorded replies on their way to a client, and the vendors' own types as judges of what arrives.

A recording is replayed as the provider's answer to a small request of the client's dialect; what the client gets is
read by the SDK's models, strictly, and told again as dicts.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import zstandard
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

__all__ = [
    "CLIENTS",
    "RECORDINGS",
    "Recording",
    "all_rows",
    "events_of",
    "form",
    "read_by_sdk",
    "recordings",
    "rows",
    "streamed",
]

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "cassettes" / "replies.jsonl.zst"
CLIENTS: Mapping[str, Operation] = {
    "openai-chat": Operation.CHAT,
    "openai-responses": Operation.RESPONSES,
    "anthropic-messages": Operation.MESSAGES,
    "gemini-generate": Operation.GENERATE,
}
_DIALECTS: Mapping[str, str] = {
    "openai-chat": "openai-chat",
    "openai-responses": "openai-responses",
    "anthropic": "anthropic-messages",
    "gemini": "gemini-generate",
    "gemini-stream": "gemini-generate",
}
_ASKED: Mapping[Operation, Mapping[str, Any]] = {
    Operation.CHAT: {"messages": [{"role": "user", "content": "Hi"}]},
    Operation.RESPONSES: {"input": "Hi"},
    Operation.MESSAGES: {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9},
    Operation.GENERATE: {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}


@dataclass(frozen=True)
class Recording:
    """One good reply of a conversation."""

    id: str
    dialect: str  # of ours
    body: bytes
    streams: bool


def all_rows() -> Iterator[dict[str, Any]]:
    """Every recording, as it was recorded."""
    with RECORDINGS.open("rb") as file:
        for line in zstandard.ZstdDecompressor().stream_reader(file).read().splitlines():
            yield json.loads(line)


@cache
def recordings() -> Sequence[Recording]:
    """Every reply of status 200 in a dialect that clients speak. An array of Gemini's is told as its stream."""
    found = []
    for row in all_rows():
        dialect, reply = _DIALECTS.get(row["dialect"]), row["res"]
        if dialect is None or reply["status"] != 200:
            continue
        value = reply.get("json")
        if "text" in reply:
            found.append(Recording(row["id"], dialect, reply["text"].encode(), streams=True))
        elif isinstance(value, list):
            frames = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in value)
            found.append(Recording(row["id"], dialect, frames, streams=True))
        else:
            found.append(Recording(row["id"], dialect, json.dumps(value).encode(), streams=False))
    return found


def rows(*dialects: str) -> list[dict[str, Any]]:
    """Every good reply of these dialects of the recordings, as recorded."""
    return [row for row in all_rows() if row["dialect"] in dialects and row["res"]["status"] == 200]


def form(client: str, provider: str, *, stream: bool) -> Form:
    """How such a client is answered by such a provider."""
    operation = CLIENTS[client]
    asked = {"model": "m", **_ASKED[operation], **({"stream": True} if stream else {})}
    if stream and operation is Operation.CHAT:
        asked["stream_options"] = {"include_usage": True}
    glance = peek(json.dumps(asked).encode(), operation, model="m", stream=stream)
    call = Call(operation, CLIENT_DIALECT_OF[operation], glance, "r")
    return form_of(call, CLIENTS[provider], Wire("m"), Params())


def streamed(client: str, provider: str, pieces: Iterable[bytes]) -> bytes | Failure:
    """What the client gets of a stream that comes in these pieces; how it broke, if it did."""
    tap = form(client, provider, stream=True).tap()
    passed = [tap.feed(piece) for piece in pieces]
    passed.append(tap.end())
    failure = tap.verdict()
    return failure or b"".join([*passed, tap.closing()])


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """The data of every frame."""
    lines = (line.removeprefix(b"data:").strip() for line in stream.splitlines() if line.startswith(b"data:"))
    return [json.loads(line) for line in lines if line and line != b"[DONE]"]


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
