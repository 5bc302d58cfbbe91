"""The config is edited while traffic runs: every way of saving, no failed request, each change in force."""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path
from time import monotonic

from sidecar.manager import LLMManager
from sidecar.model.topology import Snapshot
from sidecar.reload import Reloader
from sidecar.sources.configuration import ConfigurationManager
from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider, ok
from tests.saves import SAVES
from tests.starvation import starvation
from tests.traffic import traffic

_SAVES = 100
_DAEMONS = 4
_IN_FORCE_S = 2.0
_PATIENCE_S = 30.0


def _config(fakes: tuple[FakeProvider, FakeProvider], first: str, second: str, number: int) -> str:
    a, b = fakes
    return f"""# edit {number:06d}
providers:
  a: {{type: openai-compatible, base_url: "{a.base_url}", api_key: k}}
  b: {{type: openai-compatible, base_url: "{b.base_url}", api_key: k}}
routes:
  default: {{chain: [{first}/m, {second}/m]}}
"""


async def _in_force(daemon: RunningDaemon, target: str) -> float:
    """Seconds until a new request goes there, which must be few."""
    began = monotonic()
    async with starvation() as starved:
        while monotonic() - began < _PATIENCE_S:
            _, headers, _ = await daemon.chat()
            if headers["x-sidecar-target"] == target:
                took_s = monotonic() - began
                assert took_s <= _IN_FORCE_S + starved.allowance_s
                return took_s
            await asyncio.sleep(0.01)
    raise AssertionError(f"{target} is not in force after {_PATIENCE_S} s:\n{daemon.stderr[-2000:]}")


async def test_a_hundred_saves_in_ten_ways_fail_no_request(tmp_path: Path) -> None:
    assert len(SAVES) == 10
    # Several daemons side by side: an edit mostly waits until the file has settled.
    took = await asyncio.gather(*(_saves(tmp_path / str(number), number) for number in range(_DAEMONS)))
    times_s = [time_s for times_s in took for time_s in times_s]
    assert len(times_s) == _SAVES
    assert statistics.median(times_s) < _IN_FORCE_S / 2


