"""Azure OpenAI in both forms of its API."""

from __future__ import annotations

import json

import pytest

from tests.providers.clouds import Asked, answer, ask, behind

SAID = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}],
}
QUESTION = {"model": "gpt", "messages": [{"role": "user", "content": "hi"}]}
WHOLE = answer(json.dumps(SAID).encode())


def whole(asked: Asked) -> bytes:
    return WHOLE


@pytest.mark.parametrize("suffix", ["", "/", "/openai", "/openai/v1", "/openai/v1/"])
async def test_the_newer_form_has_the_deployment_in_the_body(suffix: str) -> None:
    provider = f"type: azure-openai, base_url: 'URL{suffix}', api_key: k-azure"
    async with behind(whole, provider) as (house, cloud):
        reply = await ask(house, "/v1/chat/completions", QUESTION, [("Authorization", "Bearer client")])
    assert reply.status == 200
    (asked,) = cloud.asked
    assert asked.path == "/openai/v1/chat/completions"
    assert asked.headers["api-key"] == "k-azure"
    assert "authorization" not in asked.headers
    assert asked.json["model"] == "m"


@pytest.mark.parametrize(
    ("path", "body", "upstream"),
    [
        ("/v1/chat/completions", QUESTION, "chat/completions"),
        ("/v1/completions", {"model": "gpt", "prompt": "hi"}, "completions"),
        ("/v1/embeddings", {"model": "gpt", "input": "hi"}, "embeddings"),
    ],
)
async def test_the_dated_form_has_it_in_the_path(path: str, body: dict[str, object], upstream: str) -> None:
    provider = "type: azure-openai, base_url: 'URL/openai/v1', api_key: k, api_version: '2024-10-21'"
    async with behind(whole, provider, "cloud/my gpt") as (house, cloud):
        await ask(house, path, body)
    assert cloud.asked[0].path == f"/openai/deployments/my%20gpt/{upstream}?api-version=2024-10-21"


async def test_a_version_without_a_date_is_one_of_the_newer_form() -> None:
    provider = "type: azure-openai, base_url: URL, api_key: k, api_version: preview"
    async with behind(whole, provider) as (house, cloud):
        await ask(house, "/v1/responses", {"model": "gpt", "input": "hi"})
    assert cloud.asked[0].path == "/openai/v1/responses?api-version=preview"


async def test_a_responses_client_is_translated_where_the_form_has_no_responses() -> None:
    provider = "type: azure-openai, base_url: URL, api_key: k, api_version: '2024-10-21'"
    async with behind(whole, provider) as (house, cloud):
        reply = await ask(house, "/v1/responses", {"model": "gpt", "input": "hi"})
    assert reply.status == 200
    assert cloud.asked[0].path.startswith("/openai/deployments/m/chat/completions?")
    assert json.loads(reply.body)["output"][0]["content"][0]["text"] == "hi"


async def test_a_stream_whose_first_chunk_is_about_the_prompt() -> None:
    chunks = [
        {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [{}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": None}], "id": "c"},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "id": "c", "model": "gpt-4o"},
    ]
    events = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    stream = answer(events, "text/event-stream")
    async with behind(lambda asked: stream, "type: azure-openai, base_url: URL, api_key: k") as (house, _):
        reply = await ask(house, "/v1/chat/completions", {**QUESTION, "stream": True})
        assert reply.status == 200
        assert b"prompt_filter_results" in reply.body
        (line,) = await house.wait_lines("attempt")
    assert (line["outcome"], line["finish_reason"]) == ("ok", "stop")


async def test_a_filtered_prompt_is_the_clients_own_business() -> None:
    error = {
        "error": {
            "message": "The prompt triggered Azure OpenAI's content management policy.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
        }
    }
    refused = answer(json.dumps(error).encode(), status=400)
    async with behind(lambda asked: refused, "type: azure-openai, base_url: URL, api_key: k") as (house, cloud):
        reply = await ask(house, "/v1/chat/completions", QUESTION)
        (line,) = await house.wait_lines("attempt")
    assert reply.status == 400
    assert line["kind"] == "content_policy"
    assert len(cloud.asked) == 1


async def test_quirks_of_the_file_stand_in_the_place_of_the_types() -> None:
    provider = "type: azure-openai, base_url: URL, api_key: k, quirks: [max_tokens, no_stream_options]"
    async with behind(whole, provider) as (house, cloud):
        body = {**QUESTION, "max_completion_tokens": 5, "stream": True, "stream_options": {"include_usage": True}}
        await ask(house, "/v1/chat/completions", body)
    asked = cloud.asked[0].json
    assert asked["max_tokens"] == 5
    assert "stream_options" not in asked
