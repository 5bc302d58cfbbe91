"""Two fake providers, `a` and `b`."""

from collections.abc import AsyncIterator

import pytest

from tests.fake_provider import FakeProvider


@pytest.fixture
async def a() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as fake:
        yield fake


@pytest.fixture
async def b() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as fake:
        yield fake
