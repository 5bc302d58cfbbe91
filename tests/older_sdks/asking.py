"""Run by the interpreter that has the older SDKs: asks a daemon in every way, and prints what the SDKs made of it.

.venv-older/bin/python -m tests.older_sdks.asking http://127.0.0.1:4141
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from typing import Any

import anthropic
import openai
from google import genai

from tests.matrix.clients import CLIENTS, Client, Wishes

__all__ = ["main"]

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


async def tools(sdk: Client, provider: str, *, stream: bool) -> dict[str, Any]:
    wishes, turns = Wishes(tools={"weather": SCHEMA}), sdk.user("How warm?")
    told = await sdk.ask(provider, turns, wishes, stream=stream)
    given = [(id_, name, "18 degrees") for id_, name, _ in told.calls]
    answer = await sdk.ask(provider, [*turns, *told.turn, *sdk.results(given)], wishes, stream=stream)
    calls = [(name, arguments) for _, name, arguments in told.calls]
    return {"calls": calls, "stop": told.stop == sdk.stops[1], "text": answer.text}


async def plain(sdk: Client, provider: str, *, stream: bool) -> dict[str, Any]:
    told = await sdk.ask(provider, sdk.user("Hi"), Wishes(system="Be kind."), stream=stream)
    return {"text": told.text, "stop": told.stop == sdk.stops[0], "tokens": told.tokens}


async def structured(sdk: Client, provider: str, *, stream: bool) -> dict[str, Any]:
    told = await sdk.ask(provider, sdk.user("How warm?"), Wishes(schema=SCHEMA), stream=stream)
    return {"text": told.text, "stop": told.stop == sdk.stops[0]}


async def wrong(sdk: Client, provider: str, *, stream: bool) -> dict[str, Any]:
    model = f"{provider}/failing-{type(sdk).__name__}-{stream}"
    try:
        await sdk.ask(model, sdk.user("fail 429"), Wishes(), stream=stream)
    except sdk.wrong[429] as error:
        return {"message": str(error)}
    return {"message": "none was raised"}


async def broken(sdk: Client, provider: str, *, stream: bool) -> dict[str, Any]:
    if not stream:
        return {"message": "it broke in the middle"}  # only a stream can
    try:
        await sdk.ask(f"{provider}/breaking-{type(sdk).__name__}", sdk.user("break"), Wishes(), stream=True)
    except sdk.broken as error:
        return {"message": str(error)}
    return {"message": "none was raised"}


CASES = {"plain": plain, "tools": tools, "structured": structured, "wrong": wrong, "broken": broken}


async def main(base_url: str) -> dict[str, Any]:
    """Every client, provider, case and way: what came of it, or the error that should not have come."""
    told: dict[str, Any] = {"versions": [openai.__version__, anthropic.__version__, genai.__version__]}
    for client, provider, stream in itertools.product(CLIENTS, CLIENTS, (False, True)):
        sdk = CLIENTS[client](base_url)
        for case, ask in CASES.items():
            try:
                came: Any = await asyncio.wait_for(ask(sdk, provider, stream=stream), 20)
            except Exception as error:
                came = {"error": repr(error)[:400]}
            told[f"{client} {provider} {case} {'stream' if stream else 'whole'}"] = came
        await sdk.close()
    return told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
