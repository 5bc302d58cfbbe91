"""Four vendors on one real socket, each in its own wire: what they are asked is kept, and answered as asked.

They are written from the vendors' documentation and share nothing with the code under test: each request is read
by `Asked`, strictly (a result without its call is an error here as it is there), and answered by what it holds:
results are told of, tools are called, a schema is filled in, a picture is seen, thoughts are thought. A last text
that begins with "fail" gets the vendor's own error, with "break" a stream that breaks in the middle.

Sources (read 2026-11): platform.openai.com/docs/api-reference/chat and /responses;
openrouter.ai/docs/use-cases/reasoning-tokens; docs.anthropic.com/en/api/messages and /messages-streaming;
ai.google.dev/api/generate-content.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

__all__ = [
    "ANSWERS",
    "CACHED",
    "CALLS",
    "CONFIG",
    "INPUT",
    "OUTPUT",
    "SIGNATURES",
    "THOUGHT",
    "Asked",
    "Said",
    "Vendors",
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
# Each as a provider and a route of its name; `at` is where they are.
CONFIG = """
resilience: {{max_attempts: 1}}
health: {{mode: "off"}}
providers:
  chat: {{type: openrouter, dialects: [openai-chat], base_url: "{at}/chat", api_key: "sk-or-provider-key"}}
  responses: {{type: openai, dialects: [openai-responses], base_url: "{at}/responses", api_key: "sk-provider-key"}}
  messages: {{type: anthropic, base_url: "{at}/messages", api_key: "sk-ant-provider-key"}}
  gemini: {{type: gemini, base_url: "{at}/gemini", api_key: "AIza-provider-key"}}
routes:
  chat: {{chain: [chat/openai/gpt-5.4]}}
  responses: {{chain: [responses/gpt-5.4]}}
  messages: {{chain: [messages/claude-sonnet-4-6]}}
  gemini: {{chain: [gemini/gemini-3.1-pro]}}
"""
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


class Vendors:
    """All four; they live as long as the `async with`. `asked` holds every request, newest last."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.faults: list[str] = []  # what could not be read
        app = web.Application(client_max_size=1 << 26)
        for name, (path, read, answer, wrong) in _WIRES.items():
            app.router.add_post(f"/{name}{path}", self._serve(name, read, answer, wrong))
        self._runner = web.AppRunner(app)
        self.port = 0

    async def __aenter__(self) -> Vendors:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def _serve(
        self, name: str, read: _Read, answer: _Answer, wrong: Callable[[int, str], Any]
    ) -> Callable[[web.Request], Any]:
        async def serve(request: web.Request) -> web.StreamResponse:
            body = json.loads(await request.read())
            model, _, verb = request.match_info.get("rest", "").partition(":")
            streams = verb.startswith("stream") if verb else bool(body.get("stream"))
            asked = Asked(name, body, request.headers, streams, model or body["model"])
            try:
                read(asked)
            except (LookupError, ValueError, TypeError, AttributeError) as error:
                self.faults.append(f"{name}: {error!r} in {body}")
                return web.json_response(wrong(400, repr(error)), status=400)
            self.asked.append(asked)
            last = asked.texts[-1][1] if asked.texts else ""
            if last.startswith("fail"):
                status = int(last.split()[1])
                return web.json_response(wrong(status, f"{name} says {status}"), status=status)
            said = said_to(asked)
            if not asked.stream:
                return web.json_response(answer.whole(asked, said))
            return await _streamed(request, answer.frames(asked, said), broken=last.startswith("break"), wrong=wrong)

        return serve


