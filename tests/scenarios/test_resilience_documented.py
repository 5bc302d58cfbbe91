"""docs/resilience.md says what the code does: every kind, every cell of the breaker, every fault, every key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sidecar.model.failures import POLICY, Effect
from sidecar.routing.breaker import TABLE, BreakerEvent
from tests.scenarios import test_faults, test_pressure

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "resilience.md").read_text()
SCHEMA = json.loads((ROOT / "config" / "sidecar.schema.json").read_text())

EFFECTS = {
    Effect.NONE: "-",
    Effect.COUNT: "counts",
    Effect.COUNT_GATEWAY: "counts as gateway",
    Effect.TIMED: "opens for the time named",
    Effect.OPEN_TARGET: "opens the target",
    Effect.OPEN_PROVIDER: "opens the provider",
}


def rows(first: str) -> list[list[str]]:
    """The rows of the table whose head begins with this cell."""
    _, _, rest = PAGE.partition(f"\n| {first} |")
    lines = rest.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_kind_is_told_with_what_follows() -> None:
    told = {kind.strip("` "): (then, breaker, int(status)) for kind, _, then, breaker, status in rows("kind")}
    policies = {kind: (policy.next, EFFECTS[policy.effect], policy.status) for kind, policy in POLICY.items()}
    assert told == policies


def test_every_cell_of_the_breaker_is_told() -> None:
    head = re.search(r"^\| event \| (.+) \|$", PAGE, re.MULTILINE)
    assert head is not None
    states = head[1].split(" | ")
    told = {row[0].split("`")[1]: dict(zip(states, row[1:], strict=True)) for row in rows("event")}
    cells = {event: {state: f"`{TABLE[state][event]}`" for state in TABLE} for event in BreakerEvent}
    assert told == cells


def test_every_fault_has_its_row_and_its_test() -> None:
    names = [name for module in (test_faults, test_pressure) for name in vars(module)]
    tested = {int(match[1]) for name in names if (match := re.match(r"test_(\d\d)_", name))}
    assert {int(row[0]) for row in rows("no")} == tested == set(range(1, 26))


def _resolved(path: str) -> bool:
    """Whether the config has this key; NAME stands for any."""
    nodes: list[Any] = [SCHEMA]
    for name in path.split("."):
        found = []
        for node in nodes:
            keys = node.get("properties", {})
            child = keys.get(name, node.get("additionalProperties") if name == "NAME" else None)
            found += [each for each in _alternatives(child) if isinstance(child, dict)]
        nodes = found
    return bool(nodes)


def _alternatives(node: Any) -> list[Any]:
    if not isinstance(node, dict):
        return []
    if "$ref" in node:
        return _alternatives(SCHEMA["$defs"][node["$ref"].rpartition("/")[2]])
    options = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    return [node, *(each for option in options for each in _alternatives(option))]


KEYS = sorted(set(re.findall(r"`((?:resilience|timeouts|health|hold|hedge|providers)\.[\w.]+)`", PAGE)))


@pytest.mark.parametrize("key", KEYS)
def test_every_key_that_is_named_exists(key: str) -> None:
    assert _resolved(key)


def test_the_reader_of_keys_finds_what_is_missing() -> None:
    assert len(KEYS) > 20
    assert not _resolved("resilience.breaker.opened")
    assert not _resolved("timeouts.first")
