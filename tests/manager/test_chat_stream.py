"""Streams of the Python API: chunks, callbacks, breaks, and leaving in the middle."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from sidecar import (
    AllProvidersFailedError,
    BaseCallbackHandler,
    LLMManager,
    LLMResponse,
    LLMResponseChunk,
    Message,
    NetworkError,
    ProviderError,
    ProviderUnavailableError,
)
from tests.fake_provider import (
    WORDS,
    FakeProvider,
    cut_after,
    error_event_in_200,
    malformed_chunk_at,
    ok,
    stall_after,
    status,
)
from tests.manager.managing import HI, Managed, listed

ONE = "routes: {default: {chain: [a]}}\n"
CHAIN = "routes: {default: {chain: [a, b]}}\n"


class Plain(BaseCallbackHandler):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.run_ids: set[str] = set()
        self.messages: Sequence[Message] = ()
        self.response: LLMResponse | None = None

    def _note(self, what: str, value: Any, run_id: str) -> None:
        self.told.append((what, value))
        self.run_ids.add(run_id)

    def on_llm_start(self, run_id: str, messages: Sequence[Message], **kwargs: object) -> None:
        self.messages = messages
        self._note("start", kwargs, run_id)

    def on_llm_new_token(self, token: str, *, chunk: LLMResponseChunk, run_id: str) -> None:
        assert chunk.delta == token
        self._note("token", token, run_id)

    def on_llm_end(self, response: LLMResponse, *, run_id: str) -> None:
        self.response = response
        self._note("end", response.content, run_id)

    def on_llm_error(self, error: Exception, *, run_id: str) -> None:
        self._note("error", error, run_id)


class Async(Plain):
    """The same, slowly."""

    async def on_llm_start(self, run_id: str, messages: Sequence[Message], **kwargs: object) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().on_llm_start(run_id, messages, **kwargs)

    async def on_llm_new_token(self, token: str, *, chunk: LLMResponseChunk, run_id: str) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().on_llm_new_token(token, chunk=chunk, run_id=run_id)

    async def on_llm_end(self, response: LLMResponse, *, run_id: str) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().on_llm_end(response, run_id=run_id)

    async def on_llm_error(self, error: Exception, *, run_id: str) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().on_llm_error(error, run_id=run_id)


async def collected(manager: LLMManager, **arguments: Any) -> list[LLMResponseChunk]:
    return [chunk async for chunk in manager.chat_stream(HI, **arguments)]


# -- chunks


async def test_deltas_add_up_to_the_content(a: FakeProvider) -> None:
    a.script(ok(gap_s=0.001))
    async with Managed(listed(a=a) + ONE) as managed:
        chunks = await collected(managed.manager)
    content = ""
    for index, chunk in enumerate(chunks):
        content += chunk.delta
        assert (chunk.content, chunk.chunk_index) == (content, index)
        assert (chunk.provider, chunk.model) == ("a", "m")
    assert content == " ".join(WORDS)
    assert sum(bool(chunk.delta) for chunk in chunks) == len(WORDS)
    assert chunks[-1].finish_reason == "stop"
    assert chunks[-1].usage == {"prompt_tokens": 7, "completion_tokens": 60, "total_tokens": 67}
    assert all(early.timestamp <= late.timestamp for early, late in itertools.pairwise(chunks))


async def test_chunks_come_as_they_are_written(a: FakeProvider) -> None:
    a.script(stall_after(3))
    async with Managed(listed(a=a) + ONE) as managed:
        stream = managed.manager.chat_stream(HI)
        seen = []
        async with asyncio.timeout(5):
            while len(seen) < 3:
                chunk = await anext(stream)
                seen += [chunk.delta] if chunk.delta else []
        await stream.aclose()
    assert "".join(seen) == " ".join(WORDS[:3])


async def test_tool_calls_grow_in_deltas_and_are_whole_at_the_end(a: FakeProvider) -> None:
    a.script(ok(tool_calls=[("add", '{"x": 1}'), ("sub", '{"y": 22}')]))
    async with Managed(listed(a=a) + ONE) as managed:
        chunks = await collected(managed.manager)
    assert all(chunk.delta == chunk.content == "" for chunk in chunks)
    deltas = [delta for chunk in chunks for delta in chunk.tool_call_chunks or ()]
    assert "".join(d["function"].get("arguments", "") for d in deltas if d["index"] == 1) == '{"y": 22}'
    whole = [(call.id, call.function.name, call.function.arguments) for call in chunks[-1].tool_calls]
    assert whole == [("call_0", "add", '{"x": 1}'), ("call_1", "sub", '{"y": 22}')]
    assert all(chunk.tool_calls == [] for chunk in chunks if chunk.finish_reason is None)


async def test_a_malformed_chunk_is_left_out(a: FakeProvider) -> None:
    a.script(malformed_chunk_at(30))
    async with Managed(listed(a=a) + ONE) as managed:
        chunks = await collected(managed.manager)
        assert [line["malformed_events"] for line in managed.lines("attempt")] == [1]
    assert chunks[-1].content == " ".join(WORDS)


# -- breaks


@pytest.mark.parametrize("fault", [status(503), cut_after(0), error_event_in_200()], ids=["503", "cut", "error event"])
async def test_before_the_first_content_the_next_target_answers(a: FakeProvider, b: FakeProvider, fault: Any) -> None:
    a.script(fault)
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        chunks = await collected(managed.manager)
    assert {chunk.provider for chunk in chunks} == {"b"}
    assert chunks[-1].content == " ".join(WORDS)


@pytest.mark.parametrize("fault", [cut_after(40), error_event_in_200(at=40, gap_s=0.001)], ids=["cut", "error event"])
async def test_after_it_a_break_raises_with_what_had_come(a: FakeProvider, b: FakeProvider, fault: Any) -> None:
    a.script(fault)
    handler = Plain()
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        with pytest.raises(ProviderError) as caught:
            await collected(managed.manager, callbacks=[handler])
    assert not isinstance(caught.value, AllProvidersFailedError)
    seen = "".join(value for what, value in handler.told if what == "token")
    assert caught.value.partial == seen == " ".join(WORDS[:40])
    assert [each["provider"] for each in caught.value.attempts] == ["a"]
    assert handler.told[-1] == ("error", caught.value)
    assert "end" not in dict(handler.told)
    assert not b.calls


async def test_a_break_before_any_text_but_after_a_call_has_an_empty_partial(a: FakeProvider, b: FakeProvider) -> None:
    a.script(ok(tool_calls=[("add", "{}")], cut_after=1))
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        with pytest.raises(ProviderError) as caught:
            await collected(managed.manager)
    assert caught.value.partial == ""
    assert not isinstance(caught.value, AllProvidersFailedError)
    assert not b.calls


async def test_a_stall_after_content_is_found_and_raised(a: FakeProvider) -> None:
    a.script(stall_after(5))
    async with Managed(listed(a=a) + "routes: {default: {chain: [a], timeouts: {idle: 50ms}}}\n") as managed:
        with pytest.raises(NetworkError, match="silent") as caught:
            await collected(managed.manager)
    assert caught.value.partial == " ".join(WORDS[:5])


# -- leaving


async def test_closing_the_generator_closes_the_upstream_call(a: FakeProvider) -> None:
    a.script(ok(gap_s=0.01))
    async with Managed(listed(a=a) + ONE) as managed:
        stream = managed.manager.chat_stream(HI)
        async for chunk in stream:
            if chunk.delta:
                break
        await stream.aclose()
        assert not managed.manager.active
        await a.wait_for(lambda fake: fake.open == 0, 1.0)
        (request,) = managed.lines("request")
        (attempt,) = managed.lines("attempt")
    assert a.calls[0].peer_closed_at is not None
    assert (request["outcome"], request["kind"], attempt["outcome"]) == ("cancelled", "client_gone", "cancelled")


async def test_leaving_the_loop_is_enough(a: FakeProvider) -> None:
    a.script(ok(gap_s=0.01))
    async with Managed(listed(a=a) + ONE) as managed:
        async for chunk in managed.manager.chat_stream(HI):
            if chunk.delta:
                break
        await a.wait_for(lambda fake: fake.open == 0, 1.0)
        assert not managed.manager.active


@pytest.mark.parametrize("words", [0, 5], ids=["before the first content", "in the middle"])
async def test_cancelling_the_reader_closes_the_upstream_call(a: FakeProvider, words: int) -> None:
    a.script(stall_after(words))
    async with Managed(listed(a=a) + ONE) as managed:
        task = asyncio.create_task(collected(managed.manager))
        await a.wait_calls(1)
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await a.wait_for(lambda fake: fake.open == 0, 1.0)
        assert not managed.manager.active
        status_of_a = managed.manager.get_provider_status()["a"]["targets"]["a/m"]
    assert (status_of_a["in_flight"], status_of_a["recent_failures"], status_of_a["breaker"]) == (0, 0, "closed")


async def test_a_generator_that_is_never_begun_does_nothing(a: FakeProvider) -> None:
    async with Managed(listed(a=a) + ONE) as managed:
        await managed.manager.chat_stream(HI).aclose()
        assert not managed.manager.active
        assert not managed.lines("request")
    assert not a.calls


# -- callbacks


@pytest.mark.parametrize("kind", [Plain, Async])
async def test_callbacks_hear_start_tokens_and_end(a: FakeProvider, kind: type[Plain]) -> None:
    a.script(ok("one two three"))
    handler, second = kind(), Plain()
    async with Managed(listed(a=a) + ONE) as managed:
        chunks = await collected(managed.manager, callbacks=[handler, second], temperature=0)
    assert handler.told == second.told
    assert handler.told == [
        ("start", {"temperature": 0}),
        *(("token", word) for word in ("one", " two", " three")),
        ("end", "one two three"),
    ]
    assert handler.messages == [Message("user", "Hi")]
    assert len(handler.run_ids) == 1
    assert handler.response is not None
    assert handler.response.request_id in handler.run_ids
    assert handler.response.usage == chunks[-1].usage


@pytest.mark.parametrize("kind", [Plain, Async])
async def test_callbacks_run_whichever_provider_answers(a: FakeProvider, b: FakeProvider, kind: type[Plain]) -> None:
    a.script(status(500))
    b.script(ok("saved"))
    handler = kind()
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        await collected(managed.manager, callbacks=[handler])
    assert handler.told == [("start", {}), ("token", "saved"), ("end", "saved")]
    assert handler.response is not None
    assert handler.response.provider == "b"


@pytest.mark.parametrize("kind", [Plain, Async])
async def test_callbacks_hear_that_nobody_answered(a: FakeProvider, b: FakeProvider, kind: type[Plain]) -> None:
    a.script(status(500))
    b.script(status(500))
    handler = kind()
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        with pytest.raises(AllProvidersFailedError) as caught:
            await collected(managed.manager, callbacks=[handler])
    assert handler.told == [("start", {}), ("error", caught.value)]


async def test_time_that_its_reader_takes_is_not_counted_as_ours(a: FakeProvider) -> None:
    async with Managed(listed(a=a) + ONE) as managed:
        async for _ in managed.manager.chat_stream(HI):
            await asyncio.sleep(0.1)
        for line in managed.lines("attempt") + managed.lines("request"):
            assert line["duration_s"] > 0.1 * len(WORDS)
            assert line["overhead_s"] < line["duration_s"] / 2


async def test_a_callback_that_raises_ends_the_stream(a: FakeProvider) -> None:
    class Broken(BaseCallbackHandler):
        def on_llm_new_token(self, token: str, *, chunk: LLMResponseChunk, run_id: str) -> None:
            raise KeyError("mine")

    a.script(ok(gap_s=0.01))
    async with Managed(listed(a=a) + ONE) as managed:
        with pytest.raises(KeyError, match="mine"):
            await collected(managed.manager, callbacks=[Broken()])
        await a.wait_for(lambda fake: fake.open == 0, 1.0)
        assert not managed.manager.active


async def test_a_closed_manager_tells_no_callback(a: FakeProvider) -> None:
    handler = Plain()
    async with Managed(listed(a=a) + ONE) as managed:
        await managed.manager.cleanup()
        with pytest.raises(ProviderUnavailableError):
            await collected(managed.manager, callbacks=[handler])
    assert handler.told == []
