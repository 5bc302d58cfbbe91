"""What the embedded provider says: a request's JSON in, the bytes of an OpenAI-compatible answer out.

Knows the shapes of chat completions, completions, embeddings, model lists and errors; must not know
when the bytes are sent or which faults are played: that is `embedded`'s.

An answer is a function of the request and of its `Stamp`, so that a demo can be played twice and a
test can say what will come. A token is a word with the space before it: joined tokens are the text,
and counting them is honest enough for usage. An answer is kept in pieces (one per token of a stream,
two halves of a plain body), so that a fault in its middle is the same few lines for both.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

__all__ = ["Answer", "Chat", "Completion", "Embedding", "Refusal", "Refused", "Stamp", "model_list"]

_SAID_MAX = 240  # characters of the client's message that are quoted
_DIMENSIONS = 8
_DEPTH_MAX = 8  # of a schema, which may refer to itself
_ITEMS_MAX = 16

_encode = msgspec.json.encode

_Count = Annotated[int, msgspec.Meta(ge=1)]


class Stamp(msgspec.Struct, frozen=True):
    """What sets one answer apart from another of the same request."""

    provider: str
    number: int  # 1, 2, ... of the provider's answers
    created: int  # Unix time, seconds


class Refusal(msgspec.Struct, frozen=True):
    """An error answer in OpenAI's shape."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    retry_after_s: int | None = None

    @property
    def body(self) -> bytes:
        """The JSON of it."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return _encode({"error": error})


class Refused(Exception):  # noqa: N818 - an answer, not a mistake of ours
    """The request gets this refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Answer(msgspec.Struct, frozen=True):
    """A good answer: opening + pieces + closing are its whole body."""

    pieces: Sequence[bytes]
    tokens: int  # how many of them a reader waits for
    streamed: bool = False
    opening: bytes = b""
    closing: bytes = b""


class StreamOptions(msgspec.Struct, frozen=True):
    """`stream_options`."""

    include_usage: bool | None = None


class Function(msgspec.Struct, frozen=True):
    """The function of a tool, or the one a tool choice names."""

    name: str
    parameters: dict[str, Any] | None = None


class Tool(msgspec.Struct, frozen=True):
    """An offered tool, or a choice; kinds other than functions have no `function` and are not called."""

    function: Function | None = None


class Message(msgspec.Struct, frozen=True):
    """A message as far as its words go."""

    role: str
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """Its text parts as one line."""
        parts = [self.content] if isinstance(self.content, str) else self.content or []
        texts = (part if isinstance(part, str) else str(part.get("text", "")) for part in parts)
        return " ".join(" ".join(texts).split())


class Completion(msgspec.Struct, frozen=True):
    """A request of /completions."""

    model: str
    prompt: str | list[str | int]  # texts or token numbers
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: _Count | None = None

    def answer(self, stamp: Stamp) -> Answer:
        """The sentence as a text completion."""
        prompt = self.prompt if isinstance(self.prompt, str) else " ".join(map(str, self.prompt))
        tokens, finish = _capped(_sentence(stamp, self.model, "You wrote", prompt), self.max_tokens)
        usage = _usage(len(prompt.split()), len(tokens))
        head = _head(stamp, self.model, "cmpl", "text_completion")

        def choice(text: str, finish: str | None = None) -> dict[str, Any]:
            return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}

        if not self.stream:
            return _plain({**head, "choices": [choice("".join(tokens), finish)], "usage": usage}, len(tokens))
        return _stream(head, None, [choice(t) for t in tokens], choice("", finish), _asked(self.stream_options, usage))


