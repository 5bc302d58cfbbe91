"""Requests to AWS, each signed by botocore (Signature Version 4) with what its own chain of credentials finds.

Knows nothing of what is asked. botocore is an optional dependency, and slow to import: that is done aside, with
the first request. Its credentials renew themselves, and wait for the network when they do; so they are looked at
once a minute, aside, and requests are signed with what was found.

Source: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html (read 2026-11).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from sidecar.model.secret import Secret
from sidecar.model.topology import Auth
from sidecar.upstream.authorised import Lease, unavailable
from sidecar.upstream.transport import Breach, Origin, TransportError, UpstreamRequest

__all__ = ["AwsSignature"]

_LOOKED_AT_S = 60.0
_EARLY_S = 30.0
_SERVICE = "bedrock"
_MAX_BODY_BYTES = 64 * 1024 * 1024  # what is signed has to be known first
_SIGNED = frozenset({"content-type", "x-amz-security-token"})
_Sign = Callable[[str, str, Mapping[str, str], bytes], list[tuple[str, str]]]
_GIVEN = ("Authorization", "X-Amz-Date", "X-Amz-Security-Token")


class AwsSignature:
    """What signs the requests of one provider.

    Args:
        auth: Of the provider: credentials that are known, or the profile to find them in.
        origin: Where its requests go, which is signed with them.
    """

    def __init__(self, auth: Auth, origin: Origin) -> None:
        self._base = f"{origin.scheme}://{origin.authority}"
        self._signer = Lease(_source(auth, origin.authority), early_s=_EARLY_S)

    async def authorise(self, request: UpstreamRequest) -> UpstreamRequest:
        """See `Auth.authorise`."""
        sign = await self._signer.value()
        body = request.body if isinstance(request.body, bytes) else await _gathered(request.body)
        headers = {name: value for name, value in request.headers if name.lower() in _SIGNED}
        made = sign(request.method, self._base + request.path, headers, body)
        return msgspec.structs.replace(request, headers=[*request.headers, *made], body=body)

    def answered(self, status: int) -> None:
        """See `Auth.answered`: credentials that have ended are answered by 403."""
        if status in (401, 403):
            self._signer.end()


def _source(auth: Auth, where: str) -> Callable[[], tuple[_Sign, float | None]]:
    """What gives a signer, and until when it may be used; it blocks."""
    session: list[Any] = []

    def get() -> tuple[_Sign, float | None]:
        from botocore.credentials import Credentials  # noqa: PLC0415 - optional, and slow
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above
        from botocore.session import Session  # noqa: PLC0415 - as above

        region = auth.region or ""
        if auth.access:
            return _signer(Credentials(*_revealed(auth.access)).get_frozen_credentials(), region), None
        try:
            if not session:
                session.append(Session(profile=auth.profile))
            found = session[0].get_credentials()
            if found is not None:
                return _signer(found.get_frozen_credentials(), region), time.time() + _LOOKED_AT_S
        except BotoCoreError as error:
            raise _told(where, type(error).__name__) from None
        session.clear()  # what is found is remembered there, and so is nothing
        raise unavailable(where, "AWS's own chain of credentials found none; see `aws configure`")

    return get


def _revealed(access: Mapping[str, Secret]) -> tuple[str | None, ...]:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return tuple(access[name].reveal() if name in access else None for name in names)


def _signer(credentials: Any, region: str) -> _Sign:
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - optional, and slow
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - as above

    def sign(method: str, url: str, headers: Mapping[str, str], body: bytes) -> list[tuple[str, str]]:
        request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
        SigV4Auth(credentials, _SERVICE, region).add_auth(request)
        return [(name, str(request.headers[name])) for name in _GIVEN if name in request.headers]

    return sign


async def _gathered(body: AsyncIterator[bytes]) -> bytes:
    """A body that comes in pieces, as a whole."""
    pieces = bytearray()
    async for piece in body:
        pieces += piece
        if len(pieces) > _MAX_BODY_BYTES:
            raise TransportError(Breach.PROTOCOL, f"a body of more than {_MAX_BODY_BYTES} bytes cannot be signed")
    return bytes(pieces)


def _told(where: str, name: str) -> TransportError:
    """An error of botocore's; by its class alone, for its text may hold what an endpoint answered."""
    unreachable = "Connect" in name or "Timeout" in name or "Endpoint" in name
    message = f"{where}: AWS credentials could not be had: {name}"
    return TransportError(Breach.CONNECT if unreachable else Breach.CREDENTIAL, message)
