"""What a target is asked: turns become items, and whatever cannot be said is noted.

What is elsewhere a default is said: `store: false`, for a dialect that keeps nothing. Thoughts of other
vendors are left out, for their signatures mean nothing here.

Source: platform.openai.com/docs/api-reference/responses/create (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import groupby
from types import MappingProxyType
from typing import Any, assert_never

from sidecar.dialects.dialect import Untranslatable, check_choices
from sidecar.dialects.fitting import fit
from sidecar.dialects.losses import NOTE, added, dropped, foreign
from sidecar.dialects.media import data_url
from sidecar.dialects.openai_responses_items import (
    DIALECT,
    call_item,
    given_back,
    minted,
    output_part,
    thinking_item,
)
from sidecar.dialects.openai_responses_options import options
from sidecar.dialects.openai_responses_reading import BREAKPOINT, ENCRYPTED, PARTS
from sidecar.dialects.openai_shared import OUR_FILES, SAFETY, detail_of_chat, file_name, of_chat
from sidecar.model.blocks import (
    Block,
    CacheMark,
    Media,
    MediaKind,
    Message,
    Opaque,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from sidecar.model.hub import HubRequest, Loss, Wire
from sidecar.model.topology import Dialect, Operation

__all__ = ["UNSAID", "encode_request"]

UNSAID = ("top_k", "stop", "seed", "presence_penalty", "frequency_penalty")
"""Fields of the hub that the dialect does not have."""

_SAID: Mapping[str, str] = MappingProxyType(
    {
        "parallel_tools": "parallel_tool_calls",
        "max_tokens": "max_output_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "top_logprobs": "top_logprobs",
        "user": "user",
    }
)
_SAID_ELSEWHERE = frozenset({"include", "text", f"{NOTE}input", NOTE + ENCRYPTED, SAFETY})
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority"})
_MIN_OUTPUT_TOKENS = 16
_MAX_CALL_ID_CHARS = 64
_SCHEMES = ("http://", "https://")


def encode_request(request: HubRequest, wire: Wire, losses: list[Loss]) -> dict[str, Any]:
    """See `dialect.Codec`."""
    check_choices(request)
    own = request.dialect is DIALECT
    body: dict[str, Any] = {"model": wire.model, **_conversation(request, losses)}
    for name, field in _SAID.items():
        if (value := getattr(request, name)) is not None:
            body[field] = value
    if SAFETY in request.extra and "user" in body:
        body["safety_identifier"] = body.pop("user")
    for name in UNSAID:
        if getattr(request, name) not in (None, ()):
            dropped(losses, name, f"{DIALECT.value} has no such field")
    body |= options(request, wire, losses)
    if request.stream:
        body["stream"] = True
    if own:
        body |= _own_fields(request)
    else:
        _fit_to_rules(body, request, losses)
        said, rest = of_chat(request.extra) if request.dialect is Dialect.OPENAI_CHAT else ({}, request.extra)
        if "text" in said:
            said["text"] = {**body.get("text", {}), **said["text"]}
        body |= said
        foreign(losses, rest, "", DIALECT)
    fit(body, Operation.RESPONSES, wire, losses)
    return body


def _own_fields(request: HubRequest) -> dict[str, Any]:
    """What is said at the top level in the dialect's own words."""
    fields = {"metadata": request.metadata, "service_tier": request.service_tier, "store": request.store}
    written = {name: value for name, value in fields.items() if value is not None}
    extra = {name: value for name, value in request.extra.items() if name not in _SAID_ELSEWHERE}
    if extra.get("store") is True:  # it was not said
        del extra["store"]
    return written | given_back(extra)


def _fit_to_rules(body: dict[str, Any], request: HubRequest, losses: list[Loss]) -> None:
    """What the dialect demands of requests that were not written in it."""
    body["store"] = request.store or False
    if (request.max_tokens or _MIN_OUTPUT_TOKENS) < _MIN_OUTPUT_TOKENS:
        body["max_output_tokens"] = _MIN_OUTPUT_TOKENS
        added(losses, "max_tokens", f"at least {_MIN_OUTPUT_TOKENS} are demanded")
    if request.service_tier in _TIERS:
        body["service_tier"] = request.service_tier
    elif request.service_tier is not None:
        dropped(losses, "service_tier", f"{request.service_tier} is none of {', '.join(sorted(_TIERS))}")
    if request.metadata is not None:
        body["metadata"] = {name: value for name, value in request.metadata.items() if isinstance(value, str)}
        for name in request.metadata.keys() - body["metadata"].keys():
            dropped(losses, f"metadata.{name}", "only texts can be said")


# -- the conversation


