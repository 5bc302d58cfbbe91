"""Tokens for Google's cloud, by google-auth: from a service account's key, or from the machine's own account.

Knows nothing of what is asked. google-auth is an optional dependency, and waits for the network: it is called
aside. A token is good for an hour.

Source: cloud.google.com/docs/authentication/application-default-credentials; google-auth.readthedocs.io
(read 2026-11).
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sidecar.model.topology import Auth
from sidecar.upstream.authorised import BearerToken, unavailable
from sidecar.upstream.transport import Breach, Origin, TransportError

__all__ = ["GoogleToken"]

_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


class GoogleToken(BearerToken):
    """What shows a token with the requests of one provider.

    Args:
        auth: Of the provider: credentials that are known; else those of the machine are looked for.
        origin: Where its requests go, for messages.
    """

    def __init__(self, auth: Auth, origin: Origin) -> None:
        super().__init__(_source(auth, origin.authority))


def _source(auth: Auth, where: str) -> Callable[[], tuple[str, float | None]]:
    """What gives a token, and until when it is good; it blocks."""
    found: list[Any] = []

    def get() -> tuple[str, float | None]:
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 - optional, and slow
        from google.auth.transport.requests import Request  # noqa: PLC0415 - as above

        try:
            if not found:
                found.append(_credentials(auth))
            credentials = found[0]
            credentials.refresh(Request())
        except (GoogleAuthError, ValueError) as error:  # ValueError: a key that is none
            raise _told(where, error) from None
        expiry = credentials.expiry  # UTC, and says nothing of it
        until = None if expiry is None else expiry.replace(tzinfo=datetime.UTC).timestamp()
        return str(credentials.token), until

    return get


def _credentials(auth: Auth) -> Any:
    import google.auth  # noqa: PLC0415 - optional, and slow
    from google.oauth2 import credentials, service_account  # noqa: PLC0415 - as above

    known = auth.access.get("credentials")
    if known is None:
        return google.auth.default(scopes=_SCOPES)[0]
    fields = json.loads(known.reveal())
    load: Callable[..., Any]
    match fields["type"]:
        case "service_account":
            load = service_account.Credentials.from_service_account_info
        case "authorized_user":
            load = credentials.Credentials.from_authorized_user_info
        case _:
            load = _of_another_house
    return load(fields, scopes=_SCOPES)


def _of_another_house(fields: Mapping[str, Any], scopes: Sequence[str]) -> Any:
    import google.auth  # noqa: PLC0415 - optional, and slow

    load: Callable[..., tuple[Any, str | None]] = google.auth.load_credentials_from_dict
    return load(fields, scopes=scopes)[0]


def _told(where: str, error: Exception) -> TransportError:
    """An error of google-auth's; by its class alone, for its text may hold what an endpoint answered."""
    name = type(error).__name__
    if name == "TransportError":
        return TransportError(Breach.CONNECT, f"{where}: Google gave no token: {name}")
    reason = "no Google credentials were found" if name == "DefaultCredentialsError" else f"no token: {name}"
    return unavailable(where, reason)
