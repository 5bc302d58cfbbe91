"""Thoughts that the vendor would refuse, taken out of a conversation that passes through in its own dialect.

A client whose last turn was answered by another vendor hands that turn's thoughts back: signed by the other
(`openai-responses:...`, see `anthropic_blocks`), or by nobody. Claude refuses the whole request for either;
the servers that imitate it know their own unsigned thoughts again, so they keep those.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from sidecar.dialects.anthropic_blocks import DIALECT, block_of
from sidecar.dialects.anthropic_generations import is_claude
from sidecar.dialects.loose import MALFORMED
from sidecar.dialects.losses import dropped
from sidecar.model.blocks import Thinking
from sidecar.model.hub import Loss
from sidecar.model.topology import Dialect

__all__ = ["without_foreign_thoughts"]

_OTHERS = "|".join(dialect.value for dialect in Dialect if dialect is not DIALECT)
_SUSPECT = re.compile(rf'"(?:signature|data)"\s*:\s*"(?:(?:{_OTHERS}):|")'.encode())


def without_foreign_thoughts(messages: bytes, model: str, losses: list[Loss]) -> bytes | None:
    """The conversation without what another signed; None when it may go as it is.

    Args:
        messages: The JSON of `messages`.
        model: Of the target.
        losses: What had to go.
    """
    if b"thinking" not in messages or not _SUSPECT.search(messages):
        return None
    try:
        turns = msgspec.json.decode(messages)
    except MALFORMED:
        return None
    if not isinstance(turns, list):
        return None
    before = len(losses)
    kept = [_kept(turn, f"messages[{place}]", losses, claude=is_claude(model)) for place, turn in enumerate(turns)]
    if len(losses) == before:
        return None
    return msgspec.json.encode([turn for turn in kept if not isinstance(turn, dict) or turn.get("content") != []])


def _kept(turn: Any, path: str, losses: list[Loss], *, claude: bool) -> Any:
    content = turn.get("content") if isinstance(turn, dict) else None
    if not isinstance(content, list):
        return turn
    blocks = []
    for place, raw in enumerate(content):
        block = block_of(raw) if isinstance(raw, dict) else None
        if isinstance(block, Thinking) and (block.signer not in (None, DIALECT) or (claude and not block.signature)):
            who = f"{block.signer} signed it" if block.signature else "it is not signed"
            dropped(losses, f"{path}.content[{place}]", f"{DIALECT} takes no thinking of others: {who}")
        else:
            blocks.append(raw)
    return {**turn, "content": blocks}
