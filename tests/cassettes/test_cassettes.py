"""Real traffic of thirty vendors, where the recordings are at hand: every reply to clients of every dialect.

`python -m tests.cassettes` prints the shares. The few that do not come out right are named, with the reason.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import Completion, CreateEmbeddingResponse

from sidecar.dialects.body import peek
from sidecar.dialects.forms import Whole, form_of
from sidecar.model.hub import Wire
from sidecar.model.request import Call
from sidecar.model.topology import Dialect, Operation, Params
from tests.cassettes.crossing import CLIENTS, RECORDINGS, recordings, rows
from tests.cassettes.judge import EXCEPTIONS, judged, torn_alike

pytestmark = [
    pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not beside this checkout"),
    # The SDKs' types do not know every value that vendors send, and say so when they are written out.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_reply_says_the_same_to_its_client(client: str) -> None:
    found = recordings()
    assert len(found) > 1800
    wrong = {each.id: told for each in found if (told := judged(each, client)) and each.id not in EXCEPTIONS}
    assert wrong == {}


def test_exceptions_are_few_and_still_needed() -> None:
    found = recordings()
    assert len(EXCEPTIONS) < 0.01 * len(found)
    needed = {each.id for each in found if each.id in EXCEPTIONS and any(judged(each, client) for client in CLIENTS)}
    assert needed == set(EXCEPTIONS)


def test_any_splitting_of_a_stream_gives_the_same() -> None:
    streams = [each for each in recordings() if each.streams and each.id not in EXCEPTIONS]
    sample = streams[:: max(1, len(streams) // 60)]
    assert len(sample) >= 60
    assert {each.id: told for each in sample if (told := torn_alike(each))} == {}


def _relayed(row: dict[str, Any], operation: Operation) -> tuple[bytes, bytes]:
    """What the provider gave, and what its client got."""
    asked: dict[str, Any] = {"model": "m", "prompt": "Hi", "input": "Hi"}
    streams = "text" in row["res"]
    asked |= {"stream": True, "stream_options": {"include_usage": True}} if streams else {}
    call = Call(operation, Dialect.OPENAI_CHAT, peek(json.dumps(asked).encode(), operation), "r")
    form = form_of(call, operation, Wire("m"), Params())
    if streams:
        given = row["res"]["text"].encode()
        tap = form.tap()
        passed = tap.feed(given) + tap.end()
        assert tap.verdict() is None, row["id"]
        return given, passed
    given = json.dumps(row["res"]["json"]).encode()
    whole = form.whole(given, streamed=False)
    assert isinstance(whole, Whole), (row["id"], whole)
    return given, whole.body


def test_completions_pass_as_they_are() -> None:
    found = rows("openai-completions")
    assert len(found) > 15
    for row in found:
        given, got = _relayed(row, Operation.COMPLETIONS)
        assert got == given, row["id"]
        if "json" in row["res"]:
            assert Completion.construct(**json.loads(got)).choices, row["id"]


def test_vectors_pass_as_they_are() -> None:
    found = rows("embeddings")
    assert len(found) >= 40
    for row in found:
        if "data" not in row["res"]["json"]:
            continue  # another service's, in a shape of its own
        given, got = _relayed(row, Operation.EMBEDDINGS)
        assert got == given, row["id"]
        assert CreateEmbeddingResponse.construct(**json.loads(got)).data, row["id"]
