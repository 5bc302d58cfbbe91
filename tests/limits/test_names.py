"""Names that nobody answers for, and names that come to mean something else."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest
import pytest_asyncio

from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider, ok
from tests.limits.bounds import MIB, bounded

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, to stand in for the system's resolver"),
]

_CONFIG = """
providers:
  silent: {{type: openai-compatible, base_url: "http://silent.test:{port}", api_key: k, insecure: true}}
  moving: {{type: openai-compatible, base_url: "http://moving.test:{port}", api_key: k, insecure: true}}
  well: {{type: openai-compatible, base_url: "http://well.test:{port}", api_key: k, insecure: true}}
routes:
  default: {{chain: [silent/m], timeouts: {{connect: 500ms}}}}
  moving: {{chain: [moving/m]}}
  well: {{chain: [well/m]}}
health: {{mode: "off"}}
resilience: {{same_target_retries: 0, breaker: {{consecutive_failures: 1000, consecutive_gateway_failures: 1000,
  failure_percentage: {{min_requests: 1000000}}}}}}
"""


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for each name, with its address, or `silence`."""
    directory = tmp_path_factory.mktemp("names")
    source = Path(__file__).with_name("resolver.c")
    library = directory / "resolver.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, timeout=30)
    for name, address in {"silent": "silence", "moving": "127.0.0.1", "well": "127.0.0.1"}.items():
        (directory / f"{name}.test").write_text(address)
    return directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def named(
    fake: FakeProvider, names: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningDaemon]:
    fake.script(ok("fine"))
    env = {"LD_PRELOAD": str(names / "resolver.so"), "RESOLVER": str(names)}
    path = tmp_path_factory.mktemp("daemon")
    async with RunningDaemon(path, _CONFIG.format(port=fake.port), env=env, exit_code=-signal.SIGKILL) as daemon:
        yield daemon
        daemon.signal(signal.SIGKILL)  # a thread of the system's resolver cannot be cancelled


async def test_a_name_server_that_is_silent_for_one_name_holds_up_no_other(named: RunningDaemon) -> None:
    async with bounded(named, 20 * MIB, "60 requests to a name that is not resolved"):
        began = monotonic()
        waiting = [asyncio.create_task(named.chat("default")) for _ in range(60)]
        await asyncio.sleep(0.2)
        assert (await named.chat("well"))[0] == 200
        assert monotonic() - began < 1
        assert {reply[0] for reply in await asyncio.gather(*waiting)} == {502}
        assert monotonic() - began < 4


async def test_a_name_that_moves_is_followed(named: RunningDaemon, names: Path, fake: FakeProvider) -> None:
    async with FakeProvider(host="127.0.0.3", port=fake.port) as other:
        other.script(ok("from elsewhere"))
        assert (await named.chat("moving"))[0] == 200
        assert not other.calls
        (names / "moving.test").write_text("127.0.0.3")
        await fake.down()
        assert (await named.chat("moving"))[0] == 200
        assert len(other.calls) == 1
        await fake.up()


async def test_a_name_that_comes_to_mean_a_cloud_s_metadata_is_not_followed(
    named: RunningDaemon, names: Path, fake: FakeProvider
) -> None:
    """169.254.169.254 hands out a machine's credentials; a name server must not bring us there."""
    for address in ("169.254.169.254", "::ffff:169.254.169.254", "fe80::1"):
        (names / "moving.test").write_text(address)
        await fake.down()
        await fake.up()
        began = monotonic()
        status, _, body = await named.chat("moving")
        assert status == 502
        assert b"link-local" in body
        assert monotonic() - began < 1
    (names / "moving.test").write_text("127.0.0.1")
    assert (await named.chat("moving"))[0] == 200
