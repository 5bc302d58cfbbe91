"""What an embedder may hang on a stream; a public Python name."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterable, Sequence

from sidecar.model.chat import LLMResponse, LLMResponseChunk, Message

__all__ = ["BaseCallbackHandler", "Callbacks"]


class BaseCallbackHandler:
    """Override what is of interest; every method may be plain or `async`."""

    def on_llm_start(self, run_id: str, messages: Sequence[Message], **kwargs: object) -> Awaitable[None] | None:
        """The request is about to be sent."""

    def on_llm_new_token(self, token: str, *, chunk: LLMResponseChunk, run_id: str) -> Awaitable[None] | None:
        """Some text has come."""

    def on_llm_end(self, response: LLMResponse, *, run_id: str) -> Awaitable[None] | None:
        """The answer is complete."""

    def on_llm_error(self, error: Exception, *, run_id: str) -> Awaitable[None] | None:
        """There is no answer, or it broke."""


class Callbacks:
    """The handlers of one stream, told in order."""

    def __init__(self, handlers: Iterable[BaseCallbackHandler], run_id: str) -> None:
        self._handlers = tuple(handlers)
        self._run_id = run_id

    async def started(self, messages: Sequence[Message], **kwargs: object) -> None:
        """Tell of the start."""
        for handler in self._handlers:
            await _awaited(handler.on_llm_start(self._run_id, messages, **kwargs))

    async def token(self, chunk: LLMResponseChunk) -> None:
        """Tell of new text."""
        for handler in self._handlers:
            await _awaited(handler.on_llm_new_token(chunk.delta, chunk=chunk, run_id=self._run_id))

    async def ended(self, response: LLMResponse) -> None:
        """Tell of the end."""
        for handler in self._handlers:
            await _awaited(handler.on_llm_end(response, run_id=self._run_id))

    async def failed(self, error: Exception) -> None:
        """Tell of the failure."""
        for handler in self._handlers:
            await _awaited(handler.on_llm_error(error, run_id=self._run_id))


async def _awaited(result: Awaitable[None] | None) -> None:
    if inspect.isawaitable(result):
        await result
