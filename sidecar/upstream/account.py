"""A provider as this room sees it: its transport, its paths and the headers that every request carries.

Made once per provider and snapshot, so that an attempt only joins what is ready. The client's own
credentials never come this far: what goes upstream is the allow-list of `FORWARDED`, the provider's
key, and the headers that its config names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from sidecar.model.secret import Secret
from sidecar.model.topology import AuthScheme, Operation, Provider
from sidecar.upstream.transport import Transport

__all__ = ["Account"]

_SECRET_MIN_BYTES = 6  # what is shorter would blank out ordinary words

_KEY_HEADER: Mapping[AuthScheme, tuple[str, str]] = MappingProxyType(
    {
        AuthScheme.BEARER: ("Authorization", "Bearer "),
        AuthScheme.X_API_KEY: ("x-api-key", ""),
        AuthScheme.API_KEY: ("api-key", ""),
        AuthScheme.X_GOOG_API_KEY: ("x-goog-api-key", ""),
    }
)


class Account:
    """One provider of one snapshot.

    Args:
        provider: From the snapshot.
        transport: To its origin; shared with other accounts there.
        prefix: The path of its base URL, without a slash at the end.
    """

    __slots__ = ("_paths", "_secrets", "_static", "_static_names", "provider", "transport")

    def __init__(self, provider: Provider, transport: Transport, prefix: str) -> None:
        self.provider = provider
        self.transport = transport
        self._paths = {operation: prefix + path for operation, path in provider.paths.items()}
        static = [("Content-Type", "application/json"), *_key_header(provider)]
        for name, value in provider.headers.items():
            static = [pair for pair in static if pair[0].lower() != name.lower()]
            static.append((name, value.reveal() if isinstance(value, Secret) else value))
        secrets = (provider.auth.key, *provider.headers.values())
        self._secrets = tuple(secret.reveal().encode() for secret in secrets if isinstance(secret, Secret))
        self._static = tuple(static)
        self._static_names = frozenset(name.lower() for name, _ in static)

    def path(self, operation: Operation) -> str | None:
        """The absolute path of an operation; None when the provider does not offer it."""
        return self._paths.get(operation)

    def hide(self, body: bytes) -> bytes:
        """An error's body without this account's secrets: some providers quote the key that they refuse."""
        for secret in self._secrets:
            if len(secret) >= _SECRET_MIN_BYTES:
                body = body.replace(secret, b"***")
        return body

    def headers(self, client: Sequence[tuple[str, str]], *, stream: bool) -> list[tuple[str, str]]:
        """The headers of one request.

        Args:
            client: Those of the client's that may go upstream; the provider's own of a name win.
            stream: A stream must come as it is written: compressed, it would come in blocks.
        """
        headers = [*self._static]
        accept = "text/event-stream" if stream else "application/json"
        headers += [("Accept", accept), ("Accept-Encoding", "identity")]
        headers += [pair for pair in client if pair[0].lower() not in self._static_names]
        return headers


def _key_header(provider: Provider) -> list[tuple[str, str]]:
    if provider.auth.key is None or provider.auth.scheme is AuthScheme.NONE:
        return []
    name, before = _KEY_HEADER[provider.auth.scheme]
    return [(name, before + provider.auth.key.reveal())]
