"""What can go wrong with an attempt, and what follows: one table answers everything.

A `Kind` names what happened. `POLICY` says for every kind what is tried next, what it does to the
breaker, which status the client gets, and how much the failure tells when several compete. Nobody
else decides any of these; a new kind is one row here, and the type checker points at the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from sidecar.model.topology import Dialect

__all__ = ["POLICY", "Effect", "Failure", "Kind", "Next", "Policy", "UpstreamError"]


class Kind(StrEnum):
    """The failure kinds; the names are those of the log."""

    __hash__ = str.__hash__  # a key of tables on the hot path, where the hash of Enum would cost a call

    INVALID_REQUEST = "invalid_request"
    CONTENT_POLICY = "content_policy"
    CONTEXT_LENGTH = "context_length"
    MODEL_UNAVAILABLE = "model_unavailable"
    CREDENTIAL = "credential"
    QUOTA_EXHAUSTED = "quota_exhausted"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    GATEWAY_ERROR = "gateway_error"
    UNREACHABLE = "unreachable"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    MALFORMED = "malformed"
    TRUNCATED = "truncated"
    DEADLINE = "deadline"
    CLIENT_DEADLINE = "client_deadline"
    CLIENT_GONE = "client_gone"
    LOSSY = "lossy"
    NO_ROUTE = "no_route"
    NO_TARGET = "no_target"
    INTERNAL = "internal"


class Next(StrEnum):
    """What may be tried after a failure, as long as nothing was committed."""

    STOP = "stop"
    SAME = "same"  # the same target once more if the rules of attempts allow it, else another
    OTHER = "other"


class Effect(StrEnum):
    """What a failure does to the target's breaker."""

    NONE = "none"
    COUNT = "count"  # counts as consecutive and in the percentage
    COUNT_GATEWAY = "count_gateway"  # as COUNT, and towards the shorter gateway row
    TIMED = "timed"  # opens at once for retry_after; counts in the percentage only
    OPEN_TARGET = "open_target"  # opens this target for a fixed time
    OPEN_PROVIDER = "open_provider"  # opens every target of the provider


class Policy(msgspec.Struct, frozen=True):
    """What follows from a kind."""

    next: Next
    effect: Effect
    status: int  # HTTP status for the client, when no better one is known
    rank: int  # of several failures of one request the highest is the one told
    error_type: str  # OpenAI's `error.type`


_S, _A, _O = Next.STOP, Next.SAME, Next.OTHER

POLICY: Mapping[Kind, Policy] = MappingProxyType(
    {
        Kind.INVALID_REQUEST: Policy(_S, Effect.NONE, 400, 90, "invalid_request_error"),
        Kind.CONTENT_POLICY: Policy(_S, Effect.NONE, 400, 95, "invalid_request_error"),
        Kind.CONTEXT_LENGTH: Policy(_O, Effect.NONE, 400, 80, "invalid_request_error"),
        Kind.MODEL_UNAVAILABLE: Policy(_O, Effect.OPEN_TARGET, 502, 30, "upstream_error"),
        Kind.CREDENTIAL: Policy(_O, Effect.OPEN_PROVIDER, 502, 35, "upstream_error"),
        Kind.QUOTA_EXHAUSTED: Policy(_O, Effect.OPEN_PROVIDER, 429, 55, "insufficient_quota"),
        Kind.RATE_LIMITED: Policy(_A, Effect.TIMED, 429, 60, "rate_limit_error"),
        Kind.OVERLOADED: Policy(_A, Effect.COUNT_GATEWAY, 503, 50, "upstream_error"),
        Kind.SERVER_ERROR: Policy(_A, Effect.COUNT, 502, 45, "upstream_error"),
        Kind.GATEWAY_ERROR: Policy(_A, Effect.COUNT_GATEWAY, 502, 42, "upstream_error"),
        Kind.UNREACHABLE: Policy(_A, Effect.COUNT_GATEWAY, 502, 40, "upstream_error"),
        Kind.FIRST_TOKEN_TIMEOUT: Policy(_O, Effect.COUNT_GATEWAY, 504, 44, "timeout_error"),
        Kind.IDLE_TIMEOUT: Policy(_O, Effect.COUNT_GATEWAY, 504, 44, "timeout_error"),
        Kind.MALFORMED: Policy(_O, Effect.COUNT, 502, 43, "upstream_error"),
        Kind.TRUNCATED: Policy(_O, Effect.COUNT, 502, 43, "upstream_error"),
        Kind.DEADLINE: Policy(_S, Effect.NONE, 504, 70, "timeout_error"),
        Kind.CLIENT_DEADLINE: Policy(_S, Effect.NONE, 504, 70, "timeout_error"),
        Kind.CLIENT_GONE: Policy(_S, Effect.NONE, 499, 100, "client_closed_request"),
        Kind.LOSSY: Policy(_O, Effect.NONE, 400, 75, "invalid_request_error"),
        Kind.NO_ROUTE: Policy(_S, Effect.NONE, 404, 10, "invalid_request_error"),
        Kind.NO_TARGET: Policy(_S, Effect.NONE, 503, 20, "no_target_available"),
        Kind.INTERNAL: Policy(_S, Effect.NONE, 500, 100, "internal_error"),
    }
)


class UpstreamError(msgspec.Struct, frozen=True):
    """A provider's own error answer, kept so that a client of the same dialect gets it unchanged."""

    status: int
    body: bytes
    content_type: str
    dialect: Dialect = Dialect.OPENAI_CHAT  # that it is written in


class Failure(msgspec.Struct, frozen=True):
    """What one attempt, or the whole request, came to when it did not come to an answer."""

    kind: Kind
    message: str  # for people: what was wrong and what would be right; holds no secret
    status: int | None = None  # the upstream's HTTP status, if a head came
    code: str | None = None  # the dialect's own error code
    param: str | None = None  # the field of the request that is at fault
    retry_after_s: float | None = None
    upstream: UpstreamError | None = None

    @property
    def client_status(self) -> int:
        """The HTTP status the client gets."""
        if self.kind is Kind.INVALID_REQUEST and self.status is not None:
            return self.status
        if self.kind is Kind.GATEWAY_ERROR and self.status == 504:
            return 504
        return POLICY[self.kind].status
