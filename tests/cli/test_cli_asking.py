"""Every command that asks, against a real daemon."""

import asyncio
import json
import re
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.cli.running import ROOT, end, sidecar, started
from tests.daemon import RunningDaemon

CONFIG = """
providers: {alpha: {type: embedded}, beta: {type: embedded}}
routes:
  default: {chain: [alpha/ok, beta/ok]}
  fragile: {chain: [alpha/down, beta/ok]}
  split: {chain: [{alpha/ok: 70, beta/ok: 30}]}
health: {mode: "off"}
resilience: {breaker: {open: {base: 60s, floor: 60s}}}
"""


def _socket(daemon: RunningDaemon) -> tuple[str, str]:
    return "--socket", str(daemon.admin_path)


async def test_stats_tell_costs_where_prices_are_known(tmp_path: Path) -> None:
    priced = CONFIG.replace("beta: {type: embedded}", "beta: {type: embedded, models: {ok: {price: {output: 1000}}}}")
    assert priced != CONFIG
    async with RunningDaemon(tmp_path, priced) as daemon:
        await daemon.chat("fragile")
        told = (await sidecar("stats", *_socket(daemon))).out
    assert len(re.findall(r"\$0\.[0-9]{4}", told)) == 2


async def test_what_an_operator_sees_of_an_outage(tmp_path: Path) -> None:
    async with RunningDaemon(tmp_path, CONFIG) as daemon:
        env = {"SIDECAR_ADMIN": str(daemon.admin_path)}
        for _ in range(4):
            assert (await daemon.chat("fragile"))[0] == 200
        seen = await asyncio.gather(
            *(sidecar(*words, env=env) for words in (["status"], ["explain", "fragile"], ["stats"], ["tail"]))
        )
        assert [(each.code, each.err) for each in seen] == [(0, "")] * 4
        status, plan, stats, tail = (each.out for each in seen)
        assert "1 of 3 targets not available" in status
        assert "alpha/down open overloaded: The model is down." in " ".join(status.split())
        assert "fragile  [alpha/down, beta/ok]" in status
        assert "skipped: open: overloaded" in plan
        assert "4 requests, 100.0% ok" in stats
        assert "overloaded 3" in stats
        assert "$" not in stats
        lines = tail.splitlines()
        assert "alpha/down" in lines[0]
        assert "overloaded  503" in lines[0]
        assert ["ok", "beta/ok"] in [line.split()[1:3] for line in lines]

        told = await asyncio.gather(
            *(sidecar(*words, "--json", env=env) for words in (["status"], ["explain", "fragile"], ["stats"]))
        )
        status, plan, stats = (json.loads(each.out) for each in told)
        assert status["providers"]["alpha"]["targets"]["alpha/down"]["breaker"] == "open"
        assert [row["skipped"] for row in plan["targets"]] == ["open: overloaded", None]
        assert stats["summary"]["requests"]["total"] == 4
        raw = (await sidecar("tail", "--json", env=env)).out.splitlines()
        assert {json.loads(line)["event"] for line in raw} == {"attempt", "request"}

        assert (await sidecar("reset", "alpha/down", env=env)).code == 0
        assert "3 targets, all available" in (await sidecar("status", env=env)).out


async def test_changes_by_hand(tmp_path: Path) -> None:
    async with RunningDaemon(tmp_path, CONFIG) as daemon:
        socket = _socket(daemon)
        changed = await sidecar("weight", "alpha/ok", "0", *socket)
        assert (changed.code, changed.out) == (0, "alpha/ok: weight 0, until it is edited in the file\n")
        targets = {(await daemon.chat("split"))[1]["x-sidecar-target"] for _ in range(5)}
        assert targets == {"beta/ok"}
        assert "changed by hand: alpha/ok: weight 0" in (await sidecar("status", *socket)).out
        told = await sidecar("weight", "alpha/ok", "7", "--json", *socket)
        assert json.loads(told.out) == {"target": "alpha/ok", "weight": 7.0}
        assert (await sidecar("reset", "alpha", *socket)).code == 0
        refusals = (
            (["weight", "alpha/ok", "-1"], "a weight is"),
            (["weight", "nobody/x", "1"], "nobody/x"),
            (["reset", "nobody"], 'unknown provider "nobody"'),
            (["reset", "alpha/nothing"], 'unknown target "alpha/nothing"'),
            (["explain", "alpha/ok", "--route", "none"], "none"),
        )
        answers = await asyncio.gather(*(sidecar(*words, *socket) for words, _ in refusals))
        for refused, (_, said) in zip(answers, refusals, strict=True):
            assert (refused.code, refused.out) == (1, "")
            assert said in refused.err
        checked = await sidecar("health", "--check", *socket)
        assert (checked.code, checked.out.splitlines()[1:]) == (0, ["  alpha: healthy", "  beta: healthy"])


