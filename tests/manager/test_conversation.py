"""Calls of the Python API: whom they reach, what they send, what they give back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sidecar import (
    AllProvidersFailedError,
    AuthenticationError,
    ConfigurationError,
    FunctionCall,
    LLMError,
    Message,
    ModelNotFoundError,
    NetworkError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitError,
    TokenLimitError,
    ToolCall,
    ValidationError,
)
from tests.fake_provider import WORDS, Behaviour, FakeProvider, half_json, no_done, ok, reset, status
from tests.manager.managing import HI, Managed, listed

CHAIN = "routes: {default: {chain: [a, b]}}\n"
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


# -- what comes back


async def test_an_answer_has_every_field(a: FakeProvider, b: FakeProvider) -> None:
    a.script(ok("one two", model="m-2026"))
    before = datetime.now(UTC)
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        answer = await managed.manager.chat(HI)
    assert answer.content == "one two"
    assert (answer.provider, answer.model) == ("a", "m-2026")
    assert (answer.finish_reason, answer.native_finish_reason) == ("stop", "stop")
    assert answer.tool_calls == []
    assert answer.usage == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert [(each["provider"], each["status"]) for each in answer.metadata["attempts"]] == [("a", 200)]
    assert answer.request_id == managed.lines("request")[0]["request_id"]
    assert 0 < answer.duration < 5
    assert before <= answer.timestamp <= datetime.now(UTC)


async def test_what_is_not_known_is_none(a: FakeProvider) -> None:
    a.script(ok("x", usage={}, finish="odd_reason"))
    async with Managed(listed(a=a) + "routes: {default: {chain: [a]}}\n") as managed:
        answer = await managed.manager.chat(HI)
    assert answer.usage is None
    assert (answer.finish_reason, answer.native_finish_reason) == ("odd_reason", "odd_reason")


async def test_tool_calls_are_given_apart_from_the_content(a: FakeProvider) -> None:
    a.script(ok(tool_calls=[("add", '{"x": 1}'), ("sub", "{}")]))
    async with Managed(listed(a=a) + "routes: {default: {chain: [a]}}\n") as managed:
        answer = await managed.manager.chat_with_tools(HI, [ADD])
    assert answer.content == ""
    assert [(call.function.name, call.function.arguments) for call in answer.tool_calls] == [
        ("add", '{"x": 1}'),
        ("sub", "{}"),
    ]
    assert answer.finish_reason == "tool_calls"
    assert a.calls[0].json["tools"] == [ADD]


# -- whom a call reaches


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
async def test_without_a_provider_the_chain_is_walked_as_written(
    a: FakeProvider, b: FakeProvider, order: tuple[str, str]
) -> None:
    fakes = {"a": a, "b": b}
    fakes[order[0]].script(status(503))
    fakes[order[1]].script(ok("fallback"))
    async with Managed(listed(a=a, b=b) + f"routes: {{default: {{chain: [{', '.join(order)}]}}}}\n") as managed:
        answer = await managed.manager.chat(HI)
    assert answer.content == "fallback"
    assert [each["provider"] for each in answer.metadata["attempts"]] == list(order)


@pytest.mark.parametrize(
    "routes", [CHAIN, 'routes: {"*": {chain: [a, b]}, a/m: {chain: [b]}, default: {chain: [b]}}\n']
)
@pytest.mark.parametrize("name", ["a", "a/m"])
async def test_a_provider_by_name_is_strict_whatever_the_routes_say(
    a: FakeProvider, b: FakeProvider, routes: str, name: str
) -> None:
    a.script(status(503))
    async with Managed(listed(a=a, b=b) + routes) as managed:
        with pytest.raises(ProviderError) as caught:
            await managed.manager.chat(HI, provider=name)
        with pytest.raises(ProviderError):
            await managed.manager.completion("Hi", name)
        with pytest.raises(ProviderError):
            _ = [chunk async for chunk in managed.manager.chat_stream(HI, name)]
        with pytest.raises(ProviderError):
            await managed.manager.chat_with_tools(HI, [ADD], name)
    assert not isinstance(caught.value, AllProvidersFailedError)
    assert [each["provider"] for each in caught.value.attempts] == ["a"]
    assert len(a.calls) == 4
    assert not b.calls


@pytest.mark.parametrize(
    ("provider", "model", "sent"),
    [
        ("a", None, "m"),
        ("a", "other", "other"),
        ("a", "a/other", "other"),
        ("a/other", None, "other"),
        ("a/deep/er", None, "deep/er"),
        ("a", "deep/er", "deep/er"),
    ],
)
async def test_a_provider_gets_its_own_model_or_the_one_named(
    a: FakeProvider, provider: str, model: str | None, sent: str
) -> None:
    async with Managed(listed(a=a) + "routes: {}\n") as managed:
        await managed.manager.chat(HI, provider, model=model)
    assert [call.model for call in a.calls] == [sent]


async def test_a_model_may_name_a_route_or_a_target(a: FakeProvider, b: FakeProvider) -> None:
    routes = "routes: {default: {chain: [a]}, fast: {chain: [b/quick]}}\n"
    async with Managed(listed(a=a, b=b) + routes) as managed:
        chat = managed.manager.chat
        assert (await chat(HI, model="fast")).provider == "b"
        assert (await chat(HI, model="a/precise")).provider == "a"
        assert (await chat(HI, model="default")).provider == "a"
    assert [call.model for call in b.calls] == ["quick"]
    assert [call.model for call in a.calls] == ["precise", "m"]


async def test_one_vendors_model_name_never_reaches_another(a: FakeProvider) -> None:
    async with Managed(listed(a=a) + "routes: {default: {chain: [a]}}\n") as managed:
        await managed.manager.chat(HI, model="gpt-of-somebody-else")
    assert [call.model for call in a.calls] == ["m"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"provider": "nobody"}, r"unknown target \"nobody\".*known: first, second"),
        ({"provider": "secnod"}, r"did you mean \"second\""),
        ({"provider": ""}, r"known: first, second"),
        ({"provider": "second/"}, r"names no model"),
        ({"provider": "second"}, r"providers\.second\.model"),
        ({"model": "firts/m"}, r"did you mean \"first/m\""),
        ({"model": "second"}, r"providers\.second\.model"),
    ],
)
async def test_a_name_that_means_nothing_says_what_would(
    a: FakeProvider, b: FakeProvider, arguments: dict[str, str], said: str
) -> None:
    config = listed(first=a, second=b).replace("key-of-second, model: m", "key-of-second") + CHAIN.replace(
        "a, b", "first"
    )
    async with Managed(config) as managed:
        with pytest.raises(ConfigurationError, match=said):
            await managed.manager.chat(HI, **arguments)
        with pytest.raises(ConfigurationError, match=said):
            _ = [chunk async for chunk in managed.manager.chat_stream(HI, **arguments)]
    assert not a.calls + b.calls


async def test_without_a_default_route_the_message_says_what_there_is(a: FakeProvider) -> None:
    async with Managed(listed(a=a) + "routes: {fast: {chain: [a]}}\n") as managed:
        with pytest.raises(ConfigurationError, match="fast"):
            await managed.manager.chat(HI)


# -- what is sent


async def test_messages_and_dicts_are_sent_alike_and_nothing_of_a_dict_is_lost(a: FakeProvider) -> None:
    call = ToolCall("call_1", FunctionCall("add", '{"x": 1}'))
    values = [
        Message("system", "Be brief."),
        Message("user", [{"type": "text", "text": "Hi"}]),
        Message("assistant", None, [call]),
        Message("tool", "2", name="add", tool_call_id="call_1"),
    ]
    told = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"x": 1}'}}
    dicts: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "tool_calls": [told]},
        {"role": "tool", "content": "2", "name": "add", "tool_call_id": "call_1"},
    ]
    odd = {"role": "assistant", "content": "Hm.", "reasoning_content": "kept", "tool_calls": [{**told, "extra": 1}]}
    async with Managed(listed(a=a) + "routes: {default: {chain: [a]}}\n") as managed:
        await managed.manager.chat(values)
        await managed.manager.chat(dicts)
        await managed.manager.chat([*values[:1], odd, {"role": "assistant", "tool_calls": [call]}])
    assert a.calls[0].json["messages"] == dicts
    assert a.calls[1].json["messages"] == dicts
    assert a.calls[2].json["messages"][1:] == [odd, {"role": "assistant", "tool_calls": [told]}]


async def test_parameters_go_into_the_body_and_ours_are_not_theirs_to_change(a: FakeProvider) -> None:
    async with Managed(listed(a=a) + "routes: {default: {chain: [a]}}\n") as managed:
        await managed.manager.chat(HI, temperature=0.5, stop=["x"], stream=True, messages_of="mine")
        _ = [c async for c in managed.manager.chat_stream(HI, stream=False, stream_options=None, seed=1)]
    first, second = (call.json for call in a.calls)
    assert (first["temperature"], first["stop"], first["stream"]) == (0.5, ["x"], False)
    assert (second["seed"], second["stream"], second["stream_options"]) == (1, True, {"include_usage": True})


@pytest.mark.parametrize(
    "messages",
    ["Hi", ["Hi"], [7], [{"content": "no role"}], [{"role": "user", "content": 7}], [{"role": 1, "content": "Hi"}]],
)
async def test_messages_of_another_shape_are_refused_before_anybody_is_asked(a: FakeProvider, messages: Any) -> None:
    async with Managed(listed(a=a) + "routes: {default: {chain: [a]}}\n") as managed:
        with pytest.raises(ValidationError, match="message"):
            await managed.manager.chat(messages)
    assert not a.calls


async def test_what_is_no_json_is_refused_before_anybody_is_asked(a: FakeProvider) -> None:
    async with Managed(listed(a=a) + "routes: {default: {chain: [a]}}\n") as managed:
        with pytest.raises(ValidationError, match="JSON"):
            await managed.manager.chat(HI, response_format=object())
        with pytest.raises(ValidationError, match="model"):
            await managed.manager.chat(HI, model=7)
    assert not a.calls


async def test_a_completion_uses_the_providers_own_endpoint_or_one_user_message(a: FakeProvider) -> None:
    a.script(ok("of a text"))
    providers = f"""providers:
  has: {{type: openai-compatible, base_url: "{a.base_url}", model: m}}
  lacks: {{type: mistral, base_url: "{a.base_url}", api_key: k, model: m}}
