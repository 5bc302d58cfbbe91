"""The public Python API: every name, every signature, every field, and what importing it costs."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

import sidecar
from sidecar import (
    AllProvidersFailedError,
    AuthenticationError,
    BaseCallbackHandler,
    ConfigurationError,
    ConfigurationManager,
    DebugLogger,
    FallbackStrategy,
    FunctionCall,
    LLMError,
    LLMManager,
    LLMProviderRegistry,
    LLMResponse,
    LLMResponseChunk,
    LoadBalancer,
    Message,
    MetricsCollector,
    ModelNotFoundError,
    NetworkError,
    ProviderError,
    ProviderState,
    ProviderUnavailableError,
    RateLimitError,
    ResponseNormalizer,
    TokenLimitError,
    ToolCall,
    ValidationError,
    get_llm_manager,
    set_llm_manager,
)
from sidecar.model.errors import ERROR_CLASSES, error_for
from sidecar.model.failures import Failure, Kind

NAMES = {
    *("AllProvidersFailedError", "AuthenticationError", "BaseCallbackHandler", "ConfigurationError"),
    *("ConfigurationManager", "DebugLogger", "FallbackStrategy", "FunctionCall", "LLMError", "LLMManager"),
    *("LLMProviderRegistry", "LLMResponse", "LLMResponseChunk", "LoadBalancer", "Message", "MetricsCollector"),
    *("ModelNotFoundError", "NetworkError", "ProviderError", "ProviderState", "ProviderUnavailableError"),
    *("RateLimitError", "ResponseNormalizer", "TokenLimitError", "ToolCall", "ValidationError"),
    *("get_llm_manager", "set_llm_manager", "__version__"),
}

# Parameters with their defaults, then the annotation of what comes back.
SIGNATURES = [
    (ProviderState.can_retry_initialization, "(self)", "bool"),
    (ProviderState.record_initialization_failure, "(self, error)", "None"),
    (ProviderState.record_initialization_success, "(self)", "None"),
    (FallbackStrategy.execute_with_fallback, "(self, providers, operation, *args, **kwargs)", "LLMResponse"),
    (LoadBalancer.select_provider, "(self, providers, strategy='round_robin')", "str"),
    (LoadBalancer.update_provider_health, "(self, provider, is_healthy)", "None"),
    (LoadBalancer.set_provider_weight, "(self, provider, weight)", "None"),
    (
        LLMManager.__init__,
        "(self, config_manager=None, debug_logger=None, metrics_collector=None, response_normalizer=None, "
        "registry=None)",
        "None",
    ),
    (LLMManager.cleanup, "(self)", "None"),
    (LLMManager.get_provider_status, "(self)", "dict[str, dict[str, Any]]"),
    (LLMManager.reset_provider, "(self, provider_name)", "bool"),
    (LLMManager.chat, "(self, messages, provider=None, **kwargs)", "LLMResponse"),
    (
        LLMManager.chat_stream,
        "(self, messages, provider=None, callbacks=None, **kwargs)",
        "AsyncGenerator[LLMResponseChunk, None]",
    ),
    (LLMManager.completion, "(self, prompt, provider=None, **kwargs)", "LLMResponse"),
    (LLMManager.chat_with_tools, "(self, messages, tools, provider=None, **kwargs)", "LLMResponse"),
    (LLMManager.set_fallback_chain, "(self, providers)", "None"),
    (LLMManager.enable_load_balancing, "(self, strategy='round_robin')", "None"),
    (LLMManager.disable_load_balancing, "(self)", "None"),
    (LLMManager.health_check_all, "(self)", "dict[str, bool]"),
    (LLMManager.get_stats, "(self)", "dict[str, Any]"),
    (get_llm_manager, "()", "LLMManager"),
    (set_llm_manager, "(manager)", "None"),
    (BaseCallbackHandler.on_llm_start, "(self, run_id, messages, **kwargs)", "Awaitable[None] | None"),
    (BaseCallbackHandler.on_llm_new_token, "(self, token, *, chunk, run_id)", "Awaitable[None] | None"),
    (BaseCallbackHandler.on_llm_end, "(self, response, *, run_id)", "Awaitable[None] | None"),
    (BaseCallbackHandler.on_llm_error, "(self, error, *, run_id)", "Awaitable[None] | None"),
]
COROUTINES = [
    FallbackStrategy.execute_with_fallback,
    LLMManager.cleanup,
    LLMManager.reset_provider,
    LLMManager.chat,
    LLMManager.completion,
    LLMManager.chat_with_tools,
    LLMManager.health_check_all,
]


def bare(function: Any) -> str:
    """The signature without annotations; a default that is an enum of texts as its text."""
    signature = inspect.signature(function)
    parameters = []
    for parameter in signature.parameters.values():
        default = str(parameter.default) if isinstance(parameter.default, str) else parameter.default
        parameters.append(parameter.replace(annotation=inspect.Parameter.empty, default=default))
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def test_the_names_are_exactly_these_and_each_resolves() -> None:
    assert set(sidecar.__all__) == NAMES
    for name in NAMES:
        assert getattr(sidecar, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        sidecar.Nothing  # noqa: B018 - the look-up is the test


@pytest.mark.parametrize(
    ("function", "parameters", "returns"), SIGNATURES, ids=[function.__qualname__ for function, _, _ in SIGNATURES]
)
def test_a_signature_is_exactly_this(function: Any, parameters: str, returns: str) -> None:
    assert bare(function) == parameters
    assert inspect.signature(function).return_annotation == returns


def test_what_is_awaited_is_a_coroutine_and_a_stream_an_async_generator() -> None:
    assert all(inspect.iscoroutinefunction(function) for function in COROUTINES)
    assert inspect.isasyncgenfunction(LLMManager.chat_stream)
    plain = [LLMManager.get_provider_status, LLMManager.get_stats, LLMManager.set_fallback_chain]
    assert not any(inspect.iscoroutinefunction(function) for function in plain)


def test_balancer_strategy_and_state_need_no_arguments() -> None:
    LoadBalancer(), FallbackStrategy(), LLMProviderRegistry(), DebugLogger(), MetricsCollector(), ResponseNormalizer()
    assert dataclasses.is_dataclass(ProviderState)
    state = ProviderState()
    fields = {field.name for field in dataclasses.fields(state)}
    assert fields >= {
        *("is_initializing", "is_initialized", "last_error", "last_error_time", "initialization_attempts"),
        "backoff_until",
    }
    assert (state.is_initializing, state.is_initialized, state.initialization_attempts) == (False, False, 0)
    assert state.last_error is state.last_error_time is state.backoff_until is None


def test_the_types_of_the_constructor_are_public() -> None:
    hints = get_type_hints(LLMManager.__init__)
    assert hints == {
        "config_manager": ConfigurationManager | None,
        "debug_logger": DebugLogger | None,
        "metrics_collector": MetricsCollector | None,
        "response_normalizer": ResponseNormalizer | None,
        "registry": LLMProviderRegistry | None,
        "return": type(None),
    }


@pytest.mark.parametrize(
    ("type_", "fields"),
    [
        (Message, {"role", "content", "tool_calls", "name", "tool_call_id"}),
        (ToolCall, {"id", "type", "function"}),
        (FunctionCall, {"name", "arguments"}),
        (
            LLMResponse,
            {"content", "provider", "model", "finish_reason", "native_finish_reason", "tool_calls", "usage"}
            | {"metadata", "request_id", "duration", "timestamp"},
        ),
        (
            LLMResponseChunk,
            {"content", "delta", "provider", "model", "finish_reason", "tool_calls", "tool_call_chunks", "usage"}
            | {"metadata", "chunk_index", "timestamp"},
        ),
    ],
)
def test_a_value_has_these_fields(type_: type[msgspec.Struct], fields: set[str]) -> None:
    assert set(type_.__struct_fields__) == fields


def test_values_are_made_with_few_words() -> None:
    assert Message("user", "Hi") == Message(role="user", content="Hi")
    call = ToolCall("call_1", FunctionCall("add", "{}"))
    assert call.type == "function"
    message = Message("assistant", tool_calls=[call])
    assert message.content is None
    assert msgspec.to_builtins(message)["tool_calls"][0]["function"] == {"name": "add", "arguments": "{}"}
    assert Message("user", [{"type": "text", "text": "Hi"}]).content == [{"type": "text", "text": "Hi"}]


def test_the_errors_are_one_family() -> None:
    under_provider_error = (
        RateLimitError,
        AuthenticationError,
        ModelNotFoundError,
        TokenLimitError,
        NetworkError,
        ProviderUnavailableError,
        AllProvidersFailedError,
    )
    assert issubclass(ProviderError, LLMError)
    assert all(issubclass(each, ProviderError) for each in under_provider_error)
    for outside in (ConfigurationError, ValidationError):
        assert issubclass(outside, LLMError)
        assert not issubclass(outside, ProviderError)
    assert RateLimitError("slow down", retry_after=2.5).retry_after == 2.5
    assert RateLimitError("slow down").retry_after is None
    assert AllProvidersFailedError("none").attempts == []
    for each in (LLMError, *under_provider_error):
        error = each("why")
        assert (str(error), error.partial, error.failure.message) == ("why", None, "why")


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_failure_has_its_class(kind: Kind) -> None:
    error = error_for(Failure(kind, "why", retry_after_s=3.0))
    assert type(error) is ERROR_CLASSES[kind]
    assert str(error) == "why"
    if isinstance(error, RateLimitError):
        assert error.retry_after == 3.0


def test_importing_the_package_imports_none_of_its_rooms() -> None:
    program = "import sys, sidecar; print(sorted(m for m in sys.modules if m.startswith('sidecar.')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_the_shared_manager_is_made_once_and_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from sidecar.manager import shared

    monkeypatch.setattr(shared, "_shared", None)
    (tmp_path / "sidecar.yaml").write_text("providers: {embedded: {}}\nroutes: {default: {chain: [embedded/ok]}}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIDECAR_CONFIG", raising=False)
    made = get_llm_manager()
    assert get_llm_manager() is made
    assert list(made.snapshot.providers) == ["embedded"]
    other = LLMManager(ConfigurationManager.from_text("providers: {embedded: {}}\nroutes: {}\n"))
    set_llm_manager(other)
    assert get_llm_manager() is other
