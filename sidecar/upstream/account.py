"""A provider as this room sees it: its transport, its paths and the headers that every request carries.

Made once per provider and snapshot, so that an attempt only joins what is ready. The client's own
credentials never come this far: what goes upstream is the allow-list of `FORWARDED`, the provider's
key, and the headers that its config names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import quote

import msgspec

from sidecar.model.hub import How, Loss, Wire
from sidecar.model.request import recurs
from sidecar.model.secret import Secret, hidden, spellings
from sidecar.model.topology import AuthScheme, Dialect, Operation, Params, Provider
from sidecar.model.ways import DIALECT_OF, endpoint
from sidecar.upstream.transport import Prompt, Transport

__all__ = ["Account", "Way"]

_WAYS_MAX = 256  # a client can make up models and headers
_KEY_HEADER: Mapping[AuthScheme, tuple[str, str]] = MappingProxyType(
    {
        AuthScheme.BEARER: ("Authorization", "Bearer "),
        AuthScheme.X_API_KEY: ("x-api-key", ""),
        AuthScheme.API_KEY: ("api-key", ""),
        AuthScheme.X_GOOG_API_KEY: ("x-goog-api-key", ""),
    }
)
_STREAMED: Mapping[Operation, Operation] = MappingProxyType(
    {
        Operation.GENERATE: Operation.STREAM_GENERATE,
        Operation.MESSAGES: Operation.STREAM_MESSAGES,
        Operation.CONVERSE: Operation.STREAM_CONVERSE,
    }
)
_SEGMENT = "{model:segment}"  # a model's name of which nothing may look like a path
_BETA = "anthropic-beta"
# The clients' headers that belong to one dialect, and those that a dialect demands.
_DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {"anthropic-version": Dialect.ANTHROPIC_MESSAGES, _BETA: Dialect.ANTHROPIC_MESSAGES}
)
_ALWAYS: Mapping[Dialect, tuple[tuple[str, str], ...]] = MappingProxyType(
    {Dialect.ANTHROPIC_MESSAGES: (("anthropic-version", "2023-06-01"),)}
)


class Way(msgspec.Struct, frozen=True):
    """How a provider is asked one kind of question about one model: what is the same in every such request."""

    endpoint: Operation | None  # None: the provider cannot be asked this
    dialect: Dialect  # of the endpoint, or of the client's where there is none
    path: str | None  # None: the provider does not offer it
    headers: tuple[tuple[str, str], ...]
    wire: Wire
    params: Params  # what is done to the top level of a body
    losses: Sequence[Loss]  # what of the client's headers cannot be said


class Account:
    """One provider of one snapshot.

    Args:
        provider: From the snapshot.
        transport: To its origin; its alone.
        prefix: The path of its base URL, without a slash at the end.
    """

    __slots__ = (
        "_headers",
        "_paths",
        "_secrets",
        "_static",
        "_static_names",
        "_streamed",
        "_ways",
        "prefix",
        "prompt",
        "provider",
        "transport",
    )

    def __init__(self, provider: Provider, transport: Transport, prefix: str) -> None:
        self.provider = provider
        self.transport = transport
        self.prefix = prefix
        self.prompt = transport if isinstance(transport, Prompt) else None
        self._paths = {operation: prefix + path for operation, path in provider.paths.items()}
        self._streamed = {**self._paths}
        for operation, streamed in _STREAMED.items():
            if streamed in self._paths:
                self._streamed[operation] = self._paths[streamed]
        static = [("Content-Type", "application/json"), *_key_header(provider)]
        for name, value in provider.headers.items():
            static = [pair for pair in static if pair[0].lower() != name.lower()]
            static.append((name, value.reveal() if isinstance(value, Secret) else value))
        secrets = (provider.auth.key, *provider.auth.access.values(), *provider.headers.values())
        self._secrets = spellings({secret.reveal() for secret in secrets if isinstance(secret, Secret)})
        self._static = tuple(static)
        self._static_names = frozenset(name.lower() for name, _ in static)
        self._ways: dict[tuple[Operation, str, tuple[tuple[str, str], ...], bool], Way] = {}
        # Those of the ways: equal ones are the same ones, so that a head is written once for all models.
        self._headers: dict[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] = {}

    def way(self, operation: Operation, model: str, client: tuple[tuple[str, str], ...], *, stream: bool) -> Way:
        """How this is asked here; made once for clients that ask alike.

        Args:
            operation: The client's.
            model: The upstream's own name of it.
            client: Those of the client's headers that may go upstream.
            stream: The answer shall be one.
        """
        key = (operation, model, client, stream)
        way = self._ways.get(key)
        if way is not None:
            return way
        keeps = recurs(client)
        if keeps and len(self._ways) >= _WAYS_MAX:
            self._ways.clear()
            self._headers.clear()
        way = self._way(*key)
        if keeps:
            self._ways[key] = way
        return way

    def _way(self, operation: Operation, model: str, client: tuple[tuple[str, str], ...], stream: bool) -> Way:
        provider = self.provider
        asked = endpoint(provider, operation, model)
        dialect = DIALECT_OF[asked or operation]
        path = None if asked is None else self.path(asked, model, stream=stream)
        headers = self.headers(client, stream=stream, dialect=dialect)
        if recurs(client):
            headers = self._headers.setdefault(headers, headers)
        params, losses = self.params(asked or operation, client)
        wire = Wire(model, provider.facts(model), provider.quirks)
        return Way(asked, dialect, path, headers, wire, params, losses)

    def path(self, operation: Operation, model: str = "", *, stream: bool = False) -> str | None:
        """The absolute path of an operation; None when the provider does not offer it.

        Args:
            operation: What is asked.
            model: The upstream's own name of it, for paths that name it.
            stream: The answer shall be one; some have a path of its own for that.
        """
        path = (self._streamed if stream else self._paths).get(operation)
        if path is None or "{" not in path:
            return path
        if _SEGMENT in path:
            return path.replace(_SEGMENT, quote(model, safe=""))
        return path.replace("{model}", quote(model, safe="/:@"))

    def params(self, operation: Operation, client: Sequence[tuple[str, str]]) -> tuple[Params, Sequence[Loss]]:
        """What is done to the top level of a body, and what of the client's headers it cannot say.

        Args:
            operation: By which the provider is asked.
            client: Those of the client's headers that may go upstream.
        """
        params = self.provider.params_of(operation)
        if params.betas is None:
            return params, ()
        values = [value for name, value in client if name.lower() == _BETA]
        asked = [beta for value in values for part in value.split(",") if (beta := part.strip())]
        said = [beta for beta in asked if beta in params.betas]
        unsaid = [beta for beta in asked if beta not in params.betas]
        losses = [Loss(_BETA, How.DROPPED, f"{self.provider.name} does not have {beta}") for beta in unsaid]
        if said:
            params = msgspec.structs.replace(params, set={**params.set, "anthropic_beta": msgspec.json.encode(said)})
        return params, losses

    def hide(self, body: bytes) -> bytes:
        """An error's body without this account's secrets: some providers quote the key that they refuse."""
        text = body.decode("utf-8", "surrogateescape")
        clean = hidden(text, self._secrets)
        return body if clean is text else clean.encode("utf-8", "surrogateescape")

    def shown(self, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
        """The headers of an answer, good or bad, without this account's secrets."""
        found = dict(headers)
        together = "\n".join(found.values())
        for secret in self._secrets:
            if secret in together:
                return {name: hidden(value, self._secrets) for name, value in found.items()}
        return found

    def headers(
        self, client: tuple[tuple[str, str], ...], *, stream: bool, dialect: Dialect = Dialect.OPENAI_CHAT
    ) -> tuple[tuple[str, str], ...]:
        """The headers of one request.

        Args:
            client: Those of the client's that may go upstream; the provider's own of a name win.
            stream: A stream must come as it is written: compressed, it would come in blocks.
            dialect: That the body is written in; a header of another one would mean nothing there.
        """
        headers = [*self._static]
        accept = "text/event-stream" if stream else "application/json"
        headers += [("Accept", accept), ("Accept-Encoding", "identity")]
        for name, value in client:
            key = name.lower()
            if key not in self._static_names and _DIALECTS.get(key, dialect) is dialect:
                headers.append((name, value))
        headers += [pair for pair in _ALWAYS.get(dialect, ()) if pair[0] not in {name.lower() for name, _ in headers}]
        return tuple(headers)

    def bare(self, client: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """The headers of a request that is passed on as it is: what its body is, the client says.

        Args:
            client: Those of the client's that may go upstream; the provider's own of a name win.
        """
        own = [pair for pair in self._static if pair[0] != "Content-Type"]
        names = {name.lower() for name, _ in own}
        return [*own, ("Accept-Encoding", "identity"), *(pair for pair in client if pair[0].lower() not in names)]


def _key_header(provider: Provider) -> list[tuple[str, str]]:
    if provider.auth.key is None or provider.auth.scheme is AuthScheme.NONE:
        return []
    name, before = _KEY_HEADER[provider.auth.scheme]
    return [(name, before + provider.auth.key.reveal())]