async def _saves(tmp_path: Path, offset: int) -> list[float]:
    """A daemon's share of the saves, each begun at another way; seconds until each was in force."""
    times_s = []
    async with FakeProvider() as a, FakeProvider() as b:
        a.script(ok("from a"))
        b.script(ok("from b"))
        fakes = a, b
        async with RunningDaemon(tmp_path, _config(fakes, "a", "b", 0)) as daemon, traffic(daemon) as answers:
            for number in range(1, _SAVES // _DAEMONS + 1):
                first, second = ("b", "a") if number % 2 else ("a", "b")
                text = daemon.complete(_config(fakes, first, second, number))
                save = SAVES[(number + offset * _SAVES // _DAEMONS) % len(SAVES)]
                await asyncio.to_thread(save, daemon.config_path, text)
                times_s.append(await _in_force(daemon, f"{first}/m"))
            assert {status for status, _ in answers} == {200}
            assert {target for _, target in answers} == {"a/m", "b/m"}
    return times_s


async def test_an_invalid_edit_changes_nothing_and_says_where(tmp_path: Path) -> None:
    async with FakeProvider() as a, FakeProvider() as b:
        good = _config((a, b), "a", "b", 0)
        async with RunningDaemon(tmp_path, good) as daemon, traffic(daemon) as answers:
            line = await daemon.edit(good.replace("a/m", "opnai/m"), event="config.rejected")
            assert 'unknown target "opnai/m"' in line["problems"][0]
            assert f"{daemon.config_path}:" in line["problems"][0]
            _, status = await daemon.admin("GET", "/status")
            assert status["last_reload_successful"] is False
            assert status["generation"] == 1
            await _in_force(daemon, "a/m")
            await daemon.edit(good.replace("edit 000000", "edit 000001").replace("[a/m, b/m]", "[b/m]"))
            await _in_force(daemon, "b/m")
            _, status = await daemon.admin("GET", "/status")
            assert status["last_reload_successful"] is True
        assert {status for status, _ in answers} == {200}


async def test_a_config_and_a_key_that_go_are_told_of_once_and_when_they_are_back(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k-1")
    key.chmod(0o600)
    async with FakeProvider() as a, FakeProvider() as b:
        text = _config((a, b), "a", "b", 0).replace("api_key: k", f'api_key: "${{file:{key}}}"')
        async with RunningDaemon(tmp_path, text) as daemon:
            for told, path in enumerate((daemon.config_path, key), 1):
                content = path.read_bytes()
                path.unlink()
                line = (await daemon.wait_log("config.warned", count=told))[-1]
                assert line["warning"].startswith(f"{path}: cannot be read: No such file or directory")
                _, status = await daemon.admin("GET", "/status")
                assert status["warnings"] == [line["warning"]]
                path.write_bytes(content)
                await daemon.wait_log("config.found", path=str(path))
                _, status = await daemon.admin("GET", "/status")
                assert not status["warnings"]
            assert len(daemon.log_lines("config.warned")) == 2


async def test_of_keys_that_go_each_is_told_of_once_and_one_that_is_needed_no_more_is_not_found(tmp_path: Path) -> None:
    keys = [tmp_path / name for name in ("key-a", "key-b")]
    for key in keys:
        key.write_text("k-1")
        key.chmod(0o600)
    async with FakeProvider() as a:
        plain = text = _config((a, a), "a", "b", 0)
        for key in keys:
            text = text.replace("api_key: k}", f'api_key: "${{file:{key}}}"}}', 1)
        async with RunningDaemon(tmp_path, text) as daemon:
            for told, key in enumerate(keys, 1):
                key.unlink()
                lines = await daemon.wait_log("config.warned", count=told)
                assert [str(each) in line["warning"] for each, line in zip(keys, lines, strict=False)] == [True] * told
            await daemon.edit(plain)
            async with asyncio.timeout(_PATIENCE_S):
                while (await daemon.admin("GET", "/status"))[1]["warnings"]:
                    await asyncio.sleep(0.01)
            await daemon.chat()
            await daemon.wait_log("request")  # and all that was said before it
            assert len(daemon.log_lines("config.warned")) == len(keys)
            assert not daemon.log_lines("config.found")


async def test_an_edit_that_meets_a_bug_is_rejected_and_the_next_one_applied(tmp_path: Path) -> None:
    text = "providers: {{a: {{type: embedded}}}}\nroutes: {{default: {{chain: [a/{model}]}}}}\n"
    path = tmp_path / "sidecar.yaml"
    path.write_text(text.format(model="one"))
    bugs: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context["exception"]))
    async with LLMManager(ConfigurationManager(str(path), environ={})) as manager:

        async def take_over(snapshot: Snapshot) -> None:
            if not bugs:
                raise LookupError("a bug")
            manager.adopt(snapshot)

        reloader = Reloader(manager, take_over)
        following = asyncio.create_task(reloader.run())
        for model in ("two", "three"):
            path.write_text(text.format(model=model))
            async with asyncio.timeout(_PATIENCE_S):
                while manager.snapshot.generation == 1 and (model == "three" or reloader.successful):
                    await asyncio.sleep(0.01)
            assert ["LookupError" in problem for problem in reloader.rejected] == [True] * (model == "two")
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert [type(bug) for bug in bugs] == [LookupError]


async def test_an_edit_takes_effect_though_whoever_asked_for_it_hangs_up(tmp_path: Path) -> None:
    reload = b"POST /reload HTTP/1.1\r\nHost: localhost\r\nX-Sidecar-Request: 1\r\nContent-Length: 0\r\n\r\n"
    async with FakeProvider() as a, RunningDaemon(tmp_path, _config((a, a), "a", "b", 0)) as daemon:
        for number in range(1, 9):
            daemon.write(_config((a, a), "ab"[number % 2], "ba"[number % 2], number))
            _, writer = await asyncio.open_unix_connection(daemon.admin_path)
            writer.write(reload)
            await asyncio.sleep(number % 4 * 0.0005)  # while it is being read, or thereabouts
            writer.close()
            await daemon.wait_log("config.applied", count=number, timeout_s=5)
