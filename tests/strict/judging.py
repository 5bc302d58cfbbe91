"""Recorded requests in every other dialect, judged by the vendors' own OpenAPI documents.

`steady` (the npm package `@stdy/cli`) serves such a document and refuses what it does not allow. It is found in
`.steady` beside this checkout's files, where `npm install --prefix .steady` puts it, or on the PATH.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from sidecar.config.presets import PRESETS
from sidecar.dialects.body import peek
from sidecar.dialects.dialect import Untranslatable
from sidecar.dialects.forms import form_of
from sidecar.dialects.openai_responses_pins import pinned
from sidecar.model.errors import ValidationError
from sidecar.model.hub import Wire
from sidecar.model.request import Call
from sidecar.model.topology import ModelFacts, Operation, Params
from sidecar.model.ways import CLIENT_DIALECT_OF
from tests.cassettes.crossing import CLIENTS
from tests.cassettes.recorded import RECORDINGS, all_rows, replies

__all__ = ["MISSING", "SPECS", "TARGETS", "Asked", "Verdict", "judged", "judges", "requests"]

_ROOT = Path(__file__).resolve().parents[2]
SPECS = _ROOT.parent / "shared" / "specs"
_STEADY = _ROOT / ".steady" / "node_modules" / ".bin" / "steady"
_START_S = 60.0
_AT_ONCE = 8
_OPENAI = PRESETS["openai"].quirks
_REASONS = ModelFacts(reasoning=True)
TARGETS: Mapping[str, Wire] = {
    "openai-chat": Wire("gpt-5.4", _REASONS, _OPENAI),
    "openai-responses": Wire("gpt-5.4", _REASONS, _OPENAI),
    "anthropic-messages": Wire("claude-sonnet-4-6", _REASONS),
    "gemini-generate": Wire("gemini-3.1-pro", _REASONS),
}
_PLACES: Mapping[str, tuple[str, str]] = {
    "openai-chat": ("openai.transformed.yml", "/chat/completions"),
    "openai-responses": ("openai.transformed.yml", "/responses"),
    "anthropic-messages": ("anthropic.json", "/v1/messages"),
    "gemini-generate": ("gemini.json", "/v1beta/models/gemini-3.1-pro:generateContent"),
}
_HEADERS = {
    "authorization": "Bearer k",
    "x-api-key": "k",
    "x-goog-api-key": "k",
    "anthropic-version": "2023-06-01",
    "content-type": "application/json",
}
_REDACTED = re.compile(r"(?<=\")([\w+/-]{99,})sk-redacted=*(?=\")")
_SPOKEN = {
    "openai-chat": "openai-chat",
    "openai-responses": "openai-responses",
    "anthropic": "anthropic-messages",
    "gemini": "gemini-generate",
    "gemini-stream": "gemini-generate",
}


def _missing() -> str | None:
    if not RECORDINGS.exists():
        return "the recordings are not beside this checkout"
    if not SPECS.is_dir():
        return "the vendors' OpenAPI documents are not beside this checkout"
    if _steady() is None or shutil.which("node") is None:
        return "steady is not here: npm install --prefix .steady @stdy/cli"
    return None


def _steady() -> str | None:
    return str(_STEADY) if _STEADY.exists() else shutil.which("steady")


MISSING = _missing()
"""Why nothing can be judged; None when it can."""


@dataclass(frozen=True)
class Asked:
    """One recorded request."""

    id: str
    dialect: str
    body: Mapping[str, Any]
    model: str
    stream: bool
    bound: str | None  # what of it only its own provider can answer: such a request is never translated


@dataclass(frozen=True)
class Verdict:
    """What became of a request on its way to a target; accepted where `wrong` is None."""

    id: str
    dialect: str
    target: str
    wrong: str | None


def requests() -> Sequence[Asked]:
    """Every recorded request of a conversation that its vendor took."""
    talks = {recording.id.partition("#")[0] for recording in replies() if recording.talks}
    found = []
    for row in all_rows():
        dialect, body = _SPOKEN.get(row["dialect"]), row["req"].get("json")
        if dialect is None or not isinstance(body, dict) or not body or row["id"] not in talks:
            continue
        named = re.search(r"models/([^:/?]+):", row["url"])
        model = named[1] if named else str(body.get("model") or "m")
        stream = bool(body.get("stream")) or "streamGenerateContent" in row["url"]
        bound = pinned(body) if dialect == "openai-responses" else None
        found.append(Asked(row["id"], dialect, _mended(body), model, stream, bound))
    return found


def _mended(body: Mapping[str, Any]) -> Any:
    """The body before its recorder took three letters within base64 for the start of a key: it ends before them."""
    return json.loads(_REDACTED.sub(lambda cut: cut[1][: len(cut[1]) // 4 * 4], json.dumps(body)))


def told(asked: Asked, target: str) -> bytes | str:
    """The body for the target, or why there is none."""
    operation = CLIENTS[asked.dialect]
    try:
        glance = peek(json.dumps(asked.body).encode(), operation, model=asked.model, stream=asked.stream)
        call = Call(operation, CLIENT_DIALECT_OF[operation], glance, "r")
        return form_of(call, Operation(CLIENTS[target]), TARGETS[target], Params()).body
    except (ValidationError, Untranslatable) as error:
        return f"refused by us: {error}"


@asynccontextmanager
async def judges() -> AsyncIterator[Mapping[str, str]]:
    """The URL of every target, served by its document."""
    steady = _steady()
    assert steady is not None
    ports: dict[str, int] = {}
    running: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="steady-") as folder:
        try:
            for spec in sorted({spec for spec, _ in _PLACES.values()}):
                ports[spec] = _free_port()
                command = [steady, "-q", "-p", str(ports[spec]), "--host", "127.0.0.1", str(SPECS / spec)]
                with open(Path(folder) / f"{spec}.log", "wb") as log:
                    running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
            await asyncio.gather(*map(_listening, ports.values()))
            yield {target: f"http://127.0.0.1:{ports[spec]}{path}" for target, (spec, path) in _PLACES.items()}
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(10)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def _listening(port: int) -> None:
    async with asyncio.timeout(_START_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return


async def judged(some: Iterable[Asked]) -> Sequence[Verdict]:
    """What the documents say of these requests in every dialect but their own; nothing of those that are bound."""
    async with judges() as urls, aiohttp.ClientSession(headers=_HEADERS) as session:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(asked: Asked, target: str) -> Verdict:
            body = told(asked, target)
            if isinstance(body, str):
                return Verdict(asked.id, asked.dialect, target, body)
            async with gate, session.post(urls[target], data=body) as answer:
                text = await answer.text()
                return Verdict(asked.id, asked.dialect, target, None if answer.status < 300 else _reason(text))

        free = [asked for asked in some if asked.bound is None]
        pairs = [(asked, target) for asked in free for target in _PLACES if target != asked.dialect]
        return await asyncio.gather(*(one(asked, target) for asked, target in pairs))


def _reason(text: str) -> str:
    try:
        errors = json.loads(text)["steady"]["errors"]
    except (ValueError, LookupError):
        return text[:300]
    return "; ".join(f"{error['path']}: {error['message']}" for error in errors)[:300]
