"""By which of a provider's endpoints a client's request can be answered.

Every operation is written in one dialect. A provider is asked in the client's own where it has it (its
bytes then go through as they are), else in the first of its dialects, by translation. What is no
conversation crosses dialects only where both mean the same thing: vectors do, counts of tokens do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sidecar.model.topology import ClientDialect, Dialect, Operation, Provider

__all__ = [
    "CLIENT_DIALECT_OF",
    "COMMENTLESS",
    "CONVERSATIONS",
    "DIALECT_OF",
    "ENDPOINT_OF",
    "client_dialect",
    "endpoint",
]

ENDPOINT_OF: Mapping[Dialect, Operation] = MappingProxyType(
    {
        Dialect.OPENAI_CHAT: Operation.CHAT,
        Dialect.OPENAI_RESPONSES: Operation.RESPONSES,
        Dialect.ANTHROPIC_MESSAGES: Operation.MESSAGES,
        Dialect.GEMINI_GENERATE: Operation.GENERATE,
        Dialect.BEDROCK_CONVERSE: Operation.CONVERSE,
    }
)
"""The operation that is a conversation in this dialect."""

CLIENT_DIALECT_OF: Mapping[Operation, ClientDialect] = MappingProxyType(
    {
        Operation.CHAT: Dialect.OPENAI_CHAT,
        Operation.RESPONSES: Dialect.OPENAI_RESPONSES,
        Operation.MESSAGES: Dialect.ANTHROPIC_MESSAGES,
        Operation.GENERATE: Dialect.GEMINI_GENERATE,
        Operation.COMPLETIONS: Dialect.OPENAI_CHAT,
        Operation.EMBEDDINGS: Dialect.OPENAI_CHAT,
        Operation.COUNT_TOKENS: Dialect.ANTHROPIC_MESSAGES,
        Operation.GEMINI_COUNT_TOKENS: Dialect.GEMINI_GENERATE,
        Operation.GEMINI_EMBEDDINGS: Dialect.GEMINI_GENERATE,
    }
)
"""The dialect of what clients ask for."""

DIALECT_OF: Mapping[Operation, Dialect] = MappingProxyType(
    {
        **{operation: dialect for dialect, operation in ENDPOINT_OF.items()},
        **CLIENT_DIALECT_OF,
        Operation.STREAM_MESSAGES: Dialect.ANTHROPIC_MESSAGES,
        Operation.STREAM_GENERATE: Dialect.GEMINI_GENERATE,
        Operation.STREAM_CONVERSE: Dialect.BEDROCK_CONVERSE,
    }
)
"""The dialect that an operation's bodies and errors are written in."""

CONVERSATIONS = frozenset({*ENDPOINT_OF.values(), Operation.COMPLETIONS})

COMMENTLESS = frozenset({Dialect.GEMINI_GENERATE})
"""The dialects whose SDKs take a comment of a stream for a broken event (google-genai 3.4, `api_client`)."""

_VECTORS = (Operation.EMBEDDINGS, Operation.GEMINI_EMBEDDINGS)


def client_dialect(provider: Provider) -> ClientDialect:
    """A dialect that clients speak and, if there is one, the provider: for what is told them past all dialects."""
    return next((d for d in CLIENT_DIALECT_OF.values() if d in provider.dialects), Dialect.OPENAI_CHAT)


def endpoint(provider: Provider, operation: Operation, model: str) -> Operation | None:
    """The operation that the provider is asked by for a client's; None when it cannot be asked.

    Args:
        provider: Who is asked.
        operation: The client's.
        model: The provider's own name of it; at some, models of one vendor are asked in a dialect of their own.
    """
    paths = provider.paths
    if not paths:  # a type of an embedder's own takes what comes
        return operation
    dialects = provider.dialects_of(model)
    if operation in paths and DIALECT_OF[operation] in dialects:
        return operation
    if operation in CONVERSATIONS:
        candidates = [ENDPOINT_OF[dialect] for dialect in dialects]
        if operation is Operation.COMPLETIONS and Operation.CHAT in candidates:
            candidates.insert(0, Operation.CHAT)
    else:
        candidates = [other for other in _VECTORS if operation in _VECTORS]
    return next((candidate for candidate in candidates if candidate in paths), None)
