"""What would flood the log is said at most so often a second, and what was held back is counted.

Knows what was said in the current second; reads no clock: whoever owns a window says when it ends.

Two floods are known. A chain whose first target is open passes it over on every request: of such
`skipped` attempts the first of a window is said at once, the others become one line with their
`count` when the window ends, and that line is the first of the next. A client that sends rubbish gets
a few lines for each kind of rubbish, then a number.
"""

from __future__ import annotations

from sidecar.model.records import AttemptRecord

__all__ = ["Window"]

_MAX_SKIPPED = 1000
_MAX_KEYS = 256
_LINES_PER_KEY = 10
_REST = "*"

_Passed = tuple[str | None, str | None, str | None]


class _Held:
    __slots__ = ("count", "record")

    def __init__(self, record: AttemptRecord) -> None:
        self.record = record
        self.count = 0


class Window:
    """One second's memory."""

    def __init__(self) -> None:
        self._skipped: dict[_Passed, _Held] = {}
        self._limited: dict[str, int] = {}

    def admits(self, record: AttemptRecord) -> bool:
        """Whether a skipped attempt is said now; else it is counted, and the latest of its kind is kept."""
        key = (record.target, record.breaker_before, record.skipped)
        held = self._skipped.get(key)
        if held is None:
            if len(self._skipped) < _MAX_SKIPPED:
                self._skipped[key] = _Held(record)
            return True
        held.record = record
        held.count += 1
        return False

    def limited(self, key: str) -> bool:
        """Whether this key has had its lines; keys beyond the first few hundred share one count."""
        if key not in self._limited and len(self._limited) >= _MAX_KEYS:
            key = _REST
        said = self._limited.get(key, 0)
        self._limited[key] = said + 1
        return said >= _LINES_PER_KEY

    def roll(self) -> tuple[list[tuple[AttemptRecord, int]], list[tuple[str, int]]]:
        """End the window and begin the next.

        Returns:
            The skipped attempts that were held back, each the latest of its kind with how many there
            were; and the keys that were limited, with how many of their lines are missing.
        """
        skipped, self._skipped = self._skipped, {}
        limited, self._limited = self._limited, {}
        held = [(key, entry) for key, entry in skipped.items() if entry.count]
        for key, entry in held:
            self._skipped[key] = _Held(entry.record)
        missing = [(key, said - _LINES_PER_KEY) for key, said in limited.items() if said > _LINES_PER_KEY]
        return [(entry.record, entry.count) for _, entry in held], missing

    @property
    def empty(self) -> bool:
        """Whether there is nothing to remember."""
        return not self._skipped and not self._limited
