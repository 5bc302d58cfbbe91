"""One daemon for all scenarios of a module; each test has its own pair of providers in it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.scenarios.stage import Pair, Stage, Staging


def _name(test: str) -> str:
    """A route's name: nothing that YAML or the config could take for something else."""
    return re.sub(r"\W+", "-", test.removeprefix("test_")).replace("_", "-").strip("-")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    functions = [item for item in request.session.items if isinstance(item, pytest.Function)]
    items = [item for item in functions if item.module is request.module and "pair" in item.fixturenames]
    stagings = {_name(item.name): getattr(item.function, "staging", Staging()) for item in items}
    async with Stage(tmp_path_factory.mktemp("stage"), stagings) as stage:
        for item in items:
            test = getattr(item.function, "ahead", None)
            if test is not None:
                pair = stage.pair(_name(item.name))
                parameters = item.callspec.params if hasattr(item, "callspec") else {}
                pair.begun = asyncio.create_task(test(pair, **parameters))
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def pair(request: pytest.FixtureRequest, stage: Stage) -> AsyncIterator[Pair]:
    """The test's own pair; a healthy request must succeed after whatever the test did."""
    pair = stage.pair(_name(request.node.name))
    yield pair
    await pair.recovers()
