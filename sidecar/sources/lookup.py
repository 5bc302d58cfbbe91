"""What `${NAME}`, `${file:/path}` and `${credential:name}` stand for, and the files that others read; knows no config.

One lookup serves one load, so that a reference met twice means one thing, and remembers the
fingerprint of every file it was asked for, missing ones included: the watcher starts from those.
Credentials are the service manager's snapshot from its start, and so are not watched.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from types import MappingProxyType

from sidecar.config import Stamp
from sidecar.model.secret import Secret
from sidecar.sources.files import MAX_KEY_BYTES, UnreadableError, decode, fingerprint, read_bytes

__all__ = ["SystemLookup"]


class SystemLookup:
    """Resolves the references of one load against this system.

    Args:
        environment: Where `${NAME}` and `$CREDENTIALS_DIRECTORY` come from.
        directory: What a relative path is relative to.
    """

    def __init__(self, environment: Mapping[str, str], directory: str) -> None:
        self._environment = environment
        self._directory = directory
        self._texts: dict[str, Secret] = {}
        self._fingerprints: dict[str, str | None] = {}

    @property
    def fingerprints(self) -> Mapping[str, str | None]:
        """Every file that was asked for and its fingerprint; None for one that could not be read."""
        return MappingProxyType(self._fingerprints)

    @property
    def keys(self) -> tuple[str, ...]:
        """Those of them whose text was asked for: a key, most often."""
        return tuple(self._texts)

    def env(self, name: str) -> str | None:
        """A variable's value."""
        return self._environment.get(name)

    def file(self, path: str) -> str:
        """A file's text without one trailing newline.

        Raises:
            LookupError: It cannot be read; the message says why and what to do.
        """
        path = os.path.join(self._directory, path)
        if path not in self._texts:
            self._texts[path] = Secret(self._read(path))
        return self._texts[path].reveal()

    def stamp(self, path: str) -> Stamp:
        """Where a file is that others read, such as a certificate, and the fingerprint of its content.

        Raises:
            LookupError: It cannot be read; the message says why and what to do.
        """
        path = os.path.join(self._directory, path)
        try:
            return Stamp(path, self._fingerprints.get(path) or self._look(path)[1])
        except UnreadableError as error:
            raise LookupError(str(error)) from error

    def installed(self, module: str) -> bool:
        """Whether an optional library is there; it is not imported."""
        try:
            return importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # not even the package that it is a part of
            return False

    def _read(self, path: str) -> str:
        try:
            return _value(path, self._look(path)[0])
        except UnreadableError as error:
            raise LookupError(str(error)) from error

    def _look(self, path: str) -> tuple[bytes, str]:
        """A file's content and fingerprint; what is not there is remembered as well."""
        if "\0" in path:  # nor could anybody watch it
            raise UnreadableError(f"{path!r}: no path holds a NUL; correct it")
        self._fingerprints[path] = None
        data = read_bytes(path)
        self._fingerprints[path] = found = fingerprint(((path, data),))
        return data, found

    def credential(self, name: str) -> str:
        """A credential's text without one trailing newline.

        Raises:
            LookupError: There is none; the message says why and what to do.
        """
        directory = self._environment.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise LookupError(
                f"credential {name!r}: $CREDENTIALS_DIRECTORY is not set; "
                f"give the unit LoadCredential={name}:/path, or use ${{file:/path}}"
            )
        if not name or "/" in name or "\0" in name or name in {".", ".."}:
            raise LookupError(f"credential {name!r}: a name without slashes is expected")
        path = os.path.join(directory, name)
        try:
            return _value(path, read_bytes(path))
        except UnreadableError as error:
            raise LookupError(f"credential {name!r}: {error}") from error


def _value(path: str, data: bytes) -> str:
    """The text; one newline at the end is the editor's, not the key's."""
    text = decode(path, data, limit_bytes=MAX_KEY_BYTES).removesuffix("\n").removesuffix("\r")
    if not text:
        raise UnreadableError(f"{path}: the file is empty; write the key into it")
    return text
