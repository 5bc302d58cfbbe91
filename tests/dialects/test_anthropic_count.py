"""Estimates of tokens, and lists of models."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.pagination import SyncPage
from anthropic.types import ModelInfo
from hypothesis import given
from pydantic import TypeAdapter

from sidecar.dialects.anthropic_count import estimated_tokens, models_page
from tests.dialects import values
from tests.dialects.test_anthropic_recorded import answers, requests
from tests.dialects.test_laws import few
from tests.dialects.test_recorded import RECORDINGS


def messages(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def test_more_is_more() -> None:
    some = estimated_tokens(messages("Hello"))
    assert 0 < some < estimated_tokens(messages("Hello, who are you, and what are you doing here?"))
    assert some < estimated_tokens({**messages("Hello"), "system": "Be kind."})
    assert some < estimated_tokens({**messages("Hello"), "tools": [{"name": "f", "input_schema": {}}]})
    data = {"type": "base64", "media_type": "application/pdf", "data": "A" * 200_000}
    assert estimated_tokens(messages([{"type": "document", "source": data}])) > 10_000
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 200_000}}
    assert estimated_tokens(messages([image])) < 5_000


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not beside this checkout")
def test_estimates_are_rarely_too_low_and_not_absurd() -> None:
    usages = {id_: body["usage"] for id_, body in answers()}
    pairs = []
    for id_, body in requests():
        usage = usages.get(id_)
        if usage is None or "server_tool_use" in usage or any("type" in tool for tool in body.get("tools") or ()):
            continue  # what built-in tools read is counted, and cannot be known before
        cached = (usage.get("cache_read_input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
        pairs.append((estimated_tokens(body), usage["input_tokens"] + cached))
    assert len(pairs) > 100
    enough = sum(estimate >= counted for estimate, counted in pairs)
    assert enough > len(pairs) * 0.9
    assert sum(estimate for estimate, _ in pairs) < 3 * sum(counted for _, counted in pairs)


@given(values.OBJECTS)
@few
def test_whatever_comes_is_counted(fields: dict[str, Any]) -> None:
    assert estimated_tokens(fields) > 0


def test_the_sdk_reads_a_list_of_models() -> None:
    page = TypeAdapter(SyncPage[ModelInfo]).validate_python(models_page(["default", "fast"]))
    assert [model.id for model in page.data] == ["default", "fast"]
    assert (page.first_id, page.last_id, page.has_more) == ("default", "fast", False)
    assert models_page([])["first_id"] is None