class Chat(msgspec.Struct, frozen=True):
    """A request of /chat/completions."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Tool] | None = None
    tool_choice: str | Tool | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None

    def answer(self, stamp: Stamp) -> Answer:
        """A tool call when one was asked for, else the sentence."""
        function = self._wanted()
        said = self._say(stamp) if function is None else _call(stamp, function)
        usage = _usage(sum(len(m.text.split()) for m in self.messages), len(said.deltas))
        if not self.stream:
            head = _head(stamp, self.model, "chatcmpl", "chat.completion")
            choice = {"index": 0, "message": said.message, "logprobs": None, "finish_reason": said.finish}
            return _plain({**head, "choices": [choice], "usage": usage}, len(said.deltas))

        def part(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
            return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}

        head = _head(stamp, self.model, "chatcmpl", "chat.completion.chunk")
        deltas = [part(delta) for delta in said.deltas]
        last = part({}, said.finish)
        return _stream(head, part(said.opening), deltas, last, _asked(self.stream_options, usage))

    def _say(self, stamp: Stamp) -> _Said:
        heard = next((m for m in reversed(self.messages) if m.role in _HEARD), None)
        lead, said = (_HEARD[heard.role], heard.text) if heard else ("", "")
        text = _sentence(stamp, self.model, lead, said)
        tokens, finish = _capped(text, self.max_completion_tokens or self.max_tokens)
        role = {"role": "assistant", "refusal": None}
        deltas = [{"content": token} for token in tokens]
        return _Said({**role, "content": "".join(tokens)}, {**role, "content": ""}, deltas, finish)

    def _wanted(self) -> Function | None:
        """The tool that is to be called: chosen by the client, or named in what the user just said."""
        functions = [tool.function for tool in self.tools or () if tool.function]
        if not functions or self.tool_choice == "none":
            return None
        if self.tool_choice == "required":
            return functions[0]
        if isinstance(self.tool_choice, Tool) and self.tool_choice.function:
            name = self.tool_choice.function.name
            chosen = next((f for f in functions if f.name == name), None)
            if chosen is None:
                message = f"tool_choice names {name!r}, which is not in tools"
                raise Refused(Refusal(400, message, param="tool_choice"))
            return chosen
        last = self.messages[-1]
        return next((f for f in functions if last.role == "user" and f.name in last.text), None)


class Embedding(msgspec.Struct, frozen=True):
    """A request of /embeddings; inputs are texts or lists of token numbers."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=4096)] | None = None

    def answer(self, stamp: Stamp) -> Answer:  # noqa: ARG002 - as the other requests; vectors carry no stamp
        """One unit vector for each input, equal for equal inputs."""
        given = self.input if isinstance(self.input, list) else [self.input]
        # A list that holds a bare number is one input: its tokens.
        inputs: Sequence[Any] = [given] if any(isinstance(each, int) for each in given) else given
        vectors = [_vector(_encode(each), self.dimensions or _DIMENSIONS) for each in inputs]
        shown = [_base64(v) if self.encoding_format == "base64" else v for v in vectors]
        rows = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(shown)]
        count = sum(len(each.split() if isinstance(each, str) else each) for each in inputs)
        usage = {"prompt_tokens": count, "total_tokens": count}
        return _plain({"object": "list", "model": self.model, "data": rows, "usage": usage}, 0)


def model_list(provider: str, models: Sequence[str]) -> Answer:
    """The answer of GET /models."""
    rows = [{"id": model, "object": "model", "created": 0, "owned_by": provider} for model in models]
    return _plain({"object": "list", "data": rows}, 0)


# -- what is said

_HEARD: Mapping[str, str] = {"user": "You said", "tool": "The tool said"}


def _sentence(stamp: Stamp, model: str, lead: str, said: str) -> str:
    said = " ".join(said.split())
    if len(said) > _SAID_MAX:
        said = said[:_SAID_MAX].rstrip() + "..."
    heard = f'{lead}: "{said}".' if said else "You did not say anything yet."
    return (
        f"Hello from {stamp.provider}/{model}. {heard} I am the embedded provider: I live inside the sidecar, "
        "need neither a key nor a network, and answer every message like this."
    )


def _capped(text: str, limit: int | None) -> tuple[list[str], str]:
    """The text's tokens up to the limit, and why they end."""
    words = text.split()
    tokens = words[:1] + [" " + word for word in words[1:]]
    if limit is None or len(tokens) <= limit:
        return tokens, "stop"
    return tokens[:limit], "length"


