"""One fake provider and one daemon for a whole module: what an assault leaves behind meets the next one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider, ok

CONFIG = """
providers:
  fake: {{type: openai-compatible, base_url: "{url}", api_key: k-fake}}
  slow: {{type: openai-compatible, base_url: "{url}", api_key: k-slow, transport: aiohttp}}
  well: {{type: openai-compatible, base_url: "{well}", api_key: k-well}}
routes:
  default: {{chain: [fake/m], timeouts: {{total: 1500ms}}}}
  aiohttp: {{chain: [slow/m], timeouts: {{total: 1500ms}}}}
  well: {{chain: [well/m]}}
health: {{mode: "off"}}
resilience: {{same_target_retries: 0, breaker: {{consecutive_failures: 1000, consecutive_gateway_failures: 1000,
  failure_percentage: {{min_requests: 1000000}}}}}}
limits: {{header_timeout: 600ms, body_idle: 500ms}}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(fake: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningDaemon]:
    path: Path = tmp_path_factory.mktemp("limits")
    async with contextlib.AsyncExitStack() as stack:
        healthy = await stack.enter_async_context(FakeProvider())
        healthy.script(ok("fine"))
        config = CONFIG.format(url=fake.base_url, well=healthy.base_url)
        yield await stack.enter_async_context(RunningDaemon(path, config))
