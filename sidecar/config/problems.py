"""What is wrong with a config, where, and what was probably meant: knows places and words, no rules.

Every check reports here and goes on, so that one run tells everything there is to mend.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from sidecar.model.errors import ConfigurationError
from sidecar.model.slips import slips

__all__ = ["ConfigErrors", "ConfigProblem", "Place", "Problems", "child", "hint", "item", "nearest"]

_SHOWN = 12  # of the known names, when none is near
_MOST = 1000  # problems


class Place(NamedTuple):
    """A position in a source, counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class ConfigProblem(msgspec.Struct, frozen=True):
    """One thing that is wrong; its text says where, what was found, and what would be right."""

    file: str
    line: int
    column: int
    path: str  # the key, such as "routes.fast.chain[0]"; empty for the file as a whole
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class ConfigErrors(ConfigurationError):  # noqa: N818 - it stands for several
    """A config that cannot be used, with everything that is wrong with it in the order of the files."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Problems:
    """Collects problems and warnings while one config is loaded, and knows the place of every path."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.warnings: list[str] = []
        self._found: list[ConfigProblem] = []

    def add(self, path: str, message: str, place: Place | None = None) -> None:
        """Report a problem; without a place it is that of the path, or of the nearest key above it.

        Raises:
            ConfigErrors: When there are so many that whoever reads them learns nothing more, and whoever
                made them on purpose must not keep us busy.
        """
        place = place or self._place(path)
        self._found.append(ConfigProblem(place.file, place.line, place.column, path, message))
        if len(self._found) == _MOST:
            self._found.append(ConfigProblem(place.file, place.line, place.column, "", "and more; mend these first"))
            raise ConfigErrors(self._found)

    def within(self, path: str) -> bool:
        """Whether something inside the path was reported."""
        return any(problem.path.startswith(path) for problem in self._found)

    def warn(self, path: str, message: str) -> None:
        """Note what is probably not meant but can be run."""
        self.warnings.append(f"{path}: {message}")

    def check(self, order: Sequence[str]) -> None:
        """Raise if there were problems, sorted by the order of the files, then by line.

        Raises:
            ConfigErrors: With all of them.
        """
        if not self._found:
            return
        rank = {name: number for number, name in enumerate(order)}
        raise ConfigErrors(sorted(self._found, key=lambda p: (rank.get(p.file, len(rank)), p.line, p.column)))

    def _place(self, path: str) -> Place:
        while path:
            if path in self.places:
                return self.places[path]
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.places.get("", Place("config", 1, 1))


def child(path: str, key: str) -> str:
    """The path of a key in a map."""
    return f"{path}.{key}" if path else key


def item(path: str, index: int) -> str:
    """The path of a list's item."""
    return f"{path}[{index}]"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant: at most two slips away, in short words one, in the shortest none."""
    limit = 2 if len(word) > 4 else 1 if len(word) > 2 else 0
    lower = word.lower()
    best = min(((slips(lower, name.lower(), limit), name) for name in known), default=None)
    return best[1] if best is not None and best[0] <= limit else None


def hint(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: what was meant, or what there is."""
    names = sorted(known)
    if not names:
        return ""
    meant = nearest(word, names)
    if meant is not None:
        return f'; did you mean "{meant}"?'
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"; known: {', '.join(names[:_SHOWN])}{more}"
