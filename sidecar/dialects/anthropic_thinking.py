"""How much a model is told to think: `thinking` and `output_config.effort`, as its generation understands them.

A budget and an effort are said in each other's terms where a generation knows only one. A budget has to be
at least 1024 tokens and less than the whole answer; a forced call of a tool, or a turn that began without a
thought, rule it out.

Source: platform.claude.com/docs/en/build-with-claude/extended-thinking, .../adaptive-thinking, .../effort
(read 2026-11).
"""

from __future__ import annotations

from typing import Any

import msgspec

from sidecar.dialects.anthropic_blocks import unnoted
from sidecar.dialects.anthropic_generations import Generation, Thinks
from sidecar.dialects.efforts import BUDGETS, budget_of, effort_of
from sidecar.dialects.losses import changed, dropped
from sidecar.model.hub import Loss, Reasoning

__all__ = ["Thought", "thought"]

_MIN_BUDGET_TOKENS = 1024
_ROOM_TOKENS = 4096  # for what is said, where nobody said how long the answer may be
_USUAL = "medium"
_ADAPTIVE = frozenset({Thinks.ADAPTIVE, Thinks.ALWAYS})


class Thought(msgspec.Struct, frozen=True):
    """What a request says of thinking."""

    thinking: dict[str, Any] | None = None
    effort: str | None = None
    min_tokens: int = 0  # that the whole answer must have at least

    @property
    def on(self) -> bool:
        """Whether the model will think."""
        return self.thinking is not None and self.thinking["type"] != "disabled"


def thought(
    reasoning: Reasoning,
    generation: Generation,
    losses: list[Loss],
    *,
    own: bool,
    max_tokens: int | None,
    ruled_out: str | None,
) -> Thought:
    """What to say of thinking.

    Args:
        reasoning: What was asked.
        generation: Of the target.
        losses: Where is noted what cannot be said.
        own: The client speaks this dialect.
        max_tokens: Of the answer, if the client said it.
        ruled_out: Why a budget cannot be given, if so.
    """
    if own:
        return _as_asked(reasoning, losses)
    shown = _shown(reasoning, losses)
    if reasoning.enabled is False or reasoning.effort == "none" or reasoning.budget_tokens == 0:
        return _off(generation, losses)
    if not (reasoning.enabled or reasoning.effort or reasoning.budget_tokens or reasoning.adaptive):
        if reasoning.shown:
            dropped(losses, "reasoning.shown", "nothing is thought unless it is asked for")
        return Thought()
    if generation.thinks is Thinks.NEVER:
        dropped(losses, "reasoning", "the model does not think")
        return Thought()
    if generation.thinks in _ADAPTIVE or (generation.thinks is Thinks.EITHER and reasoning.budget_tokens is None):
        return _adaptive(reasoning, generation, shown, losses)
    return _budget(reasoning, shown, losses, max_tokens, ruled_out)


def _as_asked(reasoning: Reasoning, losses: list[Loss]) -> Thought:
    """As a client of the dialect said it."""
    if reasoning.summary is not None:
        dropped(losses, "reasoning.summary", "there is one kind of summary")
    effort = reasoning.effort
    if reasoning.enabled is False or effort == "none":
        kind: dict[str, Any] | None = {"type": "disabled"}
        effort = None if effort == "none" else effort
    elif reasoning.adaptive:
        kind = {"type": "adaptive"}
    elif reasoning.budget_tokens is not None:
        kind = {"type": "enabled", "budget_tokens": reasoning.budget_tokens}
    else:
        kind = {"type": "enabled"} if reasoning.enabled else None
    if reasoning.shown is not None and kind is not None and kind["type"] != "disabled":
        kind = {**kind, **_display(reasoning.shown)}
    elif reasoning.shown is not None:
        dropped(losses, "reasoning.shown", "nothing is thought")
    return Thought({**kind, **unnoted(reasoning.extra)} if kind is not None else None, effort)


def _display(shown: bool | None) -> dict[str, Any]:
    return {} if shown is None else {"display": "summarized" if shown else "omitted"}


def _shown(reasoning: Reasoning, losses: list[Loss]) -> dict[str, Any]:
    if reasoning.summary is None:
        return _display(reasoning.shown)
    changed(losses, "reasoning.summary", "there is one kind of summary")
    return _display(True)


def _off(generation: Generation, losses: list[Loss]) -> Thought:
    if generation.thinks is Thinks.NEVER:
        return Thought()
    if generation.thinks is Thinks.ALWAYS:
        dropped(losses, "reasoning", "the model always thinks")
        return Thought()
    return Thought({"type": "disabled"})


def _adaptive(reasoning: Reasoning, generation: Generation, shown: dict[str, Any], losses: list[Loss]) -> Thought:
    effort = reasoning.effort
    if effort is None and reasoning.budget_tokens is not None:
        effort = effort_of(reasoning.budget_tokens)
        changed(losses, "reasoning.budget_tokens", f'effort "{effort}", for the model takes no budget')
    elif reasoning.budget_tokens is not None:
        dropped(losses, "reasoning.budget_tokens", "the model takes an effort, no budget")
    if effort is not None and effort not in generation.efforts:
        nearest = _nearest(effort, generation.efforts)
        words = f'"{nearest}"' if nearest else "left to the model"
        changed(losses, "reasoning.effort", f'{words}, for the model knows no "{effort}"')
        effort = nearest
    return Thought({"type": "adaptive", **shown}, effort)


def _nearest(effort: str, known: tuple[str, ...]) -> str | None:
    """The greatest effort known that is no greater, or the least; None for a word that is no effort."""
    if effort not in BUDGETS:
        return None
    return next((each for each in reversed(known) if BUDGETS[each] <= BUDGETS[effort]), known[0])


def _budget(
    reasoning: Reasoning, shown: dict[str, Any], losses: list[Loss], max_tokens: int | None, ruled_out: str | None
) -> Thought:
    if ruled_out:
        dropped(losses, "reasoning", ruled_out)
        return Thought()
    if max_tokens is not None and max_tokens <= _MIN_BUDGET_TOKENS:
        dropped(
            losses, "reasoning", f"an answer of {max_tokens} tokens has no room for {_MIN_BUDGET_TOKENS} of thinking"
        )
        return Thought()
    budget = reasoning.budget_tokens
    if budget is None:
        budget = budget_of(reasoning.effort or _USUAL) or BUDGETS[_USUAL]
        changed(losses, "reasoning", f"a budget of {budget} tokens, for the model takes no effort")
    fits = max(budget, _MIN_BUDGET_TOKENS)
    if max_tokens is not None and fits >= max_tokens:
        fits = max(max_tokens // 2, _MIN_BUDGET_TOKENS)
    if fits != budget:
        changed(losses, "reasoning.budget_tokens", f"{fits} tokens instead of {budget}, to be within the limits")
    return Thought({"type": "enabled", "budget_tokens": fits, **shown}, min_tokens=fits + _ROOM_TOKENS)
