"""Recorded chat completions of thirty vendors, by way of the hub and back."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from sidecar.dialects import openai_chat
from sidecar.model.blocks import Text, Thinking, ToolUse
from sidecar.model.events import fold
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubResponse, Loss, StopReason, Wire
from tests.dialects import oracle
from tests.dialects.codecs import keeps_grammar, read_stream, write_stream
from tests.dialects.test_recorded import RECORDINGS, recorded, said

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not beside this checkout")

SMALL_BYTES = 5_000


@cache
def mine() -> list[dict[str, Any]]:
    return [row for row in recorded() if row["dialect"] == "openai-chat"]


def name(row: dict[str, Any]) -> str:
    return f"{row['vendor']} {row['id']}"


def plain(reply: dict[str, Any]) -> dict[str, Any]:
    """A whole answer by nothing but dicts; the retired kind of call is one, too."""
    found = said([reply], whole=True)
    retired = (reply["choices"][0].get("message") or {}).get("function_call") or {}
    if retired.get("name"):
        found["calls"].append((retired["name"], retired["arguments"] or "{}"))
    return found


def shown(response: HubResponse) -> dict[str, Any]:
    usage = response.usage
    return {
        "text": "".join(block.text for block in response.blocks if isinstance(block, Text) and not block.refusal),
        "reasoning": "".join(block.text for block in response.blocks if isinstance(block, Thinking)),
        "calls": [(block.name, block.arguments) for block in response.blocks if isinstance(block, ToolUse)],
        "finish": response.stop_native,
        "tokens": usage and (usage.input_tokens, usage.output_tokens),
    }


def test_recorded_requests_come_back_as_they_were() -> None:
    count = 0
    for row in mine():
        body = row["req"].get("json")
        if not isinstance(body, dict) or "model" not in body:
            continue  # uploads
        losses: list[Loss] = []
        request = openai_chat.decode_request(body, body["model"], stream=bool(body.get("stream")))
        assert openai_chat.encode_request(request, Wire(body["model"]), losses) == body, name(row)
        assert losses == [], name(row)
        count += 1
    assert count > 900


def test_recorded_answers_are_read_and_come_back_as_they_were() -> None:
    count = 0
    for row in mine():
        reply = row["res"].get("json")
        if row["res"]["status"] != 200 or reply is None:
            continue
        response = openai_chat.decode_response(reply)
        if isinstance(response, Failure):  # transcripts and rankings, and one filter's error
            assert not reply.get("choices"), name(row)
            assert response.kind is (Kind.CONTENT_POLICY if reply.get("error") else Kind.MALFORMED), name(row)
            continue
        assert {**shown(response), "finish": response.stop_native or ""} == {
            **plain(reply),
            "finish": plain(reply)["finish"] or "",
        }, name(row)
        assert response.stop is not StopReason.OTHER, name(row)
        assert openai_chat.encode_response(response, []) == reply, name(row)
        count += 1
    assert count > 650


def test_recorded_streams_are_read_however_they_are_torn() -> None:
    count = 0
    for row in mine():
        if row["res"]["status"] != 200 or "text" not in row["res"]:
            continue
        stream = row["res"]["text"].encode()
        events = read_stream(openai_chat, stream)
        assert keeps_grammar(events), name(row)
        for size in (1, 7, 512) if len(stream) < SMALL_BYTES else (512,):
            assert read_stream(openai_chat, *oracle.sliced(stream, size)) == events, name(row)
        response = fold(events)
        assert isinstance(response, HubResponse), name(row)
        assert shown(response) == said(list(oracle.events(stream))), name(row)
        again, _ = write_stream(openai_chat, events)
        assert shown(_whole(again)) == shown(response), name(row)
        cut = fold(read_stream(openai_chat, stream[: len(stream) // 3]))
        assert isinstance(cut, Failure) or {**shown(cut), "tokens": None} == {**shown(response), "tokens": None}, name(
            row
        )
        count += 1
    assert count > 200


def _whole(stream: bytes) -> HubResponse:
    response = fold(read_stream(openai_chat, stream))
    assert isinstance(response, HubResponse), response
    return response


def test_recorded_errors_are_failures() -> None:
    rows = [row for row in mine() if row["res"]["status"] >= 400]
    assert len(rows) > 20
    for row in rows:
        reply = row["res"].get("json")
        if reply is not None:
            assert isinstance(openai_chat.decode_response(reply), Failure), name(row)
