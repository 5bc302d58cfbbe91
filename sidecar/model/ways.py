"""By which of a provider's endpoints a client's request can be answered.

Every operation is written in one dialect. A provider is asked in the client's own where it has it (its
bytes then go through as they are), else in the first of its dialects, by translation. What is no
conversation crosses dialects only where both mean the same thing: vectors do, counts of tokens do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sidecar.model.topology import Dialect, Operation, Provider

__all__ = ["CONVERSATIONS", "DIALECT_OF", "ENDPOINT_OF", "endpoint"]

ENDPOINT_OF: Mapping[Dialect, Operation] = MappingProxyType(
    {
        Dialect.OPENAI_CHAT: Operation.CHAT,
        Dialect.OPENAI_RESPONSES: Operation.RESPONSES,
        Dialect.ANTHROPIC_MESSAGES: Operation.MESSAGES,
        Dialect.GEMINI_GENERATE: Operation.GENERATE,
    }
)
"""The operation that is a conversation in this dialect."""

DIALECT_OF: Mapping[Operation, Dialect] = MappingProxyType(
    {
        **{operation: dialect for dialect, operation in ENDPOINT_OF.items()},
        Operation.STREAM_GENERATE: Dialect.GEMINI_GENERATE,
        Operation.COMPLETIONS: Dialect.OPENAI_CHAT,
        Operation.EMBEDDINGS: Dialect.OPENAI_CHAT,
        Operation.COUNT_TOKENS: Dialect.ANTHROPIC_MESSAGES,
        Operation.GEMINI_COUNT_TOKENS: Dialect.GEMINI_GENERATE,
        Operation.GEMINI_EMBEDDINGS: Dialect.GEMINI_GENERATE,
    }
)
"""The dialect that an operation's bodies and errors are written in."""

CONVERSATIONS = frozenset({*ENDPOINT_OF.values(), Operation.COMPLETIONS})

_VECTORS = (Operation.EMBEDDINGS, Operation.GEMINI_EMBEDDINGS)


def endpoint(provider: Provider, operation: Operation) -> Operation | None:
    """The operation that the provider is asked by for a client's; None when it cannot be asked."""
    paths = provider.paths
    if not paths:  # a type of an embedder's own takes what comes
        return operation
    if operation in paths and DIALECT_OF[operation] in provider.dialects:
        return operation
    if operation in CONVERSATIONS:
        candidates = [ENDPOINT_OF[dialect] for dialect in provider.dialects]
        if operation is Operation.COMPLETIONS and Operation.CHAT in candidates:
            candidates.insert(0, Operation.CHAT)
    else:
        candidates = [other for other in _VECTORS if operation in _VECTORS]
    return next((candidate for candidate in candidates if candidate in paths), None)
