"""Where the config and the admin socket are looked for."""

import os
from pathlib import Path

import pytest

from sidecar.model.errors import ConfigurationError
from sidecar.sources import places
from sidecar.sources.places import Place, admin_candidates, default_admin_path, find, make_private_directory


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any config: its current directory, home and /etc are empty."""
    monkeypatch.setattr(places, "_SYSTEM_CONFIG", str(tmp_path / "etc" / "sidecar.yaml"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path


def write(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return str(path)


def test_the_first_place_in_the_documented_order_wins(home: Path) -> None:
    env = {"HOME": str(home)}
    assert find(None, env) is None
    system = write(home / "etc" / "sidecar.yaml")
    assert find(None, env) == Place(system, "found")
    user = write(home / ".config" / "sidecar" / "sidecar.yaml")
    assert find(None, env) == Place(user, "found")
    elsewhere = write(home / "xdg" / "sidecar" / "sidecar.yaml")
    assert find(None, env | {"XDG_CONFIG_HOME": str(home / "xdg")}) == Place(elsewhere, "found")
    here = write(home / "cwd" / "sidecar.yaml")
    assert find(None, env) == Place(here, "found")
    variable = write(home / "variable.yaml")
    named = env | {"SIDECAR_CONFIG": variable}
    assert find(None, named) == Place(variable, "$SIDECAR_CONFIG")
    option = write(home / "option.yaml")
    assert find(option, named) == Place(option, "--config")


@pytest.mark.parametrize(("explicit", "env"), [("gone.yaml", {}), (None, {"SIDECAR_CONFIG": "gone.yaml"})])
def test_a_named_file_that_is_missing_is_an_error_and_nothing_else_is_taken(
    home: Path, explicit: str | None, env: dict[str, str]
) -> None:
    write(home / "cwd" / "sidecar.yaml")
    with pytest.raises(ConfigurationError) as caught:
        find(explicit, env)
    assert str(home / "cwd" / "gone.yaml") in str(caught.value)
    assert ("--config" if explicit else "$SIDECAR_CONFIG") in str(caught.value)


def test_an_empty_variable_names_nothing_and_a_relative_base_directory_is_ignored(home: Path) -> None:
    env = {"HOME": str(home), "SIDECAR_CONFIG": "", "XDG_CONFIG_HOME": "relative"}
    write(home / "cwd" / "relative" / "sidecar" / "sidecar.yaml")
    assert find(None, env) is None


def test_a_dangling_link_is_found_rather_than_passed_over(home: Path) -> None:
    (home / "cwd" / "sidecar.yaml").symlink_to("nowhere")
    write(home / "etc" / "sidecar.yaml")
    assert find(None, {"HOME": str(home)}) == Place(str(home / "cwd" / "sidecar.yaml"), "found")


def test_a_place_stays_the_same_file_after_a_chdir(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / "cwd" / "sidecar.yaml")
    place = find("sidecar.yaml", {})
    monkeypatch.chdir(home)
    assert place is not None
    assert Path(place.path).exists()


def test_relative_paths_start_at_the_config_file_or_in_the_config_directory(home: Path) -> None:
    path = write(home / "conf.d" / "a.yaml")
    assert Place(path, "found").directory == str(home / "conf.d")
    assert Place(str(home / "conf.d"), "found").directory == str(home / "conf.d")


def test_the_admin_socket_is_in_the_runtime_directory(tmp_path: Path) -> None:
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert default_admin_path(env) == str(tmp_path / "sidecar" / "admin.sock")
    assert admin_candidates(env)[0] == default_admin_path(env)
    assert admin_candidates(env)[-1] == "/run/sidecar/admin.sock"


def test_without_a_runtime_directory_it_is_below_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_200_000)
    assert default_admin_path({"XDG_RUNTIME_DIR": str(tmp_path / "gone")}) == "/tmp/sidecar-4200000/admin.sock"


def test_a_named_admin_socket_stands_alone() -> None:
    assert admin_candidates({"SIDECAR_ADMIN": "/my.sock", "XDG_RUNTIME_DIR": "/run"}) == ("/my.sock",)


def test_a_private_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "private"
    make_private_directory(str(directory))
    make_private_directory(str(directory))
    assert directory.stat().st_mode & 0o777 == 0o700


def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    link, file, gone = tmp_path / "link", tmp_path / "file", tmp_path / "no" / "parent"
    link.symlink_to(target)
    file.touch()
    writable = tmp_path / "writable"
    writable.mkdir()
    writable.chmod(0o777)
    for path in (link, file, gone, writable):
        with pytest.raises(ConfigurationError, match=r"admin\.listen"):
            make_private_directory(str(path))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_below_tmp_that_is_not_ours_is_no_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_temporary_directory", lambda: tmp_path / "theirs")
    (tmp_path / "theirs").mkdir(mode=0o700)
    assert str(tmp_path / "theirs" / "admin.sock") in admin_candidates({})
    os.chown(tmp_path / "theirs", 4_200_000, -1)
    assert str(tmp_path / "theirs" / "admin.sock") not in admin_candidates({})
