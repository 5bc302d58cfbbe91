"""Modules that are left unread until they are needed: knows how to do without them, and when not.

Some libraries import all they have in the `__init__` of their package. aiohttp's brings its client, which
builds two TLS contexts with every authority of the system before anybody has asked for one; structlog's
its tracebacks and its test tools; watchfiles' the means to run other processes. For a daemon that uses one
part of each that is a third of its start, and megabytes at rest.

A package that is left unread is put in place with an empty namespace, and its submodules are imported as
ever, by whoever asks for one as an attribute too. Whoever asks for more (`aiohttp.ClientSession`) has the
file run then, and finds what it has always had, in whatever thread. Where the package was imported before,
nothing is done.

Others are imported for one name that a daemon never uses: all HTML entities for an error page, mail's
headers for a content type, a client of HTTP for the system's proxies. They are put in place with a stand-in
for that name, which has the module read when it is called or asked for anything.

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
from typing import Any, cast

__all__ = ["leave_unread", "leave_unused"]

_VERSION = re.compile(r'__version__ = "([^"]+)"')  # in the first line: aiohttp's submodules take it from there

_READING = threading.RLock()
_BEING_READ: set[str] = set()  # by the thread that has the lock


class _Unread(ModuleType):
    """The module until something of its file is asked for; from then on one like any other."""

    __spec__: ModuleSpec

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":  # asks the import system, of what is no package
            raise AttributeError(name)
        if "__path__" in self.__dict__ and find_spec(f"{self.__name__}.{name}") is not None:
            return import_module(f"{self.__name__}.{name}")
        _read(self, name)
        return getattr(self, name)


class _Unused:
    """Stands for one name of a module that is unread; whoever took it keeps it, and can do the same with it."""

    __slots__ = ("_module", "_name")

    def __init__(self, module: _Unread, name: str) -> None:
        self._module = module
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # as what it stands for
        return self._real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def _real(self) -> Any:
        _read(self._module, self._name)
        return getattr(self._module, self._name)


def leave_unread(name: str) -> None:
    """Have only those submodules of a package imported that are asked for; comes before its first import."""
    _left_unread(name)


def leave_unused(name: str, *used: str) -> None:
    """Have a module read only when one of these names is put to use, or it is asked for any other.

    Comes before its first import.
    """
    module = _left_unread(name)
    if module is not None:
        module.__dict__.update({each: _Unused(module, each) for each in used})


def _left_unread(name: str) -> _Unread | None:
    spec = None if name in sys.modules else find_spec(name)
    if spec is None or spec.origin is None:
        return None
    module = module_from_spec(spec)
    with open(spec.origin, encoding="utf-8") as file:
        if version := _VERSION.match(file.readline()):
            module.__dict__["__version__"] = version[1]
    module.__class__ = _Unread
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)  # as an import does
    return cast(_Unread, module)


def _read(module: ModuleType, name: str) -> None:
    """Run a module's file, if nobody has yet; somebody wants this name of it."""
    with _READING:  # another thread may be at it
        if type(module) is not _Unread:
            return
        if module.__name__ in _BEING_READ:
            raise AttributeError(f"{module.__name__} is being imported, and has no {name} yet")
        assert module.__spec__.loader is not None  # it has a file
        for each in [each for each, value in vars(module).items() if isinstance(value, _Unused)]:
            delattr(module, each)  # there may be no such name any more
        _BEING_READ.add(module.__name__)
        try:
            module.__spec__.loader.exec_module(module)
            module.__class__ = ModuleType  # type: ignore[assignment] # is how a module's class is changed
        finally:
            _BEING_READ.discard(module.__name__)
