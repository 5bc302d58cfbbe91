"""What each recording is, by its own bytes, whatever it was filed under.

Most are what they are filed as. Some are answers of another dialect, or of no dialect of ours; some hold several
answers, one after the other; some are errors under status 200.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import zstandard
from botocore.eventstream import EventStreamBuffer

from sidecar.model.topology import Operation
from sidecar.upstream.event_stream import Messages

__all__ = ["LABELS", "RECORDINGS", "Recording", "all_rows", "events_of", "recordings", "replies"]

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "cassettes" / "replies.jsonl.zst"
LABELS: Mapping[str, Operation] = {
    "openai-chat": Operation.CHAT,
    "openai-responses": Operation.RESPONSES,
    "openai-completions": Operation.COMPLETIONS,
    "embeddings": Operation.EMBEDDINGS,
    "anthropic": Operation.MESSAGES,
    "anthropic-count": Operation.COUNT_TOKENS,
    "gemini": Operation.GENERATE,
    "gemini-stream": Operation.GENERATE,
    "gemini-embed": Operation.GEMINI_EMBEDDINGS,
    "gemini-count": Operation.GEMINI_COUNT_TOKENS,
    "bedrock-converse": Operation.CONVERSE,
    "bedrock-converse-stream": Operation.CONVERSE,
    "bedrock-invoke": Operation.MESSAGES,
    "bedrock-invoke-stream": Operation.MESSAGES,
}
"""What a recording is filed as; not here are those of wires that the sidecar only passes on."""

Json = dict[str, Any]
_BEGINS = re.compile(r"^event: (?:message_start|response\.created)$", re.MULTILINE)
_ENDS = re.compile(r"^event: (?:message_stop|response\.completed)$", re.MULTILINE)
_CONVERSATIONS = frozenset(
    {Operation.CHAT, Operation.RESPONSES, Operation.MESSAGES, Operation.GENERATE, Operation.CONVERSE}
)


@dataclass(frozen=True)
class Recording:
    """One reply."""

    id: str  # of the recording; with a number after it, when that holds several
    label: str  # what it is filed as
    operation: Operation | None  # what it answers in truth; None: nothing in a dialect of ours
    status: int
    headers: Mapping[str, str]
    body: bytes  # JSON or server-sent events; the bytes themselves, where they are of no dialect
    streams: bool = False
    events: tuple[Json, ...] = ()  # of a stream, as the vendor's own library cuts them
    failed: bool = False

    @property
    def talks(self) -> bool:
        """Whether it is an answer of a conversation."""
        return self.operation in _CONVERSATIONS and not self.failed

    @property
    def as_filed(self) -> bool:
        """Whether it is one answer, in the dialect that it is filed under."""
        return not self.failed and "#" not in self.id and self.operation is LABELS.get(self.label)


def all_rows() -> Iterator[Json]:
    """Every recording, as it was recorded."""
    with RECORDINGS.open("rb") as file:
        for line in zstandard.ZstdDecompressor().stream_reader(file).read().splitlines():
            yield json.loads(line)


@cache
def replies() -> Sequence[Recording]:
    """Every reply there is, for what it is."""
    return [recording for row in all_rows() for recording in _read(row)]


def recordings() -> Sequence[Recording]:
    """The answers of conversations among them."""
    return [recording for recording in replies() if recording.talks]


def events_of(stream: bytes) -> list[Json]:
    """The data of every frame."""
    lines = (line.removeprefix(b"data:").strip() for line in stream.splitlines() if line.startswith(b"data:"))
    return [json.loads(line) for line in lines if line and line != b"[DONE]"]


def _read(row: Json) -> Iterator[Recording]:
    reply, filed = row["res"], LABELS.get(row["dialect"])
    head = (row["id"], row["dialect"])
    rest = (reply["status"], reply.get("headers") or {})
    value = reply.get("json")
    if filed is None:
        yield Recording(*head, None, *rest, _bytes(reply))
    elif reply["status"] != 200 or (isinstance(value, dict) and _is_error(value)):
        yield Recording(*head, filed, *rest, _bytes(reply), failed=True)
    elif "b64" in reply:
        yield _binary(row, base64.b64decode(reply["b64"]))
    elif "text" in reply or isinstance(value, list):
        stream = reply["text"] if "text" in reply else "".join(f"data: {json.dumps(each)}\n\n" for each in value)
        pieces = list(_answers(stream))
        for number, piece in enumerate(pieces, 1):
            events = tuple(events_of(piece.encode()))
            id_ = f"{row['id']}#{number}" if len(pieces) > 1 else row["id"]
            yield Recording(id_, head[1], _found(*events), *rest, piece.encode(), streams=True, events=events)
    else:
        # A Nova answers InvokeModel in nearly the words of Converse; it is never asked by it.
        found = _found(value)
        operation = None if row["dialect"] == "bedrock-invoke" and found is not Operation.MESSAGES else found
        yield Recording(*head, operation, *rest, _bytes(reply))


def _bytes(reply: Json) -> bytes:
    if "b64" in reply:
        return base64.b64decode(reply["b64"])
    return reply["text"].encode() if "text" in reply else json.dumps(reply.get("json")).encode()


def _binary(row: Json, data: bytes) -> Recording:
    """A stream of AWS's framing."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    events: list[Json] = []
    for message in buffer:
        name, value = message.headers[":event-type"], json.loads(message.payload)
        packed = value.get("bytes") if name == "chunk" else None
        events.append({"type": name, **value} if packed is None else json.loads(base64.b64decode(packed)))
    head, rest = (row["id"], row["dialect"]), (200, row["res"].get("headers") or {})
    found = _found(*events)
    if row["dialect"] == "bedrock-invoke-stream" and found is not Operation.MESSAGES:
        return Recording(*head, None, *rest, data)
    return Recording(*head, found, *rest, Messages().feed(data), streams=True, events=tuple(events))


