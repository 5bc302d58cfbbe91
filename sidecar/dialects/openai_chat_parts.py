"""What messages of chat completions are made of: content parts, calls, thoughts; both ways.

Requests and answers share these. What is read here has been asked for by a client, and is refused with its
path when it cannot be understood; a part of a kind that is not known is kept whole.

Thoughts travel as OpenRouter spells them: their text in `reasoning_content` (or `reasoning`), and where
they are signed also in `reasoning_details`, whose `format` tells who signed: only so can a client that
hands them back have them accepted. Gemini's signatures of calls and texts are in
`extra_content.google.thought_signature`, as Google's own compatible endpoint has them.

Sources (read 2026-11): platform.openai.com/docs/api-reference/chat/create;
openrouter.ai/docs/use-cases/reasoning-tokens; openrouter.ai/docs/features/prompt-caching;
ai.google.dev/gemini-api/docs/thought-signatures;
docs.mistral.ai/capabilities/reasoning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from sidecar.dialects.loose import object_of, objects, text, thoughts
from sidecar.dialects.media import checked_base64, data_url, media_of_url
from sidecar.dialects.openai_chat_spelling import difference, said_as
from sidecar.model.blocks import Block, CacheMark, Media, MediaKind, Opaque, Text, Thinking, ToolUse
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure, Kind
from sidecar.model.topology import Dialect

__all__ = [
    "AUDIO_FORMATS",
    "AUDIO_MIMES",
    "DETAILS",
    "FORMATS",
    "IN_CONTENT",
    "SIGNERS",
    "call_of",
    "content_thought_of",
    "details_of",
    "mark_of",
    "part_of",
    "read_call",
    "read_content_thought",
    "read_details",
    "read_mark",
    "read_part",
    "read_signature",
    "read_thoughts",
    "signature_of",
    "signed",
    "spoken",
    "wrong",
]

OWN = Dialect.OPENAI_CHAT

AUDIO_FORMATS: Mapping[str, str] = MappingProxyType(
    {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
)
AUDIO_MIMES: Mapping[str, str] = MappingProxyType({"wav": "audio/wav", "mp3": "audio/mpeg"})

# Who signed a thought, by the `format` of its details: the customary name, or one made of the dialect's. Any
# other format only this dialect can take back.
FORMATS: Mapping[Dialect, str] = MappingProxyType(
    {dialect: f"{dialect.value}-v1" for dialect in Dialect}
    | {
        Dialect.ANTHROPIC_MESSAGES: "anthropic-claude-v1",
        Dialect.OPENAI_RESPONSES: "openai-responses-v1",
        Dialect.GEMINI_GENERATE: "google-gemini-v1",
    }
)
_NOBODY = "unknown"
_FORMAT = "~format"  # the format of who signed in a way that only this dialect knows
SIGNERS: Mapping[str, Dialect] = MappingProxyType({format_: signer for signer, format_ in FORMATS.items()})

IN_CONTENT = "~thinking"  # a thought that is a part of the content, as Mistral has it
DETAILS = "~reasoning_details"  # the details as they were written: there are several ways to the same thoughts


def wrong(path: str, words: str) -> ValidationError:
    """What is wrong at a path of the request, and what would be right."""
    return ValidationError(failure=Failure(Kind.INVALID_REQUEST, f"{path} {words}", param=path))


def _inside(part: Mapping[str, Any], name: str, path: str) -> Mapping[str, Any]:
    inner = part.get(name)
    if not isinstance(inner, dict):
        raise wrong(f"{path}.{name}", "must be an object")
    return inner


def _string(part: Mapping[str, Any], name: str, path: str) -> str:
    value = part.get(name)
    if not isinstance(value, str):
        raise wrong(f"{path}.{name}", "must be a text")
    return value


# -- content parts


def read_part(part: Any, path: str) -> Text | Media | Thinking | Opaque:
    """One part of a message's content.

    Raises:
        ValidationError: When it is not what its type says.
    """
    if not isinstance(part, dict):
        raise wrong(path, 'must be an object such as {"type": "text", "text": "..."}')
    kind = part.get("type")
    read = _PARTS.get(kind) if isinstance(kind, str) else None
    if read is None:
        if not isinstance(kind, str):
            raise wrong(f"{path}.type", f"must be one of {', '.join(_PARTS)}")
        return Opaque(OWN, part)
    block = msgspec.structs.replace(read(part, path), cache=read_mark(part))
    return msgspec.structs.replace(block, extra=difference(part, _canonical(block)))


def _read_text(part: Mapping[str, Any], path: str) -> Text:
    return Text(_string(part, "text", path))


def _read_refusal(part: Mapping[str, Any], path: str) -> Text:
    return Text(_string(part, "refusal", path), refusal=True)


def _read_image(part: Mapping[str, Any], path: str) -> Media:
    if isinstance(part.get("image_url"), str):  # Mistral takes it so
        return media_of_url(part["image_url"], f"{path}.image_url", MediaKind.IMAGE)
    return _read_url("image_url", MediaKind.IMAGE, part, path)


def _read_video(part: Mapping[str, Any], path: str) -> Media:
    return _read_url("video_url", MediaKind.VIDEO, part, path)


def _read_url(name: str, kind: MediaKind, part: Mapping[str, Any], path: str) -> Media:
    return media_of_url(_string(_inside(part, name, path), "url", f"{path}.{name}"), f"{path}.{name}.url", kind)


def _read_audio(part: Mapping[str, Any], path: str) -> Media:
    audio, path = _inside(part, "input_audio", path), f"{path}.input_audio"
    data, format_ = _string(audio, "data", path), _string(audio, "format", path)
    mime = AUDIO_MIMES.get(format_, f"audio/{format_}")
    return Media(MediaKind.AUDIO, mime, inline=checked_base64(data, f"{path}.data"))


def _read_file(part: Mapping[str, Any], path: str) -> Media:
    file, path = _inside(part, "file", path), f"{path}.file"
    name = text(file.get("filename")) or None
    if file.get("file_data") is None:
        return Media(MediaKind.DOCUMENT, file_id=_string(file, "file_id", path), name=name)
    data = _string(file, "file_data", path)
    if data.startswith(("data:", "http:", "https:")):
        found = media_of_url(data, f"{path}.file_data", MediaKind.DOCUMENT)
        return msgspec.structs.replace(found, name=name)
    return Media(MediaKind.DOCUMENT, inline=checked_base64(data, f"{path}.file_data"), name=name)


_Reader = Callable[[Mapping[str, Any], str], Text | Media]
_PARTS: Mapping[str, _Reader] = MappingProxyType(
    {
        "text": _read_text,
        "refusal": _read_refusal,
        "image_url": _read_image,
        "input_audio": _read_audio,
        "file": _read_file,
        "video_url": _read_video,
    }
)


def part_of(block: Text | Media) -> dict[str, Any]:
    """The part as its client wrote it."""
    return said_as(_canonical(block), block.extra)


def _canonical(block: Text | Media) -> dict[str, Any]:
    part = _text_part(block) if isinstance(block, Text) else _MEDIA[block.kind](block)
    return part | mark_of(block.cache)


def _text_part(block: Text) -> dict[str, Any]:
    name = "refusal" if block.refusal else "text"
    return {"type": name, name: block.text}


def _image(media: Media) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(media)}}


def _video(media: Media) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": data_url(media)}}


def _audio(media: Media) -> dict[str, Any]:
    mime = media.mime or "audio/wav"
    format_ = AUDIO_FORMATS.get(mime, mime.removeprefix("audio/"))
    return {"type": "input_audio", "input_audio": {"data": media.inline, "format": format_}}


def _file(media: Media) -> dict[str, Any]:
    file = {"file_id": media.file_id} if media.file_id else {"file_data": _file_data(media)}
    return {"type": "file", "file": file | ({"filename": media.name} if media.name else {})}


def _file_data(media: Media) -> str | None:
    return media.inline if media.mime is None and media.inline else data_url(media)


_MEDIA: Mapping[MediaKind, Callable[[Media], dict[str, Any]]] = MappingProxyType(
    {MediaKind.IMAGE: _image, MediaKind.AUDIO: _audio, MediaKind.VIDEO: _video, MediaKind.DOCUMENT: _file}
)


def read_mark(part: Mapping[str, Any]) -> CacheMark | None:
    """Anthropic's cache mark on a part; None when there is none, or none that is understood."""
    mark = part.get("cache_control")
    if not isinstance(mark, dict) or mark.get("type") != "ephemeral":
        return None
    ttl = mark.get("ttl")
    return CacheMark(ttl if isinstance(ttl, str) else None)


