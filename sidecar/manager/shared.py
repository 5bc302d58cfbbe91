"""The one manager that a program may share; made at first use, or set."""

from __future__ import annotations

from sidecar.manager.manager import LLMManager

__all__ = ["get_llm_manager", "set_llm_manager"]

_shared: LLMManager | None = None


def get_llm_manager() -> LLMManager:
    """The shared manager; the first call makes it from the config or the environment.

    Raises:
        ConfigurationError: When the config is not right.
    """
    global _shared  # noqa: PLW0603 - the API asks for one shared instance, and this is its only home
    if _shared is None:
        _shared = LLMManager()
    return _shared


def set_llm_manager(manager: LLMManager) -> None:
    """Let `get_llm_manager` give this one from now on; the one before is not cleaned up."""
    global _shared  # noqa: PLW0603 - see get_llm_manager
    _shared = manager
