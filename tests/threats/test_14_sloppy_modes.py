"""Threat 14: files whose modes let others read a key or write the config."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.model.topology import Snapshot
from sidecar.sources.configuration import ConfigurationManager

_CONFIG = """
listen: [{{address: "127.0.0.1:0", auth: {{token_file: "{tokens}"}}}}]
providers: {{a: {{type: openai-compatible, base_url: "http://127.0.0.1:9", api_key: "${{file:{key}}}"}}}}
routes: {{default: {{chain: [a/m]}}}}
"""


def _loaded(place: Path, *, directory: int = 0o700, **modes: int) -> Snapshot:
    place.chmod(directory)
    files = {name: place / name for name in ("key", "tokens", "sidecar.yaml")}
    files["key"].write_text("key-0123456789abcdef")
    files["tokens"].write_text("token-0123456789abcdef")
    files["sidecar.yaml"].write_text(_CONFIG.format(key=files["key"], tokens=files["tokens"]))
    for name, path in files.items():
        path.chmod(modes.get(name.partition(".")[0], 0o600))
    return ConfigurationManager(str(files["sidecar.yaml"]), environ={}).load()


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o500, 0o700])
def test_14_files_of_one_s_own_are_fine(tmp_path: Path, mode: int) -> None:
    assert _loaded(tmp_path, key=mode, tokens=mode, sidecar=mode).warnings == ()


@pytest.mark.parametrize("file", ["key", "tokens"])
@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602, 0o644, 0o666, 0o777])
def test_14_a_key_that_others_can_read_or_write_is_warned_of(tmp_path: Path, file: str, mode: int) -> None:
    [warning] = _loaded(tmp_path, **{file: mode}).warnings
    assert warning.startswith(str(tmp_path / file))
    assert f"chmod 0600 {tmp_path / file}" in warning


@pytest.mark.parametrize(("mode", "warned"), [(0o644, False), (0o664, False), (0o602, True), (0o666, True)])
def test_14_a_config_that_anybody_can_write_is_warned_of(tmp_path: Path, mode: int, warned: bool) -> None:
    warnings = _loaded(tmp_path, sidecar=mode).warnings
    assert len(warnings) == warned
    assert all("anybody can write the config; chmod o-w" in warning for warning in warnings)


@pytest.mark.parametrize(("mode", "warned"), [(0o755, False), (0o775, False), (0o1777, False), (0o777, True)])
def test_14_a_directory_in_which_anybody_can_replace_it_too(tmp_path: Path, mode: int, warned: bool) -> None:
    warnings = _loaded(tmp_path, directory=mode).warnings
    assert len(warnings) == warned
    assert all("anybody can replace the config in it" in warning for warning in warnings)
