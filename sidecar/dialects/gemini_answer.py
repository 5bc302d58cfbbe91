"""What a whole answer and a chunk of a stream have in common: why it stopped, tokens, likelihoods, the rest.

**Stop.** STOP with a call in the answer means that a tool is to be used. Filters of any kind are a refusal,
also one of the prompt, which leaves no candidate at all. A call that cannot be parsed is a failure, for
there is nothing to give to the client. Clients that ask for it get enumerations as numbers.

**Usage.** Google counts thoughts apart from the answer, and what its own tools read apart from the prompt;
both are counted by the total.

**Likelihoods** belong to the candidate there, to a text in the hub.

Source: ai.google.dev/api/generate-content#v1beta.Candidate (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from sidecar.dialects.loose import object_of, objects
from sidecar.dialects.losses import NOTE, changed
from sidecar.model.blocks import Logprob
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import Loss, StopReason
from sidecar.model.records import Usage

__all__ = [
    "CANDIDATE",
    "blocked",
    "created_s",
    "created_text",
    "decode_logprobs",
    "decode_usage",
    "encode_logprobs",
    "encode_usage",
    "finish_of",
    "rest_of_answer",
    "rest_of_candidate",
    "stop_of",
    "stop_word",
    "text_of",
]

CANDIDATE = "candidates[0]"

_REASONS: Mapping[str, StopReason] = MappingProxyType(
    {
        "STOP": StopReason.END,
        "MAX_TOKENS": StopReason.LENGTH,
        "SAFETY": StopReason.REFUSAL,
        "RECITATION": StopReason.REFUSAL,
        "BLOCKLIST": StopReason.REFUSAL,
        "PROHIBITED_CONTENT": StopReason.REFUSAL,
        "SPII": StopReason.REFUSAL,
        "MODEL_ARMOR": StopReason.REFUSAL,
        "JAILBREAK": StopReason.REFUSAL,
        "ESCALATION": StopReason.REFUSAL,
        "PUP_LIMITED_DISABLED": StopReason.REFUSAL,
        "IMAGE_SAFETY": StopReason.REFUSAL,
        "IMAGE_PROHIBITED_CONTENT": StopReason.REFUSAL,
        "IMAGE_RECITATION": StopReason.REFUSAL,
        "CONTINUATION": StopReason.PAUSE,
    }
)
_FAILED = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE"})
_UNDECLARED = "UNEXPECTED_TOOL_CALL"  # of a tool that was not declared; the call itself is there
_FINISH_NUMBERS = (
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "IMAGE_SAFETY",
)
_BLOCK_NUMBERS = (
    "BLOCKED_REASON_UNSPECIFIED",
    "SAFETY",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "IMAGE_SAFETY",
)
_WORDS: Mapping[StopReason, str] = MappingProxyType(
    {
        StopReason.END: "STOP",
        StopReason.LENGTH: "MAX_TOKENS",
        StopReason.CONTEXT: "MAX_TOKENS",
        StopReason.STOP_SEQUENCE: "STOP",
        StopReason.TOOL_USE: "STOP",
        StopReason.REFUSAL: "SAFETY",
        StopReason.PAUSE: "OTHER",
        StopReason.OTHER: "OTHER",
    }
)
# Of a candidate: what says nothing that another dialect would lack.
_QUIET = frozenset({"index", "finishReason", "finishMessage", "avgLogprobs", "tokenCount", "logprobsResult"})
_HEAD = frozenset({"candidates", "modelVersion", "responseId"})
_QUIET_HEAD = frozenset({"usageMetadata", "promptFeedback", "createTime", "modelStatus"})


def text_of(value: Any) -> str:
    """The value if it is a text, else none."""
    return value if isinstance(value, str) else ""


# -- why it stopped


def finish_of(candidate: Mapping[str, Any]) -> str | None:
    """Google's word for why a candidate stopped; None while it has not."""
    return _named(candidate.get("finishReason"), _FINISH_NUMBERS)


def blocked(body: Mapping[str, Any]) -> str | None:
    """Google's word for why it refused the prompt; None when it did not."""
    return _named(object_of(body.get("promptFeedback")).get("blockReason"), _BLOCK_NUMBERS)


def _named(value: Any, numbers: Sequence[str]) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = numbers[value] if 0 <= value < len(numbers) else "OTHER"
    if not isinstance(value, str) or not value or value.endswith("_UNSPECIFIED"):
        return None
    return value


def stop_of(word: str | None, candidate: Mapping[str, Any], *, calls: bool) -> StopReason | Failure:
    """What a finish reason means.

    Args:
        word: Google's.
        candidate: Whose `finishMessage` may tell more.
        calls: The answer holds a call.
    """
    if word in _FAILED or (word == _UNDECLARED and not calls):
        told = text_of(candidate.get("finishMessage"))
        return Failure(Kind.MALFORMED, f"the model stopped with {word}{': ' if told else ''}{told[:300]}", code=word)
    if calls and word in ("STOP", _UNDECLARED, None):
        return StopReason.TOOL_USE
    if word is None:
        return StopReason.END
    return _REASONS.get(word, StopReason.OTHER)


def stop_word(reason: StopReason, sequence: str | None, losses: list[Loss], *, calls: bool) -> str:
    """Google's word for why an answer stopped."""
    word = _WORDS[reason]
    meant = stop_of(word, {}, calls=calls)
    if meant is not reason:
        changed(losses, "stop_reason", f"{reason.value} is said as {word}")
    elif sequence is not None:
        changed(losses, "stop_sequence", "Gemini does not say which sequence it stopped at")
    return word


