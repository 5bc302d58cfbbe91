"""One request that goes to a provider as it is, and its answer as it is: whatever a provider has beside answers.

Files, images, audio, batches: their bodies are streamed both ways and looked at by nobody. The client's own
credentials never go along; of its headers those of an allow-list do, and so on the way back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from time import monotonic
from typing import TypeVar
from urllib.parse import unquote

from sidecar.model.errors import LLMError
from sidecar.model.failures import Failure, Kind
from sidecar.model.settings import Timeouts
from sidecar.upstream.account import Account
from sidecar.upstream.call import BREACHES, MAX_ERROR_BYTES
from sidecar.upstream.transport import Reply, TransportError, UpstreamRequest
from sidecar.upstream.watchdog import Expired, Watchdog

__all__ = ["Passing", "passable", "request_headers"]

_T = TypeVar("_T")

_SENT = frozenset(
    {
        "accept",
        "accept-language",
        "content-encoding",
        "content-type",
        "idempotency-key",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "range",
        "user-agent",
    }
)
_SENT_BEGINNINGS = ("openai-", "anthropic-", "x-goog-upload-")
_RETURNED = frozenset(
    {
        "accept-ranges",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-range",
        "content-type",
        "etag",
        "last-modified",
        "retry-after",
    }
)
_RETURNED_OF_HEAD = _RETURNED | {"content-length"}  # of a body that is not sent
_RETURNED_BEGINNINGS = ("openai-", "anthropic-", "x-goog-upload-", "x-ratelimit-", "retry-after-")


def passable(rest: str) -> bool:
    """Whether a path stays below the provider's own.

    Args:
        rest: What the client wrote after the provider's name, still encoded.
    """
    plain = unquote(rest)
    return not any(segment in (".", "..") for segment in plain.replace("\\", "/").split("/")) and plain.isprintable()


def request_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of a client's headers that go along."""
    return [
        (name, value)
        for name, value in headers
        if (name.lower() in _SENT or name.lower().startswith(_SENT_BEGINNINGS)) and value.isascii()
    ]


class Passing:
    """One exchange; lives from the client's request to the last byte of the answer.

    Args:
        account: The provider's.
        timeouts: Of the exchange; there is no first token, so `total_s` bounds the wait for the head.
    """

    def __init__(self, account: Account, timeouts: Timeouts) -> None:
        self._account = account
        self._timeouts = timeouts
        self._watchdog = Watchdog(asyncio.get_running_loop())
        self._reply: Reply | None = None
        self._stopped: Failure | None = None
        self.began = monotonic()
        self.waited_s = 0.0
        self.status: int | None = None
        self.headers: Sequence[tuple[str, str]] = ()
        self.connect_s: float | None = None
        self.bytes_in = 0  # from the provider
        self.refusal = b""  # the body of an error, or its beginning, without our key

    async def start(
        self, method: str, rest: str, headers: Iterable[tuple[str, str]], body: bytes | AsyncIterator[bytes]
    ) -> Failure | None:
        """Send, and wait for the head of the answer; the failure if none came.

        Args:
            method: As the client's.
            rest: The path below the base URL, with its query.
            headers: Of the client that go along.
            body: Known as a whole, or as it comes.
        """
        request = UpstreamRequest(method, self._account.prefix + rest, self._account.bare(headers), body)
        self._due(self._timeouts.total_s)
        try:
            reply = await self._guarded(self._account.transport.send(request, connect_s=self._timeouts.connect_s))
        except TransportError as error:
            return self._broken(error)
        except Expired as expired:
            return self._expired(expired)
        except LLMError as error:  # of the body, while it was sent
            return error.failure
        except ValueError as error:
            return Failure(Kind.INVALID_REQUEST, str(error))
        self._reply = reply
        self.status, self.connect_s = reply.status, reply.connect_s
        names = _RETURNED_OF_HEAD if method == "HEAD" else _RETURNED
        returned = [each for each in reply.headers if each[0] in names or each[0].startswith(_RETURNED_BEGINNINGS)]
        self.headers = [*self._account.shown(returned).items()]
        return None

    async def read(self) -> bytes | Failure:
        """More of the answer; b"" at its end, a failure when it broke."""
        assert self._reply is not None
        self._due(min(self._timeouts.idle_s, self.began + self._timeouts.total_s - monotonic()))
        refused = self.status is not None and self.status >= 400
        try:
            data = await self._guarded(self._refusal(self._reply) if refused else self._reply.read())
        except TransportError as error:
            return self._broken(error)
        except Expired as expired:
            return self._expired(expired)
        self.bytes_in += len(data)
        if not refused:
            return data
        hidden = self._account.hide(data)
        self.refusal = self.refusal or hidden
        return hidden

    async def _refusal(self, reply: Reply) -> bytes:
        """An error's body in one piece: some providers quote the key that they refuse, and reads may tear it."""
        pieces = bytearray()
        while len(pieces) < MAX_ERROR_BYTES and (data := await reply.read()):
            pieces += data
        return bytes(pieces)

    def request_id(self) -> str | None:
        """The provider's own name of this exchange."""
        if self._reply is None:
            return None
        found = self._account.shown(self._reply.headers)
        return found.get("x-request-id") or found.get("request-id")

    def stop(self, failure: Failure) -> None:
        """Fail now: whoever waits gets this failure."""
        self._stopped = failure
        self._watchdog.expire(Kind.DEADLINE)

    def close(self) -> None:
        """Idempotent. A connection whose answer was not read to its end is aborted at once."""
        self._watchdog.close()
        if self._reply is not None:
            self._reply.close()

    def _due(self, seconds: float) -> None:
        self._watchdog.due, self._watchdog.kind = monotonic() + seconds, Kind.DEADLINE

    async def _guarded(self, waited_for: Awaitable[_T]) -> _T:
        asked = monotonic()
        try:
            with self._watchdog:
                return await waited_for
        finally:
            self.waited_s += monotonic() - asked

    def _broken(self, error: TransportError) -> Failure:
        return Failure(BREACHES[error.breach], f"{self._account.provider.name}: {error}", self.status)

    def _expired(self, expired: Expired) -> Failure:
        if self._stopped is not None:
            return self._stopped
        return Failure(expired.kind, f"{self._account.provider.name} took longer than the timeouts allow", self.status)