async def _streamed(
    request: web.Request, frames: Iterator[bytes], *, broken: bool, wrong: Callable[[int, str], Any]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for frame in frames:
        await response.write(frame)
        if broken and b"Hello" in frame:
            error = json.dumps(wrong(500, "it broke in the middle")).encode()
            await response.write(b"event: error\ndata: " + error + b"\n\n")
            break
    await response.write_eof()
    return response


def _data(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _event(value: dict[str, Any]) -> bytes:
    return f"event: {value['type']}\n".encode() + _data(value)


def _pieces(text: str) -> list[str]:
    """As vendors cut text: anywhere."""
    return [text[at : at + 5] for at in range(0, len(text), 5)]


def _base64_of(url: str) -> tuple[str, str]:
    head, data = url.removeprefix("data:").split(";base64,")
    return head, data


class _Answer:
    """How one vendor answers: whole and in frames."""

    def __init__(
        self, whole: Callable[[Asked, Said], dict[str, Any]], frames: Callable[[Asked, Said], Iterator[bytes]]
    ) -> None:
        self.whole, self.frames = whole, frames


_Read = Callable[[Asked], None]


# -- OpenAI's chat completions, with OpenRouter's thoughts


def _read_chat(asked: Asked) -> None:
    body = asked.body
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        texts = [part["text"] for part in parts if part["type"] == "text"]
        asked.images += [_base64_of(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
        if role == "tool":
            asked.answers(message["tool_call_id"], "".join(texts))
        elif role in ("system", "developer"):
            asked.system += "".join(texts)
        else:
            asked.texts += [(role, text) for text in texts]
        for call in message.get("tool_calls") or ():
            assert call["type"] == "function"
            asked.calls[call["id"]] = call["function"]["name"], json.loads(call["function"]["arguments"])
        for detail in message.get("reasoning_details") or ():
            assert detail["format"].startswith(_CLAUDES)
            asked.thoughts.append((detail["text"], detail.get("signature")))
    for tool in body.get("tools") or ():
        asked.tools[tool["function"]["name"]] = tool["function"]["parameters"]
    format_ = body.get("response_format") or {}
    asked.schema = format_["json_schema"]["schema"] if format_.get("type") == "json_schema" else None
    reasoning = body.get("reasoning") or {}
    asked.thinks = bool(body.get("reasoning_effort") or reasoning.get("effort") or reasoning.get("max_tokens"))
    asked.max_tokens = body.get("max_tokens") or body.get("max_completion_tokens")


_CLAUDES = "anthropic-claude-v1"  # whose thoughts OpenRouter hands on
_CHAT_USAGE = {
    "prompt_tokens": INPUT,
    "completion_tokens": OUTPUT,
    "total_tokens": INPUT + OUTPUT,
    "prompt_tokens_details": {"cached_tokens": CACHED},
}


def _chat_thoughts(said: Said) -> dict[str, Any]:
    if not said.thought:
        return {}
    detail = {"type": "reasoning.text", "text": said.thought, "signature": SIGNATURES["chat"], "index": 0}
    return {"reasoning": said.thought, "reasoning_details": [{**detail, "format": _CLAUDES, "id": None}]}


def _chat_call(number: int, name: str, arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call_{number}", "type": "function", "function": function}


def _chat_whole(asked: Asked, said: Said) -> dict[str, Any]:
    message = {"role": "assistant", "content": said.text or None, "refusal": None, **_chat_thoughts(said)}
    if said.calls:
        message["tool_calls"] = [_chat_call(number, *call) for number, call in enumerate(said.calls)]
    finish = "tool_calls" if said.calls else "stop"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_760_000_000, "model": asked.model}
    return {**head, "choices": [choice], "usage": _CHAT_USAGE}


def _chat_frames(asked: Asked, said: Said) -> Iterator[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_760_000_000, "model": asked.model}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return _data({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield b": OPENROUTER PROCESSING\n\n"
    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(said.thought):
        detail = {"type": "reasoning.text", "text": piece, "index": 0, "format": _CLAUDES}
        yield chunk({"reasoning": piece, "reasoning_details": [detail]})
    if said.thought:
        signed = {"type": "reasoning.text", "signature": SIGNATURES["chat"], "index": 0, "format": _CLAUDES}
        yield chunk({"reasoning_details": [signed]})
    for piece in _pieces(said.text):
        yield chunk({"content": piece})
    for number, call in enumerate(said.calls):
        whole = _chat_call(number, *call)
        yield chunk({"tool_calls": [{"index": number, **whole, "function": {"name": call[0], "arguments": ""}}]})
        for piece in _pieces(whole["function"]["arguments"]):
            yield chunk({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls" if said.calls else "stop")
    if (asked.body.get("stream_options") or {}).get("include_usage"):
        yield _data({**head, "choices": [], "usage": _CHAT_USAGE})
    yield b"data: [DONE]\n\n"


_OPENAI_TYPES = {400: "invalid_request_error", 429: "rate_limit_error", 500: "server_error"}


def _openai_wrong(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": _OPENAI_TYPES[status], "param": None, "code": None}}


# -- OpenAI's Responses


def _read_responses(asked: Asked) -> None:
    body = asked.body
    asked.system = body.get("instructions") or ""
    items = [{"role": "user", "content": body["input"]}] if isinstance(body["input"], str) else body["input"]
    for item in items:
        kind = item.get("type", "message")
        if kind == "message":
            _read_responses_message(asked, item)
        elif kind == "function_call":
            asked.calls[item["call_id"]] = item["name"], json.loads(item["arguments"])
        elif kind == "function_call_output":
            output = item["output"]
            texts = [output] if isinstance(output, str) else [part["text"] for part in output]
            asked.answers(item["call_id"], "".join(texts))
        elif kind == "reasoning":
            text = "".join(part["text"] for part in item["summary"])
            asked.thoughts.append((text, item.get("encrypted_content")))
        else:
            raise ValueError(f"unknown item {kind}")
    for tool in body.get("tools") or ():
        assert tool["type"] == "function"
        asked.tools[tool["name"]] = tool["parameters"]
    format_ = (body.get("text") or {}).get("format") or {}
    asked.schema = format_["schema"] if format_.get("type") == "json_schema" else None
    reasoning = body.get("reasoning") or {}
    asked.thinks = reasoning.get("effort") not in (None, "none") or bool(reasoning.get("summary"))
    asked.max_tokens = body.get("max_output_tokens")


def _read_responses_message(asked: Asked, item: dict[str, Any]) -> None:
    role, content = item["role"], item["content"]
    for part in [{"type": "input_text", "text": content}] if isinstance(content, str) else content:
        if part["type"] == "input_image":
            asked.images.append(_base64_of(part["image_url"]))
        elif role in ("system", "developer"):
            asked.system += part["text"]
        else:
            assert part["type"] == ("output_text" if role == "assistant" else "input_text") or isinstance(content, str)
            asked.texts.append((role, part["text"]))


def _responses_items(said: Said) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if said.thought:
        summary = [{"type": "summary_text", "text": said.thought}]
        items.append({"type": "reasoning", "id": "rs_1", "summary": summary})
        items[-1]["encrypted_content"] = SIGNATURES["responses"]
    if said.text:
        part = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
        items.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]})
    for number, (name, arguments) in enumerate(said.calls):
        call = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "status": "completed"}
        items.append({**call, "name": name, "arguments": json.dumps(arguments)})
    return items


def _responses_whole(asked: Asked, said: Said, *, status: str = "completed") -> dict[str, Any]:
    usage = {
        "input_tokens": INPUT,
        "input_tokens_details": {"cached_tokens": CACHED},
        "output_tokens": OUTPUT,
        "output_tokens_details": {"reasoning_tokens": THOUGHT_TOKENS if said.thought else 0},
        "total_tokens": INPUT + OUTPUT,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.body.get("instructions"),
        "model": asked.model,
        "output": _responses_items(said) if status == "completed" else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": asked.body.get("tools") or [],
        "usage": usage if status == "completed" else None,
    }


def _responses_frames(asked: Asked, said: Said) -> Iterator[bytes]:
    for number, event in enumerate(_responses_events(asked, said)):
        yield _event({**event, "sequence_number": number})


def _responses_events(asked: Asked, said: Said) -> Iterator[dict[str, Any]]:
    begun = _responses_whole(asked, said, status="in_progress")
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for place, item in enumerate(_responses_items(said)):
        at = {"item_id": item["id"], "output_index": place}
        bare = {**item, "status": "in_progress"}
        match item["type"]:
            case "reasoning":
                bare = {"type": "reasoning", "id": item["id"], "summary": []}
                inner = list(_summary_events(item, {**at, "summary_index": 0}))
            case "message":
                bare["content"] = []
                inner = list(_text_events(item, {**at, "content_index": 0}))
            case _:
                bare["arguments"] = ""
                inner = list(_argument_events(item, at))
        yield {"type": "response.output_item.added", "output_index": place, "item": bare}
        yield from inner
        yield {"type": "response.output_item.done", "output_index": place, "item": item}
    yield {"type": "response.completed", "response": _responses_whole(asked, said)}


def _summary_events(item: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    (part,) = item["summary"]
    yield {"type": "response.reasoning_summary_part.added", **at, "part": {"type": "summary_text", "text": ""}}
    for piece in _pieces(part["text"]):
        yield {"type": "response.reasoning_summary_text.delta", **at, "delta": piece}
    yield {"type": "response.reasoning_summary_text.done", **at, "text": part["text"]}
    yield {"type": "response.reasoning_summary_part.done", **at, "part": part}


def _text_events(item: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    (part,) = item["content"]
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
    for piece in _pieces(part["text"]):
        yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": part}


def _argument_events(item: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for piece in _pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
    yield {"type": "response.function_call_arguments.done", **at, "arguments": item["arguments"]}


# -- Anthropic's Messages


def _read_messages(asked: Asked) -> None:
    body = asked.body
    assert asked.headers["anthropic-version"]
    system = body.get("system") or ""
    asked.system = system if isinstance(system, str) else "".join(part["text"] for part in system)
    open_calls: set[str] = set()
    for message in body["messages"]:
        role, content = message["role"], message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        given = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if open_calls - given:
            raise ValueError(f"calls without their results in the next message: {open_calls - given}")
        kinds = [block["type"] for block in blocks]
        assert kinds == sorted(kinds, key=lambda kind: kind != "tool_result"), "results come first"
        open_calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
        for block in blocks:
            _read_block(asked, role, block)
    for tool in body.get("tools") or ():
        asked.tools[tool["name"]] = tool["input_schema"]
    asked.schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    asked.thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    asked.max_tokens = body["max_tokens"]


def _read_block(asked: Asked, role: str, block: dict[str, Any]) -> None:
    match block["type"]:
        case "text":
            assert block["text"], "text content blocks must be non-empty"
            asked.texts.append((role, block["text"]))
        case "image":
            assert block["source"]["type"] == "base64"
            asked.images.append((block["source"]["media_type"], block["source"]["data"]))
        case "tool_use":
            asked.calls[block["id"]] = block["name"], block["input"]
        case "tool_result":
            content = block.get("content") or ""
            texts = [content] if isinstance(content, str) else [part["text"] for part in content]
            asked.answers(block["tool_use_id"], "".join(texts))
        case "thinking":
            asked.thoughts.append((block["thinking"], block["signature"]))
        case other:
            raise ValueError(f"unknown block {other}")


_MESSAGES_USAGE = {
    "input_tokens": INPUT - CACHED,
    "cache_read_input_tokens": CACHED,
    "cache_creation_input_tokens": 0,
    "output_tokens": OUTPUT,
}


def _messages_blocks(said: Said) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if said.thought:
        blocks.append({"type": "thinking", "thinking": said.thought, "signature": SIGNATURES["messages"]})
    if said.text:
        blocks.append({"type": "text", "text": said.text})
    for number, (name, arguments) in enumerate(said.calls):
        blocks.append({"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": arguments})
    return blocks


def _messages_whole(asked: Asked, said: Said) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": _messages_blocks(said),
        "stop_reason": "tool_use" if said.calls else "end_turn",
        "stop_sequence": None,
        "usage": _MESSAGES_USAGE,
    }


def _messages_frames(asked: Asked, said: Said) -> Iterator[bytes]:
    whole = _messages_whole(asked, said)
    usage = {**_MESSAGES_USAGE, "output_tokens": 1}
    yield _event({"type": "message_start", "message": {**whole, "content": [], "stop_reason": None, "usage": usage}})
    yield _event({"type": "ping"})
    for index, block in enumerate(whole["content"]):
        match block["type"]:
            case "thinking":
                start: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(block["thinking"])]
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
            case "text":
                start = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])]
            case _:
                start = {**block, "input": {}}
                pieces = ["", *_pieces(json.dumps(block["input"]))]
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        yield _event({"type": "content_block_start", "index": index, "content_block": start})
        for delta in deltas:
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": stop, "usage": {"output_tokens": OUTPUT}})
    yield _event({"type": "message_stop"})


_MESSAGES_TYPES = {400: "invalid_request_error", 429: "rate_limit_error", 500: "api_error"}


def _messages_wrong(status: int, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": _MESSAGES_TYPES[status], "message": message}, "request_id": "req_1"}


# -- Gemini


def _camel(value: Any) -> Any:
    """Google takes both spellings, and its own SDK sends a mixture."""
    if isinstance(value, list):
        return [_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {_UNDERSCORE.sub(lambda found: found[1].upper(), name): _camel(each) for name, each in value.items()}


_UNDERSCORE = re.compile(r"_([a-z])")


def _read_gemini(asked: Asked) -> None:
    body = _camel(asked.body)
    asked.system = "".join(part["text"] for part in (body.get("systemInstruction") or {"parts": []})["parts"])
    waiting: list[tuple[str, str]] = []  # (id, name) of the turn before
    for content in body["contents"]:
        role = {"user": "user", "model": "assistant"}[content["role"]]
        calls: list[tuple[str, str]] = []
        for part in content["parts"]:
            if part.get("thought"):
                asked.thoughts.append((part["text"], part.get("thoughtSignature")))
            elif "text" in part:
                asked.texts.append((role, part["text"]))
                if part.get("thoughtSignature"):
                    asked.thoughts.append(("", part["thoughtSignature"]))
            elif "inlineData" in part:
                data = part["inlineData"]["data"].replace("-", "+").replace("_", "/")  # Google takes both alphabets
                asked.images.append((part["inlineData"]["mimeType"], data))
            elif "functionCall" in part:
                call = part["functionCall"]
                id_ = call.get("id") or f"{len(asked.calls)}"
                asked.calls[id_] = call["name"], call.get("args", {})
                calls.append((id_, call["name"]))
            elif "functionResponse" in part:
                response = part["functionResponse"]
                id_ = response.get("id") or next(id_ for id_, name in waiting if name == response["name"])
                waiting.remove((id_, response["name"]))
                asked.answers(id_, _text_of(response["response"]))
            else:
                raise ValueError(f"unknown part {part}")
        if waiting:
            raise ValueError(f"calls without their results in the next turn: {waiting}")
        waiting = calls
    for tool in body.get("tools") or ():
        for function in tool["functionDeclarations"]:
            schema = function.get("parametersJsonSchema") or function.get("parameters")
            asked.tools[function["name"]] = schema
    config = body.get("generationConfig") or {}
    asked.schema = config.get("responseJsonSchema") or config.get("responseSchema")
    thinking = config.get("thinkingConfig") or {}
    asked.thinks = bool(
        thinking.get("includeThoughts") or thinking.get("thinkingLevel") or thinking.get("thinkingBudget")
    )
    asked.max_tokens = config.get("maxOutputTokens")


def _text_of(response: Any) -> str:
    """A function's answer is an object; whatever its field is called."""
    return "".join(value if isinstance(value, str) else json.dumps(value) for value in response.values())


def _gemini_parts(said: Said) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if said.thought:
        parts.append({"text": said.thought, "thought": True})
    if said.text:
        parts.append({"text": said.text})
    parts += [{"functionCall": {"name": name, "args": arguments}} for name, arguments in said.calls]
    if said.thought or said.calls:
        parts[1 if said.thought else 0]["thoughtSignature"] = SIGNATURES["gemini"]
    return parts


def _gemini_usage(said: Said) -> dict[str, int]:
    thoughts = THOUGHT_TOKENS if said.thought else 0
    usage = {"promptTokenCount": INPUT, "cachedContentTokenCount": CACHED, "candidatesTokenCount": OUTPUT - thoughts}
    return {**usage, "totalTokenCount": INPUT + OUTPUT, **({"thoughtsTokenCount": thoughts} if thoughts else {})}


def _gemini_chunk(asked: Asked, parts: list[dict[str, Any]], **ending: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    usage = {"usageMetadata": ending.pop("usage")} if "usage" in ending else {}
    candidate |= ending
    return {"candidates": [candidate], **usage, "modelVersion": asked.model, "responseId": "r1"}


def _gemini_whole(asked: Asked, said: Said) -> dict[str, Any]:
    return _gemini_chunk(asked, _gemini_parts(said), finishReason="STOP", usage=_gemini_usage(said))


def _gemini_frames(asked: Asked, said: Said) -> Iterator[bytes]:
    for part in _gemini_parts(said):
        if "text" not in part:
            yield _data(_gemini_chunk(asked, [part]))
            continue
        rest = {name: value for name, value in part.items() if name not in ("text", "thoughtSignature")}
        for piece in _pieces(part["text"]):
            yield _data(_gemini_chunk(asked, [{"text": piece, **rest}]))
        if "thoughtSignature" in part:
            yield _data(_gemini_chunk(asked, [{"text": "", "thoughtSignature": part["thoughtSignature"]}]))
    yield _data(_gemini_chunk(asked, [{"text": ""}], finishReason="STOP", usage=_gemini_usage(said)))


_GEMINI_STATUSES = {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}


def _gemini_wrong(status: int, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": _GEMINI_STATUSES[status]}}


_WIRES: Mapping[str, tuple[str, _Read, _Answer, Callable[[int, str], Any]]] = {
    "chat": ("/chat/completions", _read_chat, _Answer(_chat_whole, _chat_frames), _openai_wrong),
    "responses": ("/responses", _read_responses, _Answer(_responses_whole, _responses_frames), _openai_wrong),
    "messages": ("/v1/messages", _read_messages, _Answer(_messages_whole, _messages_frames), _messages_wrong),
    "gemini": (
        "/v1beta/models/{rest}",
        _read_gemini,
        _Answer(_gemini_whole, _gemini_frames),
        _gemini_wrong,
    ),
}
