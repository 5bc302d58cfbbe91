"""Writes down what happened to one request: its attempt lines, its request line, its counts.

Makes records and hands them to the log and the metrics; decides nothing. An attempt's record is made
in one go when the attempt is over: filling it field by field costs more than everything else here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from types import MappingProxyType
from typing import Any, Protocol

from sidecar.manager.headers import EVENT_STREAM, ReplyHeaders, reply_headers
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import Loss
from sidecar.model.records import AttemptRecord, Outcome, RequestRecord, Selection, Usage
from sidecar.model.request import Call
from sidecar.model.topology import Dialect, Operation
from sidecar.observe.log import DebugLogger
from sidecar.observe.metrics import MetricsCollector
from sidecar.observe.prices import cost_usd
from sidecar.routing.commands import Skipped, Try
from sidecar.routing.health import BreakerState

__all__ = ["Recorder", "upstream_request_id"]

# A record holds plain text: an enum's member costs more to encode, and its `value` a call.
_TEXTS: Mapping[str, str] = MappingProxyType(
    {member: member.value for names in (Operation, Dialect, Selection, Outcome, Kind, BreakerState) for member in names}
)
_NO_USAGE = Usage()


class Attempt(Protocol):
    """What was done, as a recorder reads it; times are seconds."""

    began: float  # on the monotonic clock
    bytes_out: int
    connect_s: float | None
    dialect: Dialect
    finish_reason: str | None
    first_token_s: float | None
    losses: Sequence[Loss]
    model_served: str | None
    provider_headers: Mapping[str, str]
    reused: bool | None
    served: bool
    status: int | None
    translates: bool
    usage: Usage | None
    waited_s: float

    @property
    def malformed_events(self) -> int: ...


class _Tried:
    """One attempt, as the client may see it."""

    __slots__ = ("command", "duration_s", "failure", "status")

    def __init__(self, exchange: Attempt, command: Try, failure: Failure | None, now: float) -> None:
        self.command = command
        self.failure = failure
        self.status = exchange.status
        self.duration_s = now - exchange.began

    def shown(self) -> dict[str, Any]:
        target, failure = self.command.target, self.failure
        return {
            "provider": target.provider.name,
            "model": target.model,
            "kind": failure.kind.value if failure else None,
            "status": self.status,
            "retry_after_s": failure.retry_after_s if failure else None,
            "duration_s": _micros(self.duration_s),
        }

    def short(self) -> str:
        """`openai/gpt-5.4=429`: its status, or the kind of its failure where no status tells it."""
        failure, status = self.failure, self.status
        result = failure.kind.value if failure is not None and (status is None or status == 200) else status
        return f"{self.command.state.key.replace(',', '?')}={result}"


class Recorder:
    """The records of one request; lives as long as it.

    Args:
        call: What is asked.
        generation: Of the snapshot that serves it.
        log: Takes the lines.
        metrics: Takes the counts.
        began: When the request came, on the monotonic clock; None: now.
    """

    __slots__ = (
        "_backoff_s",
        "_began",
        "_call",
        "_client_waited_s",
        "_generation",
        "_log",
        "_metrics",
        "_tried",
        "_waited_s",
        "_waited_until",
        "request",
    )

    def __init__(
        self, call: Call, generation: int, log: DebugLogger, metrics: MetricsCollector, began: float | None = None
    ) -> None:
        self._call = call
        self._log = log
        self._metrics = metrics
        self._began = monotonic() if began is None else began
        self._generation = generation
        self._waited_s = 0.0  # for providers, the client and backoff
        self._client_waited_s = 0.0  # of it for the client, since an attempt was over
        self._waited_until = 0.0  # by an attempt
        self._backoff_s = 0.0
        self._tried: list[_Tried] = []
        self.request = RequestRecord(
            request_id=call.request_id,
            client_request_id=call.client_request_id,
            client_retry_count=call.client_retry_count,
            peer_uid=call.peer_uid,
            generation=generation,
            operation=_TEXTS[call.operation],
            model_requested=call.peek.model,
            client_dialect=_TEXTS[call.dialect],
            stream=call.peek.stream,
            bytes_in=call.bytes_in,
        )

    @property
    def told(self) -> list[dict[str, Any]]:
        """Every attempt, as the client may see it."""
        return [tried.shown() for tried in self._tried]

    @property
    def line(self) -> str:
        """The same in a line: `openai/gpt-5.4=429,claude/claude-sonnet-4-6=200`."""
        tried = self._tried
        return tried[0].short() if len(tried) == 1 else ",".join([each.short() for each in tried])

    def client_waited(self, seconds: float) -> None:
        """Account time in which the client was waited for, and so was the attempt that serves it."""
        self._waited_s += seconds
        self._client_waited_s += seconds

    def backed_off(self, seconds: float) -> None:
        """Account time that was waited before a retry."""
        self._waited_s += seconds
        self._backoff_s += seconds

    def serves(self, exchange: Attempt, command: Try, now: float) -> None:
        """An attempt has something to send to the client."""
        self._tried.append(_Tried(exchange, command, None, now))
        request = self.request
        request.target = command.state.key
        if not request.committed:
            request.outcome, request.status, request.committed = "ok", 200, True
            request.first_token_s = _micros(now - self._began)

    def headers(self, exchange: Attempt, command: Try) -> ReplyHeaders:
        """Those of the answer that an attempt gives to the client."""
        call = self._call
        return reply_headers(
            call.request_id,
            EVENT_STREAM if call.peek.stream else "application/json",
            self.line,
            generation=self._generation,
            target=command.state.key,
            upstream=exchange.provider_headers,
            losses=exchange.losses,
            dialect=call.dialect,
        )

    def estimated(self) -> None:
        """No target was asked, for none could say; the client got an estimate."""
        self.request.outcome, self.request.status = "ok", 200

    def skipped(self, skipped: Sequence[Skipped]) -> None:
        """Targets were passed over."""
        call, request = self._call, self.request
        for skip in skipped:
            record = AttemptRecord(
                request_id=call.request_id,
                client_request_id=call.client_request_id,
                route=request.route,
                generation=request.generation,
                target=skip.target.key,
                provider=skip.target.provider.name,
                operation=request.operation,
                model_requested=request.model_requested,
                client_dialect=request.client_dialect,
                stream=request.stream,
                skipped=skip.reason,
                breaker_before=_TEXTS.get(skip.breaker, skip.breaker),
                outcome=_TEXTS[Outcome.SKIPPED],
                bytes_in=request.bytes_in,
            )
            self._log.attempt(record)
            self._metrics.attempt(record)

    def attempted(
        self, exchange: Attempt, command: Try, outcome: Outcome, failure: Failure | None, *, now: float
    ) -> AttemptRecord:
        """An attempt is over; gives its record.

        Args:
            exchange: What was done; `served` if something of it was sent to the client.
            command: What was asked for.
            outcome: What it came to.
            failure: Why it is no answer.
            now: On the clock of its beginning.
        """
        if failure is not None and outcome is not Outcome.CANCELLED:
            if exchange.served:  # it was told as an answer, and broke
                self._tried.pop()
            self._tried.append(_Tried(exchange, command, failure, now))
        # Attempts that raced waited at the same time.
        self._waited_s += min(exchange.waited_s, now - max(exchange.began, self._waited_until))
        self._waited_until = now
        waited_s = exchange.waited_s
        if exchange.served:
            waited_s += self._client_waited_s
            self._client_waited_s = 0.0
        duration_s = now - exchange.began
        record = self._attempt(exchange, command, _TEXTS[outcome], failure, duration_s=duration_s, waited_s=waited_s)
        self._sum_up(record)
        self._log.attempt(record)
        self._metrics.attempt(record)
        return record

    def failed(self, failure: Failure, status: int | None = None) -> None:
        """The request has failed; `status` is what the client was sent, where nothing had been sent before."""
        request = self.request
        request.outcome = _TEXTS[Outcome.TRUNCATED if failure.kind is Kind.TRUNCATED else Outcome.FAILED]
        request.kind, request.error = _TEXTS[failure.kind], failure.message
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
            request.outcome, request.kind, request.status = "cancelled", "client_gone", 499
        request.bytes_out = bytes_out
        duration_s = monotonic() - self._began
        request.duration_s = _micros(duration_s)
        if self._backoff_s:
            request.backoff_s = _micros(self._backoff_s)
        request.overhead_s = _micros(duration_s - self._waited_s)
        self._log.request(request)
        self._metrics.request(request)

    def _attempt(
        self,
        exchange: Attempt,
        command: Try,
        outcome: str,
        failure: Failure | None,
        *,
        duration_s: float,
        waited_s: float,
    ) -> AttemptRecord:
        request, target, state = self.request, command.target, command.state
        usage, headers, losses = exchange.usage or _NO_USAGE, exchange.provider_headers, exchange.losses
        connect_s, first_token_s = exchange.connect_s, exchange.first_token_s
        # In the order of the record's fields, in which naming them costs next to nothing.
        return AttemptRecord(
            request_id=request.request_id,
            client_request_id=request.client_request_id,
            route=request.route,
            generation=request.generation,
            attempt=command.number,
            target=state.key,
            provider=target.provider.name,
            operation=request.operation,
            model_requested=request.model_requested,
            model_sent=target.model,
            model_served=self._log.name(exchange.model_served),
            client_dialect=request.client_dialect,
            provider_dialect=_TEXTS[exchange.dialect],
            mode="translate" if exchange.translates else "relay",
            stream=request.stream,
            selection=_TEXTS[command.selection],
            breaker_before=_TEXTS[command.breaker],
            breaker_after=_TEXTS[state.breaker.state],
            outcome=outcome,
            kind=None if failure is None else _TEXTS[failure.kind],
            error=None if failure is None else failure.message,
            status=exchange.status,
            upstream_request_id=upstream_request_id(headers),
            retry_after_s=None if failure is None else failure.retry_after_s,
            backoff_s=None if command.backoff_s is None else _micros(command.backoff_s),
            connect_s=None if connect_s is None else _micros(connect_s),
            reused=exchange.reused,
            first_token_s=None if first_token_s is None else _micros(first_token_s),
            duration_s=_micros(duration_s),
            overhead_s=_micros(duration_s - waited_s),
            bytes_in=request.bytes_in,
            bytes_out=exchange.bytes_out,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cost_usd=None if usage is _NO_USAGE else cost_usd(target.provider.facts(target.model), usage),
            finish_reason=self._log.name(exchange.finish_reason),
            committed=exchange.served,
            malformed_events=exchange.malformed_events or None,
            losses=[*map(str, losses)] if losses else None,
        )

    def _sum_up(self, attempt: AttemptRecord) -> None:
        """What the request's own line takes over from an attempt; of several that served, the sums."""
        request = self.request
        request.attempts = (request.attempts or 0) + 1
        if not attempt.committed:
            return
        request.model_served = attempt.model_served or request.model_served
        request.finish_reason = attempt.finish_reason
        if attempt.input_tokens is not None:
            request.input_tokens = attempt.input_tokens + (request.input_tokens or 0)
        if attempt.output_tokens is not None:
            request.output_tokens = attempt.output_tokens + (request.output_tokens or 0)
        if attempt.cost_usd is not None:
            request.cost_usd = attempt.cost_usd + (request.cost_usd or 0)


def upstream_request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's own name of a request."""
    return headers.get("x-request-id") or headers.get("request-id")


def _micros(seconds: float) -> float:
    """To the microsecond, which is enough for a reader, and never below 0; at a third of the cost of `round`."""
    return int(seconds * 1e6 + 0.5) / 1e6 if seconds > 0 else 0.0
