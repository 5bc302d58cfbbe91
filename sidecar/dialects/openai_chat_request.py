"""A chat request to the hub, and back.

A field that is not known stays in `extra`. Of one that has two names or two shapes, a note says which was
used. A request of this dialect goes back as it came, but for what its target is known to refuse; one of
another dialect is first made to hold nothing that cannot be said (`openai_chat_retold`).

Sources (read 2026-11): platform.openai.com/docs/api-reference/chat/create;
openrouter.ai/docs/use-cases/reasoning-tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from sidecar.dialects.fitting import fit
from sidecar.dialects.loose import object_of, objects, text
from sidecar.dialects.losses import dropped
from sidecar.dialects.openai_chat_messages import messages_of, read_messages
from sidecar.dialects.openai_chat_parts import mark_of, read_mark, wrong
from sidecar.dialects.openai_chat_retold import retold
from sidecar.dialects.openai_chat_spelling import difference, said_as
from sidecar.dialects.openai_shared import SAFETY
from sidecar.model.hub import (
    ChoiceMode,
    FormatKind,
    HubRequest,
    Loss,
    OutputFormat,
    Reasoning,
    Tool,
    ToolChoice,
    Wire,
)
from sidecar.model.topology import Dialect, Operation, Quirk

__all__ = ["decode_request", "encode_request"]

_OWN = Dialect.OPENAI_CHAT

# Fields by their names on the wire, and their types there and in the hub.
_NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_COUNTS = ("top_k", "seed", "top_logprobs")
_FLAGS = ("logprobs", "store")
_RENAMED: Mapping[str, str] = MappingProxyType({"n": "choices", "parallel_tool_calls": "parallel_tools"})
_SAME = (*_NUMBERS, *_COUNTS, *_FLAGS, "service_tier", "metadata")

# Notes on how a field was written.
_NEW_LIMIT = "~max_completion_tokens"
_ONE_STOP = "~stop"
_OBJECT = "~reasoning"
_THINKING = "~thinking"

_SWITCH: Mapping[str, bool] = MappingProxyType({"enabled": True, "disabled": False})

_CHOICES: Mapping[str, ChoiceMode] = MappingProxyType(
    {"auto": ChoiceMode.AUTO, "none": ChoiceMode.NONE, "required": ChoiceMode.ANY, "any": ChoiceMode.ANY}
)
_CHOICE_NAMES: Mapping[ChoiceMode, str] = MappingProxyType(
    {ChoiceMode.AUTO: "auto", ChoiceMode.NONE: "none", ChoiceMode.ANY: "required"}
)
_ANY = "~any"  # written as `any`, as Mistral has it
_ALLOWED = "~allowed_tools"


def decode_request(fields: Mapping[str, Any], model: str, *, stream: bool) -> HubRequest:
    """What a client asks for.

    Args:
        fields: The body.
        model: As the client named it.
        stream: Whether the answer is to be streamed.

    Raises:
        ValidationError: When a field is not what it must be, with its path.
    """
    notes: dict[str, Any] = {}
    request = HubRequest(
        _OWN,
        model,
        read_messages(fields.get("messages")),
        stream=stream,
        wants_usage=_wants_usage(fields.get("stream_options")),
        tools=_read_tools(fields.get("tools")),
        tool_choice=_read_choice(fields.get("tool_choice")),
        parallel_tools=_typed(fields, "parallel_tool_calls", bool, "true or false"),
        format=_read_format(fields.get("response_format")),
        reasoning=_read_reasoning(fields, notes),
        max_tokens=_read_limit(fields, notes),
        stop=_read_stop(fields.get("stop"), notes),
        choices=_typed(fields, "n", int, "a whole number"),
        user=_read_user(fields, notes),
        metadata=_typed(fields, "metadata", dict, "an object"),
        service_tier=_typed(fields, "service_tier", str, "a text"),
        **{name: _number(fields, name) for name in _NUMBERS},
        **{name: _typed(fields, name, int, "a whole number") for name in _COUNTS},
        **{name: _typed(fields, name, bool, "true or false") for name in _FLAGS},
        extra=notes,
    )
    extra = {**notes, **difference(fields, _written(request), ("model", "messages"))}
    return msgspec.structs.replace(request, extra=extra)


def _typed(fields: Mapping[str, Any], name: str, kind: type, what: str) -> Any:
    """The value of a field, None when it is absent."""
    value = fields.get(name)
    if value is None or type(value) is kind:
        return value
    raise wrong(name, f"is {_shown(value)}; it must be {what}")


def _number(fields: Mapping[str, Any], name: str) -> Any:
    value = fields.get(name)
    if value is None or type(value) in (int, float):
        return value
    raise wrong(name, f"is {_shown(value)}; it must be a number")


def _shown(value: Any) -> str:
    shown = msgspec.json.encode(value).decode()
    return shown if len(shown) <= 40 else f"{shown[:40]}..."


def _wants_usage(options: Any) -> bool:
    if options is None:
        return False
    if not isinstance(options, dict):
        raise wrong("stream_options", 'must be an object such as {"include_usage": true}')
    return options.get("include_usage") is True


def _read_limit(fields: Mapping[str, Any], notes: dict[str, Any]) -> int | None:
    limit: int | None = _typed(fields, "max_completion_tokens", int, "a whole number")
    other: int | None = _typed(fields, "max_tokens", int, "a whole number")
    if limit is None:
        return other
    notes[_NEW_LIMIT] = True
    return limit


def _read_user(fields: Mapping[str, Any], notes: dict[str, Any]) -> str | None:
    user: str | None = _typed(fields, "user", str, "a text")
    safe: str | None = _typed(fields, "safety_identifier", str, "a text")
    if safe is None or user is not None:
        return user
    notes[SAFETY] = True
    return safe


def _read_stop(value: Any, notes: dict[str, Any]) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        notes[_ONE_STOP] = True
        return (value,)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong("stop", "must be a text or a list of texts")
    return tuple(value)


def _read_reasoning(fields: Mapping[str, Any], notes: dict[str, Any]) -> Reasoning | None:
    """How much to think: by OpenAI's `reasoning_effort`, OpenRouter's `reasoning`, or the `thinking` of several."""
    effort: str | None = _typed(fields, "reasoning_effort", str, "a text such as low, medium or high")
    switch, given = object_of(fields.get("thinking")), object_of(fields.get("reasoning"))
    if switch.get("type") in tuple(_SWITCH):
        notes[_THINKING] = True
        return Reasoning(_SWITCH[switch["type"]], effort, _if(int, switch.get("budget_tokens")))
    if effort is not None or not given:
        return Reasoning(effort=effort) if effort is not None else None
    notes[_OBJECT] = True
    excluded = given.get("exclude")
    return Reasoning(
        _if(bool, given.get("enabled")),
        _if(str, given.get("effort")),
        _if(int, given.get("max_tokens")),
        shown=not excluded if isinstance(excluded, bool) else None,
        summary=_if(str, given.get("summary")),
    )


def _if(kind: type, value: Any) -> Any:
    return value if type(value) is kind else None


def _read_tools(value: Any) -> tuple[Tool, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise wrong("tools", "must be a list of tools")
    return tuple(_read_tool(tool, f"tools[{number}]") for number, tool in enumerate(value))


def _read_tool(written: Any, path: str) -> Tool:
    if not isinstance(written, dict):
        raise wrong(path, 'must be an object such as {"type": "function", "function": {"name": "..."}}')
    kind = written.get("type", "function")
    if not isinstance(kind, str):
        raise wrong(f"{path}.type", 'must be "function" or the name of another kind of tool')
    if kind != "function":
        inner = written.get(kind)
        name = inner.get("name") if isinstance(inner, dict) else None
        return Tool(name if isinstance(name, str) else kind, builtin=written)
    function = written.get("function")
    if not isinstance(function, dict):
        raise wrong(f"{path}.function", "must be an object with the function's name and parameters")
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise wrong(f"{path}.function.name", "must be the function's name")
    inner = f"{path}.function"
    tool = Tool(
        function["name"],
        _below(function, "description", str, inner, "a text"),
        _below(function, "parameters", dict, inner, "a JSON Schema"),
        _below(function, "strict", bool, inner, "true or false"),
        read_mark(written),
    )
    return msgspec.structs.replace(tool, extra=difference(written, _tool_of(tool)))


def _below(fields: Mapping[str, Any], name: str, kind: type, path: str, what: str) -> Any:
    value = fields.get(name)
    if value is None or type(value) is kind:
        return value
    raise wrong(f"{path}.{name}", f"is {_shown(value)}; it must be {what}")


def _read_choice(value: Any) -> ToolChoice | None:
    if value is None:
        return None
    if isinstance(value, str) and value in _CHOICES:
        return ToolChoice(_CHOICES[value], extra={_ANY: True} if value == "any" else {})
    kind = value.get("type") if isinstance(value, dict) else None
    names = _chosen(value, kind) if isinstance(kind, str) else ()
    if not names or not isinstance(kind, str):
        raise wrong(
            "tool_choice",
            f"is {_shown(value)}; it must be one of {', '.join(_CHOICES)},"
            ' or {"type": "function", "function": {"name": "..."}}',
        )
    allowed = value.get("allowed_tools")
    if kind == "allowed_tools" and isinstance(allowed, dict) and allowed.get("mode") == "auto":
        choice = ToolChoice(ChoiceMode.AUTO)
    else:
        choice = ToolChoice(ChoiceMode.NAMED, names, {_ALLOWED: True} if kind == "allowed_tools" else {})
    written = _choice_of(choice)
    if not isinstance(written, dict):  # an allow-list that leaves the model free: others can say but half of it
        return msgspec.structs.replace(choice, extra={"allowed_tools": allowed})
    return msgspec.structs.replace(choice, extra={**choice.extra, **difference(value, written)})


def _chosen(value: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """The names of the tools that a choice names."""
    given = value.get(kind)
    tools = given.get("tools") if kind == "allowed_tools" and isinstance(given, dict) else [value]
    if not isinstance(tools, list):
        return ()
    names = [text(object_of(tool.get(text(tool.get("type")))).get("name")) for tool in objects(tools)]
    return tuple(names) if all(names) and len(names) == len(tools) else ()


def _read_format(value: Any) -> OutputFormat | None:
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "json_schema":
        given = value.get("json_schema")
        if not isinstance(given, dict) or not isinstance(given.get("schema", {}), dict):
            raise wrong("response_format.json_schema", 'must be an object such as {"name": "...", "schema": {...}}')
        format_ = OutputFormat(
            FormatKind.SCHEMA,
            _if(str, given.get("name")),
            _if(str, given.get("description")),
            given.get("schema"),
            _if(bool, given.get("strict")),
        )
    elif kind in ("text", "json_object"):
        format_ = OutputFormat(FormatKind.TEXT if kind == "text" else FormatKind.JSON)
    elif isinstance(kind, str):  # a grammar, or whatever else a server knows: it stays as it is
        return None
    else:
        raise wrong("response_format.type", "must be one of text, json_object, json_schema")
    return msgspec.structs.replace(format_, extra=difference(value, _format_of(format_)))


# -- from the hub


def encode_request(request: HubRequest, wire: Wire, losses: list[Loss]) -> dict[str, Any]:
    """The body for one target.

    Raises:
        Untranslatable: When it asks for several answers in another dialect.
    """
    if request.dialect is _OWN:
        body = said_as(_written(request), request.extra)
    else:
        request = retold(request, wire, losses)
        body = said_as(_written(request), request.extra)
        if not request.stream:
            del body["stream"]
    fit(body, Operation.CHAT, wire, losses)
    if Quirk.NO_STREAM_OPTIONS in wire.quirks and body.pop("stream_options", None) and request.dialect is _OWN:
        dropped(losses, "stream_options", f"{wire.model} takes none")
    return {"model": wire.model, "messages": messages_of(request.messages), **body}


def _written(request: HubRequest) -> dict[str, Any]:
    """Everything but the model and the messages."""
    body: dict[str, Any] = {name: value for name in _SAME if (value := getattr(request, name)) is not None}
    for name, ours in _RENAMED.items():
        if (value := getattr(request, ours)) is not None:
            body[name] = value
    body["stream"] = request.stream
    if request.wants_usage:
        body["stream_options"] = {"include_usage": True}
    if request.max_tokens is not None:
        body["max_completion_tokens" if _NEW_LIMIT in request.extra else "max_tokens"] = request.max_tokens
    if request.user is not None:
        body["safety_identifier" if SAFETY in request.extra else "user"] = request.user
    if request.stop:
        body["stop"] = request.stop[0] if _ONE_STOP in request.extra else list(request.stop)
    if request.tools:
        body["tools"] = [tool.builtin or said_as(_tool_of(tool), tool.extra) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _spelled_choice(request.tool_choice)
    if request.format is not None:
        body["response_format"] = said_as(_format_of(request.format), request.format.extra)
    if request.reasoning is not None:
        body |= _reasoning_of(request.reasoning, request.extra)
    return body


def _reasoning_of(reasoning: Reasoning, notes: Mapping[str, Any]) -> dict[str, Any]:
    if _OBJECT not in notes:
        fields: dict[str, Any] = {"reasoning_effort": reasoning.effort} if reasoning.effort is not None else {}
        return fields | (_switch_of(reasoning) if _THINKING in notes else {})
    said = {
        "enabled": reasoning.enabled,
        "effort": reasoning.effort,
        "max_tokens": reasoning.budget_tokens,
        "exclude": None if reasoning.shown is None else not reasoning.shown,
        "summary": reasoning.summary,
    }
    return {"reasoning": {name: value for name, value in said.items() if value is not None}}


def _switch_of(reasoning: Reasoning) -> dict[str, Any]:
    budget = {} if reasoning.budget_tokens is None else {"budget_tokens": reasoning.budget_tokens}
    return {"thinking": {"type": "enabled" if reasoning.enabled else "disabled"} | budget}


def _tool_of(tool: Tool) -> dict[str, Any]:
    said = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.schema,
        "strict": tool.strict,
    }
    function = {name: value for name, value in said.items() if value is not None}
    return {"type": "function", "function": function} | mark_of(tool.cache)


def _spelled_choice(choice: ToolChoice) -> Any:
    if "allowed_tools" in choice.extra:
        return {"type": "allowed_tools", "allowed_tools": choice.extra["allowed_tools"]}
    written = _choice_of(choice)
    return said_as(written, choice.extra) if isinstance(written, dict) else written


def _choice_of(choice: ToolChoice) -> Any:
    if choice.mode is not ChoiceMode.NAMED:
        return "any" if _ANY in choice.extra else _CHOICE_NAMES[choice.mode]
    named = [{"type": "function", "function": {"name": name}} for name in choice.names]
    if len(named) == 1 and _ALLOWED not in choice.extra:
        return named[0]
    return {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": named}}


def _format_of(format_: OutputFormat) -> dict[str, Any]:
    if format_.kind is not FormatKind.SCHEMA:
        return {"type": "text" if format_.kind is FormatKind.TEXT else "json_object"}
    said = {
        "name": format_.name,
        "description": format_.description,
        "schema": format_.schema,
        "strict": format_.strict,
    }
    return {"type": "json_schema", "json_schema": {name: value for name, value in said.items() if value is not None}}