routes: {{}}
"""
    async with Managed(providers) as managed:
        first = await managed.manager.completion("Once upon", "has", max_tokens=3)
        second = await managed.manager.completion("Once upon", "lacks", max_tokens=3)
    assert first.content == second.content == "of a text"
    assert (first.provider, second.provider) == ("has", "lacks")
    assert [call.operation for call in a.calls] == ["/completions", "/chat/completions"]
    assert a.calls[0].json["prompt"] == "Once upon"
    assert a.calls[1].json["messages"] == [{"role": "user", "content": "Once upon"}]
    assert [call.json["max_tokens"] for call in a.calls] == [3, 3]


# -- tools


async def test_targets_that_cannot_call_tools_are_passed_over(a: FakeProvider, b: FakeProvider) -> None:
    config = (listed(a=a, b=b) + CHAIN).replace("key-of-a, model: m", "key-of-a, model: m, models: {m: {tools: false}}")
    async with Managed(config) as managed:
        assert (await managed.manager.chat_with_tools(HI, [ADD])).provider == "b"
        assert (await managed.manager.chat(HI)).provider == "a"
        with pytest.raises(ValidationError, match=r"a/m \(no tools\)") as caught:
            await managed.manager.chat_with_tools(HI, [ADD], provider="a")
        skipped = managed.lines("attempt", outcome="skipped")
    assert caught.value.attempts == []
    assert [(line["target"], line["skipped"]) for line in skipped] == [("a/m", "no tools")]
    assert len(a.calls) == 1


async def test_when_nobody_can_call_tools_the_error_names_who_lacks_them(a: FakeProvider, b: FakeProvider) -> None:
    config = (listed(a=a, b=b) + CHAIN).replace("model: m}", "model: m, models: {m: {tools: false}}}")
    async with Managed(config) as managed:
        with pytest.raises(ValidationError) as caught:
            await managed.manager.chat_with_tools(HI, [ADD])
    assert "a/m (no tools)" in str(caught.value)
    assert "b/m (no tools)" in str(caught.value)
    assert not a.calls + b.calls


# -- failures


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (status(401), AuthenticationError),
        (status(402), RateLimitError),
        (status(404, "The model m does not exist"), ModelNotFoundError),
        (status(429, retry_after=30), RateLimitError),
        (status(500), ProviderError),
        (status(503), ProviderError),
        (status(400, code="context_length_exceeded"), TokenLimitError),
        (status(400, "bad field"), ValidationError),
        (status(400, code="content_policy_violation"), ValidationError),
        (reset(), NetworkError),
        (half_json(), ProviderError),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_failure_is_raised_as_what_it_is(a: FakeProvider, behaviour: Behaviour, error: type[LLMError]) -> None:
    a.script(behaviour)
    async with Managed(listed(a=a) + "routes: {default: {chain: [a]}}\n") as managed:
        with pytest.raises(error) as caught:
            await managed.manager.chat(HI)
    assert type(caught.value) is error
    assert caught.value.partial is None
    assert [each["kind"] for each in caught.value.attempts] == [caught.value.failure.kind]
    assert len(a.calls) == 1
    if isinstance(caught.value, RateLimitError) and caught.value.failure.status == 429:
        assert caught.value.retry_after == 30


async def test_when_all_fail_every_attempt_is_listed(a: FakeProvider, b: FakeProvider) -> None:
    a.script(status(429, retry_after=30))
    b.script(status(500))
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        with pytest.raises(AllProvidersFailedError) as caught:
            await managed.manager.chat(HI)
    durations = [each.pop("duration_s") for each in caught.value.attempts]
    assert all(0 < duration < 5 for duration in durations)
    assert caught.value.attempts == [
        {"provider": "a", "model": "m", "kind": "rate_limited", "status": 429, "retry_after_s": 30.0},
        {"provider": "b", "model": "m", "kind": "server_error", "status": 500, "retry_after_s": None},
    ]


async def test_a_fault_of_the_request_does_not_walk_the_chain(a: FakeProvider, b: FakeProvider) -> None:
    a.script(status(400, "bad field", code="invalid_value"))
    async with Managed(listed(a=a, b=b) + CHAIN) as managed:
        with pytest.raises(ValidationError, match="bad field"):
            await managed.manager.chat(HI)
    assert not b.calls


async def test_after_cleanup_every_call_raises(a: FakeProvider) -> None:
    async with Managed(listed(a=a) + "routes: {default: {chain: [a]}}\n") as managed:
        manager = managed.manager
        await manager.chat(HI)
        await manager.cleanup()
        calls = [
            manager.chat(HI),
            manager.completion("Hi"),
            manager.chat_with_tools(HI, [ADD]),
            manager.chat_stream(HI).__anext__(),
            manager.health_check_all(),
            manager.reset_provider("a"),
        ]
        for call in calls:
            with pytest.raises(ProviderUnavailableError, match="cleaned up"):
                await call
        for change in (lambda: manager.set_fallback_chain(["a"]), manager.enable_load_balancing):
            with pytest.raises(ProviderUnavailableError, match="cleaned up"):
                change()
    assert len(a.calls) == 1
    await a.wait_closed_connections()


async def test_a_stream_without_a_mark_of_its_end_is_whole(a: FakeProvider) -> None:
    a.script(no_done())
    async with Managed(listed(a=a) + "routes: {default: {chain: [a]}}\n") as managed:
        chunks = [chunk async for chunk in managed.manager.chat_stream(HI)]
    assert chunks[-1].content == " ".join(WORDS)
    assert chunks[-1].finish_reason == "stop"
