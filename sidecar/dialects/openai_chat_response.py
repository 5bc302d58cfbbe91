"""Whole chat answers to the hub and back.

Of several choices the first is the answer. Nothing that a server does wrong raises here: what is not as it
should be is as if absent, and an answer without any choice is a failure. What an answer tells of its own
making (fingerprints, timings, details of usage) is noted and no loss to other dialects.

Sources (read 2026-11): platform.openai.com/docs/api-reference/chat/object; api-docs.deepseek.com;
openrouter.ai/docs/api-reference/overview; docs.vllm.ai (`stop_reason`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sidecar.dialects.loose import object_of, objects, text
from sidecar.dialects.losses import changed, dropped, foreign
from sidecar.dialects.openai_chat_messages import assistant_fields
from sidecar.dialects.openai_chat_parts import read_content_thought, read_signature, read_thoughts
from sidecar.dialects.openai_chat_spelling import difference, said_as
from sidecar.dialects.openai_errors import decode_failure
from sidecar.dialects.openai_facts import usage_of
from sidecar.dialects.openai_stops import FINISH_REASONS, STOPS
from sidecar.model.blocks import Block, Logprob, Media, MediaKind, Opaque, Text, Thinking, ToolResult, ToolUse
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubResponse, Loss, StopReason
from sidecar.model.records import Usage
from sidecar.model.topology import Dialect

__all__ = [
    "NO_ANSWER",
    "arguments_of",
    "decode_response",
    "encode_response",
    "fault_of",
    "finish_of",
    "image_of",
    "logprobs_of",
    "medium_of",
    "read_logprobs",
    "read_usage",
    "sayable",
    "stop_of",
    "usage_fields",
]

_OWN = Dialect.OPENAI_CHAT
NO_ANSWER = 'the provider\'s answer has no "choices"'

_UNSAYABLE_STOPS = frozenset({StopReason.CONTEXT, StopReason.PAUSE, StopReason.OTHER})

# Notes: what else an answer holds, each the whole of what stood there.
_TOP, _CHOICE, _MESSAGE, _OTHERS = "~answer", "~choice", "~message", "~choices"
_CARRIED = frozenset({"citations", "search_results"})  # what an answer says beside its text


def decode_response(body: Mapping[str, Any]) -> HubResponse | Failure:
    """A provider's whole answer; a failure when it is none."""
    fault = fault_of(body)
    if fault is not None:
        return fault
    choices = objects(body.get("choices"))
    if not choices:
        return Failure(Kind.MALFORMED, NO_ANSWER)
    choice = choices[0]
    message = object_of(choice.get("message")) or object_of(choice.get("delta")) or {"content": choice.get("text")}
    blocks = _blocks(message, object_of(choice.get("logprobs")))
    native = text(choice.get("finish_reason")) or None
    stop = stop_of(native, blocks, choice.get("stop_reason"))
    sequence = choice["stop_reason"] if stop is StopReason.STOP_SEQUENCE and _matched(choice) else None
    created = body.get("created")
    response = HubResponse(
        _OWN,
        text(body.get("id")),
        text(body.get("model")),
        tuple(blocks),
        stop,
        native,
        sequence,
        read_usage(body.get("usage")),
        int(created) if isinstance(created, int | float) else None,
    )
    return msgspec.structs.replace(response, extra=_notes(body, choices, message, response))


def _matched(choice: Mapping[str, Any]) -> bool:
    return isinstance(choice.get("stop_reason"), str)


def _notes(
    body: Mapping[str, Any], choices: Sequence[Mapping[str, Any]], message: Mapping[str, Any], response: HubResponse
) -> dict[str, Any]:
    ours = _answer(response)
    our_choice = ours["choices"][0]
    notes = {
        _TOP: {name: value for name, value in difference(body, ours, ("choices",)).items() if name not in _CARRIED},
        _CHOICE: difference(choices[0], our_choice, ("message",)),
        _MESSAGE: difference(message, our_choice["message"]),
        _OTHERS: choices[1:],
    }
    carried = {name: body[name] for name in _CARRIED if body.get(name)}
    return {**carried, **{name: value for name, value in notes.items() if value}}


def fault_of(value: Mapping[str, Any]) -> Failure | None:
    """The failure that an answer, or an event, tells of in any of the places where that is done."""
    told = value.get("error") or "error" in (value.get("object"), value.get("type"))
    if not told and not any(
        choice.get("error") or choice.get("finish_reason") == "error" for choice in objects(value.get("choices"))
    ):
        return None
    return decode_failure(200, {}, msgspec.json.encode(value), 0.0)


def stop_of(native: str | None, blocks: Sequence[Block], matched: object = None) -> StopReason:
    """Why an answer ended.

    Args:
        native: The server's word, if it has one.
        blocks: Of the answer: some say `stop` whatever they did.
        matched: The stop sequence, if the server tells (vLLM).
    """
    stop = STOPS.get(native.lower(), StopReason.OTHER) if native else StopReason.END
    if stop is not StopReason.END:
        return stop
    if any(isinstance(block, ToolUse) for block in blocks):
        return StopReason.TOOL_USE
    if any(isinstance(block, Text) and block.refusal for block in blocks):
        return StopReason.REFUSAL
    return StopReason.STOP_SEQUENCE if isinstance(matched, str) else StopReason.END


