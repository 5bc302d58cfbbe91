"""What ordinary requests are told and what is written of them, made from what was of one before them.

The records of ordinary requests for one model differ in ids, times, sizes and tokens only. The `Recorder` writes
the first of them, as it writes any request; those that follow fill in what is their own in its two records. So
nothing that is the same in all of them is said here.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Protocol

from sidecar.dialects.forms import Whole
from sidecar.manager.headers import ReplyHeaders, own_headers
from sidecar.manager.recorder import upstream_request_id
from sidecar.model.records import AttemptRecord, RequestRecord, Usage
from sidecar.model.request import Call
from sidecar.model.topology import ModelFacts
from sidecar.observe.log import DebugLogger
from sidecar.observe.metrics import MetricsCollector
from sidecar.observe.prices import cost_usd

__all__ = ["Stencil"]

_NO_USAGE = Usage()


class Served(Protocol):
    """A request that was answered well; moments are of the monotonic clock."""

    answered: float  # when the provider's answer was whole
    began: float
    call: Call
    content_at: float | None  # when its first content came; never None when it was answered
    provider_bytes: int  # of the provider's body
    provider_headers: Mapping[str, str]
    waited_s: float  # of the time to its answer: for the provider
    whole: Whole | None  # never None when it was answered


class Stencil:
    """What the lines and the headers of such requests have in common.

    Args:
        attempt: Of one of them.
        request: Of the same one.
        headers: Of its answer, as HTTP/1.1 writes them down, as far as they are not its own.
        facts: What the config says of the model, its price above all.
        log: Takes the lines.
        metrics: Takes the counts.
    """

    __slots__ = ("_attempt", "_count", "_facts", "_headers", "_log", "_request")

    def __init__(
        self,
        attempt: AttemptRecord,
        request: RequestRecord,
        headers: str,
        facts: ModelFacts,
        *,
        log: DebugLogger,
        metrics: MetricsCollector,
    ) -> None:
        self._attempt = attempt
        self._request = request
        self._headers = headers
        self._facts = facts
        self._log = log
        self._count = metrics.served(attempt, request).add

    @staticmethod
    def fits(attempt: AttemptRecord, request: RequestRecord) -> bool:
        """Whether nothing about these is out of the ordinary."""
        moved = attempt.breaker_after != attempt.breaker_before
        odd = moved or attempt.losses is not None or attempt.malformed_events is not None
        return request.outcome == "ok" and not odd

    def headers(self, call: Call, upstream: Mapping[str, str]) -> ReplyHeaders:
        """Those of the answer to a call, made with those of the provider's."""
        return ReplyHeaders(self._headers, own_headers(call.request_id, upstream, call.dialect))

    def write(self, served: Served, *, bytes_out: int) -> None:
        """The two lines of one that is over, and its counts.

        Args:
            served: What it came to.
            bytes_out: Of the body that was sent to the client.
        """
        call, whole = served.call, served.whole
        assert whole is not None
        request_id, usage = call.request_id, whole.usage or _NO_USAGE
        attempt, request = self._attempt, self._request  # which are encoded at once, and then serve the next
        attempt.request_id = request.request_id = request_id
        attempt.client_request_id = request.client_request_id = call.client_request_id
        request.client_retry_count, request.peer_uid = call.client_retry_count, call.peer_uid
        attempt.upstream_request_id = upstream_request_id(served.provider_headers)
        attempt.model_served = request.model_served = self._log.name(whole.model)
        attempt.finish_reason = request.finish_reason = self._log.name(whole.finish_reason)
        attempt.bytes_in = request.bytes_in = call.bytes_in
        attempt.bytes_out, request.bytes_out = served.provider_bytes, bytes_out
        # Rounded as a `Recorder` does, of what is never below 0.
        began, waited_us, content_at = served.began, served.waited_s * 1e6, served.content_at
        assert content_at is not None
        answer_us, ended_us = (served.answered - began) * 1e6, (monotonic() - began) * 1e6
        answer_s, ended_s = int(answer_us + 0.5) / 1e6, int(ended_us + 0.5) / 1e6
        content_s = int((content_at - began) * 1e6 + 0.5) / 1e6
        overhead_s = int(ended_us - waited_us + 0.5) / 1e6
        attempt.first_token_s = request.first_token_s = content_s
        attempt.duration_s = answer_s
        attempt.overhead_s = int(answer_us - waited_us + 0.5) / 1e6
        request.duration_s, request.overhead_s = ended_s, overhead_s
        attempt.input_tokens = request.input_tokens = usage.input_tokens
        attempt.output_tokens = request.output_tokens = usage.output_tokens
        attempt.cache_read_tokens, attempt.cache_write_tokens = usage.cache_read_tokens, usage.cache_write_tokens
        attempt.reasoning_tokens = usage.reasoning_tokens
        cost = cost_usd(self._facts, usage)
        attempt.cost_usd = request.cost_usd = cost
        self._log.served(attempt, request)
        self._count(content_s, answer_s, ended_s, overhead_s, usage, cost)
