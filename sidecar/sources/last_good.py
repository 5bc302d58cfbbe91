"""The last config that was in force, kept over a restart; knows its texts, and no secret.

What is kept is what was written: the texts with their references, from which a start makes a snapshot
anew. No key that a reference led to is in it, but a text may hold one itself: the file is for its owner
alone. It lies in the service manager's state directory, and without such a directory nothing is kept.

The file is replaced whole. One that cannot be read, or that a later version wrote, counts as none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from sidecar.config import Source
from sidecar.sources.configuration import Written

__all__ = ["Kept", "LastGood"]

_NAME = "last-good-config.json"
_FORM = 1  # raised when `Kept` changes so that an older version cannot read it


class Kept(msgspec.Struct, frozen=True):
    """A config as it was when it came into force."""

    sources: tuple[Source, ...]
    directory: str
    at: datetime
    form: int = _FORM

    @property
    def written(self) -> Written:
        """Its texts."""
        return Written(self.sources, self.directory)


class LastGood:
    """The place where one is kept.

    Args:
        directory: Ours to write in.
    """

    def __init__(self, directory: str) -> None:
        self._path = Path(directory, _NAME)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> LastGood | None:
        """In the first of the service's state directories; None when it has none."""
        directory = environ.get("STATE_DIRECTORY", "").partition(":")[0]
        return cls(directory) if os.path.isabs(directory) else None

    def recall(self) -> Kept | None:
        """What was kept last."""
        with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            kept = msgspec.json.decode(self._path.read_bytes(), type=Kept)
            return kept if kept.form == _FORM else None
        return None

    def keep(self, written: Written) -> None:
        """Keep this one from now on.

        Raises:
            OSError: When it cannot be written; the one before is still kept.
        """
        before = self.recall()
        if before is not None and before.written == written:
            return
        fresh = self._path.with_suffix(".new")
        data = msgspec.json.encode(Kept(*written, datetime.now(UTC)))
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(self._path)
