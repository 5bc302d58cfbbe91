"""A request and its answer in no vendor's format: what every dialect is translated to and from.

The numbers keep the meaning of the wire (temperatures are as written); `Usage` is in the house's
convention. A field that the client did not give is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from sidecar.model.blocks import Block, CacheMark, Message
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect, ModelFacts, Quirk

__all__ = [
    "ChoiceMode",
    "FormatKind",
    "How",
    "HubRequest",
    "HubResponse",
    "Loss",
    "OutputFormat",
    "Reasoning",
    "StopReason",
    "Tool",
    "ToolChoice",
    "Wire",
]

_Extra = Mapping[str, Any]


class How(StrEnum):
    """What became of something that a dialect cannot say."""

    DROPPED = "dropped"
    CHANGED = "changed"  # said in another way that means nearly the same
    ADDED = "added"  # the dialect demands what nobody said


class Loss(msgspec.Struct, frozen=True):
    """One thing that did not survive a translation."""

    path: str  # in the client's own request or the provider's own answer: "messages[2].content[0]", "logit_bias"
    how: How
    reason: str  # for people: "anthropic-messages has no logit_bias"

    def __str__(self) -> str:
        return f"{self.path} {self.how.value}: {self.reason}"


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call, or (`builtin`) a tool that the provider runs itself."""

    name: str
    description: str | None = None
    schema: Mapping[str, Any] | None = None  # JSON Schema of the arguments
    strict: bool | None = None
    cache: CacheMark | None = None
    builtin: Mapping[str, Any] | None = None  # the whole definition, as its dialect writes it
    extra: _Extra = {}


class ChoiceMode(StrEnum):
    """Whether the model must call a tool."""

    AUTO = "auto"
    ANY = "any"  # OpenAI: required
    NONE = "none"
    NAMED = "named"


class ToolChoice(msgspec.Struct, frozen=True):
    """Which tools the model may or must call."""

    mode: ChoiceMode
    names: tuple[str, ...] = ()  # of NAMED; more than one where the dialect knows allow-lists
    extra: _Extra = {}


class FormatKind(StrEnum):
    """What the answer's text must be."""

    TEXT = "text"
    JSON = "json"  # any JSON object
    SCHEMA = "schema"


class OutputFormat(msgspec.Struct, frozen=True):
    """Structured output."""

    kind: FormatKind
    name: str | None = None
    description: str | None = None
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None
    extra: _Extra = {}


class Reasoning(msgspec.Struct, frozen=True):
    """How much the model shall think."""

    enabled: bool | None = None  # False: asked not to think at all
    effort: str | None = None  # none | minimal | low | medium | high | xhigh | max, as written
    budget_tokens: int | None = None
    adaptive: bool = False  # the model decides
    shown: bool | None = None  # the client wants to read (a summary of) the thoughts
    summary: str | None = None  # Responses: auto | concise | detailed
    extra: _Extra = {}


class HubRequest(msgspec.Struct, frozen=True):
    """What a client asks for."""

    dialect: Dialect  # that it was asked in
    model: str
    messages: tuple[Message, ...]  # system messages in their places
    stream: bool = False
    wants_usage: bool = False  # of a stream; dialects that always tell it say True
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    format: OutputFormat | None = None
    reasoning: Reasoning | None = None
    max_tokens: int | None = None  # of the answer
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    choices: int | None = None  # how many answers; more than one cannot cross dialects
    user: str | None = None  # who asks, for the vendor's abuse detection
    metadata: Mapping[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    extra: _Extra = {}  # every other top-level field, as written


class StopReason(StrEnum):
    """Why an answer ended."""

    END = "end"
    LENGTH = "length"  # the answer's own limit
    CONTEXT = "context"  # the model's window is full
    STOP_SEQUENCE = "stop_sequence"
    TOOL_USE = "tool_use"
    REFUSAL = "refusal"  # by the model, or a filter
    PAUSE = "pause"  # a built-in tool takes long; ask to go on
    OTHER = "other"


class HubResponse(msgspec.Struct, frozen=True):
    """One whole answer."""

    dialect: Dialect  # that it was given in
    id: str
    model: str
    blocks: tuple[Block, ...]
    stop: StopReason
    stop_native: str | None = None  # in the words of its dialect
    stop_sequence: str | None = None  # which one
    usage: Usage | None = None
    created_s: int | None = None  # seconds since 1970
    extra: _Extra = {}


class Wire(msgspec.Struct, frozen=True):
    """What an encoder of requests must know of its target."""

    model: str  # the provider's own name of it
    facts: ModelFacts = ModelFacts()
    quirks: frozenset[Quirk] = frozenset()
