"""Threat 8: another process of the same user reads a key out of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.sources.environment import Environment
from tests.daemon import RunningDaemon

_NOBODY = 65534
_ROOT = Path(__file__).parents[2]
_FROM_ENV, _FROM_FILE = "canary-env-Ee0123456789", "canary-file-Ff0123456789"
_CONFIG = """
listen: ["unix:{run}/data.sock"]
admin: {{listen: "unix:{run}/admin.sock"}}
log: {{output: "{run}/log"}}
providers:
  env: {{type: openai-compatible, base_url: "http://127.0.0.1:9", api_key: "${{PLANTED_API_KEY}}"}}
  file: {{type: openai-compatible, base_url: "http://127.0.0.1:9", api_key: "${{file:{run}/key}}"}}
routes: {{default: {{chain: [env/m, file/m]}}}}
health: {{mode: "off"}}
"""
_READ = """
import sys
for name in ("environ", "mem", "maps", "auxv"):
    try:
        with open(f"/proc/{sys.argv[1]}/{name}", "rb") as file:
            file.read(1)
            print(name, "readable")
    except OSError as error:
        print(name, type(error).__name__)
"""


def _python() -> str | None:
    """An interpreter that anybody may run, and that is of the same version as ours."""
    if os.geteuid() != 0:
        return sys.executable
    told = "import sys; print(sys.version_info[:2])"
    for path in ("/usr/bin/python3", sys.executable):
        done = subprocess.run([*_nobody(), path, "-c", told], capture_output=True, text=True, timeout=10, check=False)
        if done.stdout.strip() == str(sys.version_info[:2]):
            return path
    return None


def _nobody() -> list[str]:
    """Runs a command as somebody without rights, if we have any to lose."""
    lost = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    return lost if os.geteuid() == 0 and shutil.which("setpriv") else []


@pytest.fixture
def process() -> Iterator[tuple[subprocess.Popen[bytes], Path, str]]:
    """A daemon of a user without rights, its directory, and the interpreter."""
    python = _python()
    if python is None or (os.geteuid() == 0 and not _nobody()):
        pytest.skip("as root this needs setpriv, and a Python of our version that anybody may run")
    run = Path(tempfile.mkdtemp(prefix="sc-", dir="/tmp"))
    (run / "key").touch(0o600)
    (run / "key").write_text(_FROM_FILE)
    (run / "sidecar.yaml").write_text(_CONFIG.format(run=run))
    if os.geteuid() == 0:
        for path in (run, *run.iterdir()):
            os.chown(path, _NOBODY, _NOBODY)
    libraries = sysconfig.get_paths()["purelib"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{_ROOT}:{libraries}", "PLANTED_API_KEY": _FROM_ENV}
    env |= {"HOME": str(run), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [*_nobody(), python, "-m", "sidecar", "serve", "--config", str(run / "sidecar.yaml")]
    with open(run / "stderr", "wb") as stderr:
        process = subprocess.Popen(command, env=env, cwd=run, stdout=stderr, stderr=stderr)
    try:
        until = time.monotonic() + 20
        while not (run / "data.sock").exists():
            assert process.poll() is None, (run / "stderr").read_text()
            assert time.monotonic() < until, (run / "stderr").read_text()
            time.sleep(0.05)
        yield process, run, python
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(run, ignore_errors=True)


def test_08_a_process_of_the_same_user_cannot_look_inside(
    process: tuple[subprocess.Popen[bytes], Path, str],
) -> None:
    daemon, _, python = process
    assert f"\nUid:\t{_NOBODY if _nobody() else os.geteuid()}\t" in Path(f"/proc/{daemon.pid}/status").read_text()
    looked = subprocess.run(
        [*_nobody(), python, "-c", _READ, str(daemon.pid)], capture_output=True, text=True, timeout=20, check=True
    )
    assert looked.stdout.split("\n")[:-1] == [f"{name} PermissionError" for name in ("environ", "mem", "maps", "auxv")]
    limits = Path(f"/proc/{daemon.pid}/limits").read_text()
    [core] = [line.split() for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core[4:6] == ["0", "0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look at the environment of a process that hides it")
def test_08_a_key_from_a_file_is_not_even_in_the_environment(
    process: tuple[subprocess.Popen[bytes], Path, str],
) -> None:
    """One that came by the environment is there for as long as the process lives, for root to see."""
    environ = Path(f"/proc/{process[0].pid}/environ").read_bytes()
    assert _FROM_FILE.encode() not in environ
    assert _FROM_ENV.encode() in environ


async def test_08_a_reload_still_knows_the_environment_and_a_key_s_file_is_followed(tmp_path: Path) -> None:
    config = """
providers:
  a: {type: openai-compatible, base_url: "http://127.0.0.1:9", api_key: "${PLANTED_API_KEY}"}
routes: {default: {chain: [a/m]}}
health: {mode: "off"}
"""
    async with RunningDaemon(tmp_path, config, env={"PLANTED_API_KEY": _FROM_ENV}) as daemon:
        more = config.replace("routes:", '  b: {type: openai-compatible, base_url: "http://127.0.0.1:9", '
                              'api_key: "${PLANTED_API_KEY}"}\nroutes:')  # fmt: skip
        line = await daemon.edit(more)
        assert line["changes"] == ["providers.b: added, openai-compatible at http://127.0.0.1:9"]
        assert daemon.log_lines("config.warned") == []


def test_08_the_captured_environment_shows_nothing() -> None:
    captured = Environment.capture({"A_KEY": _FROM_ENV})
    assert captured["A_KEY"] == _FROM_ENV
    assert _FROM_ENV not in repr(captured) + str(captured) + f"{captured}"
