"""What the vendors at Bedrock take beyond what Converse says for all of them: a table by marks in a model's name.

A name that holds no mark (an ARN, a model that is not known yet) is asked for nothing beyond.

Sources (read 2026-11): docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html, .../structured-output.html,
.../model-parameters-openai.html; docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from sidecar.dialects.efforts import BUDGETS, budget_of, effort_of
from sidecar.model.hub import Reasoning

__all__ = ["Traits", "traits_of"]

_MIN_BUDGET_TOKENS = 1024
_USUAL = "medium"


class Traits(msgspec.Struct, frozen=True):
    """What one family of models takes."""

    caches: bool = False  # `cachePoint`
    ttls: bool = False  # with a time to live
    formats: bool = False  # `outputConfig.textFormat`
    prefill: bool = False  # a conversation may end with the assistant
    top_k: Callable[[int], dict[str, Any]] | None = None  # its additional field
    thinks: Callable[[Reasoning], dict[str, Any]] | None = None  # how it is told to think
    least: Mapping[str, Any] | None = None  # what it is told who cannot but think


def _effort(reasoning: Reasoning) -> str:
    """low, medium or high."""
    if reasoning.effort in BUDGETS and reasoning.effort not in (None, "none"):
        return effort_of(budget_of(reasoning.effort or _USUAL) or 0)
    return _USUAL if reasoning.budget_tokens is None else effort_of(max(1, reasoning.budget_tokens))


def _claude(reasoning: Reasoning) -> dict[str, Any]:
    budget = reasoning.budget_tokens or budget_of(reasoning.effort or _USUAL) or 0
    return {"thinking": {"type": "enabled", "budget_tokens": max(_MIN_BUDGET_TOKENS, budget)}}


def _adaptive(reasoning: Reasoning) -> dict[str, Any]:
    return {"thinking": {"type": "adaptive"}, "output_config": {"effort": _effort(reasoning)}}


def _nova(reasoning: Reasoning) -> dict[str, Any]:
    return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": _effort(reasoning)}}


def _gpt(reasoning: Reasoning) -> dict[str, Any]:
    return {"reasoning_effort": _effort(reasoning)}


def _claude_top_k(top_k: int) -> dict[str, Any]:
    return {"top_k": top_k}


def _nova_top_k(top_k: int) -> dict[str, Any]:
    return {"inferenceConfig": {"topK": top_k}}


_OPEN = Traits(formats=True)
_NOVA = Traits(caches=True, prefill=True, top_k=_nova_top_k)
_CLAUDE = Traits(caches=True, ttls=True, prefill=True, top_k=_claude_top_k, thinks=_claude)
_CLAUDE_45 = Traits(caches=True, ttls=True, formats=True, prefill=True, top_k=_claude_top_k, thinks=_claude)
_CLAUDE_46 = Traits(caches=True, ttls=True, formats=True, thinks=_adaptive)

# The first mark that the name holds counts.
_MARKS: Sequence[tuple[str, Traits]] = (
    ("anthropic.claude-3", _CLAUDE),
    ("anthropic.claude-sonnet-4-2025", _CLAUDE),
    ("anthropic.claude-opus-4-2025", _CLAUDE),
    ("anthropic.claude-opus-4-1", _CLAUDE),
    ("anthropic.claude-haiku-4-5", _CLAUDE_45),
    ("anthropic.claude-sonnet-4-5", _CLAUDE_45),
    ("anthropic.claude-opus-4-5", _CLAUDE_45),
    ("anthropic.claude-v2", Traits()),
    ("anthropic.claude-instant", Traits()),
    ("anthropic.", _CLAUDE_46),
    ("amazon.nova-2", Traits(caches=True, prefill=True, top_k=_nova_top_k, thinks=_nova)),
    ("amazon.nova", _NOVA),
    ("openai.gpt-oss", Traits(formats=True, thinks=_gpt, least={"reasoning_effort": "low"})),
    ("deepseek.v3", _OPEN),
    ("google.gemma", _OPEN),
    ("minimax.", _OPEN),
    ("mistral.", _OPEN),
    ("moonshot", _OPEN),
    ("nvidia.", _OPEN),
    ("qwen.", _OPEN),
)
_PLAIN = Traits()


def traits_of(model: str) -> Traits:
    """What a model takes, by its name."""
    return next((traits for mark, traits in _MARKS if mark in model), _PLAIN)
