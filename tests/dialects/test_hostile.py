"""Providers that say what is no type of anything: read as if absent, and never a failure of ours."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from sidecar.dialects import gemini_generate, openai_chat, openai_responses
from sidecar.dialects.translate import EventTap
from sidecar.model.events import unfold
from sidecar.model.failures import Failure
from sidecar.model.topology import Dialect
from tests.dialects.codecs import CODECS


def frames(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


@pytest.mark.parametrize("odd", [{}, [], {"a": [1]}], ids=str)
def test_a_part_or_an_id_of_an_odd_type_is_passed_over(odd: Any) -> None:
    part = {"type": odd, "text": "x"}
    text = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hi"}
    tap = EventTap(
        Dialect.OPENAI_RESPONSES, openai_responses.StreamDecoder(), openai_chat.StreamEncoder([], wants_usage=True)
    )
    passed = tap.feed(
        frames(
            {"type": "response.content_part.added", "output_index": 0, "content_index": 0, "part": part},
            {**text, "item_id": odd},
            {"type": "response.content_part.done", "output_index": 0, "content_index": 0, "part": part},
        )
    )
    assert b'"Hi"' in passed
    assert tap.failure is None


@pytest.mark.parametrize("octets", [[256], [-1], [2**62], [True]], ids=str)
@pytest.mark.parametrize("name", ["chat", "responses"])
def test_bytes_of_a_token_that_are_none_are_left_out(name: str, octets: list[int]) -> None:
    token = {"token": "a", "logprob": -1.0, "bytes": octets, "top_logprobs": []}
    if name == "chat":
        choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
        body: dict[str, Any] = {"id": "c", "model": "m", "choices": [{**choice, "logprobs": {"content": [token]}}]}
        response = openai_chat.decode_response(body)
    else:
        part = {"type": "output_text", "text": "a", "annotations": [], "logprobs": [token]}
        item = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}
        response = openai_responses.decode_response({"id": "r", "model": "m", "status": "completed", "output": [item]})
    assert not isinstance(response, Failure)
    for codec in CODECS.values():
        assert msgspec.json.encode(codec.encode_response(response, []))
    assert b'"a"' in gemini_generate.StreamEncoder([], wants_usage=True).give(list(unfold(response)))


@pytest.mark.parametrize("odd", [{}, []], ids=str)
def test_a_client_whose_switch_is_of_an_odd_type_is_answered(odd: Any) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "thinking": {"type": odd}}
    assert openai_chat.decode_request(body, "m", stream=False).messages


def nested(inner: Any, levels: int, **around: Any) -> Any:
    """Parts within the `NAME` of parts, as deep as a decoder of JSON still reads."""
    [name] = (key for key, value in around.items() if value is None)
    for _ in range(levels):
        inner = [{**around, name: inner}]
    return inner


@pytest.mark.parametrize("levels", [100, 450])
def test_parts_within_parts_without_end_are_read_so_far(levels: int) -> None:
    likely = nested([], levels, token="a", logprob=-1.0, top_logprobs=None)
    message = {"role": "assistant", "content": nested("deep", levels, type="text", text=None)}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": likely}}
    response = openai_chat.decode_response({"id": "c", "model": "m", "choices": [choice]})
    assert not isinstance(response, Failure)
    part = {"type": "output_text", "text": "a", "annotations": [], "logprobs": likely}
    item = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}
    again = openai_responses.decode_response({"id": "r", "model": "m", "status": "completed", "output": [item]})
    assert not isinstance(again, Failure)
    assert msgspec.json.encode(openai_chat.encode_response(again, []))
