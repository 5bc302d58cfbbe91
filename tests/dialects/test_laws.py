"""What holds for every dialect: nothing is lost in silence, however it comes and whatever it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sidecar.dialects.dialect import Codec, Untranslatable
from sidecar.model.errors import ValidationError
from sidecar.model.events import Fault, fold, unfold
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import How, HubRequest, HubResponse, Loss, Wire
from sidecar.model.topology import Dialect
from tests.dialects import codecs, oracle, values
from tests.dialects.codecs import CODECS, answered, asked, keeps_grammar, read_stream, write_stream

few = settings(
    max_examples=25,
    phases=[Phase.generate],  # to shrink values of this size takes minutes
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
every = pytest.mark.parametrize("own", list(CODECS), ids=str)
WIRE = Wire("model-1")


def losses_of(codec: Codec, request: HubRequest) -> tuple[dict[str, Any], list[Loss]]:
    losses: list[Loss] = []
    body = codec.encode_request(request, WIRE, losses)
    assert all(loss.path and loss.reason for loss in losses)
    return json.loads(json.dumps(body)), losses


def whole(codec: Codec, response: HubResponse) -> tuple[HubResponse, list[Loss]]:
    losses: list[Loss] = []
    body = json.loads(json.dumps(codec.encode_response(response, losses)))
    back = codec.decode_response(body)
    assert isinstance(back, HubResponse), back
    return back, losses


def streamed(codec: Codec, events: Any) -> tuple[HubResponse, list[Loss]]:
    stream, losses = write_stream(codec, events)
    found = read_stream(codec, stream)
    assert keeps_grammar(found), found
    back = fold(found)
    assert isinstance(back, HubResponse), back
    return back, losses


def agrees(back: HubResponse, response: HubResponse) -> None:
    assert answered(back) == answered(response)
    for told, known in zip(codecs.details(back.usage), codecs.details(response.usage), strict=True):
        assert told in (known, None, 0)


# -- answers


@given(st.data())
@few
def test_a_stream_of_an_answer_folds_to_the_answer(data: st.DataObject) -> None:
    response = data.draw(values.rich_answers(Dialect.OPENAI_CHAT))
    assert fold(unfold(response)) == response
    events = data.draw(values.chopped(response))
    assert keeps_grammar(events)
    assert fold(events) == response


@every
@given(data=st.data())
@few
def test_a_plain_answer_survives_without_loss(own: Dialect, data: st.DataObject) -> None:
    response = data.draw(values.plain_answers(data.draw(values.SCHEMES)))
    back, losses = whole(CODECS[own], response)
    assert losses == []
    agrees(back, response)
    again, losses = streamed(CODECS[own], data.draw(values.chopped(response)))
    assert losses == []
    agrees(again, response)


@every
@given(data=st.data())
@few
def test_what_changes_of_an_answer_is_a_loss(own: Dialect, data: st.DataObject) -> None:
    response = data.draw(values.rich_answers(own))
    back, losses = whole(CODECS[own], response)
    if not losses:
        agrees(back, response)
    again, noted = streamed(CODECS[own], data.draw(values.chopped(response)))
    if not noted:
        agrees(again, response)
    assert bool(losses) == bool(noted)
    assert answered(again) == answered(back)


# -- requests


@every
@given(data=st.data())
@few
def test_a_plain_request_survives(own: Dialect, data: st.DataObject) -> None:
    request = data.draw(values.plain_requests(data.draw(values.SCHEMES)))
    body, losses = losses_of(CODECS[own], request)
    assert [loss for loss in losses if loss.how is not How.ADDED] == []
    back = CODECS[own].decode_request(body, request.model, stream=request.stream)
    added = {loss.path for loss in losses}
    assert _without(asked(back), added) == _without(asked(request), added)
    assert back.dialect is own


def _without(said: dict[str, Any], added: set[str]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in added}


@every
@given(data=st.data())
@few
def test_what_changes_of_a_request_is_a_loss(own: Dialect, data: st.DataObject) -> None:
    request = data.draw(values.rich_requests(own))
    try:
        body, losses = losses_of(CODECS[own], request)
    except Untranslatable:
        return
    back = CODECS[own].decode_request(body, request.model, stream=request.stream)
    if not losses:
        assert asked(back) == asked(request)
        assert not request.extra


@every
@given(data=st.data())
@few
def test_a_request_of_the_dialect_comes_back_as_it_was(own: Dialect, data: st.DataObject) -> None:
    body = _body(own, data)
    again, losses = losses_of(CODECS[own], CODECS[own].decode_request(body, "model-1", stream=False))
    assert again == body
    assert losses == []


def _body(own: Dialect, data: st.DataObject) -> dict[str, Any]:
    """Any request of the dialect."""
    plain, rich = values.plain_requests(own), values.rich_requests(own)
    request = data.draw(plain | rich)
    try:
        return losses_of(CODECS[own], msgspec.structs.replace(request, stream=False))[0]
    except Untranslatable:
        return losses_of(CODECS[own], data.draw(plain.filter(lambda each: not each.stream)))[0]


# -- tearing, cutting, garbage


@every
@given(data=st.data(), cuts=oracle.CUTS, end=st.sampled_from([b"\n", b"\r\n", b"\r"]))
@few
def test_any_tearing_gives_the_same_events(own: Dialect, data: st.DataObject, cuts: list[int], end: bytes) -> None:
    codec = CODECS[own]
    stream, _ = write_stream(codec, data.draw(values.chopped(data.draw(values.rich_answers(own)))))
    stream = stream.replace(b"\n", end)
    expected = read_stream(codec, stream)
    assert read_stream(codec, *oracle.torn(stream, cuts)) == expected
    assert read_stream(codec, *oracle.sliced(stream, 1)) == expected


@every
@given(data=st.data())
@few
def test_a_cut_stream_is_a_failure_or_the_whole_answer(own: Dialect, data: st.DataObject) -> None:
    codec = CODECS[own]
    stream, _ = write_stream(codec, data.draw(values.chopped(data.draw(values.rich_answers(own)))))
    expected = fold(read_stream(codec, stream))
    assert isinstance(expected, HubResponse)
    for cut in data.draw(st.lists(st.integers(0, len(stream)), max_size=6)):
        events = read_stream(codec, stream[:cut])
        assert keeps_grammar(events)
        came = fold(events)
        if isinstance(came, Failure):
            assert came.kind in (Kind.TRUNCATED, Kind.MALFORMED)
        else:
            # The finish may have come when the usage had not.
            assert {**answered(came), "tokens": None} == {**answered(expected), "tokens": None}


@every
@given(data=st.data())
@few
def test_events_keep_the_grammar_whatever_comes(own: Dialect, data: st.DataObject) -> None:
    codec = CODECS[own]
    stream, _ = write_stream(codec, unfold(data.draw(values.rich_answers(own))))
    frames = data.draw(_spoilt(stream))
    assert keeps_grammar(read_stream(codec, frames))


@st.composite
def _spoilt(draw: st.DrawFn, stream: bytes) -> bytes:
    frames = []
    for frame in stream.split(b"\n\n"):
        name, _, text = frame.rpartition(b"data: ")
        match draw(st.integers(0, 7)):
            case 0:
                continue
            case 1:
                frames += [frame, frame]
            case 2 | 3 if text.startswith(b"{"):
                frames.append(name + b"data: " + json.dumps(draw(values.mutated(json.loads(text)))).encode())
            case 4:
                frames.append(b"data: " + json.dumps(draw(values.OBJECTS)).encode())
            case _:
                frames.append(frame)
    return b"\n\n".join(frames) + b"\n\n"


@every
@given(data=st.data())
@few
def test_no_answer_makes_a_decoder_raise(own: Dialect, data: st.DataObject) -> None:
    codec = CODECS[own]
    body = codec.encode_response(data.draw(values.rich_answers(own)), [])
    spoilt = data.draw(values.OBJECTS | values.mutated(json.loads(json.dumps(body))))
    if isinstance(spoilt, dict):
        assert isinstance(codec.decode_response(spoilt), HubResponse | Failure)


@every
@given(data=st.data())
@settings(few, max_examples=30)
def test_a_request_that_is_wrong_is_told_so(own: Dialect, data: st.DataObject) -> None:
    fields = data.draw(values.OBJECTS | values.mutated(_body(own, data)))
    if not isinstance(fields, dict):
        return
    request = _asked(CODECS[own], fields)
    if isinstance(request, Failure):
        assert request.kind is Kind.INVALID_REQUEST
        assert request.message
        assert request.param is None or request.param in request.message
    else:
        _pairs_up(request)


def _asked(codec: Codec, fields: dict[str, Any]) -> HubRequest | Failure:
    try:
        return codec.decode_request(fields, "model-1", stream=False)
    except ValidationError as error:
        return error.failure


def _pairs_up(request: HubRequest) -> None:
    """No result without its call, nor two calls of one name."""
    seen: set[str] = set()
    for kind, id_ in _ids(request):
        assert (id_ in seen) is (kind == "ToolResult")
        seen.add(id_)


def _ids(request: HubRequest) -> Iterator[tuple[str, str]]:
    for message in request.messages:
        for block in message.blocks:
            if type(block).__name__ in ("ToolUse", "ToolResult"):
                yield type(block).__name__, block.id  # type: ignore[union-attr]


# -- failures


@every
@pytest.mark.parametrize("kind", list(Kind))
def test_every_failure_can_be_told(own: Dialect, kind: Kind) -> None:
    codec = CODECS[own]
    failure = Failure(kind, "what was wrong, and what would be right")
    body, content_type = codec.encode_failure(failure, [{"provider": "a", "kind": kind.value}])
    assert content_type.startswith("application/json")
    told = codec.decode_failure(failure.client_status, {}, body, 0.0)
    assert failure.message in told.message
    last = read_stream(codec, codec.fault_event(failure))[-1]
    assert isinstance(last, Fault)
    assert failure.message in last.failure.message
