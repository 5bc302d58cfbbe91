"""Lists of models in the shapes that the vendors' SDKs read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

import msgspec

from sidecar.dialects.anthropic_count import model_info, models_page
from sidecar.model.topology import Dialect

__all__ = ["LISTINGS", "Listing", "listed"]

_PREFIXES = ("/v1/models", "/v1beta/models")
_VERBS = ["generateContent", "countTokens", "embedContent"]

_Model = Mapping[str, Any]


class Listing(msgspec.Struct, frozen=True):
    """One vendor's shape."""

    model: Callable[[_Model], _Model]  # of one, as OpenAI shows it, in this shape
    page: Callable[[Sequence[_Model]], _Model]  # of all


def listed(path: str) -> str | None:
    """The model that a path names, "" for that of all; None when it is no such path."""
    for prefix in _PREFIXES:
        if path == prefix or path.startswith(f"{prefix}/"):
            return unquote(path[len(prefix) + 1 :])
    return None


def _openai(models: Sequence[_Model]) -> _Model:
    return {"object": "list", "data": models}


def _of_anthropic(model: _Model) -> _Model:
    return model_info(model["id"])


def _anthropic(models: Sequence[_Model]) -> _Model:
    return models_page(model["id"] for model in models)


def _of_gemini(model: _Model) -> _Model:
    return {"name": f"models/{model['id']}", "displayName": model["id"], "supportedGenerationMethods": _VERBS}


def _gemini(models: Sequence[_Model]) -> _Model:
    return {"models": [*map(_of_gemini, models)]}


LISTINGS: Mapping[Dialect, Listing] = MappingProxyType(
    {
        Dialect.OPENAI_CHAT: Listing(dict, _openai),
        Dialect.OPENAI_RESPONSES: Listing(dict, _openai),
        Dialect.ANTHROPIC_MESSAGES: Listing(_of_anthropic, _anthropic),
        Dialect.GEMINI_GENERATE: Listing(_of_gemini, _gemini),
    }
)
