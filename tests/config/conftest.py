"""A lookup with known answers, and the shortest way from text to snapshot or problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sidecar.config import ConfigErrors, Source, Stamp, load
from sidecar.model.topology import Snapshot


class Outside:
    """The environment, files and credentials of a test."""

    def __init__(
        self, env: Mapping[str, str], files: Mapping[str, str], credentials: Mapping[str, str], extras: bool
    ) -> None:
        self._extras = extras
        self._env, self._files, self._credentials = env, files, credentials

    def env(self, name: str) -> str | None:
        return self._env.get(name)

    def file(self, path: str) -> str:
        if path not in self._files:
            raise LookupError("no such file")
        return self._files[path]

    def credential(self, name: str) -> str:
        if name not in self._credentials:
            raise LookupError("no such credential")
        return self._credentials[name]

    def stamp(self, path: str) -> Stamp:
        return Stamp(f"/conf/{path}", self.file(path))

    def installed(self, module: str) -> bool:
        return self._extras


def outside(**given: Any) -> Outside:
    known = (given.get(name, {}) for name in ("env", "files", "credentials"))
    return Outside(*known, extras=given.get("extras", True))


@pytest.fixture
def snapshot() -> Callable[..., Snapshot]:
    def make(*texts: str, generation: int = 1, **given: Any) -> Snapshot:
        names = ["sidecar.yaml"] if len(texts) == 1 else [f"{number}.yaml" for number in range(1, len(texts) + 1)]
        sources = [Source(name, text) for name, text in zip(names, texts, strict=True)]
        return load(sources, outside(**given), generation=generation)

    return make


@pytest.fixture
def problems(snapshot: Callable[..., Snapshot]) -> Callable[..., list[str]]:
    def told(*texts: str, **given: Any) -> list[str]:
        with pytest.raises(ConfigErrors) as raised:
            snapshot(*texts, **given)
        assert str(raised.value).splitlines() == [str(problem) for problem in raised.value.problems]
        return str(raised.value).splitlines()

    return told
