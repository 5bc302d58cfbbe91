"""The vendors' SDKs of the generation before, in an environment of their own, against every provider dialect.

`make test` sets the environment up; it stands in `.venv-older`.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import RunningDaemon
from tests.matrix.asked import ANSWERS, CACHED, CALLS, INPUT, OUTPUT
from tests.matrix.vendors import CONFIG, Vendors

_ROOT = Path(__file__).resolve().parents[2]
_PYTHON = _ROOT / ".venv-older" / "bin" / "python"
_PATIENCE_S = 150.0

_READY = _ROOT / ".venv-older" / ".ready"

pytestmark = pytest.mark.skipif(not _READY.exists(), reason="the older SDKs are not set up: make .venv-older/.ready")

EXPECTED: dict[str, dict[str, Any]] = {
    "plain": {"text": ANSWERS["plain"], "stop": True, "tokens": [INPUT, CACHED, OUTPUT]},
    "tools": {"calls": [list(call) for call in CALLS], "stop": True, "text": ANSWERS["results"]},
    "structured": {"text": ANSWERS["structured"], "stop": True},
}


async def _told(base_url: str) -> dict[str, Any]:
    """What the script prints."""
    process = await asyncio.create_subprocess_exec(
        *(_PYTHON, "-m", "tests.older_sdks.asking", base_url),
        cwd=_ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(_ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), _PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, errors.decode()[-3000:]
    told: dict[str, Any] = json.loads(output.splitlines()[-1])
    return told


async def test_the_generation_before_is_answered_by_every_provider(tmp_path: Path) -> None:
    async with (
        Vendors() as vendors,
        RunningDaemon(tmp_path, CONFIG.format(at=f"http://127.0.0.1:{vendors.port}")) as daemon,
    ):
        told = await _told(daemon.base_url)
    assert vendors.faults == []
    versions = [int(version.partition(".")[0]) for version in told.pop("versions")]
    assert versions == [1, 0, 1]
    assert len(told) == 4 * 4 * 5 * 2
    for name, came in told.items():
        _, provider, case, _ = name.split()
        if case == "wrong":
            assert f"{provider} says 429" in came.get("message", ""), (name, came)
        elif case == "broken":
            assert "it broke in the middle" in came.get("message", ""), (name, came)
        else:
            assert came == EXPECTED[case], (name, came)
