"""Errors of providers: one row for each wording in use, and what a client is told."""

# ruff: noqa: E501 - one row of a table is one line
from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.dialects.openai_errors import decode_failure, encode_failure, fault_event
from sidecar.dialects.openai_kinds import ErrorFacts, kind_of
from sidecar.dialects.relay import Tap
from sidecar.model.failures import POLICY, Failure, Kind, UpstreamError
from tests.fake_behaviours import Canned, raw
from tests.fake_provider import FakeProvider

NOW = 1_800_000_000.0


def openai_error(message: str, kind: str | None = None, code: Any = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def google(code: int, status: str, message: str, *details: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"error": {"code": code, "message": message, "status": status, "details": list(details)}}]


INVALID = "invalid_request_error"
AZURE_FILTER = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}},
    }
}
AZURE_FILTER_NEW = {
    "error": {"message": "blocked", "code": "invalid_request", "innererror": AZURE_FILTER["error"]["innererror"]}
}
GROQ_TOO_LARGE = openai_error(
    "Request too large for model `llama-3.1-8b-instant` in organization `org_x` service tier `on_demand` on tokens per"
    " minute (TPM): Limit 6000, Requested 12328, please reduce your message size and try again.",
    "tokens",
    "rate_limit_exceeded",
)
VLLM_LONG = "This model's maximum context length is 16384 tokens. However, you requested 19591 tokens."

