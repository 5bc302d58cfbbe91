"""Gemini's tools and how they are chosen, both ways.

`tools` is a list of objects, each with functions (`functionDeclarations`) and tools that Google runs itself
under their own names. Which entry a tool stood in is noted, so that the list comes back as it was. A
declaration says its arguments in `parameters` (Google's own schemas) or whole, as JSON Schema, in
`parametersJsonSchema`.

Source: ai.google.dev/api/caching#Tool and #FunctionCallingConfig (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sidecar.dialects.gemini_fields import items, obj, restored, string, strings, wrong
from sidecar.dialects.gemini_schema import json_schema, reduced
from sidecar.dialects.losses import NOTE, dropped, foreign
from sidecar.model.hub import ChoiceMode, Loss, Tool, ToolChoice
from sidecar.model.topology import Dialect

__all__ = ["decode_choice", "decode_tools", "encode_choice", "encode_tools"]

_OWN = Dialect.GEMINI_GENERATE
_ENTRY = f"{NOTE}entry"  # which one of the list it stood in
_NULLS = f"{NOTE}nulls"  # what is null beside it
_FUNCTIONS = "functionDeclarations"
_MODES: Mapping[str, ChoiceMode] = MappingProxyType(
    {
        "AUTO": ChoiceMode.AUTO,
        "ANY": ChoiceMode.ANY,
        "NONE": ChoiceMode.NONE,
        "VALIDATED": ChoiceMode.AUTO,  # as AUTO, and calls are held to their schemas
    }
)
_MODE_NAMES: Mapping[ChoiceMode, str] = MappingProxyType(
    {ChoiceMode.AUTO: "AUTO", ChoiceMode.ANY: "ANY", ChoiceMode.NONE: "NONE", ChoiceMode.NAMED: "ANY"}
)


def decode_tools(value: Any) -> tuple[Tool, ...]:
    """Every tool of a request, in order.

    Raises:
        ValidationError: When something is not what it must be.
    """
    tools: list[Tool] = []
    for number, entry in enumerate(items(value, "tools")):
        path = f"tools[{number}]"
        fields = obj(entry, path)
        nulls = [name for name, inner in fields.items() if inner is None]
        place_of: dict[str, Any] = {_ENTRY: number, **({_NULLS: nulls} if nulls else {})}
        for name, inner in fields.items():
            if inner is None:
                continue
            if name != _FUNCTIONS:
                tools.append(Tool(name, builtin={name: inner}, extra=place_of))
                continue
            for place, each in enumerate(items(inner, f"{path}.{name}")):
                tools.append(_function(each, f"{path}.{name}[{place}]", place_of))
    return tuple(tools)


def _function(value: Any, path: str, place_of: Mapping[str, Any]) -> Tool:
    fields = obj(value, path)
    name = string(fields["name"], f"{path}.name") if "name" in fields else ""
    if not name:
        raise wrong(f"{path}.name", "the name of a function", fields.get("name", ...))
    description = fields.get("description")
    if description is not None:
        string(description, f"{path}.description")
    known = ("name", "description", "parameters", "parametersJsonSchema")
    extra: dict[str, Any] = {**place_of, **{key: item for key, item in fields.items() if key not in known}}
    if "description" in fields and description is None:
        extra["description"] = None
    schema = fields.get("parametersJsonSchema")
    if schema is None and fields.get("parameters") is not None:
        schema = json_schema(obj(fields["parameters"], f"{path}.parameters"))
        extra[f"{NOTE}parametersJsonSchema"] = None
    if "parameters" in fields:
        extra[f"{NOTE}parameters"] = fields["parameters"]
    if schema is not None:
        obj(schema, f"{path}.parametersJsonSchema")
    return Tool(name, description, schema, extra=extra)


def encode_tools(tools: Sequence[Tool], losses: list[Loss], *, own: bool, whole: bool) -> list[dict[str, Any]]:
    """The `tools` of a request.

    Args:
        tools: In order.
        losses: Where what cannot be said is noted.
        own: The request comes from this dialect.
        whole: The model takes JSON Schema as it is.
    """
    entries: dict[object, dict[str, Any]] = {}
    for number, tool in enumerate(tools):
        path = f"tools[{number}]"
        if tool.cache is not None:
            dropped(losses, f"{path}.cache_control", "Gemini caches prompts by itself")
        if tool.builtin is not None:
            if own:
                entry = entries.setdefault(tool.extra.get(_ENTRY, tool.name), {})
                entry |= {**tool.builtin, **dict.fromkeys(tool.extra.get(_NULLS, ()))}
            else:
                dropped(losses, path, f"only its own vendor has the tool {tool.name}")
            continue
        entry = entries.setdefault(tool.extra.get(_ENTRY, 0) if own else 0, {})
        if own:
            entry |= dict.fromkeys(tool.extra.get(_NULLS, ()))
        entry.setdefault(_FUNCTIONS, []).append(_declaration(tool, path, losses, own=own, whole=whole))
    return list(entries.values())


def _declaration(tool: Tool, path: str, losses: list[Loss], *, own: bool, whole: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        said["description"] = tool.description
    if tool.strict is not None:
        dropped(losses, f"{path}.strict", "Gemini decides by itself how strictly it keeps to a schema")
    if own:
        if tool.schema is not None:
            said["parametersJsonSchema"] = tool.schema
        return restored(said, {name: value for name, value in tool.extra.items() if name not in (_ENTRY, _NULLS)})
    foreign(losses, tool.extra, path, _OWN)
    if tool.schema is not None and whole:
        said["parametersJsonSchema"] = tool.schema
    elif tool.schema is not None:
        parameters = reduced(tool.schema, f"{path}.parameters", losses)
        if parameters.get("properties") or parameters.get("type", "OBJECT") != "OBJECT":  # one of nothing is refused
            said["parameters"] = parameters
    return said


def decode_choice(value: Any) -> tuple[ToolChoice | None, dict[str, Any]]:
    """What a `toolConfig` asks for, and what waits in the request's extra.

    Raises:
        ValidationError: When something is not what it must be.
    """
    if value is None or value == {}:
        return None, {"toolConfig": value}
    fields = obj(value, "toolConfig")
    extra = {f"toolConfig.{name}": item for name, item in fields.items() if name != "functionCallingConfig"}
    path = "toolConfig.functionCallingConfig"
    if "functionCallingConfig" not in fields:
        return None, extra
    calling = fields["functionCallingConfig"]
    if calling is None or calling == {}:
        return None, {**extra, path: calling}
    mode = obj(calling, path).get("mode")
    names = calling.get("allowedFunctionNames")
    rest = {name: item for name, item in calling.items() if name not in ("mode", "allowedFunctionNames")}
    allowed = () if names is None else strings(names, f"{path}.allowedFunctionNames")
    if names is not None and not allowed:
        rest[f"{NOTE}allowedFunctionNames"] = names
    if mode is None or mode == "MODE_UNSPECIFIED":
        rest[f"{NOTE}mode"] = mode
    kind = ChoiceMode.AUTO if mode is None else _MODES.get(string(mode, f"{path}.mode").upper().removeprefix("MODE_"))
    if mode == "MODE_UNSPECIFIED":
        kind = ChoiceMode.AUTO
    if kind is None:
        raise wrong(f"{path}.mode", "AUTO, ANY, NONE or VALIDATED", mode)
    if kind is ChoiceMode.ANY and allowed:
        kind = ChoiceMode.NAMED
    elif allowed:
        rest["allowedFunctionNames"] = names
    if mode is not None and mode != _MODE_NAMES[kind] and mode != "MODE_UNSPECIFIED":
        rest["mode" if mode.upper() == "VALIDATED" else f"{NOTE}mode"] = mode
    return ToolChoice(kind, allowed if kind is ChoiceMode.NAMED else (), rest), extra


def encode_choice(choice: ToolChoice, losses: list[Loss], *, own: bool, tools: bool) -> dict[str, Any] | None:
    """The `functionCallingConfig` of a request.

    Args:
        choice: What is asked.
        losses: Where what cannot be said is noted.
        own: The request comes from this dialect.
        tools: There are functions to choose from; without, Gemini refuses to be told how.
    """
    if not tools and not own:
        if choice.mode not in (ChoiceMode.AUTO, ChoiceMode.NONE):
            dropped(losses, "tool_choice", "there are no functions to choose from")
        return None
    said: dict[str, Any] = {"mode": _MODE_NAMES[choice.mode]}
    if choice.names:
        said["allowedFunctionNames"] = list(choice.names)
    if own:
        return restored(said, choice.extra)
    foreign(losses, choice.extra, "tool_choice", _OWN)
    return said
