"""aiohttp without its client: knows what the package's own first file would import, and when that may wait.

That file imports the client, which builds two TLS contexts with every authority of the system before
anybody has asked for one: a third of a start, and megabytes, for a daemon that uses the server only.
Here the package is put in place with its first file unread, and `aiohttp.web` imports what a server
needs. Whoever asks the package for more than submodules (`aiohttp.ClientSession`) has the file run
then, and finds what it has always had. Where aiohttp was imported before, nothing is done.
"""

from __future__ import annotations

import re
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType

__all__ = ["leave_client_out"]

_NAME = "aiohttp"
_FIRST_LINE = re.compile(r'__version__ = "([^"]+)"')  # all that its submodules take from the package


class _Unread(ModuleType):
    """The package until something of its first file is asked for; from then on a module like any other."""

    __spec__: ModuleSpec

    def __getattr__(self, name: str) -> object:
        # The import system asks whether a submodule is there before it imports it.
        if find_spec(f"{_NAME}.{name}") is not None:
            raise AttributeError(name)
        assert self.__spec__.loader is not None  # a module with a file
        self.__class__ = ModuleType  # type: ignore[assignment] # is how a module's class is changed
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def leave_client_out() -> None:
    """Have aiohttp's server imported alone; must come before the first import of aiohttp."""
    spec = None if _NAME in sys.modules else find_spec(_NAME)
    if spec is None or spec.origin is None:
        return
    with open(spec.origin, encoding="utf-8") as file:
        version = _FIRST_LINE.match(file.readline())
    if version is not None:  # else it is not the file that we know: it runs as usual
        package = module_from_spec(spec)
        package.__dict__["__version__"] = version[1]
        package.__class__ = _Unread
        sys.modules[_NAME] = package
