"""What a fault looks like to the SDKs of the other dialects, whose provider speaks OpenAI's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors

from tests.fake_provider import cut_after, error_event_in_200, reset, status
from tests.scenarios.models import goes_on
from tests.scenarios.stage import POEM, Pair, staged

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),  # google-genai's
]

_HELLO = "Say the poem."
_PATIENCE_S = 30.0

Texts = Callable[[str, str], AsyncIterator[str]]


async def _responses(base: str, model: str) -> AsyncIterator[str]:
    async with openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="x", max_retries=0, timeout=_PATIENCE_S) as client:
        ended = False
        async for event in await client.responses.create(model=model, input=_HELLO, stream=True):
            ended = ended or event.type == "response.completed"
            if event.type == "response.output_text.delta":
                yield event.delta
        assert ended


async def _messages(base: str, model: str) -> AsyncIterator[str]:
    said = [{"role": "user", "content": _HELLO}]
    async with (
        anthropic.AsyncAnthropic(base_url=base, api_key="x", max_retries=0, timeout=_PATIENCE_S) as client,
        client.messages.stream(model=model, max_tokens=1000, messages=said) as stream,
    ):
        async for text in stream.text_stream:
            yield text
        assert (await stream.get_final_message()).stop_reason == "end_turn"


async def _gemini(base: str, model: str) -> AsyncIterator[str]:
    transport = (
        httpx2.AsyncHTTPTransport()
    )  # with it, the SDK leaves aiohttp alone, whose connections it does not close
    options = {"base_url": base, "timeout": int(_PATIENCE_S * 1000), "async_client_args": {"transport": transport}}
    client = genai.Client(api_key="x", http_options=options).aio
    reason = None
    try:
        async for chunk in await client.models.generate_content_stream(model=model, contents=_HELLO):
            reason = chunk.candidates[0].finish_reason or reason
            yield chunk.text or ""
    finally:
        await client.aclose()
    assert reason is not None
    assert reason.name == "STOP"


SDKS: dict[str, Texts] = {"responses": _responses, "messages": _messages, "gemini": _gemini}
RAISED = (openai.APIError, anthropic.APIError, errors.APIError)
every_sdk = pytest.mark.parametrize("sdk", list(SDKS))


async def _asked(pair: Pair, sdk: str) -> tuple[str, Exception | None]:
    """The text that the SDK gave, and what it raised after it."""
    text = ""
    try:
        async for piece in SDKS[sdk](pair.daemon.base_url.removesuffix("/v1"), pair.name):
            text += piece
    except RAISED as error:
        return text, error
    return text, None


@every_sdk
@pytest.mark.parametrize("fault", [status(503), reset(), cut_after(0)], ids=["503", "reset", "empty_stream"])
async def test_a_fault_before_the_first_content_is_unseen(pair: Pair, sdk: str, fault: object) -> None:
    pair.primary.script(fault)
    assert await _asked(pair, sdk) == (POEM, None)
    assert len(pair.fallback.calls) == 1


@every_sdk
@staged(route="rescue: off")
async def test_a_cut_after_some_text_is_an_error_and_never_an_end(pair: Pair, sdk: str) -> None:
    pair.primary.script(cut_after(40))
    text, error = await _asked(pair, sdk)
    assert text
    assert POEM.startswith(text)
    assert text != POEM
    assert error is not None
    assert "finish reason" in str(error) or "ended" in str(error)


@every_sdk
@staged(route="rescue: off")
async def test_an_error_event_after_some_text_is_one_in_the_clients_dialect(pair: Pair, sdk: str) -> None:
    pair.primary.script(error_event_in_200(at=40, gap_s=0.002))
    text, error = await _asked(pair, sdk)
    assert text
    assert POEM.startswith(text)
    assert error is not None


@every_sdk
async def test_a_cut_stream_is_rescued_in_the_clients_dialect(pair: Pair, sdk: str) -> None:
    pair.primary.script(cut_after(40))
    pair.fallback.script(goes_on)
    assert await _asked(pair, sdk) == (POEM, None)
    (asked,) = pair.fallback.calls
    assert [message["role"] for message in asked.json["messages"]] == ["user", "assistant", "user"]


@every_sdk
async def test_when_nobody_answers_the_sdk_is_told_in_its_words(pair: Pair, sdk: str) -> None:
    for fake in (pair.primary, pair.fallback):
        fake.script(status(503))
    text, error = await _asked(pair, sdk)
    assert text == ""
    assert isinstance(error, RAISED)
    assert getattr(error, "status_code", getattr(error, "code", None)) == 503
    for fake in (pair.primary, pair.fallback):
        fake.script(goes_on)


async def test_anthropics_sdk_knows_the_requests_id(pair: Pair) -> None:
    said = [{"role": "user", "content": _HELLO}]
    base = pair.daemon.base_url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=base, api_key="x", max_retries=0) as client:
        answer = await client.messages.create(model=pair.name, max_tokens=1000, messages=said)
        assert answer._request_id
        with pytest.raises(anthropic.NotFoundError) as caught:
            await client.messages.create(model="no-such/route", max_tokens=1, messages=said)
        assert caught.value.request_id
