"""What references stand for: the environment, files, credentials."""

from pathlib import Path

import pytest

from sidecar.sources.environment import Environment
from sidecar.sources.files import MAX_KEY_BYTES, contents, fingerprint
from sidecar.sources.lookup import SystemLookup


def lookup(directory: Path, **environ: str) -> SystemLookup:
    return SystemLookup(Environment.capture(environ), str(directory))


def test_a_variable_is_its_value_or_none(tmp_path: Path) -> None:
    given = lookup(tmp_path, OPENAI_API_KEY="sk-1")
    assert given.env("OPENAI_API_KEY") == "sk-1"
    assert given.env("OTHER") is None


@pytest.mark.parametrize(
    ("content", "text"), [("sk-1", "sk-1"), ("sk-1\n", "sk-1"), ("sk-1\r\n", "sk-1"), ("a\nb\n\n", "a\nb\n")]
)
def test_one_newline_at_the_end_of_a_file_is_not_part_of_the_key(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "key").write_bytes(content.encode())
    assert lookup(tmp_path).file(str(tmp_path / "key")) == text
    assert lookup(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path)).credential("key") == text


def test_a_relative_path_starts_at_the_config(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "openai").write_text("sk-1")
    given = lookup(tmp_path)
    assert given.file("keys/openai") == "sk-1"
    assert tuple(given.fingerprints) == (str(tmp_path / "keys" / "openai"),)


def test_a_file_means_one_thing_for_the_whole_load(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-1")
    given = lookup(tmp_path)
    before = fingerprint(contents(str(key)))
    assert given.file("key") == "sk-1"
    key.write_text("sk-2")
    assert given.file("key") == "sk-1"
    assert given.fingerprints == {str(key): before}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory; correct the path, or put the file there"),
        (b"", "the file is empty; write the key into it"),
        (b"\n", "the file is empty; write the key into it"),
        (b"sk-\xff", "not UTF-8 at byte 3"),
        (b"k" * (MAX_KEY_BYTES + 1), "larger than 64 KiB"),
    ],
)
def test_a_file_without_a_key_says_why(tmp_path: Path, content: bytes | None, message: str) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
    given = lookup(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path))
    with pytest.raises(LookupError) as caught:
        given.file("key")
    assert message in str(caught.value)
    assert str(key) in str(caught.value)
    with pytest.raises(LookupError) as caught:
        given.credential("key")
    assert message in str(caught.value)


def test_a_file_that_could_not_be_used_is_remembered_for_the_watcher(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    given = lookup(tmp_path)
    for name in ("gone", "empty"):
        with pytest.raises(LookupError):
            given.file(name)
    empty = str(tmp_path / "empty")
    assert given.fingerprints == {str(tmp_path / "gone"): None, empty: fingerprint(contents(empty))}


def test_a_path_that_nothing_can_have_is_no_file_and_is_not_watched(tmp_path: Path) -> None:
    given = lookup(tmp_path)
    for asks in (given.file, given.stamp):
        with pytest.raises(LookupError, match=r"key\\x00': no path holds a NUL"):
            asks("key\0")
    assert not given.fingerprints


def test_a_credential_needs_a_service_manager_and_a_plain_name(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=r"credential 'openai'.*LoadCredential=openai:/path"):
        lookup(tmp_path).credential("openai")
    (tmp_path / "outside").write_text("x")
    (tmp_path / "credentials").mkdir()
    given = lookup(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path / "credentials"))
    for name in ("../outside", "..", ".", "", "/etc/passwd", "a\0b"):
        with pytest.raises(LookupError, match="a name without slashes"):
            given.credential(name)


def test_credentials_are_not_watched(tmp_path: Path) -> None:
    (tmp_path / "openai").write_text("sk-1")
    given = lookup(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert given.credential("openai") == "sk-1"
    assert not given.fingerprints


def test_a_file_that_others_read_is_found_and_watched(tmp_path: Path) -> None:
    ca, key = tmp_path / "ca.pem", tmp_path / "key"
    ca.write_bytes(b"\xff no text")
    key.write_text("sk-1")
    given = lookup(tmp_path)
    assert given.stamp("ca.pem") == (str(ca), fingerprint(contents(str(ca))))
    with pytest.raises(LookupError, match=r"gone\.pem: cannot be read: No such file"):
        given.stamp("gone.pem")
    given.file("key")
    assert given.fingerprints == {
        str(ca): fingerprint(contents(str(ca))),
        str(tmp_path / "gone.pem"): None,
        str(key): fingerprint(contents(str(key))),
    }
    assert given.keys == (str(key),)


def test_a_stamp_too_means_one_thing_for_the_whole_load(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("one")
    given = lookup(tmp_path)
    before = given.stamp("ca.pem")
    ca.write_text("two")
    assert given.stamp("ca.pem") == before
