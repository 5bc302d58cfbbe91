"""Both kinds of event loop for the modules that say `BOTH_LOOPS = True`, and both transports for those that ask."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from sidecar.upstream.factory import open_transport
from sidecar.upstream.pool import Pool
from sidecar.upstream.transport import Origin, Transport

LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    module = item.getparent(pytest.Module)
    return LOOPS if module is not None and getattr(module.obj, "BOTH_LOOPS", False) else None


@pytest.fixture(params=["own", "aiohttp"])
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[Origin], Transport]]:
    """Opens transports of one of the two kinds, and closes them."""
    transports = []

    def opens(origin: Origin) -> Transport:
        transports.append(open_transport(origin, aiohttp=request.param == "aiohttp"))
        return transports[-1]

    opens.kind = request.param  # type: ignore[attr-defined]
    yield opens
    for transport in transports:
        await transport.aclose()


@pytest.fixture
async def pooled() -> AsyncIterator[Callable[[Origin], Pool]]:
    """Opens pools of our own connections, and closes them."""
    pools = []

    def opens(origin: Origin, **settings: float) -> Pool:
        pools.append(Pool(origin, **settings))  # type: ignore[arg-type]
        return pools[-1]

    yield opens
    for pool in pools:
        await pool.aclose()
        assert (pool.idle, pool.in_use) == (0, 0)