def _conversation(request: HubRequest, losses: list[Loss]) -> dict[str, Any]:
    own = request.dialect is DIALECT
    said: dict[str, Any] = {}
    items: list[dict[str, Any]] = []
    for place, message in enumerate(request.messages):
        if own and f"{NOTE}instructions" in message.extra and isinstance(message.blocks[0], Text):
            said["instructions"] = message.blocks[0].text
        else:
            items += _Turn(message, f"messages[{place}]", losses, request.dialect).items()
    if request.messages and not items and not said:
        raise Untranslatable(f"nothing is left of the conversation that {DIALECT.value} could say")
    text = items[0]["content"] if own and f"{NOTE}input" in request.extra and len(items) == 1 else None
    said["input"] = items if text is None else text
    return said


class _Turn:
    """One turn on its way to items.

    Args:
        message: The turn.
        path: Its own.
        losses: What it loses.
        dialect: That it was said in.
    """

    def __init__(self, message: Message, path: str, losses: list[Loss], dialect: Dialect) -> None:
        self._message = message
        self._path = path
        self._losses = losses
        self._own = dialect is DIALECT
        self._of_chat = dialect is Dialect.OPENAI_CHAT
        self._keeps_files = dialect in OUR_FILES
        self._extra = message.extra

    def items(self) -> Iterator[dict[str, Any]]:
        """The items, in order."""
        message = self._message
        if message.name is not None:
            dropped(self._losses, f"{self._path}.name", f"{DIALECT.value} has no names of participants")
        if not self._own:
            foreign(self._losses, message.extra, self._path, DIALECT)
        if not message.blocks and self._own:
            yield self._wrapped([])
        # Beside texts and media, what nobody understands is a part of the message; alone it is an item.
        holds_parts = PARTS in message.extra or any(isinstance(block, Text | Media) for block in message.blocks)
        places = enumerate(message.blocks)
        for is_part, run in groupby(places, lambda each: _is_part(each[1], among_parts=holds_parts)):
            blocks = [(block, f"{self._path}.content[{place}]") for place, block in run]
            if is_part:
                yield from self._message_item(blocks)
            else:
                for block, path in blocks:
                    yield from self._item(block, path)

    def _message_item(self, blocks: list[tuple[Block, str]]) -> Iterator[dict[str, Any]]:
        parts = [part for block, path in blocks for part in self._part(block, path)]
        plain = all(set(part) <= _PLAIN_PART and "text" in part for part in parts)
        # An assistant's list of parts has an id in the documentation, which nobody else's message has.
        joined = not self._own and self._message.role is Role.ASSISTANT
        if parts and plain and (joined or (self._message.bare and len(parts) == 1)):
            yield self._wrapped("".join(part["text"] for part in parts))
        elif parts:
            yield self._wrapped(parts)

    def _wrapped(self, content: Any) -> dict[str, Any]:
        """A message item; what the turn has beside its blocks goes to the first."""
        item = {"role": self._message.role.value, "content": content}
        if self._own:
            item |= given_back({name: value for name, value in self._extra.items() if name != PARTS})
            self._extra = {}
        return item

    def _item(self, block: Block, path: str) -> Iterator[dict[str, Any]]:
        match block:
            case Thinking():
                if minted(block) or not (self._own or block.signature):
                    dropped(self._losses, path, f"{DIALECT.value} takes back only thoughts that it has encrypted")
                else:
                    self._foreign(block.extra, path)
                    yield thinking_item(block, own=self._own)
            case ToolUse():
                self._note_marks(block.cache, block.signature, path)
                self._foreign(block.extra, path)
                yield {**call_item(block, own=self._own), "call_id": _call_id(block.id)}
            case ToolResult():
                yield self._result(block, path)
            case Opaque(dialect, raw):
                if dialect is DIALECT:
                    yield dict(raw)
                else:
                    dropped(self._losses, path, f"only {dialect.value} knows what it is")
            case Text() | Media():
                raise AssertionError("a part of a message")
            case _:
                assert_never(block)

    def _result(self, block: ToolResult, path: str) -> dict[str, Any]:
        self._note_marks(block.cache, None, path)
        self._foreign(block.extra, path)
        if block.is_error:
            dropped(self._losses, f"{path}.is_error", f"{DIALECT.value} does not tell that a tool failed")
        item: dict[str, Any] = {"type": "function_call_output", "call_id": _call_id(block.id)}
        inner = [(each, f"{path}.content[{place}]") for place, each in enumerate(block.blocks)]
        parts = [part for each, where in inner for part in self._part(each, where, of_result=True)]
        texts = [part["text"] for part in parts if set(part) == {"type", "text"}]
        item["output"] = texts[0] if block.bare and len(parts) == len(texts) == 1 else parts
        if block.bare and not parts:
            item["output"] = ""
        return {**item, **given_back(block.extra)} if self._own else item

    def _part(self, block: Block, path: str, *, of_result: bool = False) -> Iterator[dict[str, Any]]:
        spoken = self._message.role is Role.ASSISTANT and not of_result
        match block:
            case Text():
                self._note_marks(None, block.signature, path)
                self._foreign(block.extra, path)
                yield self._text_part(block, path, spoken=spoken)
            case Media():
                yield from self._media_part(block, path, spoken=spoken)
            case Opaque(dialect, raw):
                if dialect is DIALECT:
                    yield dict(raw)
                else:
                    dropped(self._losses, path, f"only {dialect.value} knows what it is")
            case Thinking() | ToolUse() | ToolResult():
                raise AssertionError("an item of its own")
            case _:
                assert_never(block)

    def _text_part(self, block: Text, path: str, *, spoken: bool) -> dict[str, Any]:
        if spoken or block.refusal:
            part = output_part(block, own=self._own, logprobs=False)
            if self._own and "annotations" not in block.extra:
                part.pop("annotations", None)
        else:
            part = {"type": "input_text", "text": block.text, **(given_back(block.extra) if self._own else {})}
            if block.logprobs:
                part["logprobs"] = []
                dropped(self._losses, f"{path}.logprobs", "only an assistant's text has likelihoods")
        return {**part, **self._cached(block.cache, path)}

    def _media_part(self, block: Media, path: str, *, spoken: bool) -> Iterator[dict[str, Any]]:
        reason = _refused(block, own=self._own, spoken=spoken)
        if block.file_id is not None and not self._keeps_files:
            reason = f"the file {block.file_id} is in another provider's store"
        detail, rest = detail_of_chat(block.extra) if self._of_chat and not reason else ({}, block.extra)
        self._foreign(rest, path)
        if reason:
            dropped(self._losses, path, reason)
            return
        part = {**_MEDIA[block.kind](self, block, path), **detail}
        if self._own:
            part |= given_back(block.extra)
        yield {**part, **self._cached(block.cache, path)}

    def image(self, block: Media, path: str) -> dict[str, Any]:
        if block.name is not None:
            dropped(self._losses, f"{path}.name", "an image has no name")
        part: dict[str, Any] = {"type": "input_image"}
        if block.file_id is not None:
            part["file_id"] = block.file_id
        else:
            part["image_url"] = data_url(block)
        return part if self._own else {**part, "detail": "auto"}

    def file(self, block: Media, path: str) -> dict[str, Any]:
        part: dict[str, Any] = {"type": "input_file"}
        if block.file_id is not None:
            part["file_id"] = block.file_id
        elif block.url is not None:
            part["file_url"] = block.url
        else:
            part["file_data"] = block.inline if self._own and block.mime is None else data_url(block)
        if block.name is not None:
            part["filename"] = block.name
        elif not self._own and block.inline is not None:
            part["filename"] = file_name(block.mime)
            added(self._losses, f"{path}.name", "a file has a name")
        return part

    def audio(self, block: Media, path: str) -> dict[str, Any]:
        if block.name is not None:
            dropped(self._losses, f"{path}.name", "a sound has no name")
        audio = {"data": block.inline, "format": (block.mime or "").removeprefix("audio/")}
        return {"type": "input_audio", "input_audio": audio}

    def _cached(self, mark: CacheMark | None, path: str) -> dict[str, Any]:
        if mark is not None and self._own and mark.ttl is None:
            return {"prompt_cache_breakpoint": dict(BREAKPOINT)}
        self._note_marks(mark, None, path)
        return {}

    def _note_marks(self, mark: CacheMark | None, signature: str | None, path: str) -> None:
        if mark is not None:
            dropped(self._losses, f"{path}.cache_control", f"{DIALECT.value} caches by itself")
        if signature is not None:
            dropped(self._losses, f"{path}.signature", f"{DIALECT.value} has no place for it")

    def _foreign(self, extra: Mapping[str, Any], path: str) -> None:
        if not self._own:
            foreign(self._losses, extra, path, DIALECT)


def _call_id(id_: str) -> str:
    """The id, shortened to what is taken; some put more into it than a name."""
    if len(id_) <= _MAX_CALL_ID_CHARS:
        return id_
    return f"call_{sha256(id_.encode('utf-8', 'replace')).hexdigest()[:32]}"


_PLAIN_PART = frozenset({"type", "text", "annotations"})
_MEDIA = MappingProxyType({MediaKind.IMAGE: _Turn.image, MediaKind.DOCUMENT: _Turn.file, MediaKind.AUDIO: _Turn.audio})


def _is_part(block: Block, *, among_parts: bool) -> bool:
    return isinstance(block, Text | Media) or (isinstance(block, Opaque) and among_parts)


def _refused(block: Media, *, own: bool, spoken: bool) -> str | None:
    """Why a medium cannot be said."""
    if spoken and not own:
        return "an assistant's message is text"
    if block.kind not in _MEDIA or (block.kind is MediaKind.AUDIO and (block.inline is None or not own)):
        return f"{DIALECT.value} takes no {block.kind.value}"
    if not own and block.url is not None and not block.url.startswith(_SCHEMES):
        return "only http and https are fetched"
    return None
