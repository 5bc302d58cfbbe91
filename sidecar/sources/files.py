"""Reads config and key files, whole or not at all; knows bytes, not what they say.

Only regular files are read, whatever the path leads through: a pipe could block, a device never end.
A directory stands for its `*.yaml`, sorted by name. Hidden names are passed over as files, which
leaves out editors' locks and the `..data` machinery of a mounted ConfigMap; a visible name that links
into that machinery is read through it.

A fingerprint is the SHA-256 of names and contents. It answers one question: is it the same as before?
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sidecar.config import Source

__all__ = [
    "MAX_CONFIG_BYTES",
    "MAX_KEY_BYTES",
    "UnreadableError",
    "config_warnings",
    "contents",
    "decode",
    "digest",
    "fingerprint",
    "key_warning",
    "read",
    "read_bytes",
]

MAX_CONFIG_BYTES = 4 * 1024 * 1024  # of all files of one config together
MAX_KEY_BYTES = 64 * 1024


class UnreadableError(Exception):
    """A file cannot be had; the message names it and says what to do."""


def read(path: str, files: Sequence[tuple[str, bytes]]) -> tuple[Source, ...]:
    """The texts of the config at a path, of which `files` are the contents.

    Raises:
        UnreadableError: There is nothing, or something is empty, too large, or not UTF-8.
    """
    if not files:
        raise UnreadableError(f"{path}: the directory holds no *.yaml; put one there, or name a file")
    if sum(len(data) for _, data in files) > MAX_CONFIG_BYTES:
        raise UnreadableError(f"{path}: larger than {MAX_CONFIG_BYTES // 1024} KiB; is this the config?")
    return tuple(Source(name, _filled(name, data)) for name, data in files)


def _filled(path: str, data: bytes) -> str:
    text = decode(path, data, limit_bytes=MAX_CONFIG_BYTES)
    if not text.strip():
        raise UnreadableError(f"{path}: the file is empty; `sidecar init` writes one to start from")
    return text


def contents(path: str) -> tuple[tuple[str, bytes], ...]:
    """Path and bytes of the file at `path`, or of every `*.yaml` in the directory there, sorted.

    What is too large is cut just above the limit, so that it can be told from what was there before.

    Raises:
        UnreadableError: Something there cannot be read.
    """
    if not os.path.isdir(path):
        return ((path, read_bytes(path)),)
    return tuple((member, read_bytes(member)) for member in _members(path, ".yaml"))


def _members(directory: str, suffix: str) -> list[str]:
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise UnreadableError(f"{directory}: cannot be listed: {error.strerror}; {_remedy(error)}") from error
    return [str(Path(directory, name)) for name in sorted(names) if name.endswith(suffix) and not name.startswith(".")]


def read_bytes(path: str) -> bytes:
    """The content of a regular file, cut one byte above the largest that any file may have.

    Raises:
        UnreadableError: There is none, or not for us.
    """
    try:
        # Without O_NONBLOCK opening a pipe waits for its writer.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(mode := os.fstat(file.fileno()).st_mode):
                raise UnreadableError(f"{path}: is {_KINDS.get(stat.S_IFMT(mode), 'a device')}; name a regular file")
            return file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror}; {_remedy(error)}") from error


_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}

_REMEDIES = {
    errno.ENOENT: "correct the path, or put the file there",
    errno.EACCES: "let uid {uid} read it",
    errno.EPERM: "let uid {uid} read it",
    errno.EISDIR: "name a regular file",
    errno.ENXIO: "name a regular file",
    errno.ELOOP: "its links lead in a circle",
    errno.ENOTDIR: "a part of the path is a file",
}


def _remedy(error: OSError) -> str:
    return _REMEDIES.get(error.errno or 0, "check the disk and the path").format(uid=os.geteuid())


def decode(path: str, data: bytes, *, limit_bytes: int) -> str:
    """The text of a file's bytes.

    Raises:
        UnreadableError: There are more than `limit_bytes`, or they are not UTF-8.
    """
    if len(data) > limit_bytes:
        raise UnreadableError(f"{path}: larger than {limit_bytes // 1024} KiB; is this the right file?")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        found = "looks like UTF-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else f"found 0x{data[error.start]:02x}"
        raise UnreadableError(f"{path}: not UTF-8 at byte {error.start}: {found}; save the file as UTF-8") from error


def fingerprint(files: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 of names and contents; each is preceded by its length, so that nothing can move between them."""
    total = hashlib.sha256()
    for name, data in files:
        for part in (os.fsencode(name), data):
            total.update(len(part).to_bytes(8, "big"))
            total.update(part)
    return total.hexdigest()


def digest(sources: Iterable[Source], keys: Mapping[str, str | None]) -> str:
    """SHA-256 of everything a snapshot was made from: the texts, and the key files' fingerprints by path."""
    texts = [(source.name, source.text.encode()) for source in sources]
    return fingerprint([*texts, *((path, (found or "").encode()) for path, found in sorted(keys.items()))])


def config_warnings(path: str) -> tuple[str, ...]:
    """What is sloppy about a config's files: who may write them, and whether an edit can be seen."""
    return tuple(_config_warnings(path))


def _config_warnings(path: str) -> Iterator[str]:
    is_directory = os.path.isdir(path)
    for file in (path, *(_members(path, ".yaml") if is_directory else ())):
        if _mode(file) & stat.S_IWOTH:
            yield f"{file}: anybody can write the config; chmod o-w {file}"
    if is_directory:
        yield from (f"{file}: not read, only *.yaml is; rename it" for file in _members(path, ".yml"))
        return
    parent = os.path.dirname(path)
    if _mode(parent) & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
        yield f"{parent}: anybody can replace the config in it; chmod o-w {parent}"
    if _is_mount_point(path):
        yield f"{path}: the file itself is mounted, so a new one put in its place is never seen; mount its directory"


def key_warning(path: str) -> str | None:
    """What is sloppy about a key file's mode, if anything.

    That a group reads a file of somebody else's is fine: how else would a service without a fixed user read it?
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    sloppy = 0o066 if status.st_uid == os.geteuid() else 0o026
    if status.st_mode & sloppy:
        return f"{path}: others than the owner can read or write the key; chmod 0600 {path}"
    return None


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0


def _is_mount_point(path: str) -> bool:
    """Whether the path itself is mounted; `os.path.ismount` cannot tell for files of the same file system."""
    try:
        table = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return False
    escaped = path.replace("\\", "\\134").replace(" ", "\\040")
    return any(line.split(" ", 5)[4] == escaped for line in table.splitlines())
