"""The dialects by name; each is loaded when it is first needed, for most daemons need one or two."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import cast

from sidecar.dialects.dialect import Codec
from sidecar.model.topology import Dialect

__all__ = ["codec"]

_MODULES: Mapping[Dialect, str] = MappingProxyType(
    {
        Dialect.OPENAI_CHAT: "openai_chat",
        Dialect.OPENAI_RESPONSES: "openai_responses",
        Dialect.ANTHROPIC_MESSAGES: "anthropic_messages",
        Dialect.GEMINI_GENERATE: "gemini_generate",
    }
)


@cache
def codec(dialect: Dialect) -> Codec:
    """The dialect's eight functions."""
    return cast(Codec, import_module(f"sidecar.dialects.{_MODULES[dialect]}"))
