"""What an answer says, read by nothing but dicts: the same plain reading of the recording and of the translation.

It knows nothing of the code under test. `WHOLE` reads an answer, `STREAM` the events of one, by dialect.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["STREAM", "WHOLE", "Said"]

Json = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """Text (refusals in words included), calls, why it stopped, and tokens in and out."""

    text: str
    calls: tuple[tuple[str, str], ...]  # name and arguments, as JSON with sorted keys
    stop: str  # end, length, tools or refusal; another word for what only its dialect knows
    tokens: tuple[int, int] | None


def _arguments(value: Any) -> str:
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except ValueError:  # cut short; where arguments must be an object, the text stands in one
            value = {"arguments": value}
    return json.dumps({} if value is None else value, sort_keys=True)


def _stop(word: str | None, words: Mapping[str, str], *, calls: bool) -> str:
    found = words.get(word or "", word or "end")
    return "tools" if calls and found == "end" else found


# -- OpenAI's chat

_CHAT = {
    "stop": "end",
    "length": "length",
    "tool_calls": "tools",
    "function_call": "tools",
    "content_filter": "refusal",
}
_CHAT |= {"eos": "end", "model_length": "length", "COMPLETE": "end", "end_turn": "end"}


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def chat(body: Json) -> Said:
    choice = next((each for each in body["choices"] if each.get("index", 0) == 0), {})
    message = choice.get("message") or {"content": choice.get("text")}
    calls = [call["function"] for call in message.get("tool_calls") or () if call.get("function")]
    calls += [message["function_call"]] if message.get("function_call") else []
    said = tuple((call["name"], _arguments(call["arguments"])) for call in calls if call["name"])
    text = _content(message.get("content")) + (message.get("refusal") or "")
    stop = _stop(choice.get("finish_reason"), _CHAT, calls=bool(said))
    return Said(text, said, "refusal" if message.get("refusal") else stop, _chat_tokens(body.get("usage")))


def _chat_tokens(usage: Json | None) -> tuple[int, int] | None:
    """Some vendors count thoughts in the total alone."""
    if not usage:
        return None
    prompt, completion = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    return prompt, max(completion, (usage.get("total_tokens") or 0) - prompt)


def chat_stream(events: Sequence[Json]) -> Said:
    text = refusal = ""
    calls: dict[int, list[str]] = {}
    finish = usage = None
    for event in events:
        usage = event.get("usage") or usage
        for choice in event.get("choices") or ():
            if choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta") or {"content": choice.get("text")}
            text += _content(delta.get("content"))
            refusal += delta.get("refusal") or ""
            finish = choice.get("finish_reason") or finish
            for place, call in enumerate(delta.get("tool_calls") or ()):
                into = calls.setdefault(call.get("index", place), ["", ""])
                into[0] = into[0] or call["function"].get("name") or ""
                into[1] += call["function"].get("arguments") or ""
    said = tuple((name, _arguments(arguments)) for _, (name, arguments) in sorted(calls.items()) if name)
    stop = _stop(finish, _CHAT, calls=bool(said))
    return Said(text + refusal, said, "refusal" if refusal else stop, _chat_tokens(usage))


# -- OpenAI's Responses


def responses(body: Json) -> Said:
    parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
    text = "".join(part["text"] for part in parts if part["type"] == "output_text")
    refusal = "".join(part["refusal"] for part in parts if part["type"] == "refusal")
    items = [item for item in body["output"] if item["type"] == "function_call"]
    calls = tuple((item["name"], _arguments(item["arguments"])) for item in items)
    stop = "end"
    if body["status"] == "incomplete":
        reason = (body.get("incomplete_details") or {}).get("reason")
        stop = {"max_output_tokens": "length", "content_filter": "refusal"}.get(reason, reason)
    elif refusal:
        stop = "refusal"
    elif calls:
        stop = "tools"
    usage = body.get("usage")
    return Said(text + refusal, calls, stop, usage and (usage["input_tokens"], usage["output_tokens"]))


def responses_stream(events: Sequence[Json]) -> Said:
    """The texts and calls that were streamed, and the end that the last event tells."""
    items: dict[int, Json] = {}
    texts: dict[tuple[int, int], Json] = {}
    for event in events:
        kind = event["type"]
        if kind == "response.output_item.added":
            items[event["output_index"]] = {**event["item"], "arguments": "", "content": []}
        elif kind == "response.function_call_arguments.delta":
            items[event["output_index"]]["arguments"] += event["delta"]
        elif kind == "response.function_call_arguments.done":
            items[event["output_index"]]["arguments"] = event["arguments"]
        elif kind in ("response.output_text.delta", "response.refusal.delta"):
            name = "text" if "text" in kind else "refusal"
            place = event["output_index"], event["content_index"]
            if place not in texts:
                texts[place] = {"type": "output_text" if name == "text" else "refusal", name: ""}
                items[event["output_index"]]["content"].append(texts[place])
            texts[place][name] += event["delta"]
    last = next(event for event in events if event["type"] in ("response.completed", "response.incomplete"))
    return responses({**last["response"], "output": [items[place] for place in sorted(items)]})


# -- Anthropic's Messages

_MESSAGES = {"end_turn": "end", "stop_sequence": "end", "max_tokens": "length", "tool_use": "tools"}
_MESSAGES |= {"model_context_window_exceeded": "length"}


def messages(body: Json) -> Said:
    content = body["content"]
    text = "".join(block["text"] for block in content if block["type"] == "text")
    calls = tuple((block["name"], _arguments(block["input"])) for block in content if block["type"] == "tool_use")
    usage = body.get("usage") or {}
    cached = (usage.get("cache_read_input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
    tokens = ((usage.get("input_tokens") or 0) + cached, usage.get("output_tokens") or 0) if usage else None
    return Said(text, calls, _stop(body["stop_reason"], _MESSAGES, calls=False), tokens)


def messages_stream(events: Sequence[Json]) -> Said:
    body: Json = {}
    pieces: dict[int, str] = {}
    for event in events:
        match event["type"]:
            case "message_start":
                body = {**event["message"], "content": []}
            case "content_block_start":
                body["content"].append(dict(event["content_block"]))
                pieces[event["index"]] = ""
            case "content_block_delta" if event["delta"]["type"] == "text_delta":
                body["content"][event["index"]]["text"] += event["delta"]["text"]
            case "content_block_delta" if event["delta"]["type"] == "input_json_delta":
                pieces[event["index"]] += event["delta"]["partial_json"]
                body["content"][event["index"]]["input"] = pieces[event["index"]]
            case "message_delta":
                body["stop_reason"] = event["delta"]["stop_reason"]
                told = {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
                body["usage"] = {**(body.get("usage") or {}), **told}
    return messages(body)


# -- Gemini

_GEMINI = {"STOP": "end", "MAX_TOKENS": "length", "1": "end", "UNEXPECTED_TOOL_CALL": "end"}
_GEMINI |= dict.fromkeys(("SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "MODEL_ARMOR"), "refusal")


def gemini(body: Json) -> Said:
    return gemini_stream([body])


def gemini_stream(chunks: Sequence[Json]) -> Said:
    text = ""
    calls: list[tuple[str, str]] = []
    finish = usage = None
    for chunk in chunks:
        usage = chunk.get("usageMetadata") or usage
        finish = finish or ((chunk.get("promptFeedback") or {}).get("blockReason") and "SAFETY")
        for candidate in (chunk.get("candidates") or ())[:1]:
            finish = candidate.get("finishReason") or finish
            for part in (candidate.get("content") or {}).get("parts") or ():
                if "functionCall" in part:
                    calls.append((part["functionCall"]["name"], _arguments(part["functionCall"].get("args"))))
                elif not part.get("thought"):
                    text += part.get("text") or ""
    stop = _stop(None if finish is None else str(finish), _GEMINI, calls=bool(calls))
    return Said(text, tuple(calls), stop, _gemini_tokens(usage) if usage else None)


def _gemini_tokens(usage: Json) -> tuple[int, int] | None:
    names = (("promptTokenCount", "toolUsePromptTokenCount"), ("candidatesTokenCount", "thoughtsTokenCount"))
    into, out = (sum(usage.get(name) or 0 for name in some) for some in names)
    return (into, out) if into or out else None


# -- Bedrock's Converse

_CONVERSE = {"end_turn": "end", "stop_sequence": "end", "max_tokens": "length", "tool_use": "tools"}
_CONVERSE |= {"guardrail_intervened": "refusal", "content_filtered": "refusal"}


def converse(body: Json) -> Said:
    content = body["output"]["message"]["content"]
    text = "".join(block.get("text", "") for block in content)
    uses = [block["toolUse"] for block in content if "toolUse" in block]
    calls = tuple((use["name"], _arguments(use["input"])) for use in uses if use.get("type") != "server_tool_use")
    usage = body["usage"]
    tokens = (usage["totalTokens"] - usage["outputTokens"], usage["outputTokens"])
    return Said(text, calls, _stop(body["stopReason"], _CONVERSE, calls=False), tokens)


def converse_stream(events: Sequence[Json]) -> Said:
    blocks: dict[int, Json] = {}
    stop, usage = "", {}
    for event in events:
        match event["type"]:
            case "contentBlockStart" if "toolUse" in event["start"]:
                blocks[event["contentBlockIndex"]] = {"toolUse": {**event["start"]["toolUse"], "input": ""}}
            case "contentBlockDelta":
                block, delta = blocks.setdefault(event["contentBlockIndex"], {}), event["delta"]
                if "toolUse" in delta:
                    block["toolUse"]["input"] += delta["toolUse"]["input"]
                block["text"] = block.get("text", "") + delta.get("text", "")
            case "messageStop":
                stop = event["stopReason"]
            case "metadata":
                usage = event["usage"]
    content = [block for _, block in sorted(blocks.items())]
    return converse({"output": {"message": {"content": content}}, "stopReason": stop, "usage": usage})


WHOLE: Mapping[str, Callable[[Json], Said]] = {
    "openai-chat": chat,
    "openai-responses": responses,
    "anthropic-messages": messages,
    "gemini-generate": gemini,
    "bedrock-converse": converse,
}
STREAM: Mapping[str, Callable[[Sequence[Json]], Said]] = {
    "openai-chat": chat_stream,
    "openai-responses": responses_stream,
    "anthropic-messages": messages_stream,
    "gemini-generate": gemini_stream,
    "bedrock-converse": converse_stream,
}
