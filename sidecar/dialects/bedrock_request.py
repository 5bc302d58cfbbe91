"""A request of the hub as Converse takes it, for one model; which model, and whether to stream, the path says.

What Converse has no field for goes into `additionalModelRequestFields` where the model is known to have it, else it
is a loss. A format that a model does not know is asked for in words.

Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sidecar.dialects.bedrock_models import Traits, traits_of
from sidecar.dialects.bedrock_turns import DIALECT, Conversation, cache_point, conversation
from sidecar.dialects.dialect import check_choices
from sidecar.dialects.fields import json_text
from sidecar.dialects.losses import added, changed, dropped, foreign
from sidecar.model.hub import ChoiceMode, FormatKind, HubRequest, Loss, OutputFormat, Reasoning, Tool, Wire

__all__ = ["encode_request"]

_MOST = 1.0  # of temperature and top_p
_NO_SCHEMA: Mapping[str, Any] = MappingProxyType({"type": "object", "properties": {}})
_JSON_ONLY = "Answer with one JSON object and nothing else."
_TIERS = frozenset({"default", "flex", "priority"})
_METADATA_MAX, _METADATA_CHARACTERS = 16, 256
# What the dialect has no word for.
_UNSAID = ("seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "store", "user")


def encode_request(request: HubRequest, wire: Wire, losses: list[Loss]) -> dict[str, Any]:
    """The body for one target.

    Args:
        request: What is asked.
        wire: The target.
        losses: Where is noted what cannot be said.

    Raises:
        Untranslatable: When nothing that is left would be what was asked.
    """
    check_choices(request)
    return _Asking(request, wire, losses).body()


class _Asking:
    """One request while it is written."""

    def __init__(self, request: HubRequest, wire: Wire, losses: list[Loss]) -> None:
        self._request = request
        self._wire = wire
        self._losses = losses
        self._traits: Traits = traits_of(wire.model)

    def body(self) -> dict[str, Any]:
        """The whole body."""
        request = self._request
        said = conversation(request.messages, self._traits, self._losses)
        more = self._more()
        format_ = self._format(said)
        body = {
            "messages": said.messages,
            "system": said.system,
            "inferenceConfig": self._limits(more),
            "toolConfig": self._tools(said),
            "outputConfig": format_,
            "additionalModelRequestFields": more,
            "requestMetadata": self._metadata(),
            "serviceTier": self._tier(),
        }
        for name in _UNSAID:
            if getattr(request, name) not in (None, False):
                dropped(self._losses, name, f"{DIALECT} has no {name}")
        foreign(self._losses, request.extra, "", DIALECT)
        return {name: value for name, value in body.items() if value}

    # -- the answer's length, chance and shape

    def _limits(self, more: Mapping[str, Any]) -> dict[str, Any]:
        request = self._request
        limits = {
            "maxTokens": self._max_tokens(more),
            "temperature": self._capped("temperature", request.temperature),
            "topP": self._capped("top_p", request.top_p),
            "stopSequences": [stop for stop in request.stop if stop] or None,
        }
        return {name: value for name, value in limits.items() if value is not None}

    def _max_tokens(self, more: Mapping[str, Any]) -> int | None:
        asked, limit = self._request.max_tokens, self._wire.facts.max_output_tokens
        if asked is not None and limit is not None and asked > limit:
            changed(self._losses, "max_tokens", f"{limit}, which is all that the model can say")
            return limit
        budget = more.get("thinking", {}).get("budget_tokens", 0)
        if budget and asked is None:
            added(self._losses, "max_tokens", f"{budget + budget}, for it must be more than the thinking's budget")
            return int(budget + budget)
        return asked

    def _capped(self, name: str, value: float | None) -> float | None:
        if value is None or value <= _MOST:
            return value
        changed(self._losses, name, f"{_MOST:g}, the most that {DIALECT} takes")
        return _MOST

    def _more(self) -> dict[str, Any]:
        """What only some models take."""
        request = self._request
        more: dict[str, Any] = {}
        if request.top_k is not None:
            if self._traits.top_k is None:
                dropped(self._losses, "top_k", "the model is not known to take it")
            else:
                more |= self._traits.top_k(request.top_k)
        return more | self._thinking(request.reasoning or Reasoning())

    def _thinking(self, reasoning: Reasoning) -> dict[str, Any]:
        off = reasoning.enabled is False or reasoning.effort == "none" or reasoning.budget_tokens == 0
        asked = reasoning.enabled or reasoning.effort or reasoning.budget_tokens or reasoning.adaptive
        if reasoning.summary is not None or reasoning.shown is not None:
            changed(self._losses, "reasoning.summary", "the model shows its thoughts as it does")
        if off and self._traits.least is not None:
            changed(self._losses, "reasoning", "the least that the model can be told to think")
            return dict(self._traits.least)
        if off or not asked:
            return {}
        if self._traits.thinks is None or self._wire.facts.reasoning is False:
            dropped(self._losses, "reasoning", "the model is not known to be told how much to think")
            return {}
        return self._traits.thinks(reasoning)

    def _format(self, said: Conversation) -> dict[str, Any]:
        """`outputConfig`; or a line of the system prompt, which is added there."""
        format_ = self._request.format
        if format_ is None or format_.kind is FormatKind.TEXT:
            return {}
        foreign(self._losses, format_.extra, "format", DIALECT)
        if format_.kind is FormatKind.JSON:
            changed(self._losses, "format", f"asked in words, for {DIALECT} has no JSON without a schema")
            said.system.append({"text": _JSON_ONLY})
            return {}
        schema = json_text(dict(format_.schema or _NO_SCHEMA))
        if not self._traits.formats:
            changed(self._losses, "format", "asked in words, for the model is not known to keep to schemas")
            said.system.append({"text": f"{_JSON_ONLY} It fits this JSON Schema: {schema}"})
            return {}
        return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": self._schema(format_, schema)}}}

    def _schema(self, format_: OutputFormat, schema: str) -> dict[str, Any]:
        words = {"name": format_.name, "description": format_.description}
        return {"schema": schema, **{name: value for name, value in words.items() if value}}

    # -- tools

    def _tools(self, said: Conversation) -> dict[str, Any]:
        request, choice = self._request, self._request.tool_choice
        allowed = choice.names if choice else ()
        named = choice is not None and choice.mode is ChoiceMode.NAMED and len(allowed) == 1
        tools: list[dict[str, Any]] = []
        for place, tool in enumerate(request.tools):
            if allowed and not named and tool.name not in allowed:
                changed(self._losses, f"tools[{place}]", "left out, for it may not be called now")
            else:
                tools += self._tool(tool, f"tools[{place}]")
        if choice is not None and choice.mode is ChoiceMode.NONE and tools:
            changed(self._losses, "tool_choice", f"the tools are left out, for {DIALECT} cannot forbid to call them")
            tools = []
        if not tools and said.called:
            added(self._losses, "tools", f"those that were called, for {DIALECT} wants them known")
            tools = [{"toolSpec": {"name": name, "inputSchema": {"json": dict(_NO_SCHEMA)}}} for name in said.called]
        if request.parallel_tools is False and tools:
            dropped(self._losses, "parallel_tool_calls", f"{DIALECT} cannot say that tools are called one by one")
        if not tools:
            return {}
        return {"tools": tools, **self._choice(named=named)}

    def _choice(self, *, named: bool) -> dict[str, Any]:
        choice = self._request.tool_choice
        if choice is None or choice.mode is ChoiceMode.NONE:
            return {}
        foreign(self._losses, choice.extra, "tool_choice", DIALECT)
        if named:
            return {"toolChoice": {"tool": {"name": choice.names[0]}}}
        return {"toolChoice": {"auto" if choice.mode is ChoiceMode.AUTO else "any": {}}}

    def _tool(self, tool: Tool, path: str) -> list[dict[str, Any]]:
        """The tool, and the mark of the cache after it."""
        if tool.builtin is not None:
            dropped(self._losses, path, f"{DIALECT} does not have the built-in {tool.name} of {self._request.dialect}")
            return []
        foreign(self._losses, tool.extra, path, DIALECT)
        if tool.strict:
            dropped(self._losses, f"{path}.strict", "the model is not known to be held to schemas of tools")
        spec: dict[str, Any] = {"name": tool.name}
        if tool.description:
            spec["description"] = tool.description
        spec["inputSchema"] = {"json": {"type": "object", **(tool.schema or _NO_SCHEMA)}}
        return [{"toolSpec": spec}, *cache_point(tool.cache, self._traits, path, self._losses)]

    # -- the rest

    def _metadata(self) -> dict[str, str]:
        metadata = self._request.metadata or {}
        texts = {name: value for name, value in metadata.items() if isinstance(value, str)}
        fits = len(texts) == len(metadata) <= _METADATA_MAX
        if fits and all(len(text) <= _METADATA_CHARACTERS for pair in texts.items() for text in pair):
            return texts
        dropped(self._losses, "metadata", f"{DIALECT} takes at most {_METADATA_MAX} short texts")
        return {}

    def _tier(self) -> dict[str, str]:
        tier = self._request.service_tier
        if tier is None or tier == "auto":
            return {}
        if tier in _TIERS:
            return {"type": tier}
        dropped(self._losses, "service_tier", f"{DIALECT} has no tier {tier}")
        return {}
