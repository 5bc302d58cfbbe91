"""OpenAI's two wires, as its documentation has them; chat with OpenRouter's thoughts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.matrix.asked import (
    CACHED,
    INPUT,
    OUTPUT,
    SIGNATURES,
    THOUGHT_TOKENS,
    Answer,
    Asked,
    Said,
    base64_of,
    data,
    event,
    pieces,
)

__all__ = ["CHAT", "RESPONSES", "openai_wrong", "read_chat", "read_responses"]

# -- OpenAI's chat completions, with OpenRouter's thoughts


def read_chat(asked: Asked) -> None:
    body = asked.body
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        texts = [part["text"] for part in parts if part["type"] == "text"]
        asked.images += [base64_of(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
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
        return data({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield b": OPENROUTER PROCESSING\n\n"
    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces(said.thought):
        detail = {"type": "reasoning.text", "text": piece, "index": 0, "format": _CLAUDES}
        yield chunk({"reasoning": piece, "reasoning_details": [detail]})
    if said.thought:
        signed = {"type": "reasoning.text", "signature": SIGNATURES["chat"], "index": 0, "format": _CLAUDES}
        yield chunk({"reasoning_details": [signed]})
    for piece in pieces(said.text):
        yield chunk({"content": piece})
    for number, call in enumerate(said.calls):
        whole = _chat_call(number, *call)
        yield chunk({"tool_calls": [{"index": number, **whole, "function": {"name": call[0], "arguments": ""}}]})
        for piece in pieces(whole["function"]["arguments"]):
            yield chunk({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls" if said.calls else "stop")
    if (asked.body.get("stream_options") or {}).get("include_usage"):
        yield data({**head, "choices": [], "usage": _CHAT_USAGE})
    yield b"data: [DONE]\n\n"


_OPENAI_TYPES = {400: "invalid_request_error", 429: "rate_limit_error", 500: "server_error"}


def openai_wrong(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": _OPENAI_TYPES[status], "param": None, "code": None}}


# -- OpenAI's Responses


def read_responses(asked: Asked) -> None:
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
            asked.images.append(base64_of(part["image_url"]))
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
    for number, each in enumerate(_responses_events(asked, said)):
        yield event({**each, "sequence_number": number})


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
    for piece in pieces(part["text"]):
        yield {"type": "response.reasoning_summary_text.delta", **at, "delta": piece}
    yield {"type": "response.reasoning_summary_text.done", **at, "text": part["text"]}
    yield {"type": "response.reasoning_summary_part.done", **at, "part": part}


def _text_events(item: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    (part,) = item["content"]
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": part}


def _argument_events(item: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for piece in pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
    yield {"type": "response.function_call_arguments.done", **at, "arguments": item["arguments"]}


CHAT = Answer(_chat_whole, _chat_frames)
RESPONSES = Answer(_responses_whole, _responses_frames)
