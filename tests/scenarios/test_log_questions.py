"""What the documentation asks of the log with jq, asked of the log of a real outage."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider, ok, status

DOCS = Path(__file__).parents[2] / "docs"
QUESTIONS = [
    question
    for page in ("logs.md", "resilience.md")
    for block in re.findall(r"```sh\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    for question in block.splitlines()
    if question.startswith("jq ")
]

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")


def asked(question: str, log: Path, request_id: str) -> str:
    question = question.replace("req_7f3a", request_id)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", question.replace("sidecar.log", str(log))],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        cwd=DOCS,
    )
    assert (done.returncode, done.stderr) == (0, ""), question
    return done.stdout


async def test_every_question_has_its_answer_in_the_log(tmp_path: Path) -> None:
    assert len(QUESTIONS) >= 9
    async with FakeProvider() as a, FakeProvider() as b:
        a.script(status(503, "down for a while"))
        b.script(ok())
        priced = "models: {m: {price: {input: 1, output: 1}}}"
        config = f"""
providers:
  a: {{type: openai-compatible, base_url: "{a.base_url}", api_key: k}}
  b: {{type: openai-compatible, base_url: "{b.base_url}", api_key: k, {priced}}}
routes: {{default: {{chain: [a/m, b/m]}}}}
health: {{mode: "off"}}
"""
        async with RunningDaemon(tmp_path, config) as daemon:
            ids = [(await daemon.chat(stream=True))[1]["x-request-id"] for _ in range(4)]
            await daemon.wait_log("request", count=4)
            await daemon.wait_log("target.opened")
            skipped = (await daemon.wait_log("attempt", outcome="skipped"))[0]["request_id"]
            log = daemon.stderr_path
            answers = {question: asked(question, log, ids[0]) for question in QUESTIONS}
            first, later = (asked(next(q for q in QUESTIONS if "why.jq" in q), log, each) for each in (ids[0], skipped))
    silent = [question for question, answer in answers.items() if not answer]
    assert all("committed" in question or "rescue" in question for question in silent), silent
    assert "default -> route default, ok after " in first
    assert re.search(r"1\. primary a/m: failed after \S+ s: overloaded: down for a while", first)
    assert re.search(r"fallback b/m: ok after ", first)
    assert "  passed over a/m: open: overloaded\n" in later
    assert re.search(r"a/m was open since \S+: overloaded", later)
    assert "1. fallback b/m: ok" in later
    assert asked(f"jq -rs --arg id nobody -f why.jq {log}", log, "") == "no request nobody in this log\n"
