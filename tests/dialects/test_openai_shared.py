"""What OpenAI's two dialects both say goes from the one to the other; only to who takes it, where few do."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.dialects import openai_chat, openai_responses
from sidecar.model.hub import Loss, Wire
from sidecar.model.topology import Quirk

SHARED = {
    "moderation": {"model": "omni"},
    "prompt_cache_key": "k",
    "prompt_cache_options": {"ttl": "30m"},
    "prompt_cache_retention": "24h",
}
PNG = "data:image/png;base64,iVBORw0KGgo="
TAKES = Wire("gpt-5.4", quirks=frozenset({Quirk.OPENAI_FIELDS}))


def to_responses(**fields: Any) -> tuple[dict[str, Any], list[str]]:
    losses: list[Loss] = []
    asked = {"messages": [{"role": "user", "content": "Hi"}], **fields}
    request = openai_chat.decode_request(asked, "m", stream=False)
    return openai_responses.encode_request(request, Wire("gpt-5.4"), losses), [loss.path for loss in losses]


def to_chat(wire: Wire = TAKES, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    losses: list[Loss] = []
    request = openai_responses.decode_request({"input": "Hi", "store": False, **fields}, "m", stream=False)
    return openai_chat.encode_request(request, wire, losses), [loss.path for loss in losses]


@pytest.mark.parametrize("name", SHARED)
def test_fields_of_one_name_go_both_ways(name: str) -> None:
    for body, losses in (to_responses(**{name: SHARED[name]}), to_chat(**{name: SHARED[name]})):
        assert body[name] == SHARED[name]
        assert losses == []


def test_verbosity_is_within_the_text_of_responses() -> None:
    body, losses = to_responses(verbosity="low", response_format={"type": "json_object"})
    assert body["text"] == {"format": {"type": "json_object"}, "verbosity": "low"}
    assert losses == []
    body, losses = to_chat(text={"format": {"type": "json_object"}, "verbosity": "low"})
    assert (body["verbosity"], body["response_format"]) == ("low", {"type": "json_object"})
    assert losses == []


def test_who_asks_is_told_by_the_name_that_the_client_used() -> None:
    assert to_responses(safety_identifier="u1")[0]["safety_identifier"] == "u1"
    assert "user" not in to_responses(safety_identifier="u1")[0]
    assert to_responses(user="u1")[0]["user"] == "u1"
    both = {"user": "u1", "safety_identifier": "u2"}
    for body, losses in (to_responses(**both), to_chat(**both)):
        assert {name: body[name] for name in both} == both
        assert losses == []
    assert to_chat(safety_identifier="u1")[0]["safety_identifier"] == "u1"
    assert "user" not in to_chat(safety_identifier="u1")[0]
    body, losses = to_chat(Wire("m"), safety_identifier="u1")
    assert (body["user"], losses) == ("u1", [])


def test_a_chat_that_is_not_known_to_take_them_is_not_asked_for_them() -> None:
    body, losses = to_chat(Wire("m"), text={"verbosity": "low"}, **SHARED)
    assert body.keys() == {"model", "messages"}
    assert set(losses) == {*SHARED, "text"}


def test_null_says_nothing() -> None:
    body, losses = to_responses(prompt_cache_key=None, verbosity=None, safety_identifier=None)
    assert not {"prompt_cache_key", "text", "safety_identifier"} & body.keys()
    assert losses == []


@pytest.mark.parametrize("detail", ["low", "high", "original", "auto"])
def test_how_closely_to_look_goes_both_ways_but_for_a_word_of_responses_alone(detail: str) -> None:
    image = {"type": "image_url", "image_url": {"url": PNG, "detail": detail}}
    body, losses = to_responses(messages=[{"role": "user", "content": [image]}])
    (part,) = body["input"][0]["content"]
    known = detail != "original"
    assert part["detail"] == (detail if known else "auto")
    assert losses == ([] if known else ["messages[0].content[0].image_url.detail"])
    image = {"type": "input_image", "image_url": PNG, "detail": detail}
    body, losses = to_chat(input=[{"role": "user", "content": [image]}])
    (part,) = body["messages"][0]["content"]
    assert part["image_url"] == ({"url": PNG, "detail": detail} if detail in ("low", "high") else {"url": PNG})
    assert losses == ([] if known else ["messages[0].content[0].detail"])


@pytest.mark.parametrize(("mime", "name"), [("text/csv", "file.csv"), ("application/zip", "file")])
def test_a_file_without_a_name_gets_the_same_one_in_both(mime: str, name: str) -> None:
    data = f"data:{mime};base64,aGk="
    body, _ = to_responses(messages=[{"role": "user", "content": [{"type": "file", "file": {"file_data": data}}]}])
    assert body["input"][0]["content"][0]["filename"] == name
    asked = {"role": "user", "content": [{"type": "input_file", "file_data": data}]}
    assert to_chat(input=[asked])[0]["messages"][0]["content"][0]["file"]["filename"] == name
