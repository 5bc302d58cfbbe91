"""The harness itself: what it starts is ready, what it starts is gone, what is wrong fails the test."""

from pathlib import Path

import pytest

from tests.daemon import RunningDaemon, run_daemon
from tests.fake_provider import FakeProvider, ok

CONFIG = """
providers: {{fake: {{type: openai, base_url: "{url}", api_key: k}}}}
routes: {{default: {{chain: [fake/{model}]}}}}
health: {{mode: "off"}}
"""


async def test_it_answers_by_both_sockets_logs_and_follows_edits(tmp_path: Path) -> None:
    async with FakeProvider() as fake:
        fake.script(ok("hello"))
        async with RunningDaemon(tmp_path, CONFIG.format(url=fake.base_url, model="one")) as daemon:
            for unix in (False, True):
                status, headers, body = await daemon.chat(unix=unix)
                assert (status, headers["x-sidecar-target"]) == (200, "fake/one")
                assert b"hello" in body
            lines = await daemon.wait_log("attempt", count=2, outcome="ok")
            assert {line["target"] for line in lines} == {"fake/one"}
            applied = await daemon.edit(CONFIG.format(url=fake.base_url, model="two"))
            assert applied["generation"] == 2
            assert (await daemon.chat())[1]["x-sidecar-target"] == "fake/two"
            assert daemon.rss_bytes > 1_000_000
            run = daemon.run
        assert not daemon.running
        assert not run.exists()


async def test_a_daemon_that_refuses_gives_its_code_and_its_words(tmp_path: Path) -> None:
    code, said = await run_daemon(tmp_path, "routes: 1")
    assert code == 78
    assert "sidecar.yaml" in said


async def test_a_daemon_that_is_not_ready_fails_the_test(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ended with 78"):
        async with RunningDaemon(tmp_path, "routes: 1"):
            raise AssertionError("entered")


async def test_an_unexpected_exit_code_fails_the_test(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ended with -9"):
        async with RunningDaemon(tmp_path, CONFIG.format(url="http://127.0.0.1:9/v1", model="m")) as daemon:
            await daemon.stop(9)
