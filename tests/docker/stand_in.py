"""A base image made of this machine's own Python, for builders that cannot fetch the official one.

Of what a base image has it holds what the Dockerfile asks for: a shell with a few tools, and below /usr/local
a Python with pip, whose modules have no byte code, as in the official images.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import pip

__all__ = ["make_root"]

_TOOLS = ("sh", "mkdir", "chown", "id", "touch")
_BESIDE_LIBC = (
    *("libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libgcc_s.so.1", "libstdc++.so.6"),
    *("libresolv.so.2", "libnss_*.so.2"),
)
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_SKIPPED = (
    *("__pycache__", "config-*", "idlelib", "lib2to3", "test", "tests", "tkinter", "turtledemo"),
    *("site-packages", "dist-packages"),
)


def make_root(root: Path) -> None:
    """Fill an empty directory with a root file system."""
    tools = [Path(found) for tool in _TOOLS if (found := shutil.which(tool, path="/usr/bin:/bin"))]
    for tool in tools:
        _copy(tool, root / "bin" / tool.name)
    interpreter = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()
    _copy(interpreter, root / "usr/local/bin" / interpreter.name)
    for name in ("python3", "python"):
        (root / "usr/local/bin" / name).symlink_to(interpreter.name)
    modules = _modules(root / "usr/local/lib" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    for library in _libraries([*tools, interpreter, *modules.glob("lib-dynload/*.so")]):
        _copy(library.resolve(), root / str(library).lstrip("/"))
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    _trust(root)
    for name in ("tmp", "root", "proc", "sys", "dev", "run"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _modules(target: Path) -> Path:
    """The standard library, and pip."""
    shutil.copytree(sysconfig.get_path("stdlib"), target, ignore=shutil.ignore_patterns(*_SKIPPED))
    packages = Path(pip.__file__).parent.parent
    for path in (packages / "pip", *packages.glob("pip-*.dist-info")):
        shutil.copytree(path, target / "site-packages" / path.name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """What they are linked with, and what belongs to the C library: packages were linked with older ones."""
    told = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, timeout=60, check=True).stdout
    found = {
        Path(word) for line in told.splitlines() for word in line.split() if word.startswith("/") and ":" not in word
    }
    [libc] = [library for library in found if library.name == "libc.so.6"]
    beside = {path for name in _BESIDE_LIBC for path in libc.parent.glob(name)}
    return found | beside


def _trust(root: Path) -> None:
    """This machine's certificates and names, so that pip finds what it finds here."""
    if _CERTIFICATES.exists():
        _copy(_CERTIFICATES, root / str(_CERTIFICATES).lstrip("/"))
        (root / "etc/pip.conf").write_text(f"[global]\ncert = {_CERTIFICATES}\n")
    for name in ("resolv.conf", "hosts", "nsswitch.conf"):
        if (path := Path("/etc", name)).exists():
            _copy(path.resolve(), root / "etc" / name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
