"""Streams of chat completions: whatever a server does, one block at a time; whatever we do, the SDK reads it."""

# ruff: noqa: E501 - one row of a table is one line
from __future__ import annotations

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk, ParsedChatCompletion

from sidecar.dialects import openai_chat
from sidecar.model.blocks import Logprob, Media, MediaKind, Opaque, Text, Thinking, ToolUse
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Fault, Start, Stop, fold, unfold
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubResponse, Loss, StopReason
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect
from tests.dialects.codecs import keeps_grammar, read_stream, write_stream

CHAT, RESPONSES, ANTHROPIC, GEMINI = (
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI_GENERATE,
)
PNG = "iVBORw0KGgo="
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
DONE = "[DONE]"


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish, **more.pop("choice", {})}
    return {"id": "a-1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [choice], **more}


def call(
    index: int | None = 0, id_: str | None = None, name: str | None = None, arguments: Any = None
) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    fields = {"index": index, "id": id_, "function": function}
    return {"tool_calls": [{key: value for key, value in fields.items() if value is not None}]}


def details(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"reasoning_details": list(entries)}


def thought(index: int = 0, format_: str = "anthropic-claude-v1", **more: str) -> dict[str, Any]:
    return {"type": "reasoning.text", "format": format_, "index": index, **more}


def sealed(data: str, index: int = 0, format_: str = "openai-responses-v1") -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "data": data, "format": format_, "index": index}


USAGE_CHUNK = {**chunk(), "choices": [], "usage": USAGE}
END = [chunk(finish="stop"), DONE]
CALLED = [chunk(finish="tool_calls"), DONE]


