"""The dialects by name; each is loaded when it is first needed, for most daemons need one or two."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import cast

from sidecar.dialects.dialect import Codec, ProviderCodec
from sidecar.model.topology import ClientDialect, Dialect

__all__ = ["codec", "provider_codec"]

_MODULES: Mapping[Dialect, str] = MappingProxyType(
    {
        Dialect.OPENAI_CHAT: "openai_chat",
        Dialect.OPENAI_RESPONSES: "openai_responses",
        Dialect.ANTHROPIC_MESSAGES: "anthropic_messages",
        Dialect.GEMINI_GENERATE: "gemini_generate",
        Dialect.BEDROCK_CONVERSE: "bedrock_converse",
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
