"""A stream on its way through: what passes, what is seen, and that tearing changes neither."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.dialects.openai_facts import usage_of
from sidecar.dialects.relay import MAX_PREAMBLE_BYTES, Tap
from sidecar.dialects.sse import MAX_FRAME_BYTES
from sidecar.model.failures import Kind
from sidecar.model.records import Usage
from tests.dialects import oracle
from tests.dialects.oracle import sliced, tapped, torn

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18}
SEEN = Usage(7, 11)


def data(value: Any, *, end: bytes = b"\n", spaces: bool = False) -> bytes:
    separators = (", ", ": ") if spaces else (",", ":")
    return b"data: " + json.dumps(value, separators=separators, ensure_ascii=False).encode() + end + end


def chunk(*choices: dict[str, Any], end: bytes = b"\n", spaces: bool = False, **more: Any) -> bytes:
    value = {"id": "c", "object": "chat.completion.chunk", "model": "m-1", "choices": list(choices), **more}
    return data(value, end=end, spaces=spaces)


def choice(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


ROLE = chunk(choice(role="assistant", content=""))
FINISH = chunk(choice(finish="stop"))
USAGE_CHUNK = chunk(usage=USAGE)


def word(text: str = "word ", **more: Any) -> bytes:
    return chunk(choice(content=text), **more)


def fed(*frames: bytes, withhold_usage: bool = False) -> tuple[Tap, bytes]:
    """The facts and the bytes of a stream, the same however it is torn."""
    stream = b"".join(frames)
    tap, passed = tapped([stream], withhold_usage=withhold_usage)
    for pieces in (list(frames), sliced(stream, 1), sliced(stream, 37)):
        other, parts = tapped(pieces, withhold_usage=withhold_usage)
        assert b"".join(parts) == b"".join(passed)
        assert oracle.facts(other) == oracle.facts(tap)
        assert other.usage == tap.usage
    return tap, b"".join(passed)


# -- laws

LINE_END = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])
TEXT = st.sampled_from(
    ["word ", "", "error", "null", 'a "quoted" \\ one', "é🙂", "}\t{", "[DONE]", "usage", "}\n\ndata: {"]
)
CHOICE = st.builds(
    choice,
    st.sampled_from([0, 0, 0, 0, 1]),
    st.sampled_from([None, None, None, None, "stop", "length", ""]),
    content=TEXT,
)
CHUNK = st.builds(
    chunk,
    CHOICE,
    end=LINE_END,
    spaces=st.booleans(),
    usage=st.sampled_from([None, None, None, {}, USAGE]),
    model=st.sampled_from(["m-1", "m-1", "m-2", "", 5, None]),
)
ODD = st.sampled_from(
    [
        DONE,
        FINISH,
        USAGE_CHUNK,
        ROLE,
        b": keep-alive\n\n",
        b"\n",
        b"\r\n",
        b"event: ping\ndata: {}\n\n",
        b"event: error\ndata: went wrong\n\n",
        b"event: error\n\n",
        b"id: 7\ndata: {}\n\n",
        # no JSON
        b"data: nope\n\n",
        b"data:\n\n",
        b"data: {\n\n",
        b'data: {"choices":[{"index":0},\n\n',
        b"data: {}]}\n\n",
        b'data: {"a":"\n\n',
        b'data: {"}\n\n',
        b"data: {}{}\n\n",
        b"data: {}\t{}\n\n",
        b"data: {} x\n\n",
        b'data: {"a":"\xff"}\n\n',
        b'data: {"a":1,\n"b":2}\n\n',
        b'data: {"a":1,\r"b":2}\n\n',
        b'data: {"a":NaN}\n\n',
        b'data: {"a":01}\n\n',
        b"data: [1]\n\n",
        b"data: null\n\n",
        # JSON, if not as it should be
        b'data: {"a":\ndata: 1}\n\n',
        b'data: {"a":1}\n{"error":"unseen"}\n\n',
        b'data: {"a":"\\ud83d"}\n\n',
        b'data: {"choices":null}\n\n',
        b'data: {"choices":5,"model":[]}\n\n',
        b'data: {"choices":[5]}\n\n',
        b'data: {"choices":[{"index":"0","delta":[],"finish_reason":0}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n',
        b'data: {"choices":[{"message":{"content":"x"},"finish_reason":null}],"error":null}\n\n',
        b'data: {"choices":[],"usage":5}\n\n',
        b'data:{"choices":[{"index":0,"text":"x"}]}\n\n',
        # faults
        b'data: {"error":{"message":"broke"}}\n\n',
        b'data: {"error":"broke"}\n\n',
        b'data: {"object":"error","message":"broke"}\n\n',
        b'data: {"choices":[{"index":0,"error":{"code":502},"finish_reason":"error"}]}\n\n',
        b'{"error":{"message":"bare"}}\n\n',
    ]
)
STREAMS = st.lists(st.one_of(CHUNK, CHUNK, CHUNK, ODD), max_size=12).map(b"".join)


@settings(max_examples=400)
@given(STREAMS, oracle.CUTS, st.booleans(), st.integers(0, 400))
def test_any_tearing_passes_the_same_bytes_and_sees_what_a_full_reading_sees(
    stream: bytes, cuts: list[int], withhold: bool, lost: int
) -> None:
    stream = stream[: len(stream) - lost] if lost % 3 == 0 else stream
    expected = oracle.read(stream, withhold_usage=withhold)
    for pieces in ([stream], torn(stream, cuts), sliced(stream, 1)):
        tap, passed = tapped(pieces, withhold_usage=withhold)
        assert b"".join(passed) == expected.passed
        assert oracle.facts(tap) == {name: getattr(expected, name) for name in oracle.facts(tap)}
        assert (tap.usage is not None) == (expected.usage is not None)


@given(STREAMS, oracle.CUTS)
def test_nothing_passes_before_there_is_content_and_only_whole_frames_after(stream: bytes, cuts: list[int]) -> None:
    tap = Tap(withhold_usage=False)
    for piece in torn(stream, cuts):
        passed = tap.feed(piece)
        assert not passed or tap.committed
        assert oracle.frames(passed) == [] or b"".join(oracle.frames(passed)) == passed or passed.endswith(b"\r")


def test_the_frames_of_a_long_read_pass_together_as_each_alone() -> None:
    frames = [ROLE, *(word(f"w{number} ") for number in range(300)), FINISH, USAGE_CHUNK, DONE]
    for bad in (None, 2, 150, 299):
        stream = [*frames]
        if bad is not None:
            stream[bad] = b"data: {]}\n\n"
        tap, passed = fed(*stream, withhold_usage=True)
        kept = [frame for number, frame in enumerate(stream) if number not in (bad, 302)]
        assert passed == b"".join(kept)
        assert (tap.malformed, tap.done, tap.usage, tap.finish_reason) == (bad is not None, True, SEEN, "stop")


# -- commit


@pytest.mark.parametrize(
    ("delta", "content"),
    [
        ({"role": "assistant"}, False),
        ({"role": "assistant", "content": ""}, False),
        ({"role": "assistant", "content": None, "refusal": None, "tool_calls": None, "reasoning_content": None}, False),
        ({"role": "assistant", "provider_metadata": {"gateway": {}}}, False),
        ({}, False),
        ({"content": "a"}, True),
        ({"content": [{"type": "thinking", "thinking": []}]}, True),
        ({"refusal": "no"}, True),
        ({"reasoning_content": "hm"}, True),
        ({"reasoning": "hm"}, True),
        ({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]}, True),
        ({"function_call": {"name": "f", "arguments": ""}}, True),
    ],
)
def test_what_is_content(delta: dict[str, Any], content: bool) -> None:
    tap, passed = fed(chunk(choice(**delta)))
    assert tap.committed is content
    assert bool(passed) is content


def test_a_finish_reason_is_content_too() -> None:
    tap, passed = fed(ROLE, FINISH)
    assert tap.complete
    assert passed == ROLE + FINISH


def test_completions_have_text() -> None:
    tap, _ = fed(b'data: {"object":"text_completion","model":"m","choices":[{"text":"","index":0}]}\n\n')
    assert not tap.committed
    tap, _ = fed(b'data: {"object":"text_completion","model":"m","choices":[{"text":"a","index":0}]}\n\n')
    assert tap.committed


def test_the_preamble_is_held_and_then_comes_first() -> None:
    tap = Tap(withhold_usage=True)
    azure = data({"model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]})
    comment = b": OPENROUTER PROCESSING\n\n"
    assert tap.feed(azure) + tap.feed(comment) + tap.feed(ROLE) == b""
    assert tap.feed(word()) == azure + comment + ROLE + word()
    assert tap.model == "m-1"


def test_a_preamble_without_end_is_not_held_for_ever() -> None:
    comment = b": still thinking\n\n"
    count = MAX_PREAMBLE_BYTES // len(comment) + 1
    tap = Tap(withhold_usage=False)
    passed = [tap.feed(comment) for _ in range(count)]
    assert passed == [b""] * (count - 1) + [comment * count]
    assert tap.committed
    assert tap.feed(ROLE + word() + FINISH + DONE) == ROLE + word() + FINISH + DONE
    assert tap.verdict() is None
    fed(*[comment] * count, ROLE, word(), FINISH, DONE)


# -- usage


@pytest.mark.parametrize("withhold", [True, False])
def test_the_usage_chunk_is_withheld_only_when_it_was_our_wish(withhold: bool) -> None:
    tap, passed = fed(ROLE, word(usage=None), FINISH, USAGE_CHUNK, DONE, withhold_usage=withhold)
    assert tap.usage == SEEN
    assert (USAGE_CHUNK in passed) is not withhold
    assert passed == (ROLE + word(usage=None) + FINISH + (b"" if withhold else USAGE_CHUNK) + DONE)


@pytest.mark.parametrize(
    "frame",
    [
        chunk(choice(finish="stop"), usage=USAGE),
        chunk(choice(finish="stop"), usage=USAGE, spaces=True),
        FINISH + chunk(choice(), usage=USAGE),
        chunk(choice(finish="stop"), end=b"\r\n") + chunk(usage=USAGE, end=b"\r\n"),
    ],
    ids=["on the finish", "with spaces", "beside an empty delta", "CRLF"],
)
def test_usage_is_seen_wherever_it_is_told(frame: bytes) -> None:
    tap, _ = fed(ROLE, word(), frame, DONE, withhold_usage=True)
    assert tap.usage == SEEN
    assert tap.verdict() is None


def test_usage_that_grows_counts_as_it_was_last_told() -> None:
    tap, _ = fed(word(usage={**USAGE, "completion_tokens": 1}), word(), word(usage=USAGE), word(), FINISH)
    assert tap.usage == SEEN


def test_a_count_that_is_told_again_counts_again() -> None:
    begun = word(usage={**USAGE, "completion_tokens": 1})
    tap, _ = fed(begun, USAGE_CHUNK, begun, FINISH)
    assert tap.usage == usage_of(json.dumps({**USAGE, "completion_tokens": 1}).encode())


def test_usage_that_counts_nothing_is_a_usage_chunk_all_the_same() -> None:
    nothing = chunk(usage={"total_tokens": None})
    tap, passed = fed(ROLE, word(), nothing, nothing, FINISH, withhold_usage=True)
    assert (tap.usage, passed) == (None, ROLE + word() + FINISH)


def test_what_holds_a_text_but_no_content_is_held() -> None:
    metadata = chunk(choice(role="assistant", provider_metadata={"text": "x"}))
    assert fed(metadata, metadata)[1] == b""


def test_usage_in_detail() -> None:
    told = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 40},
    }
    assert fed(word(), chunk(usage=told))[0].usage == Usage(100, 50, 60, 5, 40)
    deepseek = {"prompt_tokens": 100, "completion_tokens": 50, "prompt_cache_hit_tokens": 64}
    assert fed(word(), chunk(usage=deepseek))[0].usage == Usage(100, 50, 64)


# -- the end


def test_a_complete_stream_gets_the_done_it_lacks_and_no_second_one() -> None:
    tap, passed = fed(ROLE, word(), FINISH)
    assert (tap.verdict(), passed + tap.closing()) == (None, ROLE + word() + FINISH + DONE)
    tap, passed = fed(ROLE, word(), FINISH, DONE)
    assert (tap.verdict(), passed + tap.closing()) == (None, ROLE + word() + FINISH + DONE)
    tap, passed = fed(ROLE, word(), FINISH, b"data: [DONE]")
    assert (tap.verdict(), passed + tap.closing()) == (None, ROLE + word() + FINISH + DONE)


@pytest.mark.parametrize("end", [b"", b"data: ", b'data: {"choices":[{"ind', b": ping\n\n"])
def test_a_stream_that_is_cut_is_truncated_and_not_malformed(end: bytes) -> None:
    tap, passed = fed(ROLE, word(), end)
    verdict = tap.verdict()
    assert verdict is not None
    assert verdict.kind is Kind.TRUNCATED
    assert tap.malformed == 0
    assert passed.startswith(ROLE + word())


@pytest.mark.parametrize("stream", [b"", DONE, b": ping\n\n", b"<html>busy</html>", chunk() + DONE])
def test_a_stream_without_an_answer_is_malformed(stream: bytes) -> None:
    verdict = fed(stream)[0].verdict()
    assert verdict is not None
    assert verdict.kind is Kind.MALFORMED


def test_a_last_frame_without_its_empty_line_counts() -> None:
    tap, passed = fed(ROLE, word(), FINISH.rstrip())
    assert tap.complete
    assert passed == ROLE + word() + FINISH


def test_every_choice_must_end() -> None:
    both = [chunk(choice(1, content="b")), chunk(choice(0, content="a")), chunk(choice(1, content="b"))]
    tap, _ = fed(*both, chunk(choice(1, finish="stop")))
    assert not tap.complete
    tap, _ = fed(*both, chunk(choice(1, finish="stop")), chunk(choice(0, finish="length")))
    assert tap.complete


def test_a_choice_that_begins_late_must_end_too() -> None:
    tap, _ = fed(word(), word(), chunk(choice(1, content="b")), FINISH)
    assert not tap.complete


def test_after_the_end_nothing_passes_and_nothing_counts() -> None:
    late = word() + b'data: {"error":{"message":"late"}}\n\n' + chunk(usage=USAGE)
    tap, passed = fed(ROLE, word(), FINISH, DONE, late)
    assert passed == ROLE + word() + FINISH + DONE
    assert (tap.fault, tap.usage, tap.malformed, tap.verdict()) == (None, None, 0, None)


# -- faults

FAULTS = [
    b'data: {"error":{"message":"broke","type":"server_error"}}\n\n',
    b'data: {"error": "broke"}\n\n',
    b"event: error\ndata: broke\n\n",
    b'event: error\ndata: {"message":"broke"}\n\n',
    b'data: {"object":"error","message":"broke","code":500}\n\n',
    b'data: {"type":"error","error":{"type":"overloaded_error","message":"broke"}}\n\n',
    b'data: {"id":"x","choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],"error":{"code":502}}\n\n',
    b'data: {"choices":[{"index":0,"error":{"code":502,"message":"broke"},"finish_reason":"error"}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"error":{"code":502,"message":"broke"}}]}\n\n',
    b'data: {"type":"error","message":"broke"}\n\n',
    b'{"error":{"message":"broke"}}\n\n',
]


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_before_the_commit_is_never_seen_by_the_client(fault: bytes) -> None:
    tap, passed = fed(ROLE, fault, word())
    assert tap.fault is not None
    assert (tap.committed, passed) == (False, b"")
    assert tap.verdict() is not None


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_after_the_commit_ends_what_passes(fault: bytes) -> None:
    tap, passed = fed(ROLE, word(), fault, word(), FINISH, DONE)
    assert tap.fault is not None
    assert passed == ROLE + word()
    verdict = tap.verdict()
    assert verdict is not None
    assert verdict.kind is Kind.TRUNCATED


def test_the_word_error_is_no_error() -> None:
    frames = [word("error"), chunk(choice(content="x"), error=None), word('"error":{"message":"x"}'), FINISH, DONE]
    tap, passed = fed(*frames)
    assert tap.fault is None
    assert passed == b"".join(frames)


def test_an_event_without_end_is_a_fault() -> None:
    tap = Tap(withhold_usage=False)
    tap.feed(word())
    piece = b"x" * (1024 * 1024)
    for _ in range(MAX_FRAME_BYTES // len(piece)):
        assert tap.feed(piece) == b""
        assert tap.fault is None
    tap.feed(piece)
    assert tap.fault is not None
    assert b"larger than" in tap.fault


# -- what is skipped


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {\n\n",
        b"data: not json\n\n",
        b'data: {"a":1}{"b":2}\n\n',
        b'data: {"a":"\xff"}\n\n',
        b'data: {"a":1,\n"b":2}\n\n',
        b'data: {"a":1,\r"b":2}\n\n',
        b"data: " + b"[" * 5000 + b"\n\n",
        b'data: {"a":' * 5000 + b"\n\n",
    ],
)
def test_a_frame_that_is_no_json_is_dropped_and_counted_and_the_rest_untouched(bad: bytes) -> None:
    frames = [ROLE, word(), bad, word("é "), bad, FINISH, DONE]
    tap, passed = fed(*frames)
    assert tap.malformed == 2
    assert passed == b"".join(frame for frame in frames if frame is not bad)
    assert tap.verdict() is None


@pytest.mark.parametrize(
    "pair",
    [
        (b'data: {"a":{}\n\n', b'data: {"b":1}}\n\n'),
        (b'data: {"a":[{}\n\n', b"data: {}]}\n\n"),
        (b'data: {"a":"}\n\n', b'data: {"}\n\n'),
        (b'data: {"a":1}{"b":{}\n\n', b'data: {"c":1}}\n\n'),
    ],
)
def test_two_halves_do_not_make_a_whole(pair: tuple[bytes, bytes]) -> None:
    for middle in (b"", b"data: {}{}\n\n"):
        tap, passed = fed(word(), pair[0], middle, pair[1], word(), FINISH)
        assert tap.malformed == 2 + bool(middle)
        assert passed == word() + word() + FINISH


def test_half_an_emoji_is_json_and_passes() -> None:
    halves = [b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n', word(), FINISH]
    tap, passed = fed(*halves)
    assert tap.malformed == 0
    assert passed == b"".join(halves)


def test_one_value_of_an_odd_type_hides_no_other() -> None:
    odd = {"model": 5, "choices": [{"index": "x", "delta": {"content": "a"}, "finish_reason": "stop"}], "usage": USAGE}
    tap, _ = fed(data(odd))
    assert (tap.model, tap.finish_reason, tap.usage, tap.complete) == (None, "stop", SEEN, True)


def test_the_model_is_the_first_that_is_named() -> None:
    named = [chunk(choice(content="a"), model=name) for name in ("", "one", "two")]
    assert fed(*named, FINISH)[0].model == "one"


@pytest.mark.parametrize(
    "plain",
    [
        word(),
        word(usage=None),
        word(usage=None, error=None, spaces=True),
        word("é🙂", end=b"\r\n"),
        word('a "quoted" \\ one\n'),
        b'data: {"object":"text_completion","choices":[{"text":"a","index":0,"finish_reason":null}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
        ROLE,
        FINISH,
        USAGE_CHUNK,
    ],
)
def test_an_ordinary_event_needs_no_closer_look(plain: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    tap = Tap(withhold_usage=False)
    tap.feed(ROLE + word())

    def looked(data: bytes) -> None:
        raise AssertionError(data)

    monkeypatch.setattr("sidecar.dialects.openai_facts._all_event_facts", looked)
    assert tap.feed(plain) == plain
    assert tap.feed(plain * 100) == plain * 100
    with pytest.raises(AssertionError):
        tap.feed(plain * 100 + chunk(choice(finish="of its own")))