def events(*values: Any) -> list[Event]:
    stream = "".join(f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n" for value in values)
    found = read_stream(openai_chat, stream.encode())
    assert keeps_grammar(found), found
    return found


def whole(*values: Any) -> HubResponse:
    response = fold(events(*values))
    assert isinstance(response, HubResponse), response
    return response


ROWS: list[tuple[str, list[Any], list[Any]]] = [
    ("text", [chunk({"role": "assistant", "content": ""}), chunk({"content": "H"}), chunk({"content": "i"}), *END], [Text("Hi")]),
    ("nothing", [chunk({"role": "assistant"}), *END], []),
    ("refusal", [chunk({"refusal": "no"}), *END], [Text("no", refusal=True)]),
    ("a message for a delta", [chunk(choice={"delta": None, "message": {"content": "Hi"}}), *END], [Text("Hi")]),
    ("thoughts", [chunk({"reasoning_content": "t"}), chunk({"reasoning": "u"}), chunk({"content": "a"}), *END], [Thinking("tu"), Text("a")]),
    ("both spellings of a thought", [chunk({"reasoning": "t", "reasoning_content": "t"}), *END], [Thinking("t")]),
    ("thoughts in the content", [chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}]}), chunk({"content": "a"}), *END], [Thinking("t"), Text("a")]),
    ("thoughts again", [chunk({"content": "a"}), chunk({"reasoning": "t"}), chunk({"content": "b"}), *END], [Text("a"), Thinking("t"), Text("b")]),
    ("signed thoughts", [chunk({"reasoning": "t", **details(thought(text="t"))}), chunk(details(thought(signature="s"))), *END], [Thinking("t", "s", ANTHROPIC)]),
    ("two signed thoughts", [chunk(details(thought(text="t"), thought(signature="s"))), chunk(details(thought(1, text="u", signature="v"))), *END], [Thinking("t", "s", ANTHROPIC), Thinking("u", "v", ANTHROPIC)]),
    ("a sealed summary", [chunk(details({"type": "reasoning.summary", "summary": "t", "format": "openai-responses-v1", "index": 0})), chunk(details(sealed("s"))), *END], [Thinking("t", "s", RESPONSES)]),
    ("sealed twice", [chunk(details(thought(text="t", format_="openai-responses-v1"), sealed("s"), sealed("u"))), *END], [Thinking("t", "s", RESPONSES), Thinking("", "u", RESPONSES, redacted=True)]),
    ("sealed late", [chunk(details(thought(text="t", format_="openai-responses-v1"))), chunk({"content": "a"}), chunk(details(sealed("s"))), *END], [Thinking("t", None, RESPONSES), Text("a"), Thinking("", "s", RESPONSES, redacted=True)]),
    ("call", [chunk(call(0, "c1", "f", "")), chunk(call(0, arguments='{"a"')), chunk(call(0, arguments=":1}")), *CALLED], [ToolUse("c1", "f", '{"a":1}')]),
    ("text and call", [chunk({"content": "a"}), chunk(call(0, "c1", "f", "{}")), *CALLED], [Text("a"), ToolUse("c1", "f")]),
    ("parallel calls", [chunk(call(0, "c1", "f", "{}")), chunk(call(1, "c2", "g", "{}")), *CALLED], [ToolUse("c1", "f"), ToolUse("c2", "g")]),
    ("interleaved calls", [chunk(call(0, "c1", "f", '{"a')), chunk(call(1, "c2", "g", '{"b')), chunk(call(0, arguments='":1}')), chunk(call(1, arguments='":2}')), *CALLED], [ToolUse("c1", "f", '{"a":1}'), ToolUse("c2", "g", '{"b":2}')]),
    ("calls announced first", [chunk(call(0, "c1", "f", "")), chunk(call(1, "c2", "g", "")), chunk(call(1, arguments="[]")), chunk(call(0, arguments="{}")), *CALLED], [ToolUse("c1", "f"), ToolUse("c2", "g", "[]")]),
    ("text amid a call", [chunk(call(0, "c1", "f", '{"a')), chunk({"content": "x"}), chunk(call(0, arguments='":1}')), *CALLED], [ToolUse("c1", "f", '{"a":1}'), Text("x")]),
    ("no arguments", [chunk(call(0, "c1", "f")), *CALLED], [ToolUse("c1", "f")]),
    ("no index", [chunk(call(None, "c1", "f", '{"a"')), chunk(call(None, arguments=":1}")), chunk(call(None, "c2", "g", "{}")), *CALLED], [ToolUse("c1", "f", '{"a":1}'), ToolUse("c2", "g")]),
    ("no id", [chunk(call(0, None, "f", "{}")), chunk(call(1, None, "g", "{}")), *CALLED], [ToolUse("call_0", "f"), ToolUse("call_1", "g")]),
    ("neither", [chunk(call(None, None, "f", "{}")), chunk(call(None, None, "g", "{}")), *CALLED], [ToolUse("call_0", "f"), ToolUse("call_1", "g")]),
    ("one index for all", [chunk(call(0, "c1", "f", "{}")), chunk(call(0, "c2", "g", "{")), chunk(call(0, arguments="}")), *CALLED], [ToolUse("c1", "f"), ToolUse("c2", "g")]),
    ("the name repeated", [chunk(call(0, "c1", "f", "{")), chunk(call(0, "c1", "f", "}")), *CALLED], [ToolUse("c1", "f")]),
    ("the name late", [chunk(call(0, "c1", None, "{")), chunk(call(0, "c1", "f", "}")), *CALLED], [ToolUse("c1", "f")]),
    ("no name at all", [chunk(call(0, "c1", None, "{}")), *CALLED], [ToolUse("c1", "")]),
    ("arguments that are no text", [chunk(call(0, "c1", "f", {"a": 1})), *CALLED], [ToolUse("c1", "f", '{"a":1}')]),
    ("space after a call", [chunk(call(0, "c1", "f", "{}")), chunk({"content": "a"}), chunk(call(0, arguments="\n")), *CALLED], [ToolUse("c1", "f"), Text("a")]),
    ("the retired call", [chunk({"function_call": {"name": "f"}}), chunk({"function_call": {"arguments": "[1]"}}), *CALLED], [ToolUse("call_0", "f", "[1]")]),
    ("a signed call", [chunk({"tool_calls": [{**call(0, "c1", "f", "{}")["tool_calls"][0], "extra_content": {"google": {"thought_signature": "s"}}}]}), *CALLED], [ToolUse("c1", "f", signature="s")]),
    ("a signed text", [chunk({"content": "a"}), chunk({"extra_content": {"google": {"thought_signature": "s"}}}), *END], [Text("a", signature="s")]),
    ("likelihoods", [chunk({"content": "Hi"}, choice={"logprobs": {"content": [{"token": "Hi", "logprob": -1, "bytes": None, "top_logprobs": []}]}}), *END], [Text("Hi", logprobs=(Logprob("Hi", -1.0),))]),
    ("an image", [chunk({"images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]}), *END], [Media(MediaKind.IMAGE, "image/png", inline=PNG)]),
    ("notes", [chunk({"content": "a"}), chunk({"annotations": [{"type": "url_citation"}]}), *END], [Text("a", extra={"annotations": [{"type": "url_citation"}]})]),
    ("sound", [chunk({"audio": {"id": "a1", "data": "QU", "transcript": "H"}}), chunk({"audio": {"data": "JD", "transcript": "i"}}), *END], [Media(MediaKind.AUDIO, inline="QUJD", extra={"id": "a1", "transcript": "Hi"})]),
    ("another choice", [chunk({"content": "a"}), chunk({"content": "b"}, choice={"index": 1}), *END], [Text("a")]),
    ("a filter's preamble", [{"id": "", "model": "", "choices": [], "prompt_filter_results": []}, chunk({"content": "a"}), *END], [Text("a")]),
    ("after the end", [chunk({"content": "a"}), *END, chunk({"content": "b"})], [Text("a")]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "blocks"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_streams_are_read(values: list[Any], blocks: list[Any]) -> None:
    assert list(whole(*values).blocks) == blocks


@pytest.mark.parametrize(
    "values",
    [
        [chunk({"content": "a"}), chunk(finish="stop"), USAGE_CHUNK, DONE],
        [chunk({"content": "a"}), chunk(finish="stop", usage=USAGE), DONE],
        [chunk({"content": "a"}), chunk(finish="stop"), chunk(usage=USAGE), DONE],
        [chunk({"content": "a"}, usage={**USAGE, "completion_tokens": 1}), chunk(finish="stop", usage=USAGE)],
        [chunk({"content": "a"}), chunk(finish="stop", usage=None), USAGE_CHUNK],
    ],
)
def test_usage_is_found_wherever_it_is(values: list[Any]) -> None:
    assert whole(*values).usage == Usage(3, 4)


def test_an_answer_is_over_when_its_usage_is_known() -> None:
    decoder = openai_chat.StreamDecoder()
    assert not any(isinstance(event, Stop) for event in decoder.take(None, chunk({"content": "a"})))
    assert not any(isinstance(event, Stop) for event in decoder.take(None, chunk(finish="stop")))
    assert isinstance(decoder.take(None, USAGE_CHUNK)[-1], Stop)
    assert decoder.take(None, chunk({"content": "b"})) == ()
    assert decoder.end(marked=True) == ()


def test_content_is_given_at_once() -> None:
    decoder = openai_chat.StreamDecoder()
    assert decoder.take(None, chunk({"content": "a"}, system_fingerprint="f")) == [
        Start(CHAT, "a-1", "m", 7, extra={"~system_fingerprint": "f"}),
        BlockStart(Text("")),
        Delta("a"),
    ]
    assert decoder.take(None, chunk(call(0, "c1", "f", ""))) == [
        BlockStop(),
        BlockStart(ToolUse("c1", "f", "")),
        Delta(""),
    ]
    assert decoder.take(None, chunk(call(0, arguments='{"a'))) == [Delta('{"a')]


@pytest.mark.parametrize(
    ("values", "stop", "native"),
    [
        ([chunk({"content": "a"}), chunk(finish="length"), DONE], StopReason.LENGTH, "length"),
        ([chunk({"content": "a"}), chunk(finish="stop")], StopReason.END, "stop"),
        ([chunk({"content": "a"}), DONE], StopReason.END, None),
        ([chunk({"content": "a"}, finish=""), DONE], StopReason.END, None),
        ([chunk(call(0, "c1", "f", "{}")), *END], StopReason.TOOL_USE, "stop"),
        ([chunk({"refusal": "no"}), *END], StopReason.REFUSAL, "stop"),
        ([chunk(finish="content_filter"), DONE], StopReason.REFUSAL, "content_filter"),
    ],
)
def test_why_a_stream_ended(values: list[Any], stop: StopReason, native: str | None) -> None:
    response = whole(*values)
    assert (response.stop, response.stop_native) == (stop, native)


def test_the_sequence_that_stopped_is_told() -> None:
    response = whole(chunk({"content": "a"}), chunk(finish="stop", choice={"stop_reason": "END"}), DONE)
    assert (response.stop, response.stop_sequence) == (StopReason.STOP_SEQUENCE, "END")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], Kind.MALFORMED),
        ([DONE], Kind.MALFORMED),
        (["half a JSO"], Kind.MALFORMED),
        ([USAGE_CHUNK, DONE], Kind.MALFORMED),
        ([chunk({"content": "a"})], Kind.TRUNCATED),
        ([chunk(call(0, "c1", "f", '{"a'))], Kind.TRUNCATED),
        ([chunk({"content": "a"}), {"error": {"message": "busy", "code": 429}}], Kind.RATE_LIMITED),
        ([{"error": {"message": "busy", "type": "overloaded_error"}}], Kind.OVERLOADED),
        (
            [chunk({"content": "a"}, finish="error", choice={"error": {"message": "x", "code": 502}})],
            Kind.GATEWAY_ERROR,
        ),
    ],
)
def test_a_broken_stream_ends_in_a_fault(values: list[Any], kind: Kind) -> None:
    last = events(*values)[-1]
    assert isinstance(last, Fault)
    assert last.failure.kind is kind


def test_an_event_named_error_is_one() -> None:
    (fault,) = openai_chat.StreamDecoder().take("error", {"message": "slow down", "code": 429})
    assert isinstance(fault, Fault)
    assert fault.failure.kind is Kind.RATE_LIMITED


# -- to the client


def sdk(stream: bytes) -> ParsedChatCompletion[None]:
    """What OpenAI's own accumulator makes of it, each chunk being one by its own types."""
    state = ChatCompletionStreamState()
    *frames, last = stream.split(b"\n\n")[:-1]
    assert last == b"data: [DONE]"
    for frame in frames:
        state.handle_chunk(ChatCompletionChunk.model_validate(json.loads(frame.removeprefix(b"data: ")), strict=True))
    return state.get_final_completion()


ANSWER = HubResponse(
    ANTHROPIC,
    "msg_1",
    "claude",
    (
        Thinking("t", "s1", ANTHROPIC),
        Thinking("", "s2", ANTHROPIC, redacted=True),
        Text("Hi", logprobs=(Logprob("Hi", -0.5, (72, 105)),)),
        ToolUse("c1", "f", '{"a":1}', signature="g"),
        ToolUse("c2", "h"),
    ),
    StopReason.TOOL_USE,
    usage=Usage(10, 5, 3, 2, 1),
    created_s=7,
)


def test_the_sdk_accumulates_our_stream() -> None:
    stream, losses = write_stream(openai_chat, unfold(ANSWER))
    assert losses == []
    completion = sdk(stream)
    (choice,) = completion.choices
    assert (completion.id, completion.model, completion.created) == ("msg_1", "claude", 7)
    assert choice.message.content == "Hi"
    assert choice.finish_reason == "tool_calls"
    assert choice.logprobs is not None
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
    assert calls == [("c1", "f", '{"a":1}'), ("c2", "h", "{}")]
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (10, 5)
    assert getattr(choice.message, "reasoning_content", None) == "t"
    assert getattr(choice.message, "reasoning_details", None) == [
        {"type": "reasoning.text", "text": "t", "signature": "s1", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "s2", "format": "anthropic-claude-v1", "index": 1},
    ]


def test_a_thought_in_pieces_can_be_handed_back() -> None:
    pieces = [BlockStart(Thinking("", signer=ANTHROPIC)), Delta("t"), Delta("u"), Delta(signature="s"), BlockStop()]
    stream, _ = write_stream(openai_chat, [Start(ANTHROPIC, "a", "m"), *pieces, Stop(StopReason.END)])
    message = sdk(stream).choices[0].message.model_dump()
    assert message["reasoning_details"] == [
        {"type": "reasoning.text", "text": "tu", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
    ]
    request = openai_chat.decode_request({"messages": [message]}, "m", stream=False)
    (thought,) = request.messages[0].blocks
    assert isinstance(thought, Thinking)
    assert (thought.text, thought.signature, thought.signer) == ("tu", "s", ANTHROPIC)


def test_a_call_without_arguments_has_an_empty_object() -> None:
    started = Start(GEMINI, "a", "m")
    stream, _ = write_stream(
        openai_chat, [started, BlockStart(ToolUse("c1", "f", "")), BlockStop(), Stop(StopReason.TOOL_USE)]
    )
    calls = sdk(stream).choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.arguments == "{}"


@pytest.mark.parametrize("stop", list(StopReason))
def test_every_end_is_one_that_the_sdk_knows(stop: StopReason) -> None:
    stream, losses = write_stream(openai_chat, [Start(GEMINI, "a", "m"), Stop(stop, sequence="END")])
    assert b'"finish_reason":"' in stream
    for frame in stream.split(b"\n\n")[:-2]:
        ChatCompletionChunk.model_validate(json.loads(frame.removeprefix(b"data: ")), strict=True)
    assert bool(losses) is (stop in (StopReason.CONTEXT, StopReason.PAUSE, StopReason.OTHER))


@pytest.mark.parametrize(("wanted", "usage"), [(True, True), (False, False)])
def test_usage_goes_to_who_asked(wanted: bool, usage: bool) -> None:
    stream = openai_chat.StreamEncoder([], wants_usage=wanted).give(list(unfold(ANSWER)))
    assert (b'"choices":[],"usage":{"prompt_tokens":10' in stream) is usage


def test_a_fault_writes_nothing_and_an_error_event_ends_the_stream() -> None:
    failure = Failure(Kind.TRUNCATED, "it broke")
    assert openai_chat.StreamEncoder([], wants_usage=True).give([Fault(failure)]) == b""
    assert json.loads(openai_chat.fault_event(failure).removeprefix(b"data: "))["error"]["message"] == "it broke"


def test_another_provider_goes_on_with_the_same_answer() -> None:
    encoder = openai_chat.StreamEncoder([], wants_usage=False)
    first = encoder.give([Start(ANTHROPIC, "a", "m1"), BlockStart(Text("")), Delta("H"), BlockStop()])
    second = encoder.give(
        [Start(GEMINI, "b", "m2"), BlockStart(Text("")), Delta("i"), BlockStop(), Stop(StopReason.END)]
    )
    completion = sdk(first + second)
    assert (completion.id, completion.model, completion.choices[0].message.content) == ("a", "m1", "Hi")


def test_what_a_stream_cannot_say_is_lost_aloud() -> None:
    losses: list[Loss] = []
    encoder = openai_chat.StreamEncoder(losses, wants_usage=False)
    sound = Media(MediaKind.AUDIO, inline=PNG)
    two = [event for text in ("a", "b") for event in (BlockStart(Text("", signature="s")), Delta(text), BlockStop())]
    odd = [event for block in (Opaque(GEMINI, {"x": 1}), sound) for event in (BlockStart(block), BlockStop())]
    encoder.give([Start(GEMINI, "a", "m"), *two, *odd, Stop(StopReason.END)])
    assert [loss.path for loss in losses] == ["signature", "content[2]", "content[3]"]


def test_our_own_stream_keeps_what_else_it_told() -> None:
    values = [chunk({"content": "a"}, system_fingerprint="f", service_tier="default"), *END]
    stream, losses = write_stream(openai_chat, events(*values))
    assert losses == []
    completion = sdk(stream)
    assert (completion.system_fingerprint, completion.service_tier) == ("f", "default")
