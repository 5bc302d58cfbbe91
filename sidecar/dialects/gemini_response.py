"""Whole answers in Gemini's dialect and in the hub, both ways. Only the first candidate is an answer there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count
from typing import Any

import msgspec

from sidecar.dialects.gemini_answer import (
    CANDIDATE,
    blocked,
    created_s,
    created_text,
    decode_logprobs,
    decode_usage,
    encode_logprobs,
    encode_usage,
    finish_of,
    rest_of_answer,
    rest_of_candidate,
    stop_of,
    stop_word,
    text_of,
)
from sidecar.dialects.gemini_errors import decode_failure
from sidecar.dialects.gemini_fields import restored
from sidecar.dialects.gemini_parts import Speech, decode_part
from sidecar.dialects.loose import object_of, objects
from sidecar.dialects.losses import NOTE, foreign
from sidecar.model.blocks import Block, Opaque, Text, ToolUse
from sidecar.model.errors import ValidationError
from sidecar.model.events import Stop
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubResponse, Loss, StopReason
from sidecar.model.topology import Dialect

__all__ = ["OTHERS", "CallIds", "decode_response", "encode_response", "finished", "head_of", "lenient_block"]

OTHERS = f"{NOTE}candidates[1:]"

_OWN = Dialect.GEMINI_GENERATE
_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_SEED = 24  # so that an id stays below 40 characters, the least that any vendor allows


class CallIds:
    """Ids for the calls of one answer: the same whenever it is read, and others than any other answer's.

    Args:
        response_id: Of the answer.
    """

    def __init__(self, response_id: str) -> None:
        self._seed = _UNFIT.sub("", response_id)[-_MAX_SEED:]
        self._numbers = count()

    def __call__(self) -> str:
        """The next one."""
        number = next(self._numbers)
        return f"call_{self._seed}_{number}" if self._seed else f"call_{number}"


def lenient_block(part: Any, ids: CallIds) -> Block | None:
    """The block that a part of an answer is; whatever is wrong about it, it is nobody's to complain."""
    try:
        return decode_part(part, "part", ids)
    except ValidationError:
        return Opaque(_OWN, part) if isinstance(part, dict) else None


def decode_response(body: Mapping[str, Any]) -> HubResponse | Failure:
    """A provider's whole answer, or what it says went wrong."""
    try:
        return _decode(body)
    except RecursionError:
        return Failure(Kind.MALFORMED, "the answer is nested too deeply")


def _decode(body: Mapping[str, Any]) -> HubResponse | Failure:
    if body.get("error"):
        return decode_failure(200, {}, msgspec.json.encode(body), 0.0)
    candidates = objects(body.get("candidates"))
    if not candidates:
        return _refused(body)
    candidate = candidates[0]
    response_id = text_of(body.get("responseId"))
    ids = CallIds(response_id)
    parts = object_of(candidate.get("content")).get("parts")
    blocks = [lenient_block(part, ids) for part in parts] if isinstance(parts, list) else []
    said = _with_logprobs([block for block in blocks if block is not None], candidate)
    word = finish_of(candidate)
    if word is None and not said:
        return Failure(Kind.MALFORMED, "the answer's candidate has neither content nor a finish reason")
    stop = stop_of(word, candidate, calls=any(isinstance(block, ToolUse) for block in said))
    if isinstance(stop, Failure):
        return stop
    extra = rest_of_answer(body) | rest_of_candidate(candidate, whole=True)
    if len(candidates) > 1:
        extra[OTHERS] = candidates[1:]
    return HubResponse(
        _OWN,
        response_id,
        text_of(body.get("modelVersion")),
        tuple(said),
        stop,
        word,
        usage=decode_usage(body.get("usageMetadata")),
        created_s=created_s(body),
        extra=extra,
    )


def _refused(body: Mapping[str, Any]) -> HubResponse | Failure:
    """An answer without a candidate: the prompt was refused, or it is none."""
    word = blocked(body)
    if word is None:
        return Failure(Kind.MALFORMED, "the answer has neither candidates nor a reason why it has none")
    extra = {**rest_of_answer(body), f"{NOTE}candidates": body.get("candidates")}
    usage = decode_usage(body.get("usageMetadata"))
    head = (_OWN, text_of(body.get("responseId")), text_of(body.get("modelVersion")))
    return HubResponse(*head, (), StopReason.REFUSAL, word, usage=usage, created_s=created_s(body), extra=extra)


def _with_logprobs(blocks: list[Block], candidate: Mapping[str, Any]) -> list[Block]:
    """The blocks, the first text with the likelihoods of all."""
    logprobs = decode_logprobs(candidate)
    place = next((place for place, block in enumerate(blocks) if isinstance(block, Text)), None)
    if logprobs and place is not None:
        blocks[place] = msgspec.structs.replace(blocks[place], logprobs=logprobs)
    return blocks


def encode_response(response: HubResponse, losses: list[Loss]) -> dict[str, Any]:
    """A whole answer for a client."""
    own = response.dialect is _OWN
    speech = Speech(losses, own=own, answers=True)
    parts = [part for place, block in enumerate(response.blocks) for part in speech.parts(block, f"content[{place}]")]
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}}
    logprobs = [each for block in response.blocks if isinstance(block, Text) for each in block.logprobs]
    if logprobs:
        candidate["logprobsResult"] = encode_logprobs(logprobs, "content", losses)
    body = head_of(response.id, response.model, response.created_s)
    body["candidates"] = [candidate]
    stop = Stop(response.stop, response.stop_native, response.stop_sequence, response.usage, response.extra)
    calls = any(isinstance(block, ToolUse) for block in response.blocks)
    return finished(body, stop, losses, own=own, calls=calls)


def head_of(id_: str, model: str, created: int | None) -> dict[str, Any]:
    """What stands on an answer and on every chunk of a stream."""
    moment = created_text(created)
    head = {"responseId": id_, "modelVersion": model, "createTime": moment}
    return {name: value for name, value in head.items() if value}


def finished(body: dict[str, Any], stop: Stop, losses: list[Loss], *, own: bool, calls: bool) -> dict[str, Any]:
    """The body of an answer, or of a stream's last chunk, with why it stopped and what it took.

    Args:
        body: With one candidate; changed.
        stop: How the answer ended.
        losses: Where what cannot be said is noted.
        own: The answer comes from this dialect.
        calls: There was a call in it.
    """
    candidate = body["candidates"][0]
    candidate["finishReason"] = (own and stop.native) or stop_word(stop.reason, stop.sequence, losses, calls=calls)
    usage = encode_usage(stop.usage)
    if usage is not None:
        body["usageMetadata"] = usage
    if not own:
        candidate["index"] = 0
        foreign(losses, stop.extra, "", _OWN)
        return body
    of_candidate: dict[str, Any] = {}
    of_body: dict[str, Any] = {}
    for name, value in stop.extra.items():
        mark, at, rest = name.partition(f"{CANDIDATE}.")
        if at and mark in ("", NOTE):
            of_candidate[mark + rest] = value
        else:
            of_body[name] = value
    others = of_body.pop(OTHERS, [])
    restored(candidate, of_candidate)
    body["candidates"] = [candidate, *others]
    return restored(body, of_body)
