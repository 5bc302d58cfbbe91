"""Whether a recorded reply comes out right: in its own dialect byte for byte, in another with all that it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sidecar.dialects.forms import Whole
from sidecar.model.failures import Failure
from tests.cassettes.crossing import CLIENTS, Recording, events_of, form, read_by_sdk, streamed
from tests.cassettes.plain import STREAM, WHOLE, Said

__all__ = ["EXCEPTIONS", "judged", "torn_alike"]

_OTHER = "the answer of another service, recorded under this dialect's address"
_SEVERAL = "several answers, recorded one after the other as one"
EXCEPTIONS: Mapping[str, str] = {
    "2a674b418a5f60a0": _OTHER,
    "1135bef62a4cfe0a": _OTHER,
    "038ef0c03fe1d6ce": _OTHER,
    "1301383b9895c59e": _OTHER,
    "35e52bce7dc04ff3": _OTHER,
    "2b3879e6331a7dbe": _OTHER,
    "3e5ebbc70649d050": _OTHER,
    "34d62344e622d448": _OTHER,
    "0bdeed7713f3fd94": _OTHER,
    "283d8acb6e510475": _OTHER,
    "268497c1919c1f10": _OTHER,
    "055e2f1fe89ac1c7": _SEVERAL,
    "115556e587983707": _SEVERAL,
    "3030fb18b15e3eac": _SEVERAL,
    "230eb082cc82a2a6": _SEVERAL,
}

SMALL_BYTES = 8_000


def said_of(recording: Recording) -> Said:
    """The recording, read plainly."""
    if recording.streams:
        return STREAM[recording.dialect](events_of(recording.body))
    return WHOLE[recording.dialect](json.loads(recording.body))


def judged(recording: Recording, client: str) -> str | None:
    """What is wrong when it is answered to a client; None when nothing is."""
    try:
        expected = said_of(recording)
    except (LookupError, TypeError, StopIteration) as error:
        return f"the recording is no answer of its dialect: {error!r}"
    return same(recording, expected) if client == recording.dialect else across(recording, client, expected)


def same(recording: Recording, said: Said) -> str | None:
    """What is wrong when it is answered to a client of its own dialect."""
    own, body = recording.dialect, recording.body
    if not recording.streams:
        whole = form(own, own, stream=False).whole(body, streamed=False)
        if isinstance(whole, Failure):
            return f"no answer: {whole.message}"
        if whole.body != body:
            return "its bytes changed"
        return _facts(whole.usage, said)
    tap = form(own, own, stream=True).tap()
    passed = b"".join([tap.feed(body), tap.end()])
    failure = tap.verdict()
    if failure is not None:
        return f"no whole stream: {failure.message}"
    if passed != body:
        return "its bytes changed"
    return _facts(tap.usage, said)


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
    if recording.streams:
        passed = streamed(client, recording.dialect, [recording.body])
        if isinstance(passed, Failure):
            return passed
        return STREAM[client]([read_by_sdk(client, event=True)(event) for event in events_of(passed)])
    whole = form(client, recording.dialect, stream=False).whole(recording.body, streamed=False)
    if not isinstance(whole, Whole):
        return whole
    return WHOLE[client](read_by_sdk(client, event=False)(json.loads(whole.body)))


def torn_alike(recording: Recording) -> str | None:
    """What is wrong when the stream comes in other pieces, or with other ends of lines."""
    body = recording.body
    sizes = (1, 7) if len(body) < SMALL_BYTES else (61,)
    for client in CLIENTS:
        whole = streamed(client, recording.dialect, [body])
        for size in sizes:
            if streamed(client, recording.dialect, _sliced(body, size)) != whole:
                return f"torn into {size} bytes, a {client} client gets something else"
        if client == recording.dialect or b"\r" in body:
            continue
        crlf = body.replace(b"\n", b"\r\n")
        if _heard(streamed(client, recording.dialect, _sliced(crlf, sizes[0]))) != _heard(whole):
            return f"with CR LF, a {client} client gets something else"
    return None


def _heard(passed: bytes | Failure) -> object:
    """Comments go on as they came, ends of lines included."""
    return passed if isinstance(passed, Failure) else events_of(passed)


def _sliced(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]
