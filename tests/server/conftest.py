"""The loop of the daemon, both wires, both kinds of listener, and a fake provider behind an open house."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.fake_provider import FakeProvider
from tests.server.house import House, config, open_house


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["direct", "plain"])
def wire(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["tcp", "unix"])
def via(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def run() -> Iterator[Path]:
    """A directory with a path short enough for a socket's."""
    path = Path(tempfile.mkdtemp(prefix="sc-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest.fixture
async def house(fake: FakeProvider, wire: str) -> AsyncIterator[House]:
    async with open_house(config(fake.base_url, wire=wire)) as opened:
        yield opened
