"""Real traffic of thirty vendors, where the recordings are at hand: every reply, for what it is, to every client.

`python -m tests.cassettes` prints the shares, and what is filed as something that it is not.
"""

from __future__ import annotations

import pytest

from tests.cassettes.beside import object_judged, refusal_judged
from tests.cassettes.crossing import CLIENTS
from tests.cassettes.judge import judged, torn_alike
from tests.cassettes.passing import passed_judged
from tests.cassettes.recorded import RECORDINGS, all_rows, recordings, replies

pytestmark = [
    pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not beside this checkout"),
    # The SDKs' types do not know every value that vendors send, and say so when they are written out.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]


def test_no_recording_is_left_out() -> None:
    assert {recording.id.partition("#")[0] for recording in replies()} == {row["id"] for row in all_rows()}
    conversations = ("openai-chat", "openai-responses", "anthropic", "gemini", "gemini-stream")
    misfiled = [
        recording.label
        for recording in replies()
        if recording.label in conversations and recording.status == 200 and not recording.as_filed
    ]
    assert len(misfiled) <= 20


@pytest.mark.parametrize("client", CLIENTS)
def test_every_answer_says_the_same_to_its_client(client: str) -> None:
    found = recordings()
    assert len(found) > 1900
    assert {each.id: told for each in found if (told := judged(each, client))} == {}


def test_any_splitting_of_a_stream_gives_the_same() -> None:
    streams = [each for each in recordings() if each.streams]
    sample = streams[:: max(1, len(streams) // 60)]
    assert len(sample) >= 60
    assert {each.id: told for each in sample if (told := torn_alike(each))} == {}


def test_completions_vectors_and_counts_come_as_they_are() -> None:
    found = [each for each in replies() if each.operation is not None and not each.talks and not each.failed]
    assert len(found) > 60
    assert {each.id: told for each in found if (told := object_judged(each))} == {}


def test_every_error_has_its_kind_and_is_told_in_every_dialect() -> None:
    found = [each for each in replies() if each.failed]
    assert len(found) > 50
    assert {each.id: told for each in found if (told := refusal_judged(each))} == {}


async def test_what_is_of_no_dialect_is_passed_on_as_it_is() -> None:
    found = [each for each in replies() if each.operation is None]
    assert len(found) > 100
    verdicts = await passed_judged(found)
    assert {id_: told for id_, told in verdicts.items() if told} == {}
    assert len(verdicts) == len(found)
