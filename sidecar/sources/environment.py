"""The process's environment, captured once; knows the variables, not what any of them means.

Every load and reload resolves `${NAME}` from the capture, so that a daemon may remove the secrets
from its own `os.environ` at start and still reload. An embedding application's environment is not
ours to change: only a process that is wholly the sidecar's calls `scrub`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping

from sidecar.model.secret import Secret

__all__ = ["Environment", "scrub"]


class Environment(Mapping[str, str]):
    """A copy of some environment; lives as long as the process, and its repr shows no value."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Secret]) -> None:
        self._values = dict(values)

    @classmethod
    def capture(cls, environ: Mapping[str, str]) -> Environment:
        """A copy of `environ` as it is now."""
        return cls({name: Secret(value) for name, value in environ.items()})

    def __getitem__(self, name: str) -> str:
        return self._values[name].reveal()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Environment({len(self)} variables)"


_SECRET_WORDS = re.compile(
    r"(?:^|_)(?:API_?KEYS?|KEYS?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE)(?:_|$)", re.IGNORECASE
)
_ONLY_A_PLACE = re.compile(r"_(?:FILE|PATH|DIR|DIRECTORY)$", re.IGNORECASE)


def scrub(environ: MutableMapping[str, str]) -> tuple[str, ...]:
    """Removes the variables whose names promise a secret; gives their names, in order.

    Done after a capture, so that no library, child process or dump of `os.environ` finds a key.
    """
    doomed = tuple(sorted(name for name in environ if _SECRET_WORDS.search(name) and not _ONLY_A_PLACE.search(name)))
    for name in doomed:
        del environ[name]
    return doomed
