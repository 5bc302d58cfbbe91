"""The whole daemon: how it refuses to start, follows its config, holds its memory, and stops."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import stat
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon, run_daemon
from tests.fake_behaviours import Behaviour, Exchange
from tests.fake_provider import FakeProvider, ok, silence
from tests.server.house import config
from tests.server.raw import RawClient, chat_body, head, post

NOBODY = "http://127.0.0.1:9/v1"


# -- refusing to start


async def test_a_missing_config_that_was_named_is_exit_78(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    by_option, by_variable = await asyncio.gather(
        run_daemon(tmp_path / "a", None, arguments=["--config", str(missing)]),
        run_daemon(tmp_path / "b", None, env={"SIDECAR_CONFIG": str(missing)}),
    )
    assert (by_option[0], by_variable[0]) == (78, 78)
    assert f"{missing}: no such file" in by_option[1]
    assert "$SIDECAR_CONFIG" in by_variable[1]


async def test_a_config_that_is_wrong_is_exit_78_with_the_place(tmp_path: Path) -> None:
    (code, said), (other_code, other_said) = await asyncio.gather(
        run_daemon(tmp_path / "a", config(NOBODY, routes="{default: {chain: [fakke/m]}}")),
        run_daemon(tmp_path / "b", f'admin: {{listen: "127.0.0.1:0"}}\n{config(NOBODY)}'),
    )
    assert (code, other_code) == (78, 78)
    assert "sidecar.yaml:" in said
    assert 'did you mean "fake' in said
    assert "admin" in other_said
    assert "Traceback" not in said + other_said


UNBINDABLE = {
    '["0.0.0.0:0"]': "other machines",
    '["unix:@RUN@/file"]': "not a socket",
    '["unix:@RUN@/ok", "127.0.0.1:@PORT@"]': "another process listens there",
    '[{address: "unix:@RUN@/grouped", group: nosuchgroup}]': "nosuchgroup",
}


async def test_a_listener_that_cannot_be_had_is_exit_78_with_the_reason(tmp_path: Path, run: Path) -> None:
    (run / "file").write_text("precious")
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()

        async def refused(number: int, listen: str, words: str) -> None:
            listen = listen.replace("@RUN@", str(run)).replace("@PORT@", str(tcp.getsockname()[1]))
            code, said = await run_daemon(tmp_path / str(number), f"listen: {listen}\n{config(NOBODY)}")
            assert code == 78, said
            assert words in said
            assert "Traceback" not in said
            assert '"daemon.stopped"' not in said

        await asyncio.gather(*(refused(number, *row) for number, row in enumerate(UNBINDABLE.items())))
    assert (run / "file").read_text() == "precious"
    assert not (run / "ok").exists()


async def test_two_daemons_do_not_share_a_socket(tmp_path: Path) -> None:
    async with RunningDaemon(tmp_path / "one", config(NOBODY)) as first:
        (code, said), (other_code, _) = await asyncio.gather(
            run_daemon(tmp_path / "two", f'listen: ["unix:{first.socket}"]\n{config(NOBODY)}'),
            run_daemon(tmp_path / "three", f'admin: {{listen: "unix:{first.admin_path}"}}\n{config(NOBODY)}'),
        )
        assert (code, other_code) == (78, 78)
        assert "served by a running process" in said
        assert (await first.request("GET", "/healthz", unix=True))[0] == 200
        assert (await first.admin("GET", "/status"))[0] == 200


async def test_what_a_killed_daemon_left_is_taken_over(tmp_path: Path) -> None:
    daemon = RunningDaemon(tmp_path, config(NOBODY), exit_code=0)
    async with daemon:
        await daemon.stop(signal.SIGKILL)
        assert Path(daemon.socket).exists()
        daemon.start()
        await daemon._ready()
        assert (await daemon.request("GET", "/healthz", unix=True))[0] == 200


async def test_it_unlinks_its_own_sockets_and_nobody_elses(tmp_path: Path) -> None:
    listen = 'listen: ["unix:@RUN@/mine", "unix:@RUN@/theirs"]\n'
    async with RunningDaemon(tmp_path, listen + config(NOBODY)) as daemon:
        theirs = daemon.run / "theirs"
        assert stat.S_IMODE(theirs.stat().st_mode) == 0o660
        theirs.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(theirs))
            other.listen()
            assert await daemon.stop() == 0
            assert theirs.exists()
        assert not (daemon.run / "mine").exists()
        assert not daemon.admin_path.exists()


# -- stopping


async def test_sigterm_lets_a_running_stream_end(tmp_path: Path, fake: FakeProvider, wire: str) -> None:
    fake.script(ok(gap_s=0.01))
    async with RunningDaemon(tmp_path, config(fake.base_url, wire=wire)) as daemon:
        async with await RawClient.to(daemon.socket) as streaming, await RawClient.to(daemon.socket) as idle:
            assert (await idle.ask(head("GET", "/readyz"))).status == 200
            await streaming.send(post(chat_body(stream=True)))
            await streaming.head()
            await streaming.chunk()
            daemon.signal(signal.SIGTERM)
            [line] = await daemon.wait_log("daemon.draining")
            assert line["in_flight"] == 1
            status, told = await daemon.admin("GET", "/status")
            assert (status, told["draining"]) == (200, True)
            ready = await idle.ask(head("GET", "/readyz"))
            assert (ready.status, ready.closes) == (503, True)
            with pytest.raises(OSError):  # noqa: PT011 - refused, or the socket's path is gone
                await RawClient.to(daemon.port)
            stream = b""
            while piece := await streaming.chunk():
                stream += piece
            assert stream.endswith(b"data: [DONE]\n\n")
        assert await daemon.wait() == 0
        assert daemon.log_lines("request", outcome="ok")
        assert daemon.log_lines("daemon.stopped")


async def test_the_drains_timeout_ends_what_is_left_with_an_error_event(tmp_path: Path, fake: FakeProvider) -> None:
    fake.script(ok(gap_s=0.05))
    fake.on("silent", silence())
    text = config(fake.base_url, drain="{timeout: 200ms}")
    async with RunningDaemon(tmp_path, text) as daemon:
        async with await RawClient.to(daemon.socket) as streaming, await RawClient.to(daemon.socket) as waiting:
            await streaming.send(post(chat_body(stream=True)))
            await waiting.send(post(chat_body("fake/silent")))
            await streaming.head()
            await fake.wait_calls(2)
            assert await daemon.stop() == 0
            rest = await streaming.rest()
            last = rest.decode().rpartition("data: ")[2].partition("\n")[0]
            assert "stopping" in json.loads(last)["error"]["message"]
            assert b"[DONE]" not in rest
            reply = await waiting.reply()
            assert reply.status == 503
            assert "stopping" in reply.error["message"]
        outcomes = [line["outcome"] for line in daemon.log_lines("request")]
        assert len(outcomes) == 2
        assert "ok" not in outcomes


async def test_the_last_bytes_of_an_answer_reach_a_client_that_reads_slowly(tmp_path: Path, fake: FakeProvider) -> None:
    words = tuple(f"word{number}" for number in range(100_000))
    fake.script(ok(words=words))
    async with RunningDaemon(tmp_path, config(fake.base_url)) as daemon:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(daemon.socket)
            client.sendall(post(chat_body()))
            await fake.wait_calls(1)
            await fake.wait_idle()
            daemon.signal(signal.SIGTERM)
            await daemon.wait_log("daemon.draining")
            answer = b""
            while piece := client.recv(16384):
                answer += piece
                await asyncio.sleep(0.005)
        head_, _, body = answer.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head_.lower()
        assert json.loads(body)["choices"][0]["message"]["content"] == " ".join(words)
        assert await daemon.wait() == 0


async def test_who_has_just_connected_may_still_ask(tmp_path: Path, fake: FakeProvider, via: str) -> None:
    async with RunningDaemon(tmp_path, config(fake.base_url)) as daemon:
        async with await RawClient.to(daemon.port if via == "tcp" else daemon.socket) as client:
            daemon.signal(signal.SIGTERM)
            await daemon.wait_log("daemon.draining")
            await asyncio.sleep(0.1)  # every open request has ended long ago
            assert (await client.ask(head("GET", "/healthz", host=f"localhost:{daemon.port}"))).status == 200
        assert await daemon.wait() == 0


async def test_an_edit_during_the_drain_opens_no_door(tmp_path: Path, fake: FakeProvider) -> None:
    fake.script(silence())
    async with RunningDaemon(tmp_path, config(fake.base_url)) as daemon:
        async with await RawClient.to(daemon.socket) as client:
            await client.send(post(chat_body()))
            await fake.wait_calls(1)
            daemon.signal(signal.SIGTERM)
            await daemon.wait_log("daemon.draining")
            listen = f'["unix:{daemon.socket}", "unix:{daemon.run}/late"]'
            daemon.write(config(fake.base_url, listen=listen))
            await daemon.wait_log("config.rejected")
            assert not (daemon.run / "late").exists()
        assert await daemon.wait() == 0


async def test_a_second_signal_leaves_at_once(tmp_path: Path, fake: FakeProvider) -> None:
    fake.script(silence())
    text = config(fake.base_url, drain="{timeout: 60s}")
    async with RunningDaemon(tmp_path, text) as daemon, await RawClient.to(daemon.socket) as client:
        await client.send(post(chat_body()))
        await fake.wait_calls(1)
        daemon.signal(signal.SIGTERM)
        await daemon.wait_log("daemon.draining")
        await asyncio.sleep(0.1)
        assert daemon.running
        began = asyncio.get_running_loop().time()
        await daemon.stop(signal.SIGINT)
        assert asyncio.get_running_loop().time() - began < 20


async def test_it_may_accept_for_a_while_after_the_signal(tmp_path: Path, fake: FakeProvider) -> None:
    async with RunningDaemon(tmp_path, config(fake.base_url, drain="{accept_for: 800ms}")) as daemon:
        daemon.signal(signal.SIGTERM)
        await daemon.wait_log("daemon.draining")
        assert (await daemon.request("GET", "/readyz"))[0] == 503
        assert (await daemon.chat())[0] == 200
        assert await daemon.wait() == 0


async def test_sighup_reloads_and_never_ends_it(tmp_path: Path, fake: FakeProvider) -> None:
    async with RunningDaemon(tmp_path, config(fake.base_url)) as daemon:
        daemon.write(config(fake.base_url, routes="{default: {chain: [fake/other]}}"))
        for _ in range(5):
            daemon.signal(signal.SIGHUP)
        await daemon.wait_log("config.applied")
        assert (await daemon.chat())[1]["x-sidecar-target"] == "fake/other"
        assert len(daemon.log_lines("config.applied")) == 1


async def test_a_drain_with_nothing_to_do_is_quick(tmp_path: Path, fake: FakeProvider) -> None:
    text = config(fake.base_url, drain="{timeout: 60s}")
    async with (
        RunningDaemon(tmp_path, text) as daemon,
        await RawClient.to(daemon.socket) as idle,
        await RawClient.to(daemon.port) as silent,
    ):
        await idle.ask(head("GET", "/healthz"))
        began = asyncio.get_running_loop().time()
        assert await daemon.stop() == 0
        assert asyncio.get_running_loop().time() - began < 20
        assert await idle.rest() == b""
        assert await silent.rest() == b""


# -- following the config


async def test_listeners_come_change_and_go_with_an_edit(tmp_path: Path, fake: FakeProvider) -> None:
    rest = config(fake.base_url)
    async with RunningDaemon(tmp_path, 'listen: ["unix:@RUN@/one"]\n' + rest) as daemon:
        run = daemon.run
        await daemon.edit(
            'listen: ["unix:@RUN@/one", {address: "unix:@RUN@/two", mode: "0600"}, "127.0.0.1:0"]\n' + rest
        )
        assert stat.S_IMODE((run / "two").stat().st_mode) == 0o600
        async with await RawClient.to(str(run / "two")) as client:
            assert (await client.ask(head("GET", "/healthz", host=f"localhost:{daemon.port}"))).status == 200
            assert (await daemon.chat())[0] == 200
            await daemon.edit('listen: [{address: "unix:@RUN@/two", mode: "0666"}]\n' + rest)
            assert stat.S_IMODE((run / "two").stat().st_mode) == 0o666
            assert (await client.ask(head("GET", "/healthz"))).status == 200  # it stayed open
        assert not (run / "one").exists()
        assert daemon.listen == [f"unix:{run}/two"]


async def test_an_edit_whose_listener_cannot_be_bound_is_rejected_whole(tmp_path: Path, fake: FakeProvider) -> None:
    good = 'listen: ["unix:@RUN@/one"]\n'
    other = config(fake.base_url, routes="{default: {chain: [fake/other]}}")
    async with RunningDaemon(tmp_path, good + config(fake.base_url)) as daemon:
        (daemon.run / "file").write_text("precious")
        for bad in (
            '["unix:@RUN@/one", "unix:@RUN@/file"]',
            '["unix:@RUN@/new", {address: "unix:@RUN@/one", group: nosuchgroup}]',
            '["unix:@RUN@/new", "0.0.0.0:0"]',
        ):
            line = await daemon.edit(f"listen: {bad}\n{other}", event="config.rejected")
            assert any("listen" in problem for problem in line["problems"])
            assert (await daemon.chat(unix=True))[1]["x-sidecar-target"] == "fake/m"
            assert not (daemon.run / "new").exists()
            status = (await daemon.admin("GET", "/status"))[1]
            assert (status["generation"], status["last_reload_successful"]) == (1, False)
        assert (daemon.run / "file").read_text() == "precious"
        await daemon.edit(good + other)
        assert (await daemon.chat(unix=True))[1]["x-sidecar-target"] == "fake/other"


async def test_limits_of_an_edit_hold_for_open_doors(tmp_path: Path, fake: FakeProvider) -> None:
    async with RunningDaemon(tmp_path, config(fake.base_url)) as daemon:
        await daemon.edit(config(fake.base_url, limits="{max_body: 10B, header_timeout: 100ms}"))
        assert (await daemon.chat(unix=True))[0] == 413
        async with await RawClient.to(daemon.socket) as client:
            await client.send(b"GET /")
            assert (await client.reply()).status == 408


# -- what it costs


class _Torrent(Behaviour):
    """A stream that never ends, as fast as it may."""

    async def play(self, exchange: Exchange) -> None:
        frame = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": "w" * 4000}}]}).encode() + b"\n\n"
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await exchange.send(b"%x\r\n%b\r\n" % (len(frame), frame))
            await asyncio.sleep(0)


async def test_slow_readers_of_fast_streams_cost_bounded_memory(tmp_path: Path, fake: FakeProvider) -> None:
    fake.script(_Torrent())
    async with RunningDaemon(tmp_path, config(fake.base_url)) as daemon:
        before = daemon.rss_bytes
        clients = [await RawClient.to(daemon.socket, limit=2048) for _ in range(10)]
        for client in clients:
            await client.send(post(chat_body(stream=True)))
            await client.head()
        seen = []
        for _ in range(4):
            await asyncio.sleep(0.3)
            seen.append(daemon.rss_bytes)
        assert max(seen) - before < 40_000_000
        assert (await daemon.request("GET", "/healthz"))[0] == 200
        for client in clients:
            client.abort()
        await fake.wait_closed_connections()
        lines = await daemon.wait_log("request", count=10)
        assert {line["outcome"] for line in lines} == {"cancelled"}


async def test_a_thousand_silent_connections_cost_little_and_go_away(tmp_path: Path, fake: FakeProvider) -> None:
    text = config(fake.base_url, limits="{header_timeout: 2s}")
    async with RunningDaemon(tmp_path, text) as daemon:
        before = daemon.rss_bytes
        clients = []
        for number in range(1000):
            clients.append(await RawClient.to(daemon.socket, limit=1024))
            if number % 2:
                await clients[-1].send(b"GET / HTTP/1.1\r\nX: ")
        assert (await daemon.chat())[0] == 200
        assert daemon.rss_bytes - before < 40_000_000
        await asyncio.gather(*(client.rest() for client in clients))
        for client in clients:
            client.abort()


async def test_its_descriptors_may_be_as_many_as_the_system_allows(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    daemon = RunningDaemon(tmp_path, config(NOBODY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))  # as a service manager starts it
    try:
        daemon.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        await daemon._ready()
        assert resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
        (started,) = await daemon.wait_log("daemon.started")
        assert started["open_files"] == hard
    finally:
        await daemon._clean_up()


async def test_a_flood_of_leaving_clients_leaves_nothing_behind(tmp_path: Path, fake: FakeProvider) -> None:
    fake.script(ok(gap_s=0.01))
    async with RunningDaemon(tmp_path, config(fake.base_url)) as daemon:
        for number in range(60):
            async with await RawClient.to(daemon.socket if number % 2 else daemon.port) as client:
                host = "localhost" if number % 2 else f"localhost:{daemon.port}"
                await client.send(post(chat_body(stream=True), host=host))
                if number % 3:
                    await client.head()
        await fake.wait_closed_connections()
        descriptors = os.listdir(f"/proc/{daemon.process.pid}/fd")
        assert len(descriptors) < 60
        status = (await daemon.admin("GET", "/status"))[1]
        assert status["in_flight"] == 0