def mark_of(cache: CacheMark | None) -> dict[str, Any]:
    """The field that marks, or none."""
    if cache is None:
        return {}
    return {"cache_control": {"type": "ephemeral"} | ({"ttl": cache.ttl} if cache.ttl else {})}


# -- calls


def read_call(call: Any, path: str) -> ToolUse:
    """A call in an assistant's message.

    Raises:
        ValidationError: When it has no id or names no function.
    """
    if not isinstance(call, dict):
        raise wrong(path, 'must be an object such as {"id": "...", "type": "function", "function": {...}}')
    id_ = _string(call, "id", path)
    if not id_:
        raise wrong(f"{path}.id", "must not be empty")
    custom = call.get("type") == "custom"
    name = "custom" if custom else "function"
    said, inner = _inside(call, name, path), f"{path}.{name}"
    arguments = _string(said, "input" if custom else "arguments", inner)
    if custom:  # text instead of JSON
        arguments = msgspec.json.encode({"input": arguments}).decode()
    block = ToolUse(
        id_,
        _string(said, "name", inner),
        arguments or "{}",
        cache=read_mark(call),
        signature=read_signature(call),
        extra={"type": "custom"} if custom else {},
    )
    return msgspec.structs.replace(block, extra={**block.extra, **difference(call, call_of(block))})


