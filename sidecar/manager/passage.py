"""A request that is passed on to a provider as it is, with the face of an `Answer`: sent and logged like one.

It has one attempt, and no breaker: what it asks for is nothing that another target could answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

from sidecar.dialects.table import errors, provider_errors
from sidecar.manager.headers import BODYLESS, reply_headers
from sidecar.model.failures import Failure, Kind
from sidecar.model.records import AttemptRecord, RequestRecord
from sidecar.model.topology import Provider
from sidecar.model.ways import client_dialect
from sidecar.upstream.passing import Passing

if TYPE_CHECKING:
    from sidecar.manager.answer import Rooms

__all__ = ["Asked", "Passage"]

_OPERATION = "pass_through"


class Asked:
    """What a client wants to be passed on.

    Args:
        method: As sent.
        rest: The path below the provider's base URL, with its query.
        headers: Those that go along.
        body: As a whole, or as it comes.
        request_id: Ours, or the client's.
        client_request_id: The client's.
        peer_uid: Of a Unix socket.
    """

    __slots__ = ("body", "client_request_id", "headers", "method", "peer_uid", "request_id", "rest")

    def __init__(
        self,
        method: str,
        rest: str,
        headers: Iterable[tuple[str, str]],
        body: bytes | AsyncIterator[bytes],
        *,
        request_id: str,
        client_request_id: str | None,
        peer_uid: int | None,
    ) -> None:
        self.method = method
        self.rest = rest
        self.headers = headers
        self.body = body
        self.request_id = request_id
        self.client_request_id = client_request_id
        self.peer_uid = peer_uid


class Passage:
    """One such request; lives from its arrival to its last byte.

    Args:
        rooms: Those of the snapshot in force when it came.
        provider: Whom it goes to.
        asked: What is asked.
        active: Holds every request that is not closed yet.
    """

    keepalive_s = None  # nothing that could be said meanwhile would belong to the answer
    fault = b""  # a broken answer ends without the mark of a complete one, and nothing is added to it

    def __init__(self, rooms: Rooms, provider: Provider, asked: Asked, active: set[Any]) -> None:
        self._rooms = rooms
        self._provider = provider
        self._asked = asked
        self._active = active
        self._passing = Passing(rooms.registry.account(provider), rooms.snapshot.timeouts)
        self._began = monotonic()
        self._client_waited_s = 0.0
        self._ended = False
        self._closed = False
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.streams = False
        self.failure: Failure | None = None
        active.add(self)

    def promise(self) -> None:
        """Never asked for, as it says nothing while it waits."""

    async def open(self) -> None:
        """Ask the provider, until there is something to send."""
        asked = self._asked
        failure = await self._passing.start(asked.method, asked.rest, asked.headers, asked.body)
        if failure is not None:
            self._tell(failure)
            return
        assert self._passing.status is not None
        self.status = self._passing.status
        self.streams = self.status not in BODYLESS
        generation = self._rooms.snapshot.generation
        ours = reply_headers(asked.request_id, "", "", generation=generation, target=self._provider.name)
        self.headers = [*self._passing.headers, *[*ours][1:]]

    async def read(self) -> bytes:
        """The next bytes; b"" at the end, after which `failure` tells how it ended."""
        if self._ended:
            return b""
        data = await self._passing.read()
        if isinstance(data, Failure):
            self.failure, data = data, b""
        self._ended = not data
        return data

    def fail_internally(self, error: Exception) -> None:
        """A bug of ours: tell the client what it was without its details."""
        context = {"message": f"request {self._asked.request_id} failed by a bug", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
        self._tell(Failure(Kind.INTERNAL, f"the sidecar failed: {type(error).__name__}; its log tells more"))

    def stop(self, failure: Failure) -> None:
        """End it now with this failure."""
        self._passing.stop(failure)

    def client_waited(self, seconds: float) -> None:
        """Account time that was spent waiting for the client to take bytes."""
        self._client_waited_s += seconds

    def close(self, *, bytes_out: int = 0, gone: bool = False) -> None:
        """Free what is held and write the lines. Idempotent.

        Args:
            bytes_out: Body bytes that were sent to the client.
            gone: The client left before the end.
        """
        if self._closed:
            return
        self._closed = True
        self._active.discard(self)
        self._passing.close()
        outcome, kind, error = self._outcome(gone=gone)
        self._write(outcome, kind, error, bytes_out)

    def _outcome(self, *, gone: bool) -> tuple[str, str | None, str | None]:
        if gone:
            return "cancelled", Kind.CLIENT_GONE.value, "the client left"
        failure, status = self.failure, self._passing.status
        if failure is None and status is not None and status >= 400:
            passing, told = self._passing, provider_errors(self._provider.dialects[0])
            failure = told.decode_failure(status, dict(passing.headers), passing.refusal, time.time())
        if failure is None:
            return "ok", None, None
        return "truncated" if failure.kind is Kind.TRUNCATED else "failed", failure.kind.value, failure.message

    def _write(self, outcome: str, kind: str | None, error: str | None, bytes_out: int) -> None:
        asked, passing, rooms = self._asked, self._passing, self._rooms
        duration_s = monotonic() - self._began
        common: dict[str, Any] = {
            "request_id": asked.request_id,
            "client_request_id": asked.client_request_id,
            "generation": rooms.snapshot.generation,
            "operation": _OPERATION,
            "target": self._provider.name,
            "outcome": outcome,
            "kind": kind,
            "error": error,
            "duration_s": round(duration_s, 6),
            "overhead_s": round(max(0.0, duration_s - passing.waited_s - self._client_waited_s), 6),
        }
        attempt = AttemptRecord(
            **common,
            attempt=1,
            provider=self._provider.name,
            mode="relay",
            selection="primary",
            status=passing.status,
            upstream_request_id=passing.request_id(),
            connect_s=passing.connect_s,
            reused=passing.status is not None and passing.connect_s is None,
            bytes_out=passing.bytes_in,
            committed=self.streams,
        )
        request = RequestRecord(
            **common,
            peer_uid=asked.peer_uid,
            attempts=1,
            status=499 if outcome == "cancelled" else self.status,
            bytes_out=bytes_out,
            committed=self.streams,
        )
        rooms.log.attempt(attempt)
        rooms.metrics.attempt(attempt)
        rooms.log.request(request)
        rooms.metrics.request(request)

    def _tell(self, failure: Failure) -> None:
        self.failure = failure
        self.status = failure.client_status
        self.body, content_type = errors(client_dialect(self._provider)).encode_failure(failure)
        generation = self._rooms.snapshot.generation
        self.headers = [*reply_headers(self._asked.request_id, content_type, "", generation=generation)]