async def test_a_check_tells_why_a_provider_is_not_healthy(tmp_path: Path) -> None:
    providers = 'providers: {gone: {type: openai-compatible, base_url: "http://127.0.0.1:9/v1", api_key: k}}\n'
    async with RunningDaemon(tmp_path, f"{providers}routes: {{default: {{chain: [gone/m]}}}}\n") as daemon:
        told = await sidecar("health", "--check", *_socket(daemon))
        assert told.code == 1
        assert told.out.splitlines()[1:] == ["  gone: not healthy (127.0.0.1:9: Connection refused)"]
        told = await sidecar("health", "--check", "--json", *_socket(daemon))
        assert (told.code, json.loads(told.out)["providers"]) == (1, {"gone": False})
        assert json.loads(told.out)["reasons"] == {"gone": "gone: 127.0.0.1:9: Connection refused"}


async def test_reload_tells_what_became_of_an_edit(tmp_path: Path) -> None:
    async with RunningDaemon(tmp_path, CONFIG) as daemon:
        socket = _socket(daemon)
        assert (await sidecar("reload", *socket)).out == "unchanged, generation 1\n"
        daemon.write(CONFIG.replace("alpha/down", "alfa/down"))
        rejected = await sidecar("reload", "--wait", *socket)
        assert (rejected.code, rejected.out) == (78, "")
        assert "generation 1 goes on" in rejected.err
        assert f"{daemon.config_path}:7:21: routes.fragile.chain[0]: unknown target" in rejected.err
        told = await sidecar("reload", "--json", *socket)
        assert (told.code, json.loads(told.out)["applied"]) == (78, False)
        health = await sidecar("health", *socket)
        assert health.code == 0
        assert "rejected" in health.out
        assert "last reload REJECTED" in (await sidecar("status", *socket)).out
        daemon.write(CONFIG.replace("70", "60"))
        applied = await sidecar("reload", *socket)
        assert applied.code == 0
        assert applied.out.endswith("generation 2\n")


@pytest.mark.parametrize("how", ["the daemon goes", "ctrl-c"])
async def test_tail_follows_and_ends_cleanly(how: str, tmp_path: Path) -> None:
    async with RunningDaemon(tmp_path, CONFIG) as daemon, started("tail", "-f", *_socket(daemon)) as process:
        assert (await daemon.chat())[0] == 200
        assert b"ok         alpha/ok" in await asyncio.wait_for(process.stdout.readline(), 10)
        assert (await daemon.chat("fragile"))[0] == 200  # what comes after it has listened
        assert b"alpha/down" in await asyncio.wait_for(process.stdout.readline(), 10)
        if how == "ctrl-c":
            process.send_signal(signal.SIGINT)
        else:
            assert (await sidecar("drain", *_socket(daemon))).code == 0
            assert await daemon.wait() == 0
        ended = await end(process)
        assert ended.code == 0
        assert ("the daemon has gone" in ended.err) is (how != "ctrl-c")


async def test_a_draining_daemon_is_not_ready(tmp_path: Path) -> None:
    async with RunningDaemon(tmp_path, f"{CONFIG}drain: {{accept_for: 5s}}\n") as daemon:
        socket = _socket(daemon)
        assert (await sidecar("health", *socket)).code == 0
        assert (await sidecar("drain", *socket)).code == 0
        ended = await sidecar("health", *socket)
        assert (ended.code, ended.out.split(",")[0]) == (1, "not ready: draining")
        daemon.signal(signal.SIGTERM)  # a second time: now


async def test_a_reader_that_leaves_is_no_error() -> None:
    """`head` reads one byte of 30 KB and closes the pipe."""
    command = f"{sys.executable} -W error -m sidecar schema | head -c 1; exit ${{PIPESTATUS[0]}}"
    shell = await asyncio.create_subprocess_exec("bash", "-c", command, stdout=PIPE, stderr=PIPE, cwd=ROOT)
    ended = await end(shell)
    assert (ended.out, ended.err) == ("{", "")
    assert ended.code in (0, 141)  # all of it may have fitted into the pipe
