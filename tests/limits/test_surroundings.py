"""What fails around the daemon: the disk, the reader of its log, the clock, its config."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider, ok, status
from tests.limits.bounds import MIB, bounded, well
from tests.limits.conftest import CONFIG
from tests.server.raw import RawClient, chat_body, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

_CALLS = 300


async def _dropped(daemon: RunningDaemon) -> float:
    text = (await daemon.admin("GET", "/metrics"))[1]
    line = next(line for line in text.splitlines() if line.startswith("sidecar_log_dropped_total "))
    return float(line.split(" ")[1])


async def _many_calls(daemon: RunningDaemon) -> None:
    async with await RawClient.to(daemon.socket) as client:
        for _ in range(_CALLS):
            assert (await client.ask(post(chat_body("well")))).status == 200


async def test_a_full_disk_fails_no_request_and_is_counted(fake: FakeProvider, tmp_path: Path) -> None:
    fake.script(ok("fine"))
    config = CONFIG.format(url=fake.base_url, well=fake.base_url) + "log: {output: /dev/full}\n"
    async with RunningDaemon(tmp_path, config) as daemon, bounded(daemon, 20 * MIB, "a full disk"):
        await _many_calls(daemon)
        assert await _dropped(daemon) >= _CALLS


async def test_a_reader_of_the_log_who_does_not_read_holds_up_nobody(fake: FakeProvider, tmp_path: Path) -> None:
    """A pipe that is full blocks whoever writes; that is a thread of its own."""
    fake.script(ok("fine"))
    config = CONFIG.format(url=fake.base_url, well=fake.base_url) + 'log: {output: "@RUN@/pipe"}\n'
    daemon = RunningDaemon(tmp_path, config)
    os.mkfifo(daemon.run / "pipe")
    reader = os.open(daemon.run / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        async with daemon:
            async with bounded(daemon, 20 * MIB, "a log that nobody reads"):
                await _many_calls(daemon)
            assert await _dropped(daemon) == 0  # they wait
            os.set_blocking(reader, True)
            text = b""
            async with asyncio.timeout(5):
                while text.count(b'"event":"request"') < _CALLS:
                    text += await asyncio.to_thread(os.read, reader, 65536)
            drained = asyncio.create_task(asyncio.to_thread(_drain, reader))
        await drained
    finally:
        os.close(reader)


def _drain(reader: int) -> None:
    while os.read(reader, 65536):
        pass


_CLOCK = """
import signal, time
_of, _of_ns, _moved = time.time, time.time_ns, [0]
def _move(by):
    def moved(*_):
        _moved[0] += by
    return moved
time.time = lambda: _of() + _moved[0]
time.time_ns = lambda: _of_ns() + _moved[0] * 10**9
signal.signal(signal.SIGUSR1, _move(-3 * 86400))
signal.signal(signal.SIGUSR2, _move(5 * 86400))
"""


async def test_a_clock_that_jumps_moves_no_deadline_and_no_breaker(fake: FakeProvider, tmp_path: Path) -> None:
    """Only what is written down has the wall clock's time; what is waited for is measured by another."""
    (tmp_path / "sitecustomize.py").write_text(_CLOCK)
    root = Path(__file__).parents[2]
    config = f"""
providers:
  well: {{type: openai-compatible, base_url: "{fake.base_url}", api_key: k, breaker: {{consecutive_failures: 1,
    open: {{base: 1s, factor: 1000, floor: 1s}}}}}}
routes: {{well: {{chain: [well/m]}}}}
health: {{mode: "off"}}
resilience: {{same_target_retries: 0}}
"""
    async with RunningDaemon(tmp_path, config, env={"PYTHONPATH": f"{tmp_path}:{root}"}) as daemon:

        async def open_for_s() -> float:
            targets = (await daemon.admin("GET", "/status"))[1]["providers"]["well"]["targets"]
            return targets["well/m"]["open_for_s"] or 0.0

        for count, number in enumerate((signal.SIGUSR1, signal.SIGUSR2), 1):
            fake.script(status(500), ok("fine"))
            assert (await daemon.chat("well"))[0] == 502
            daemon.signal(number)
            assert 0 < await open_for_s() <= 1
            async with asyncio.timeout(5):
                while await open_for_s():
                    await asyncio.sleep(0.02)
            await well(daemon)
            await daemon.wait_log("request", count=2 * count)
            assert len({line["ts"][:10] for line in daemon.log_lines()}) == count + 1  # the log follows the clock
            await daemon.admin("POST", "/providers/well/reset")


def _delete(path: Path) -> None:
    path.unlink()


def _replace_by_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _write_a_half(path: Path) -> None:
    text = path.read_text()
    path.write_text(text[: text.index("routes:") + 20])


def _empty(path: Path) -> None:
    path.write_text("")


def _make_it_no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00routes")


def _make_it_endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _make_it_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _make_it_a_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


HARMS: dict[str, Callable[[Path], None]] = {
    "deleted": _delete,
    "a directory": _replace_by_a_directory,
    "half written": _write_a_half,
    "empty": _empty,
    "no text": _make_it_no_text,
    "endless": _make_it_endless,
    "a pipe": _make_it_a_pipe,
    "a circle of links": _make_it_a_circle,
}


async def test_a_config_that_comes_to_harm_changes_nothing_and_heals(fake: FakeProvider, tmp_path: Path) -> None:
    fake.script(ok("fine"))
    config = CONFIG.format(url=fake.base_url, well=fake.base_url)
    async with RunningDaemon(tmp_path, config) as daemon:
        good = daemon.config_path.read_text()
        async with bounded(daemon, 40 * MIB, "eight ways to lose a config"):
            for number, (name, harm) in enumerate(HARMS.items(), 1):
                harm(daemon.config_path)
                _, result = await daemon.admin("POST", "/reload")
                assert result["problems"], name
                assert str(daemon.config_path) in result["problems"][0], name
                assert (await daemon.admin("GET", "/status"))[1]["last_reload_successful"] is False, name
                await well(daemon)
                _remove(daemon.config_path)
                daemon.config_path.write_text(f"{good}# healed {number}\n")
                await _healed(daemon)
        assert not any(line["changes"] for line in daemon.log_lines("config.applied"))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


async def _healed(daemon: RunningDaemon) -> None:
    async with asyncio.timeout(5):
        while (await daemon.admin("GET", "/status"))[1]["last_reload_successful"] is False:
            await asyncio.sleep(0.02)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read any file")
async def test_a_config_that_cannot_be_read_any_more_changes_nothing(fake: FakeProvider, tmp_path: Path) -> None:
    fake.script(ok("fine"))
    async with RunningDaemon(tmp_path, CONFIG.format(url=fake.base_url, well=fake.base_url)) as daemon:
        daemon.config_path.chmod(0)
        await daemon.admin("POST", "/reload")
        await daemon.wait_log("config.rejected")
        daemon.config_path.chmod(0o600)
        await _healed(daemon)
        await well(daemon)
