"""The exceptions that cross rooms: one family, each carrying a `Failure`.

The names are those of the source specification; which class stands for which kind is a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sidecar.model.failures import Failure, Kind

__all__ = [
    "ERROR_CLASSES",
    "AllProvidersFailedError",
    "AuthenticationError",
    "ConfigurationError",
    "LLMError",
    "ModelNotFoundError",
    "NetworkError",
    "ProviderError",
    "ProviderUnavailableError",
    "RateLimitError",
    "TokenLimitError",
    "ValidationError",
    "error_for",
]


class LLMError(Exception):
    """Anything that went wrong on the way to an answer.

    Args:
        message: For people.
        failure: What happened, classified; derived from the class when it is not given.
        partial: The text that was already delivered when a stream broke.
        attempts: Each as `{provider, model, kind, status, retry_after_s, duration_s}`, in order.
    """

    kind: Kind = Kind.INTERNAL

    def __init__(
        self,
        message: str = "",
        *,
        failure: Failure | None = None,
        partial: str | None = None,
        attempts: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.failure = failure or Failure(self.kind, message or type(self).__name__)
        self.partial = partial
        self.attempts = [dict(attempt) for attempt in attempts]
        super().__init__(message or self.failure.message)


class ConfigurationError(LLMError):
    """The config, or a name given to the Python API, is not right; the message says what would be."""

    kind = Kind.NO_ROUTE


class ValidationError(LLMError):
    """The request itself is not right; no provider was asked, or the provider said so."""

    kind = Kind.INVALID_REQUEST


class ProviderError(LLMError):
    """A provider did not answer as it should."""

    kind = Kind.SERVER_ERROR


class RateLimitError(ProviderError):
    """The provider asks for patience; `retry_after` is in seconds, or None when it did not say."""

    kind = Kind.RATE_LIMITED

    def __init__(
        self,
        message: str = "",
        *,
        retry_after: float | None = None,
        failure: Failure | None = None,
        partial: str | None = None,
        attempts: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        failure = failure or Failure(self.kind, message or "rate limited", retry_after_s=retry_after)
        super().__init__(message, failure=failure, partial=partial, attempts=attempts)
        self.retry_after = failure.retry_after_s


class AuthenticationError(ProviderError):
    """The provider refused the key."""

    kind = Kind.CREDENTIAL


class ModelNotFoundError(ProviderError):
    """The provider does not have the model."""

    kind = Kind.MODEL_UNAVAILABLE


class TokenLimitError(ProviderError):
    """The request does not fit the model's context."""

    kind = Kind.CONTEXT_LENGTH


class NetworkError(ProviderError):
    """The provider could not be reached, or went silent."""

    kind = Kind.UNREACHABLE


class ProviderUnavailableError(ProviderError):
    """Nothing is available right now; `failure.retry_after_s` says when to try again."""

    kind = Kind.NO_TARGET


class AllProvidersFailedError(ProviderError):
    """Every target of the chain was tried or skipped; `attempts` tells what each came to."""


ERROR_CLASSES: Mapping[Kind, type[LLMError]] = MappingProxyType(
    {
        Kind.INVALID_REQUEST: ValidationError,
        Kind.CONTENT_POLICY: ValidationError,
        Kind.CONTEXT_LENGTH: TokenLimitError,
        Kind.MODEL_UNAVAILABLE: ModelNotFoundError,
        Kind.CREDENTIAL: AuthenticationError,
        Kind.QUOTA_EXHAUSTED: RateLimitError,
        Kind.RATE_LIMITED: RateLimitError,
        Kind.OVERLOADED: ProviderError,
        Kind.SERVER_ERROR: ProviderError,
        Kind.GATEWAY_ERROR: ProviderError,
        Kind.UNREACHABLE: NetworkError,
        Kind.FIRST_TOKEN_TIMEOUT: NetworkError,
        Kind.IDLE_TIMEOUT: NetworkError,
        Kind.MALFORMED: ProviderError,
        Kind.TRUNCATED: ProviderError,
        Kind.DEADLINE: NetworkError,
        Kind.CLIENT_DEADLINE: NetworkError,
        Kind.CLIENT_GONE: LLMError,
        Kind.LOSSY: ValidationError,
        Kind.NO_ROUTE: ConfigurationError,
        Kind.NO_TARGET: ProviderUnavailableError,
        Kind.INTERNAL: LLMError,
    }
)


def error_for(failure: Failure, *, attempts: Sequence[Mapping[str, Any]] = (), partial: str | None = None) -> LLMError:
    """The exception of the class that stands for the failure's kind."""
    return ERROR_CLASSES[failure.kind](failure.message, failure=failure, partial=partial, attempts=attempts)
