"""Where the config files are that come with the program."""

from __future__ import annotations

from pathlib import Path

__all__ = ["shipped"]

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(name: str) -> Path:
    """The file of that name: beside the package's modules once installed, in `config/` of a checkout."""
    installed = _PACKAGE / name
    return installed if installed.is_file() else _PACKAGE.parent / "config" / name
