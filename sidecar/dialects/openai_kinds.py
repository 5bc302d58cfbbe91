"""Which kind of failure a provider's error is: tables, from the status, the structured code, a few markers.

A code that names its kind beats the status. A message is looked at only beside a status that leaves the
question open, and only for the markers below, each of which is a provider's fixed wording. An error
inside a 200 has the status that it names itself, as a number or by its type.

Sources (read 2026-11): platform.openai.com/docs/guides/error-codes and docs/api-reference/responses/object;
openrouter.ai/docs/api-reference/errors;
docs.anthropic.com/en/api/errors; learn.microsoft.com/azure/ai-services/openai (content filter);
console.groq.com/docs/errors; api-docs.deepseek.com/quick_start/error_codes; docs.x.ai; and the servers
vLLM, llama.cpp and Ollama.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from sidecar.model.failures import Kind

__all__ = ["ErrorFacts", "kind_of", "status_of"]


class ErrorFacts(msgspec.Struct, frozen=True):
    """What an error body says."""

    message: str
    codes: tuple[str, ...] = ()  # whatever names what happened, the most particular first
    param: str | None = None
    status: int | None = None  # some repeat it in the body; inside a 200 there is no other
    moderated: bool = False  # it tells which input was flagged


_CODES: Mapping[str, Kind] = MappingProxyType(
    {
        "context_length_exceeded": Kind.CONTEXT_LENGTH,
        "string_above_max_length": Kind.CONTEXT_LENGTH,
        "exceed_context_size_error": Kind.CONTEXT_LENGTH,  # llama.cpp
        "too_many_prompt_tokens": Kind.CONTEXT_LENGTH,  # Perplexity
        "content_policy_violation": Kind.CONTENT_POLICY,
        "content_filter": Kind.CONTENT_POLICY,
        "responsibleaipolicyviolation": Kind.CONTENT_POLICY,  # Azure
        "moderation_blocked": Kind.CONTENT_POLICY,
        "bio_policy": Kind.CONTENT_POLICY,
        "misalignment_policy_violation": Kind.CONTENT_POLICY,
        "image_content_policy_violation": Kind.CONTENT_POLICY,
        "data_inspection_failed": Kind.CONTENT_POLICY,  # DashScope
        "model_not_found": Kind.MODEL_UNAVAILABLE,
        "model_not_available": Kind.MODEL_UNAVAILABLE,  # Together
        "model_decommissioned": Kind.MODEL_UNAVAILABLE,  # Groq
        "model_permission_blocked_org": Kind.MODEL_UNAVAILABLE,  # Groq
        "invalid_model": Kind.MODEL_UNAVAILABLE,  # Mistral, Perplexity
        "unknown_model": Kind.MODEL_UNAVAILABLE,  # GitHub Models
        "deploymentnotfound": Kind.MODEL_UNAVAILABLE,  # Azure
        "insufficient_quota": Kind.QUOTA_EXHAUSTED,
        "billing_hard_limit_reached": Kind.QUOTA_EXHAUSTED,
        "billing_not_active": Kind.QUOTA_EXHAUSTED,
        "billing_error": Kind.QUOTA_EXHAUSTED,  # Anthropic
        "exceeded_current_quota_error": Kind.QUOTA_EXHAUSTED,  # Moonshot
        "arrearage": Kind.QUOTA_EXHAUSTED,  # DashScope
        "resourcenotfoundexception": Kind.MODEL_UNAVAILABLE,  # Bedrock
        "servicequotaexceededexception": Kind.QUOTA_EXHAUSTED,  # Bedrock
        "modelnotreadyexception": Kind.OVERLOADED,  # Bedrock
        "invalid_api_key": Kind.CREDENTIAL,
        "api_key_invalid": Kind.CREDENTIAL,  # Google
        "account_deactivated": Kind.CREDENTIAL,
    }
)
# Said whatever the status is: some servers answer a prompt that is too long with a 500.
_AT_ANY_STATUS = frozenset({Kind.CONTEXT_LENGTH})

# The status that an error inside a 200 stands for.
_TYPES: Mapping[str, int] = MappingProxyType(
    {
        "invalid_request_error": 400,
        "badrequesterror": 400,  # vLLM
        "invalid_prompt": 400,
        "previous_response_not_found": 400,
        "data_residency_mismatch": 400,
        "failed_to_download_image": 400,
        "image_file_not_found": 400,
        "empty_image_file": 400,
        "image_too_large": 400,
        "image_too_small": 400,
        "image_parse_error": 400,
        "image_file_too_large": 400,
        "invalid_image": 400,
        "invalid_image_format": 400,
        "invalid_base64_image": 400,
        "invalid_image_url": 400,
        "invalid_image_mode": 400,
        "unsupported_image_media_type": 400,
        "authentication_error": 401,
        "invalid_authentication_error": 401,
        "permission_error": 403,
        "not_found_error": 404,
        "request_too_large": 413,
        "rate_limit_exceeded": 429,
        "rate_limit_error": 429,
        "too_many_requests": 429,
        "resource_exhausted": 429,  # Google
        "server_error": 500,
        "api_error": 500,
        "internal_error": 500,
        "internal_server_error": 500,
        "internalservererror": 500,  # vLLM
        "bad_gateway": 502,
        "service_unavailable": 503,
        "unavailable": 503,  # Google
        "internal": 500,  # Google
        "deadline_exceeded": 504,  # Google
        "invalid_argument": 400,  # Google
        "failed_precondition": 400,  # Google
        "permission_denied": 403,  # Google
        "unauthenticated": 401,  # Google
        "not_found": 404,  # Google
        "overloaded_error": 529,
        "engine_overloaded_error": 529,  # Moonshot
        "timeout_error": 504,
        "timeout": 504,
        "vector_store_timeout": 504,
    }
)

_AT_FAULT = frozenset({400, 404, 413, 422})
_TOO_LONG = _AT_FAULT | {500}
_UNPAID = frozenset({400, 403, 429})

# Beside which statuses a message is searched for what (in lower case).
_MARKERS: Sequence[tuple[frozenset[int], str, Kind]] = (
    (_TOO_LONG, "maximum context length", Kind.CONTEXT_LENGTH),
    (_TOO_LONG, "max context length", Kind.CONTEXT_LENGTH),  # Ollama
    (_TOO_LONG, "longer than the model's context length", Kind.CONTEXT_LENGTH),
    (_TOO_LONG, "longer than the maximum model length", Kind.CONTEXT_LENGTH),  # vLLM
    (_TOO_LONG, "prompt is too long", Kind.CONTEXT_LENGTH),
    (_TOO_LONG, "exceed context limit", Kind.CONTEXT_LENGTH),
    (_TOO_LONG, "exceeds the maximum number of tokens", Kind.CONTEXT_LENGTH),
    (_TOO_LONG, "input tokens exceed the configured limit", Kind.CONTEXT_LENGTH),
    (_TOO_LONG, "exceeds the available context size", Kind.CONTEXT_LENGTH),
    (_TOO_LONG, "exceed context window", Kind.CONTEXT_LENGTH),  # llama-cpp-python
    (_TOO_LONG, "too many tokens: size limit exceeded", Kind.CONTEXT_LENGTH),  # Cohere
    (_TOO_LONG, "input is too long for requested model", Kind.CONTEXT_LENGTH),  # Claude at Bedrock
    # More than a whole minute's allowance: waiting does not help, another target may.
    (frozenset({413, 429}), "request too large for", Kind.CONTEXT_LENGTH),
    (_AT_FAULT, "api key not valid", Kind.CREDENTIAL),
    (_AT_FAULT, "api key expired", Kind.CREDENTIAL),  # Google
    (_AT_FAULT, "user location is not supported", Kind.CREDENTIAL),  # Google: not from this account's country
    (_AT_FAULT, "organization has been disabled", Kind.CREDENTIAL),  # Anthropic
    (_UNPAID, "credit balance is too low", Kind.QUOTA_EXHAUSTED),
    (_UNPAID, "usage limit", Kind.QUOTA_EXHAUSTED),
    (_UNPAID, "used all available credits", Kind.QUOTA_EXHAUSTED),  # xAI
    (_UNPAID, "doesn't have any credits", Kind.QUOTA_EXHAUSTED),  # xAI
    (_UNPAID, "insufficient balance", Kind.QUOTA_EXHAUSTED),
    (_AT_FAULT, "content management policy", Kind.CONTENT_POLICY),
    (_AT_FAULT, "flagged as potentially violating", Kind.CONTENT_POLICY),
    (_AT_FAULT, "content exists risk", Kind.CONTENT_POLICY),  # DeepSeek
    (_AT_FAULT | {403}, "content violates usage guidelines", Kind.CONTENT_POLICY),  # xAI
    (_AT_FAULT, "blocked by content filtering policy", Kind.CONTENT_POLICY),  # Anthropic
    (_AT_FAULT, "model not found", Kind.MODEL_UNAVAILABLE),
    (frozenset({403}), "access to the model", Kind.MODEL_UNAVAILABLE),  # Bedrock
    (_AT_FAULT, "model identifier is invalid", Kind.MODEL_UNAVAILABLE),  # Bedrock
    (_AT_FAULT, "on-demand throughput", Kind.MODEL_UNAVAILABLE),  # Bedrock
    (_AT_FAULT, "model not exist", Kind.MODEL_UNAVAILABLE),  # DeepSeek
    (_AT_FAULT, "supported api model names", Kind.MODEL_UNAVAILABLE),  # DeepSeek
    (_AT_FAULT, "not a valid model", Kind.MODEL_UNAVAILABLE),  # OpenRouter
    (_AT_FAULT, "no endpoints found for", Kind.MODEL_UNAVAILABLE),  # OpenRouter
    (_AT_FAULT, "no allowed providers are available", Kind.MODEL_UNAVAILABLE),  # OpenRouter
    (_AT_FAULT, "invalid model", Kind.MODEL_UNAVAILABLE),
    (_AT_FAULT, "unknown model", Kind.MODEL_UNAVAILABLE),
)
_GONE = ("not found", "does not exist", "not exist", "removed", "unable to access", "not available")

_STATUSES: Mapping[int, Kind] = MappingProxyType(
    {
        401: Kind.CREDENTIAL,
        402: Kind.QUOTA_EXHAUSTED,
        403: Kind.CREDENTIAL,
        408: Kind.GATEWAY_ERROR,
        424: Kind.SERVER_ERROR,  # Bedrock: the model failed
        409: Kind.SERVER_ERROR,  # two of the provider's own in each other's way
        429: Kind.RATE_LIMITED,
        499: Kind.GATEWAY_ERROR,  # Google: cancelled on its way
        498: Kind.OVERLOADED,  # Groq: no capacity for this tier
        502: Kind.GATEWAY_ERROR,
        503: Kind.OVERLOADED,
        504: Kind.GATEWAY_ERROR,
        529: Kind.OVERLOADED,
    }
)


def status_of(status: int, facts: ErrorFacts) -> int:
    """The status that counts: of an error inside a 200, the one that it stands for; 200 when it says none."""
    if status >= 300:
        return status
    if facts.status is not None:
        return facts.status
    return next((_TYPES[code] for code in _lower(facts) if code in _TYPES), status)


def kind_of(status: int, facts: ErrorFacts, *, timed: bool) -> Kind:
    """The kind of a failure.

    Args:
        status: As `status_of` gave it.
        facts: Of the body.
        timed: The provider said when to ask again.
    """
    named = next((_CODES[code] for code in _lower(facts) if code in _CODES), None)
    if named and (status < 500 or named in _AT_ANY_STATUS):
        return named
    if status < 300:
        return Kind.MALFORMED
    if facts.moderated and status < 500:
        return Kind.CONTENT_POLICY
    text = facts.message.lower()
    marked = next((kind for statuses, marker, kind in _MARKERS if status in statuses and marker in text), None)
    if marked:
        return marked
    if status in (503, 529) and timed:
        return Kind.RATE_LIMITED
    if status in _STATUSES:
        return _STATUSES[status]
    if status >= 500 or status < 400:
        return Kind.SERVER_ERROR
    return Kind.MODEL_UNAVAILABLE if _names_model(status, text) else Kind.INVALID_REQUEST


def _names_model(status: int, text: str) -> bool:
    """Whether the message of a 400 or 404 is that the model is not there."""
    if "model" not in text or status not in (400, 404):
        return False
    return (status == 404 and text.startswith("model:")) or any(words in text for words in _GONE)


def _lower(facts: ErrorFacts) -> list[str]:
    return [code.lower() for code in facts.codes]
