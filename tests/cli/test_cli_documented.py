"""What the README and the API's documentation show is run, and is complete."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sidecar
from sidecar.cli.arguments import COMMANDS
from tests.cli.running import ROOT
from tests.daemon import RunningDaemon

API = (ROOT / "docs/python-api.md").read_text()
README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    every = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [code for found, code in every if found == language]


def run(code: str, directory: Path, *options: str) -> str:
    """Run it with no key and no config in sight; what it printed."""
    env = {"PYTHONPATH": str(ROOT), "HOME": str(directory), "PATH": os.defpath, "OLLAMA_HOST": "127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", code],
        cwd=directory,
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("code", blocks(API, "python"), ids=lambda code: code.split("from sidecar ")[1].split("\n")[0])
def test_every_example_of_the_api_runs(code: str, tmp_path: Path) -> None:
    run(code, tmp_path)


def test_every_public_name_is_documented() -> None:
    assert [name for name in sidecar.__all__ if f"{name}" not in API] == []


def test_every_call_that_is_documented_exists() -> None:
    documented = re.findall(r"^(?:async )?(?:(\w+)(?:\(\))?\.)?(\w+)\(", "\n".join(blocks(API, "")), re.MULTILINE)
    assert len(documented) > 30
    public = {name: getattr(sidecar, name) for name in sidecar.__all__}
    known = {*public, *(attribute for value in public.values() for attribute in dir(value))}
    wrong = [f"{owner}.{name}" for owner, name in documented if owner and not hasattr(public[owner], name)]
    assert wrong + [name for _, name in documented if name not in known] == []


async def test_the_sdk_examples_of_the_readme_work_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = "providers: {a: {type: embedded}}\nroutes: {default: {chain: [a/ok]}}\n"
    async with RunningDaemon(tmp_path, config) as daemon:
        for code in blocks(README, "python"):
            code = code.replace("http://127.0.0.1:4141", daemon.base_url)
            code = code.replace("/run/sidecar/sidecar.sock", daemon.socket)
            # The SDK leaves its sockets to the end of the process.
            assert await asyncio.to_thread(run, code, tmp_path / "empty", "-W", "ignore::ResourceWarning")
        (curl,) = [code for code in blocks(README, "sh") if code.startswith("curl")]
        shell = await asyncio.create_subprocess_exec(
            "bash", "-c", curl.replace("curl http://127.0.0.1:4141", f"curl -s -m 10 {daemon.base_url}"), stdout=-1
        )
        out, _ = await asyncio.wait_for(shell.communicate(), 20)
        assert b"Hello from a/ok" in out


def test_the_config_of_the_readme_passes_check(tmp_path: Path) -> None:
    (config,) = blocks(README, "yaml")
    key = tmp_path / "key"
    key.write_text("k")
    path = tmp_path / "sidecar.yaml"
    path.write_text(config.replace("/run/secrets/anthropic", str(key)))
    command = [sys.executable, "-m", "sidecar", "check", "--config", str(path)]
    env = {"OPENAI_API_KEY": "k-openai"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 providers, 3 routes" in done.stdout


def test_the_readme_names_every_command() -> None:
    assert [command.name for command in COMMANDS if command.name not in README] == []


def test_links_lead_somewhere() -> None:
    for name in ("README.md", "docs/python-api.md", "CHANGELOG.md"):
        path = ROOT / name
        text = path.read_text()
        headings = {
            re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)", text, re.M)
        }
        for target in re.findall(r"\]\(([^)]+)\)", text):
            if target.startswith("#"):
                assert target[1:] in headings, target
            elif "://" not in target:
                assert (path.parent / target).exists(), target
