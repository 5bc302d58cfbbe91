"""One active health check of one provider.

The model list or a mere connection cost nothing; those who ask for it get a completion of one token.
Gives what the check found; what follows from it is `routing`'s business.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from sidecar.dialects.body import spoken
from sidecar.dialects.table import provider_codec, provider_errors
from sidecar.model.blocks import Message, Role, Text
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubRequest, Wire
from sidecar.model.settings import HealthMode
from sidecar.model.topology import Operation
from sidecar.model.ways import DIALECT_OF, endpoint
from sidecar.upstream.account import Account
from sidecar.upstream.transport import Breach, TransportError, UpstreamRequest

__all__ = ["ProbeResult", "probe"]

_MAX_LIST_BYTES = 16 * 1024 * 1024


class ProbeResult(msgspec.Struct, frozen=True):
    """What a check found; healthy, if there is no failure."""

    duration_s: float
    failure: Failure | None = None
    status: int | None = None
    downgrade: bool = False  # there is no model list here: connect only from now on


async def probe(account: Account, mode: HealthMode, timeout_s: float) -> ProbeResult:
    """Check one provider.

    Args:
        account: The provider.
        mode: `models`, `completion` or `tcp`; a provider without a model list is checked by `tcp`.
        timeout_s: The limit for the whole check.
    """
    began = time.monotonic()
    model = account.provider.model or ""
    asked = endpoint(account.provider, Operation.CHAT, model) if mode is HealthMode.COMPLETION else Operation.MODELS
    path = None if asked is None else account.path(asked, model)
    status = None
    failure = None
    try:
        async with asyncio.timeout(timeout_s):
            if mode is HealthMode.TCP or asked is None or path is None:
                await account.transport.check(connect_s=timeout_s)
            else:
                status, failure = await _ask(account, _question(account, asked, path), timeout_s)
    except TimeoutError:
        failure = Failure(Kind.UNREACHABLE, f"{account.provider.name}: no answer to a health check in {timeout_s:g} s")
    except TransportError as error:
        kind = Kind.CREDENTIAL if error.breach is Breach.CREDENTIAL else Kind.UNREACHABLE
        failure = Failure(kind, f"{account.provider.name}: {error}")
    downgrade = mode is HealthMode.MODELS and status in (404, 405)  # it answers, but has no such list
    return ProbeResult(time.monotonic() - began, None if downgrade else failure, status, downgrade=downgrade)


def _question(account: Account, endpoint: Operation, path: str) -> UpstreamRequest:
    provider = account.provider
    if endpoint is Operation.MODELS:
        return UpstreamRequest("GET", path, account.headers((), stream=False, dialect=provider.dialects[0]))
    dialect = DIALECT_OF[endpoint]
    model = provider.model or ""
    asked = HubRequest(dialect, model, (Message(Role.USER, (Text("."),)),), max_tokens=1)
    body = provider_codec(dialect).encode_request(asked, Wire(model, provider.facts(model), provider.quirks), [])
    headers = account.headers((), stream=False, dialect=dialect)
    return UpstreamRequest("POST", path, headers, spoken(body, account.params(endpoint, ())[0]))


async def _ask(account: Account, request: UpstreamRequest, timeout_s: float) -> tuple[int, Failure | None]:
    reply = await account.transport.send(request, connect_s=timeout_s)
    try:
        pieces = []
        size = 0
        while size < _MAX_LIST_BYTES and (piece := await reply.read()):
            pieces.append(piece)
            size += len(piece)
        if reply.status == 200:
            return 200, None
        return reply.status, provider_errors(account.provider.dialects[0]).decode_failure(
            reply.status, dict(reply.headers), account.hide(b"".join(pieces)), time.time()
        )
    finally:
        reply.close()
