"""The `sidecar` command as a process, as a shell would run it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@asynccontextmanager
async def started(*arguments: str, env: Mapping[str, str] | None = None) -> AsyncIterator[Any]:
    """A process with nothing in its environment but what is given; gone at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-m",
        "sidecar",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=dict(env or {}),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def end(process: asyncio.subprocess.Process) -> Ended:
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    except TimeoutError:
        raise AssertionError("the command does not end") from None
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def sidecar(*arguments: str, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end."""
    async with started(*arguments, env=env) as process:
        return await end(process)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