# -- tokens


def decode_usage(value: Any) -> Usage | None:
    """The tokens that a `usageMetadata` tells of."""
    fields = object_of(value)
    prompt, tools = _count(fields, "promptTokenCount"), _count(fields, "toolUsePromptTokenCount")
    spoken, thought = _count(fields, "candidatesTokenCount"), _count(fields, "thoughtsTokenCount")
    total = _count(fields, "totalTokenCount")
    if all(count is None for count in (prompt, tools, spoken, thought, total)):
        return None
    input_tokens = None if prompt is None and tools is None else (prompt or 0) + (tools or 0)
    output_tokens: int | None = None
    if spoken is not None or thought is not None:
        output_tokens = (spoken or 0) + (thought or 0)
    elif total is not None:
        output_tokens = max(0, total - (input_tokens or 0))
    return Usage(input_tokens, output_tokens, _count(fields, "cachedContentTokenCount"), None, thought)


def _count(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def encode_usage(usage: Usage | None) -> dict[str, Any] | None:
    """The `usageMetadata` for these tokens."""
    if usage is None or (usage.input_tokens is None and usage.output_tokens is None):
        return None
    told: dict[str, Any] = {}
    if usage.input_tokens is not None:
        told["promptTokenCount"] = usage.input_tokens
    thoughts = usage.reasoning_tokens
    if thoughts is not None and usage.output_tokens is not None:
        thoughts = min(thoughts, usage.output_tokens)  # some count them beside their output: the sum must stay theirs
    if usage.output_tokens is not None:
        told["candidatesTokenCount"] = usage.output_tokens - (thoughts or 0)
    if thoughts is not None:
        told["thoughtsTokenCount"] = thoughts
    if usage.cache_read_tokens is not None:
        told["cachedContentTokenCount"] = usage.cache_read_tokens
    told["totalTokenCount"] = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    return told


# -- likelihoods


def decode_logprobs(candidate: Mapping[str, Any]) -> tuple[Logprob, ...]:
    """How likely the tokens of a candidate were."""
    result = object_of(candidate.get("logprobsResult"))
    tops = objects(result.get("topCandidates"))
    found = []
    for place, chosen in enumerate(objects(result.get("chosenCandidates"))):
        top = tuple(map(_logprob, objects(tops[place].get("candidates")))) if place < len(tops) else ()
        one = _logprob(chosen)
        found.append(Logprob(one.token, one.logprob, one.bytes, top))
    return tuple(found)


def _logprob(value: Mapping[str, Any]) -> Logprob:
    token, likely = text_of(value.get("token")), value.get("logProbability")
    number = float(likely) if isinstance(likely, int | float) and abs(likely) < 1e300 else 0.0
    return Logprob(token, number, tuple(token.encode("utf-8", "replace")))


def encode_logprobs(logprobs: Sequence[Logprob], path: str, losses: list[Loss]) -> dict[str, Any]:
    """The `logprobsResult` of tokens."""
    every = [each for one in logprobs for each in (one, *one.top)]
    if any(each.bytes is not None and bytes(each.bytes) != each.token.encode("utf-8", "replace") for each in every):
        changed(losses, f"{path}.logprobs", "Gemini gives tokens as text alone, which these bytes are not")
    result: dict[str, Any] = {"chosenCandidates": list(map(_likely, logprobs))}
    if any(one.top for one in logprobs):
        result["topCandidates"] = [{"candidates": list(map(_likely, one.top))} for one in logprobs]
    return result


def _likely(one: Logprob) -> dict[str, Any]:
    return {"token": one.token, "logProbability": one.logprob}


# -- when, and the rest


def created_s(body: Mapping[str, Any]) -> int | None:
    """When it was made, in seconds since 1970."""
    try:
        return int(datetime.fromisoformat(text_of(body.get("createTime"))).timestamp())
    except (ValueError, OverflowError):
        return None


def created_text(seconds: int | None) -> str | None:
    """The moment as Google writes it."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


def rest_of_answer(body: Mapping[str, Any]) -> dict[str, Any]:
    """What of an answer, or a chunk, has no place in the hub; its candidate aside."""
    rest: dict[str, Any] = {}
    for name, value in body.items():
        if name not in _HEAD:
            rest[NOTE + name if name in _QUIET_HEAD else name] = value
    return rest


def rest_of_candidate(candidate: Mapping[str, Any], *, whole: bool) -> dict[str, Any]:
    """What of a candidate has no place in the hub.

    Args:
        candidate: The first one.
        whole: Not a chunk of a stream, whose content and likelihoods are but pieces.
    """
    rest: dict[str, Any] = {}
    for name, value in candidate.items():
        if name == "content" or (name == "logprobsResult" and not whole):
            continue
        rest[f"{NOTE if name in _QUIET else ''}{CANDIDATE}.{name}"] = value
    if not whole:
        return rest
    content = candidate.get("content")
    if not isinstance(content, dict) or not isinstance(content.get("parts"), list):
        rest[f"{NOTE}{CANDIDATE}.content"] = content
    elif content.keys() != {"parts", "role"} or content["role"] != "model":
        rest[f"{NOTE}{CANDIDATE}.content.role"] = content.get("role")
    return rest
