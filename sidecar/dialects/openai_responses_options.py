"""What a target is asked beside the conversation: tools, the answer's form, how much to think.

What is elsewhere a default is said: `strict: false`, for a tool whose schema would else be changed to a
strict one; and the thoughts are asked for encrypted, for nothing keeps them until the next turn.

Sources (read 2026-11): platform.openai.com/docs/guides/function-calling (strict mode) and /guides/reasoning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from sidecar.dialects.efforts import effort_of
from sidecar.dialects.losses import NOTE, added, changed, dropped, foreign
from sidecar.dialects.openai_responses_items import DIALECT, given_back
from sidecar.dialects.openai_responses_reading import ENCRYPTED, LOGPROBS
from sidecar.model.hub import ChoiceMode, FormatKind, HubRequest, Loss, OutputFormat, Reasoning, Tool, Wire
from sidecar.model.topology import Quirk

__all__ = ["options"]

_MODES: Mapping[ChoiceMode, str] = MappingProxyType(
    {ChoiceMode.AUTO: "auto", ChoiceMode.ANY: "required", ChoiceMode.NONE: "none"}
)
_FORMATS: Mapping[FormatKind, str] = MappingProxyType(
    {FormatKind.TEXT: "text", FormatKind.JSON: "json_object", FormatKind.SCHEMA: "json_schema"}
)
_NO_ARGUMENTS: Mapping[str, Any] = MappingProxyType({"type": "object", "properties": {}})


def options(request: HubRequest, wire: Wire, losses: list[Loss]) -> dict[str, Any]:
    """The fields of it."""
    return {
        **_tools(request, losses),
        **_tool_choice(request, losses),
        **_text(request, losses),
        **_reasoning(request, wire, losses),
        **_include(request, wire, losses),
    }


def _tools(request: HubRequest, losses: list[Loss]) -> dict[str, Any]:
    own = request.dialect is DIALECT
    tools = [
        tool for place, each in enumerate(request.tools) for tool in _tool(each, f"tools[{place}]", losses, own=own)
    ]
    return {"tools": tools} if tools else {}


def _tool(tool: Tool, path: str, losses: list[Loss], *, own: bool) -> Iterator[dict[str, Any]]:
    if tool.builtin is not None:
        if own:
            yield dict(tool.builtin)
        else:
            dropped(losses, path, f"{tool.name} is a tool that only its own vendor has")
        return
    if tool.cache is not None:
        dropped(losses, f"{path}.cache_control", f"{DIALECT.value} caches by itself")
    fields = {"description": tool.description, "parameters": tool.schema, "strict": tool.strict}
    written = {name: value for name, value in fields.items() if value is not None}
    if own:
        yield {"type": "function", "name": tool.name, **written, **given_back(tool.extra)}
        return
    foreign(losses, tool.extra, path, DIALECT)
    if tool.schema is None:
        added(losses, f"{path}.parameters", "a schema is demanded")
    yield {"type": "function", "name": tool.name, "parameters": dict(_NO_ARGUMENTS), "strict": False, **written}


def _tool_choice(request: HubRequest, losses: list[Loss]) -> dict[str, Any]:
    choice = request.tool_choice
    if choice is None:
        return {}
    own = request.dialect is DIALECT
    if own and "tool_choice" in choice.extra:
        return {"tool_choice": choice.extra["tool_choice"]}
    if not own:
        foreign(losses, choice.extra, "tool_choice", DIALECT)
        if all(tool.builtin is not None for tool in request.tools):
            dropped(losses, "tool_choice", "there is no tool left to choose")
            return {}
    if choice.mode is not ChoiceMode.NAMED:
        return {"tool_choice": _MODES[choice.mode]}
    tools = [{"type": "function", "name": name} for name in choice.names]
    if len(tools) == 1 and not (own and f"{NOTE}type" in choice.extra):
        return {"tool_choice": {**tools[0], **choice.extra} if own else tools[0]}
    return {"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": tools}}


def _text(request: HubRequest, losses: list[Loss]) -> dict[str, Any]:
    own = request.dialect is DIALECT
    said = {}
    if request.format is not None:
        said["format"] = _format(request.format, losses, own=own)
    if own and "text" in request.extra:
        rest = request.extra["text"]
        return {"text": rest if rest is None else {**said, **rest}}
    return {"text": said} if said else {}


def _format(format_: OutputFormat, losses: list[Loss], *, own: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"type": _FORMATS[format_.kind]}
    if not own:
        foreign(losses, format_.extra, "format", DIALECT)
    if format_.kind is FormatKind.SCHEMA:
        fields = {"name": format_.name, "description": format_.description, "strict": format_.strict}
        said |= {name: value for name, value in fields.items() if value is not None}
        said["schema"] = format_.schema or {}
        if format_.name is None:
            said["name"] = "answer"
            added(losses, "format.name", "a name is demanded")
    return {**said, **format_.extra} if own else said


def _reasoning(request: HubRequest, wire: Wire, losses: list[Loss]) -> dict[str, Any]:
    asked = request.reasoning
    if asked is None:
        return {}
    own = request.dialect is DIALECT
    if wire.facts.reasoning is False and not own:
        if asked.enabled is not False:
            dropped(losses, "reasoning", f"{wire.model} does not reason")
        return {}
    said: dict[str, Any] = {}
    effort = _effort(asked, wire, losses)
    if effort is not None:
        said["effort"] = effort
    if asked.summary is not None or asked.shown:
        said["summary"] = asked.summary or "auto"
    if own:
        return {"reasoning": {**said, **asked.extra}}
    foreign(losses, asked.extra, "reasoning", DIALECT)
    return {"reasoning": said} if said else {}


def _effort(asked: Reasoning, wire: Wire, losses: list[Loss]) -> str | None:
    if asked.effort is not None:
        if asked.budget_tokens is not None:
            dropped(losses, "reasoning.budget_tokens", f"{DIALECT.value} knows only efforts")
        return asked.effort
    if asked.enabled is False:
        # Not every model that reasons knows "none", but each knows "low".
        effort = "low" if wire.facts.reasoning else None
        changed(
            losses, "reasoning", f"said as {effort}" if effort else "left to the model, which may not reason at all"
        )
        return effort
    if asked.budget_tokens is not None:
        effort = effort_of(asked.budget_tokens)
        changed(losses, "reasoning.budget_tokens", f"said as effort {effort}")
        return effort
    if asked.adaptive or asked.enabled:
        changed(losses, "reasoning", "left to the model, which decides by itself")
    return None


def _include(request: HubRequest, wire: Wire, losses: list[Loss]) -> dict[str, Any]:
    own = request.dialect is DIALECT
    others = request.extra.get("include") if own else None
    includes = list(others or ())
    reasons = request.reasoning is not None and request.reasoning.enabled is not False
    if NOTE + ENCRYPTED in request.extra if own else (reasons or wire.facts.reasoning) and _may(wire):
        includes.append(ENCRYPTED)
    if request.logprobs:
        if Quirk.REASONING_REFUSES_SAMPLING in wire.quirks and wire.facts.reasoning:
            dropped(losses, "logprobs", f"{wire.model} reasons and gives no logprobs")
        else:
            includes.append(LOGPROBS)
    elif request.logprobs is False:
        dropped(losses, "logprobs", "there are none unless they are asked for")
    if includes:
        return {"include": includes}
    return {"include": others} if own and "include" in request.extra else {}


def _may(wire: Wire) -> bool:
    return wire.facts.reasoning is not False
