"""Packages whose own first file is left unread: knows how a submodule is imported without it, and when not.

Some libraries import all they have in the `__init__` of their package. aiohttp's brings its client, which
builds two TLS contexts with every authority of the system before anybody has asked for one; structlog's
its tracebacks and its test tools; watchfiles' the means to run other processes. For a daemon that uses one
part of each that is a third of its start, and megabytes at rest.

A package that is left unread is put in place with an empty namespace, and its submodules are imported as
ever, by whoever asks for one as an attribute too. Whoever asks for more (`aiohttp.ClientSession`) has the
file run then, and finds what it has always had, in whatever thread. Where the package was imported before,
nothing is done.

That is for a process of our own: in one that only uses our Python API the packages are the app's as well.
"""

from __future__ import annotations

import re
import sys
import threading
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType

__all__ = ["leave_unread"]

_VERSION = re.compile(r'__version__ = "([^"]+)"')  # in the first line: aiohttp's submodules take it from there

_READING = threading.RLock()
_BEING_READ: set[str] = set()  # by the thread that has the lock


class _Unread(ModuleType):
    """The package until something of its first file is asked for; from then on a module like any other."""

    __spec__: ModuleSpec

    def __getattr__(self, name: str) -> object:
        if find_spec(f"{self.__name__}.{name}") is not None:
            return import_module(f"{self.__name__}.{name}")
        with _READING:  # another thread may be at it
            if type(self) is _Unread:
                self._read(name)
        return getattr(self, name)

    def _read(self, name: str) -> None:
        if self.__name__ in _BEING_READ:
            raise AttributeError(f"{self.__name__} is being imported, and has no {name} yet")
        assert self.__spec__.loader is not None  # a package with a file
        _BEING_READ.add(self.__name__)
        try:
            self.__spec__.loader.exec_module(self)
            self.__class__ = ModuleType  # type: ignore[assignment] # is how a module's class is changed
        finally:
            _BEING_READ.discard(self.__name__)


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
