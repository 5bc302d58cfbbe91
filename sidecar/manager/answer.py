"""One request on its way: from the plan over its attempts to the last byte and the two log lines.

`Answer.open` walks the failover engine's commands until something can be sent: a whole answer, a
stream's first content, or the failure that the client is told. The engine decides; this file only
acts, and writes down what happened. `close` is called once by whoever asked, however it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from time import monotonic
from typing import Any

import msgspec

from sidecar.dialects.openai_errors import encode_failure, fault_event
from sidecar.manager.headers import reply_headers
from sidecar.model.errors import LLMError
from sidecar.model.failures import Failure, Kind
from sidecar.model.records import AttemptRecord, Outcome, RequestRecord
from sidecar.model.request import Call
from sidecar.model.settings import ClientRetries
from sidecar.model.topology import Route, Snapshot
from sidecar.observe.log import DebugLogger
from sidecar.observe.metrics import MetricsCollector
from sidecar.observe.prices import cost_usd
from sidecar.routing.balance import Balances
from sidecar.routing.budget import RetryBudget
from sidecar.routing.commands import Answer as Told
from sidecar.routing.commands import Command, Content, Elapsed, End, Event, Relay, Skipped, Try, Wait
from sidecar.routing.failover import failover
from sidecar.routing.health import HealthBook
from sidecar.routing.resolve import Router
from sidecar.upstream.call import Exchange
from sidecar.upstream.registry import LLMProviderRegistry

__all__ = ["Answer", "Rooms"]


class Rooms(msgspec.Struct, frozen=True):
    """What a request needs of the house; the first two change with every snapshot, the rest lives on."""

    snapshot: Snapshot
    router: Router
    book: HealthBook
    balances: Balances
    budget: RetryBudget
    registry: LLMProviderRegistry
    log: DebugLogger
    metrics: MetricsCollector
    rng: Callable[[], float]


class Answer:
    """What one request comes to; lives from the request's arrival to its last byte.

    After `open`: `status`, `headers` and `body` can be sent. If `streams`, more comes from `read`.

    Args:
        rooms: Those of the snapshot in force when the request came.
        call: What is asked.
        active: Holds every answer that is not closed yet; this one enters and leaves by itself.
    """

    def __init__(self, rooms: Rooms, call: Call, active: set[Answer]) -> None:
        self._rooms = rooms
        self._call = call
        self._began = monotonic()
        self._waited_s = 0.0  # for providers, the client and backoff
        self._backoff_s = 0.0
        self._engine: Generator[Command, Event, None] | None = None
        self._exchange: Exchange | None = None
        self._try: Try | None = None
        self._route: Route | None = None
        self._closed = False
        self._stopped: Failure | None = None
        self._active = active
        active.add(self)
        self.attempts: list[dict[str, Any]] = []
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.streams = False
        self.failure: Failure | None = None
        self.record = self._request_record()

    async def open(self) -> None:
        """Try targets until there is something to send. When it is cancelled, call `close` as always."""
        try:
            self._route = self._resolved()
        except LLMError as error:
            self._tell(error.failure)
            return
        self.record.route = self._route.name
        rooms = self._rooms
        self._engine = failover(
            self._route, self._call, rooms.book, rooms.balances, rooms.budget, now=self._began, rng=rooms.rng
        )
        command: Command | None = next(self._engine)
        while command is not None:
            command = await self._act(command)

    def _resolved(self) -> Route:
        call, router = self._call, self._rooms.router
        return router.strict(call.model) if call.strict else router.resolve(call.model, override=call.route)

    async def read(self) -> bytes:
        """The next bytes of a stream; b"" at its end, after which `failure` tells how it ended.

        A broken stream ends with the dialect's error event; the caller must then end the response
        without the mark of a complete one.
        """
        exchange = self._exchange
        if exchange is None:
            return b""
        data = await exchange.read()
        if data:
            return data
        if exchange.failure is None:
            await exchange.settle()
            self._advance(None)
            return b""
        return self._break(exchange.failure)

    @property
    def targets(self) -> int:
        """How many targets the request's route has."""
        return len(self._route.targets) if self._route is not None else 0

    def fail_internally(self, error: Exception) -> None:
        """A bug of ours: free what is held, and tell the client what it was without its details."""
        context = {"message": f"request {self._call.request_id} failed by a bug", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
        failure = Failure(Kind.INTERNAL, f"the sidecar failed: {type(error).__name__}; its log tells more")
        if self._exchange is not None:
            self._log_attempt(Outcome.FAILED, failure)
        self._tell(failure)

    def stop(self, failure: Failure) -> None:
        """End it now: whoever waits for it is told this failure, as if the provider had failed so."""
        self._stopped = failure
        if self._exchange is not None:
            self._exchange.stop(failure)

    def client_waited(self, seconds: float) -> None:
        """Account time that was spent waiting for the client to take bytes."""
        self._waited_s += seconds

    def close(self, *, bytes_out: int = 0, gone: bool = False) -> None:
        """Free what is held and write the request's line. Idempotent.

        Args:
            bytes_out: Body bytes that were sent to the client.
            gone: The client left before the end.
        """
        if self._closed:
            return
        self._closed = True
        self._active.discard(self)
        if self._engine is not None:
            self._engine.close()
        if self._exchange is not None:
            self._log_attempt(Outcome.CANCELLED, Failure(Kind.CLIENT_GONE, "the client left"))
            gone = True
        record = self.record
        if gone:
            record.outcome, record.kind, record.status = Outcome.CANCELLED, Kind.CLIENT_GONE, 499
        record.bytes_out = bytes_out
        record.duration_s = round(monotonic() - self._began, 6)
        record.backoff_s = _rounded(self._backoff_s or None)
        record.overhead_s = round(max(0.0, record.duration_s - self._waited_s), 6)
        self._rooms.log.request(record)
        self._rooms.metrics.request(record)

    async def _act(self, command: Command) -> Command | None:
        match command:
            case Try():
                self._log_skipped(command.skipped)
                return await self._attempt(command)
            case Wait():
                self._log_skipped(command.skipped)
                await asyncio.sleep(command.seconds)
                self._waited_s += command.seconds
                self._backoff_s += command.seconds
                return self._send(Elapsed(monotonic()))
            case Told():
                self._log_skipped(command.skipped)
                self._tell(command.failure)
                return None
            case Relay():
                self.streams = True
                return None

    async def _attempt(self, command: Try) -> Command | None:
        """Ask one target; the engine's next command, or None when there is an answer to send."""
        self._try = command
        if self._stopped is not None:
            self._tell(self._stopped)
            return None
        account = self._rooms.registry.account(command.target.provider)
        self._exchange = exchange = Exchange(account, command.target.model, self._call, command.limits)
        failure = await exchange.start()
        if failure is not None:
            return self._advance(failure)
        self._serve(exchange, command)
        if exchange.streaming:
            return self._send(Content(monotonic(), exchange.first_token_s or 0.0, exchange.head_s))
        return self._advance(None)

    def _serve(self, exchange: Exchange, command: Try) -> None:
        """There is something to send."""
        self.status = 200
        self.body = exchange.body
        self._note_attempt(exchange, None)
        record = self.record
        record.outcome, record.status, record.committed = Outcome.OK, 200, True
        record.target = command.target.key
        record.first_token_s = round(monotonic() - self._began, 6)
        content_type = "text/event-stream; charset=utf-8" if self._call.stream else "application/json"
        self.headers = reply_headers(
            self._call.request_id,
            content_type,
            self.attempts,
            generation=self._generation,
            target=command.target.key,
            upstream=exchange.headers,
        )

    def _advance(self, failure: Failure | None) -> Command | None:
        """The attempt under way is over: free it, tell the engine, write its line."""
        exchange = self._exchange
        assert exchange is not None
        self._exchange = None
        exchange.close()
        now = monotonic()
        command = self._send(End(now, now - exchange.began, failure, head=exchange.status is not None))
        if failure is not None:
            if self.status:  # it was noted as an answer, and broke
                self.attempts.pop()
            self._note_attempt(exchange, failure)
        outcome = Outcome.OK if failure is None else Outcome.FAILED
        if failure is not None and failure.kind is Kind.TRUNCATED:
            outcome = Outcome.TRUNCATED
        self._write_attempt(exchange, outcome, failure)
        return command

    def _break(self, failure: Failure) -> bytes:
        """A committed stream broke: its error event."""
        command = self._advance(failure)
        told = command.failure if isinstance(command, Told) else failure
        self.failure = told
        record = self.record
        record.outcome = Outcome.TRUNCATED if told.kind is Kind.TRUNCATED else Outcome.FAILED
        record.kind, record.error = told.kind, told.message
        return fault_event(told, self.attempts)

    def _tell(self, failure: Failure) -> None:
        """No target answered: the error that the client gets."""
        self.failure = failure
        self.status = failure.client_status
        self.body, content_type = encode_failure(failure, self.attempts)
        suppress = self._route is not None and self._route.attempts.client_retries is ClientRetries.SUPPRESS
        self.headers = reply_headers(
            self._call.request_id,
            content_type,
            self.attempts,
            generation=self._generation,
            retry_after_s=failure.retry_after_s,
            no_retry=suppress and bool(self.attempts),
        )
        record = self.record
        record.outcome, record.kind, record.error = Outcome.FAILED, failure.kind, failure.message
        record.status = self.status

    def _send(self, event: Event) -> Command | None:
        assert self._engine is not None
        try:
            return self._engine.send(event)
        except StopIteration:
            return None

    @property
    def _generation(self) -> int:
        return self._rooms.snapshot.generation

    def _note_attempt(self, exchange: Exchange, failure: Failure | None) -> None:
        """One entry of the list that the client may see."""
        assert self._try is not None
        target = self._try.target
        self.attempts.append(
            {
                "provider": target.provider.name,
                "model": target.model,
                "kind": failure.kind.value if failure else None,
                "status": exchange.status,
                "retry_after_s": failure.retry_after_s if failure else None,
                "duration_s": round(monotonic() - exchange.began, 6),
            }
        )

    def _request_record(self) -> RequestRecord:
        call = self._call
        return RequestRecord(
            request_id=call.request_id,
            client_request_id=call.client_request_id,
            client_retry_count=call.client_retry_count,
            peer_uid=call.peer_uid,
            generation=self._generation,
            operation=call.operation.value,
            model_requested=call.model,
            client_dialect=call.dialect.value,
            stream=call.stream,
            bytes_in=call.bytes_in,
        )

    def _log_skipped(self, skipped: tuple[Skipped, ...]) -> None:
        for skip in skipped:
            record = self._attempt_record(skip.target.provider.name, skip.target.key)
            record.skipped, record.breaker_before = skip.reason, skip.breaker
            record.outcome = Outcome.SKIPPED
            self._rooms.log.attempt(record)
            self._rooms.metrics.attempt(record)

    def _log_attempt(self, outcome: Outcome, failure: Failure) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        exchange.close()
        self._write_attempt(exchange, outcome, failure)

    def _attempt_record(self, provider: str, target: str) -> AttemptRecord:
        call = self._call
        return AttemptRecord(
            request_id=call.request_id,
            client_request_id=call.client_request_id,
            route=self.record.route,
            generation=self._generation,
            target=target,
            provider=provider,
            operation=call.operation.value,
            model_requested=call.model,
            client_dialect=call.dialect.value,
            stream=call.stream,
            bytes_in=call.bytes_in,
        )

    def _write_attempt(self, exchange: Exchange, outcome: Outcome, failure: Failure | None) -> None:
        command = self._try
        assert command is not None
        target = command.target
        record = self._attempt_record(target.provider.name, target.key)
        record.attempt = command.number
        record.model_sent = target.model
        record.provider_dialect = self._call.dialect.value
        record.mode = "translate" if exchange.translates else "relay"
        record.selection = command.selection.value
        record.breaker_before = command.breaker
        record.breaker_after = self._rooms.book.state(target, monotonic()).breaker.state.value
        record.outcome = outcome
        record.backoff_s = _rounded(command.backoff_s)
        record.status = exchange.status
        record.connect_s, record.reused = _rounded(exchange.connect_s), exchange.reused
        record.first_token_s = _rounded(exchange.first_token_s)
        record.duration_s = round(monotonic() - exchange.began, 6)
        record.overhead_s = round(max(0.0, record.duration_s - exchange.waited_s), 6)
        record.bytes_out = exchange.bytes_out
        record.upstream_request_id = exchange.headers.get("x-request-id")
        record.model_served, record.finish_reason = exchange.model_served, exchange.finish_reason
        record.malformed_events = exchange.malformed_events or None
        record.committed = bool(self.status)
        record.set_usage(exchange.usage)
        if exchange.usage is not None:
            record.cost_usd = cost_usd(target.provider.facts(target.model), exchange.usage)
        if failure is not None:
            record.kind, record.error, record.retry_after_s = failure.kind, failure.message, failure.retry_after_s
        self._waited_s += exchange.waited_s
        self._sum_up(record)
        self._rooms.log.attempt(record)
        self._rooms.metrics.attempt(record)

    def _sum_up(self, attempt: AttemptRecord) -> None:
        """What the request's own line takes over from an attempt."""
        record = self.record
        record.attempts = (record.attempts or 0) + 1
        if not attempt.committed:
            return
        record.model_served, record.finish_reason = attempt.model_served, attempt.finish_reason
        record.input_tokens, record.output_tokens = attempt.input_tokens, attempt.output_tokens
        record.cost_usd = attempt.cost_usd


def _rounded(seconds: float | None) -> float | None:
    """Microseconds are enough for a reader."""
    return None if seconds is None else round(seconds, 6)
