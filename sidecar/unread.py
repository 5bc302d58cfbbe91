"""Packages whose own first file is left unread: knows how a submodule is imported without it, and when not.

Some libraries import all they have in the `__init__` of their package. aiohttp's brings its client, which
builds two TLS contexts with every authority of the system before anybody has asked for one; structlog's
its tracebacks and its test tools; watchfiles' the means to run other processes. For a daemon that uses one
part of each that is a third of its start, and megabytes at rest.

A package that is left unread is put in place with an empty namespace, and its submodules are imported as
ever. Whoever asks it for more than submodules (`aiohttp.ClientSession`) has the file run then, and finds
what it has always had. Where the package was imported before, nothing is done.
"""

from __future__ import annotations

import re
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType

__all__ = ["leave_unread"]

_VERSION = re.compile(r'__version__ = "([^"]+)"')  # in the first line: aiohttp's submodules take it from there


class _Unread(ModuleType):
    """The package until something of its first file is asked for; from then on a module like any other."""

    __spec__: ModuleSpec

    def __getattr__(self, name: str) -> object:
        # The import system asks whether a submodule is there before it imports it.
        if find_spec(f"{self.__name__}.{name}") is not None:
            raise AttributeError(name)
        assert self.__spec__.loader is not None  # a package with a file
        self.__class__ = ModuleType  # type: ignore[assignment] # is how a module's class is changed
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def leave_unread(name: str) -> None:
    """Have only those submodules of a package imported that are asked for; comes before its first import."""
    spec = None if name in sys.modules else find_spec(name)
    if spec is None or spec.origin is None:
        return
    package = module_from_spec(spec)
    with open(spec.origin, encoding="utf-8") as file:
        if version := _VERSION.match(file.readline()):
            package.__dict__["__version__"] = version[1]
    package.__class__ = _Unread
    sys.modules[name] = package
