"""DebugLogger: every line is JSON in its order, nothing floods, the memory and the feed see all."""

import asyncio
import json
import re
import threading
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.records import AttemptRecord, Outcome, RequestRecord
from sidecar.model.secret import Secret
from sidecar.observe.encode import LineEncoder, head
from sidecar.observe.log import DebugLogger

BEGAN_NS = 1_767_225_599_000_001_000  # 2025-12-31T23:59:59.000001Z
SECOND_NS = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ns = BEGAN_NS

    def __call__(self) -> int:
        return self.now_ns


class Log:
    """A logger on a clock that is moved by hand, and what it wrote."""

    def __init__(self, level: str = "info") -> None:
        self.clock = Clock()
        self.raw: list[bytes] = []
        self.logger = DebugLogger(self.raw.append, level=level, clock_ns=self.clock)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.raw]


@pytest.fixture
def log() -> Log:
    return Log()


def skipped(target: str = "a/m", reason: str = "open: unreachable") -> AttemptRecord:
    return AttemptRecord(target=target, skipped=reason, breaker_before="open", outcome="skipped")


def test_an_attempt_line_begins_with_ts_level_event_and_keeps_the_records_order(log: Log) -> None:
    log.logger.attempt(AttemptRecord(request_id="r", attempt=1, target="a/m", outcome="ok", status=200))
    assert log.raw == [
        b'{"ts":"2025-12-31T23:59:59.000001Z","level":"info","event":"attempt",'
        b'"request_id":"r","attempt":1,"target":"a/m","outcome":"ok","status":200}\n'
    ]


def test_the_stamp_follows_the_clock_over_a_second_and_a_year(log: Log) -> None:
    log.logger.request(RequestRecord(outcome="ok"))
    log.clock.now_ns += SECOND_NS + 998_000
    log.logger.request(RequestRecord(outcome="ok"))
    log.clock.now_ns -= 2 * SECOND_NS
    log.logger.request(RequestRecord(outcome="ok"))
    assert [entry["ts"] for entry in log.lines] == [
        "2025-12-31T23:59:59.000001Z",
        "2026-01-01T00:00:00.000999Z",
        "2025-12-31T23:59:58.000999Z",
    ]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_levels_of_attempts(log: Log, outcome: Outcome) -> None:
    log.logger.attempt(AttemptRecord(outcome=outcome.value))
    log.logger.attempt(AttemptRecord(outcome=outcome, target="x"))
    wanted = "warning" if outcome in {"failed", "truncated"} else "info"
    assert [entry["level"] for entry in log.lines] == [wanted, wanted]


def test_an_empty_record_and_an_event_without_keys_are_lines(log: Log) -> None:
    log.logger.attempt(AttemptRecord())
    log.logger.event("info", "daemon.started")
    assert [list(entry) for entry in log.lines] == [["ts", "level", "event"]] * 2


def test_below_the_level_nothing_is_written_but_attempts_are_remembered() -> None:
    log = Log("warning")
    log.logger.attempt(AttemptRecord(outcome="ok"))
    log.logger.event("info", "config.applied", generation=1)
    log.logger.attempt(AttemptRecord(outcome="failed"))
    assert [entry["outcome"] for entry in log.lines] == ["failed"]
    assert len(log.logger.recent()) == 2
    log.logger.level = "info"
    log.logger.attempt(AttemptRecord(outcome="ok"))
    assert len(log.raw) == 2


def test_an_event_that_is_off_is_not_even_spelled() -> None:
    class Loud:
        def __str__(self) -> str:
            raise AssertionError("spelled")

    Log("error").logger.event("info", "config.applied", what=Loud())


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(KeyError):
        DebugLogger(level="loud")


def test_an_event_keeps_the_order_of_its_keys_and_makes_text_of_the_rest(log: Log) -> None:
    log.logger.event(
        "error",
        "config.rejected",
        path=PurePath("/etc/x"),
        big=2**70,
        pair=(1, 2.5),
        nested={"a": {1: b"\xff"}},
        key=Secret("s"),
        none=None,
        error=ValueError("no"),
        level="own",
    )
    told = log.lines[0]
    assert list(told) == ["ts", "level", "event", "path", "big", "pair", "nested", "key", "error", "level"][:9]
    assert told["path"] == "/etc/x"
    assert told["big"] == str(2**70)
    assert told["pair"] == [1, 2.5]
    assert told["nested"] == {"a": {"1": "\ufffd"}}
    assert told["key"] == "***"
    assert told["error"] == "ValueError: no"


def test_error_texts_are_capped(log: Log) -> None:
    log.logger.attempt(AttemptRecord(outcome="failed", error="e" * 10_000))
    assert len(log.lines[0]["error"]) == 500


def test_the_caller_keeps_its_record_as_it_was(log: Log) -> None:
    record = AttemptRecord(outcome="failed", error="Bearer abcdefghijk")
    log.logger.attempt(record)
    assert record.error == "Bearer abcdefghijk"
    assert log.lines[0]["error"] == "Bearer ***"


texts = (
    st.text(st.characters(codec=None), max_size=40) | st.text(max_size=9000) | st.just("\x00\x1b[2J\n\r\u2028\ud800")
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=50),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


@given(texts, texts, texts, st.lists(texts, max_size=4))
def test_every_attempt_line_is_one_short_line_of_json(model: str, error: str, target: str, losses: list[str]) -> None:
    log = Log()
    log.logger.attempt(AttemptRecord(model_requested=model, error=error, target=target, losses=losses, outcome="ok"))
    told = log.lines[0]
    assert told["event"] == "attempt"
    assert told["outcome"] == "ok"
    assert log.raw[0].count(b"\n") == 1
    assert len(log.raw[0]) < 4000
    assert not re.search(rb"[\x00-\x1f]", log.raw[0][:-1])


