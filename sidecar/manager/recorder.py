"""Writes down what happened to one request: its attempt lines, its request line, its counts.

Fills records and hands them to the log and the metrics; decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from sidecar.model.failures import Failure, Kind
from sidecar.model.records import AttemptRecord, Outcome, RequestRecord
from sidecar.model.request import Call
from sidecar.observe.log import DebugLogger
from sidecar.observe.metrics import MetricsCollector
from sidecar.observe.prices import cost_usd
from sidecar.routing.commands import Skipped, Try
from sidecar.routing.health import HealthBook
from sidecar.upstream.call import Exchange

__all__ = ["Recorder"]


class Recorder:
    """The records of one request; lives as long as it.

    Args:
        call: What is asked.
        generation: Of the snapshot that serves it.
        book: Tells what became of a target's breaker.
        log: Takes the lines.
        metrics: Takes the counts.
    """

    __slots__ = ("_backoff_s", "_began", "_book", "_call", "_log", "_metrics", "_waited_s", "request", "told")

    def __init__(
        self, call: Call, generation: int, book: HealthBook, log: DebugLogger, metrics: MetricsCollector
    ) -> None:
        self._call = call
        self._book = book
        self._log = log
        self._metrics = metrics
        self._began = monotonic()
        self._waited_s = 0.0  # for providers, the client and backoff
        self._backoff_s = 0.0
        self.told: list[dict[str, Any]] = []  # every attempt, as the client may see it
        self.request = RequestRecord(
            request_id=call.request_id,
            client_request_id=call.client_request_id,
            client_retry_count=call.client_retry_count,
            peer_uid=call.peer_uid,
            generation=generation,
            operation=call.operation.value,
            model_requested=call.model,
            client_dialect=call.dialect.value,
            stream=call.stream,
            bytes_in=call.bytes_in,
        )

    def waited(self, seconds: float) -> None:
        """Account time in which others were waited for."""
        self._waited_s += seconds

    def backed_off(self, seconds: float) -> None:
        """Account time that was waited before a retry."""
        self._waited_s += seconds
        self._backoff_s += seconds

    def serves(self, exchange: Exchange, command: Try) -> None:
        """An attempt has something to send to the client."""
        self.told.append(_told(exchange, command, None))
        request = self.request
        request.target = command.target.key
        if not request.committed:
            request.outcome, request.status, request.committed = Outcome.OK, 200, True
            request.first_token_s = round(monotonic() - self._began, 6)

    def skipped(self, skipped: Sequence[Skipped]) -> None:
        """Targets were passed over."""
        for skip in skipped:
            record = self._attempt(skip.target.provider.name, skip.target.key)
            record.skipped, record.breaker_before = skip.reason, skip.breaker
            record.outcome = Outcome.SKIPPED
            self._log.attempt(record)
            self._metrics.attempt(record)

    def attempted(
        self, exchange: Exchange, command: Try, outcome: Outcome, failure: Failure | None, *, served: bool
    ) -> None:
        """An attempt is over.

        Args:
            exchange: What was done.
            command: What was asked for.
            outcome: What it came to.
            failure: Why it is no answer.
            served: Something of it was sent to the client.
        """
        if failure is not None and outcome is not Outcome.CANCELLED:
            if served:  # it was told as an answer, and broke
                self.told.pop()
            self.told.append(_told(exchange, command, failure))
        record = self._attempt(command.target.provider.name, command.target.key)
        self._fill(record, exchange, command)
        record.outcome, record.committed = outcome, served
        if failure is not None:
            record.kind, record.error, record.retry_after_s = failure.kind, failure.message, failure.retry_after_s
        self._sum_up(record)
        self._log.attempt(record)
        self._metrics.attempt(record)

    def failed(self, failure: Failure, status: int | None = None) -> None:
        """The request has failed; `status` is what the client was sent, where nothing had been sent before."""
        request = self.request
        request.outcome = Outcome.TRUNCATED if failure.kind is Kind.TRUNCATED else Outcome.FAILED
        request.kind, request.error = failure.kind, failure.message
        if status is not None:
            request.status = status

    def close(self, *, bytes_out: int, gone: bool) -> None:
        """The request is over: its line.

        Args:
            bytes_out: Body bytes that were sent to the client.
            gone: The client left before the end.
        """
        request = self.request
        if gone:
            request.outcome, request.kind, request.status = Outcome.CANCELLED, Kind.CLIENT_GONE, 499
        request.bytes_out = bytes_out
        request.duration_s = round(monotonic() - self._began, 6)
        request.backoff_s = _rounded(self._backoff_s or None)
        request.overhead_s = round(max(0.0, request.duration_s - self._waited_s), 6)
        self._log.request(request)
        self._metrics.request(request)

    def _attempt(self, provider: str, target: str) -> AttemptRecord:
        call, request = self._call, self.request
        return AttemptRecord(
            request_id=call.request_id,
            client_request_id=call.client_request_id,
            route=request.route,
            generation=request.generation,
            target=target,
            provider=provider,
            operation=request.operation,
            model_requested=call.model,
            client_dialect=request.client_dialect,
            stream=call.stream,
            bytes_in=call.bytes_in,
        )

    def _fill(self, record: AttemptRecord, exchange: Exchange, command: Try) -> None:
        target = command.target
        record.attempt = command.number
        record.model_sent = target.model
        record.provider_dialect = record.client_dialect
        record.mode = "translate" if exchange.translates else "relay"
        record.selection = command.selection.value
        record.breaker_before = command.breaker
        record.breaker_after = self._book.state(target, monotonic()).breaker.state.value
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
        record.set_usage(exchange.usage)
        if exchange.usage is not None:
            record.cost_usd = cost_usd(target.provider.facts(target.model), exchange.usage)
        self._waited_s += exchange.waited_s

    def _sum_up(self, attempt: AttemptRecord) -> None:
        """What the request's own line takes over from an attempt; of several that served, the sums."""
        request = self.request
        request.attempts = (request.attempts or 0) + 1
        if not attempt.committed:
            return
        request.model_served = attempt.model_served or request.model_served
        request.finish_reason = attempt.finish_reason
        request.input_tokens = _sum(request.input_tokens, attempt.input_tokens)
        request.output_tokens = _sum(request.output_tokens, attempt.output_tokens)
        request.cost_usd = _sum(request.cost_usd, attempt.cost_usd)


def _told(exchange: Exchange, command: Try, failure: Failure | None) -> dict[str, Any]:
    return {
        "provider": command.target.provider.name,
        "model": command.target.model,
        "kind": failure.kind.value if failure else None,
        "status": exchange.status,
        "retry_after_s": failure.retry_after_s if failure else None,
        "duration_s": round(monotonic() - exchange.began, 6),
    }


def _sum(one: float | None, other: float | None) -> Any:
    return one if other is None else other if one is None else one + other


def _rounded(seconds: float | None) -> float | None:
    """Microseconds are enough for a reader."""
    return None if seconds is None else round(seconds, 6)
