"""Anthropic's wire and Google's, as their documentation has them."""

from __future__ import annotations

import json
import re
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
    data,
    event,
    pieces,
)

__all__ = ["GEMINI", "MESSAGES", "gemini_wrong", "messages_wrong", "read_gemini", "read_messages"]

# -- Anthropic's Messages


def read_messages(asked: Asked) -> None:
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
    yield event({"type": "message_start", "message": {**whole, "content": [], "stop_reason": None, "usage": usage}})
    yield event({"type": "ping"})
    for index, block in enumerate(whole["content"]):
        match block["type"]:
            case "thinking":
                start: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
            case "text":
                start = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
            case _:
                start = {**block, "input": {}}
                cut = ["", *pieces(json.dumps(block["input"]))]
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in cut]
        yield event({"type": "content_block_start", "index": index, "content_block": start})
        for delta in deltas:
            yield event({"type": "content_block_delta", "index": index, "delta": delta})
        yield event({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield event({"type": "message_delta", "delta": stop, "usage": {"output_tokens": OUTPUT}})
    yield event({"type": "message_stop"})


_MESSAGES_TYPES = {400: "invalid_request_error", 429: "rate_limit_error", 500: "api_error"}


def messages_wrong(status: int, message: str) -> dict[str, Any]:
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


def read_gemini(asked: Asked) -> None:
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
            yield data(_gemini_chunk(asked, [part]))
            continue
        rest = {name: value for name, value in part.items() if name not in ("text", "thoughtSignature")}
        for piece in pieces(part["text"]):
            yield data(_gemini_chunk(asked, [{"text": piece, **rest}]))
        if "thoughtSignature" in part:
            yield data(_gemini_chunk(asked, [{"text": "", "thoughtSignature": part["thoughtSignature"]}]))
    yield data(_gemini_chunk(asked, [{"text": ""}], finishReason="STOP", usage=_gemini_usage(said)))


_GEMINI_STATUSES = {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}


def gemini_wrong(status: int, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": _GEMINI_STATUSES[status]}}


MESSAGES = Answer(_messages_whole, _messages_frames)
GEMINI = Answer(_gemini_whole, _gemini_frames)
