"""Real traffic of Bedrock, where the recordings are at hand, judged by what AWS's own library reads and accepts."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any
from urllib.parse import unquote

import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.session import Session
from botocore.validate import ParamValidator

from sidecar.dialects import anthropic_messages, bedrock_converse
from sidecar.dialects.dialect import ProviderCodec, Untranslatable
from sidecar.dialects.table import codec
from sidecar.model.blocks import Opaque, Text, Thinking, ToolUse
from sidecar.model.errors import ValidationError
from sidecar.model.events import fold
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import HubResponse, Loss, StopReason, Wire
from sidecar.model.topology import Dialect
from sidecar.upstream.event_stream import Messages
from tests.dialects.codecs import keeps_grammar, read_stream
from tests.dialects.test_recorded import RECORDINGS, recorded

EVENT_NAMES = {"contentBlockStart", "contentBlockDelta", "contentBlockStop"}

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not beside this checkout")


@cache
def rows(dialect: str) -> list[dict[str, Any]]:
    found = [row for row in recorded() if row["dialect"] == dialect]
    return [row for row in found if "invoke" not in dialect or is_claude(row)]


def is_claude(row: dict[str, Any]) -> bool:
    """Whether it is of the Messages API; models of other vendors are never asked in a format of their own."""
    return "anthropic_version" in (row["req"]["json"] or {}) and "messages" in row["req"]["json"]


def read(row: dict[str, Any], codec: ProviderCodec, pieces: int = 1) -> HubResponse | Failure:
    """The answer of a recording, through all that an answer goes through."""
    reply = row["res"]
    if reply["status"] != 200:
        body = json.dumps(reply["json"]).encode()
        return codec.decode_failure(reply["status"], reply["headers"], body, 0.0)
    if "b64" not in reply:
        return codec.decode_response(reply["json"])
    data, messages = base64.b64decode(reply["b64"]), Messages()
    size = max(1, len(data) // pieces)
    frames = [messages.feed(data[place : place + size]) for place in range(0, len(data), size)]
    assert not messages.within
    events = read_stream(codec, *frames)
    assert keeps_grammar(events)
    return fold(events)


def seen(response: HubResponse) -> dict[str, Any]:
    usage = response.usage
    return {
        "text": "".join(block.text for block in response.blocks if isinstance(block, Text)),
        "thought": "".join(block.text for block in response.blocks if isinstance(block, Thinking)),
        "calls": [
            (block.id, block.name, json.loads(block.arguments))
            for block in response.blocks
            if isinstance(block, ToolUse)
        ],
        "opaque": sum(isinstance(block, Opaque) for block in response.blocks),
        "stop": response.stop_native,
        "tokens": usage and (usage.input_tokens, usage.output_tokens),
    }


def expected(message: dict[str, Any], stop: str, usage: dict[str, Any]) -> dict[str, Any]:
    """The same of a whole answer, by nothing but dicts."""
    blocks = message["content"]
    calls = [block["toolUse"] for block in blocks if "toolUse" in block]
    own = [call for call in calls if call.get("type") != "server_tool_use"]
    thoughts = [block["reasoningContent"].get("reasoningText", {}) for block in blocks if "reasoningContent" in block]
    known = {"text", "toolUse", "reasoningContent"}
    return {
        "text": "".join(block.get("text", "") for block in blocks),
        "thought": "".join(thought.get("text", "") for thought in thoughts),
        "calls": [(call["toolUseId"], call["name"], call["input"]) for call in own],
        "opaque": len(calls) - len(own) + sum(not block.keys() & known for block in blocks),
        "stop": stop,
        "tokens": (usage["totalTokens"] - usage["outputTokens"], usage["outputTokens"]),
    }


def gathered(data: bytes) -> dict[str, Any]:
    """A stream as AWS's own library cuts it, put together by nothing but dicts."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    blocks: dict[int, dict[str, Any]] = {}
    stop, usage = "", {}
    for message in buffer:
        name, value = message.headers[":event-type"], json.loads(message.payload)
        block = blocks.setdefault(value["contentBlockIndex"], {}) if name in EVENT_NAMES else {}
        if name == "contentBlockStart" and "toolUse" in value["start"]:
            block["toolUse"] = {**value["start"]["toolUse"], "input": ""}
        elif name == "contentBlockDelta":
            delta = value["delta"]
            if "toolUse" in delta:
                block["toolUse"]["input"] += delta["toolUse"]["input"]
            elif "text" in delta:
                block["text"] = block.get("text", "") + delta["text"]
            elif thought := delta.get("reasoningContent"):
                into = block.setdefault("reasoningContent", {}).setdefault("reasoningText", {"text": ""})
                into["text"] += thought.get("text", "")
        elif name == "messageStop":
            stop = value["stopReason"]
        elif name == "metadata":
            usage = value["usage"]
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return expected({"content": [block for block in blocks.values() if block]}, stop, usage)