def read_usage(value: Any) -> Usage | None:
    """Usage in the house's convention."""
    return usage_of(msgspec.json.encode(value)) if isinstance(value, dict) else None


# -- content


def _blocks(message: Mapping[str, Any], logprobs: Mapping[str, Any]) -> list[Block]:
    content = message.get("content")
    blocks: list[Block] = [*read_thoughts(message)]
    said = [_part(part) for part in objects(content)] if isinstance(content, list) else [Text(text(content))]
    blocks += [block for block in said if isinstance(block, Thinking) or block.text]
    _attach(blocks, message, logprobs)
    if refusal := text(message.get("refusal")):
        blocks.append(Text(refusal, refusal=True, logprobs=read_logprobs(logprobs.get("refusal"))))
    blocks += [medium for image in objects(message.get("images")) if (medium := medium_of(image))]
    blocks += [call for number, each in enumerate(_calls(message)) if (call := _call(each, number))]
    return blocks


def _attach(blocks: list[Block], message: Mapping[str, Any], logprobs: Mapping[str, Any]) -> None:
    """Give the last text what the message says of its whole text."""
    signature = read_signature(message)
    if signature and not any(isinstance(block, Text) for block in blocks):
        blocks.append(Text(""))
    if not blocks or not isinstance(blocks[-1], Text):
        return
    notes = message.get("annotations")
    blocks[-1] = msgspec.structs.replace(
        blocks[-1],
        logprobs=read_logprobs(logprobs.get("content")),
        signature=signature,
        extra={"annotations": notes} if objects(notes) else {},
    )


def _part(part: Mapping[str, Any]) -> Text | Thinking:
    if isinstance(part.get("thinking"), list):
        return read_content_thought(part)
    return Text(text(part.get("text")))


def _calls(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Its calls; the one of the retired kind, too."""
    retired = object_of(message.get("function_call"))
    return [*objects(message.get("tool_calls")), *([{"function": retired}] if retired.get("name") else [])]


def _call(call: Mapping[str, Any], number: int) -> ToolUse | None:
    custom = object_of(call.get("custom"))
    function = custom or object_of(call.get("function"))
    name = text(function.get("name"))
    if not name:
        return None
    arguments = msgspec.json.encode({"input": text(custom.get("input"))}).decode() if custom else ""
    return ToolUse(
        text(call.get("id")) or f"call_{number}",
        name,
        arguments or arguments_of(function) or "{}",
        signature=read_signature(call),
        extra={"type": "custom"} if custom else {},
    )


def arguments_of(function: Mapping[str, Any]) -> str:
    """The arguments as JSON text; some give the object itself."""
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        return arguments
    return msgspec.json.encode(arguments).decode() if arguments else ""


def medium_of(image: Mapping[str, Any]) -> Media | None:
    """An image of an answer, as OpenRouter gives it."""
    url = text(object_of(image.get("image_url")).get("url"))
    head, _, data = url.partition(";base64,")
    if not url:
        return None
    if not data or not head.startswith("data:"):
        return Media(MediaKind.IMAGE, url=url)
    return Media(MediaKind.IMAGE, head.removeprefix("data:") or None, inline=data)


def read_logprobs(value: Any) -> tuple[Logprob, ...]:
    """The likelihoods of a text's tokens."""
    return tuple(each for token in objects(value) if (each := _logprob(token)))


def _logprob(token: Mapping[str, Any], *, top: bool = True) -> Logprob | None:
    likelihood, raw = token.get("logprob"), token.get("bytes")
    if not isinstance(token.get("token"), str) or not isinstance(likelihood, int | float):
        return None
    octets = (
        tuple(raw) if isinstance(raw, list) and all(type(octet) is int and 0 <= octet < 256 for octet in raw) else None
    )
    tokens = objects(token.get("top_logprobs")) if top else ()  # an alternative has none of its own
    others = tuple(each for other in tokens if (each := _logprob(other, top=False)))
    return Logprob(token["token"], float(likelihood), octets, others)


# -- from the hub


def encode_response(response: HubResponse, losses: list[Loss]) -> dict[str, Any]:
    """A whole answer for a client."""
    if response.dialect is _OWN:
        return _as_it_was(response)
    foreign(losses, response.extra, "", _OWN)
    blocks: list[Block] = []
    for number, block in enumerate(response.blocks):
        told = sayable(block, f"content[{number}]", losses, blocks)
        blocks += [] if told is None else [told]
    return _answer(msgspec.structs.replace(response, blocks=tuple(blocks)), losses)


def _as_it_was(response: HubResponse) -> dict[str, Any]:
    extra = response.extra
    body = _answer(response)
    choice = body["choices"][0]
    said_as(choice["message"], extra.get(_MESSAGE, {}))
    said_as(choice, extra.get(_CHOICE, {}))
    body["choices"] = [choice, *extra.get(_OTHERS, ())]
    said_as(body, extra.get(_TOP, {}))
    return body | {name: value for name, value in extra.items() if name in _CARRIED}


def _answer(response: HubResponse, losses: list[Loss] | None = None) -> dict[str, Any]:
    spoken = [block for block in response.blocks if not isinstance(block, Media)]
    message = assistant_fields(spoken, bare=_bare(spoken), extra={})
    images = [image_of(block) for block in response.blocks if isinstance(block, Media)]
    annotations = [
        note for block in response.blocks if isinstance(block, Text) for note in block.extra.get("annotations", ())
    ]
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", **message}
        | ({"images": images} if images else {})
        | ({"annotations": annotations} if annotations else {}),
        "logprobs": logprobs_of(response.blocks),
    } | finish_of(response, [] if losses is None else losses)
    body = {
        "id": response.id,
        "object": "chat.completion",
        "created": response.created_s or 0,
        "model": response.model,
        "choices": [choice],
    }
    return body | ({"usage": usage_fields(response.usage)} if response.usage else {})


