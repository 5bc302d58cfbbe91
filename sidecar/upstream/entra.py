"""Tokens of Microsoft Entra ID, by azure-identity: of a principal with a secret, or of whatever its chain finds.

Knows nothing of what is asked. azure-identity is an optional dependency, and waits for the network: it is called
aside. A token is good for an hour or a day. A credential remembers its token, so that one that is not accepted would
be given again: each time a new credential is asked.

Source: learn.microsoft.com/python/api/overview/azure/identity-readme;
learn.microsoft.com/azure/foundry/openai/how-to/managed-identity (read 2026-11).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from sidecar.model.topology import Auth
from sidecar.upstream.authorised import BearerToken, unavailable
from sidecar.upstream.transport import Breach, Origin, TransportError

__all__ = ["EntraToken"]

_PRINCIPAL = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
# What the library logs is told by what it raises; where nobody listens, Python would write it to stderr.
_NOWHERE = logging.NullHandler()
_SCOPE = "https://cognitiveservices.azure.com/.default"
_SCOPE_OF_US = "https://cognitiveservices.azure.us/.default"  # the government's cloud
_UNREACHABLE = frozenset({"ServiceRequestError", "ServiceResponseError"})


class EntraToken(BearerToken):
    """What shows a token with the requests of one provider.

    Args:
        auth: Of the provider: a principal that is known; else the chain of azure-identity looks for one.
        origin: Where its requests go, which says in which of Microsoft's clouds.
    """

    def __init__(self, auth: Auth, origin: Origin) -> None:
        super().__init__(_source(auth, origin))


def _source(auth: Auth, origin: Origin) -> Callable[[], tuple[str, float | None]]:
    """What gives a token, and until when it is good; it blocks."""
    scope = _SCOPE_OF_US if origin.host.endswith(".azure.us") else _SCOPE

    def get() -> tuple[str, float | None]:
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - optional, and slow

        logging.getLogger("azure").addHandler(_NOWHERE)
        try:
            with _credential(auth) as credential:
                token = credential.get_token(scope)
        except (AzureError, ValueError) as error:  # ValueError: a tenant or an authority that is none
            raise _told(origin.authority, auth, error) from None
        return str(token.token), float(token.expires_on)

    return get


def _credential(auth: Auth) -> Any:
    from azure.identity import ClientSecretCredential, DefaultAzureCredential  # noqa: PLC0415 - optional, and slow

    if not auth.access:
        return DefaultAzureCredential()
    tenant, client, secret = (auth.access[name].reveal() for name in _PRINCIPAL)
    return ClientSecretCredential(tenant, client, secret, retry_total=1)  # another target is asked sooner


def _told(where: str, auth: Auth, error: Exception) -> TransportError:
    """An error of azure-identity's; by its class alone, for its text may hold what an endpoint answered."""
    name = type(error.__cause__ or error).__name__
    if name in _UNREACHABLE:
        return TransportError(Breach.CONNECT, f"{where}: Microsoft gave no token: {name}")
    if auth.access:
        return unavailable(where, f"the principal of $AZURE_CLIENT_ID got no token: {name}")
    return unavailable(where, f"azure-identity found no credentials that got a token ({name}); see `az login`")