def _answers(stream: str) -> Iterator[str]:
    """The answers in it, one after the other: a recorder has put those of several requests into one stream."""
    start = 0
    for begin in _BEGINS.finditer(stream):
        if _ENDS.search(stream, start, begin.start()):
            yield stream[start : begin.start()]
            start = begin.start()
    yield stream[start:]


def _is_error(value: Json) -> bool:
    return bool(value.get("error")) and not value.get("choices") and value.get("object") != "response"


def _has(name: str, within: str) -> Callable[[Json], bool]:
    """Whether the first of a list has a field."""

    def has(value: Json) -> bool:
        first = next(iter(value.get(within) or ()), None) if isinstance(value.get(within), list) else None
        return isinstance(first, dict) and name in first

    return has


_FEATURES: Sequence[tuple[Operation, Callable[[Json], bool]]] = (
    (Operation.CHAT, _has("message", "choices")),
    (Operation.CHAT, _has("delta", "choices")),
    (Operation.CHAT, lambda value: str(value.get("object")).startswith("chat.completion")),
    (Operation.COMPLETIONS, _has("text", "choices")),
    (Operation.RESPONSES, lambda value: value.get("object") == "response"),
    (Operation.RESPONSES, lambda value: str(value.get("type")).startswith("response.")),
    (Operation.MESSAGES, lambda value: value.get("type") in ("message", "message_start")),
    (Operation.CONVERSE, lambda value: {"output", "stopReason"} <= value.keys()),
    (Operation.CONVERSE, lambda value: value.get("type") == "messageStart"),
    (Operation.EMBEDDINGS, _has("embedding", "data")),
    (Operation.GEMINI_EMBEDDINGS, _has("values", "embeddings")),
    (Operation.GENERATE, lambda value: bool({"candidates", "promptFeedback", "usageMetadata"} & value.keys())),
    (Operation.GEMINI_COUNT_TOKENS, lambda value: "totalTokens" in value),
    (Operation.COUNT_TOKENS, lambda value: value.keys() == {"input_tokens"}),
)


def _found(*values: Json) -> Operation | None:
    """What such an answer, or a stream of such events, answers."""
    return next((operation for value in values for operation, is_it in _FEATURES if is_it(value)), None)