@given(st.dictionaries(st.sampled_from(["message", "path", "a", "b", "c"]), values))
def test_every_event_line_is_one_short_line_of_json(keys: dict[str, Any]) -> None:
    log = Log()
    log.logger.event("warning", "library.logged", **keys)
    assert log.lines[0]["event"] == "library.logged"
    assert log.raw[0].count(b"\n") == 1
    assert len(log.raw[0]) < 4000


def test_a_line_of_too_many_keys_still_fits() -> None:
    line = LineEncoder().line(head("info", "x.y"), {f"{'k' * 300}{n}": "\x00" * 5000 for n in range(500)})
    assert len(line) < 4000
    assert json.loads(line)["event"] == "x.y"


def test_skipped_attempts_are_one_line_a_second_and_reason_with_a_count(log: Log) -> None:
    for _ in range(100):
        log.logger.attempt(skipped())
    log.logger.attempt(skipped(reason="maint"))
    log.logger.attempt(skipped("b/m"))
    assert [entry.get("count") for entry in log.lines] == [None, None, None]
    log.clock.now_ns += SECOND_NS
    log.logger.attempt(skipped())
    assert [entry.get("count") for entry in log.lines] == [None, None, None, 99]
    log.logger.flush()
    assert [entry.get("count") for entry in log.lines] == [None, None, None, 99, 1]
    log.logger.flush()
    assert len(log.lines) == 5


async def test_the_last_count_is_told_without_another_line() -> None:
    said = asyncio.Event()
    lines: list[bytes] = []

    def write(line: bytes) -> None:
        lines.append(line)
        if b'"count"' in line:
            said.set()

    logger = DebugLogger(write)
    logger.attempt(skipped())
    logger.attempt(skipped())
    await asyncio.wait_for(said.wait(), 10)
    assert json.loads(lines[-1])["count"] == 1


def test_many_different_skipped_targets_stay_bounded(log: Log) -> None:
    for number in range(10_000):
        log.logger.attempt(skipped(f"a/m{number}"))
    assert len(log.logger._window._skipped) <= 1000


def test_lines_of_one_kind_are_limited_and_the_rest_is_counted(log: Log) -> None:
    assert [log.logger.limited("bad_request") for _ in range(25)] == [False] * 10 + [True] * 15
    assert not log.logger.limited("other")
    log.clock.now_ns += SECOND_NS
    assert not log.logger.limited("bad_request")
    told = log.lines[-1]
    assert (told["event"], told["key"], told["count"]) == ("log.limited", "bad_request", 15)


def test_limited_keys_stay_bounded(log: Log) -> None:
    assert sum(not log.logger.limited(f"key {number}") for number in range(10_000)) <= 256 + 10


def test_the_memory_keeps_the_newest(log: Log) -> None:
    for number in range(300):
        log.logger.attempt(AttemptRecord(attempt=number))
    assert [json.loads(line)["attempt"] for line in log.logger.recent(3)] == [297, 298, 299]
    assert len(log.logger.recent()) == 256
    assert log.logger.recent(0) == []


async def test_a_subscriber_gets_attempts_requests_and_events_until_it_closes() -> None:
    logger = DebugLogger()
    subscription = logger.subscribe()
    logger.attempt(AttemptRecord(outcome="ok"))
    logger.event("info", "config.applied")
    assert json.loads(await anext(subscription))["event"] == "attempt"
    assert json.loads(await anext(subscription))["event"] == "config.applied"
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    logger.request(RequestRecord(outcome="ok"))
    assert json.loads(await asyncio.wait_for(waiting, 5))["event"] == "request"
    subscription.close()
    subscription.close()
    logger.attempt(AttemptRecord(outcome="ok"))
    assert [line async for line in subscription] == []


async def test_a_waiting_subscriber_is_woken_by_other_threads_and_by_close() -> None:
    logger = DebugLogger()
    subscription = logger.subscribe()
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    thread = threading.Thread(target=logger.event, args=("info", "thread.spoke"))
    thread.start()
    assert json.loads(await asyncio.wait_for(waiting, 5))["event"] == "thread.spoke"
    thread.join()
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    subscription.close()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 5)


async def test_a_slow_subscriber_hears_how_many_lines_it_missed() -> None:
    logger = DebugLogger()
    subscription = logger.subscribe()
    for number in range(1500):
        logger.attempt(AttemptRecord(attempt=number))
    assert subscription.dropped == 500
    for number in range(1000):
        assert json.loads(await anext(subscription))["attempt"] == number
    logger.attempt(AttemptRecord(attempt=1500))
    notice = json.loads(await anext(subscription))
    assert (notice["event"], notice["count"]) == ("log.dropped", 500)
    assert json.loads(await anext(subscription))["attempt"] == 1500


async def test_a_cancelled_reader_can_read_on() -> None:
    logger = DebugLogger()
    subscription = logger.subscribe()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(subscription), 0.01)
    logger.attempt(AttemptRecord(attempt=7))
    assert json.loads(await anext(subscription))["attempt"] == 7


@pytest.mark.parametrize("say", [DebugLogger.attempt, DebugLogger.request], ids=["attempt", "request"])
def test_a_logger_that_writes_nowhere_remembers(say: Callable[..., None]) -> None:
    logger = DebugLogger()
    say(logger, AttemptRecord(outcome="ok") if say is DebugLogger.attempt else RequestRecord(outcome="ok"))
    assert len(logger.recent()) == 1