ROWS: list[tuple[str, int, Any, Kind]] = [
    # the request itself
    ("OpenAI bad value", 400, openai_error("Invalid 'temperature': decimal above maximum value.", INVALID, "decimal_above_max_value", "temperature"), Kind.INVALID_REQUEST),
    ("OpenAI unsupported with the model", 400, openai_error("Unsupported parameter: 'max_tokens' is not supported with this model.", INVALID, "unsupported_parameter", "max_tokens"), Kind.INVALID_REQUEST),
    ("OpenAI wrong path", 404, openai_error("Invalid URL (POST /v1/chat)", INVALID), Kind.INVALID_REQUEST),
    ("Mistral validation", 422, {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required"}]}, Kind.INVALID_REQUEST),
    ("Mistral flat", 400, {"object": "error", "message": "Logprobs are not enabled for this model", "type": "invalid_request_invalid_args", "param": None, "code": "3051", "raw_status_code": 400}, Kind.INVALID_REQUEST),
    ("vLLM", 400, {"object": "error", "message": "max_tokens must be at least 1, got -186.", "type": "BadRequestError", "param": None, "code": 400}, Kind.INVALID_REQUEST),
    ("Google", 400, google(400, "INVALID_ARGUMENT", "Please use a valid role: user, model."), Kind.INVALID_REQUEST),
    ("OpenRouter", 400, {"error": {"message": "No endpoints found that support image input", "code": 404}}, Kind.INVALID_REQUEST),
    ("too large", 413, "<html><head><title>413 Request Entity Too Large</title></head></html>", Kind.INVALID_REQUEST),
    ("Anthropic, too large in a stream", 200, {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}, Kind.INVALID_REQUEST),
    ("nothing said", 400, "", Kind.INVALID_REQUEST),
    # refused
    ("OpenAI images", 400, openai_error("Your request was rejected by our safety system.", INVALID, "content_policy_violation"), Kind.CONTENT_POLICY),
    ("OpenAI reasoning", 400, openai_error("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", INVALID, "invalid_prompt"), Kind.CONTENT_POLICY),
    ("Azure", 400, AZURE_FILTER, Kind.CONTENT_POLICY),
    ("Azure, only inside", 400, AZURE_FILTER_NEW, Kind.CONTENT_POLICY),
    ("DeepSeek", 400, openai_error("Content Exists Risk", INVALID, INVALID), Kind.CONTENT_POLICY),
    ("DashScope", 400, openai_error("Input data may contain inappropriate content.", "data_inspection_failed", "data_inspection_failed"), Kind.CONTENT_POLICY),
    ("OpenRouter", 403, {"error": {"message": "Input flagged", "code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "..."}}}, Kind.CONTENT_POLICY),
    ("xAI", 403, {"code": "The caller does not have permission", "error": "Content violates usage guidelines. Failed check: SAFETY"}, Kind.CONTENT_POLICY),
    ("Anthropic", 400, openai_error("Output blocked by content filtering policy", INVALID), Kind.CONTENT_POLICY),
    # too long
    ("OpenAI", 400, openai_error("Your input exceeds the context window of this model.", INVALID, "context_length_exceeded", "messages"), Kind.CONTEXT_LENGTH),
    ("vLLM", 400, {"object": "error", "message": VLLM_LONG, "type": "BadRequestError", "param": None, "code": 400}, Kind.CONTEXT_LENGTH),
    ("vLLM, wrapped", 400, openai_error(VLLM_LONG, "BadRequestError", 400, "input_tokens"), Kind.CONTEXT_LENGTH),
    ("vLLM prompt", 400, openai_error("The decoder prompt (length 20000) is longer than the maximum model length of 16384.", "BadRequestError", 400), Kind.CONTEXT_LENGTH),
    ("sglang", 400, {"object": "error", "message": "The input (9000 tokens) is longer than the model's context length (8192 tokens).", "type": "BadRequest", "code": 400}, Kind.CONTEXT_LENGTH),
    ("Anthropic", 400, openai_error("prompt is too long: 215000 tokens > 200000 maximum", INVALID), Kind.CONTEXT_LENGTH),
    ("Anthropic output", 400, openai_error("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000", INVALID), Kind.CONTEXT_LENGTH),
    ("Bedrock", 400, {"message": "Input is too long for requested model."}, Kind.CONTEXT_LENGTH),
    ("Google", 400, google(400, "INVALID_ARGUMENT", "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576)."), Kind.CONTEXT_LENGTH),
    ("Azure", 400, openai_error("Input tokens exceed the configured limit of 272000 tokens.", INVALID), Kind.CONTEXT_LENGTH),
    ("Ollama", 400, openai_error("prompt too long; exceeded max context length by 1119046 tokens", INVALID), Kind.CONTEXT_LENGTH),
    ("llama.cpp", 400, {"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error", "n_ctx": 8192}}, Kind.CONTEXT_LENGTH),
    ("llama.cpp, older", 500, {"error": {"code": 500, "message": "the request exceeds the available context size. try increasing the context size", "type": "server_error"}}, Kind.CONTEXT_LENGTH),
    ("Perplexity", 400, {"error": {"message": "The total length of all messages is too long.", "type": "too_many_prompt_tokens", "code": 400}}, Kind.CONTEXT_LENGTH),
    ("OpenRouter", 400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": VLLM_LONG, "provider_name": "x"}}}, Kind.CONTEXT_LENGTH),
    ("Groq, more than a minute's tokens", 413, GROQ_TOO_LARGE, Kind.CONTEXT_LENGTH),
    ("OpenAI, more than a minute's tokens", 429, openai_error("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 342389.", "tokens", "rate_limit_exceeded"), Kind.CONTEXT_LENGTH),
    # the model
    ("OpenAI", 404, openai_error("The model `gpt-9` does not exist or you do not have access to it.", INVALID, "model_not_found"), Kind.MODEL_UNAVAILABLE),
    ("OpenAI project", 403, openai_error("Project `p` does not have access to model `m`", INVALID, "model_not_found"), Kind.MODEL_UNAVAILABLE),
    ("Azure", 404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}, Kind.MODEL_UNAVAILABLE),
    ("Anthropic", 404, {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-9"}}, Kind.MODEL_UNAVAILABLE),
    ("Bedrock", 403, {"message": "You don't have access to the model with the specified model ID."}, Kind.MODEL_UNAVAILABLE),
    ("Google", 404, google(404, "NOT_FOUND", "models/gemini-9 is not found for API version v1main"), Kind.MODEL_UNAVAILABLE),
    ("vLLM", 404, {"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError", "param": None, "code": 404}, Kind.MODEL_UNAVAILABLE),
    ("Ollama", 404, openai_error('model "m" not found, try pulling it first', "api_error"), Kind.MODEL_UNAVAILABLE),
    ("Groq, gone", 400, openai_error("The model `m` has been decommissioned and is no longer supported.", INVALID, "model_decommissioned"), Kind.MODEL_UNAVAILABLE),
    ("Mistral", 400, {"object": "error", "message": "Invalid model: m", "type": "invalid_model", "param": None, "code": "1500"}, Kind.MODEL_UNAVAILABLE),
    ("DeepSeek", 400, openai_error("Model Not Exist", INVALID, INVALID), Kind.MODEL_UNAVAILABLE),
    ("DeepSeek, newer", 400, openai_error("The supported API model names are deepseek-v4-pro or deepseek-v4-flash, but you passed x.", INVALID, INVALID), Kind.MODEL_UNAVAILABLE),
    ("OpenRouter id", 400, {"error": {"message": "x/y is not a valid model ID", "code": 400}}, Kind.MODEL_UNAVAILABLE),
    ("OpenRouter", 404, {"error": {"message": "No endpoints found for x/y.", "code": 404}}, Kind.MODEL_UNAVAILABLE),
    ("xAI", 400, {"code": "invalid-argument", "error": "Model not found: grok-9"}, Kind.MODEL_UNAVAILABLE),
    ("Venice", 404, {"error": "Specified model not found: x. Did you mean: y?"}, Kind.MODEL_UNAVAILABLE),
    ("Cohere", 404, {"id": "x", "message": "model 'command-r' was removed on September 15, 2025."}, Kind.MODEL_UNAVAILABLE),
    ("Together", 404, openai_error("Unable to access model x. Please visit the docs.", INVALID, "model_not_available"), Kind.MODEL_UNAVAILABLE),
    ("GitHub Models", 400, openai_error("Unknown model: x", None, "unknown_model"), Kind.MODEL_UNAVAILABLE),
    # the key
    ("OpenAI", 401, openai_error("Incorrect API key provided: sk-x.", INVALID, "invalid_api_key"), Kind.CREDENTIAL),
    ("OpenAI country", 403, openai_error("Country, region, or territory not supported", "request_forbidden", "unsupported_country_region_territory"), Kind.CREDENTIAL),
    ("Mistral", 401, {"detail": "Invalid API Key"}, Kind.CREDENTIAL),
    ("OpenRouter", 401, {"error": {"message": "Missing Authentication header", "code": 401}}, Kind.CREDENTIAL),
    ("Google", 400, google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", {"reason": "API_KEY_INVALID"}), Kind.CREDENTIAL),
    ("Google, wordless", 400, google(400, "INVALID_ARGUMENT", "bad", {"@type": "x"}, {"reason": "API_KEY_INVALID"}), Kind.CREDENTIAL),
    ("Anthropic", 401, {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}, Kind.CREDENTIAL),
    ("Anthropic, closed", 400, openai_error("This organization has been disabled.", INVALID), Kind.CREDENTIAL),
    ("nothing said", 403, "", Kind.CREDENTIAL),
    # the bill
    ("OpenAI", 429, openai_error("You exceeded your current quota, please check your plan.", "insufficient_quota", "insufficient_quota"), Kind.QUOTA_EXHAUSTED),
    ("OpenAI, only the type", 429, openai_error("You exceeded your current quota.", "insufficient_quota"), Kind.QUOTA_EXHAUSTED),
    ("OpenAI inactive", 429, openai_error("Your account is not active.", "billing_not_active", "billing_not_active"), Kind.QUOTA_EXHAUSTED),
    ("DeepSeek", 402, openai_error("Insufficient Balance", "unknown_error", INVALID), Kind.QUOTA_EXHAUSTED),
    ("OpenRouter", 402, {"error": {"message": "This request requires more credits.", "code": 402}}, Kind.QUOTA_EXHAUSTED),
    ("Anthropic", 400, openai_error("Your credit balance is too low to access the Anthropic API.", INVALID), Kind.QUOTA_EXHAUSTED),
    ("Anthropic limit", 400, openai_error("You have reached your specified API usage limits. You will regain access on 2026-12-01.", INVALID), Kind.QUOTA_EXHAUSTED),
    ("Moonshot", 429, openai_error("Your account is suspended, please check your plan.", "exceeded_current_quota_error"), Kind.QUOTA_EXHAUSTED),
    ("xAI", 429, {"code": "Some resource has been exhausted", "error": "Your team t has either used all available credits or reached its monthly spending limit."}, Kind.QUOTA_EXHAUSTED),
    ("xAI, forbidden", 403, {"code": "x", "error": "Your newly created team doesn't have any credits yet."}, Kind.QUOTA_EXHAUSTED),
    ("Z.ai", 429, {"error": {"code": "1113", "message": "Insufficient balance or no resource package. Please recharge."}}, Kind.QUOTA_EXHAUSTED),
    ("DashScope", 400, openai_error("Access denied, please make sure your account is in good standing.", "Arrearage", "Arrearage"), Kind.QUOTA_EXHAUSTED),
    # too fast
    ("OpenAI", 429, openai_error("Rate limit reached for gpt-5.4 on requests per min.", "requests", "rate_limit_exceeded"), Kind.RATE_LIMITED),
    ("Azure", 429, {"error": {"code": "429", "message": "Requests have exceeded token rate limit of your current tier. Please retry after 9 seconds."}}, Kind.RATE_LIMITED),
    ("Google", 429, google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."), Kind.RATE_LIMITED),
    ("Mistral", 429, {"message": "Requests rate limit exceeded"}, Kind.RATE_LIMITED),
    ("a page", 429, "<html>Too many requests</html>", Kind.RATE_LIMITED),
    ("nothing said", 429, "", Kind.RATE_LIMITED),
    # too busy, broken
    ("OpenAI", 503, openai_error("The engine is currently overloaded, please try again later", "server_error"), Kind.OVERLOADED),
    ("Anthropic", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Kind.OVERLOADED),
    ("Google", 503, google(503, "UNAVAILABLE", "The model is overloaded. Please try again later."), Kind.OVERLOADED),
    ("Groq", 498, openai_error("Flex tier capacity exceeded", "x", "capacity_exceeded"), Kind.OVERLOADED),
    ("OpenAI", 500, openai_error("The server had an error while processing your request.", "server_error"), Kind.SERVER_ERROR),
    ("vLLM", 500, "Internal Server Error", Kind.SERVER_ERROR),
    ("Cloudflare", 520, "<!doctype html><title>520</title>", Kind.SERVER_ERROR),
    ("a code that says less than the status", 500, openai_error("x", INVALID, "invalid_api_key"), Kind.SERVER_ERROR),
    ("nginx", 502, "<html><head><title>502 Bad Gateway</title></head></html>", Kind.GATEWAY_ERROR),
    ("OpenRouter", 502, {"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": "x"}}}, Kind.GATEWAY_ERROR),
    ("Azure", 408, {"error": {"code": "Timeout", "message": "The operation was timeout."}}, Kind.GATEWAY_ERROR),
    ("a load balancer", 504, "upstream request timeout", Kind.GATEWAY_ERROR),
    ("a redirect", 301, "<html>Moved</html>", Kind.SERVER_ERROR),
    # inside a 200
    ("OpenAI stream", 200, openai_error("The server had an error while processing your request.", "server_error"), Kind.SERVER_ERROR),
    ("OpenAI stream, too fast", 200, openai_error("Rate limit reached", "tokens", "rate_limit_exceeded"), Kind.RATE_LIMITED),
    ("OpenRouter", 200, {"error": {"message": "Rate limit exceeded", "code": 429}}, Kind.RATE_LIMITED),
    ("OpenRouter choice", 200, {"choices": [{"index": 0, "error": {"code": 502, "message": "died"}, "finish_reason": "error"}]}, Kind.GATEWAY_ERROR),
    ("Anthropic", 200, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Kind.OVERLOADED),
    ("Azure", 200, AZURE_FILTER, Kind.CONTENT_POLICY),
    ("vLLM", 200, openai_error(VLLM_LONG, "BadRequestError", 400), Kind.CONTEXT_LENGTH),
    ("too long, by its type", 200, openai_error("prompt is too long: 9 > 8", INVALID), Kind.CONTEXT_LENGTH),
    ("at fault, by its type", 200, openai_error("no", INVALID), Kind.INVALID_REQUEST),
    ("a code in digits", 200, openai_error("busy", None, "503"), Kind.OVERLOADED),
    ("a text", 200, {"error": "it broke"}, Kind.MALFORMED),
    ("not JSON", 200, "went wrong", Kind.MALFORMED),
    ("an unknown code", 200, openai_error("x", "odd", "odder"), Kind.MALFORMED),
]  # fmt: skip


def decoded(status: int, body: Any, **headers: str) -> Failure:
    raw_body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return decode_failure(status, {name.replace("_", "-"): text for name, text in headers.items()}, raw_body, NOW)


@pytest.mark.parametrize(
    ("vendor", "status", "body", "kind"), ROWS, ids=[f"{row[3]}: {row[0]} {row[1]}" for row in ROWS]
)
def test_kind(vendor: str, status: int, body: Any, kind: Kind) -> None:
    failure = decoded(status, body)
    assert failure.kind is kind
    assert failure.message
    assert len(failure.message) <= 500
    if status != 200:
        assert failure.status == status


def test_every_kind_that_a_provider_can_cause_has_a_row() -> None:
    ours = {
        Kind.UNREACHABLE,
        Kind.FIRST_TOKEN_TIMEOUT,
        Kind.IDLE_TIMEOUT,
        Kind.TRUNCATED,
        Kind.DEADLINE,
        Kind.CLIENT_DEADLINE,
        Kind.CLIENT_GONE,
        Kind.LOSSY,
        Kind.NO_ROUTE,
        Kind.NO_TARGET,
        Kind.INTERNAL,
    }
    assert {row[3] for row in ROWS} == set(Kind) - ours


@pytest.mark.parametrize("status", [503, 529])
def test_who_says_when_to_come_back_is_limiting_and_not_down(status: int) -> None:
    failure = decoded(status, openai_error("busy"), retry_after="7")
    assert (failure.kind, failure.retry_after_s) == (Kind.RATE_LIMITED, 7)


def test_retry_after_of_a_rate_limit() -> None:
    headers = {"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "12s"}
    assert decoded(429, openai_error("slow down"), **headers).retry_after_s == 12
    # Resets are sent with every answer: beside an error inside a 200 they say nothing.
    assert decoded(200, openai_error("slow down", "rate_limit_error"), **headers).retry_after_s is None


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, {"detail": [{"loc": ["body", "messages", 0], "msg": "bad"}, {"msg": "worse"}]}, "body.messages.0: bad; body: worse"),
        (400, {"message": {"detail": [{"loc": ["body"], "msg": "bad"}]}}, "body: bad"),
        (400, {"error": {"message": {"message": "deep"}}}, "deep"),
        (401, {"detail": "Unauthorized"}, "Unauthorized"),
        (400, {"error": {"msg": "short"}}, "short"),
        (400, [], "HTTP 400 without a message"),
        (400, "[1]", "HTTP 400 without a message"),
        (500, {}, "{}"),
        (500, "", "HTTP 500 without a message"),
        (502, "<html>\n <title>Bad</title>", "not JSON: <html> <title>Bad</title>"),
        (500, "a" * 9000, "a" * 500),
        (502, {"error": {"message": "Provider returned error", "metadata": {"raw": "it died"}}}, "Provider returned error: it died"),
    ],
)  # fmt: skip
def test_message(status: int, body: Any, message: str) -> None:
    assert decoded(status, body).message == message


def test_a_redirect_says_where_to() -> None:
    assert "https://new.example/v1" in decoded(308, "", location="https://new.example/v1").message


def test_code_and_param_are_kept() -> None:
    failure = decoded(400, openai_error("no", INVALID, "unsupported_value", "temperature"))
    assert (failure.code, failure.param) == ("unsupported_value", "temperature")
    assert decoded(400, openai_error("no", INVALID)).code == INVALID


NAMES = ["error", "message", "code", "type", "detail", "metadata", "choices", "innererror", "status", "details", "loc"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES), inner),
)


@given(st.integers(200, 599), JSON | st.binary())
def test_any_body_gives_a_failure(status: int, value: Any) -> None:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    failure = decode_failure(status, {"content-type": "text/event-stream"}, body, NOW)
    assert failure.kind is not Kind.INTERNAL
    assert failure.message
    assert 400 <= failure.client_status < 600
    told, content_type = encode_failure(failure)
    assert isinstance(json.loads(told), dict)
    assert content_type.startswith("application/json")


@given(st.integers(200, 599), st.booleans())
def test_every_status_has_a_kind(status: int, timed: bool) -> None:
    assert kind_of(status, ErrorFacts(""), timed=timed) in POLICY


# -- what a client is told


def test_a_request_at_fault_gets_the_providers_own_words_unchanged() -> None:
    body = b'{ "error": {"message": "no", "type": "invalid_request_error", "param": "n", "code": null, "own": 1.0e3} }'
    failure = decode_failure(422, {"content-type": "application/json; charset=utf-8"}, body, NOW)
    assert encode_failure(failure, [{"provider": "p"}]) == (body, "application/json; charset=utf-8")
    assert failure.client_status == 422


@pytest.mark.parametrize("body", ["<html>413</html>", {"detail": "no"}, google(400, "INVALID_ARGUMENT", "no"), ""])
def test_words_in_another_shape_are_put_into_the_dialects(body: Any) -> None:
    failure = decoded(400, body, content_type="text/html")
    told, content_type = encode_failure(failure)
    assert content_type == "application/json"
    error = json.loads(told)["error"]
    assert error["message"] == failure.message
    assert error["type"] == "invalid_request_error"


def test_an_error_out_of_a_stream_is_told_as_json() -> None:
    failure = decoded(200, openai_error("no", INVALID, 400), content_type="text/event-stream")
    assert encode_failure(failure)[1] == "application/json"
    assert failure.client_status == 400


def test_any_other_failure_is_told_in_our_words_with_every_attempt() -> None:
    attempts = [{"provider": "a", "kind": "unreachable"}, {"provider": "b", "kind": "server_error"}]
    failure = decoded(500, openai_error("broke", "server_error", "oops"))
    told, content_type = encode_failure(failure, attempts)
    assert content_type == "application/json"
    assert json.loads(told) == {
        "error": {
            "message": "broke",
            "type": "upstream_error",
            "param": None,
            "code": "oops",
            "kind": "server_error",
            "attempts": attempts,
        }
    }
    assert "attempts" not in json.loads(encode_failure(failure)[0])["error"]


@pytest.mark.parametrize("kind", Kind)
def test_the_event_that_ends_a_broken_stream_is_a_fault_to_any_reader(kind: Kind) -> None:
    event = fault_event(Failure(kind, "it\nbroke"), [{"provider": "a"}])
    assert event.startswith(b"data: {")
    assert event.count(b"\n") == 2
    tap = Tap(withhold_usage=False)
    tap.feed(event)
    assert tap.fault is not None
    error = json.loads(tap.fault)["error"]
    assert (error["message"], error["kind"], error["attempts"]) == ("it\nbroke", kind.value, [{"provider": "a"}])


SDK_CLASSES = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    404: openai.NotFoundError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}
TOLD = [
    *((Failure(kind, "no", status=None), POLICY[kind].status) for kind in Kind if kind is not Kind.CLIENT_GONE),
    (Failure(Kind.INVALID_REQUEST, "no", 422, upstream=UpstreamError(422, b'{"error":{"message":"no"}}', "application/json")), 422),
    (Failure(Kind.INVALID_REQUEST, "no", 404), 404),
]  # fmt: skip


async def test_the_openai_sdk_raises_what_it_should() -> None:
    async with FakeProvider() as fake, openai.AsyncOpenAI(api_key="k", base_url=fake.base_url, max_retries=0) as client:
        for failure, status in TOLD:
            body, content_type = encode_failure(failure, [{"provider": "p"}])
            fake.script(Canned(failure.client_status, body, content_type))
            with pytest.raises(openai.APIStatusError) as caught:
                await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
            assert caught.value.status_code == status
            assert type(caught.value) is SDK_CLASSES.get(status, openai.InternalServerError)
            assert isinstance(caught.value.body, dict)
            assert caught.value.body["message"] == "no"


async def test_the_openai_sdk_raises_in_the_middle_of_a_stream() -> None:
    chunk = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
    stream = chunk + fault_event(Failure(Kind.TRUNCATED, "the stream broke"))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(stream)
    async with FakeProvider() as fake, openai.AsyncOpenAI(api_key="k", base_url=fake.base_url, max_retries=0) as client:
        fake.script(raw(head + stream))
        came = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
        texts: list[str | None] = []
        with pytest.raises(openai.APIError, match="the stream broke"):
            await _collect(came, texts)
        assert texts == ["a"]


async def _collect(stream: openai.AsyncStream[Any], texts: list[str | None]) -> None:
    async for event in stream:
        texts.append(event.choices[0].delta.content)