def _bare(blocks: Sequence[Block]) -> bool:
    """Whether the content is one text; it is a list only where a server gave thoughts in it."""
    return not any(isinstance(block, Thinking) and "~thinking" in block.extra for block in blocks)


def sayable(block: Block, path: str, losses: list[Loss], before: Sequence[Block]) -> Block | None:
    """The block without what this dialect cannot say; None when nothing is left.

    Args:
        block: Of another dialect's answer; of a stream, as it began.
        path: For losses.
        losses: Where they are noted.
        before: The answer's blocks before it.
    """
    match block:
        case Text(signature=str()) if any(isinstance(each, Text) and each.signature for each in before):
            dropped(losses, f"{path}.signature", "openai-chat has one signature for all the text")
            return sayable(msgspec.structs.replace(block, signature=None), path, losses, before)
        case Text() | ToolUse() | Thinking():
            foreign(losses, block.extra, path, _OWN)
            return msgspec.structs.replace(block, extra={}, **({} if isinstance(block, Thinking) else {"cache": None}))
        case Media(kind=MediaKind.IMAGE) if block.url or block.inline:
            return block
        case Media():
            dropped(losses, path, f"openai-chat has no {block.kind.value} of this kind in answers")
        case Opaque() | ToolResult():
            dropped(losses, path, "openai-chat has no such content")
    return None


def finish_of(response: HubResponse, losses: list[Loss]) -> dict[str, Any]:
    """The fields of a choice that say why it ended.

    A refusal in words has ended as any text does; clients look at the words. The sequence that stopped
    the model is told as vLLM tells it.
    """
    stop = response.stop
    if stop in _UNSAYABLE_STOPS and response.dialect is not _OWN:
        changed(losses, "stop_reason", f"openai-chat has no word for {stop.value!r}")
    refused = any(isinstance(block, Text) and block.refusal for block in response.blocks)
    reason = "stop" if refused and stop is StopReason.REFUSAL else FINISH_REASONS[stop]
    fields: dict[str, Any] = {"finish_reason": reason}
    if response.dialect is _OWN and response.stop_native:
        fields["finish_reason"] = response.stop_native
    return fields | ({"stop_reason": response.stop_sequence} if response.stop_sequence else {})


def logprobs_of(blocks: Sequence[Block]) -> dict[str, Any] | None:
    """The likelihoods of an answer's tokens, or of a part of it."""
    texts = [block for block in blocks if isinstance(block, Text) and block.logprobs]
    if not texts:
        return None
    content = [_token(each) for block in texts if not block.refusal for each in block.logprobs]
    refusal = [_token(each) for block in texts if block.refusal for each in block.logprobs]
    return {"content": content or None, "refusal": refusal or None}


def _token(logprob: Logprob) -> dict[str, Any]:
    return {
        "token": logprob.token,
        "logprob": logprob.logprob,
        "bytes": None if logprob.bytes is None else list(logprob.bytes),
        "top_logprobs": [
            {name: value for name, value in _token(top).items() if name != "top_logprobs"} for top in logprob.top
        ],
    }


def image_of(media: Media) -> dict[str, Any]:
    """An image of an answer, as OpenRouter gives it."""
    url = media.url or f"data:{media.mime or 'image/png'};base64,{media.inline}"
    return {"type": "image_url", "image_url": {"url": url}}


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Usage in OpenAI's convention."""
    prompt, completion = usage.input_tokens or 0, usage.output_tokens or 0
    fields: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    details = {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens}
    known = {name: tokens for name, tokens in details.items() if tokens is not None}
    if known:
        fields["prompt_tokens_details"] = known
    if usage.reasoning_tokens is not None:
        fields["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return fields
