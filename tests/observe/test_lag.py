"""The loop's lateness is seen, kept long enough to be scraped, and then forgotten."""

from __future__ import annotations

import asyncio
import time

from sidecar.observe.lag import LoopLag


def test_the_largest_of_a_while_is_told_and_later_forgotten() -> None:
    lag = LoopLag()
    lag.note(0.2, 100.0)
    lag.note(0.001, 101.0)
    assert lag.recent_s == 0.2
    lag.note(0.002, 116.0)
    assert lag.recent_s == 0.2
    lag.note(0.003, 132.0)
    assert lag.recent_s == 0.003


async def test_whatever_blocks_the_loop_is_seen() -> None:
    lag = LoopLag()
    looking = asyncio.ensure_future(lag.run())
    try:
        await asyncio.sleep(0)
        time.sleep(0.3)
        async with asyncio.timeout(5):
            while not lag.recent_s:
                await asyncio.sleep(0.01)
        assert lag.recent_s > 0.1
    finally:
        looking.cancel()
