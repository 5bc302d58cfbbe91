"""What is of no dialect of ours, through `/providers/NAME/...`: the same bytes, type and status must come out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from aiohttp import ClientSession, web

from tests.cassettes.recorded import Recording
from tests.server.house import config, open_house

__all__ = ["passed_judged"]

_AT_ONCE = 8


async def passed_judged(recordings: Sequence[Recording]) -> Mapping[str, str | None]:
    """By their ids, what is wrong with each when a client asks for it past all dialects; None where nothing is."""
    by_id = {recording.id: recording for recording in recordings}

    async def answer(request: web.Request) -> web.Response:
        recording = by_id[request.match_info["id"]]
        return web.Response(body=recording.body, status=recording.status, content_type=_type(recording))

    app = web.Application()
    app.router.add_route("*", "/v1/{id}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        async with open_house(config(base)) as house, ClientSession() as session:
            gate = asyncio.Semaphore(_AT_ONCE)

            async def one(recording: Recording) -> tuple[str, str | None]:
                url = f"http://localhost:{house.port}/providers/fake/{recording.id}"
                async with gate, session.post(url, json={}) as reply:
                    got = (reply.status, reply.content_type, await reply.read())
                wanted = (recording.status, _type(recording), recording.body)
                return recording.id, None if got == wanted else f"{got!r:.200} instead of {wanted!r:.200}"

            return dict(await asyncio.gather(*map(one, recordings)))
    finally:
        await runner.cleanup()


def _type(recording: Recording) -> str:
    told = next((value for name, value in recording.headers.items() if name.lower() == "content-type"), "")
    return told.partition(";")[0].strip() or "application/octet-stream"
