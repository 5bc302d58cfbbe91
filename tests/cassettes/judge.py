"""Whether a recorded reply comes out right: in its own dialect byte for byte, in another with all that it says."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from sidecar.dialects.forms import Whole
from sidecar.model.failures import Failure
from sidecar.model.ways import DIALECT_OF
from tests.cassettes.crossing import CLIENTS, form, read_by_sdk, streamed
from tests.cassettes.plain import STREAM, WHOLE, Said
from tests.cassettes.recorded import Recording, events_of

__all__ = ["judged", "torn_alike"]

SMALL_BYTES = 8_000


def judged(recording: Recording, client: str) -> str | None:
    """What is wrong when it is answered to a client; None when nothing is."""
    assert recording.operation is not None
    dialect = DIALECT_OF[recording.operation]
    said = STREAM[dialect](recording.events) if recording.streams else WHOLE[dialect](json.loads(recording.body))
    return same(recording, client, said) if client == dialect else across(recording, client, said)


def same(recording: Recording, client: str, said: Said) -> str | None:
    """What is wrong when it is answered to a client of its own dialect."""
    body = recording.body
    if not recording.streams:
        whole = form(client, CLIENTS[client], stream=False).whole(body, streamed=False)
        if isinstance(whole, Failure):
            return f"no answer: {whole.message}"
        if whole.body != body:
            return "its bytes changed"
        return _facts(whole.usage, said)
    tap = form(client, CLIENTS[client], stream=True).tap()
    passed = b"".join([tap.feed(body), tap.end()])
    failure = tap.verdict()
    if failure is not None:
        return f"no whole stream: {failure.message}"
    if passed != body + _lacking(body):
        return "its bytes changed"
    return _facts(tap.usage, said)


def _lacking(stream: bytes) -> bytes:
    """The empty line after the last event, where the recorder has left it out: without it no SDK would hear that."""
    return b"" if stream.endswith((b"\n\n", b"\r\n\r\n")) else b"\n"


def _facts(usage: Any, said: Said) -> str | None:
    tokens = usage and (usage.input_tokens or 0, usage.output_tokens or 0)
    return f"{tokens} tokens instead of {said.tokens}" if said.tokens and tokens != said.tokens else None


def across(recording: Recording, client: str, expected: Said) -> str | None:
    """What is wrong when it is answered to a client of another dialect."""
    try:
        arrived = _arrived(recording, client)
    except ValidationError as error:
        return f"the SDK cannot read it: {' '.join(str(error).split())[:300]}"
    if isinstance(arrived, Failure):
        return f"no answer: {arrived.message}"
    for name in ("text", "calls", "stop"):
        if getattr(arrived, name) != getattr(expected, name):
            return f"{name}: {getattr(arrived, name)!r:.200} instead of {getattr(expected, name)!r:.200}"
    if any(expected.tokens or ()) and arrived.tokens != expected.tokens:
        return f"{arrived.tokens} tokens instead of {expected.tokens}"
    return None


def _arrived(recording: Recording, client: str) -> Said | Failure:
    assert recording.operation is not None
    if recording.streams:
        passed = streamed(client, recording.operation, [recording.body])
        if isinstance(passed, Failure):
            return passed
        return STREAM[client]([read_by_sdk(client, event=True)(event) for event in events_of(passed)])
    whole = form(client, recording.operation, stream=False).whole(recording.body, streamed=False)
    if not isinstance(whole, Whole):
        return whole
    return WHOLE[client](read_by_sdk(client, event=False)(json.loads(whole.body)))


def torn_alike(recording: Recording) -> str | None:
    """What is wrong when the stream comes in other pieces, or with other ends of lines."""
    assert recording.operation is not None
    body = recording.body
    sizes = (1, 7) if len(body) < SMALL_BYTES else (61,)
    for client in CLIENTS:
        whole = streamed(client, recording.operation, [body])
        for size in sizes:
            if streamed(client, recording.operation, _sliced(body, size)) != whole:
                return f"torn into {size} bytes, a {client} client gets something else"
        if CLIENTS[client] is recording.operation or b"\r" in body:
            continue
        crlf = body.replace(b"\n", b"\r\n")
        if _heard(streamed(client, recording.operation, _sliced(crlf, sizes[0]))) != _heard(whole):
            return f"with CR LF, a {client} client gets something else"
    return None


def _heard(passed: bytes | Failure) -> object:
    """Comments go on as they came, ends of lines included."""
    return passed if isinstance(passed, Failure) else events_of(passed)


def _sliced(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]
