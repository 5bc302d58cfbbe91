"""Every dialect in one table, how to drive its streams, and what of a value a translation must keep.

Whoever adds a dialect adds its line to `CODECS`; the laws then hold for it too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from sidecar.dialects import anthropic_messages, gemini_generate, openai_chat, openai_responses
from sidecar.dialects.dialect import Codec
from sidecar.dialects.sse import Framer, parse, split
from sidecar.model.blocks import (
    Block,
    Media,
    Opaque,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Fault, Start, Stop
from sidecar.model.hub import (
    FormatKind,
    HubRequest,
    HubResponse,
    OutputFormat,
    Reasoning,
)
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect

CODECS: dict[Dialect, Codec] = {
    Dialect.OPENAI_RESPONSES: openai_responses,
    Dialect.ANTHROPIC_MESSAGES: anthropic_messages,
    Dialect.OPENAI_CHAT: openai_chat,
    Dialect.GEMINI_GENERATE: gemini_generate,
}


# -- reading a stream


def read_stream(codec: Codec, *pieces: bytes) -> list[Event]:
    """What a stream comes to when it arrives in these pieces and then ends."""
    framer, decoder = Framer(), codec.StreamDecoder()
    events: list[Event] = []
    for frames in (*map(framer.feed, pieces), framer.end()):
        for frame in map(parse, split(frames)):
            data = (frame.data or b"").strip()
            if data == b"[DONE]":
                return [*events, *decoder.end(marked=True)]
            value = _object(data)
            if value is not None:
                events.extend(decoder.take(frame.event, value))
    return [*events, *decoder.end(marked=False)]


def write_stream(codec: Codec, events: Iterable[Event]) -> tuple[bytes, list[Any]]:
    """The stream that a client gets for these events, and what could not be said in it."""
    losses: list[Any] = []
    encoder = codec.StreamEncoder(losses, wants_usage=True)
    return b"".join([encoder.give([event]) for event in events]), losses


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def keeps_grammar(events: Sequence[Event]) -> bool:
    """Start (BlockStart Delta* BlockStop)* (Stop | Fault), or a lone Fault."""
    shape = "".join(_LETTERS[type(event)] for event in events)
    return _GRAMMAR.fullmatch(shape) is not None


_LETTERS: Mapping[type, str] = {Start: "s", BlockStart: "(", Delta: ".", BlockStop: ")", Stop: "S", Fault: "F"}
_GRAMMAR = re.compile(r"F|s(\(\.*\))*[SF]")


# -- what of a value counts


def merged(blocks: Iterable[Block]) -> dict[str, Any]:
    """Blocks by what they are: how text is cut into blocks, and what stands between calls, is no matter."""
    of: dict[type, list[Any]] = {}
    for block in blocks:
        of.setdefault(type(block), []).append(block)
    texts: list[Text] = of.get(Text, [])
    return {
        "text": "".join(text.text for text in texts if not text.refusal),
        "refusal": "".join(text.text for text in texts if text.refusal),
        "logprobs": [each for text in texts for each in text.logprobs],
        "signatures": [text.signature for text in texts if text.signature],
        "text caches": [text.cache for text in texts if text.cache],
        "thinking": _thoughts(of.get(Thinking, [])),
        "redacted": [_thought(block) for block in of.get(Thinking, []) if block.redacted],
        "calls": [_call(block) for block in of.get(ToolUse, [])],
        "results": [_result(block) for block in of.get(ToolResult, [])],
        "media": [_medium(block) for block in of.get(Media, [])],
        "opaque": len(of.get(Opaque, [])),
    }


def _thoughts(blocks: list[Thinking]) -> list[tuple[Any, ...]]:
    """Neighbours that nobody signed are one."""
    read = [block for block in blocks if not block.redacted]
    joined: list[tuple[Any, ...]] = []
    for signed, some in groupby(read, lambda block: block.signature is not None):
        blocks = list(some)
        joined += map(_thought, blocks if signed else [Thinking("".join(block.text for block in blocks))])
    return joined


def _thought(block: Thinking) -> tuple[Any, ...]:
    return block.text, block.signature, block.signer if block.signature else None


def _call(block: ToolUse) -> tuple[Any, ...]:
    return block.id, block.name, json.loads(block.arguments), block.signature, block.cache


def _result(block: ToolResult) -> tuple[Any, ...]:
    return block.id, merged(block.blocks), block.is_error, block.cache


def _medium(block: Media) -> tuple[Any, ...]:
    return block.kind, block.mime, block.url, block.inline, block.file_id, block.name, block.cache


def answered(response: HubResponse) -> dict[str, Any]:
    """What of an answer must survive being said in another way."""
    usage = response.usage or Usage()
    return {
        "id": response.id,
        "model": response.model,
        "stop": response.stop,
        "sequence": response.stop_sequence,
        "tokens": (usage.input_tokens, usage.output_tokens),
        **merged(response.blocks),
    }


def details(usage: Usage | None) -> tuple[int | None, ...]:
    """What a dialect need not know of usage."""
    usage = usage or Usage()
    return usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens


_FIELDS = (
    "model",
    "stream",
    "parallel_tools",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "user",
    "metadata",
    "store",
    "service_tier",
)


def asked(request: HubRequest) -> dict[str, Any]:
    """What of a request must survive being said in another way."""
    return {
        **{name: getattr(request, name) for name in _FIELDS},
        "store": request.store or None,  # nobody keeps an answer unasked, but for Responses
        "turns": _turns(request),
        "tools": [
            (tool.name, tool.description, tool.schema, tool.strict or None, tool.cache) for tool in request.tools
        ],
        "choice": request.tool_choice and (request.tool_choice.mode, request.tool_choice.names),
        "format": request.format and _format(request.format),
        "reasoning": _reasoning(request.reasoning or Reasoning()),
    }


def _turns(request: HubRequest) -> list[tuple[Role, list[str | None], dict[str, Any]]]:
    """Turns; neighbours of one role are one, ids are numbers in the order of the calls."""
    turns = []
    for role, messages in groupby(request.messages, lambda message: _ROLES.get(message.role, message.role)):
        some = list(messages)
        blocks = [block for message in some for block in message.blocks]
        names = [message.name for message in some if message.name]
        turns.append((role, names, merged(blocks)))
    calls = [block.id for message in request.messages for block in message.blocks if isinstance(block, ToolUse)]
    return [(role, names, _numbered(said, calls)) for role, names, said in turns]


_ROLES = {Role.DEVELOPER: Role.SYSTEM}


def _numbered(said: dict[str, Any], calls: list[str]) -> dict[str, Any]:
    pairs = {name: [(calls.index(id_), *rest) for id_, *rest in said[name]] for name in ("calls", "results")}
    return {**said, **pairs}


def _format(format_: OutputFormat) -> tuple[Any, ...] | None:
    if format_.kind is FormatKind.TEXT:
        return None
    return format_.kind, format_.name, format_.description, format_.schema, format_.strict


def _reasoning(reasoning: Reasoning) -> tuple[Any, ...]:
    enabled = False if reasoning.effort == "none" else reasoning.enabled
    effort = None if reasoning.effort == "none" else reasoning.effort
    return (enabled, effort, reasoning.budget_tokens, reasoning.adaptive, reasoning.shown, reasoning.summary)
