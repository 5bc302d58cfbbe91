"""docs/architecture.md describes the house that stands, and the tables it sends newcomers to are complete."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from sidecar.model.errors import ERROR_CLASSES
from sidecar.model.failures import POLICY, Kind
from sidecar.model.settings import Balance
from sidecar.routing.balance import STRATEGIES

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:sidecar|config|docs)/[\w./-]*)`", PAGE)))
ROOMS = sorted(path for path in (ROOT / "sidecar").iterdir() if (path / "__init__.py").exists())


@pytest.mark.parametrize("path", NAMED)
def test_every_path_it_names_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: path.name)
def test_every_room_is_described(room: Path) -> None:
    assert f"| `sidecar/{room.name}/` |" in PAGE


def test_the_layers_are_those_that_are_enforced() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert "\n".join(layers).replace("sidecar.", "") in PAGE


@pytest.mark.parametrize(("name", "home"), sorted(set(re.findall(r"`([A-Z_]{4,})`[^`]*`(sidecar/[\w/]+\.py)`", PAGE))))
def test_a_table_is_where_it_is_said_to_be(name: str, home: str) -> None:
    assert re.search(rf"^{name}\b", (ROOT / home).read_text(), re.MULTILINE)


def test_every_kind_and_every_strategy_has_its_row() -> None:
    assert set(POLICY) == set(ERROR_CLASSES) == set(Kind)
    assert set(STRATEGIES) == set(Balance)
