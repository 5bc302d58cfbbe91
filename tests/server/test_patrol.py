"""One timer for many deadlines: none is missed, none comes early, and most cost nothing."""

from __future__ import annotations

import asyncio
from time import monotonic

from sidecar.server.patrol import Patrol


class Errand:
    def __init__(self, due: float) -> None:
        self.due = due
        self.was_late = asyncio.Event()

    def late(self) -> None:
        self.was_late.set()


async def test_the_patrol_looks_after_the_nearest_and_then_the_next() -> None:
    patrol, now = Patrol(), monotonic()
    near, far, gone = Errand(now + 0.02), Errand(now + 0.05), Errand(now + 0.03)
    for each in (far, gone, near):
        patrol.watch(each)
        patrol.note(each.due)
    patrol.forget(gone)
    async with asyncio.timeout(5):
        await near.was_late.wait()
        assert not far.was_late.is_set()
        await far.was_late.wait()
    assert not gone.was_late.is_set()


async def test_a_deadline_that_moves_away_is_not_missed_and_not_early() -> None:
    patrol, began = Patrol(), monotonic()
    errand = Errand(began + 0.02)
    patrol.watch(errand)
    patrol.note(errand.due)
    errand.due = began + 0.1  # unsaid, as every event of a stream does
    async with asyncio.timeout(5):
        await errand.was_late.wait()
    assert monotonic() - began >= 0.1
