"""A request's body: what a glance tells, what splicing changes, and that it changes nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.dialects.body import peek, splice
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Kind
from sidecar.model.request import Needs
from sidecar.model.topology import Operation, Params

HELLO = [{"role": "user", "content": "hello"}]
PLAIN = Params()

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
REQUESTS = st.fixed_dictionaries(
    {"model": st.text(min_size=1), "messages": st.lists(VALUES)},
    optional={
        "stream": st.booleans(),
        "temperature": SCALARS,
        "tools": st.lists(VALUES),
        "x": VALUES,
    },
)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": HELLO, **fields}).encode()


def spliced(raw: bytes, params: Params = PLAIN, *, add_usage: bool = False) -> bytes:
    return splice(peek(raw, Operation.CHAT), "sent", params, add_usage=add_usage)


def refused(raw: bytes, operation: Operation = Operation.CHAT) -> tuple[str, str | None]:
    with pytest.raises(ValidationError) as caught:
        peek(raw, operation)
    failure = caught.value.failure
    assert failure.kind is Kind.INVALID_REQUEST
    return failure.message, failure.param


# -- peek


def test_peek_gives_what_routing_needs() -> None:
    found = peek(body(stream=True, stream_options={"include_usage": True}), Operation.CHAT)
    assert (found.model, found.stream, found.wants_usage, found.needs) == ("m", True, True, Needs())
    assert list(found.fields) == ["model", "messages", "stream", "stream_options"]


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({}, Needs()),
        ({"tools": []}, Needs()),
        ({"tools": None}, Needs()),
        ({"tools": [{"type": "function"}]}, Needs(tools=True)),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, Needs(images=True)),
        ({"messages": [{"role": "user", "content": 'say "image_url" to me'}]}, Needs()),
        ({"reasoning_effort": "high"}, Needs(reasoning=True)),
        ({"reasoning_effort": "none"}, Needs()),
        ({"reasoning_effort": None}, Needs()),
        ({"reasoning": {"effort": "low"}}, Needs(reasoning=True)),
        ({"thinking": {"type": "enabled"}}, Needs(reasoning=True)),
    ],
)
def test_peek_tells_what_a_target_must_be_able_to_do(fields: dict[str, Any], needs: Needs) -> None:
    assert peek(body(**fields), Operation.CHAT).needs == needs


@pytest.mark.parametrize(
    ("operation", "name", "picture"),
    [
        (Operation.CHAT, "messages", {"type": "image_url"}),
        (Operation.RESPONSES, "input", {"type": "input_image"}),
        (Operation.MESSAGES, "messages", {"type": "image"}),
        (Operation.GENERATE, "contents", {"inlineData": {}}),
        (Operation.GENERATE, "contents", {"inline_data": {}}),
    ],
)
@pytest.mark.parametrize("text", ["plain", "under_scored"])
def test_a_picture_is_seen_in_every_dialect(operation: Operation, name: str, picture: Any, text: str) -> None:
    said = [{"content": [{"text": text * 1000}, picture, {"text": text}]}]
    with_picture, without = (
        json.dumps({"model": "m", name: said, "other_key": 1}).encode()
        for said in (said, [{"content": [{"text": text}]}])
    )
    assert peek(with_picture, operation, model="m").needs.images
    assert not peek(without, operation, model="m").needs.images


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.COMPLETIONS])
def test_only_a_large_body_is_measured(operation: Operation) -> None:
    assert peek(body(prompt="x" * 1000), operation).needs == Needs()
    large = body(prompt="x" * 10_000)
    assert peek(large, operation).needs == Needs(input_bytes=len(large))


@pytest.mark.parametrize(
    ("content", "holds"),
    [
        ("say base64 to me", False),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}], True),
        ([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}], True),
        ([{"type": "document", "source": {"type": "base64", "data": "AAAA"}}], True),
    ],
)
def test_what_is_no_text_is_known(content: object, holds: bool) -> None:
    assert peek(body(messages=[{"role": "user", "content": content}]), Operation.CHAT).holds_media is holds


@pytest.mark.parametrize("stream", [None, False])
def test_null_and_false_are_no_stream(stream: bool | None) -> None:
    found = peek(body(stream=stream, stream_options=None), Operation.CHAT)
    assert (found.stream, found.wants_usage) == (False, False)


def test_embeddings_do_not_stream_and_need_no_messages() -> None:
    raw = b'{"model":"m","input":"x","stream":true}'
    assert peek(raw, Operation.EMBEDDINGS).stream is False
    assert peek(raw, Operation.COMPLETIONS).stream is True


@pytest.mark.parametrize(
    ("raw", "words", "param"),
    [
        (b"", "empty", None),
        (b" \n", "empty", None),
        (b"hello", "not valid JSON", None),
        (b'{"model":"m"', "not valid JSON", None),
        (b'{"model":"m",}', "not valid JSON", None),
        (b'\xff\xfe{"model":"m"}', "not valid JSON", None),
        (b'{"\xff":1}', "not valid JSON", None),
        (b'["m"]', "a JSON object, not a list", None),
        (b'"m"', "a JSON object, not a string", None),
        (b"12", "a JSON object, not a number", None),
        (b"null", "a JSON object, not null", None),
        (b"true", "a JSON object, not a boolean", None),
        (b'{"model":"m","messages":' + b"[" * 400_000, "nested too deeply", None),
        (b'{"messages":[]}', '"model" is missing', "model"),
        (b'{"model":null,"messages":[]}', '"model" is missing', "model"),
        (b'{"model":"","messages":[]}', '"model" is missing', "model"),
        (b'{"model":5,"messages":[]}', '"model" must be a string, not 5', "model"),
        (b'{"model":["a"],"messages":[]}', '"model" must be a string, not ["a"]', "model"),
        (b'{"model":"m"}', '"messages" is missing', "messages"),
        (b'{"model":"m","messages":"hi"}', '"messages" must be a list', "messages"),
        (b'{"model":"m","messages":[],"stream":"yes"}', '"stream" must be true or false, not "yes"', "stream"),
        (b'{"model":"m","messages":[],"stream":1}', '"stream" must be true or false, not 1', "stream"),
        (
            b'{"model":"m","messages":[],"stream":true,"stream_options":true}',
            '"stream_options" must be an object such as {"include_usage": true}, not true',
            "stream_options",
        ),
        (
            b'{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":"x"}}',
            '"stream_options" must be an object',
            "stream_options",
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_name_of_the_field(raw: bytes, words: str, param: str | None) -> None:
    message, named = refused(raw)
    assert words in message
    assert named == param


def test_a_wrong_value_is_shown_in_short() -> None:
    message, _ = refused(json.dumps({"model": ["long"] * 1000, "messages": []}).encode())
    assert len(message) < 120


# -- splice


@given(REQUESTS, st.booleans())
def test_splicing_replaces_the_model_and_keeps_the_rest(request_: dict[str, Any], ascii_only: bool) -> None:
    raw = json.dumps(request_, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        sent = spliced(raw)
    except ValidationError:
        assert "\\ud" in json.dumps(request_)  # half a surrogate pair is no text
        return
    assert json.loads(sent) == {**request_, "model": "sent"}
    assert list(json.loads(sent)) == list(request_)


def test_every_byte_below_the_top_level_survives() -> None:
    text = b'"\\u00e9\\/\xc3\xa9 \\ud83d\\ude42"'
    messages = b'[ {"role" : "user",\n "content":' + text + b', "z":1.0e3,"a":-0,"a":10000000000000000000000} ]'
    raw = b'{"temperature":1.0e3, "messages": ' + messages + b' , "model":"m","seed":7.00}'
    sent = spliced(raw)
    assert sent == b'{"temperature":1.0e3,"messages":' + messages + b',"model":"sent","seed":7.00}'


def test_of_a_key_written_twice_the_last_counts() -> None:
    raw = b'{"model":"a","messages":[],"n":1,"model":"b","n":2}'
    assert peek(raw, Operation.CHAT).model == "b"
    assert spliced(raw) == b'{"model":"sent","messages":[],"n":2}'


def test_an_escaped_key_is_that_key() -> None:
    assert spliced(b'{"mod\\u0065l":"a","messages":[]}') == b'{"model":"sent","messages":[]}'


def test_a_large_prompt_goes_through_as_it_is() -> None:
    text = 'lorem \\ "ipsum" é🙂 ' * 50_000
    raw = body(messages=[{"role": "user", "content": text}])
    assert len(raw) > 1_000_000
    assert json.loads(spliced(raw))["messages"][0]["content"] == text


def test_the_original_can_be_spliced_again() -> None:
    seen = peek(body(stream=True), Operation.CHAT)
    first = splice(seen, "one", Params(set={"x": b"1"}, drop=frozenset({"messages"})), add_usage=True)
    assert b"messages" not in first
    assert json.loads(splice(seen, "two", PLAIN, add_usage=False)) == {
        "model": "two",
        "messages": HELLO,
        "stream": True,
    }


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        (Params(set={"user": b'"us"'}), {"temperature": 1, "user": "us"}),
        (Params(set={"temperature": b"0.5"}), {"temperature": 0.5}),
        (Params(default={"temperature": b"0.5", "top_p": b"0.9"}), {"temperature": 1, "top_p": 0.9}),
        (Params(drop=frozenset({"temperature", "absent"})), {}),
        (Params(default={"top_p": b"1"}, drop=frozenset({"top_p", "temperature"})), {}),
        (Params(set={"temperature": b"2"}, drop=frozenset({"temperature"})), {"temperature": 2}),
        (Params(set={"extra": b'{"deep":[1,{"a":null}]}'}), {"temperature": 1, "extra": {"deep": [1, {"a": None}]}}),
    ],
)
def test_params_of_the_provider(params: Params, fields: dict[str, Any]) -> None:
    assert json.loads(spliced(body(temperature=1), params)) == {"model": "sent", "messages": HELLO, **fields}


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (None, {"include_usage": True}),
        ({}, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": True}),
        ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": True}),
    ],
)
def test_usage_is_asked_for_beside_the_clients_own_options(
    options: dict[str, Any] | None, sent: dict[str, Any]
) -> None:
    assert json.loads(spliced(body(stream=True, stream_options=options), add_usage=True))["stream_options"] == sent
    assert json.loads(spliced(body(stream=True), add_usage=True))["stream_options"] == {"include_usage": True}
    assert "stream_options" not in json.loads(spliced(body(stream=True)))


@pytest.mark.parametrize(
    ("params", "sent"),
    [
        (Params(drop=frozenset({"stream_options"})), None),
        (Params(set={"stream_options": b'{"include_usage":false}'}), {"include_usage": False}),
        (Params(default={"stream_options": b'{"a":1}'}), {"a": 1, "include_usage": True}),
    ],
)
def test_the_config_has_the_last_word_on_asking_for_usage(params: Params, sent: dict[str, Any] | None) -> None:
    assert json.loads(spliced(body(stream=True), params, add_usage=True)).get("stream_options") == sent
