"""A config edit on its way into force: read, decode, compile, swap; the old one stays on any error.

Two ways lead here, the watcher's and the operator's (`reload`); they never overlap. A text that was
rejected is remembered, so that one bad save is one log line however often it is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

import msgspec

from sidecar.manager import LLMManager
from sidecar.model.errors import ConfigurationError
from sidecar.model.topology import Snapshot
from sidecar.sources.start import problems_of
from sidecar.sources.watch import Watcher

__all__ = ["Reloaded", "Reloader"]


class Reloaded(msgspec.Struct, frozen=True):
    """What came of one look at the config."""

    applied: bool
    changed: bool
    generation: int
    problems: tuple[str, ...] = ()


class Reloader:
    """Keeps a manager's snapshot equal to the config on disk.

    Args:
        manager: Whose snapshot it is.
        take_over: Brings a snapshot into force; raises `ConfigurationError`, and changes nothing, when
            that cannot be done.
        around: Entered for every look at the config.
        rejected: What is wrong with the config on disk already, so that the manager began with another.
    """

    def __init__(
        self,
        manager: LLMManager,
        take_over: Callable[[Snapshot], Awaitable[None]],
        *,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
        rejected: tuple[str, ...] = (),
    ) -> None:
        self._manager = manager
        self._take_over = take_over
        self._around = around
        self._turn = asyncio.Lock()
        self._rejected = rejected
        # What the manager began with is not the config on disk, even if that is mended to the same text.
        self._digest = None if rejected else manager.snapshot.digest
        self.rejected_at = datetime.now(UTC) if rejected else None

    @property
    def successful(self) -> bool:
        """Whether the config on disk is the one in force."""
        return not self._rejected

    @property
    def rejected(self) -> tuple[str, ...]:
        """What is wrong with it, one text for each thing."""
        return self._rejected

    def status(self) -> dict[str, Any]:
        """For `status`: what is wrong with the config on disk, if anything is."""
        return {
            "last_reload_successful": self.successful,
            "rejected": list(self._rejected),
            "rejected_at": self.rejected_at.isoformat() if self.rejected_at else None,
        }

    async def run(self) -> None:
        """Follow the files until cancelled."""
        async with Watcher(self._manager.configuration.fingerprints, lose=self._lose) as watcher:
            async for _ in watcher:
                await self.reload()

    def _lose(self, unreadable: Mapping[str, str]) -> None:
        manager = self._manager
        before = manager.lost
        manager.lost = {path: f"{why}; what was read before stays in force" for path, why in unreadable.items()}
        for path in sorted(manager.lost.keys() - before.keys()):
            manager.log.event("warning", "config.warned", warning=manager.lost[path])
        known = manager.configuration.fingerprints()
        for path in sorted(before.keys() - manager.lost.keys()):
            if known.get(path) is not None:  # else a reload has told of it meanwhile, or needs it no more
                manager.log.event("info", "config.found", path=path)

    async def reload(self) -> Reloaded:
        """Look at the config now, and let it take over if it is new and right."""
        async with self._turn:
            with self._around():
                return await self._look()

    async def _look(self) -> Reloaded:
        try:
            snapshot = await asyncio.to_thread(self._manager.configuration.load)
            changed = snapshot.digest != self._digest or not snapshot.digest
            if changed:
                await self._take_over(snapshot)
                self._digest = snapshot.digest
        except ConfigurationError as error:
            return self._reject(error)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end the watch: the next edit may not meet it
            context = {"message": "an edit of the config failed by a bug", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            return self._reject(ConfigurationError(f"the sidecar failed: {type(error).__name__}; its log tells more"))
        self._rejected, self.rejected_at = (), None
        return Reloaded(applied=True, changed=changed, generation=self._manager.snapshot.generation)

    def _reject(self, error: ConfigurationError) -> Reloaded:
        problems = problems_of(error)
        if problems != self._rejected:
            self._rejected, self.rejected_at = problems, datetime.now(UTC)
            self._manager.log.event(
                "error", "config.rejected", problems=list(problems), kept=self._manager.snapshot.generation
            )
        return Reloaded(applied=False, changed=False, generation=self._manager.snapshot.generation, problems=problems)
