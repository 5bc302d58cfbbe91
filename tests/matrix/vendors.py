"""Four vendors on one real socket, each in its own wire: what they are asked is kept, and answered as asked.

They are written from the vendors' documentation and share nothing with the code under test: each request is read
by `Asked`, strictly (a result without its call is an error here as it is there), and answered by what it holds:
results are told of, tools are called, a schema is filled in, a picture is seen, thoughts are thought. A last text
that begins with "fail" gets the vendor's own error, with "break" a stream that breaks in the middle.

Sources (read 2026-11): platform.openai.com/docs/api-reference/chat and /responses;
openrouter.ai/docs/use-cases/reasoning-tokens; docs.anthropic.com/en/api/messages and /messages-streaming;
ai.google.dev/api/generate-content.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aiohttp import web

from tests.matrix.asked import Answer, Asked, Read, said_to
from tests.matrix.openai_wires import CHAT, RESPONSES, openai_wrong, read_chat, read_responses
from tests.matrix.other_wires import GEMINI, MESSAGES, gemini_wrong, messages_wrong, read_gemini, read_messages

__all__ = ["CONFIG", "Vendors"]

# Each as a provider and a route of its name; `at` is where they are.
CONFIG = """
resilience: {{max_attempts: 1}}
health: {{mode: "off"}}
providers:
  chat: {{type: openrouter, dialects: [openai-chat], base_url: "{at}/chat", api_key: "sk-or-provider-key"}}
  responses: {{type: openai, dialects: [openai-responses], base_url: "{at}/responses", api_key: "sk-provider-key"}}
  messages: {{type: anthropic, base_url: "{at}/messages", api_key: "sk-ant-provider-key"}}
  gemini: {{type: gemini, base_url: "{at}/gemini", api_key: "AIza-provider-key"}}
routes:
  chat: {{chain: [chat/openai/gpt-5.4]}}
  responses: {{chain: [responses/gpt-5.4]}}
  messages: {{chain: [messages/claude-sonnet-4-6]}}
  gemini: {{chain: [gemini/gemini-3.1-pro]}}
"""


class Vendors:
    """All four; they live as long as the `async with`. `asked` holds every request, newest last."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.faults: list[str] = []  # what could not be read
        app = web.Application(client_max_size=1 << 26)
        for name, (path, read, answer, wrong) in _WIRES.items():
            app.router.add_post(f"/{name}{path}", self._serve(name, read, answer, wrong))
        self._runner = web.AppRunner(app)
        self.port = 0

    async def __aenter__(self) -> Vendors:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def _serve(
        self, name: str, read: Read, answer: Answer, wrong: Callable[[int, str], Any]
    ) -> Callable[[web.Request], Any]:
        async def serve(request: web.Request) -> web.StreamResponse:
            body = json.loads(await request.read())
            model, _, verb = request.match_info.get("rest", "").partition(":")
            streams = verb.startswith("stream") if verb else bool(body.get("stream"))
            asked = Asked(name, body, request.headers, streams, model or body["model"])
            try:
                read(asked)
            except (LookupError, ValueError, TypeError, AttributeError) as error:
                self.faults.append(f"{name}: {error!r} in {body}")
                return web.json_response(wrong(400, repr(error)), status=400)
            self.asked.append(asked)
            last = asked.texts[-1][1] if asked.texts else ""
            if last.startswith("fail"):
                status = int(last.split()[1])
                return web.json_response(wrong(status, f"{name} says {status}"), status=status)
            said = said_to(asked)
            if not asked.stream:
                return web.json_response(answer.whole(asked, said))
            return await _streamed(request, answer.frames(asked, said), broken=last.startswith("break"), wrong=wrong)

        return serve


async def _streamed(
    request: web.Request, frames: Iterator[bytes], *, broken: bool, wrong: Callable[[int, str], Any]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for frame in frames:
        await response.write(frame)
        if broken and b"Hello" in frame:
            error = json.dumps(wrong(500, "it broke in the middle")).encode()
            await response.write(b"event: error\ndata: " + error + b"\n\n")
            break
    await response.write_eof()
    return response


_WIRES: Mapping[str, tuple[str, Read, Answer, Callable[[int, str], Any]]] = {
    "chat": ("/chat/completions", read_chat, CHAT, openai_wrong),
    "responses": ("/responses", read_responses, RESPONSES, openai_wrong),
    "messages": ("/v1/messages", read_messages, MESSAGES, messages_wrong),
    "gemini": ("/v1beta/models/{rest}", read_gemini, GEMINI, gemini_wrong),
}
