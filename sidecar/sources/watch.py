"""Says when the content of watched files has changed; knows no config, and reads nothing but hashes.

Events are hints, content is the truth. No event is trusted to name the file or the time: editors
rename, a mounted ConfigMap swaps a link two levels up, and a file system may have no events at all.
So every hint, and every tick without one, reads all files and hashes them. A change is a fingerprint
that differs from the known one and is the same in two reads `settle_s` apart: what is half written
differs again. What cannot be read counts as unchanged, file by file, so that a key that is gone does
not hide an edit of the config; that it is gone is told, though, once that has settled as well.

Watched are directories, not files: a watch on a file stays with the inode that was just replaced.
For a path these are its parent and the parent of what it really is, and the directory itself if it is
one; when one of them is another directory than before, all watches are made anew.

Hints come from one thread that waits in the operating system. When it cannot (no inotify instances or
watches left, a file system without them) it ends, ticks go on alone, and the next tick tries again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple, Self

from sidecar.sources.files import UnreadableError, contents, fingerprint
from sidecar.sources.hints import Hints

__all__ = ["Watcher"]

_JOIN_STEP_S = 0.005
_JOIN_STEPS = 200


class _Sight(NamedTuple):
    """What one look at all paths saw."""

    fingerprints: Mapping[str, str]  # of what could be read
    unreadable: Mapping[str, str]  # why, for what could not
    directories: Mapping[tuple[int, int], str]  # to watch, by device and inode

    def says_as(self, other: _Sight) -> bool:
        """Whether that one saw the same contents."""
        return (self.fingerprints, self.unreadable) == (other.fingerprints, other.unreadable)


class Watcher:
    """An asynchronous iterator over changes, running between `async with` and its end.

    Each item is the paths whose content changed. One caller iterates.

    Args:
        known: Gives the paths to watch and the fingerprint that each had when it was last used, None for
            one that could not be read. Asked before every look, so that a reload may change the paths, and
            a file that was edited between its reading and the first look is still seen.
        tick_s: How often to look without a hint.
        settle_s: How long a content must stay the same, and the least time between two looks.
        lose: Told why, for each path that could be read when it was last used and cannot be now, whenever
            these are others than before.
    """

    def __init__(
        self,
        known: Callable[[], Mapping[str, str | None]],
        *,
        tick_s: float = 2.0,
        settle_s: float = 0.1,
        lose: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> None:
        self._watched = known
        self._lose = lose
        self._tick_s = tick_s
        self._settle_s = settle_s
        self._told: Mapping[str, str | None] = {}
        self._known: Mapping[str, str | None] = {}
        self._lost: Mapping[str, str] = {}
        self._armed: Mapping[tuple[int, int], str] = {}
        self._hinted = asyncio.Event()
        self._hints: Hints | None = None
        self._ending: list[Hints] = []
        self._last_look_s = float("-inf")

    @property
    def blind(self) -> str | None:
        """Why there are no hints, so that a change is seen only at a tick; None while there are."""
        return self._hints.problem if self._hints else "not watching yet"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._disarm()
        for _step in range(_JOIN_STEPS):
            if not any(hints.alive for hints in self._ending):
                return
            await asyncio.sleep(_JOIN_STEP_S)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, ...]:
        """The paths whose content has changed, once it has settled."""
        previous: _Sight | None = None
        while True:
            sight = await self._look()
            changed = tuple(path for path, found in sight.fingerprints.items() if found != self._known[path])
            lost = {path: why for path, why in sight.unreadable.items() if self._known[path] is not None}
            if not changed and lost == self._lost:
                previous = None
                await self._hint_or_tick()
                continue
            if previous is None or not sight.says_as(previous):
                previous = sight
                await asyncio.sleep(self._settle_s)
                continue
            if lost != self._lost:
                self._lost = lost
                self._lose(lost)
            if changed:
                self._known = {**self._known, **sight.fingerprints}
                return changed

    async def _look(self) -> _Sight:
        watched = self._watched()
        # What the user has read since the last look counts: most of all a file that it did not find, whose
        # old content is then news again. Otherwise what was reported last is known.
        told, self._told = self._told, dict(watched)
        self._known = {
            path: self._known[path] if path in told and told[path] == found else found
            for path, found in watched.items()
        }
        self._hinted.clear()
        self._last_look_s = asyncio.get_running_loop().time()
        sight = await asyncio.to_thread(_look_at, tuple(watched))
        if self._hints is None or not self._hints.alive or sight.directories != self._armed:
            self._arm(sight.directories)
        return sight

    async def _hint_or_tick(self) -> None:
        try:
            async with asyncio.timeout(self._tick_s):
                await self._hinted.wait()
        except TimeoutError:
            return
        # A directory in which others write all the time costs a look for each settle_s, not for each event.
        await asyncio.sleep(self._last_look_s + self._settle_s - asyncio.get_running_loop().time())

    def _arm(self, directories: Mapping[tuple[int, int], str]) -> None:
        problem = self.blind
        self._disarm()
        loop = asyncio.get_running_loop()

        def hint() -> None:
            loop.call_soon_threadsafe(self._hinted.set)

        self._hints = Hints(directories.values(), hint, problem=problem)
        self._armed = directories
        self._hints.start()

    def _disarm(self) -> None:
        self._ending = [hints for hints in self._ending if hints.alive]
        if self._hints:
            self._hints.stop()
            self._ending.append(self._hints)
            self._hints = None


def _look_at(paths: Iterable[str]) -> _Sight:
    fingerprints: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    directories: dict[tuple[int, int], str] = {}
    for path in paths:
        names: tuple[str, ...] = (path,)
        try:
            files = contents(path)
            fingerprints[path] = fingerprint(files)
            names += tuple(name for name, _ in files)
        except UnreadableError as error:
            unreadable[path] = str(error)
        for directory in _directories(names):
            try:
                status = os.stat(directory)
            except OSError:
                continue  # once it is there, the directories differ and are watched anew
            if os.access(directory, os.R_OK):  # one that may not be watched must not cost the others their hints
                directories.setdefault((status.st_dev, status.st_ino), directory)
    return _Sight(fingerprints, unreadable, directories)


def _directories(names: Iterable[str]) -> Iterator[str]:
    """Every directory in which a change can change what these names say."""
    for name in names:
        yield os.path.dirname(name)
        with suppress(OSError):  # a link that goes away while realpath follows it
            yield os.path.dirname(os.path.realpath(name))
        if os.path.isdir(name):
            yield name
