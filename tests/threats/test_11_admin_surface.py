"""Threat 11: somebody changes things, or reads too much, by the admin plane.

Who is let in at all is in `test_02_other_users.py`; that what it tells holds no key in `test_07_...`.
"""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider
from tests.server.house import config
from tests.server.raw import RawClient, head

pytestmark = pytest.mark.asyncio(loop_scope="module")

READINGS = ["/status", "/stats", "/config", "/metrics", "/routes", "/providers", "/explain?model=default", "/attempts"]
CHANGES = [
    ("POST", "/reload", b""),
    ("POST", "/health-check", b""),
    ("POST", "/providers/fake/reset", b""),
    ("POST", "/targets/fake/m/maint", b""),
    ("POST", "/targets/fake/m/drain", b""),
    ("POST", "/targets/fake/m/ready", b""),
    ("POST", "/targets/fake/m/reset", b""),
    ("PUT", "/targets/fake/m/weight", b'{"weight": 5}'),
    ("PUT", "/routes/default/chain", b'{"chain": ["fake/n"]}'),
    ("PUT", "/routes/default/balance", b'{"balance": "random"}'),
    ("POST", "/drain", b""),
]
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(fake: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningDaemon]:
    async with RunningDaemon(tmp_path_factory.mktemp("admin"), config(fake.base_url)) as running:
        yield running


async def _status(daemon: RunningDaemon, method: str, path: str, *headers: tuple[str, str], body: bytes = b"") -> int:
    request = head(method, path, ("Content-Length", str(len(body))), *headers) + body
    async with await RawClient.to(str(daemon.admin_path)) as client:
        reply = await client.ask(request, head_only=method == "HEAD")
        assert not [name for name, _ in reply.headers if name.startswith("access-control")]
        return reply.status


async def test_11_no_method_but_the_right_one_with_its_header_changes_anything(daemon: RunningDaemon) -> None:
    before = (await daemon.admin("GET", "/config"))[1]
    header = ("X-Sidecar-Request", "1")
    for wanted, path, body in CHANGES:
        for method in _METHODS:
            if method != wanted:
                assert await _status(daemon, method, path, header, body=body) == 405, (method, path)
        for wrong in ((), (("X-Sidecar-Request", "0"),), (("X-Sidecar-Request", "true"),), (("X-Sidecar", "1"),)):
            assert await _status(daemon, wanted, path, *wrong, body=body) == 403, path
        override = ("X-HTTP-Method-Override", wanted)
        assert await _status(daemon, "GET", path, header, override) == 405
    assert (await daemon.admin("GET", "/config"))[1] == before
    told = (await daemon.admin("GET", "/status"))[1]
    assert (told["overrides"], told["draining"]) == ([], False)


async def test_11_reading_takes_get_alone(daemon: RunningDaemon) -> None:
    for path in READINGS:
        assert await _status(daemon, "GET", path) == 200
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert await _status(daemon, method, path) == 403
            assert await _status(daemon, method, path, ("X-Sidecar-Request", "1")) == 405


async def test_11_nothing_of_it_is_on_the_data_plane(daemon: RunningDaemon) -> None:
    for method, path in [("GET", each) for each in READINGS] + [(method, path) for method, path, _ in CHANGES]:
        for unix in (False, True):
            assert (await daemon.request(method, path, {}, unix=unix))[0] == 404, path


async def test_11_its_socket_is_its_owner_s(daemon: RunningDaemon) -> None:
    assert stat.S_IMODE(Path(daemon.admin_path).stat().st_mode) == 0o600


async def test_11_with_the_header_each_change_works(daemon: RunningDaemon) -> None:
    """So that the refusals above are of what is there; the last one ends the daemon."""
    for method, path, body in CHANGES:
        assert await _status(daemon, method, path, ("X-Sidecar-Request", "1"), body=body) in (200, 202), path
        if path.startswith("/routes"):
            overrides = (await daemon.admin("GET", "/status"))[1]["overrides"]
            assert path.split("/")[-1] in {each["kind"] for each in overrides}
    assert await daemon.wait() == 0
