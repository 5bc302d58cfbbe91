"""What Claude's generations take and refuse: a table by version, and how a version is read from a name.

The names differ from cloud to cloud (`claude-opus-4-1-20250805`, `us.anthropic.claude-opus-4-1-20250805-v1:0`,
`claude-opus-4-1@20250805`, `anthropic/claude-opus-4.1`); all of them hold the version. A Claude without one is
taken for the newest. What is no Claude at all speaks the dialect as most imitations do: the manner of its first
years.

Sources (read 2026-11): platform.claude.com/docs/en/about-claude/models/migration-guide (sampling, prefill, budgets);
.../build-with-claude/adaptive-thinking; .../build-with-claude/effort; .../build-with-claude/structured-outputs;
docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html (models that always think).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto

import msgspec

__all__ = ["Generation", "Thinks", "generation_of", "is_claude"]


class Thinks(Enum):
    """How a model is told to think."""

    NEVER = auto()
    BUDGET = auto()  # `enabled` with a number of tokens
    EITHER = auto()  # that, or adaptive
    ADAPTIVE = auto()  # no budgets any more
    ALWAYS = auto()  # adaptive, and it cannot be told not to


class Generation(msgspec.Struct, frozen=True):
    """What one generation of models understands."""

    thinks: Thinks = Thinks.BUDGET
    efforts: tuple[str, ...] = ()  # of `output_config.effort`, least first
    formats: bool = False  # `output_config.format`, and strict tools
    sampling: bool = True  # temperature, top_p and top_k
    sampling_together: bool = True  # temperature beside top_p
    prefill: bool = True  # a conversation may end with the assistant


_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_NEWEST = Generation(Thinks.ADAPTIVE, _EFFORTS, formats=True, sampling=False, sampling_together=False, prefill=False)

# From this version on.
_SINCE: Sequence[tuple[tuple[int, int], Generation]] = (
    ((4, 7), _NEWEST),
    (
        (4, 6),
        Generation(
            Thinks.EITHER, ("low", "medium", "high", "max"), formats=True, sampling_together=False, prefill=False
        ),
    ),
    ((4, 5), Generation(formats=True, sampling_together=False)),
    ((4, 1), Generation(sampling_together=False)),
    ((3, 7), Generation()),
    ((0, 0), Generation(Thinks.NEVER)),
)
_ALWAYS = ("fable", "mythos")
_IMITATION = Generation()

_VERSION = re.compile(
    r"claude-(?:v?(?P<a>\d)(?!\d)(?:[-.](?P<b>\d)(?!\d))?|(?P<family>[a-z]+)(?:-(?P<c>\d{1,2})(?!\d)(?:[-.](?P<d>\d{1,2})(?!\d))?)?)"
)


def is_claude(model: str) -> bool:
    """Whether a model is the vendor's own, at whichever cloud."""
    return "claude" in model.lower()


def generation_of(model: str) -> Generation:
    """The generation that a model is of."""
    match = _VERSION.search(model.lower())
    if match is None:
        return _NEWEST if is_claude(model) else _IMITATION
    if match["family"] in _ALWAYS:
        return msgspec.structs.replace(_NEWEST, thinks=Thinks.ALWAYS)
    major, minor = match["a"] or match["c"], match["b"] or match["d"]
    if major is None:
        return _NEWEST
    version = (int(major), int(minor or 0))
    return next(generation for since, generation in _SINCE if version >= since)
