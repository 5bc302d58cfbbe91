"""What a client asks for, read: items become turns, and whatever has no place of its own is kept as written.

Items are flat on the wire: a thought, a call, a message each stand alone. Neighbours of one speaker become
one turn, so that a dialect with turns gets the whole of one; a turn holds one message at most, and a message
beside items that nobody understands none of them, so that what is an item stays told from what is a part.

`store` that is not said means that the answer is kept: it is in `extra` as true, so that it is a loss where
nothing is kept. `store: false` asks for what every other dialect does anyway, and
so does `strict: false` of a tool.

Source: platform.openai.com/docs/api-reference/responses/create (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from sidecar.dialects.fields import Fields, wrong
from sidecar.dialects.losses import NOTE
from sidecar.dialects.media import checked_base64, data_url, media_of_url
from sidecar.dialects.openai_responses_items import (
    DIALECT,
    logprobs_of,
    logprobs_written,
    noted,
    thinking_of,
    tool_use_of,
)
from sidecar.dialects.openai_responses_pins import pinned
from sidecar.dialects.openai_shared import SAFETY
from sidecar.model.blocks import (
    Block,
    CacheMark,
    Media,
    MediaKind,
    Message,
    Opaque,
    Role,
    Text,
    ToolResult,
)
from sidecar.model.hub import (
    ChoiceMode,
    FormatKind,
    HubRequest,
    OutputFormat,
    Reasoning,
    Tool,
    ToolChoice,
)

__all__ = ["BREAKPOINT", "ENCRYPTED", "LOGPROBS", "PARTS", "decode_request"]

PARTS = f"{NOTE}parts"  # what a message holds is not items, though nobody understands it
LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
BREAKPOINT: Mapping[str, Any] = MappingProxyType({"mode": "explicit"})

_ROLES: Mapping[str, Role] = MappingProxyType({role.value: role for role in Role})
_MODES: Mapping[str, ChoiceMode] = MappingProxyType(
    {"auto": ChoiceMode.AUTO, "required": ChoiceMode.ANY, "none": ChoiceMode.NONE}
)
_FORMATS: Mapping[str, FormatKind] = MappingProxyType(
    {"text": FormatKind.TEXT, "json_object": FormatKind.JSON, "json_schema": FormatKind.SCHEMA}
)
# Values that change nothing.
_NEUTRAL: Mapping[str, Any] = MappingProxyType({"truncation": "disabled", "background": False})
# What the model itself says or does; every other item is a client's.
_SPOKEN = frozenset({"mcp_list_tools", "mcp_approval_request", "compaction", "program"})


def decode_request(fields: Mapping[str, Any], model: str, *, stream: bool) -> HubRequest:
    """See `dialect.Codec`."""
    body = Fields(fields, "")
    for name in ("model", "stream"):
        body.rest.pop(name, None)
    messages = (*_instructions(body), *_input(body, fields))
    store = body.flag("store")
    if store is None:
        body.rest["store"] = True
    elif not store:
        body.rest[f"{NOTE}store"], store = False, None
    includes = _include(body)
    request = HubRequest(
        DIALECT,
        model,
        messages,
        stream=stream,
        wants_usage=True,
        tools=_tools(body),
        tool_choice=_tool_choice(body),
        parallel_tools=body.flag("parallel_tool_calls"),
        format=_format(body),
        reasoning=_reasoning(body),
        max_tokens=body.count("max_output_tokens"),
        temperature=body.number("temperature"),
        top_p=body.number("top_p"),
        logprobs=True if LOGPROBS in includes else None,
        top_logprobs=body.count("top_logprobs"),
        user=_user(body),
        metadata=body.object("metadata"),
        store=store,
        service_tier=body.text("service_tier"),
    )
    for name, value in _NEUTRAL.items():
        if body.rest.get(name) == value:
            body.rest[NOTE + name] = body.rest.pop(name)
    return msgspec.structs.replace(request, extra=body.rest)


def _user(body: Fields) -> str | None:
    user, safe = body.text("user"), body.text("safety_identifier")
    if safe is None:
        return user
    body.rest[SAFETY if user is None else "safety_identifier"] = safe
    return safe if user is None else user


# -- the conversation


def _instructions(body: Fields) -> list[Message]:
    said = body.text("instructions")
    if said is None:
        return []
    return [Message(Role.SYSTEM, (Text(said),), extra={f"{NOTE}instructions": True})]


def _input(body: Fields, fields: Mapping[str, Any]) -> list[Message]:
    value = body.rest.pop("input", None)
    kept = pinned(fields) is not None
    if isinstance(value, str):
        body.rest[f"{NOTE}input"] = True
        return [Message(Role.USER, (Text(value),))]
    if isinstance(value, list):
        return _Turns(kept=kept).read(value)
    if value is None and kept:
        return []
    raise wrong("input", value, "a text or a list of items")


class _Turns:
    """Puts items together to turns; lives as long as one request is read.

    Args:
        kept: A part of the conversation is with the provider: results may be of calls that are there.
    """

    def __init__(self, *, kept: bool) -> None:
        self._kept = kept
        self._messages: list[Message] = []
        self._has_message = False  # the last turn holds a message item
        self._names: dict[str, str] = {}  # of the calls so far
        self._answered: set[str] = set()

    def read(self, items: list[Any]) -> list[Message]:
        """The turns of all items."""
        for place, item in enumerate(items):
            path = f"input[{place}]"
            fields = Fields(item, path)
            kind = fields.text("type")
            if kind in (None, "message") and "role" in item:
                self._take_message(_message(item, path))
            elif kind in _ITEMS:
                self._take_item(*_ITEMS[kind](self, item, path))
            elif kind is not None or isinstance(item.get("id"), str):  # an item_reference needs no type
                self._take_item(_speaker(kind or ""), Opaque(DIALECT, dict(item)))
            else:
                raise wrong(path, item, "an item with a type, or a message with a role")
        return self._messages

    def _take_item(self, role: Role, block: Block) -> None:
        last = self._messages[-1] if self._messages else None
        apart = self._has_message and (role is Role.USER or isinstance(block, Opaque))
        if last is None or last.role is not role or not last.blocks or apart:
            self._messages.append(Message(role, (block,), bare=False))
            self._has_message = False
        else:
            self._messages[-1] = msgspec.structs.replace(last, blocks=(*last.blocks, block))

    def _take_message(self, message: Message) -> None:
        last = self._messages[-1] if self._messages else None
        strange = not message.blocks or any(isinstance(block, Opaque) for block in message.blocks)
        if (
            last is None
            or message.role is not Role.ASSISTANT
            or last.role is not Role.ASSISTANT
            or self._has_message
            or strange
            or any(isinstance(block, Opaque) for block in last.blocks)
        ):
            self._messages.append(message)
        else:
            self._messages[-1] = msgspec.structs.replace(message, blocks=(*last.blocks, *message.blocks))
        self._has_message = True

    def reasoning(self, item: dict[str, Any], path: str) -> tuple[Role, Block]:
        fields = Fields(item, path)
        for name in ("summary", "content"):
            for place, part in enumerate(fields.array(name) or ()):
                Fields(part, f"{path}.{name}[{place}]").text("text")
        fields.text("encrypted_content")
        return Role.ASSISTANT, thinking_of(item)

    def call(self, item: dict[str, Any], path: str) -> tuple[Role, Block]:
        fields = Fields(item, path)
        call_id, name = fields.named("call_id"), fields.named("name")
        if fields.text("arguments") is None:
            raise wrong(fields.at("arguments"), item.get("arguments"), "the arguments as JSON text")
        if call_id in self._names:
            raise wrong(fields.at("call_id"), call_id, "an id that no other call has")
        self._names[call_id] = name
        block = tool_use_of(item)
        assert block is not None
        if not item["arguments"]:
            block = msgspec.structs.replace(block, extra={**block.extra, f"{NOTE}arguments": ""})
        return Role.ASSISTANT, block

    def output(self, item: dict[str, Any], path: str) -> tuple[Role, Block]:
        fields = Fields(item, path)
        fields.rest.pop("type")
        call_id = fields.named("call_id")
        if call_id in self._answered or not (call_id in self._names or self._kept):
            expected = "the result of a call that has none yet, and stands before it"
            raise wrong(fields.at("call_id"), call_id, expected)
        self._answered.add(call_id)
        blocks, bare = _content(fields, "output", "input_text")
        name = self._names.get(call_id)
        return Role.USER, ToolResult(call_id, blocks, name=name, bare=bare, extra=noted(fields.rest))


_ITEMS: Mapping[str | None, Callable[[_Turns, dict[str, Any], str], tuple[Role, Block]]] = MappingProxyType(
    {"reasoning": _Turns.reasoning, "function_call": _Turns.call, "function_call_output": _Turns.output}
)


def _speaker(kind: str) -> Role:
    return Role.ASSISTANT if kind.endswith("_call") or kind in _SPOKEN else Role.USER


def _message(item: Mapping[str, Any], path: str) -> Message:
    fields = Fields(item, path)
    role = _ROLES.get(fields.named("role"))
    if role is None:
        raise wrong(fields.at("role"), item["role"], "user, assistant, system or developer")
    blocks, bare = _content(fields, "content", "output_text" if role is Role.ASSISTANT else "input_text")
    extra = noted(fields.rest)
    if blocks and all(isinstance(block, Opaque) for block in blocks):
        extra[PARTS] = True  # tells them from items
    return Message(role, blocks, bare, extra=extra)


# -- parts


def _content(fields: Fields, name: str, usual: str) -> tuple[tuple[Text | Media | Opaque, ...], bool]:
    """The parts of a message or a result, and whether they are one bare text."""
    value, path = fields.rest.pop(name, None), fields.at(name)
    if isinstance(value, str):
        return (Text(value),), True
    if not isinstance(value, list):
        raise wrong(path, value, "a string or a list of parts")
    return tuple(_part(part, f"{path}[{place}]", usual) for place, part in enumerate(value)), False


def _part(raw: Any, path: str, usual: str) -> Text | Media | Opaque:
    fields = Fields(raw, path)
    kind = fields.named("type")
    read = _PARTS.get(kind)
    if read is None:
        return Opaque(DIALECT, dict(raw))
    block = read(fields)
    if isinstance(block, Text) and not block.refusal and kind != usual:
        return msgspec.structs.replace(block, extra={f"{NOTE}type": kind, **block.extra})
    return block


def _text(fields: Fields) -> Text:
    said = fields.text("text")
    if said is None:
        raise wrong(fields.at("text"), None, "a string")
    logprobs = logprobs_of(fields.rest.get("logprobs"))
    if logprobs and logprobs_written(logprobs) == fields.rest["logprobs"]:
        del fields.rest["logprobs"]
    else:
        logprobs = ()
    return Text(said, cache=_mark(fields.rest), logprobs=logprobs, extra=fields.rest)


def _refusal(fields: Fields) -> Text:
    said = fields.text("refusal")
    if said is None:
        raise wrong(fields.at("refusal"), None, "a string")
    return Text(said, refusal=True, extra=fields.rest)


def _image(fields: Fields) -> Media:
    url, file_id = fields.text("image_url"), fields.text("file_id")
    if url is None and file_id is None:
        raise wrong(fields.path, fields.rest, "an image with an image_url or a file_id")
    if fields.rest.get("detail") == "auto":  # the default, which the SDK's types demand to be written
        fields.rest[f"{NOTE}detail"] = fields.rest.pop("detail")
    if url is None:
        return Media(MediaKind.IMAGE, file_id=file_id, cache=_mark(fields.rest), extra=fields.rest)
    media = media_of_url(url, fields.at("image_url"), MediaKind.IMAGE)
    if data_url(media) != url:  # written in a way that would not come back
        fields.rest[f"{NOTE}image_url"] = url
    if file_id is not None:
        fields.rest["file_id"] = file_id
    return msgspec.structs.replace(media, cache=_mark(fields.rest), extra=fields.rest)


def _file(fields: Fields) -> Media:
    found = {name: value for name in ("file_data", "file_url", "file_id") if (value := fields.text(name)) is not None}
    if not found:
        raise wrong(fields.path, fields.rest, "a file with file_data, a file_url or a file_id")
    name, cache = fields.text("filename"), _mark(fields.rest)
    field, value = next(iter(found.items()))
    fields.rest.update({other: found[other] for other in found if other != field})
    if field == "file_id":
        return Media(MediaKind.DOCUMENT, file_id=value, name=name, cache=cache, extra=fields.rest)
    if field == "file_url":
        return Media(MediaKind.DOCUMENT, url=value, name=name, cache=cache, extra=fields.rest)
    if not value.startswith("data:"):
        inline = checked_base64(value, fields.at(field))
        return Media(MediaKind.DOCUMENT, inline=inline, name=name, cache=cache, extra=fields.rest)
    media = media_of_url(value, fields.at(field), MediaKind.DOCUMENT)
    if data_url(media) != value:
        fields.rest[NOTE + field] = value
    return msgspec.structs.replace(media, kind=MediaKind.DOCUMENT, name=name, cache=cache, extra=fields.rest)


def _audio(fields: Fields) -> Media:
    raw = fields.object("input_audio")
    audio = Fields(raw, fields.at("input_audio"))
    inline = checked_base64(audio.named("data"), audio.at("data"))
    mime = f"audio/{audio.named('format')}"
    rest = {**fields.rest, "input_audio": raw} if audio.rest else fields.rest
    return Media(MediaKind.AUDIO, mime, inline=inline, extra=rest)


_PARTS: Mapping[str, Callable[[Fields], Text | Media]] = MappingProxyType(
    {
        "input_text": _text,
        "output_text": _text,
        "text": _text,
        "refusal": _refusal,
        "input_image": _image,
        "input_file": _file,
        "input_audio": _audio,
    }
)


def _mark(rest: dict[str, Any]) -> CacheMark | None:
    if rest.get("prompt_cache_breakpoint") != BREAKPOINT:
        return None
    del rest["prompt_cache_breakpoint"]
    return CacheMark()


# -- tools, format, thinking


def _tools(body: Fields) -> tuple[Tool, ...]:
    tools = body.array("tools")
    if tools == []:
        body.rest[f"{NOTE}tools"] = []
    return tuple(_tool(raw, f"tools[{place}]") for place, raw in enumerate(tools or ()))


def _tool(raw: Any, path: str) -> Tool:
    fields = Fields(raw, path)
    kind = fields.named("type")
    if kind != "function":
        name = raw.get("name")
        return Tool(name if isinstance(name, str) and name else kind, builtin=dict(raw))
    description, schema, strict = fields.text("description"), fields.object("parameters"), fields.flag("strict")
    if strict is False:
        fields.rest[f"{NOTE}strict"], strict = False, None
    return Tool(fields.named("name"), description, schema, strict, extra=fields.rest)


def _tool_choice(body: Fields) -> ToolChoice | None:
    value = body.rest.get("tool_choice")
    if value is None:
        return None
    del body.rest["tool_choice"]
    if isinstance(value, str) and value in _MODES:
        return ToolChoice(_MODES[value])
    if not isinstance(value, dict):
        raise wrong("tool_choice", value, "auto, required, none, or an object that names a tool")
    fields = Fields(value, "tool_choice")
    kind = fields.named("type")
    if kind == "function":
        return ToolChoice(ChoiceMode.NAMED, (fields.named("name"),), fields.rest)
    if kind == "allowed_tools":
        return _allowed(fields, value)
    return ToolChoice(ChoiceMode.AUTO, extra={"tool_choice": value})


def _allowed(fields: Fields, value: dict[str, Any]) -> ToolChoice:
    """A choice among some tools: the hub says it where one of some functions must be called."""
    mode = fields.named("mode")
    if mode not in ("auto", "required"):
        raise wrong(fields.at("mode"), mode, "auto or required")
    tools = [Fields(tool, f"{fields.at('tools')}[{n}]") for n, tool in enumerate(fields.array("tools") or ())]
    names = tuple(tool.text("name") for tool in tools if tool.text("type") == "function")
    named = tuple(name for name in names if name)
    plain = len(named) == len(tools) and not fields.rest and not any(tool.rest for tool in tools)
    if mode == "required" and plain and named:
        return ToolChoice(ChoiceMode.NAMED, named, {f"{NOTE}type": "allowed_tools"})
    return ToolChoice(_MODES[mode], extra={"tool_choice": value})


def _format(body: Fields) -> OutputFormat | None:
    value = body.object("text")
    if value is None:
        return None
    said = Fields(value, "text")
    format_ = said.object("format")
    if said.rest or format_ is None:
        body.rest["text"] = said.rest
    if format_ is None:
        return None
    fields = Fields(format_, "text.format")
    name = fields.named("type")
    kind = _FORMATS.get(name)
    if kind is None:
        raise wrong("text.format.type", name, "text, json_object or json_schema")
    if kind is not FormatKind.SCHEMA:
        return OutputFormat(kind, extra=fields.rest)
    schema = fields.object("schema")
    if schema is None:
        raise wrong("text.format.schema", None, "a JSON Schema")
    return OutputFormat(
        kind, fields.named("name"), fields.text("description"), schema, fields.flag("strict"), fields.rest
    )


def _reasoning(body: Fields) -> Reasoning | None:
    value = body.object("reasoning")
    if value is None:
        return None
    fields = Fields(value, "reasoning")
    effort, summary = fields.text("effort"), fields.text("summary")
    return Reasoning(
        enabled=False if effort == "none" else None,
        effort=effort,
        shown=True if summary else None,
        summary=summary,
        extra=fields.rest,
    )


def _include(body: Fields) -> tuple[str, ...]:
    """What shall be in the answer beside itself; what the hub says in its own way is taken out of the list."""
    includes = body.texts("include")
    if includes is None:
        return ()
    others = [name for name in includes if name not in (LOGPROBS, ENCRYPTED)]
    if others or not includes:
        body.rest["include"] = others
    if ENCRYPTED in includes:
        body.rest[NOTE + ENCRYPTED] = True
    return includes