class _Said(msgspec.Struct, frozen=True):
    """The assistant's turn: whole, and as a stream's opening and deltas."""

    message: Mapping[str, Any]
    opening: Mapping[str, Any]
    deltas: Sequence[Mapping[str, Any]]
    finish: str


def _call(stamp: Stamp, function: Function) -> _Said:
    """A call of the function; as deltas, id and name come first, then the arguments in two halves."""
    schema = function.parameters or {}
    try:
        arguments = _encode(_sample(schema, schema, 0) if schema else {}).decode()
    except (AttributeError, LookupError, TypeError):  # a keyword's value is of the wrong type
        message = f"The parameters of the tool {function.name!r} are not a JSON Schema."
        raise Refused(Refusal(400, message, param="tools")) from None
    half = len(arguments) // 2
    call = {"id": f"call_embedded_{stamp.number}", "type": "function"}
    whole = {**call, "function": {"name": function.name, "arguments": arguments}}
    named = {"index": 0, **call, "function": {"name": function.name, "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": part}} for part in (arguments[:half], arguments[half:])]
    role = {"role": "assistant", "content": None, "refusal": None}
    deltas = [{"tool_calls": [delta]} for delta in (named, *rest)]
    return _Said({**role, "tool_calls": [whole]}, role, deltas, "tool_calls")


_SAMPLES: Mapping[str, Any] = {"string": "example", "integer": 1, "number": 1.5, "boolean": True, "null": None}


def _sample(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    """The smallest value that a JSON Schema of the usual kind accepts: required properties only."""
    if not isinstance(schema, Mapping) or depth > _DEPTH_MAX:
        return None
    if isinstance(reference := schema.get("$ref"), str):
        return _sample(_resolve(root, reference), root, depth + 1)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if schema.get(key):
            return schema[key][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _sample(schema[key][0], root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: _sample(properties.get(name, {}), root, depth + 1) for name in schema.get("required") or ()}
    if kind == "array":
        return [_sample(schema.get("items", {}), root, depth + 1)] * min(schema.get("minItems", 0), _ITEMS_MAX)
    if kind in ("integer", "number") and "minimum" in schema:
        return schema["minimum"]
    return _SAMPLES.get(str(kind))


def _resolve(root: Mapping[str, Any], reference: str) -> Any:
    """What a local reference such as `#/$defs/City` points at; None when it points nowhere."""
    found: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _vector(text: bytes, dimensions: int) -> list[float]:
    words = struct.unpack(f"<{dimensions}h", hashlib.shake_256(text).digest(2 * dimensions))
    length = sum(w * w for w in words) ** 0.5 or 1.0
    return [w / length for w in words]


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


# -- how it is written


def _head(stamp: Stamp, model: str, prefix: str, kind: str) -> dict[str, Any]:
    identity = f"{prefix}-embedded-{stamp.number}"
    return {"id": identity, "object": kind, "created": stamp.created, "model": model, "system_fingerprint": None}


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _asked(options: StreamOptions | None, usage: dict[str, int]) -> dict[str, int] | None:
    return usage if options and options.include_usage else None


def _plain(value: object, tokens: int) -> Answer:
    body = _encode(value)
    half = len(body) // 2
    return Answer((body[:half], body[half:]), tokens)


def _frame(value: object) -> bytes:
    return b"data: " + _encode(value) + b"\n\n"


def _stream(
    head: dict[str, Any],
    opening: dict[str, Any] | None,
    choices: Sequence[dict[str, Any]],
    last: dict[str, Any],
    usage: dict[str, int] | None,
) -> Answer:
    """The frames of a stream. With usage asked for, every chunk has the key and one more has the numbers."""
    absent = {} if usage is None else {"usage": None}

    def chunk(choice: dict[str, Any]) -> bytes:
        return _frame({**head, "choices": [choice], **absent})

    counted = b"" if usage is None else _frame({**head, "choices": [], "usage": usage})
    return Answer(
        [chunk(choice) for choice in choices],
        len(choices),
        streamed=True,
        opening=b"" if opening is None else chunk(opening),
        closing=chunk(last) + counted + b"data: [DONE]\n\n",
    )
