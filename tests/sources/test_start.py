"""What a daemon begins with: the config that is there, else the last good one, else nothing but the reason."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sidecar.sources.configuration import ConfigurationManager
from sidecar.sources.last_good import LastGood
from sidecar.sources.start import start

GOOD = 'providers: {p: {type: openai, api_key: "${KEY}"}}\nroutes: {default: {chain: [p/m]}}\n'
BAD = "routes: {default: {chain: [nobody/m]}}\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    (tmp_path / "sidecar.yaml").write_text(GOOD)
    return tmp_path


def configuration(home: Path, **environ: str) -> ConfigurationManager:
    return ConfigurationManager(str(home / "sidecar.yaml"), environ={"KEY": "sk-secret-key", **environ})


def kept(home: Path) -> LastGood:
    """As after a run with the good config."""
    manager, last_good = configuration(home), LastGood(str(home / "state"))
    manager.load()
    assert manager.written is not None
    last_good.keep(manager.written)
    return last_good


def test_a_good_config_is_what_it_begins_with(home: Path) -> None:
    begun = start(configuration(home), kept(home))
    assert (begun.problems, begun.answers) == ((), True)
    assert begun.snapshot.source == str(home / "sidecar.yaml")


def test_a_broken_config_gives_way_to_the_last_good_one_aloud(home: Path) -> None:
    last_good = kept(home)
    (home / "sidecar.yaml").write_text(BAD)
    manager = configuration(home)
    begun = start(manager, last_good)
    assert begun.answers
    assert "default" in begun.snapshot.routes
    [problem] = begun.problems
    assert "sidecar.yaml:1:" in problem
    assert begun.snapshot.warnings[0].endswith(problem)
    assert str(home / "sidecar.yaml") in manager.fingerprints()  # its repair is news


def test_a_named_file_that_is_gone_gives_way_too_and_is_watched_for(home: Path) -> None:
    last_good = kept(home)
    (home / "sidecar.yaml").unlink()
    manager = configuration(home)
    assert start(manager, last_good).answers
    assert manager.fingerprints() == {str(home / "sidecar.yaml"): None}


def test_the_key_of_the_last_good_config_is_looked_up_anew(home: Path) -> None:
    last_good = kept(home)
    (home / "sidecar.yaml").write_text(BAD)
    begun = start(configuration(home, KEY="sk-rotated"), last_good)
    assert begun.snapshot.providers["p"].auth.key is not None
    assert begun.snapshot.providers["p"].auth.key.reveal() == "sk-rotated"


@pytest.mark.parametrize(
    "why", ["nothing was kept", "it cannot be read", "it is not right any more", "no place for it"]
)
def test_without_a_last_good_config_it_begins_with_nothing(home: Path, why: str) -> None:
    last_good: LastGood | None = LastGood(str(home / "state"))
    environ = {}
    if why == "it cannot be read":
        kept(home)
        next((home / "state").iterdir()).write_text('{"sources": 1}')
    if why == "it is not right any more":
        kept(home)
        environ["KEY"] = ""
    if why == "no place for it":
        last_good = None
    (home / "sidecar.yaml").write_text(BAD)
    begun = start(configuration(home, **environ), last_good)
    assert not begun.answers
    assert begun.problems
    assert not begun.snapshot.routes
    assert begun.problems[0] in begun.snapshot.warnings[0]


def test_what_is_kept_is_the_text_without_keys_for_its_owner_alone(home: Path) -> None:
    kept(home)
    [file] = (home / "state").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "${KEY}" in file.read_text()
    assert "sk-secret-key" not in file.read_text()


def test_the_same_config_is_not_written_again(home: Path) -> None:
    kept(home)
    [file] = (home / "state").iterdir()
    before = file.stat().st_ino
    kept(home)
    assert file.stat().st_ino == before


def test_a_link_in_the_place_of_the_new_file_is_not_followed(home: Path) -> None:
    (home / "state" / "last-good-config.new").symlink_to(home / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        kept(home)
    assert not (home / "elsewhere").exists()


@pytest.mark.parametrize(
    ("environ", "there"),
    [
        ({}, False),
        ({"STATE_DIRECTORY": ""}, False),
        ({"STATE_DIRECTORY": "rel"}, False),
        ({"STATE_DIRECTORY": "/a:/b"}, True),
    ],
)
def test_it_is_kept_only_where_a_service_manager_gave_a_place(environ: dict[str, str], there: bool) -> None:
    assert (LastGood.of(environ) is not None) is there
