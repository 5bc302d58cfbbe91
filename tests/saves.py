"""The ways in which files are saved in the world, as their system calls go: each is `(path, text) -> None`.

Whatever a way left behind, any other can follow it, so that a test may go through all of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

__all__ = [
    "SAVES",
    "atomic_rename",
    "configmap_swap",
    "delete_recreate",
    "emacs",
    "same_size_mtime",
    "sed_in_place",
    "symlink_edit",
    "symlink_retarget",
    "truncate_write",
    "vim",
]

_GAP_S = 0.03  # between two system calls of one save: long enough to be caught in the middle


def truncate_write(path: Path, text: str) -> None:
    """The shell's `>`, and most programs: the same inode, empty for a moment."""
    with open(path, "w") as file:
        file.flush()
        file.write(text[: len(text) // 2])
        file.flush()
        time.sleep(_GAP_S)
        file.write(text[len(text) // 2 :])


def atomic_rename(path: Path, text: str) -> None:
    """A temporary file in the same directory, renamed over the old one."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def sed_in_place(path: Path, text: str) -> None:
    """The real `sed -i`, replacing all lines."""
    with tempfile.NamedTemporaryFile("w", suffix=".new") as new:
        new.write(text)
        new.flush()
        subprocess.run(["sed", "-i", "-e", f"1r {new.name}", "-e", "d", str(path)], check=True, timeout=5)


def vim(path: Path, text: str) -> None:
    """Probe `4913`, the old file renamed to a backup, a new file, the backup removed (`writebackup`)."""
    if path.is_symlink():  # vim then copies the backup and writes through the link
        shutil.copy2(path, f"{path}~")
        truncate_write(path, text)
        os.unlink(f"{path}~")
        return
    swap = path.with_name(f".{path.name}.swp")
    swap.write_bytes(b"b0VIM 9.0")
    probe = path.with_name("4913")
    os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o100644))
    os.unlink(probe)
    backup = f"{path}~"
    os.rename(path, backup)
    time.sleep(_GAP_S)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(path, 0o644)
    os.unlink(backup)
    swap.unlink()


def emacs(path: Path, text: str) -> None:
    """A lock that is a dangling link, an auto-save file, the old file renamed to a backup that stays, a new file."""
    path = path.resolve()
    lock = path.with_name(f".#{path.name}")
    os.symlink("me@host.4711:1700000000", lock)
    auto_save = path.with_name(f"#{path.name}#")
    auto_save.write_text(text)
    os.rename(path, f"{path}~")
    time.sleep(_GAP_S)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
    auto_save.unlink()
    lock.unlink()


def delete_recreate(path: Path, text: str) -> None:
    """Gone, and a moment later there again."""
    os.unlink(path)
    time.sleep(_GAP_S)
    path.write_text(text)


def configmap_swap(path: Path, text: str) -> None:
    """The kubelet's atomic writer: a new hidden directory, and `..data` renamed to point to it."""
    data = path.with_name("..data")
    old = os.readlink(data) if data.is_symlink() else None
    new = Path(tempfile.mkdtemp(prefix="..2026_", dir=path.parent))
    (new / path.name).write_text(text)
    temporary = path.with_name("..data_tmp")
    os.symlink(new.name, temporary)
    os.replace(temporary, data)
    user_visible = f"..data/{path.name}"
    if not path.is_symlink() or os.readlink(path) != user_visible:
        path.unlink(missing_ok=True)
        os.symlink(user_visible, path)
    if old:
        shutil.rmtree(path.with_name(old))


def symlink_edit(path: Path, text: str) -> None:
    """The file that a link points to, in another directory, is written in place."""
    truncate_write(_linked(path), text)


def symlink_retarget(path: Path, text: str) -> None:
    """The link is replaced by one to another file in another directory, as `ln -sfT` does."""
    target = Path(tempfile.mkdtemp(prefix="release-", dir=_linked(path).parent)) / path.name
    target.write_text(text)
    temporary = path.with_name(path.name + ".link")
    os.symlink(target, temporary)
    os.replace(temporary, path)


def _linked(path: Path) -> Path:
    """What the link points to; makes it one, to the same text outside of its directory, if it is none."""
    target = path.resolve()
    if not path.is_symlink() or target.parent.parent == path.parent:
        target = Path(tempfile.mkdtemp(prefix="linked-", dir=path.parent.parent)) / path.name
        target.write_text(path.read_text())
        temporary = path.with_name(path.name + ".link")
        os.symlink(target, temporary)
        os.replace(temporary, path)
    return target


def same_size_mtime(path: Path, text: str) -> None:
    """Written in place with the size and the modification time of before; shorter text is padded."""
    before = path.stat()
    data = text.encode()
    if len(data) > before.st_size:
        raise ValueError(f"{len(data)} bytes do not fit into the {before.st_size} of before")
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, data.ljust(before.st_size, b"\n"), 0)
        os.utime(descriptor, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(descriptor)


SAVES: tuple[Callable[[Path, str], None], ...] = (
    truncate_write,
    atomic_rename,
    sed_in_place,
    vim,
    emacs,
    delete_recreate,
    configmap_swap,
    symlink_edit,
    symlink_retarget,
    same_size_mtime,
)
