"""How much Gemini shall think: by level from its third generation on, by tokens in the second.

A model that takes levels refuses both at once, one that takes a budget knows no levels, and each model
has its own least and most; some cannot stop thinking. What is known of the models is the table; a model
that is not in it is told what the client said.

Source: ai.google.dev/gemini-api/docs/thinking and /openai, its table of efforts (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sidecar.dialects.efforts import budget_of, effort_of
from sidecar.dialects.gemini_fields import flag, integer, obj, string
from sidecar.dialects.losses import NOTE, changed, dropped, foreign
from sidecar.model.hub import Loss, Reasoning, Wire
from sidecar.model.topology import Dialect

__all__ = ["bare_name", "decode_thinking", "encode_thinking"]

_AT = "generationConfig.thinkingConfig"
_OWN = Dialect.GEMINI_GENERATE
_LEVELS = ("minimal", "low", "medium", "high")
_SPOKEN = (*_LEVELS, "xhigh")  # what a model that is not in the table is told as it is


class _Family(msgspec.Struct, frozen=True):
    """How the models of one family are told."""

    levels: tuple[str, ...] = ()
    least: int = 0  # tokens
    most: int = 0  # tokens; with no levels, 0: they do not think
    stops: bool = True  # can be told not to think at all


# By how a model's name begins, the most particular first.
_FAMILIES: Sequence[tuple[str, _Family]] = (
    ("gemini-3-pro", _Family(("low", "high"))),
    ("gemini-3.1-pro", _Family(("low", "medium", "high"))),
    ("gemini-3", _Family(_LEVELS)),
    ("gemini-2.5-pro", _Family(least=128, most=32768, stops=False)),
    ("gemini-2.5-flash-lite", _Family(least=512, most=24576)),
    ("gemini-2.5-flash", _Family(least=1, most=24576)),
    ("gemini-2.0", _Family()),
    ("gemini-1", _Family()),
    ("gemma", _Family()),
)


def bare_name(model: str) -> str:
    """A model's name without the folder that it is in: "models/x" and "publishers/google/models/x" are x."""
    return model.rpartition("/")[2]


def decode_thinking(value: Any) -> tuple[Reasoning | None, dict[str, Any]]:
    """What a `thinkingConfig` asks for, and what waits in the request's extra."""
    if value is None or value == {}:
        return None, {_AT: value}
    fields = obj(value, _AT)
    extra: dict[str, Any] = {}
    said: dict[str, Any] = {}
    for name, item in fields.items():
        path = f"{_AT}.{name}"
        if item is None:
            extra[path] = None
        elif name == "includeThoughts":
            said["shown"] = flag(item, path)
        elif name == "thinkingBudget":
            said |= _budget(integer(item, path))
        elif name == "thinkingLevel":
            effort = string(item, path).lower()
            if effort.upper() != item:
                extra[NOTE + path] = item
            said["effort"] = effort
        else:
            extra[path] = item
    return Reasoning(**said) if said else None, extra


def _budget(tokens: int) -> dict[str, Any]:
    if tokens < 0:
        return {"enabled": True, "adaptive": True}
    return {"enabled": True, "budget_tokens": tokens} if tokens else {"enabled": False}


def encode_thinking(reasoning: Reasoning, wire: Wire, losses: list[Loss], *, own: bool) -> dict[str, Any]:
    """The `thinkingConfig` for a target.

    Args:
        reasoning: What is asked.
        wire: The target.
        losses: Where what cannot be said is noted.
        own: The request comes from this dialect, and says it as it must be said.
    """
    if own:
        return _as_said(reasoning, losses)
    foreign(losses, reasoning.extra, "reasoning", _OWN)
    family = next((each for name, each in _FAMILIES if bare_name(wire.model).startswith(name)), None)
    if wire.facts.reasoning is False or (family and not family.levels and not family.most):
        if reasoning.enabled is not False and reasoning.effort != "none":
            dropped(losses, "reasoning", f"{wire.model} does not think")
        return {}
    if reasoning.effort == "none":
        reasoning = msgspec.structs.replace(reasoning, enabled=False, effort=None)
    told = _as_said(reasoning, losses) if family is None else _fitted(reasoning, family, losses)
    shown = reasoning.shown
    if reasoning.summary is not None:
        shown = True
        changed(losses, "reasoning.summary", "Gemini's summaries have one length")
    return told if shown is None else {**told, "includeThoughts": shown}


def _as_said(reasoning: Reasoning, losses: list[Loss]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if reasoning.shown is not None:
        told["includeThoughts"] = reasoning.shown
    if reasoning.adaptive:
        told["thinkingBudget"] = -1
    elif reasoning.enabled is False:
        told["thinkingBudget"] = 0
    elif reasoning.budget_tokens is not None:
        told["thinkingBudget"] = reasoning.budget_tokens
    if reasoning.effort is not None:
        level = reasoning.effort
        if level not in _SPOKEN and budget_of(level) is not None:
            level = _SPOKEN[-1]
            changed(losses, "reasoning.effort", f"said as {level}, the most there is")
        told["thinkingLevel"] = level.upper()
    if not told and reasoning.enabled:
        changed(losses, "reasoning.enabled", "Gemini thinks as much as it sees fit")
    return told


def _fitted(reasoning: Reasoning, family: _Family, losses: list[Loss]) -> dict[str, Any]:
    """What a model of a known family takes."""
    if reasoning.adaptive:
        return {} if family.levels else {"thinkingBudget": -1}
    if family.levels:
        return _level(reasoning, family, losses)
    tokens = _tokens(reasoning, losses)
    if tokens is None:
        return {}
    fit = min(max(tokens, family.least), family.most) if tokens or not family.stops else 0
    if fit != tokens:
        changed(losses, "reasoning", f"{tokens} tokens to think are said as {fit}, which the model takes")
    return {"thinkingBudget": fit}


def _tokens(reasoning: Reasoning, losses: list[Loss]) -> int | None:
    if reasoning.enabled is False:
        return 0
    if reasoning.budget_tokens is not None or reasoning.effort is None:
        return reasoning.budget_tokens
    tokens = budget_of(reasoning.effort)
    changed(losses, "reasoning.effort", f"{reasoning.effort} is said as {tokens} tokens to think")
    return tokens


def _level(reasoning: Reasoning, family: _Family, losses: list[Loss]) -> dict[str, Any]:
    wanted = reasoning.effort
    if reasoning.enabled is False:
        wanted = "none"
    elif wanted is None and reasoning.budget_tokens is not None:
        wanted = effort_of(reasoning.budget_tokens)
        changed(losses, "reasoning.budget_tokens", f"{reasoning.budget_tokens} tokens to think are said as {wanted}")
    if wanted is None:
        return {}
    asked = _LEVELS.index(wanted) if wanted in _LEVELS else 0 if wanted == "none" else len(_LEVELS)
    level = next((each for each in family.levels if _LEVELS.index(each) >= asked), family.levels[-1])
    if level != wanted:
        changed(losses, "reasoning", f"{wanted} is said as {level}, the nearest that the model takes")
    return {"thinkingLevel": level.upper()}
