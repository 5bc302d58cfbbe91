"""From a place to a snapshot: what is found, read, remembered and warned of."""

import asyncio
import socket
from pathlib import Path

import pytest

from sidecar.config import ConfigErrors
from sidecar.model.errors import ConfigurationError
from sidecar.sources import places
from sidecar.sources.configuration import ConfigurationManager
from sidecar.sources.files import contents, fingerprint
from sidecar.sources.watch import Watcher

CONFIG = """\
providers:
  openai: {type: openai, api_key: "${file:keys/openai}", base_url: "http://127.0.0.1:9/v1"}
routes:
  default: {chain: [openai/gpt-5.4]}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(places, "_SYSTEM_CONFIG", str(tmp_path / "etc" / "sidecar.yaml"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path


@pytest.fixture
def path(home: Path) -> Path:
    (home / "conf" / "keys").mkdir(parents=True)
    key = home / "conf" / "keys" / "openai"
    key.write_text("sk-canary\n")
    key.chmod(0o600)
    path = home / "conf" / "sidecar.yaml"
    path.write_text(CONFIG)
    return path


def environ(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "OLLAMA_HOST": "elsewhere.example", **more}


def test_a_file_is_loaded_with_its_keys_and_says_where_it_came_from(home: Path, path: Path) -> None:
    manager = ConfigurationManager(str(path), environ=environ(home))
    assert manager.path is None
    snapshot = manager.load(7)
    key = str(path.parent / "keys" / "openai")
    assert snapshot.generation == 7
    assert snapshot.source == manager.path == str(path)
    assert snapshot.files == manager.watched() == (str(path), key)
    assert manager.fingerprints() == {name: fingerprint(contents(name)) for name in (str(path), key)}
    auth_key = snapshot.providers["openai"].auth.key
    assert auth_key is not None
    assert auth_key.reveal() == "sk-canary"
    assert snapshot.warnings == ()


def test_a_directory_is_one_config_and_is_watched_as_one(home: Path, path: Path) -> None:
    providers, routes = CONFIG.split("routes:")
    path.write_text(providers)
    (path.parent / "z.yaml").write_text("routes:" + routes)
    manager = ConfigurationManager(str(path.parent), environ=environ(home))
    snapshot = manager.load()
    key = str(path.parent / "keys" / "openai")
    assert set(snapshot.routes) == {"default"}
    assert snapshot.source == str(path.parent)
    assert snapshot.files == (str(path), str(path.parent / "z.yaml"), key)
    assert manager.watched() == (str(path.parent), key)


def test_the_digest_changes_with_the_text_and_with_a_key_only(home: Path, path: Path) -> None:
    manager = ConfigurationManager(str(path), environ=environ(home))
    first = manager.load().digest
    path.touch()
    assert manager.load(2).digest == first
    (path.parent / "keys" / "openai").write_text("sk-rotated\n")
    second = manager.load(3).digest
    path.write_text(CONFIG + "# a comment\n")
    assert len({first, second, manager.load(4).digest}) == 3


def test_a_key_that_is_missing_is_an_error_and_is_watched_for(home: Path, path: Path) -> None:
    key = path.parent / "keys" / "openai"
    key.unlink()
    manager = ConfigurationManager(str(path), environ=environ(home))
    with pytest.raises(ConfigErrors) as caught:
        manager.load()
    assert f"{path}:2:" in str(caught.value)
    assert str(key) in str(caught.value)
    assert manager.fingerprints() == {str(path): fingerprint(contents(str(path))), str(key): None}


TLS = CONFIG.replace('/v1"}', '/v1", tls: {ca_file: ca.pem, cert_file: keys/cert, key_file: keys/key}}')


def test_certificates_are_part_of_what_was_read(home: Path, path: Path) -> None:
    directory = path.parent
    files = [directory / name for name in ("ca.pem", "keys/cert", "keys/key")]
    for each in files:
        each.write_text("old")
    path.write_text(TLS)
    manager = ConfigurationManager(str(path), environ=environ(home))
    before = manager.load()
    assert before.files == manager.watched()
    assert set(before.files) == {str(path), str(directory / "keys" / "openai"), *map(str, files)}
    assert [warning for warning in before.warnings if "key" not in warning] == []
    for number, each in enumerate(files):
        each.write_text("new")
        after = manager.load(number + 2)
        assert after.digest != before.digest
        assert after.providers["openai"] != before.providers["openai"]
        before = after


def test_only_what_is_secret_is_warned_of_when_others_can_read_it(home: Path, path: Path) -> None:
    for name in ("ca.pem", "keys/cert", "keys/key"):
        (path.parent / name).write_text("x")
        (path.parent / name).chmod(0o644)
    path.write_text(TLS)
    (warning,) = ConfigurationManager(str(path), environ=environ(home)).load().warnings
    assert warning.startswith(f"{path.parent / 'keys' / 'key'}: others than the owner")


async def test_a_certificate_that_was_missing_is_an_error_with_its_place_and_is_watched_for(
    home: Path, path: Path
) -> None:
    ca = path.parent / "ca.pem"
    path.write_text(TLS.replace(", cert_file: keys/cert, key_file: keys/key", ""))
    manager = ConfigurationManager(str(path), environ=environ(home))
    with pytest.raises(ConfigErrors, match=rf"sidecar.yaml:2:\d+: providers.openai.tls.ca_file: {ca}: cannot be read"):
        manager.load()
    async with asyncio.timeout(5), Watcher(manager.fingerprints) as watcher:
        ca.write_text("CA")
        assert await anext(watcher) == (str(ca),)
        assert manager.load().providers["openai"].tls.ca_file == str(ca)


async def test_a_key_that_was_missing_at_a_rejected_load_is_news_with_its_old_content(home: Path, path: Path) -> None:
    key = path.parent / "keys" / "openai"
    manager = ConfigurationManager(str(path), environ=environ(home))
    manager.load()
    async with asyncio.timeout(5), Watcher(manager.fingerprints) as watcher:
        key.rename(key.with_name("away"))
        path.write_text(CONFIG + "# edited\n")
        assert await anext(watcher) == (str(path),)
        with pytest.raises(ConfigErrors):
            manager.load()
        key.with_name("away").rename(key)
        assert await anext(watcher) == (str(key),)
        manager.load()


def test_a_broken_config_is_watched_for_its_repair(home: Path, path: Path) -> None:
    manager = ConfigurationManager(str(path), environ=environ(home))
    manager.load()
    for broken in (b"routes: [", b"\xff", b""):
        path.write_bytes(broken)
        with pytest.raises(ConfigurationError) as caught:
            manager.load()
        assert str(path) in str(caught.value)
        assert manager.fingerprints() == {str(path): fingerprint(contents(str(path)))}


def test_a_file_that_went_missing_is_an_error_and_no_other_is_taken(home: Path, path: Path) -> None:
    here = home / "cwd" / "sidecar.yaml"
    here.symlink_to(path)
    manager = ConfigurationManager(environ=environ(home))
    with pytest.raises(ConfigErrors):
        manager.load()  # its key is relative to where the config is, and not to what it links to
    (home / "cwd" / "keys").symlink_to(path.parent / "keys")
    manager.load()
    here.unlink()
    (home / "etc").mkdir()
    (home / "etc" / "sidecar.yaml").write_text(CONFIG)
    with pytest.raises(ConfigurationError, match="No such file"):
        manager.load()
    assert manager.fingerprints() == {str(here): None}


def test_a_named_file_that_is_missing_is_an_error(home: Path) -> None:
    with pytest.raises(ConfigurationError, match="named by --config"):
        ConfigurationManager("gone.yaml", environ=environ(home, OPENAI_API_KEY="sk-1")).load()


def test_sloppy_modes_are_warned_of_in_the_snapshot(home: Path, path: Path) -> None:
    path.chmod(0o666)
    key = path.parent / "keys" / "openai"
    key.chmod(0o644)
    warnings = ConfigurationManager(str(path), environ=environ(home)).load().warnings
    assert [warning.split(":")[0] for warning in warnings] == [str(key), str(path)]


def test_variables_are_those_of_the_start(home: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(CONFIG.replace("${file:keys/openai}", "${MY_KEY}"))
    monkeypatch.setenv("MY_KEY", "sk-start")
    manager = ConfigurationManager(str(path))
    monkeypatch.delenv("MY_KEY")
    key = manager.load().providers["openai"].auth.key
    assert key is not None
    assert key.reveal() == "sk-start"


def test_without_a_file_the_environment_is_the_config(home: Path) -> None:
    manager = ConfigurationManager(environ=environ(home, OPENAI_API_KEY="sk-1"))
    snapshot = manager.load(3)
    assert (snapshot.source, snapshot.generation, snapshot.files) == ("environment", 3, ())
    assert set(snapshot.providers) == {"openai"}
    assert (manager.path, manager.watched()) == (None, ())
    assert manager.load(4).digest == snapshot.digest != ""


def test_with_nothing_at_all_the_embedded_provider_answers(home: Path) -> None:
    snapshot = ConfigurationManager(environ=environ(home)).load()
    assert snapshot.source == "embedded"
    assert set(snapshot.providers) == {"embedded"}


def test_a_local_ollama_is_found_when_no_key_is_set(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        ConfigurationManager(environ=environ(home, OLLAMA_HOST=address, OPENAI_API_KEY="sk-1")).load()
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_config_in_a_text_needs_no_file(home: Path) -> None:
    manager = ConfigurationManager.from_text(CONFIG.replace("${file:keys/openai}", "${K}"), environ={"K": "sk-1"})
    snapshot = manager.load()
    assert (snapshot.source, manager.path, manager.watched()) == ("text", None, ())
    with pytest.raises(ConfigErrors, match=r"config:1:"):
        ConfigurationManager.from_text("nonsense: 1").load()


async def test_a_rotated_key_reaches_the_next_snapshot(home: Path, path: Path) -> None:
    manager = ConfigurationManager(str(path), environ=environ(home))
    manager.load()
    key_path = path.parent / "keys" / "openai"
    async with Watcher(manager.fingerprints) as watcher:
        for number in range(2):
            key_path.write_text(f"sk-{number}\n")
            assert await anext(watcher) == (str(key_path),)
            key = manager.load().providers["openai"].auth.key
            assert key is not None
            assert key.reveal() == f"sk-{number}"
