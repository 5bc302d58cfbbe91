"""docs/logs.md tells every key there is, and its examples are lines."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.model.records import AttemptRecord, Outcome, RequestRecord, Selection
from sidecar.observe.metrics import MetricsCollector

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "logs.md").read_text()
SOURCES = ROOT / "sidecar"
RECORDS = {"attempt": AttemptRecord, "request": RequestRecord}


@pytest.mark.parametrize("event", RECORDS)
def test_every_key_of_a_record_is_documented_for_its_line(event: str) -> None:
    told: set[str] = set()
    for names, lines in re.findall(r"^\| (`[^|]+`) \| (all|both|attempt|request) \|", PAGE, re.MULTILINE):
        if event in lines or lines in {"all", "both"}:
            told.update(re.findall(r"`(\w+)`", names))
    fields = {field.name for field in msgspec.structs.fields(RECORDS[event])}
    assert fields <= told
    if event == "attempt":
        fields |= {field.name for field in msgspec.structs.fields(RequestRecord)}
        assert told - {"ts", "level", "event"} <= fields


def test_every_event_is_documented() -> None:
    said = {name for path in SOURCES.rglob("*.py") for name in _events(ast.parse(path.read_text()))}
    assert {"config.applied", "health.checked", "daemon.started"} <= said
    assert {name for name in said if f"`{name}`" not in PAGE} == set()


def _events(tree: ast.AST) -> Iterator[str]:
    """The names that the calls of `event(level, name)` give; names that are put together are not found."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "event":
            yield from (arg.value for arg in call.args[1:2] if isinstance(arg, ast.Constant) and "." in arg.value)


def test_every_outcome_and_selection_is_named() -> None:
    assert all(f"`{value}`" in PAGE for value in (*Outcome, *Selection))


def test_the_examples_are_lines_of_known_keys() -> None:
    lines = [json.loads(line) for line in PAGE.splitlines() if line.startswith('{"ts"')]
    assert len(lines) == 4
    for line in lines:
        assert list(line)[:3] == ["ts", "level", "event"]
        record = RECORDS.get(line["event"])
        if record is not None:
            keys = {key: value for key, value in line.items() if key not in {"ts", "level", "event"}}
            assert list(msgspec.to_builtins(msgspec.convert(keys, record, strict=False))) == list(keys)


def test_every_metric_is_documented() -> None:
    collector = MetricsCollector()
    collector.attempt(AttemptRecord(target="a/m", outcome="ok"))
    collector.request(RequestRecord(outcome="ok"))
    names = set(re.findall(r"^# TYPE (\w+)", collector.exposition().decode(), re.MULTILINE))
    assert names
    assert all(f"`{name}`" in PAGE for name in names)
