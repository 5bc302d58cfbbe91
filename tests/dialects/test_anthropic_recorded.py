"""Real traffic of Anthropic's API and of Claude at Bedrock, where the recordings are at hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.dialects import anthropic_messages as dialect
from sidecar.model.blocks import Text, Thinking, ToolUse
from sidecar.model.errors import ValidationError
from sidecar.model.events import fold
from sidecar.model.failures import Failure
from sidecar.model.hub import HubResponse, Loss, Wire
from tests.dialects import oracle
from tests.dialects.codecs import keeps_grammar, read_stream, write_stream
from tests.dialects.test_anthropic_answers import sdk_message, seen
from tests.dialects.test_recorded import RECORDINGS, SMALL_BYTES, recorded

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not beside this checkout")

MINE = ("anthropic", "bedrock-invoke")
EXCEPTIONS = {
    "2ca24a7dbd93df98": "a result whose id no call has: taken in 2024, refused by the vendor since",
}


def mine() -> Iterator[dict[str, Any]]:
    return (row for row in recorded() if row["dialect"] in MINE)


def requests() -> list[tuple[str, dict[str, Any]]]:
    """Those for messages; Bedrock's recordings hold other vendors' too."""
    found = [(row["id"], row["req"].get("json")) for row in mine()]
    return [(id_, body) for id_, body in found if isinstance(body, dict) and {"messages", "max_tokens"} <= body.keys()]


def answers() -> list[tuple[str, dict[str, Any]]]:
    found = [(row["id"], row["res"]["json"]) for row in mine() if row["res"]["status"] == 200 and "json" in row["res"]]
    return [(id_, body) for id_, body in found if body.get("type") == "message"]


def streams() -> list[tuple[str, bytes]]:
    rows = [row for row in mine() if row["res"]["status"] == 200 and "text" in row["res"]]
    return [(row["id"], row["res"]["text"].encode()) for row in rows]


def plain(content: list[dict[str, Any]]) -> dict[str, Any]:
    """What a content says, by nothing but dicts."""
    return {
        "text": "".join(block["text"] for block in content if block["type"] == "text"),
        "thinking": "".join(block["thinking"] for block in content if block["type"] == "thinking"),
        "calls": [(block["id"], block["name"]) for block in content if block["type"] == "tool_use"],
    }


def said(response: HubResponse) -> dict[str, Any]:
    blocks = response.blocks
    return {
        "text": "".join(block.text for block in blocks if isinstance(block, Text)),
        "thinking": "".join(block.text for block in blocks if isinstance(block, Thinking)),
        "calls": [(block.id, block.name) for block in blocks if isinstance(block, ToolUse)],
    }


def total(usage: dict[str, Any]) -> tuple[int, int]:
    read, written = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    return usage["input_tokens"] + (read or 0) + (written or 0), usage["output_tokens"]


def test_recorded_requests_come_back_as_they_were() -> None:
    found = requests()
    assert len(found) > 300
    odd = set()
    for id_, body in found:
        model = body.get("model", "m")
        losses: list[Loss] = []
        try:
            request = dialect.decode_request(body, model, stream=bool(body.get("stream")))
        except ValidationError:
            odd.add(id_)
            continue
        again = dialect.encode_request(request, Wire(model), losses)
        assert {**again, "model": model} == {**body, "model": model}, id_
        assert losses == [], id_
    assert odd == set(EXCEPTIONS)
    assert len(odd) <= len(found) * 0.005


def test_recorded_answers_are_read_and_given_back() -> None:
    found = answers()
    assert len(found) > 200
    for id_, body in found:
        response = dialect.decode_response(body)
        assert isinstance(response, HubResponse), id_
        assert said(response) == plain(body["content"]), id_
        assert response.stop_native == body["stop_reason"], id_
        assert response.usage is not None
        assert (response.usage.input_tokens, response.usage.output_tokens) == total(body["usage"]), id_
        losses: list[Loss] = []
        assert dialect.encode_response(response, losses) == {"stop_sequence": None, **body}, id_
        assert losses == [], id_


def test_recorded_streams_are_read_alike_at_every_size_and_given_back() -> None:
    found = streams()
    assert len(found) > 90
    for id_, stream in found:
        events = read_stream(dialect, stream)
        assert keeps_grammar(events), id_
        response = fold(events)
        assert isinstance(response, HubResponse), (id_, response)
        for size in (1, 7):
            if size > 1 or len(stream) < SMALL_BYTES:
                assert read_stream(dialect, *oracle.sliced(stream, size)) == events, id_
        written, losses = write_stream(dialect, events)
        assert losses == [], id_
        assert fold(read_stream(dialect, written)) == response, id_


def test_a_recorded_stream_cut_before_its_stop_reason_is_no_answer() -> None:
    for id_, stream in streams():
        end = stream.index(b"event: message_delta")
        for cut in (end, end // 2):
            events = read_stream(dialect, stream[:cut])
            assert keeps_grammar(events), id_
            assert isinstance(fold(events), Failure), id_


STABLE = ("text", "thinking", "redacted_thinking", "tool_use")


def test_the_sdk_reads_what_it_reads_of_the_recording() -> None:
    """Those streams whose blocks the SDK's stable types know."""
    compared = 0
    for id_, stream in streams():
        kinds = {
            event["content_block"]["type"] for event in oracle.events(stream) if event["type"] == "content_block_start"
        }
        if not kinds <= set(STABLE):
            continue
        theirs = b"".join(frame for frame in oracle.frames(stream) if b'"ping"' not in frame)
        ours, _ = write_stream(dialect, read_stream(dialect, stream))
        assert seen(sdk_message(ours)) == seen(sdk_message(theirs)), id_
        compared += 1
    assert compared > 60
