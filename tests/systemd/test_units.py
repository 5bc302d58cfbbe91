"""The units as systemd itself judges them: nothing that it does not understand, and little that it exposes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
SERVICES = ("sidecar.service", "sidecar@one.service")
SOCKETS = ("sidecar.socket", "sidecar@one.socket")
EXPOSURE_MOST = 1.3

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy whose program exists on this machine, and an instance of each template."""
    copies = tmp_path_factory.mktemp("units")
    program = Path(sys.executable).with_name("sidecar")
    for name in (*SERVICES, *SOCKETS):
        text = (UNITS / name.replace("one", "")).read_text()
        (copies / name).write_text(text.replace("/opt/llm-sidecar/bin/sidecar", str(program)))
    return copies


def analyze(units: Path, *arguments: str) -> str:
    command = ["systemd-analyze", "--no-pager", *arguments]
    done = subprocess.run(
        command, cwd=units, capture_output=True, text=True, timeout=30, check=False, env={"PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_understands_every_line(units: Path) -> None:
    assert analyze(units, "verify", "--recursive-errors=no", *(f"./{name}" for name in (*SERVICES, *SOCKETS))) == ""


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_exposes_little(units: Path, name: str) -> None:
    told = analyze(units, "security", "--offline=yes", f"--threshold={EXPOSURE_MOST * 10:.0f}", f"./{name}")
    [level] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert float(level) <= EXPOSURE_MOST


def test_the_template_is_the_service_for_a_name() -> None:
    """What differs is names, so that no hardening is forgotten in one of the two."""

    def settings(name: str) -> list[str]:
        lines = (UNITS / name).read_text().splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    for kind in ("service", "socket"):
        one = settings(f"sidecar.{kind}")
        template = [
            line.replace("@%i.", ".").replace("/%i.yaml", "/sidecar.yaml") for line in settings(f"sidecar@.{kind}")
        ]
        template = [line.replace("sidecar-%i", "sidecar").replace(" %i", "") for line in template]
        assert [line for line in template if line not in one] == (["User=sc-%i"] if kind == "service" else [])
        assert [line for line in one if line not in template] == []
