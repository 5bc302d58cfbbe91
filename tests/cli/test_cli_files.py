"""Commands about config files: what they print, and what they end with."""

import json
from pathlib import Path

import pytest
import yaml

from sidecar.cli import main
from tests.cli.running import ROOT

GOOD = """
providers: {a: {type: embedded}, b: {type: openai, api_key: ""}}
routes: {default: {chain: [{a/ok: 70, b/x: 30}]}, "g-*": {chain: ["b/g-*"]}}
"""
BAD = """
providers: {a: {type: embedded}}
routes: {default: {chain: [aa/ok]}, fast: {chain: []}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sidecar.yaml"


def test_check_shows_routes_as_chains_and_warnings(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(GOOD)
    assert main(["check", "--config", str(path)]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"{path}: ok: 2 providers, 2 routes"
    assert "  default  [{a/ok: 70, b/x: 30}]" in rest
    assert any(line.startswith("warning: providers.b: ") for line in rest)


def test_check_tells_every_problem_with_its_place(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(BAD)
    assert main(["check", "--config", str(path)]) == 78
    said = capsys.readouterr()
    assert said.out == ""
    one, other, sum_ = said.err.splitlines()
    assert one.startswith(f"{path}:3:28: routes.default.chain[0]: unknown target")
    assert other.startswith(f"{path}:3:51: routes.fast.chain: ")
    assert "2 problems" in sum_


def test_check_for_programs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(GOOD)
    assert main(["check", "--json", "--config", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["routes"]["g-*"]) == (True, "[b/g-*]")
    path.write_text(BAD)
    assert main(["check", "--json", "--config", str(path)]) == 78
    told = json.loads(capsys.readouterr().out)
    assert [(each["line"], each["column"], each["path"]) for each in told["problems"]] == [
        (3, 28, "routes.default.chain[0]"),
        (3, 51, "routes.fast.chain"),
    ]


def test_a_named_config_that_is_missing_is_78(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(path)]) == 78
    assert f"{path}: no such file" in capsys.readouterr().err


def test_what_init_writes_passes_check(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(path)]) == 0
    said = capsys.readouterr().out
    assert f"sidecar check --config {path}" in said
    named = path.read_text().partition("$schema=")[2].split()[0]  # which an editor looks for beside it
    assert f"sidecar schema > {path.with_name(named)}" in said
    assert path.read_text() == (ROOT / "config/sidecar.yaml").read_text()
    assert main(["check", "--config", str(path)]) == 0


def test_init_overwrites_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text("mine")
    assert main(["init", str(path)]) == 1
    assert path.read_text() == "mine"
    assert "is there already" in capsys.readouterr().err


def test_init_tells_why_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "nowhere" / "sidecar.yaml")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_what_import_env_prints_passes_check_and_holds_no_key(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-canary")
    monkeypatch.setenv("LLM_PROVIDER", "openai")
    assert main(["import-env"]) == 0
    said = capsys.readouterr()
    assert "sk-planted-canary" not in said.out + said.err
    assert yaml.safe_load(said.out)["providers"]["openai"]["api_key"] == "${OPENAI_API_KEY}"
    path.write_text(said.out)
    assert main(["check", "--config", str(path)]) == 0


def test_import_env_warns_beside_the_config(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k-anthropic")
    monkeypatch.setenv("LLM_FALLBACK_CHAIN", "anthropic,openai")
    assert main(["import-env"]) == 0
    assert "$LLM_FALLBACK_CHAIN names openai" in capsys.readouterr().err


def test_an_environment_that_cannot_be_used_is_78(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k-openai")
    monkeypatch.setenv("LLM_PROVIDER", "opnai")
    assert main(["import-env"]) == 78
    assert 'did you mean "openai"' in capsys.readouterr().err


def test_schema_is_the_published_one_to_the_byte(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == (ROOT / "config/sidecar.schema.json").read_text()
