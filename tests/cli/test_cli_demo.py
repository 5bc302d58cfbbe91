"""The demo does what it says, notices when it does not, and leaves nothing behind."""

import asyncio
import re
import shlex
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sidecar.cli.exits import Failed
from sidecar.cli.stage import Missed, Stage, port_for, staged
from sidecar.cli.story import STEPS
from tests.cli.running import end, is_alive, sidecar, started

TITLES = [f"{number}. {step.title}" for number, step in enumerate(STEPS, 1)]


async def test_the_story_holds_in_an_empty_environment_on_a_taken_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = await sidecar("demo", "--once", "--port", port)
    assert (ended.code, ended.err) == (0, "")
    assert f"port {port} is taken, so this is port " in ended.out
    assert [line for line in ended.out.splitlines() if re.match(r"\d\. ", line)] == TITLES
    for said in (
        "200 from alpha/ok",
        "alpha/down                primary  fragile #1  overloaded  503",
        "alpha/ok  ############## 14",
        "beta/ok   ###### 6",
        "demo.yaml:",
        'unknown target "betta/ok"; did you mean "beta/ok"?',
        "ok: 6 steps, each as told",
    ):
        assert said in ended.out
    config = re.search(r"config +(\S+)", ended.out)
    assert config is not None
    assert not Path(config[1]).parent.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_serves_on_until_it_is_stopped(number: int) -> None:
    async with started("demo", "--port", str(port_for(1))) as process:
        said = b""
        async with asyncio.timeout(20):
            while b"What comes now:" not in said:
                line = await process.stdout.readline()
                assert line, said.decode()
                said += line
        text = said.decode()
        pid = int(re.findall(r"pid (\d+)", text)[0])
        directory = Path(re.findall(r"config +(\S+)", text)[0]).parent
        assert "until Ctrl-C (with --once it would not)" in text
        [command] = re.findall(r"See   (.+)", text)
        asked = await asyncio.create_subprocess_exec(*shlex.split(command), env={}, stdout=asyncio.subprocess.DEVNULL)
        assert await asyncio.wait_for(asked.wait(), 20) == 0
        assert is_alive(pid)
        process.send_signal(number)
        ended = await end(process)
    assert (ended.code, ended.err) == (0, "")
    assert not is_alive(pid)
    assert not directory.exists()


async def test_what_is_kept_is_not_overwritten() -> None:
    with TemporaryDirectory(prefix="sc-", dir="/tmp") as kept:
        directory = Path(kept, "demo")
        arguments = ("demo", "--once", "--keep", str(directory), "--port", str(port_for(1)))
        assert (await sidecar(*arguments)).code == 0
        assert "chain: [alpha/ok, beta/ok]" in (directory / "demo.yaml").read_text()
        assert '"event":"config.rejected"' in (directory / "sidecar.log").read_text()
        again = await sidecar(*arguments)
        assert again.code == 1
        assert "demo.yaml: is there already" in again.err


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with TemporaryDirectory(prefix="sc-", dir="/tmp") as name, staged(Path(name), port_for(1)) as stage:
        yield stage


UNTRUE = [
    (0, "alpha/ok, beta/ok", "beta/ok, alpha/ok", "alpha/ok should have answered"),
    (0, "alpha/ok, beta/ok", "alpha/policy", "should have been answered"),
    (1, "alpha/down, beta/ok", "beta/ok", "failed try of alpha/down"),
    (2, "alpha/ok: 70", "alpha/ok: 20", "should have answered 14"),
    (3, "alpha/ok, beta/ok", "beta/ok", "should hold"),
]


@pytest.mark.parametrize(("index", "old", "new", "message"), UNTRUE)
def test_a_step_that_does_not_come_about_is_noticed(stage: Stage, index: int, old: str, new: str, message: str) -> None:
    before = stage.config.read_text()
    generation = stage.status()["generation"]
    stage.config.write_text(before.replace(old, new))
    assert stage.happens(lambda: stage.status()["generation"] == generation + 1, 5)
    try:
        with pytest.raises(Missed, match=message):
            STEPS[index].play(stage)
    finally:
        stage.config.write_text(before)
        assert stage.happens(lambda: stage.status()["generation"] > generation + 1, 5)


def test_a_daemon_that_does_not_come_up_is_told_with_its_words() -> None:
    with TemporaryDirectory(prefix="sc-", dir="/tmp") as name, socket.create_server(("127.0.0.1", 0)) as taken:
        stage = Stage(Path(name), taken.getsockname()[1])
        with pytest.raises(Failed, match="another process listens there"):
            stage.start()
        stage.stop()
