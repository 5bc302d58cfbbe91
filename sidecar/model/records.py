"""The values behind the log lines: flat, snake_case, one field per key of the line.

`Attempt` is written for every try at a target (probes, skipped and cancelled ones included),
`Request` once for every request. Both are filled while the work goes on and encoded once.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["AttemptRecord", "Outcome", "RequestRecord", "Selection", "Usage"]


class Outcome(StrEnum):
    """What an attempt came to."""

    __hash__ = str.__hash__  # a key of tables on the hot path, where the hash of Enum would cost a call

    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    HEDGE_LOST = "hedge_lost"
    TRUNCATED = "truncated"


class Selection(StrEnum):
    """Why a target was tried."""

    __hash__ = str.__hash__  # a key of tables on the hot path, where the hash of Enum would cost a call

    PRIMARY = "primary"
    FALLBACK = "fallback"
    RETRY = "retry"
    PROBE = "probe"
    HEDGE = "hedge"
    PANIC = "panic"
    RESCUE = "rescue"


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one answer. `input_tokens` includes cache reads and writes, `output_tokens` reasoning."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class AttemptRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One `attempt` line. Times are seconds, sizes bytes; absent means not known or not applicable."""

    request_id: str | None = None
    client_request_id: str | None = None
    route: str | None = None
    generation: int | None = None
    attempt: int | None = None  # 1, 2, ... within the request
    target: str | None = None
    provider: str | None = None
    operation: str | None = None
    model_requested: str | None = None
    model_sent: str | None = None
    model_served: str | None = None
    client_dialect: str | None = None
    provider_dialect: str | None = None
    mode: str | None = None  # relay | translate
    stream: bool | None = None
    selection: str | None = None
    skipped: str | None = None  # why the target was passed over
    count: int | None = None  # of equal skipped lines within a second
    breaker_before: str | None = None
    breaker_after: str | None = None
    outcome: str | None = None
    kind: str | None = None
    error: str | None = None  # the failure's message, redacted and capped
    status: int | None = None
    upstream_request_id: str | None = None
    retry_after_s: float | None = None
    backoff_s: float | None = None  # waited before this attempt
    connect_s: float | None = None
    reused: bool | None = None  # the connection came from the pool
    first_token_s: float | None = None
    duration_s: float | None = None
    overhead_s: float | None = None
    bytes_in: int | None = None  # from the client, body
    bytes_out: int | None = None  # from upstream, body
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    finish_reason: str | None = None
    committed: bool | None = None
    malformed_events: int | None = None  # skipped in an otherwise healthy stream
    losses: list[str] | None = None


class RequestRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One `request` line: what the client asked for and what it got."""

    request_id: str | None = None
    client_request_id: str | None = None
    client_retry_count: int | None = None
    peer_uid: int | None = None
    route: str | None = None
    generation: int | None = None
    operation: str | None = None
    model_requested: str | None = None
    target: str | None = None  # the one that answered
    model_served: str | None = None
    client_dialect: str | None = None
    stream: bool | None = None
    attempts: int | None = None  # tries, skipped targets not counted
    outcome: str | None = None
    kind: str | None = None
    error: str | None = None
    status: int | None = None  # sent to the client
    backoff_s: float | None = None
    first_token_s: float | None = None
    duration_s: float | None = None
    overhead_s: float | None = None  # duration minus waiting for upstream, client and backoff
    bytes_in: int | None = None
    bytes_out: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    finish_reason: str | None = None
    committed: bool | None = None
