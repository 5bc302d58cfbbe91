"""The real OpenAI SDK, unmodified, through the real daemon: sync and async, whole and streamed, by TCP and by socket.

Every case has its own route and its own pair of providers, of which the first misbehaves.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx2
import openai
import pytest
import pytest_asyncio

from tests.fake_provider import (
    WORDS,
    Behaviour,
    cut_after,
    malformed_chunk_at,
    no_done,
    ok,
    reset,
    silence,
    status,
)
from tests.scenarios.stage import Pair, Stage, Staging

pytestmark = [pytest.mark.asyncio(loop_scope="module")]

POEM = " ".join(WORDS)
HI = [{"role": "user", "content": "Hi"}]
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
    },
}
_TIMEOUT_S = 20.0
# So many retries within seconds are no test of the budget that all requests share. And a check would leave
# a connection to be used again, on which a reset is no fault of the provider, and so costs no attempt.
_CONFIG = """
resilience: {backoff_base: 20ms, budget: {min_per_second: 100}}
health: {mode: "off"}
"""


class Way(NamedTuple):
    """How an app calls: with which SDK client, by which door, and whether it wants a stream."""

    client: str
    door: str
    mode: str

    @property
    def stream(self) -> bool:
        return self.mode == "stream"


WAYS = [Way(*each) for each in itertools.product(("sync", "async"), ("tcp", "unix"), ("whole", "stream"))]


@dataclass
class Got:
    """What the SDK gave its app."""

    text: str = ""
    model: str = ""
    finish: str | None = None
    usage: Any = None
    calls: dict[int, dict[str, str]] = field(default_factory=dict)

    def take_whole(self, answer: Any) -> Got:
        (choice,) = answer.choices
        self.text, self.model = choice.message.content or "", answer.model
        self.finish, self.usage = choice.finish_reason, answer.usage
        for index, call in enumerate(choice.message.tool_calls or ()):
            self.calls[index] = {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
        return self

    def take_chunk(self, chunk: Any) -> None:
        self.model, self.usage = chunk.model, chunk.usage or self.usage
        for choice in chunk.choices:
            self.text += choice.delta.content or ""
            self.finish = choice.finish_reason or self.finish
            for delta in choice.delta.tool_calls or ():
                call = self.calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += delta.id or ""
                call["name"] += delta.function.name or ""
                call["arguments"] += delta.function.arguments or ""


def options(pair: Pair, way: Way) -> dict[str, Any]:
    """What the app configures: an address, and for a socket the client that speaks to it."""
    common = {"api_key": "whatever", "timeout": _TIMEOUT_S}
    if way.door == "tcp":
        return {"base_url": f"{pair.daemon.base_url}/v1", **common}
    path = pair.daemon.socket
    http_client: Any = (
        httpx2.Client(transport=httpx2.HTTPTransport(uds=path))
        if way.client == "sync"
        else httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=path))
    )
    return {"base_url": "http://localhost/v1", "http_client": http_client, **common}


async def ask(pair: Pair, way: Way, messages: Iterable[Mapping[str, Any]] = HI, **fields: Any) -> Got:
    """One chat completion, as an app would ask for it."""
    request: dict[str, Any] = {"model": pair.name, "messages": list(messages), **fields}
    if way.stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    if way.client == "sync":
        return await asyncio.to_thread(_ask_sync, options(pair, way), request)
    got = Got()
    async with openai.AsyncOpenAI(**options(pair, way)) as sdk:
        answer = await sdk.chat.completions.create(**request)
        if not way.stream:
            return got.take_whole(answer)
        async for chunk in answer:
            got.take_chunk(chunk)
    return got


def _ask_sync(given: dict[str, Any], request: dict[str, Any]) -> Got:
    got = Got()
    with openai.OpenAI(**given) as sdk:
        answer = sdk.chat.completions.create(**request)
        if not request.get("stream"):
            return got.take_whole(answer)
        for chunk in answer:
            got.take_chunk(chunk)
    return got


class Case(NamedTuple):
    """A fault, who answers in spite of it, and how often the first provider is asked."""

    faults: tuple[Behaviour, ...]
    by: str  # the model that serves: alpha is the primary's, beta the fallback's
    calls: int
    prompt: str = "Hi"
    route: str = ""
    whole_by: str | None = None  # where it differs for an answer that is not streamed


CASES = {
    "r3-500-once": Case((status(500), ok()), "alpha", 2),
    "r4-503-for-ever": Case((status(503),), "beta", 2),
    "r5-reset": Case((reset(),), "beta", 2),
    "r6-silent": Case((silence(),), "beta", 1, route="timeouts: {first_token: 400ms, answer: 400ms}"),
    "r10-malformed": Case((malformed_chunk_at(30),), "alpha", 1, whole_by="beta"),
    "r11-no-done": Case((no_done(),), "alpha", 1),
    "r12-too-long": Case((status(400, "too long", code="context_length_exceeded"),), "beta", 1),
    "r16-accounting": Case((status(500),), "beta", 2),
    "r18-large": Case((status(503),), "beta", 2, prompt="word " * (1024 * 1024 // 5)),
}
OTHERS = ("r13-policy", "tools", "broken", "all-down")
SINGLE = ("rest", "helper", "parse")


def name_of(case: str, way: Way) -> str:
    return f"{case}-{'-'.join(way)}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    plain = Staging(route="")
    stagings = {name_of(case, way): plain for case in OTHERS for way in WAYS} | dict.fromkeys(SINGLE, plain)
    for case, told in CASES.items():
        stagings |= {name_of(case, way): Staging(route=told.route) for way in WAYS}
    async with Stage(tmp_path_factory.mktemp("sdk"), stagings, _CONFIG) as stage:
        yield stage


every_way = pytest.mark.parametrize("way", WAYS, ids="-".join)


@every_way
@pytest.mark.parametrize("case", CASES)
async def test_the_app_gets_its_whole_answer(stage: Stage, case: str, way: Way) -> None:
    told = CASES[case]
    pair = stage.pair(name_of(case, way))
    pair.primary.script(*told.faults)
    got = await ask(pair, way, [{"role": "user", "content": told.prompt}])
    by = told.by if way.stream else told.whole_by or told.by
    assert (got.text, got.finish, got.model) == (POEM, "stop", by)
    assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.total_tokens) == (7, 60, 67)
    assert len(pair.primary.calls) == told.calls
    assert len(pair.fallback.calls) == (by == "beta")
    served = pair.primary if by == "alpha" else pair.fallback
    assert served.calls[-1].json["messages"] == [{"role": "user", "content": told.prompt}]
    assert served.calls[-1].headers["authorization"] == "Bearer k"  # the app's own key goes nowhere


@every_way
async def test_a_refusal_for_its_content_reaches_the_app_with_its_reason(stage: Stage, way: Way) -> None:
    pair = stage.pair(name_of("r13-policy", way))
    pair.primary.script(status(400, "Not this.", code="content_policy_violation"))
    with pytest.raises(openai.BadRequestError, match=r"Not this\.") as caught:
        await ask(pair, way)
    assert caught.value.code == "content_policy_violation"
    assert len(pair.primary.calls) == 1
    assert not pair.fallback.calls


@every_way
async def test_tools_are_called_and_answered_though_the_first_provider_is_down(stage: Stage, way: Way) -> None:
    pair = stage.pair(name_of("tools", way))
    pair.primary.script(status(503))
    pair.fallback.script(ok(tool_calls=[("add", '{"x": 1}'), ("add", '{"x": 22}')]), ok("23"))
    got = await ask(pair, way, tools=[ADD], tool_choice="auto")
    assert (got.text, got.finish, got.model) == ("", "tool_calls", "beta")
    assert got.calls == {
        0: {"id": "call_0", "name": "add", "arguments": '{"x": 1}'},
        1: {"id": "call_1", "name": "add", "arguments": '{"x": 22}'},
    }
    called = [
        {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in got.calls.values()
    ]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "1"} for call in called]
    conversation = [*HI, {"role": "assistant", "content": None, "tool_calls": called}, *results]
    got = await ask(pair, way, conversation, tools=[ADD])
    assert (got.text, got.finish) == ("23", "stop")
    first, second = pair.fallback.calls
    assert first.json["tools"] == second.json["tools"] == [ADD]
    assert second.json["messages"] == conversation


@every_way
async def test_when_nobody_answers_the_app_is_told_once_and_tries_no_more(stage: Stage, way: Way) -> None:
    pair = stage.pair(name_of("all-down", way))
    pair.primary.script(status(500))
    pair.fallback.script(status(500))
    with pytest.raises(openai.InternalServerError) as caught:
        await ask(pair, way)
    body: Any = caught.value.body
    asked = [each["provider"].removeprefix(pair.name) for each in body["attempts"]]
    assert set(asked) == {"-a", "-b"}
    assert len(asked) == len(pair.primary.calls) + len(pair.fallback.calls) == 3  # and not nine


@every_way
async def test_what_breaks_in_the_middle_is_an_error_or_asked_again(stage: Stage, way: Way) -> None:
    pair = stage.pair(name_of("broken", way))
    pair.primary.script(cut_after(40, gap_s=0.001))
    if not way.stream:
        assert (await ask(pair, way)).text == POEM
        return
    with pytest.raises(openai.APIError):
        await ask(pair, way)
    assert not pair.fallback.calls


# -- the rest of the SDK that a sidecar answers


async def test_completions_embeddings_and_models(stage: Stage) -> None:
    pair = stage.pair("rest")
    async with openai.AsyncOpenAI(**options(pair, WAYS[-1])) as sdk:
        completion = await sdk.completions.create(model="rest", prompt="Hi")
        stream = await sdk.completions.create(model="rest", prompt="Hi", stream=True)
        streamed = "".join([chunk.choices[0].text async for chunk in stream if chunk.choices])
        embeddings = await sdk.embeddings.create(model="rest", input=["one", "two"], encoding_format="float")
        models = [model.id async for model in sdk.models.list()]
        model = await sdk.models.retrieve("rest")
        with pytest.raises(openai.NotFoundError, match="no model"):
            await sdk.models.retrieve("nothing")
    assert completion.choices[0].text == streamed == POEM
    assert [row.embedding for row in embeddings.data] == [[0.5, -0.5, 0.25]] * 2
    assert {"rest", "rest-a/alpha"} <= set(models)
    assert model.id == "rest"


async def test_the_streaming_helper_follows_the_events(stage: Stage) -> None:
    pair = stage.pair("helper")
    pair.primary.script(status(503))
    pair.fallback.script(ok(tool_calls=[("add", '{"x": 1}')]))
    async with (
        openai.AsyncOpenAI(**options(pair, WAYS[-1])) as sdk,
        sdk.chat.completions.stream(model="helper", messages=HI, tools=[ADD]) as stream,  # type: ignore[list-item]
    ):
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.arguments == '{"x": 1}'


async def test_raw_responses_show_who_was_asked(stage: Stage) -> None:
    pair = stage.pair("parse")
    pair.primary.script(status(400, code="context_length_exceeded"))
    async with openai.AsyncOpenAI(**options(pair, WAYS[-1])) as sdk:
        raw = await sdk.chat.completions.with_raw_response.create(model="parse", messages=HI)  # type: ignore[arg-type]
    assert raw.headers["x-sidecar-target"] == "parse-b/beta"
    assert raw.headers["x-sidecar-attempts"] == "parse-a/alpha=400,parse-b/beta=200"
    answer: Callable[[], Any] = raw.parse
    assert answer().choices[0].message.content == POEM
