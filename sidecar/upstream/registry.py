"""Which transport serves which provider: made at first use, closed with the registry.

Providers share none, even at one origin: what is closed for one must not break the streams of another.
`LLMProviderRegistry` is a public Python name: an embedder registers a factory for a provider type of
its own. Knows nothing of config files, routes or health.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import cast
from urllib.parse import urlsplit

from sidecar.model.errors import ConfigurationError
from sidecar.model.topology import Auth as Credential
from sidecar.model.topology import AuthScheme, Framing, Provider, Snapshot, TransportName
from sidecar.upstream.account import Account
from sidecar.upstream.authorised import Auth, AuthorisedTransport
from sidecar.upstream.factory import open_transport, parse_origin
from sidecar.upstream.transport import Origin, Transport

__all__ = ["LLMProviderRegistry", "TransportFactory"]

TransportFactory = Callable[[Provider], Transport]

_AUTHS: Mapping[AuthScheme, tuple[str, str]] = MappingProxyType(
    {
        AuthScheme.AWS_SIGV4: ("aws", "AwsSignature"),
        AuthScheme.GOOGLE_OAUTH: ("google", "GoogleToken"),
        AuthScheme.ENTRA: ("entra", "EntraToken"),
    }
)
"""What authorises requests that no header of the account does: a module and its class, imported when needed."""


class LLMProviderRegistry:
    """The transports of a manager, and the accounts that use them."""

    def __init__(self) -> None:
        self._factories: dict[str, TransportFactory] = {}
        self._accounts: dict[str, Account] = {}
        self._transports: dict[Hashable, Transport] = {}
        # Running exchanges may still use a transport that no provider of the current snapshot names.
        self._retired: weakref.WeakSet[Transport] = weakref.WeakSet()

    def register(self, provider_type: str, factory: TransportFactory) -> None:
        """Let providers of this type be served by the factory's transport; replaces an earlier one.

        Args:
            provider_type: The `type:` of the config.
            factory: Makes the transport of one provider; called once for each.

        Raises:
            ConfigurationError: When the type has no name.
        """
        if not provider_type:
            raise ConfigurationError("a provider type needs a name")
        self._factories[provider_type] = factory

    def account(self, provider: Provider) -> Account:
        """The provider's account: the same one as long as its config entry is the same."""
        account = self._accounts.get(provider.name)
        if account is None or account.provider is not provider:
            account = self._accounts[provider.name] = self._open(provider)
        return account

    def adopt(self, snapshot: Snapshot) -> None:
        """Forget what the snapshot does not name; running exchanges keep what they hold."""
        keep = {self._key(provider) for provider in snapshot.providers.values()}
        self._accounts = {name: a for name, a in self._accounts.items() if name in snapshot.providers}
        for key in [key for key in self._transports if key not in keep]:
            self._retired.add(self._transports.pop(key))

    async def close_provider(self, provider: Provider) -> None:
        """Close the connections of one provider; the next request opens new ones."""
        self._accounts.pop(provider.name, None)
        transport = self._transports.pop(self._key(provider), None)
        if transport is not None:
            await transport.aclose()

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        transports = [*self._transports.values(), *self._retired]
        self._transports.clear()
        self._accounts.clear()
        for transport in transports:
            await transport.aclose()

    def _open(self, provider: Provider) -> Account:
        key = self._key(provider)
        prefix = urlsplit(provider.base_url).path.rstrip("/")
        transport = self._transports.get(key)
        if transport is None:
            transport = self._transports[key] = self._make(provider)
        return Account(provider, transport, prefix)

    def _key(self, provider: Provider) -> Hashable:
        if provider.type in self._factories or provider.transport is TransportName.EMBEDDED:
            return provider.type, provider.name, provider.base_url, repr(sorted(provider.options.items()))
        origin, _ = parse_origin(provider.base_url, provider.tls, trust_env=provider.trust_env)
        return provider.name, origin, provider.transport, provider.framing, _shown(provider.auth)

    def _make(self, provider: Provider) -> Transport:
        factory = self._factories.get(provider.type)
        if factory is not None:
            return factory(provider)
        if provider.transport is TransportName.EMBEDDED:
            from sidecar.upstream.embedded import EmbeddedTransport  # noqa: PLC0415 - few providers need it

            return EmbeddedTransport.of(provider)
        origin, _ = parse_origin(provider.base_url, provider.tls, trust_env=provider.trust_env)
        transport = open_transport(origin, aiohttp=provider.transport is TransportName.AIOHTTP)
        if provider.framing is Framing.AWS:
            from sidecar.upstream.event_stream import EventStreamTransport  # noqa: PLC0415 - nor this

            transport = EventStreamTransport(transport)
        home = _AUTHS.get(provider.auth.scheme)
        return transport if home is None else AuthorisedTransport(transport, _auth(*home)(provider.auth, origin))


def _auth(module: str, name: str) -> Callable[[Credential, Origin], Auth]:
    return cast(Callable[[Credential, Origin], Auth], getattr(import_module(f"sidecar.upstream.{module}"), name))


def _shown(auth: Credential) -> Hashable:
    """What of a credential is the transport's business."""
    if auth.scheme not in _AUTHS:
        return None
    return auth.scheme, auth.region, auth.profile, tuple(sorted(auth.access.items(), key=lambda item: item[0]))
