"""What is no conversation: legacy completions, vectors, counts of tokens, and errors, each judged in its own way."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from openai.types import Completion, CreateEmbeddingResponse

from sidecar.dialects.body import peek
from sidecar.dialects.forms import Form, form_of
from sidecar.dialects.table import codec, provider_codec
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import Wire
from sidecar.model.request import Call
from sidecar.model.topology import Operation, Params
from sidecar.model.ways import CLIENT_DIALECT_OF, DIALECT_OF
from tests.cassettes.crossing import CLIENTS
from tests.cassettes.recorded import Recording
from tests.dialects.test_recorded import PLAUSIBLE

__all__ = ["object_judged", "refusal_judged"]

_ASKED: Mapping[Operation, Mapping[str, Any]] = {
    Operation.COMPLETIONS: {"prompt": "Hi"},
    Operation.EMBEDDINGS: {"input": "Hi"},
    Operation.GEMINI_EMBEDDINGS: {"requests": [{"model": "models/m", "content": {"parts": [{"text": "Hi"}]}}]},
    Operation.COUNT_TOKENS: {"messages": [{"role": "user", "content": "Hi"}]},
    Operation.GEMINI_COUNT_TOKENS: {"contents": [{"parts": [{"text": "Hi"}]}]},
}
_OTHER_VECTORS = {
    Operation.EMBEDDINGS: Operation.GEMINI_EMBEDDINGS,
    Operation.GEMINI_EMBEDDINGS: Operation.EMBEDDINGS,
}
_PLAUSIBLE = {**PLAUSIBLE, 200: {Kind.CONTENT_POLICY}}  # Azure's filter answers 200
_CLOSE = 1e-6  # what is left of a number of 32 bits


def object_judged(recording: Recording) -> str | None:
    """What is wrong when it is answered to a client of its own dialect, and vectors to one of the other."""
    operation = recording.operation
    assert operation is not None
    given = recording.body
    got = _got(_form(operation, operation, stream=recording.streams), recording)
    if got != given:
        return f"its bytes changed: {got!r:.200}"
    if recording.streams:
        return None
    if operation is Operation.COMPLETIONS and not Completion.construct(**json.loads(given)).choices:
        return "the SDK reads no choices"
    if operation is Operation.EMBEDDINGS and not CreateEmbeddingResponse.construct(**json.loads(given)).data:
        return "the SDK reads no vectors"
    other = _OTHER_VECTORS.get(operation)
    if other is None:
        return None
    crossed = _got(_form(other, operation, stream=False), recording)
    if isinstance(crossed, Failure):
        return f"no answer: {crossed.message}"
    same = _alike(_vectors(json.loads(given)), _vectors(json.loads(crossed)))
    return None if same else "a client of the other dialect gets other vectors"


def _form(asked: Operation, endpoint: Operation, *, stream: bool) -> Form:
    body = {"model": "m", **_ASKED[asked]}
    body |= {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    call = Call(asked, CLIENT_DIALECT_OF[asked], peek(json.dumps(body).encode(), asked, model="m"), "r")
    return form_of(call, endpoint, Wire("m"), Params())


def _got(form: Form, recording: Recording) -> bytes | Failure:
    if recording.streams:
        tap = form.tap()
        passed = tap.feed(recording.body) + tap.end()
        return tap.verdict() or passed
    whole = form.whole(recording.body, streamed=False)
    return whole if isinstance(whole, Failure) else whole.body


def _vectors(value: Mapping[str, Any]) -> list[Sequence[float]]:
    if "data" in value:
        told = [each["embedding"] for each in value["data"]]
    else:
        told = [each["values"] for each in value["embeddings"]]
    return [_numbers(each) if isinstance(each, str) else each for each in told]


def _numbers(packed: str) -> Sequence[float]:
    data = base64.b64decode(packed)
    return struct.unpack(f"<{len(data) // 4}f", data)


def _alike(ones: list[Sequence[float]], others: list[Sequence[float]]) -> bool:
    pairs = [pair for one, other in zip(ones, others, strict=True) for pair in zip(one, other, strict=True)]
    return bool(pairs) and all(abs(one - other) < _CLOSE for one, other in pairs)


def refusal_judged(recording: Recording) -> str | None:
    """What is wrong with what the clients of every dialect are told of an error."""
    assert recording.operation is not None
    theirs = provider_codec(DIALECT_OF[recording.operation])
    failure = theirs.decode_failure(recording.status, recording.headers, recording.body, 0.0)
    if failure.kind not in _PLAUSIBLE[recording.status]:
        return f"taken for {failure.kind}"
    if not failure.message or failure.message.startswith(("{", "[", "HTTP")):
        return f"no message: {failure.message}"
    for client, operation in CLIENTS.items():
        body, kind = codec(CLIENT_DIALECT_OF[operation]).encode_failure(failure)
        told = json.loads(body) if kind.startswith("application/json") else {}
        if not _says(told):
            return f"a {client} client is told {body!r:.200}"
    return None


def _says(told: Any) -> bool:
    """Whether there is an error in it; FastAPI's is a `detail`, and passes to clients of its dialect as it is."""
    return isinstance(told, dict) and bool(told.get("error") or told.get("detail"))
