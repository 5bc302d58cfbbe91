"""Gemini's parts and the hub's blocks, both ways; requests and answers are made of the same parts.

A part is exactly one of `text` (a thought, if it says so), `inlineData`, `fileData`, `functionCall`,
`functionResponse` or something that only Google knows, which is kept as it is.

**Signatures.** `thoughtSignature` may stand on any part and goes back on that very part. Newer models
refuse a history in which the first call of a turn has none, and refuse one that is not theirs. A call
that another vendor made is therefore given the value that Google documents for this case, which the hub
knows as no signature. What another vendor signed stands in `partMetadata`, which clients hand back and
Google leaves alone, so that it survives even when turns are answered by different vendors.

**Results.** A `response` is an object, other dialects have text: `{"output": "text"}` and
`{"error": "text"}` are what the text in them says, any other object is its JSON.

Source: ai.google.dev/gemini-api/docs/thought-signatures and /function-calling (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

import msgspec

from sidecar.dialects.dialect import Untranslatable
from sidecar.dialects.gemini_fields import items, obj, restored, string, wrong
from sidecar.dialects.gemini_media import decode_file, decode_inline, encode_media
from sidecar.dialects.losses import NOTE, changed, dropped, foreign
from sidecar.model.blocks import Block, Media, Opaque, Text, Thinking, ToolResult, ToolUse
from sidecar.model.hub import Loss
from sidecar.model.topology import Dialect

__all__ = ["SIGNED", "SKIP", "Speech", "decode_part", "decode_result", "gathered", "json_text", "thought_mark"]

SKIP = "skip_thought_signature_validator"

_OWN = Dialect.GEMINI_GENERATE
_KINDS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
SIGNED = f"{NOTE}thoughtSignature"
_MARK = "sidecar"  # our name in partMetadata
_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder().decode


def json_text(value: Any) -> str:
    """The value as JSON."""
    return _ENCODE(value).decode()


# -- parts to blocks


def decode_part(part: Any, path: str, call_id: Callable[[], str]) -> Block:
    """The block that a part is.

    Args:
        part: With its names spelt as Google spells them.
        path: Of it.
        call_id: Gives a name to a call that has none.

    Raises:
        ValidationError: When a field is not what it must be.
    """
    fields = obj(part, path)
    kinds = [name for name in _KINDS if fields.get(name) is not None]
    if len(kinds) > 1:
        raise wrong(path, f"one of {' and '.join(kinds)}, not both", fields)
    thought = fields.get("thought")
    if thought is not None and not isinstance(thought, bool):
        raise wrong(f"{path}.thought", "true or false", thought)
    if thought and kinds in ([], ["text"]) and fields.keys() <= {"text", "thought", "thoughtSignature", "partMetadata"}:
        return _thinking(fields, path)
    if not kinds or (thought and kinds != ["functionCall"]):
        return Opaque(_OWN, fields)
    kind = kinds[0]
    signature, extra = _beside(fields, kind, path)
    inner, at = fields[kind], f"{path}.{kind}"
    match kind:
        case "text":
            return Text(string(inner, at), signature=signature, extra=extra)
        case "inlineData" | "fileData":
            decode = decode_inline if kind == "inlineData" else decode_file
            signed = {SIGNED: signature} if signature else {}
            return decode(obj(inner, at), at, {**extra, **signed})
        case "functionCall":
            return _call(obj(inner, at), at, signature, extra, call_id)
        case _:
            return _result(obj(inner, at), at, {**extra, **({SIGNED: signature} if signature else {})})


def _beside(fields: Mapping[str, Any], kind: str, path: str) -> tuple[str | None, dict[str, Any]]:
    """The part's signature, and what else stands beside its content."""
    signature = fields.get("thoughtSignature")
    if signature is not None:
        string(signature, f"{path}.thoughtSignature")
    extra = {name: value for name, value in fields.items() if name not in (kind, "thought", "thoughtSignature")}
    if "thought" in fields:
        extra[f"{NOTE}thought"] = fields["thought"]
    if signature in (SKIP, ""):
        extra[SIGNED] = signature
        signature = None
    return signature, extra


