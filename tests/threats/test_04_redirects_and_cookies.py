"""Threat 4: a provider sends us, with our key, to somebody else; or marks one client and meets it in another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.daemon import RunningDaemon
from tests.fake_behaviours import Canned
from tests.fake_provider import FakeProvider, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")

_CONFIG = """
providers:
  direct: {{type: openai-compatible, base_url: "{url}", api_key: k-direct, headers: {{x-api-key: k-too}}}}
  aiohttp: {{type: openai-compatible, base_url: "{url}", api_key: k-other, transport: aiohttp}}
routes:
  direct: {{chain: [direct/m]}}
  aiohttp: {{chain: [aiohttp/m]}}
health: {{mode: models, fall: 1000}}
resilience: {{same_target_retries: 0, breaker: {{consecutive_failures: 1000, consecutive_gateway_failures: 1000,
  failure_percentage: {{min_requests: 1000000}}}}}}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def elsewhere() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(
    fake: FakeProvider, elsewhere: FakeProvider, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningDaemon]:
    proxy = f"http://127.0.0.1:{elsewhere.port}"
    env = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), proxy)
    path: Path = tmp_path_factory.mktemp("redirects")
    async with RunningDaemon(path, _CONFIG.format(url=fake.base_url), env=env) as running:
        yield running


@pytest.mark.parametrize("route", ["direct", "aiohttp"])
@pytest.mark.parametrize("code", [300, 301, 302, 303, 307, 308])
async def test_04_no_redirect_is_followed(
    daemon: RunningDaemon, fake: FakeProvider, elsewhere: FakeProvider, route: str, code: int
) -> None:
    away = Canned(code, b"", headers={"location": f"{elsewhere.base_url}/chat/completions"})
    fake.script(away)
    fake.on_models(away)
    for stream in (False, True):
        status, headers, body = await daemon.chat(route, stream=stream)
        assert status == 502
        assert b"redirect" in body
        assert "location" not in {name.lower() for name in headers}
    await daemon.admin("POST", "/health-check")
    assert elsewhere.requests == []
    assert elsewhere.accepted == 0
    fake.script(ok("fine"))


@pytest.mark.parametrize("route", ["direct", "aiohttp"])
async def test_04_no_cookie_is_kept_or_passed_on(daemon: RunningDaemon, fake: FakeProvider, route: str) -> None:
    fake.script(ok("fine", headers={"set-cookie": "client=1; Path=/"}))
    for _ in range(3):
        status, headers, _ = await daemon.chat(route, headers={"Cookie": "mine=1"})
        assert status == 200
        assert "set-cookie" not in {name.lower() for name in headers}
    assert not [call for call in fake.calls if "cookie" in call.headers]


async def test_04_a_proxy_of_the_environment_is_used_only_when_asked_for(
    daemon: RunningDaemon, fake: FakeProvider, elsewhere: FakeProvider
) -> None:
    fake.script(ok("fine"))
    assert (await daemon.chat("direct"))[0] == (await daemon.chat("aiohttp"))[0] == 200
    assert elsewhere.accepted == 0
