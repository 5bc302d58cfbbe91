"""The daemon under a service manager: sockets it did not bind, what it tells, and what it does with a broken config."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon, run_daemon
from tests.fake_provider import FakeProvider
from tests.server.raw import RawClient, head
from tests.systemd.service import ServedDaemon, ServiceManager

BROKEN = "routes: {default: {chain: [nobody/m]}}\n"


def config(url: str, *more: str) -> str:
    return "\n".join(
        (
            f'providers: {{fake: {{type: openai-compatible, base_url: "{url}", api_key: k}}}}',
            "routes: {default: {chain: [fake/m]}}",
            'health: {mode: "off"}',
            *more,
            "",
        )
    )


def last(heard: list[str]) -> str:
    """The last change of state."""
    return next(each for each in reversed(heard) if each != "WATCHDOG=1")


@pytest.fixture
def fake_url() -> str:
    return "http://127.0.0.1:9/v1"


async def test_it_serves_on_every_socket_that_was_handed_over_and_on_no_other(tmp_path: Path) -> None:
    async with FakeProvider() as fake:
        with ServiceManager("data", "port", "admin") as manager:
            async with ServedDaemon(tmp_path, config(fake.base_url), manager) as daemon:
                assert set(daemon.listen) == {f"unix:{manager.run}/data.sock", f"127.0.0.1:{manager.port}"}
                for unix in (True, False):
                    assert (await daemon.chat(unix=unix))[0] == 200
                descriptors = [os.readlink(entry) for entry in Path(f"/proc/{daemon.process.pid}/fd").iterdir()]
                assert sum(each.startswith("socket:") for each in descriptors) >= 3
                environ = Path(f"/proc/{daemon.process.pid}/environ").read_bytes()
                assert b"LISTEN_PID=" in environ  # as it was begun with; what it gives to others is tested elsewhere
            assert (manager.run / "data.sock").exists()
            assert (manager.run / "admin.sock").exists()


async def test_an_edit_guards_such_a_socket_anew_and_never_binds_or_removes_it(tmp_path: Path, fake_url: str) -> None:
    with ServiceManager("data", "port", "admin") as manager:
        path = manager.run / "data.sock"
        before = path.stat()
        text = config(fake_url)
        async with ServedDaemon(tmp_path, text, manager) as daemon:
            status, _, _ = await daemon.request("GET", "/healthz", headers={"Host": "other.example"})
            assert status == 421
            listen = f'listen: [{{address: "localhost:{manager.port}", allowed_hosts: [other.example]}}]'
            await daemon.edit(config(fake_url, listen))
            status, _, _ = await daemon.request("GET", "/healthz", headers={"Host": "other.example"})
            assert status == 200
            new = f'listen: ["unix:{manager.run}/new.sock", {{address: "unix:{path}", mode: "0600"}}]'
            await daemon.edit(config(fake_url, new))
            assert len(daemon.listen) == 3
            await daemon.edit(text)
            assert (await daemon.request("GET", "/healthz", unix=True))[0] == 200
            assert not (manager.run / "new.sock").exists()
        after = path.stat()
        assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


async def test_who_connects_while_it_is_away_is_answered_when_it_is_back(tmp_path: Path, fake_url: str) -> None:
    with ServiceManager("data", "port", "admin") as manager:
        for _ in range(2):
            async with ServedDaemon(tmp_path, config(fake_url), manager) as daemon:
                assert (await daemon.request("GET", "/healthz", unix=True))[0] == 200
        async with (
            await RawClient.to(manager.port) as by_port,
            await RawClient.to(str(manager.run / "data.sock")) as by_path,
        ):
            await by_port.send(head("GET", "/healthz", host=f"localhost:{manager.port}"))
            await by_path.send(head("GET", "/healthz"))
            async with ServedDaemon(tmp_path, config(fake_url), manager):
                assert (await by_port.reply()).status == 200
                assert (await by_path.reply()).status == 200


async def test_what_was_handed_to_another_process_is_left_alone(tmp_path: Path, fake_url: str) -> None:
    env = {"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "data"}
    async with RunningDaemon(tmp_path, config(fake_url), env=env) as daemon:
        assert (await daemon.request("GET", "/healthz"))[0] == 200


@pytest.mark.parametrize("flaw", ["no stream", "does not listen", "two for the admin plane"])
async def test_what_nobody_can_serve_on_is_refused_aloud(tmp_path: Path, fake_url: str, flaw: str) -> None:
    with ServiceManager("data", "admin") as manager:
        if flaw == "two for the admin plane":
            manager.names = ("admin", "admin")
        else:
            kind = socket.SOCK_DGRAM if flaw == "no stream" else socket.SOCK_STREAM
            manager.sockets["data"].close()
            manager.sockets["data"] = socket.socket(socket.AF_INET, kind)
            manager.sockets["data"].bind(("127.0.0.1", 0))
        daemon = ServedDaemon(tmp_path, config(fake_url), manager)
        try:
            daemon.start()
            assert await daemon.wait() == 78
            assert ("admin plane" if flaw.startswith("two") else "Accept=no") in daemon.stderr
        finally:
            await daemon._clean_up()


# -- what the manager hears


async def test_it_tells_when_it_is_ready_reloading_alive_and_stopping(tmp_path: Path, fake_url: str) -> None:
    with ServiceManager("data", "admin", watchdog_s=0.2) as manager:
        text = config(fake_url)
        async with ServedDaemon(tmp_path, text, manager) as daemon:
            heard = await daemon.hears(lambda heard: heard.count("WATCHDOG=1") >= 3)
            assert heard[0].startswith("READY=1\nSTATUS=generation 1, 1 routes of ")
            await daemon.edit(text + "log: {level: debug}\n")
            heard = await daemon.hears(lambda heard: "STATUS=generation 2" in last(heard))
            assert [each.partition("\n")[0] for each in heard if each != "WATCHDOG=1"] == [
                "READY=1",
                "RELOADING=1",
                "READY=1",
            ]
            assert (await daemon.admin("POST", "/reload"))[1]["applied"]
            daemon.write(BROKEN)
            heard = await daemon.hears(lambda heard: "REJECTED" in last(heard))
            assert "nobody" in last(heard)
        said = [each.partition("\n")[0] for each in manager.heard]
        assert said.count("RELOADING=1") == said.count("READY=1") - 1 == 3
        assert said.index("STOPPING=1") > max(index for index, each in enumerate(said) if each == "READY=1")
        assert "EXTEND_TIMEOUT_USEC=15000000" in said[said.index("STOPPING=1") :]


# -- a broken config at the start


async def test_a_broken_config_at_the_start_gives_way_to_the_last_good_one(tmp_path: Path) -> None:
    async with FakeProvider() as fake:
        text = config(fake.base_url)
        with ServiceManager("data", "admin") as manager:
            async with ServedDaemon(tmp_path, text, manager) as daemon:
                await daemon.until(lambda: bool(list(manager.state.glob("*.json"))), "nothing was kept")
            async with ServedDaemon(tmp_path, BROKEN, manager) as daemon:
                assert (await daemon.chat(unix=True))[0] == 200
                [line] = await daemon.wait_log("config.rejected")
                assert "sidecar.yaml:1:" in line["problems"][0]
                status, _, body = await daemon.request("GET", "/readyz", unix=True)
                assert (status, b"last good" in body) == (200, True)
                told = (await daemon.admin("GET", "/status"))[1]
                assert (told["last_reload_successful"], told["rejected"]) == (False, line["problems"])
                assert "REJECTED" in last(manager.heard)
                await daemon.edit(text)  # the very text that was the last good one
                told = (await daemon.admin("GET", "/status"))[1]
                assert (told["last_reload_successful"], told["warnings"]) == (True, [])
                assert told["source"] == str(daemon.config_path)


async def test_without_a_last_good_config_it_answers_503_with_the_reason_until_it_is_mended(tmp_path: Path) -> None:
    async with FakeProvider() as fake:
        with ServiceManager("data", "admin") as manager:
            async with ServedDaemon(tmp_path, BROKEN, manager) as daemon:
                for path in ("/readyz", "/v1/chat/completions"):
                    answer = daemon.request("GET", path, unix=True) if path == "/readyz" else daemon.chat(unix=True)
                    status, _, body = await answer
                    assert (status, b"nobody" in body) == (503, True)
                assert (await daemon.request("GET", "/healthz", unix=True))[0] == 200
                assert not list(manager.state.iterdir())
                await daemon.edit(config(fake.base_url))
                assert (await daemon.chat(unix=True))[0] == 200
                assert (await daemon.request("GET", "/readyz", unix=True))[0] == 200


async def test_strict_refuses_a_broken_config_whatever_was_kept(tmp_path: Path, fake_url: str) -> None:
    with ServiceManager() as manager:
        admin = 'admin: {listen: "unix:@RUN@/admin.sock"}'
        async with ServedDaemon(tmp_path, config(fake_url, 'listen: ["127.0.0.1:0"]', admin), manager) as daemon:
            await daemon.until(lambda: bool(list(manager.state.glob("*.json"))), "nothing was kept")
        code, said = await run_daemon(tmp_path, BROKEN, env=manager.environ, arguments=["--strict"])
        assert code == 78
        assert "sidecar.yaml:" in said


async def test_its_last_words_have_a_priority_where_the_journal_reads_them(tmp_path: Path) -> None:
    journal = tmp_path / "stderr"
    journal.touch()
    env = {"JOURNAL_STREAM": f"{journal.stat().st_dev}:{journal.stat().st_ino}"}
    code, said = await run_daemon(tmp_path, BROKEN + "listen: 1\n", env=env)
    assert code == 78
    lines = said.splitlines()
    assert len(lines) > 1
    assert all(line.startswith("<3>") for line in lines)
