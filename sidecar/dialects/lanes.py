"""Blocks that overlap on the wire, told one after the other: the grammar of events has one open at a time.

A lane is one block on its way. The first lane speaks at once; what comes of a later one is kept back until
those before it are complete.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from sidecar.model.blocks import Block
from sidecar.model.events import BlockStart, BlockStop, Delta, Event, unfold
from sidecar.model.hub import HubResponse, StopReason
from sidecar.model.topology import Dialect

__all__ = ["Lane", "Lanes"]

K = TypeVar("K", bound=Hashable)


class Lane:
    """One block; lives until it is complete and its turn has come."""

    __slots__ = ("block", "closed", "held", "text")

    def __init__(self) -> None:
        self.block: Block | None = None  # as it began; None: nothing is known of it yet
        self.text = ""  # of its deltas
        self.held: list[Event] = []  # while another one speaks
        self.closed = False

    def rest(self, whole: str) -> str:
        """What of the whole text has not come yet; nothing, if what came is no beginning of it."""
        return whole[len(self.text) :] if whole.startswith(self.text) else ""


class Lanes(Generic[K]):
    """All lanes of one stream, in the order in which they began."""

    def __init__(self) -> None:
        self._lanes: dict[K, Lane] = {}
        self._known: set[K] = set()
        self.blocks: list[Block] = []  # as they began

    def __contains__(self, key: K) -> bool:
        """Whether there is, or ever was, a lane of this key."""
        return key in self._known

    def get(self, key: K) -> Lane | None:
        """The lane of this key, unless it is complete."""
        lane = self._lanes.get(key)
        return None if lane is None or lane.closed else lane

    def add(self, key: K) -> Lane:
        """A place for a block; of a key that had none."""
        self._known.add(key)
        return self._lanes.setdefault(key, Lane())

    def begin(self, lane: Lane, block: Block) -> list[Event]:
        """The block is known, with nothing in it yet."""
        lane.block = block
        self.blocks.append(block)
        return self._say(lane, BlockStart(block))

    def tell(self, lane: Lane, delta: Delta) -> list[Event]:
        """More of a block that has begun; nothing of one that says nothing."""
        if delta == _NOTHING:
            return []
        lane.text += delta.text
        return self._say(lane, delta)

    def put(self, lane: Lane, block: Block) -> list[Event]:
        """A whole block at once, by the events that it would have come in."""
        response = HubResponse(Dialect.OPENAI_RESPONSES, "", "", (block,), StopReason.END)
        said: list[Event] = []
        for event in unfold(response):
            match event:
                case BlockStart(begun):
                    said += self.begin(lane, begun)
                case Delta():
                    said += self.tell(lane, event)
                case _:
                    pass
        return said + self.close(lane)

    def close(self, lane: Lane) -> list[Event]:
        """The block is complete; those that waited for it speak."""
        if lane.closed:
            return []
        said = self._say(lane, BlockStop()) if lane.block is not None else []
        lane.closed = True
        while self._lanes:
            key, first = next(iter(self._lanes.items()))
            said += first.held
            first.held = []
            if not first.closed:
                break
            del self._lanes[key]
        return said

    def close_all(self) -> list[Event]:
        """Every block is as complete as it will be."""
        return [event for lane in list(self._lanes.values()) for event in self.close(lane)]

    def _say(self, lane: Lane, event: Event) -> list[Event]:
        if next(iter(self._lanes.values())) is lane:
            return [event]
        lane.held.append(event)
        return []


_NOTHING = Delta()
