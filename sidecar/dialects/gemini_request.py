"""Requests in Gemini's dialect and in the hub, both ways.

What comes is brought to one spelling first. Calls without an id are numbered through the whole
conversation; a result is matched to its call by its id, or else to the first call of its name that has
none yet. What another dialect says of system messages anywhere is lifted into `systemInstruction`, and
all results of one turn stand in one content, before and apart from what the user says beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sidecar.dialects.dialect import Untranslatable, check_choices
from sidecar.dialects.gemini_config import AT, decode_config, encode_config
from sidecar.dialects.gemini_fields import camel, flag, items, obj, restored, string, wrong
from sidecar.dialects.gemini_parts import Speech, decode_part, gathered
from sidecar.dialects.gemini_thinking import bare_name
from sidecar.dialects.gemini_tools import decode_choice, decode_tools, encode_choice, encode_tools
from sidecar.dialects.losses import NOTE, added, changed, dropped, foreign
from sidecar.model.blocks import Block, Message, Role, Text, ToolResult, ToolUse
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubRequest, Loss, Wire
from sidecar.model.topology import Dialect

__all__ = ["decode_request", "encode_request"]

_OWN = Dialect.GEMINI_GENERATE
_ROLES = {"user": Role.USER, "model": Role.ASSISTANT, "function": Role.USER}
_SYSTEM = (Role.SYSTEM, Role.DEVELOPER)
_KNOWN = frozenset(
    {"contents", "systemInstruction", "tools", "toolConfig", AT, "labels", "store", "serviceTier", "model"}
)
# How the names of models begin that know only Google's own schemas, and those that take no media in results.
_NO_JSON_SCHEMA = ("gemini-1", "gemini-2.0", "gemma", "learnlm")
_NO_MEDIA_IN_RESULTS = ("gemini-1", "gemini-2", "gemma", "learnlm")
_TIERS = {"flex": "flex", "priority": "priority", "standard": "standard", "default": "standard"}


# -- decode


def decode_request(fields: Mapping[str, Any], model: str, *, stream: bool) -> HubRequest:
    """What a client asks for.

    Args:
        fields: The body.
        model: From the path.
        stream: By the verb.

    Raises:
        ValidationError: When a field is not what it must be, with its path in message and `param`.
    """
    try:
        return _decode(camel(dict(fields)), model, stream=stream)
    except RecursionError:
        raise ValidationError(failure=Failure(Kind.INVALID_REQUEST, "the body is nested too deeply")) from None


def _decode(body: Mapping[str, Any], model: str, *, stream: bool) -> HubRequest:
    extra: dict[str, Any] = {name: value for name, value in body.items() if name not in _KNOWN}
    said: dict[str, Any] = {}
    messages: list[Message] = []
    if "systemInstruction" in body:
        if body["systemInstruction"] is None:
            extra["systemInstruction"] = None
        else:
            messages.append(_system(body["systemInstruction"]))
    messages += _Conversation(body.get("contents", ...)).messages()
    if body.get("tools") is not None:
        said["tools"] = decode_tools(body["tools"])
    if "tools" in body and not said.get("tools"):
        extra["tools"] = body["tools"]
    if "toolConfig" in body:
        said["tool_choice"], waiting = decode_choice(body["toolConfig"])
        extra |= waiting
    if AT in body:
        config, waiting = decode_config(body[AT])
        said |= config
        extra |= waiting
    for name, field, read in (
        ("labels", "metadata", obj),
        ("store", "store", flag),
        ("serviceTier", "service_tier", string),
    ):
        if body.get(name) is not None:
            said[field] = read(body[name], name)
        elif name in body:
            extra[name] = None
    if "model" in body:
        extra[f"{NOTE}model"] = body["model"]
    return HubRequest(_OWN, model, tuple(messages), stream, wants_usage=True, **said, extra=extra)


def _system(value: Any) -> Message:
    """A `systemInstruction`: a content, but also its parts or its text alone."""
    path = "systemInstruction"
    if isinstance(value, str):
        return Message(Role.SYSTEM, (Text(value),), bare=False)
    fields: Mapping[str, Any] = value if isinstance(value, dict) and "text" not in value else {"parts": value}
    parts = [
        {"text": part} if isinstance(part, str) else part for part in items(fields.get("parts", []), f"{path}.parts")
    ]
    blocks = [decode_part(part, f"{path}.parts[{place}]", str) for place, part in enumerate(parts)]
    for place, block in enumerate(blocks):
        if isinstance(block, ToolUse | ToolResult):
            raise wrong(f"{path}.parts[{place}]", "text", parts[place])
    extra = {name: item for name, item in fields.items() if name not in ("parts", "role")}
    if "role" in fields:
        extra[f"{NOTE}role"] = fields["role"]
    return Message(Role.SYSTEM, tuple(blocks), bare=False, extra=extra)


class _Conversation:
    """The contents of one request on their way into the hub: which calls there were, and which are answered."""

    def __init__(self, contents: Any) -> None:
        if contents is ... or contents == []:
            raise wrong("contents", "a list with at least one content", contents)
        self._contents = items(contents, "contents")
        self._names: dict[str, str] = {}  # of the functions, by the ids of the calls
        self._made_up: set[str] = set()  # ids that the client did not write
        self._answered: set[str] = set()
        self._written = set(_written_ids(self._contents))
        self._count = 0

    def messages(self) -> list[Message]:
        """All of them, in order."""
        return [self._message(content, f"contents[{place}]") for place, content in enumerate(self._contents)]

    def _message(self, content: Any, path: str) -> Message:
        fields = obj(content, path)
        given = fields.get("role")
        role = Role.USER if given in (None, "") else _ROLES.get(string(given, f"{path}.role"))
        if role is None:
            raise wrong(f"{path}.role", "user or model", given)
        parts = fields.get("parts")
        blocks = [
            self._known(decode_part(part, f"{path}.parts[{place}]", self._next_id), f"{path}.parts[{place}]")
            for place, part in enumerate([] if parts is None else gathered(items(parts, f"{path}.parts")))
        ]
        extra = {name: item for name, item in fields.items() if name not in ("parts", "role")}
        if given != ("user" if role is Role.USER else "model"):
            extra[f"{NOTE}role"] = given
        if parts is None:
            extra[f"{NOTE}parts"] = None
        return Message(role, tuple(blocks), bare=False, extra=extra)

    def _next_id(self) -> str:
        while (made := f"call_{self._count}") in self._written:
            self._count += 1
        self._count += 1
        self._made_up.add(made)
        return made

    def _known(self, block: Block, path: str) -> Block:
        """The block, with what the calls before it say of it."""
        if isinstance(block, ToolUse):
            if block.id in self._names:
                raise _told(f"{path}.functionCall.id", f'"{block.id}" names another call already; ids must differ')
            self._names[block.id] = block.name
        elif isinstance(block, ToolResult):
            return self._matched(block, f"{path}.functionResponse")
        return block

    def _matched(self, result: ToolResult, path: str) -> ToolResult:
        extra = result.extra
        call_id: str | None = result.id
        if result.id in self._answered:
            raise _told(f"{path}.id", f'"{result.id}" has its response already; a call has one')
        if result.id not in self._names:
            if result.id:
                extra = {**extra, f"{NOTE}functionResponse.id": result.id}
            call_id = next(self._open(result.name, by_name=bool(result.id)), None)
        if not call_id:
            field, found = ("id", result.id) if result.id else ("name", result.name)
            raise _told(f"{path}.{field}", f'there is no functionCall before it that "{found}" could answer')
        self._answered.add(call_id)
        return msgspec.structs.replace(result, id=call_id, name=result.name or self._names[call_id], extra=extra)

    def _open(self, name: str | None, *, by_name: bool) -> Iterator[str]:
        """Calls of a function that have no response yet; `by_name`: only those that have no id of their own."""
        for id_, called in self._names.items():
            if called == name and id_ not in self._answered and (id_ in self._made_up or not by_name):
                yield id_


def _written_ids(contents: list[Any]) -> Iterator[str]:
    """The ids of calls that the client wrote, which none that is made up may be."""
    for content in contents:
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in parts if isinstance(parts, list) else []:
            call = part.get("functionCall") if isinstance(part, dict) else None
            if isinstance(call, dict) and isinstance(call.get("id"), str):
                yield call["id"]


def _told(path: str, words: str) -> ValidationError:
    return ValidationError(failure=Failure(Kind.INVALID_REQUEST, f"{path}: {words}", param=path))


# -- encode


def encode_request(request: HubRequest, wire: Wire, losses: list[Loss]) -> dict[str, Any]:
    """The body for one target; its model and whether it streams are said by the path.

    Raises:
        Untranslatable: When nothing that is left would be what was asked.
    """
    try:
        return _Encoding(request, wire, losses).body()
    except RecursionError:
        raise Untranslatable("the request is nested too deeply") from None


class _Encoding:
    """One request on its way to one target."""

    def __init__(self, request: HubRequest, wire: Wire, losses: list[Loss]) -> None:
        self._request = request
        self._wire = wire
        self._losses = losses
        self._own = request.dialect is _OWN
        self._names = {
            block.id: block.name
            for message in request.messages
            for block in message.blocks
            if isinstance(block, ToolUse)
        }
        self._holds_media = self._own or not bare_name(wire.model).startswith(_NO_MEDIA_IN_RESULTS)

    def body(self) -> dict[str, Any]:
        request, own = self._request, self._own
        if not own:
            check_choices(request)
        whole = own or not bare_name(self._wire.model).startswith(_NO_JSON_SCHEMA)
        body = self._spoken()
        tools = encode_tools(request.tools, self._losses, own=own, whole=whole)
        if tools:
            body["tools"] = tools
        if request.tool_choice is not None:
            calling = encode_choice(request.tool_choice, self._losses, own=own, tools=bool(tools))
            if calling:
                body["toolConfig"] = {"functionCallingConfig": calling}
        config = encode_config(request, self._wire, self._losses, own=own, whole=whole)
        if config:
            body[AT] = config
        self._rest(body)
        return body

    def _rest(self, body: dict[str, Any]) -> None:
        """What is not of the conversation, and what Gemini has no word for."""
        request = self._request
        for name, why in (("user", "no field for who asks"), ("parallel_tools", "no say in parallel calls")):
            if getattr(request, name) is not None:
                dropped(self._losses, name, f"{_OWN.value} has {why}")
        if self._own:
            own = {"labels": request.metadata, "store": request.store, "serviceTier": request.service_tier}
            body |= {name: value for name, value in own.items() if value is not None}
            restored(body, request.extra)
            if "model" in body:
                body["model"] = f"models/{bare_name(self._wire.model)}"
            return
        if request.metadata:
            dropped(self._losses, "metadata", f"{_OWN.value} has no metadata")
        if request.store is not None:
            dropped(self._losses, "store", f"{_OWN.value} has no store of answers")
        tier = _TIERS.get(request.service_tier or "")
        if tier:
            body["serviceTier"] = tier
        if request.service_tier and tier != request.service_tier:
            how = changed if tier else dropped
            how(self._losses, "service_tier", f"{_OWN.value} knows flex, standard and priority")
        foreign(self._losses, request.extra, "", _OWN)

    # -- the conversation

    def _spoken(self) -> dict[str, Any]:
        system: list[dict[str, Any]] = []
        contents: list[dict[str, Any]] = []
        head: dict[str, Any] = {}
        for place, message in enumerate(self._request.messages):
            path = f"messages[{place}]"
            if message.name is not None:
                dropped(self._losses, f"{path}.name", f"{_OWN.value} has no names of participants")
            if not self._own:
                foreign(self._losses, message.extra, path, _OWN)
            if message.role in _SYSTEM:
                if contents and message.blocks:
                    changed(self._losses, path, "what the system says later is said at the beginning")
                system += self._system(message, path)
                head |= message.extra if self._own else {}
            else:
                contents += self._contents(message, path, contents)
        return self._joined(system, head, contents)

    def _joined(
        self, system: list[dict[str, Any]], head: Mapping[str, Any], contents: list[dict[str, Any]]
    ) -> dict[str, Any]:
        if not contents and system and not self._own:
            changed(
                self._losses, "messages[0].role", "Gemini must be asked something: said by the user, not the system"
            )
            return {"contents": [{"role": "user", "parts": system}]}
        if not contents:
            raise Untranslatable("nothing is left of the messages that Gemini could be asked")
        if not system and not head:
            return {"contents": contents}
        return {"systemInstruction": restored({"parts": system}, head), "contents": contents}

    def _system(self, message: Message, path: str) -> list[dict[str, Any]]:
        speech = Speech(self._losses, own=self._own)
        parts: list[dict[str, Any]] = []
        for place, block in enumerate(message.blocks):
            at = f"{path}.content[{place}]"
            if isinstance(block, Text) or self._own:
                parts += speech.parts(block, at)
            else:
                dropped(self._losses, at, "Gemini's system instruction is text alone")
        return parts

    def _contents(self, message: Message, path: str, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
        speech = Speech(self._losses, own=self._own, names=self._names, holds_media=self._holds_media)
        said = [
            (isinstance(block, ToolResult), speech.parts(block, f"{path}.content[{place}]"))
            for place, block in enumerate(message.blocks)
        ]
        if speech.skipped:
            added(self._losses, f"{path}.thought_signature", "Gemini must be told that the call was not its own")
        role = "model" if message.role is Role.ASSISTANT else "user"
        if self._own:
            parts = [part for _, some in said for part in some]
            return [restored({"role": role, "parts": parts}, message.extra)]
        parts = [part for result, some in said if result for part in some]
        results = [part for part in parts if "functionResponse" in part]
        rest = [part for part in parts if "functionResponse" not in part]
        rest += [part for result, some in said if not result for part in some]
        if results and before and all("functionResponse" in part for part in before[-1]["parts"]):
            before[-1]["parts"] += results  # of the same turn, which another dialect says in several messages
            results = []
        return [{"role": role, "parts": parts} for parts in (results, rest) if parts]
