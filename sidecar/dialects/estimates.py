"""How many tokens a request has, where no target can be asked: an estimate that errs upwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from sidecar.dialects.anthropic_count import estimated_tokens
from sidecar.dialects.body import parsed
from sidecar.dialects.gemini_count import counted
from sidecar.model.request import Call
from sidecar.model.topology import Operation

__all__ = ["ESTIMATES", "estimate"]

ESTIMATES: Mapping[Operation, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = MappingProxyType(
    {
        Operation.COUNT_TOKENS: lambda fields: {"input_tokens": estimated_tokens(fields)},
        Operation.GEMINI_COUNT_TOKENS: counted,
    }
)


def estimate(call: Call) -> bytes:
    """The answer's body, in the client's dialect."""
    return msgspec.json.encode(ESTIMATES[call.operation](parsed(call.peek.fields)))
