"""Binds the addresses of the config: TCP on loopback, and Unix sockets done right.

asyncio, uvloop and aiohttp silently take over the path of a live daemon's socket and leave its mode to
the umask. So a path is locked and tried by a connection before it is bound, a stale file is removed, the
mode is set before anyone can connect, and at the end only our own inode is unlinked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import ipaddress
import os
import pwd
import socket
import stat
from pathlib import Path

from sidecar.model.errors import ConfigurationError
from sidecar.model.settings import ListenSettings

__all__ = ["BACKLOG", "Listener", "bind", "is_tcp", "numeric"]

BACKLOG = 4096


class Listener:
    """One bound socket; `close` gives its address back, if it was we who bound it.

    `port` is 0 of a Unix socket; `address` is how people write it.

    Args:
        settings: Of its address.
        sock: Listens.
        lock: On the path of a Unix socket that we bound; the path is ours to change and to remove.
    """

    def __init__(self, settings: ListenSettings, sock: socket.socket, lock: int | None = None) -> None:
        self.settings = settings
        self.socket = sock
        self._lock = lock
        self._path = settings.address.removeprefix("unix:") if lock is not None else None
        self._inode = _inode(self._path) if self._path else None
        host: str
        self.port: int
        host, self.port = sock.getsockname()[:2] if is_tcp(settings) else ("", 0)
        bound = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.address = bound if is_tcp(settings) else settings.address  # with the port that was really bound

    def change(self, settings: ListenSettings) -> None:
        """Take over other settings of the same address: a Unix socket's file gets their mode and group.

        Raises:
            ConfigurationError: When that cannot, or must not, be done; the settings are not taken over.
        """
        _check_reach(settings)
        if self._path is not None:
            _own(self._path, settings)
        self.settings = settings

    def close(self) -> None:
        """Close the socket, and unlink its file if it is still ours. Idempotent."""
        self.socket.close()
        if self._path is not None and _inode(self._path) == self._inode:
            Path(self._path).unlink(missing_ok=True)
        if self._lock is not None:
            _unlock(f"{self._path}.lock", self._lock)
            self._lock = None
        self._path = None


def is_tcp(settings: ListenSettings) -> bool:
    """Whether the address is `host:port` rather than `unix:/path`."""
    return not settings.address.startswith("unix:")


def numeric(address: str) -> str:
    """The address with `localhost` as the number that it is bound as: what two addresses are compared by."""
    return address.replace("localhost:", "127.0.0.1:", 1) if address.startswith("localhost:") else address


def _check_reach(settings: ListenSettings) -> None:
    """See that nobody can use the address who should not.

    Raises:
        ConfigurationError: When other machines can, without showing anything.
    """
    if settings.auth is not None or not is_tcp(settings):
        return
    if not ipaddress.ip_address(_endpoint(settings)[0]).is_loopback:
        raise ConfigurationError(
            f"listen: {settings.address} can be reached from other machines, so who may use it must show a token: "
            "add auth: {token_file: /path}; or use 127.0.0.1, [::1] or a Unix socket"
        )


def _endpoint(settings: ListenSettings) -> tuple[str, int]:
    host, _, port = numeric(settings.address).rpartition(":")
    return host.strip("[]"), int(port)


def bind(settings: ListenSettings) -> Listener:
    """A socket that listens.

    Raises:
        ConfigurationError: When it cannot; the message says why and what would help.
    """
    return _bind_tcp(settings) if is_tcp(settings) else _bind_unix(settings)


def _bind_tcp(settings: ListenSettings) -> Listener:
    _check_reach(settings)
    host, port = _endpoint(settings)
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            why = "another process listens there; stop it or choose another port"
        else:
            why = os.strerror(error.errno or 0)
        raise ConfigurationError(f"listen: cannot bind {settings.address}: {why}") from error
    return Listener(settings, sock)


def _bind_unix(settings: ListenSettings) -> Listener:
    path = settings.address.removeprefix("unix:")
    if len(os.fsencode(path)) > 107:  # sun_path of unix(7) holds 108 with its NUL
        raise ConfigurationError(f"listen: the path {path} is longer than the 107 bytes that a Unix socket's may have")
    try:
        Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = _locked(f"{path}.lock")
    except OSError as error:
        raise ConfigurationError(f"listen: cannot use {path}: {error.strerror}") from error
    if lock is None:
        raise _in_use(path)
    try:
        _take_over(path)
        sock = _listening(path, settings)
    except BaseException:
        _unlock(f"{path}.lock", lock)
        raise
    return Listener(settings, sock, lock)


def _locked(name: str) -> int | None:
    """A descriptor that holds the lock of that name; None while another process holds it.

    Whoever lets go of it removes the file first. So what was locked may have no name any more: then the
    name stands for another file, or for none, and that is the one to lock.
    """
    while True:
        lock = os.open(name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        if _inode(name) == _inode(lock):
            return lock
        os.close(lock)


def _unlock(name: str, lock: int) -> None:
    """Let go of a lock that we hold, and leave no file behind; a file of that name that is not ours stays."""
    if _inode(name) == _inode(lock):
        with contextlib.suppress(OSError):  # a directory that we may no longer write
            os.unlink(name)
    os.close(lock)


def _in_use(path: str) -> ConfigurationError:
    return ConfigurationError(f"listen: {path} is served by a running process; stop it or choose another path")


def _take_over(path: str) -> None:
    """Make sure that nobody serves there; remove what a dead daemon left."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(f"listen: {path} exists and is not a socket; remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.settimeout(1.0)
        try:
            knock.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            Path(path).unlink(missing_ok=True)
        except OSError:
            raise _in_use(path) from None
        else:
            raise _in_use(path)


def _listening(path: str, settings: ListenSettings) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        _own(path, settings)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ConfigurationError(f"listen: cannot bind {path}: {error.strerror}") from error
    except ConfigurationError:
        sock.close()
        Path(path).unlink(missing_ok=True)
        raise
    return sock


def _own(path: str, settings: ListenSettings) -> None:
    """Give a socket's file its owner, group and mode: the mode last, so that it is never open to the wrong ones."""
    try:
        uid = -1 if settings.owner is None else pwd.getpwnam(settings.owner).pw_uid
    except KeyError:
        raise ConfigurationError(f"listen: {path}: there is no user {settings.owner!r}") from None
    try:
        gid = -1 if settings.group is None else grp.getgrnam(settings.group).gr_gid
    except KeyError:
        raise ConfigurationError(f"listen: {path}: there is no group {settings.group!r}") from None
    try:
        if (uid, gid) != (-1, -1):
            os.chown(path, uid, gid, follow_symlinks=False)
        os.chmod(path, settings.mode)
    except OSError as error:
        raise ConfigurationError(f"listen: {path}: cannot set its mode, owner or group: {error.strerror}") from error


def _inode(file: str | int) -> tuple[int, int] | None:
    try:
        found = os.fstat(file) if isinstance(file, int) else os.stat(file, follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino
