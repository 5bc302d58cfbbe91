"""A request of the hub as the dialect's JSON, for one model.

A client of the dialect gets its own words back. One of another dialect is translated by what the target's
generation takes (`anthropic_generations`), and every deviation is noted.

Structured output is `output_config.format` where the model knows it. Older models are made to call a tool
whose arguments are the answer (`ANSWER_TOOL`); what they call it with is read as text again.

Sources (read 2026-11): platform.claude.com/docs/en/api/messages; .../build-with-claude/structured-outputs;
.../agents-and-tools/tool-use/implement-tool-use (tool_choice); .../api/service-tiers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from sidecar.dialects.anthropic_blocks import ANSWER_TOOL, DIALECT, cache_field, unnoted
from sidecar.dialects.anthropic_generations import Generation, Thinks, generation_of
from sidecar.dialects.anthropic_request import CUSTOM, FORMER, NOT_STREAMED
from sidecar.dialects.anthropic_schema import fitted
from sidecar.dialects.anthropic_thinking import Thought, thought
from sidecar.dialects.anthropic_turns import Conversation, conversation
from sidecar.dialects.dialect import check_choices
from sidecar.dialects.losses import added, changed, dropped, foreign
from sidecar.model.hub import ChoiceMode, FormatKind, HubRequest, Loss, Reasoning, Tool, ToolChoice, Wire
from sidecar.model.topology import Quirk

__all__ = ["encode_request"]

_USUAL_MAX_TOKENS = 4096
_MAX_USER_CHARACTERS = 512
_NO_SCHEMA: Mapping[str, Any] = MappingProxyType({"type": "object", "properties": {}})
_JSON_ONLY = "Answer with one JSON object and nothing else."
_CHOICES: Mapping[ChoiceMode, str] = MappingProxyType(
    {ChoiceMode.AUTO: "auto", ChoiceMode.ANY: "any", ChoiceMode.NAMED: "tool", ChoiceMode.NONE: "none"}
)
_FORCED = frozenset({"any", "tool"})
_TIERS: Mapping[str, str] = MappingProxyType({"auto": "auto", "default": "standard_only"})  # OpenAI's
# What the dialect has no word for.
_UNSAID = (
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "store",
)


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
    """One request while it is written.

    Args:
        request: What is asked.
        wire: The target.
        losses: Where is noted what cannot be said.
    """

    def __init__(self, request: HubRequest, wire: Wire, losses: list[Loss]) -> None:
        self._request = request
        self._wire = wire
        self._losses = losses
        self._own = request.dialect is DIALECT
        self._generation: Generation = generation_of(wire.model)
        if wire.facts.reasoning is False:
            self._generation = msgspec.structs.replace(self._generation, thinks=Thinks.NEVER)

    def body(self) -> dict[str, Any]:
        """The whole body."""
        request, own = self._request, self._own
        prefill = Quirk.NO_PREFILL not in self._wire.quirks and (own or self._generation.prefill)
        said = conversation(request.messages, self._losses, own=own, prefill=prefill)
        system, config = self._format(said.system)
        tools = self._tools(said)
        choice = self._choice(tools)
        thinking = self._thinking(said, choice)
        if thinking.effort is not None:
            config["effort"] = thinking.effort
        body = {
            "model": self._wire.model,
            "max_tokens": self._max_tokens(thinking),
            "system": system,
            "messages": said.messages,
            "tools": tools or None,
            "tool_choice": choice,
            "thinking": thinking.thinking,
            "output_config": config or None,
            **self._sampling(thinking),
            "stop_sequences": self._stop() or None,
            "metadata": self._metadata(),
            "service_tier": self._tier(),
            "stream": request.stream or None,
        }
        for name in _UNSAID:
            if getattr(request, name) is not None:
                dropped(self._losses, name, f"{DIALECT} has no {name}")
        return {name: value for name, value in body.items() if value is not None} | self._extra(config)

    def _extra(self, config: dict[str, Any]) -> dict[str, Any]:
        """What its own client said beside; the rest of `output_config` with the rest of it."""
        request = self._request
        if not self._own:
            foreign(self._losses, request.extra, "", DIALECT)
            return {}
        extra = unnoted(request.extra)
        if NOT_STREAMED in request.extra and not request.stream:
            extra["stream"] = False
        if "output_config" in extra:
            extra["output_config"] = {**extra["output_config"], **config}
        if request.format is not None and FORMER in request.format.extra:
            extra["output_format"] = self._own_format()
        return extra

    # -- the answer's length and shape

    def _max_tokens(self, thinking: Thought) -> int:
        asked, limit = self._request.max_tokens, self._wire.facts.max_output_tokens
        if asked is None:
            tokens = limit or max(_USUAL_MAX_TOKENS, thinking.min_tokens)
            added(self._losses, "max_tokens", f"{tokens}, for {DIALECT} demands a limit")
            return tokens
        if limit is not None and asked > limit and not self._own:
            changed(self._losses, "max_tokens", f"{limit}, which is all that the model can say")
            return limit
        return asked

    def _format(self, system: Any) -> tuple[Any, dict[str, Any]]:
        """The system prompt and `output_config`, as the format wants them."""
        format_ = self._request.format
        if format_ is None or format_.kind is FormatKind.TEXT:
            return system, {}
        if not self._own:
            foreign(self._losses, format_.extra, "format", DIALECT)
        if format_.kind is FormatKind.JSON:
            changed(self._losses, "format", f"asked in words, for {DIALECT} has no JSON without a schema")
            return _with_line(system, _JSON_ONLY), {}
        if self._own:
            return system, {} if FORMER in format_.extra else {"format": self._own_format()}
        # A format is its schema alone, and always strict; a name elsewhere is for nobody to read.
        if not self._generation.formats:
            changed(self._losses, "format", "asked as the arguments of a tool, for the model knows no formats")
            return system, {}
        if format_.description:
            dropped(self._losses, "format.description", "a format is its schema alone")
        schema = fitted(format_.schema or _NO_SCHEMA)
        if schema != format_.schema:
            changed(self._losses, "format.schema", "closed objects, and in words what cannot be enforced")
        return system, {"format": {"type": "json_schema", "schema": schema}}

    def _own_format(self) -> dict[str, Any]:
        format_ = self._request.format
        assert format_ is not None
        return {"type": "json_schema", "schema": format_.schema or {}, **unnoted(format_.extra)}

    @property
    def _answers_by_tool(self) -> bool:
        format_ = self._request.format
        return (
            not self._own and format_ is not None and format_.kind is FormatKind.SCHEMA and not self._generation.formats
        )

    # -- tools

    def _tools(self, said: Conversation) -> list[dict[str, Any]]:
        request = self._request
        allowed = request.tool_choice.names if request.tool_choice else ()
        one = request.tool_choice is not None and request.tool_choice.mode is ChoiceMode.NAMED and len(allowed) == 1
        tools = []
        for place, tool in enumerate(request.tools):
            if allowed and not one and tool.name not in allowed:
                changed(self._losses, f"tools[{place}]", "left out, for it may not be called now")
            elif (written := self._tool(tool, f"tools[{place}]")) is not None:
                tools.append(written)
        if self._answers_by_tool:
            tools.append(self._answer_tool())
        if not tools and not self._own and said.called:
            added(self._losses, "tools", f"those that were called, for {DIALECT} wants them known")
            tools = [{"name": name, "input_schema": {"type": "object"}} for name in said.called]
        return tools

    def _tool(self, tool: Tool, path: str) -> dict[str, Any] | None:
        if tool.builtin is not None:
            if self._own:
                return dict(tool.builtin)
            dropped(self._losses, path, f"{DIALECT} does not have the built-in {tool.name} of {self._request.dialect}")
            return None
        written: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            written["description"] = tool.description
        written["input_schema"] = self._schema(tool, path)
        if tool.strict is not None:
            written |= self._strict(tool, path)
        written |= cache_field(tool.cache)
        if self._own:
            return written | ({"type": "custom"} if CUSTOM in tool.extra else {}) | unnoted(tool.extra)
        foreign(self._losses, tool.extra, path, DIALECT)
        return written

    def _schema(self, tool: Tool, path: str) -> dict[str, Any]:
        if tool.schema is None:
            added(self._losses, f"{path}.schema", f"that of no arguments, for {DIALECT} demands one")
            return dict(_NO_SCHEMA)
        if "type" in tool.schema or self._own:
            return dict(tool.schema)
        added(self._losses, f"{path}.schema.type", f"object, for {DIALECT} demands it")
        return {"type": "object", **tool.schema}

    def _strict(self, tool: Tool, path: str) -> dict[str, Any]:
        if self._own or not tool.strict:
            return {"strict": tool.strict}
        if self._generation.formats and fitted(tool.schema or _NO_SCHEMA) == (tool.schema or _NO_SCHEMA):
            return {"strict": True}
        dropped(self._losses, f"{path}.strict", "the model cannot be held to this schema")
        return {}

    def _answer_tool(self) -> dict[str, Any]:
        format_ = self._request.format
        assert format_ is not None
        words = format_.description or "Gives the answer. Its arguments are the whole answer."
        return {"name": ANSWER_TOOL, "description": words, "input_schema": dict(format_.schema or _NO_SCHEMA)}

    def _choice(self, tools: list[dict[str, Any]]) -> dict[str, Any] | None:
        request = self._request
        choice, parallel = request.tool_choice, request.parallel_tools
        if not self._own and choice is not None:
            foreign(self._losses, choice.extra, "tool_choice", DIALECT)
        if self._answers_by_tool:
            return self._forced_answer(choice, parallel)
        if not self._own and tools and not request.tools:
            return {"type": "none"}
        if not self._own and not tools:
            if (choice is not None and choice.mode in (ChoiceMode.ANY, ChoiceMode.NAMED)) or parallel is not None:
                dropped(self._losses, "tool_choice", "there is no tool to choose")
            return None
        if choice is None:
            if parallel is None:
                return None
            added(self._losses, "tool_choice", "auto, for parallel_tools is a part of it")
            choice = ToolChoice(ChoiceMode.AUTO)
        written = self._chosen(choice, {tool.get("name") for tool in tools})
        if written is None or parallel is None:
            return written
        if written["type"] == "none" and not self._own:
            dropped(self._losses, "parallel_tools", "no tool may be called")
            return written
        return {**written, "disable_parallel_tool_use": not parallel}

    def _chosen(self, choice: ToolChoice, known: set[str | None]) -> dict[str, Any] | None:
        kind = _CHOICES[choice.mode]
        if self._own:
            names = {"name": choice.names[0]} if choice.names else {}
            return {"type": kind, **names, **unnoted(choice.extra)}
        if len(choice.names) > 1 or (choice.names and choice.mode is not ChoiceMode.NAMED):
            changed(self._losses, "tool_choice", "said by leaving out the other tools")
            return {"type": "auto" if choice.mode is ChoiceMode.AUTO else "any"}
        if choice.mode is not ChoiceMode.NAMED:
            return {"type": kind}
        if not choice.names or choice.names[0] not in known:
            dropped(self._losses, "tool_choice", f"there is no tool {choice.names[0]}" if choice.names else "no name")
            return None
        return {"type": kind, "name": choice.names[0]}

    def _forced_answer(self, choice: ToolChoice | None, parallel: bool | None) -> dict[str, Any]:
        """The answer is a call, or what leads to it are calls of the client's tools."""
        if parallel is not None or (choice is not None and choice.mode is ChoiceMode.NAMED):
            changed(self._losses, "tool_choice", "any tool, for the answer's format is one")
        if self._request.tools and (choice is None or choice.mode is not ChoiceMode.NONE):
            return {"type": "any", "disable_parallel_tool_use": True}
        return {"type": "tool", "name": ANSWER_TOOL}

    # -- thinking and sampling

    def _thinking(self, said: Conversation, choice: dict[str, Any] | None) -> Thought:
        reasoning = self._request.reasoning
        if reasoning is None:
            return Thought()
        if not self._own:
            foreign(self._losses, reasoning.extra, "reasoning", DIALECT)
        forced = choice is not None and choice["type"] in _FORCED
        if forced and not self._own and self._thinks(reasoning) and self._generation.thinks is not Thinks.ALWAYS:
            dropped(self._losses, "reasoning", "the model does not think when it must call a tool")
            return Thought()
        return thought(
            reasoning,
            self._generation,
            self._losses,
            own=self._own,
            max_tokens=self._request.max_tokens,
            ruled_out="the turn to go on with began without a thought" if said.thoughtless else None,
        )

    def _thinks(self, reasoning: Reasoning) -> bool:
        asked = reasoning.enabled or reasoning.effort or reasoning.budget_tokens or reasoning.adaptive
        return bool(asked) and reasoning.effort != "none" and reasoning.enabled is not False

    def _sampling(self, thinking: Thought) -> dict[str, Any]:
        request = self._request
        asked = {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k}
        found = {name: value for name, value in asked.items() if value is not None}
        if self._own or not found:
            return found
        if found.get("temperature", 0) > 1:
            changed(self._losses, "temperature", f"1, which is the most that {DIALECT} takes")
            found["temperature"] = 1
        if thinking.on or self._generation.thinks is Thinks.ALWAYS:
            return self._only(found, "a model that thinks chooses for itself")
        if not self._generation.sampling:
            return self._only(found, "the model chooses for itself")
        if not self._generation.sampling_together and len(found.keys() & {"temperature", "top_p"}) > 1:
            dropped(self._losses, "top_p", "the model takes temperature or top_p, not both")
            del found["top_p"]
        return found

    def _only(self, found: dict[str, Any], reason: str) -> dict[str, Any]:
        """Nothing of it but a temperature of 1, which is the usual one."""
        for name, value in found.items():
            if (name, value) != ("temperature", 1):
                dropped(self._losses, name, reason)
        return {}

    # -- the rest

    def _stop(self) -> list[str]:
        stop = self._request.stop
        if self._own:
            return list(stop)
        if any(not sequence.strip() for sequence in stop):
            dropped(self._losses, "stop", f"{DIALECT} stops at no white space alone")
        return [sequence for sequence in stop if sequence.strip()]

    def _metadata(self) -> dict[str, Any] | None:
        user, metadata = self._request.user, self._request.metadata
        said: dict[str, Any] = {}
        if user is not None and (self._own or len(user) <= _MAX_USER_CHARACTERS):
            said["user_id"] = user
        elif user is not None:
            dropped(self._losses, "user", f"{DIALECT} takes {_MAX_USER_CHARACTERS} characters")
        if metadata and self._own:
            said |= metadata
        elif metadata:
            dropped(self._losses, "metadata", f"{DIALECT} has no metadata but the user's id")
        return said or None

    def _tier(self) -> str | None:
        tier = self._request.service_tier
        if tier is None or self._own:
            return tier
        said = _TIERS.get(tier)
        if said is None:
            dropped(self._losses, "service_tier", f'{DIALECT} has no tier "{tier}"')
        elif said != tier:
            changed(self._losses, "service_tier", f'"{said}"')
        return said


def _with_line(system: Any, line: str) -> Any:
    """The system prompt with one more line."""
    if system is None:
        return line
    if isinstance(system, str):
        return f"{system}\n\n{line}"
    return [*system, {"type": "text", "text": line}]
