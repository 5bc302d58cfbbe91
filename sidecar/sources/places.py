"""Where things are: the config, and the admin socket; knows paths, not what is in the files.

A place that somebody *named* (an option, a variable) is the place or an error; a place that is only
usual is taken when something is there. Once found, the absolute path is kept, so that neither a
later `chdir` nor a file that is missing for a moment makes a running process look elsewhere.

The usual places follow the XDG Base Directory specification 0.8.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from sidecar.model.errors import ConfigurationError

__all__ = ["Place", "admin_candidates", "default_admin_path", "find", "make_private_directory", "named"]

_NAME = "sidecar.yaml"
_SYSTEM_CONFIG = "/etc/sidecar/sidecar.yaml"
_SYSTEM_RUNTIMES = (Path("/run/sidecar/admin"), Path("/run/sidecar"))  # the unit's, and a natural one to name
_ADMIN = "admin.sock"


class Place(msgspec.Struct, frozen=True):
    """Where a config is: a file, or a directory of files."""

    path: str  # absolute; symlinks are not resolved, since they are there to be changed
    origin: str  # who named it, for messages: "--config", "$SIDECAR_CONFIG", or "found"

    @property
    def directory(self) -> str:
        """The directory that paths in the config are relative to."""
        return self.path if Path(self.path).is_dir() else str(Path(self.path).parent)


def find(explicit: str | None, env: Mapping[str, str]) -> Place | None:
    """The config's place: the named one, else the first usual one where something is; None without any.

    Raises:
        ConfigurationError: The named one is missing, or out of our reach.
    """
    if (place := named(explicit, env)) is not None:
        try:
            os.lstat(place.path)
        except PermissionError as error:
            raise ConfigurationError(
                f"{place.path}: permission denied (named by {place.origin}); let uid {os.geteuid()} read its directory"
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"{place.path}: no such file or directory (named by {place.origin}); correct the path"
            ) from error
        return place
    for path in _usual_configs(env):
        # A dangling link is something: reading it fails aloud, where skipping it would serve other routes.
        if os.path.lexists(path):
            return Place(str(path.absolute()), "found")
    return None


def named(explicit: str | None, env: Mapping[str, str]) -> Place | None:
    """The place that somebody named, whether or not something is there."""
    if explicit is not None:
        return Place(os.path.abspath(Path(explicit).expanduser()), "--config")
    if path := env.get("SIDECAR_CONFIG"):
        return Place(os.path.abspath(Path(path).expanduser()), "$SIDECAR_CONFIG")
    return None


def _usual_configs(env: Mapping[str, str]) -> Iterator[Path]:
    yield Path(_NAME)
    home = Path(env.get("HOME") or Path("~").expanduser())
    yield _absolute(env, "XDG_CONFIG_HOME", home / ".config") / "sidecar" / _NAME
    yield Path(_SYSTEM_CONFIG)


def _absolute(env: Mapping[str, str], name: str, default: Path) -> Path:
    """A base directory; the XDG specification has relative ones ignored."""
    path = Path(env.get(name, ""))
    return path if path.is_absolute() else default


def default_admin_path(env: Mapping[str, str]) -> str:
    """Where the admin socket is made when the config does not say; the directory may not exist yet.

    A service has a runtime directory of its own, if its unit says so.
    """
    own = env.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    directory = Path(own) if os.path.isabs(own) else _runtime_directory(env) or _temporary_directory()
    return str(directory / _ADMIN)


def admin_candidates(env: Mapping[str, str]) -> tuple[str, ...]:
    """Where a client looks for the admin socket, in order.

    `$SIDECAR_ADMIN` stands alone: whoever named one daemon must not reach another. A directory below
    `/tmp` counts only if it is our own, or anybody could put a socket of theirs in our way.
    """
    if named := env.get("SIDECAR_ADMIN"):
        return (named,)
    runtime, temporary = _runtime_directory(env), _temporary_directory()
    usual = (runtime, temporary if _is_private(temporary) else None, *_SYSTEM_RUNTIMES)
    return tuple(str(directory / _ADMIN) for directory in usual if directory)


def _runtime_directory(env: Mapping[str, str]) -> Path | None:
    """Ours below the user's runtime directory, if there is one that we may use."""
    usual = Path(f"/run/user/{os.getuid()}")
    bases = (_absolute(env, "XDG_RUNTIME_DIR", usual), usual)
    return next((base / "sidecar" for base in bases if os.access(base, os.W_OK | os.X_OK)), None)


def _temporary_directory() -> Path:
    return Path(f"/tmp/sidecar-{os.getuid()}")  # noqa: S108 - kept to ourselves by make_private_directory


def make_private_directory(path: str) -> None:
    """Makes the directory with mode 0700 if it is not there.

    Raises:
        ConfigurationError: It cannot be made, or what is there is not a directory of ours alone.
    """
    directory = Path(path)
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be made: {error.strerror}; name another `admin.listen`") from error
    if not _is_private(directory):
        raise ConfigurationError(
            f"{path}: must be a directory that belongs to uid {os.getuid()} and that nobody else can write; "
            "remove it, or name another `admin.listen`"
        )


def _is_private(directory: Path) -> bool:
    try:
        status = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
