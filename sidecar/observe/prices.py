"""What an answer cost, by the prices of the config; knows no price of its own."""

from __future__ import annotations

from sidecar.model.records import Usage
from sidecar.model.topology import ModelFacts

__all__ = ["cost_usd"]

_TOKENS_PER_PRICE = 1_000_000
_DIGITS = 9  # a nano-dollar: below any price list, above the noise of floats


def cost_usd(facts: ModelFacts, usage: Usage) -> float | None:
    """US dollars; None when the model has no price or the answer told no tokens."""
    price = facts.price
    if price is None or (usage.input_tokens is None and usage.output_tokens is None):
        return None
    millionths = (usage.input_tokens or 0) * price.input + (usage.output_tokens or 0) * price.output
    return round(millionths / _TOKENS_PER_PRICE, _DIGITS)
