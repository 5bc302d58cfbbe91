"""Requests, answers and garbage to try every dialect with."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from sidecar.model.blocks import (
    Block,
    CacheMark,
    Logprob,
    Media,
    MediaKind,
    Message,
    Opaque,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from sidecar.model.events import Delta, Event, unfold
from sidecar.model.hub import (
    ChoiceMode,
    FormatKind,
    HubRequest,
    HubResponse,
    OutputFormat,
    Reasoning,
    StopReason,
    Tool,
    ToolChoice,
)
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect

WORDS = st.sampled_from(["Hello", " world", "é€🙂", 'a "quoted" \\ line\n', "{}", "data: x\n\n", "\u2028"])
TEXTS = st.lists(WORDS, min_size=1, max_size=3).map("".join)
NAMES = st.sampled_from(["get_weather", "search", "f-1"])
ARGUMENTS = st.sampled_from(["{}", '{"city":"Paris"}', '{"a":{"b":[1,2.5,null,"é"]},"c":"\\n"}'])
SIGNATURES = st.sampled_from(["c2ln", "RXJDUDJSCg=="])
SCHEMAS = st.sampled_from(
    [
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"city": {"type": "string", "description": "Where"}}, "required": ["city"]},
    ]
)
SCHEMES = st.sampled_from(list(Dialect))
PNG = "iVBORw0KGgo="
CACHES = st.sampled_from([CacheMark(), CacheMark("1h")])
METADATA = st.just({"run": "7"})


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


IMAGES = st.sampled_from(
    [Media(MediaKind.IMAGE, "image/png", inline=PNG), Media(MediaKind.IMAGE, url="https://example.com/cat.png")]
)
MEDIA = st.builds(
    Media,
    st.sampled_from(list(MediaKind)),
    st.sampled_from(["image/png", "audio/wav", "application/pdf", "video/mp4", "text/plain"]),
    inline=st.just(PNG),
    name=maybe(st.just("a.pdf")),
    cache=maybe(CACHES),
) | st.builds(Media, st.just(MediaKind.DOCUMENT), file_id=st.just("file-1"))
LOGPROBS = st.lists(
    st.builds(
        Logprob,
        st.just("Hi"),
        st.just(-0.5),
        st.just((72, 105)),
        st.just((Logprob("Hi", -0.5, (72, 105)), Logprob("Ho", -1.5, (72, 111)))),
    ),
    max_size=2,
).map(tuple)


def _calls(*, signed: bool) -> st.SearchStrategy[list[ToolUse]]:
    signature = maybe(SIGNATURES) if signed else st.none()
    one = st.builds(ToolUse, st.just(""), NAMES, ARGUMENTS, signature=signature)
    return st.lists(one, max_size=3).map(
        lambda calls: [msgspec.structs.replace(call, id=f"call_{number}") for number, call in enumerate(calls)]
    )


def _thinking() -> st.SearchStrategy[Thinking]:
    unsigned = st.builds(Thinking, TEXTS)
    signed = st.builds(Thinking, TEXTS, SIGNATURES, SCHEMES)
    redacted = st.builds(Thinking, st.just(""), SIGNATURES, SCHEMES, st.just(True))
    return unsigned | signed | redacted


def _others(own: Dialect) -> st.SearchStrategy[Dialect]:
    """What comes from the dialect itself is what it can say; of the others it can be anything."""
    return st.sampled_from([dialect for dialect in Dialect if dialect is not own])


def _foreign(own: Dialect) -> st.SearchStrategy[Opaque]:
    return st.builds(Opaque, _others(own), st.just({"type": "web_search_call", "id": "ws_1"}))


USAGES = st.builds(
    Usage,
    st.integers(50, 99),
    st.integers(20, 49),
    maybe(st.integers(0, 20)),
    maybe(st.integers(0, 20)),
    maybe(st.integers(0, 19)),
)


@st.composite
def plain_answers(draw: st.DrawFn, own: Dialect) -> HubResponse:
    """Answers that every dialect can give whole."""
    calls = draw(_calls(signed=False))
    text = [Text(draw(TEXTS))] if not calls or draw(st.booleans()) else []
    stop = StopReason.TOOL_USE if calls else draw(st.sampled_from([StopReason.END, StopReason.LENGTH]))
    return HubResponse(own, "id-1", "model-1", (*text, *calls), stop, usage=draw(USAGES), created_s=7)


_STOPS = [each for each in StopReason if each is not StopReason.TOOL_USE]


@st.composite
def rich_answers(draw: st.DrawFn, own: Dialect) -> HubResponse:
    """Answers with whatever any dialect can give."""
    calls = draw(_calls(signed=True))
    refused = not calls and draw(st.booleans())
    texts = st.builds(Text, TEXTS, st.just(refused), logprobs=LOGPROBS, signature=maybe(SIGNATURES))
    others = draw(st.lists(texts | _thinking() | _foreign(own) | IMAGES, max_size=3))
    blocks = draw(st.permutations([*others, *calls]))
    said_no = any(isinstance(block, Text) and block.refusal for block in others)
    stop = StopReason.TOOL_USE if calls else StopReason.REFUSAL if said_no else draw(st.sampled_from(_STOPS))
    sequence = "END" if stop is StopReason.STOP_SEQUENCE else None
    usage = draw(maybe(USAGES))
    return HubResponse(draw(_others(own)), "id-1", "model-1", tuple(blocks), stop, None, sequence, usage, 7)


@st.composite
def chopped(draw: st.DrawFn, response: HubResponse) -> list[Event]:
    """The answer as a stream whose deltas are cut anywhere."""
    events: list[Event] = []
    for event in unfold(response):
        if isinstance(event, Delta) and len(event.text) > 1:
            cut = draw(st.integers(1, len(event.text) - 1))
            events.append(msgspec.structs.replace(event, text=event.text[:cut], signature=None))
            event = msgspec.structs.replace(event, text=event.text[cut:], logprobs=())
        events.append(event)
    return events


@st.composite
def plain_requests(draw: st.DrawFn, own: Dialect) -> HubRequest:
    """Requests that every dialect can say whole, but for what it demands beside."""
    system = draw(st.lists(st.builds(Message, st.just(Role.SYSTEM), st.builds(Text, TEXTS).map(_one)), max_size=1))
    tools = draw(st.lists(st.builds(Tool, NAMES, TEXTS, SCHEMAS), max_size=2, unique_by=lambda tool: tool.name))
    turns: list[Message] = [
        Message(Role.USER, (Text(draw(TEXTS)), *draw(st.lists(IMAGES.filter(_inline), max_size=1))))
    ]
    if tools:
        turns += _exchange(draw, tools, rich=False)
    elif draw(st.booleans()):
        turns += [Message(Role.ASSISTANT, (Text(draw(TEXTS)),)), Message(Role.USER, (Text(draw(TEXTS)),))]
    return HubRequest(
        own,
        "model-1",
        (*system, *turns),
        stream=draw(st.booleans()),
        tools=tuple(tools),
        tool_choice=draw(maybe(_choices(tools))) if tools else None,
        max_tokens=draw(maybe(st.integers(1, 4000))),
        temperature=draw(maybe(st.sampled_from([0.0, 0.5, 1.0]))),
        top_p=draw(maybe(st.just(0.9))),
    )


def _one(block: Block) -> tuple[Block, ...]:
    return (block,)


def _inline(media: Media) -> bool:
    return media.inline is not None


def _exchange(draw: st.DrawFn, tools: list[Tool], *, rich: bool) -> list[Message]:
    """Calls, their results, and a word after them."""
    called = draw(_calls(signed=rich).filter(bool))
    names = {tool.name for tool in tools}
    name = min(names)
    calls = [call if call.name in names else msgspec.structs.replace(call, name=name) for call in called]
    said = draw(st.lists(st.builds(Text, TEXTS), max_size=1))
    before = draw(st.lists(_thinking(), max_size=1)) if rich else []
    content = st.lists(st.builds(Text, TEXTS) | (IMAGES if rich else st.nothing()), max_size=1 + rich)
    results = [ToolResult(call.id, tuple(draw(content)), rich and draw(st.booleans()), call.name) for call in calls]
    after = [Text(draw(TEXTS))] if draw(st.booleans()) else []
    return [Message(Role.ASSISTANT, (*before, *said, *calls)), Message(Role.USER, (*results, *after))]


def _choices(tools: list[Tool]) -> st.SearchStrategy[ToolChoice]:
    modes = st.sampled_from([ChoiceMode.AUTO, ChoiceMode.ANY, ChoiceMode.NONE]).map(ToolChoice)
    return modes | st.just(ToolChoice(ChoiceMode.NAMED, (tools[0].name,)))


FORMATS = (
    st.just(OutputFormat(FormatKind.TEXT))
    | st.just(OutputFormat(FormatKind.JSON))
    | st.builds(OutputFormat, st.just(FormatKind.SCHEMA), maybe(NAMES), maybe(WORDS), SCHEMAS, maybe(st.booleans()))
)
REASONINGS = (
    st.builds(Reasoning, effort=st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"]))
    | st.builds(Reasoning, st.just(True), budget_tokens=st.sampled_from([1024, 2000, 8192]))
    | st.just(Reasoning(False))
    | st.just(Reasoning(True, adaptive=True))
    | st.builds(Reasoning, effort=st.just("high"), shown=st.just(True), summary=st.sampled_from(["auto", "concise"]))
)


@st.composite
def rich_requests(draw: st.DrawFn, own: Dialect) -> HubRequest:
    """Requests with whatever any dialect can say: a few things at a time."""
    tools = draw(
        st.lists(
            st.builds(Tool, NAMES, maybe(TEXTS), maybe(SCHEMAS), maybe(st.booleans()), maybe(CACHES)),
            max_size=2,
            unique_by=lambda tool: tool.name,
        )
    )
    texts = st.builds(Text, TEXTS, cache=maybe(CACHES))
    parts = st.lists(texts | IMAGES | MEDIA | _foreign(own), min_size=1, max_size=2).map(tuple)
    roles = st.sampled_from([Role.SYSTEM, Role.DEVELOPER])
    turns = draw(st.lists(st.builds(Message, roles, texts.map(_one)), max_size=2))
    turns.append(Message(Role.USER, draw(parts), name=draw(maybe(st.just("ada")))))
    if tools:
        turns += _exchange(draw, tools, rich=True)
    turns += draw(st.lists(st.builds(Message, st.just(Role.ASSISTANT), texts.map(_one)), max_size=1))
    scalars = draw(st.fixed_dictionaries({}, optional=_SCALARS))
    return HubRequest(
        draw(_others(own)),
        "model-1",
        tuple(turns),
        tools=tuple(tools),
        tool_choice=draw(maybe(_choices(tools))) if tools else None,
        parallel_tools=draw(maybe(st.booleans())) if tools else None,
        format=draw(maybe(FORMATS)),
        reasoning=draw(maybe(REASONINGS)),
        extra=draw(st.just({}) | st.just({"x_unknown": {"a": 1}})),
        **scalars,
    )


_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": st.integers(1, 4000),
    "temperature": st.sampled_from([0.0, 0.5, 1.5]),
    "top_p": st.just(0.9),
    "top_k": st.just(40),
    "stop": st.sampled_from([("END",), ("a", "b")]),
    "seed": st.just(7),
    "presence_penalty": st.just(0.5),
    "frequency_penalty": st.just(-0.5),
    "logprobs": st.booleans(),
    "top_logprobs": st.just(3),
    "user": st.just("ada"),
    "metadata": METADATA,
    "store": st.booleans(),
    "service_tier": st.sampled_from(["auto", "flex"]),
}


# -- garbage

# fmt: off
_KEYS = st.sampled_from([
    "model", "messages", "role", "content", "type", "text", "system", "name", "input", "output", "contents",
    "parts", "tools", "tool_calls", "tool_call_id", "function", "arguments", "id", "call_id", "tool_choice",
    "choices", "delta", "message", "finish_reason", "usage", "index", "error", "candidates", "functionCall",
    "functionResponse", "response", "args", "item", "part", "content_block", "thinking", "signature", "data",
    "source", "inlineData", "generationConfig", "reasoning", "stop", "response_format", "image_url", "url",
    "format"
])
# fmt: on
_SCALAR = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        -1,
        2**70,
        0.5,
        "",
        "user",
        "assistant",
        "tool",
        "text",
        "function",
        "tool_use",
        "é",
        "[DONE]",
    ]
)
JSON = st.recursive(
    _SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12
)
OBJECTS = st.dictionaries(_KEYS, JSON, max_size=5)


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """JSON with one node replaced, dropped or doubled, somewhere."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        match draw(st.integers(0, 4)):
            case 0:
                return {name: item for name, item in value.items() if name != key}
            case 1:
                return {**value, key: draw(JSON)}
            case _:
                return {**value, key: draw(mutated(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        place = draw(st.integers(0, len(value) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                return [*value[:place], *value[place + 1 :]]
            case 1:
                return [*value[:place], value[place], *value[place:]]
            case _:
                return [*value[:place], draw(mutated(value[place])), *value[place + 1 :]]
    return draw(JSON)
