"""Reading, fingerprints and warnings, on real files of every kind."""

import os
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import Source
from sidecar.sources import files
from sidecar.sources.files import (
    MAX_CONFIG_BYTES,
    UnreadableError,
    config_warnings,
    contents,
    digest,
    fingerprint,
    key_warning,
    read,
)
from tests.saves import configmap_swap


def texts(path: Path) -> tuple[Source, ...]:
    return read(str(path), contents(str(path)))


def error(path: Path) -> str:
    with pytest.raises(UnreadableError) as caught:
        texts(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_file_is_one_source_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_bytes("größe: 1\r\n".encode())
    assert texts(path) == (Source(str(path), "größe: 1\r\n"),)


def test_a_directory_is_its_visible_yaml_files_sorted(tmp_path: Path) -> None:
    for name in ("20-b.yaml", "10-a.yaml", ".hidden.yaml", ".#10-a.yaml", "10-a.yaml~", "#10-a.yaml#", "README.md"):
        (tmp_path / name).write_text(name)
    (tmp_path / "30-c.yaml").symlink_to(tmp_path / "README.md")
    (tmp_path / "..data").mkdir()
    assert [Path(source.name).name for source in texts(tmp_path)] == ["10-a.yaml", "20-b.yaml", "30-c.yaml"]


def test_a_mounted_configmap_is_read_through_its_links(tmp_path: Path) -> None:
    for text in ("a: 1", "a: 2"):
        configmap_swap(tmp_path / "sidecar.yaml", text)
        assert texts(tmp_path) == (Source(str(tmp_path / "sidecar.yaml"), text),)
        assert texts(tmp_path / "sidecar.yaml") == (Source(str(tmp_path / "sidecar.yaml"), text),)


def test_what_is_not_utf8_is_named_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_bytes(b"name: caf\xe9\n")
    assert "not UTF-8 at byte 9: found 0xe9" in error(path)
    path.write_bytes("a: 1".encode("utf-16"))
    assert "looks like UTF-16; save the file as UTF-8" in error(path)


def test_nothing_to_read_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    assert "No such file or directory; correct the path" in error(path)
    path.write_text(" \n\n")
    assert "the file is empty" in error(path)
    path.unlink()
    path.symlink_to(path)
    assert "its links lead in a circle" in error(path)
    path.unlink()
    path.mkdir()
    assert "holds no *.yaml" in error(path)
    (path / "a.yaml").mkdir()
    with pytest.raises(UnreadableError, match=r"a\.yaml: .*name a regular file"):
        texts(path)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "is a pipe; name a regular file" in error(pipe)
    assert "is a device; name a regular file" in error(Path("/dev/zero"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert "name a regular file" in error(tmp_path / "socket")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_file_that_is_not_for_us_names_our_uid() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = Path(directory, "sidecar.yaml")
        path.write_text("a: 1")
        path.chmod(0o600)
        os.seteuid(65_534)
        try:
            message = error(path)
        finally:
            os.seteuid(0)
    assert "Permission denied; let uid 65534 read it" in message


def test_a_size_above_the_cap_is_refused_for_one_file_and_for_all_together(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"#" * MAX_CONFIG_BYTES)
    assert len(texts(path)) == 1
    (tmp_path / "b.yaml").write_bytes(b"#")
    assert "larger than 4096 KiB" in error(tmp_path)
    path.write_bytes(b"#" * (MAX_CONFIG_BYTES + 1))
    assert "larger than 4096 KiB" in error(path)


def test_a_content_above_the_cap_still_differs_from_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"#" * MAX_CONFIG_BYTES)
    before = fingerprint(contents(str(path)))
    path.write_bytes(b"#" * (MAX_CONFIG_BYTES * 2))
    assert fingerprint(contents(str(path))) != before


parts = st.lists(st.tuples(st.text("ab/", max_size=3), st.binary(max_size=3)), max_size=3)


@given(parts, parts)
def test_fingerprints_are_equal_only_for_equal_names_and_contents(
    one: list[tuple[str, bytes]], other: list[tuple[str, bytes]]
) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one == other)


def test_a_digest_changes_with_a_text_and_with_a_key_but_not_with_the_order_of_keys() -> None:
    sources = (Source("a.yaml", "a: 1"),)
    first = digest(sources, {"/k1": "1", "/k2": "2"})
    assert len(first) == 64
    assert digest(sources, {"/k2": "2", "/k1": "1"}) == first
    assert digest((Source("a.yaml", "a: 2"),), {"/k1": "1", "/k2": "2"}) != first
    assert digest(sources, {"/k1": "1", "/k2": "3"}) != first


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_key_for_its_owner_alone_is_fine(tmp_path: Path, mode: int) -> None:
    key = tmp_path / "key"
    key.touch()
    key.chmod(mode)
    assert key_warning(str(key)) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602, 0o620])
def test_a_key_that_others_can_reach_is_warned_of(tmp_path: Path, mode: int) -> None:
    key = tmp_path / "key"
    key.touch()
    key.chmod(mode)
    assert key_warning(str(key)) == f"{key}: others than the owner can read or write the key; chmod 0600 {key}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(("mode", "warned"), [(0o640, False), (0o660, True), (0o644, True)])
def test_a_group_may_read_a_key_that_belongs_to_somebody_else(tmp_path: Path, mode: int, warned: bool) -> None:
    key = tmp_path / "key"
    key.write_text("k")
    key.chmod(mode)
    os.chown(key, 65534, 65534)
    assert (key_warning(str(key)) is not None) is warned


@pytest.mark.parametrize(("mode", "warned"), [(0o644, False), (0o664, False), (0o666, True), (0o602, True)])
def test_a_config_that_anybody_can_write_is_warned_of(tmp_path: Path, mode: int, warned: bool) -> None:
    path = tmp_path / "sidecar.yaml"
    path.touch()
    path.chmod(mode)
    expected = (f"{path}: anybody can write the config; chmod o-w {path}",) if warned else ()
    assert config_warnings(str(path)) == expected
    assert config_warnings(str(tmp_path)) == expected


def test_a_config_that_anybody_can_replace_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.touch()
    tmp_path.chmod(0o777)
    assert config_warnings(str(path)) == (f"{tmp_path}: anybody can replace the config in it; chmod o-w {tmp_path}",)
    tmp_path.chmod(0o1777)
    assert config_warnings(str(path)) == ()
    assert config_warnings(str(tmp_path)) == (f"{tmp_path}: anybody can write the config; chmod o-w {tmp_path}",)


def test_a_file_that_is_not_merged_for_its_ending_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "routes.yml").touch()
    assert config_warnings(str(tmp_path)) == (f"{tmp_path / 'routes.yml'}: not read, only *.yaml is; rename it",)


def test_a_file_that_is_itself_a_mount_point_is_told_apart() -> None:
    assert files._is_mount_point("/proc")
    assert not files._is_mount_point("/proc/self")
