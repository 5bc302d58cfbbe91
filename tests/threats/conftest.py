"""A fake provider for a whole module; the daemons are the modules' own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.fake_provider import FakeProvider, ok


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        provider.script(ok("fine"))
        yield provider