def _thinking(fields: Mapping[str, Any], path: str) -> Thinking:
    text = fields.get("text")
    signature = fields.get("thoughtSignature")
    extra: dict[str, Any] = {f"{NOTE}text": None} if text is None else {}
    metadata = fields.get("partMetadata")
    mark = thought_mark(fields)
    if metadata is not None and mark is None:
        extra["partMetadata"] = metadata
    if mark is not None and "signer" in mark:
        given = mark.get("signature")
        signer = next((dialect for dialect in Dialect if dialect.value == mark["signer"]), None)
        signed = given if isinstance(given, str) else None
        return Thinking(_thought_text(text, path), signed, signer, mark.get("redacted") is True, extra)
    if signature is not None and not string(signature, f"{path}.thoughtSignature"):
        extra[SIGNED] = signature
    return Thinking(_thought_text(text, path), signature or None, _OWN, extra=extra)


def _thought_text(text: Any, path: str) -> str:
    return "" if text is None else string(text, f"{path}.text")


def thought_mark(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What this module has written on a thought: `block`, its number; `signer`, `signature`, `redacted`."""
    metadata = fields.get("partMetadata")
    mark = metadata.get(_MARK) if isinstance(metadata, dict) and len(metadata) == 1 else None
    return mark if isinstance(mark, dict) else None


def gathered(parts: Sequence[Any]) -> list[Any]:
    """The parts, those joined that are one thought of another vendor: clients hand a stream's pieces back as they came.

    His signature is of the whole thought, and stands on the last piece.
    """
    whole: list[Any] = []
    for part in parts:
        mark, before = _lent(part), _lent(whole[-1]) if whole else {}
        if mark and before and "signature" not in before and {**mark, "signature": ""} == {**before, "signature": ""}:
            whole[-1] = {**part, "text": whole[-1].get("text", "") + part.get("text", "")}
        else:
            whole.append(part)
    return whole


def _lent(part: Any) -> Mapping[str, Any]:
    """The mark of a thought that another vendor signed or will sign."""
    if not isinstance(part, dict) or part.get("thought") is not True or not isinstance(part.get("text", ""), str):
        return {}
    mark = thought_mark(part) or {}
    return mark if mark.get("signer") and not mark.get("redacted") else {}


def _call(
    call: Mapping[str, Any], path: str, signature: str | None, extra: dict[str, Any], call_id: Callable[[], str]
) -> ToolUse | Opaque:
    if "partialArgs" in call or call.get("willContinue") is not None:
        part = {"functionCall": call, **extra, **({"thoughtSignature": signature} if signature else {})}
        return Opaque(_OWN, {name.removeprefix(NOTE): value for name, value in part.items()})
    name = string(call.get("name"), f"{path}.name") if "name" in call else None
    if not name:
        raise wrong(f"{path}.name", "the name of a function", call.get("name", ...))
    args, id_ = call.get("args"), call.get("id")
    if id_ is not None:
        string(id_, f"{path}.id")
    rest = _unknown(call, "functionCall", {"name", "args", "id"})
    if not id_:
        rest[f"{NOTE}functionCall.id"] = id_
    if args is None:
        rest[f"{NOTE}functionCall.args"] = None
    arguments = "{}" if args is None else json_text(obj(args, f"{path}.args"))
    return ToolUse(id_ or call_id(), name, arguments, signature=signature, extra={**extra, **rest})


def _result(result: Mapping[str, Any], path: str, extra: dict[str, Any]) -> ToolResult:
    """A result whose id is "" where it has none: who knows the calls must find the one that it belongs to."""
    name, id_, response = result.get("name"), result.get("id"), result.get("response")
    if name is not None:
        string(name, f"{path}.name")
    if id_ is not None:
        string(id_, f"{path}.id")
    rest = _unknown(result, "functionResponse", {"name", "id", "response", "parts"})
    for field, value in (("id", id_), ("name", name)):
        if not value:
            rest[f"{NOTE}functionResponse.{field}"] = value
    texts, is_error = decode_result(obj({} if response is None else response, f"{path}.response"))
    if response is None or _response(texts, is_error=is_error) != response:
        rest[f"{NOTE}functionResponse.response"] = response
    parts = result.get("parts")
    if parts == []:
        rest[f"{NOTE}functionResponse.parts"] = parts
    media = [
        _result_part(part, f"{path}.parts[{place}]")
        for place, part in enumerate([] if parts is None else items(parts, f"{path}.parts"))
    ]
    blocks = (*map(Text, texts), *media)
    return ToolResult(id_ or "", blocks, is_error, name or None, extra={**extra, **rest})


def _result_part(part: Any, path: str) -> Media | Opaque:
    block = decode_part(part, path, str)
    return block if isinstance(block, Media) else Opaque(_OWN, obj(part, path))


def _unknown(fields: Mapping[str, Any], holder: str, known: set[str]) -> dict[str, Any]:
    return {f"{holder}.{name}": value for name, value in fields.items() if name not in known}


def decode_result(response: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The texts that a function's response comes to, and whether it is an error."""
    if len(response) == 1:
        ((name, value),) = response.items()
        if name in ("output", "error", "result"):
            return _texts(value), name == "error"
    return [json_text(response)], False


def _texts(value: Any) -> list[str]:
    if isinstance(value, list) and len(value) > 1 and all(isinstance(item, str) for item in value):
        return list(value)
    return [value if isinstance(value, str) else json_text(value)]


def _response(texts: list[str], *, is_error: bool) -> dict[str, Any]:
    """The object that a function's response must be."""
    told: Any = texts if len(texts) > 1 else "".join(texts)
    said = _object(told) if isinstance(told, str) else None
    if said is not None and is_error:
        return {"error": said}
    if said is not None and decode_result(said) == ([json_text(said)], False):
        return said
    return {"error" if is_error else "output": told}


def _object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = _DECODE(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


# -- blocks to parts


class Speech:
    """Says the blocks of one message as parts; lives as long as the message.

    Args:
        losses: Where what cannot be said is noted.
        own: The message comes from this dialect.
        names: Of the functions that were called, by the calls' ids.
        answers: It is an answer, whose client may hand back what it does not understand.
        holds_media: The model takes media as a part of a function's response.
    """

    def __init__(
        self,
        losses: list[Loss],
        *,
        own: bool,
        names: Mapping[str, str] | None = None,
        answers: bool = False,
        holds_media: bool = True,
    ) -> None:
        self._losses = losses
        self._own = own
        self._names = names or {}
        self._answers = answers
        self._holds_media = holds_media
        self._called = False  # a call has been said, so that the next needs no signature
        self._thoughts = 0
        self.skipped = False  # a call was given the value that stands for no signature

    def parts(self, block: Block, path: str) -> list[dict[str, Any]]:
        """The parts that a block comes to, none when it cannot be said.

        Raises:
            Untranslatable: When a result has no call that it belongs to.
        """
        match block:
            case Text():
                return self._text(block, path)
            case Thinking():
                return self._thought(block, path)
            case ToolUse():
                return [self.call(block, path)]
            case ToolResult():
                return self._result(block, path)
            case Media():
                part = encode_media(block, path, self._losses, own=self._own)
                return [] if part is None else [part]
            case Opaque(dialect, raw):
                if dialect is _OWN:
                    return [dict(raw)]
                dropped(self._losses, path, f"only {dialect.value} knows what this is")
                return []
            case _:
                assert_never(block)

    def _text(self, block: Text, path: str) -> list[dict[str, Any]]:
        if not self._own and not block.text and not block.signature:
            return []
        self.note_text(block, path)
        part: dict[str, Any] = {"text": block.text}
        if block.signature:
            part["thoughtSignature"] = block.signature
        return [restored(part, block.extra) if self._own else part]

    def note_text(self, block: Text, path: str) -> None:
        """Note what a text is beside its words."""
        if block.refusal:
            changed(self._losses, path, "a refusal is said as text")
        if block.cache is not None:
            dropped(self._losses, f"{path}.cache_control", "Gemini caches prompts by itself")
        if not self._own:
            foreign(self._losses, block.extra, path, _OWN)

    def mark(self, block: Thinking, *, follows: bool) -> dict[str, Any]:
        """What must stand on every part of a thought that is not simply Google's own.

        Args:
            block: As it begins.
            follows: Right after another thought, from which it must be told apart.
        """
        self._thoughts += 1
        mark: dict[str, Any] = {"block": self._thoughts} if follows else {}
        if block.redacted or block.signer not in (None, _OWN):
            mark["signer"] = block.signer.value if block.signer else ""
        if block.redacted:
            mark["redacted"] = True
        return mark

    def thought(self, text: str, signature: str | None, mark: Mapping[str, Any]) -> dict[str, Any]:
        """One part of a thought."""
        part: dict[str, Any] = {"text": text, "thought": True}
        if signature and "signer" in mark:
            mark = {**mark, "signature": signature}
        elif signature:
            part["thoughtSignature"] = signature
        if mark:
            part["partMetadata"] = {_MARK: dict(mark)}
        return part

    def _thought(self, block: Thinking, path: str) -> list[dict[str, Any]]:
        if not self._own:
            foreign(self._losses, block.extra, path, _OWN)
            if not self._answers and (block.signer is not _OWN or not block.signature or block.redacted):
                dropped(self._losses, path, "Gemini takes back no thoughts but its own")
                return []
        part = self.thought(block.text, block.signature, self.mark(block, follows=False))
        return [restored(part, block.extra) if self._own else part]

    def call(self, block: ToolUse, path: str) -> dict[str, Any]:
        """A whole call."""
        args = _object(block.arguments or "{}")
        if args is None and block.arguments == "null":
            changed(self._losses, f"{path}.arguments", "null is said as no arguments")
            args = {}
        elif args is None:
            changed(self._losses, f"{path}.arguments", "they are no JSON object, and are said as a text within one")
            args = {"arguments": block.arguments}
        part: dict[str, Any] = {"functionCall": {"id": block.id, "name": block.name, "args": args}}
        if block.signature:
            part["thoughtSignature"] = block.signature
        elif not self._own and not self._called:
            part["thoughtSignature"] = SKIP
            self.skipped = True
        self._called = True
        if block.cache is not None:
            dropped(self._losses, f"{path}.cache_control", "Gemini caches prompts by itself")
        if self._own:
            return restored(part, block.extra)
        foreign(self._losses, block.extra, path, _OWN)
        return part

    def _result(self, block: ToolResult, path: str) -> list[dict[str, Any]]:
        texts: list[str] = []
        media: list[dict[str, Any]] = []
        for place, inner in enumerate(block.blocks):
            at = f"{path}.content[{place}]"
            if isinstance(inner, Text):
                self.note_text(inner, at)
                texts.append(inner.text)
            else:
                media += self.parts(inner, at)
        if block.cache is not None:
            dropped(self._losses, f"{path}.cache_control", "Gemini caches prompts by itself")
        if not self._own and not self._answers and block.id not in self._names:
            raise Untranslatable(f'{path}: Gemini must be told the call that "{block.id}" answers, which is not there')
        name = block.name or self._names.get(block.id) or block.id
        result: dict[str, Any] = {"id": block.id, "name": name, "response": _response(texts, is_error=block.is_error)}
        part: dict[str, Any] = {"functionResponse": result}
        if media and self._holds_media:
            result["parts"] = media
            media = []
        elif media:
            changed(self._losses, path, "what is no text of a function's response is said right after it")
        if self._own:
            return [restored(part, block.extra), *media]
        foreign(self._losses, block.extra, path, _OWN)
        return [part, *media]
