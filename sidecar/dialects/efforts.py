"""Efforts and budgets of thinking: two ways to say how much a model shall think.

Where a dialect knows only the other way, this table is what both are taken to mean. The budgets are
those that the vendors' own compatibility layers use (ai.google.dev/gemini-api/docs/openai, read 2026-11),
continued by the same factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["BUDGETS", "budget_of", "effort_of"]

BUDGETS: Mapping[str, int] = MappingProxyType(
    {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 65536}
)


def budget_of(effort: str) -> int | None:
    """Tokens to think for an effort; None for one that is not known."""
    return BUDGETS.get(effort)


def effort_of(budget_tokens: int) -> str:
    """The smallest effort that allows this many tokens."""
    if budget_tokens <= 0:
        return "none"
    return next((effort for effort in ("low", "medium", "high") if budget_tokens <= BUDGETS[effort]), "high")
