"""The dialects by name; each is loaded when it is first needed, for most daemons need one or two."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import cast

from sidecar.dialects.dialect import Codec, Errors, ProviderCodec, ProviderErrors
from sidecar.model.topology import ClientDialect, Dialect

__all__ = ["codec", "errors", "provider_codec", "provider_errors"]

_MODULES: Mapping[Dialect, str] = MappingProxyType(
    {
        Dialect.OPENAI_CHAT: "openai_chat",
        Dialect.OPENAI_RESPONSES: "openai_responses",
        Dialect.ANTHROPIC_MESSAGES: "anthropic_messages",
        Dialect.GEMINI_GENERATE: "gemini_generate",
        Dialect.BEDROCK_CONVERSE: "bedrock_converse",
    }
)

# What of them is needed as soon as anything fails, which is no time to load all of a dialect.
_ERRORS: Mapping[Dialect, str] = MappingProxyType(
    {
        Dialect.OPENAI_CHAT: "openai_errors",
        Dialect.OPENAI_RESPONSES: "openai_responses_errors",
        Dialect.ANTHROPIC_MESSAGES: "anthropic_errors",
        Dialect.GEMINI_GENERATE: "gemini_errors",
        Dialect.BEDROCK_CONVERSE: "bedrock_errors",
    }
)


@cache
def codec(dialect: ClientDialect) -> Codec:
    """The dialect's eight functions."""
    return cast(Codec, provider_codec(dialect))


@cache
def provider_codec(dialect: Dialect) -> ProviderCodec:
    """The four of them that face a provider."""
    return cast(ProviderCodec, import_module(f"sidecar.dialects.{_MODULES[dialect]}"))


@cache
def errors(dialect: ClientDialect) -> Errors:
    """How the dialect tells of failures."""
    return cast(Errors, provider_errors(dialect))


@cache
def provider_errors(dialect: Dialect) -> ProviderErrors:
    """How a provider of the dialect does."""
    return cast(ProviderErrors, import_module(f"sidecar.dialects.{_ERRORS[dialect]}"))
