"""One client request as it was received, and the few facts that routing needs of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sidecar.model.topology import ClientDialect, Operation

__all__ = ["NEEDLESS", "UNLIMITED", "Call", "ClientLimits", "Needs", "Peek", "recurs"]

# In the spelling of any dialect: what stands beside bytes that are no text, and cost tokens of their own.
_MEDIA = (b";base64,", b'"base64"', b'"file_data"', b'"image_url"', b'"input_audio"', b'"inlineData"', b'"inline_data"')

_EFFECTS = ("background", "web_search_options", "mcp_servers")
_OFF = frozenset({b"null", b"false", b"[]"})
_CLIENTS_TYPES = frozenset({"function", "custom", None})
_DECLARATIONS = frozenset({"functionDeclarations", "function_declarations"})  # Gemini's, many in one
_OF_ONE_REQUEST = "idempotency-key"
_KEPT_CHARS_MAX = 1024  # of all values together; a client makes them up
_TOOLS = msgspec.json.Decoder(list[dict[str, Any]] | None).decode


class Needs(msgspec.Struct, frozen=True):
    """What a target must be able to do for this request."""

    tools: bool = False
    images: bool = False
    reasoning: bool = False
    input_bytes: int = 0  # of a body so large that it may not fit a model; 0 for any other


NEEDLESS = Needs()
"""Those of a request that any target can do."""


class ClientLimits(msgspec.Struct, frozen=True):
    """The client's own patience, in seconds; None where it did not say."""

    total_s: float | None = None
    read_s: float | None = None  # between bytes: shortens first_token, idle and answer


UNLIMITED = ClientLimits()
"""Those of a client that said nothing."""


class Peek(msgspec.Struct, frozen=True):
    """What a glance at a body tells: its top level with raw values, and the facts routing needs."""

    fields: dict[str, msgspec.Raw]
    model: str
    stream: bool = False
    wants_usage: bool = False  # a stream's client asked for the usage chunk itself
    needs: Needs = NEEDLESS

    @property
    def holds_media(self) -> bool:
        """Whether some of it may be no text; reads all of it, so ask only where much depends on it."""
        return any(mark in raw for raw in map(bytes, self.fields.values()) for mark in _MEDIA)

    @property
    def has_effects(self) -> bool:
        """Whether the provider does more than answer: goes on in the background, or calls tools of its own.

        What is not known to be the client's to run is held to be the provider's.
        """
        if any(bytes(self.fields.get(name, b"null")) not in _OFF for name in _EFFECTS):
            return True
        tools = self.fields.get("tools")
        try:
            return tools is not None and not all(map(_is_clients, _TOOLS(tools) or ()))
        except msgspec.MsgspecError:
            return True


def _is_clients(tool: Mapping[str, object]) -> bool:
    """Whether it is the client that runs this tool, in whatever dialect it is described."""
    if "type" in tool:
        return tool["type"] in _CLIENTS_TYPES
    return "name" in tool or not tool.keys() - _DECLARATIONS


class Call(msgspec.Struct, frozen=True):
    """A client's request: immutable, so that every attempt is encoded from the original."""

    operation: Operation
    dialect: ClientDialect
    peek: Peek
    request_id: str
    headers: tuple[tuple[str, str], ...] = ()  # those of the client's that may go upstream
    limits: ClientLimits = UNLIMITED
    route: str | None = None  # x-sidecar-route
    fallback: bool = True  # x-sidecar-fallback
    strict: bool = False  # the model is `provider/model` and nothing else, whatever route has that name
    client_request_id: str | None = None
    client_retry_count: int | None = None
    peer_uid: int | None = None
    single: bool = False  # one vector is asked for, not a batch (Gemini's embedContent)
    sticky: Mapping[str, str] = {}  # header name -> value, for pools that ask for it
    bytes_in: int = 0

    @property
    def model(self) -> str:
        """The model as the client named it."""
        return self.peek.model

    @property
    def stream(self) -> bool:
        """Whether the client asked for a stream."""
        return self.peek.stream


def recurs(headers: Sequence[tuple[str, str]]) -> bool:
    """Whether what was made for a client's headers is worth keeping for the next request with the same."""
    if any(name.lower() == _OF_ONE_REQUEST for name, _ in headers):
        return False
    return sum(len(value) for _, value in headers) <= _KEPT_CHARS_MAX
