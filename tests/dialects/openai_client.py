"""OpenAI's own SDK over an answer that is at hand: what it makes of the bytes."""

from __future__ import annotations

import httpx2
import openai

__all__ = ["client_of"]


def client_of(body: bytes, status: int = 200, content_type: str = "text/event-stream") -> openai.OpenAI:
    """A client to whom everything is answered with these bytes."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, content=body, headers={"content-type": content_type})

    transport = httpx2.MockTransport(answer)
    http = openai.DefaultHttpxClient(transport=transport)
    return openai.OpenAI(api_key="k", base_url="http://provider/v1", max_retries=0, http_client=http)
