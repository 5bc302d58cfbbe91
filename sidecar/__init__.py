"""A daemon beside your app that makes LLM calls reliable; the names below are its Python API.

Names are resolved at first use (PEP 562), so that a command which only asks a running daemon does not
import one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.dialects.openai_reading import ResponseNormalizer
    from sidecar.manager import LLMManager
    from sidecar.manager.balancing import LoadBalancer
    from sidecar.manager.callbacks import BaseCallbackHandler
    from sidecar.manager.shared import get_llm_manager, set_llm_manager
    from sidecar.manager.state import ProviderState
    from sidecar.manager.strategy import FallbackStrategy
    from sidecar.model.chat import FunctionCall, LLMResponse, LLMResponseChunk, Message, ToolCall
    from sidecar.model.errors import (
        AllProvidersFailedError,
        AuthenticationError,
        ConfigurationError,
        LLMError,
        ModelNotFoundError,
        NetworkError,
        ProviderError,
        ProviderUnavailableError,
        RateLimitError,
        TokenLimitError,
        ValidationError,
    )
    from sidecar.observe.log import DebugLogger
    from sidecar.observe.metrics import MetricsCollector
    from sidecar.sources.configuration import ConfigurationManager
    from sidecar.upstream.registry import LLMProviderRegistry

__version__ = "0.1.0"

__all__ = [
    "AllProvidersFailedError",
    "AuthenticationError",
    "BaseCallbackHandler",
    "ConfigurationError",
    "ConfigurationManager",
    "DebugLogger",
    "FallbackStrategy",
    "FunctionCall",
    "LLMError",
    "LLMManager",
    "LLMProviderRegistry",
    "LLMResponse",
    "LLMResponseChunk",
    "LoadBalancer",
    "Message",
    "MetricsCollector",
    "ModelNotFoundError",
    "NetworkError",
    "ProviderError",
    "ProviderState",
    "ProviderUnavailableError",
    "RateLimitError",
    "ResponseNormalizer",
    "TokenLimitError",
    "ToolCall",
    "ValidationError",
    "__version__",
    "get_llm_manager",
    "set_llm_manager",
]

_ERRORS = "sidecar.model.errors"
_CHAT = "sidecar.model.chat"
_HOMES = {
    "AllProvidersFailedError": _ERRORS,
    "AuthenticationError": _ERRORS,
    "BaseCallbackHandler": "sidecar.manager.callbacks",
    "ConfigurationError": _ERRORS,
    "ConfigurationManager": "sidecar.sources.configuration",
    "DebugLogger": "sidecar.observe.log",
    "FallbackStrategy": "sidecar.manager.strategy",
    "FunctionCall": _CHAT,
    "LLMError": _ERRORS,
    "LLMManager": "sidecar.manager",
    "LLMProviderRegistry": "sidecar.upstream.registry",
    "LLMResponse": _CHAT,
    "LLMResponseChunk": _CHAT,
    "LoadBalancer": "sidecar.manager.balancing",
    "Message": _CHAT,
    "MetricsCollector": "sidecar.observe.metrics",
    "ModelNotFoundError": _ERRORS,
    "NetworkError": _ERRORS,
    "ProviderError": _ERRORS,
    "ProviderState": "sidecar.manager.state",
    "ProviderUnavailableError": _ERRORS,
    "RateLimitError": _ERRORS,
    "ResponseNormalizer": "sidecar.dialects.openai_reading",
    "TokenLimitError": _ERRORS,
    "ToolCall": _CHAT,
    "ValidationError": _ERRORS,
    "get_llm_manager": "sidecar.manager.shared",
    "set_llm_manager": "sidecar.manager.shared",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sidecar' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
