"""Vectors and counts for Gemini's clients and from Gemini's models."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from google.genai import types as sdk
from openai.types import CreateEmbeddingResponse

from sidecar.dialects.dialect import Untranslatable
from sidecar.dialects.gemini_count import count_request, counted
from sidecar.dialects.gemini_embeddings import (
    batch_request,
    gemini_answer,
    gemini_request,
    one_of_batch,
    openai_answer,
    openai_request,
)
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import Loss


def wanted(text: str, **fields: Any) -> dict[str, Any]:
    return {"content": {"parts": [{"text": text}]}, **fields}


def test_a_gemini_client_is_served_by_openai() -> None:
    losses: list[Loss] = []
    body = {
        "requests": [
            wanted("a", model="models/m", output_dimensionality=3, taskType="RETRIEVAL_QUERY"),
            wanted("b", model="models/m", outputDimensionality=3),
        ]
    }
    assert openai_request(body, "text-embedding-3-small", losses, single=False) == {
        "model": "text-embedding-3-small",
        "input": ["a", "b"],
        "encoding_format": "float",
        "dimensions": 3,
    }
    assert [loss.path for loss in losses] == ["requests[0].taskType"]
    packed = base64.b64encode(struct.pack("<2f", 0.5, 1.0)).decode()
    rows = [{"index": 1, "embedding": [0.25, 0.75]}, {"index": 0, "embedding": packed}]
    answer = gemini_answer({"data": rows, "usage": {"prompt_tokens": 4}}, single=False)
    assert isinstance(answer, dict)
    seen = sdk.EmbedContentResponse.model_validate(answer)
    assert seen.embeddings is not None
    assert [vector.values for vector in seen.embeddings] == [[0.5, 1.0], [0.25, 0.75]]
    assert gemini_answer({"data": rows[:1]}, single=True) == {"embedding": {"values": [0.25, 0.75]}}


def test_an_openai_client_is_served_by_gemini() -> None:
    losses: list[Loss] = []
    body = {"model": "m", "input": ["a", "b"], "dimensions": 2, "encoding_format": "base64", "user": "ada"}
    assert gemini_request(body, "gemini-embedding-001", losses) == {
        "requests": [
            wanted("a", model="models/gemini-embedding-001", outputDimensionality=2),
            wanted("b", model="models/gemini-embedding-001", outputDimensionality=2),
        ]
    }
    assert [loss.path for loss in losses] == ["user"]
    vectors = {
        "embeddings": [{"values": [0.5, 1.0]}, {"values": [0.25, 0.75]}],
        "usageMetadata": {"promptTokenCount": 4},
    }
    told = openai_answer(vectors, "gemini-embedding-001", as_base64=False)
    assert isinstance(told, dict)
    seen = CreateEmbeddingResponse.model_validate(told)
    assert [row.embedding for row in seen.data] == [[0.5, 1.0], [0.25, 0.75]]
    assert seen.usage.prompt_tokens == 4
    packed = openai_answer({"embedding": {"values": [0.5, 1.0]}}, "m", as_base64=True)
    assert isinstance(packed, dict)
    assert struct.unpack("<2f", base64.b64decode(packed["data"][0]["embedding"])) == (0.5, 1.0)
    assert gemini_request({"input": "a"}, "m", []) == {"requests": [wanted("a", model="models/m")]}


def test_one_and_several_are_asked_alike_and_told_apart() -> None:
    one = wanted("a", taskType="CLUSTERING")
    assert batch_request(one, "models/m", single=True) == {"requests": [{**one, "model": "models/m"}]}
    several = {"requests": [{**one, "model": "models/route"}]}
    assert batch_request(several, "m", single=False) == {"requests": [{**one, "model": "models/m"}]}
    assert one_of_batch({"embeddings": [{"values": [1]}], "x": 1}) == {"embedding": {"values": [1]}, "x": 1}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": [{}]}, "requests[0].content"),
        ({"requests": [wanted("a", outputDimensionality="x")]}, "requests[0].outputDimensionality"),
        ({"requests": [5]}, "requests[0]"),
    ],
)
def test_a_wrong_request_of_gemini_is_told_where(body: dict[str, Any], param: str) -> None:
    with pytest.raises(ValidationError) as caught:
        openai_request(body, "m", [], single=False)
    assert caught.value.failure.param == param


@pytest.mark.parametrize(("body", "param"), [({}, "input"), ({"input": []}, "input"), ({"input": {}}, "input")])
def test_a_wrong_request_of_openai_is_told_where(body: dict[str, Any], param: str) -> None:
    with pytest.raises(ValidationError) as caught:
        gemini_request(body, "m", [])
    assert caught.value.failure.param == param


def test_what_has_no_vector_elsewhere_is_not_asked() -> None:
    image = {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]}}
    with pytest.raises(Untranslatable, match="no text"):
        openai_request(image, "m", [], single=True)
    with pytest.raises(Untranslatable, match="several sizes"):
        openai_request({"requests": [wanted("a", outputDimensionality=2), wanted("b")]}, "m", [], single=False)
    with pytest.raises(Untranslatable, match="tokens"):
        gemini_request({"input": [[1, 2]]}, "m", [])


@pytest.mark.parametrize("body", [{}, {"data": []}, {"data": [{"embedding": "x"}]}, {"embeddings": [{"values": "x"}]}])
def test_an_answer_without_vectors_is_a_failure(body: dict[str, Any]) -> None:
    for told in (gemini_answer(body, single=False), openai_answer(body, "m", as_base64=True)):
        assert isinstance(told, Failure)
        assert told.kind is Kind.MALFORMED
    failure = openai_answer({"error": {"code": 429, "message": "slow down"}}, "m", as_base64=False)
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.RATE_LIMITED


def test_tokens_are_estimated_upwards() -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "What is the capital of France?"}]}]}
    assert 8 <= counted(body)["totalTokens"] <= 20
    whole = {
        "generate_content_request": {
            **body,
            "system_instruction": {"parts": [{"text": "Be terse."}]},
            "tools": [{"function_declarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
        }
    }
    assert counted(whole)["totalTokens"] > counted(body)["totalTokens"] + 10
    image = {"contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": "A" * 4000}}]}]}
    assert counted(image)["totalTokens"] >= 258
    spoilt: list[dict[str, Any]] = [
        {},
        {"contents": 5},
        {"contents": [[{"parts": None}]]},
        {"generateContentRequest": []},
    ]
    for garbage in spoilt:
        assert counted(garbage)["totalTokens"] >= 1
    assert count_request(whole, "m")["generate_content_request"]["model"] == "models/m"
    assert count_request(body, "m") == body
