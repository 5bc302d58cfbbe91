"""What a provider's models refuse, taken out of a request's top level before it is sent.

The rules are the quirks of a provider, as data. They hold for requests that go through in their own
dialect; a translation says things as its target wants them from the start.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

from sidecar.dialects.losses import dropped
from sidecar.model.hub import Loss, Wire
from sidecar.model.topology import Operation, Quirk

__all__ = ["SAMPLING", "fit"]

SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias")
"""What OpenAI's models that reason refuse (platform.openai.com/docs/guides/reasoning, read 2026-11)."""

_RENAMED: Mapping[Quirk, tuple[str, str]] = MappingProxyType(
    {
        Quirk.MAX_COMPLETION_TOKENS: ("max_tokens", "max_completion_tokens"),
        Quirk.MAX_TOKENS: ("max_completion_tokens", "max_tokens"),
    }
)
_OPERATIONS = frozenset({Operation.CHAT, Operation.RESPONSES})


def fit(fields: MutableMapping[str, Any], operation: Operation, wire: Wire, losses: list[Loss]) -> None:
    """Change the top level of a body so that the target takes it.

    Args:
        fields: Of the body; changed in place.
        operation: Whose body it is.
        wire: The target.
        losses: What had to go.
    """
    if operation not in _OPERATIONS or not wire.quirks:
        return
    if operation is Operation.CHAT:
        for quirk, (old, new) in _RENAMED.items():
            if quirk in wire.quirks and old in fields:
                fields.setdefault(new, fields.pop(old))  # the same by another name: no loss
    if Quirk.REASONING_REFUSES_SAMPLING in wire.quirks and wire.facts.reasoning:
        for name in SAMPLING:
            if fields.pop(name, None) is not None:
                dropped(losses, name, f"{wire.model} reasons and takes no {name}")