def call_of(block: ToolUse) -> dict[str, Any]:
    """The call as its client wrote it."""
    if block.extra.get("type") == "custom":
        said = {"name": block.name, "input": msgspec.json.decode(block.arguments)["input"]}
        call: dict[str, Any] = {"id": block.id, "type": "custom", "custom": said}
    else:
        said = {"name": block.name, "arguments": block.arguments}
        call = {"id": block.id, "type": "function", "function": said}
    return said_as(call | signature_of(block.signature) | mark_of(block.cache), block.extra)


def read_signature(value: Mapping[str, Any]) -> str | None:
    """Gemini's signature of a call or a message."""
    found = object_of(object_of(value.get("extra_content")).get("google")).get("thought_signature")
    return found if isinstance(found, str) and found else None


def signature_of(signature: str | None) -> dict[str, Any]:
    """The field with Gemini's signature, or none."""
    return {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}


# -- thoughts


def read_details(value: Any) -> list[Thinking]:
    """The thoughts of a message's `reasoning_details`; what is none is as if absent."""
    found: list[Thinking] = []
    for entry in objects(value):
        if found and (whole := signed(found[-1], entry)):
            found[-1] = whole
        else:
            found.append(_read_detail(entry))
    return found


def _read_detail(entry: Mapping[str, Any]) -> Thinking:
    data = text(entry.get("data"))
    signature = data or text(entry.get("signature")) or None
    format_ = text(entry.get("format"))
    signer = _signer(format_) if signature or format_ not in ("", _NOBODY) else None
    words = text(entry.get("text")) or text(entry.get("summary"))
    rare = signer is OWN and format_ != FORMATS[OWN]
    return Thinking(words, signature, signer, bool(data) and not words, {_FORMAT: format_} if rare else {})


def _signer(format_: str) -> Dialect:
    """Who signs in this format; OpenAI's SDK writes it as often as a stream's pieces did, one after the other."""
    return next((signer for known, signer in SIGNERS.items() if format_.replace(known, "") == "" != format_), OWN)


def signed(before: Thinking, entry: Mapping[str, Any]) -> Thinking | None:
    """The thought with its signature, if that is what the entry is."""
    signature = text(entry.get("data"))
    fits = before.signer in _APART and _signer(text(entry.get("format"))) is before.signer
    if not signature or not fits or before.signature:
        return None
    return msgspec.structs.replace(before, signature=signature)


_APART = frozenset({Dialect.OPENAI_RESPONSES, Dialect.GEMINI_GENERATE})  # the signature is an entry of its own


def details_of(thought: Thinking, index: int) -> list[dict[str, Any]]:
    """The entries for one thought; `index` counts thoughts."""
    format_ = thought.extra.get(_FORMAT) or (FORMATS[thought.signer] if thought.signer else _NOBODY)
    tail = {"format": format_, "index": index}
    if thought.redacted:
        return [{"type": "reasoning.encrypted", "data": thought.signature or "", **tail}]
    name = "summary" if thought.signer is Dialect.OPENAI_RESPONSES else "text"
    words: dict[str, Any] = {"type": f"reasoning.{name}", name: thought.text}
    if thought.signature is None:
        return [words | tail]
    if thought.signer not in _APART:
        return [words | {"signature": thought.signature} | tail]
    return [words | tail, {"type": "reasoning.encrypted", "data": thought.signature, **tail}]


def read_thoughts(message: Mapping[str, Any]) -> list[Thinking]:
    """Every thought beside a message's content: those with details, and the text that only stands alone."""
    words = text(message.get("reasoning_content")) or text(message.get("reasoning"))
    details = read_details(message.get("reasoning_details"))
    return list(_woven(words, details))


def _woven(words: str, details: Sequence[Thinking]) -> Iterator[Thinking]:
    """The thoughts with what of the text belongs to none of them, each in its place."""
    told = "".join([thought.text for thought in details])
    place = len(words) - len(told) if told and words.endswith(told) else 0
    if place:
        yield Thinking(words[:place])
    found = False
    for thought in details:
        at = words.find(thought.text, place) if thought.text else -1
        if at > place:
            yield Thinking(words[place:at])
        if at >= 0:
            place = at + len(thought.text)
        found = found or bool(thought.text)
        yield thought
    if place < len(words) and (place or not found):
        yield Thinking(words[place:])


def read_content_thought(part: Mapping[str, Any]) -> Thinking:
    """A thought that is a part of the content."""
    thought = Thinking(thoughts([part]), extra={IN_CONTENT: True})
    return msgspec.structs.replace(thought, extra={**thought.extra, **difference(part, content_thought_of(thought))})


def content_thought_of(thought: Thinking) -> dict[str, Any]:
    """The thought as a part of the content."""
    part = {"type": "thinking", "thinking": [{"type": "text", "text": thought.text}]}
    return said_as(part, thought.extra)


def spoken(blocks: Sequence[Block]) -> list[Thinking]:
    """The thoughts that stand beside the content."""
    return [block for block in blocks if isinstance(block, Thinking) and IN_CONTENT not in block.extra]
