"""Threat 12: what is installed is not what was meant."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_PINNED = re.compile(
    r"([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)[^\\\n]*\\\n((?:\s+--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
)
_MOST_DEPENDENCIES = 10  # direct ones; each is somebody else's code beside our keys


def _locked(name: str) -> dict[str, str]:
    return {match[1]: match[2] for match in _PINNED.finditer((_ROOT / name).read_text())}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-build.lock", "requirements-dev.lock"])
def test_12_everything_is_pinned_by_version_and_hash(name: str) -> None:
    text = (_ROOT / name).read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(lines) == len(_PINNED.findall(text))
    assert "://" not in re.sub(r"#.*", "", text)  # no package comes from elsewhere


def test_12_there_are_few_dependencies_and_all_are_locked() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=\[ ]", each)[0] for each in project["dependencies"]}
    assert len(names) <= _MOST_DEPENDENCIES
    assert names <= set(_locked("requirements.lock"))


def test_12_the_server_is_newer_than_its_last_known_hole() -> None:
    """Before 3.14.3 aiohttp's response parser read beyond its heap."""
    version = tuple(map(int, _locked("requirements.lock")["aiohttp"].split(".")[:3]))
    assert version >= (3, 14, 3)
    assert _locked("requirements.lock").items() <= _locked("requirements-dev.lock").items()  # tested as it is shipped


def test_12_what_is_installed_by_is_the_lock_with_its_hashes() -> None:
    assert "--require-hashes -r requirements-dev.lock" in (_ROOT / "Makefile").read_text()