def test_every_whole_answer_is_read() -> None:
    found = [row for row in rows("bedrock-converse") if row["res"]["status"] == 200]
    good = [row for row in found if "output" in row["res"]["json"]]
    assert len(good) >= len(found) - 2
    for row in good:
        body = row["res"]["json"]
        response = read(row, bedrock_converse)
        assert isinstance(response, HubResponse), row["id"]
        wanted = expected(body["output"]["message"], body["stopReason"], body["usage"])
        assert seen(response) == wanted, row["id"]


@pytest.mark.parametrize("pieces", [1, 7, 1_000_000])
def test_every_stream_is_read_however_it_is_cut(pieces: int) -> None:
    found = [row for row in rows("bedrock-converse-stream") if row["res"]["status"] == 200]
    assert found
    for row in found if pieces < 10 else found[:4]:
        response = read(row, bedrock_converse, pieces)
        assert isinstance(response, HubResponse), row["id"]
        assert seen(response) == gathered(base64.b64decode(row["res"]["b64"])), row["id"]


def test_claude_is_read_in_its_own_dialect() -> None:
    found = [*rows("bedrock-invoke"), *rows("bedrock-invoke-stream")]
    read_ones = 0
    for row in found:
        response = read(row, anthropic_messages)
        if row["res"]["status"] != 200:
            assert isinstance(response, Failure)
            continue
        assert isinstance(response, HubResponse), row["id"]
        assert response.stop is not StopReason.OTHER
        assert response.usage is not None
        if "json" in row["res"]:
            body = row["res"]["json"]
            text = "".join(block.get("text", "") for block in body["content"])
            assert (seen(response)["text"], seen(response)["stop"]) == (text, body["stop_reason"])
        read_ones += 1
    assert read_ones >= 8


def test_errors_have_their_kinds() -> None:
    failed = [row for row in recorded() if row["dialect"].startswith("bedrock") and row["res"]["status"] != 200]
    kinds = {row["id"]: read(row, bedrock_converse) for row in failed}
    assert failed
    for failure in kinds.values():
        assert isinstance(failure, Failure)
        assert failure.kind in (Kind.MODEL_UNAVAILABLE, Kind.INVALID_REQUEST, Kind.CREDENTIAL)
        assert failure.message
        assert failure.upstream is None


# -- requests

MODELS = ("amazon.nova-pro-v1:0", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "openai.gpt-oss-120b-1:0")
CLIENTS: dict[str, Dialect] = {
    "openai-chat": Dialect.OPENAI_CHAT,
    "openai-responses": Dialect.OPENAI_RESPONSES,
    "anthropic": Dialect.ANTHROPIC_MESSAGES,
    "gemini": Dialect.GEMINI_GENERATE,
}


@cache
def judge() -> Any:
    return Session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape


def complaint(body: dict[str, Any], model: str) -> str | None:
    """What AWS's own library says against a request."""
    report = ParamValidator().validate({"modelId": model, **body}, judge())
    return report.generate_report() if report.has_errors() else None


@pytest.mark.parametrize("client", CLIENTS)
def test_recorded_requests_of_others_are_accepted(client: str) -> None:
    dialect: Any = CLIENTS[client]
    found = [row for row in recorded() if row["dialect"] == client and row["res"]["status"] == 200][::3]
    asked, refused = 0, []
    for place, row in enumerate(found):
        model = MODELS[place % len(MODELS)]
        name = unquote(row["url"].rpartition("/models/")[2].partition(":")[0]) or "m"
        losses: list[Loss] = []
        try:
            request = codec(dialect).decode_request(row["req"]["json"], name, stream=False)
            body = bedrock_converse.encode_request(request, Wire(model), losses)
        except (ValidationError, Untranslatable, TypeError, AttributeError):
            continue
        asked += 1
        if (said := complaint(body, model)) is not None:
            refused.append((row["id"], said))
    assert asked > len(found) * 0.9
    assert len(refused) <= asked * 0.02, refused
