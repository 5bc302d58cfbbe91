"""What a request says and what it is answered, whatever the wire; and what all wires are written with."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "ANSWERS",
    "CACHED",
    "CALLS",
    "INPUT",
    "OUTPUT",
    "SIGNATURES",
    "THOUGHT",
    "THOUGHT_TOKENS",
    "Answer",
    "Asked",
    "Read",
    "Said",
    "base64_of",
    "data",
    "event",
    "pieces",
    "said_to",
]

INPUT, CACHED, OUTPUT, THOUGHT_TOKENS = 20, 5, 7, 3
THOUGHT = "Let me think about it."
SIGNATURES = {
    name: base64.b64encode(f"signed by {name}".encode()).decode()
    for name in ("chat", "responses", "messages", "gemini")
}
ANSWERS = {
    "plain": "Hello, wörld!",
    "image": "A very small picture.",
    "structured": '{"city":"Paris","degrees":18}',
    "results": "18 in Paris, 24 in Rome.",
    "thinking": "I thought, so here I am.",
}
CALLS = (("weather", {"city": "Paris"}), ("weather", {"city": "Rome"}))


@dataclass
class Asked:
    """What a request says, whatever the wire."""

    vendor: str
    body: dict[str, Any]
    headers: Mapping[str, str]
    stream: bool
    model: str
    system: str = ""
    texts: list[tuple[str, str]] = field(default_factory=list)  # (role, text)
    images: list[tuple[str, str]] = field(default_factory=list)  # (type, base64)
    tools: dict[str, Any] = field(default_factory=dict)  # schemas by name
    calls: dict[str, tuple[str, Any]] = field(default_factory=dict)  # (name, arguments) by id
    results: list[tuple[str, str, str]] = field(default_factory=list)  # (id of the call, name, text)
    schema: Any = None
    thinks: bool = False
    thoughts: list[tuple[str, str | None]] = field(default_factory=list)  # (text, signature)
    max_tokens: int | None = None

    def answers(self, id_: str, text: str) -> None:
        """A result: of a call that was made before."""
        if id_ not in self.calls:
            raise ValueError(f"no call {id_!r} before its result")
        self.results.append((id_, self.calls[id_][0], text))


@dataclass
class Said:
    """An answer, whatever the wire."""

    text: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    thought: str = ""


def said_to(asked: Asked) -> Said:
    if asked.results:
        return Said(ANSWERS["results"])
    if asked.tools:
        return Said(calls=CALLS)
    if asked.schema is not None:
        return Said(ANSWERS["structured"])
    if asked.images:
        return Said(ANSWERS["image"])
    if asked.thinks:
        return Said(ANSWERS["thinking"], thought=THOUGHT)
    return Said(ANSWERS["plain"])


def data(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def event(value: dict[str, Any]) -> bytes:
    return f"event: {value['type']}\n".encode() + data(value)


def pieces(text: str) -> list[str]:
    """As vendors cut text: anywhere."""
    return [text[at : at + 5] for at in range(0, len(text), 5)]


def base64_of(url: str) -> tuple[str, str]:
    head, data = url.removeprefix("data:").split(";base64,")
    return head, data


class Answer:
    """How one vendor answers: whole and in frames."""

    def __init__(
        self, whole: Callable[[Asked, Said], dict[str, Any]], frames: Callable[[Asked, Said], Iterator[bytes]]
    ) -> None:
        self.whole, self.frames = whole, frames


Read = Callable[[Asked], None]
