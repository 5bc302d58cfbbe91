"""The lines of docs/dialects.md that point the vendors' Python SDKs at the sidecar, by TCP and by the Unix socket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.daemon import RunningDaemon

pytestmark = [pytest.mark.asyncio(loop_scope="module")]

PAGE = (Path(__file__).parents[2] / "docs" / "dialects.md").read_text()
SECTION = PAGE.partition("\n### Python\n")[2].partition("\n### ")[0]
OPENAI, ANTHROPIC, GOOGLE, BY_SOCKET = re.findall(r"^```python\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
SAID = 'You said: "Hi"'
CASES = [
    (OPENAI, "client", "openai"),
    (ANTHROPIC, "client", "anthropic"),
    (GOOGLE, "client", "google"),
    *((BY_SOCKET, name, name) for name in ("openai", "anthropic", "google")),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningDaemon]:
    config = "providers: {demo: {type: embedded}}\nroutes: {default: {chain: [demo/ok]}}\n"
    async with RunningDaemon(tmp_path_factory.mktemp("clients"), config) as running:
        yield running


def _openai(client: Any) -> tuple[str, str]:
    messages = [{"role": "user", "content": "Hi"}]
    whole = client.chat.completions.create(model="default", messages=messages).choices[0].message.content
    with client.responses.stream(model="default", input="Hi") as stream:
        return whole, stream.get_final_response().output_text


def _anthropic(client: Any) -> tuple[str, str]:
    asked: dict[str, Any] = {"model": "default", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]}
    whole = client.beta.messages.create(**asked, betas=["any"]).content[0].text
    with client.messages.stream(**asked) as stream:
        return whole, stream.get_final_text()


def _google(client: Any) -> tuple[str, str]:
    models = client.models
    whole = models.generate_content(model="default", contents="Hi").text
    return whole, "".join(part.text or "" for part in models.generate_content_stream(model="default", contents="Hi"))


ASK: Mapping[str, Callable[[Any], tuple[str, str]]] = {"openai": _openai, "anthropic": _anthropic, "google": _google}


@pytest.mark.parametrize(("code", "name", "vendor"), CASES)
async def test_what_is_documented_answers(daemon: RunningDaemon, code: str, name: str, vendor: str) -> None:
    told = code.replace("http://127.0.0.1:4141", daemon.base_url).replace("/run/sidecar/sidecar.sock", daemon.socket)

    def run() -> tuple[str, str]:
        names: dict[str, Any] = {}
        exec(told, names)
        try:
            return ASK[vendor](names[name])
        finally:
            for each in {"client", "openai", "anthropic", "google"} & names.keys():
                getattr(names[each], "close", lambda: None)()

    whole, streamed = await asyncio.to_thread(run)
    assert SAID in whole
    assert SAID in streamed
    assert daemon.log_lines("request", outcome="failed") == []
