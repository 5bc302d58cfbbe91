r"""Gemini's streams, both ways: every event is an answer with a few parts more.

Nothing marks the end. The reason to stop and the tokens stand on the last chunk, but older models write a
reason on every one, and a chunk of grounding or of another candidate may still come after it; so the
answer is complete when the bytes end, and not before. Calls come whole; neighbouring parts of text, and
of thoughts, are one block until one is signed, which is its last.

What is written has, as Google's own streams, the reason and an empty text in the last chunk, and the
tokens known so far in every chunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sidecar.dialects.gemini_answer import (
    blocked,
    created_s,
    decode_logprobs,
    decode_usage,
    encode_logprobs,
    encode_usage,
    finish_of,
    rest_of_answer,
    rest_of_candidate,
    stop_of,
    text_of,
)
from sidecar.dialects.gemini_errors import decode_failure
from sidecar.dialects.gemini_fields import restored
from sidecar.dialects.gemini_parts import Speech, thought_mark
from sidecar.dialects.gemini_response import CallIds, finished, head_of, lenient_block
from sidecar.dialects.loose import object_of, objects
from sidecar.dialects.losses import NOTE, foreign
from sidecar.model.blocks import Block, Logprob, Text, Thinking, ToolUse
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, Fault, Start, Stop
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import Loss, StopReason
from sidecar.model.topology import Dialect

__all__ = ["StreamDecoder", "StreamEncoder"]

_OWN = Dialect.GEMINI_GENERATE
_TEXT: tuple[type[Block], Any] = (Text, None)
_ANSWER = ("candidates", "promptFeedback", "usageMetadata", "responseId")


class StreamDecoder:
    """Reads one stream; lives as long as it."""

    def __init__(self) -> None:
        self._started = False
        self._over = False
        self._ids = CallIds("")
        self._open: tuple[type[Block], Any] | None = None  # the open block's type, and the number of a thought
        self._calls = False
        self._word: str | None = None  # why it stopped
        self._refused: str | None = None  # why the prompt was refused
        self._body: dict[str, Any] = {}  # the latest of every field
        self._candidate: dict[str, Any] = {}  # the same of the first candidate

    def take(self, name: str | None, value: Mapping[str, Any]) -> Sequence[Event]:  # noqa: ARG002 - none is named
        """The events that one chunk comes to."""
        if self._over:
            return ()
        try:
            return self._take(value)
        except RecursionError:
            return self._fault(Failure(Kind.MALFORMED, "an event of the stream is nested too deeply"))

    def _take(self, value: Mapping[str, Any]) -> list[Event]:
        if value.get("error"):
            return self._fault(decode_failure(200, {}, msgspec.json.encode(value), 0.0))
        events: list[Event] = []
        if not self._started:
            if not any(value.get(name) for name in _ANSWER):
                return events
            events.append(self._start(value))
        candidate = next((one for one in objects(value.get("candidates")) if not one.get("index")), {})
        self._remember(value, candidate)
        parts = object_of(candidate.get("content")).get("parts")
        logprobs = decode_logprobs(candidate) if "logprobsResult" in candidate else ()
        for part in parts if isinstance(parts, list) else ():
            found = self._part(part, logprobs)
            if logprobs and found and isinstance(found[-1], Delta) and found[-1].logprobs:
                logprobs = ()
            events += found
        if "finishReason" in candidate and (word := finish_of(candidate)) is not None:
            self._word = word
            stop = stop_of(word, candidate, calls=self._calls)
            if isinstance(stop, Failure):
                events += self._fault(stop)
        return events

    def _remember(self, value: Mapping[str, Any], candidate: Mapping[str, Any]) -> None:
        """Keep what counts at the end; of tokens the last that were told, for they are told in full."""
        before = object_of(self._body.get("usageMetadata"))
        self._body |= value
        self._candidate |= candidate
        if "promptFeedback" in value:
            self._refused = blocked(value) or self._refused
        usage = object_of(value.get("usageMetadata"))
        if before and "totalTokenCount" not in usage and decode_usage(usage) is None:
            self._body["usageMetadata"] = {**before, **usage}

    def _start(self, value: Mapping[str, Any]) -> Start:
        self._started = True
        id_ = text_of(value.get("responseId"))
        self._ids = CallIds(id_)
        usage = decode_usage(value.get("usageMetadata"))
        return Start(_OWN, id_, text_of(value.get("modelVersion")), created_s(value), usage)

    def _part(self, part: Any, logprobs: tuple[Logprob, ...]) -> list[Event]:
        if self._open == _TEXT and not logprobs and isinstance(part, dict) and len(part) == 1 and part.get("text"):
            text = part["text"]  # as nearly every part of nearly every stream
            if isinstance(text, str):
                return [Delta(text)]
        block = lenient_block(part, self._ids)
        if block is None:
            return []
        if isinstance(block, Text):
            return self._more(block, _TEXT, logprobs)
        if isinstance(block, Thinking):
            mark = thought_mark(part) or {}
            return self._more(block, (Thinking, mark.get("block")), ())
        self._calls = self._calls or isinstance(block, ToolUse)
        events = self._close()
        if isinstance(block, ToolUse):
            begun = msgspec.structs.replace(block, arguments="")
            return [*events, BlockStart(begun), Delta(block.arguments), BlockStop()]
        return [*events, BlockStart(block), BlockStop()]

    def _more(
        self, block: Text | Thinking, kind: tuple[type[Block], Any], logprobs: tuple[Logprob, ...]
    ) -> list[Event]:
        """More of the open block, or another one."""
        events: list[Event] = []
        redacted = isinstance(block, Thinking) and block.redacted
        said = bool(block.text or block.signature or logprobs)
        if not said and not redacted and not block.extra:
            return events
        if kind != self._open or redacted:
            events += self._close()
            begun: Block
            if isinstance(block, Text):
                begun = Text("")
            else:
                kept = block.signature if redacted else None
                begun = Thinking("", kept, block.signer, block.redacted)
            events.append(BlockStart(begun))
            self._open = kind
        if (said and not redacted) or block.extra:
            events.append(Delta(block.text, None if redacted else block.signature, logprobs, block.extra))
        if block.signature or redacted:
            events += self._close()
        return events

    def _close(self) -> list[Event]:
        if self._open is None:
            return []
        self._open = None
        return [BlockStop()]

    def end(self, *, marked: bool) -> Sequence[Event]:
        """What is still due when the stream is over."""
        if self._over:
            return ()
        if not self._started:
            return self._fault(Failure(Kind.MALFORMED, "the stream held no answer"))
        word = self._word or self._refused
        if word is None and not marked:
            return self._fault(Failure(Kind.TRUNCATED, "the stream ended without a finish reason"))
        self._over = True
        stop = stop_of(self._word, self._candidate, calls=self._calls)
        reason = StopReason.REFUSAL if self._word is None and self._refused else stop
        assert not isinstance(reason, Failure)
        extra = rest_of_answer(self._body) | rest_of_candidate(self._candidate, whole=False)
        if self._word is None and self._refused:
            extra[f"{NOTE}candidates"] = None
        usage = decode_usage(self._body.get("usageMetadata"))
        return [*self._close(), Stop(reason, word, None, usage, extra)]

    def _fault(self, failure: Failure) -> list[Event]:
        self._over = True
        return [*self._close(), Fault(failure)]


class StreamEncoder:
    """Writes one stream for a client; lives as long as it.

    Args:
        losses: Where what cannot be said is noted.
        wants_usage: Makes no difference: Gemini's streams always tell.
    """

    def __init__(self, losses: list[Loss], *, wants_usage: bool) -> None:  # noqa: ARG002 - see above
        self._losses = losses
        self._head: dict[str, Any] = {}
        self._own = False
        self._speech = Speech(losses, own=False, answers=True)
        self._parts: list[dict[str, Any]] = []  # not written yet
        self._logprobs: list[Logprob] = []  # of those
        self._growing: dict[str, Any] = {}  # the part that more text of the open block may join
        self._block: Block | None = None
        self._before: type[Block] | None = None  # the type of the block before
        self._number = -1
        self._mark: dict[str, Any] = {}  # of the open thought
        self._arguments: list[str] = []  # of the open call
        self._signature = ""
        self._extra: dict[str, Any] = {}  # of the open block
        self._calls = False
        self._start_extra: Mapping[str, Any] = {}

    def give(self, events: Sequence[Event]) -> bytes:
        """The events as whole frames."""
        frames: list[bytes] = []
        for event in events:
            match event:
                case Start():
                    self._start(event)
                case BlockStart(block):
                    self._begin(block)
                case Delta():
                    self._grow(event)
                case BlockStop():
                    self._end()
                case Stop():
                    frames.append(self._last(event))
                case Fault():
                    self._parts.clear()
        if self._parts:
            frames.append(_frame(self._chunk()))
        return b"".join(frames)

    def _start(self, start: Start) -> None:
        self._own = start.dialect is _OWN
        self._speech = Speech(self._losses, own=self._own, answers=True)
        self._head = head_of(start.id, start.model, start.created_s)
        usage = encode_usage(start.usage)
        if usage is not None:
            self._head["usageMetadata"] = usage
        self._start_extra = start.extra

    @property
    def _path(self) -> str:
        return f"content[{self._number}]"

    def _begin(self, block: Block) -> None:
        self._block = block
        self._growing = {}
        self._number += 1
        self._arguments.clear()
        self._signature = ""
        self._extra = {}
        match block:
            case Text():
                self._signature = block.signature or ""
                self._speech.note_text(block, self._path)
            case Thinking():
                follows = self._before is Thinking
                self._mark = self._speech.mark(block, follows=follows)
                self._signature = block.signature or ""
                if not self._own:
                    foreign(self._losses, block.extra, self._path, _OWN)
            case ToolUse():
                self._arguments.append(block.arguments)
                self._calls = True
            case _:
                self._parts += self._speech.parts(block, self._path)
        self._before = type(block)

    def _grow(self, delta: Delta) -> None:
        if isinstance(self._block, ToolUse):
            self._arguments.append(delta.text)
        elif delta.text and isinstance(self._block, Text | Thinking):
            self._say(delta.text)
        self._signature += delta.signature or ""
        self._logprobs += delta.logprobs
        self._extra |= delta.extra
        if not self._own:
            foreign(self._losses, delta.extra, self._path, _OWN)

    def _say(self, text: str) -> None:
        """More text; what of the same block has not been written yet takes it in."""
        if self._parts and self._parts[-1] is self._growing:
            self._growing["text"] += text
            return
        thinks = isinstance(self._block, Thinking)
        self._growing = self._speech.thought(text, None, self._mark) if thinks else {"text": text}
        self._parts.append(self._growing)

    def _end(self) -> None:
        block = self._block
        if isinstance(block, ToolUse):
            whole = msgspec.structs.replace(
                block,
                arguments="".join(self._arguments) or "{}",
                signature=self._signature or block.signature,
                extra={**block.extra, **self._extra},
            )
            self._parts.append(self._speech.call(whole, self._path))
        elif isinstance(block, Thinking) and (self._signature or block.redacted):
            self._parts.append(self._speech.thought("", self._signature or None, self._mark))
        elif isinstance(block, Text) and self._signature:
            self._parts.append({"text": "", "thoughtSignature": self._signature})
        if self._own and self._parts and isinstance(block, Text | Thinking):
            restored(self._parts[-1], {**block.extra, **self._extra})
        self._block = None

    def _chunk(self) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": self._parts, "role": "model"}, "index": 0}
        if self._logprobs:
            candidate["logprobsResult"] = encode_logprobs(self._logprobs, "content", self._losses)
        self._parts, self._logprobs = [], []
        return {"candidates": [candidate], **self._head}

    def _last(self, stop: Stop) -> bytes:
        self._parts = self._parts or [{"text": ""}]
        if self._start_extra:
            stop = msgspec.structs.replace(stop, extra={**self._start_extra, **stop.extra})
        return _frame(finished(self._chunk(), stop, self._losses, own=self._own, calls=self._calls))


def _frame(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"
