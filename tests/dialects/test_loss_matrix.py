"""What docs/dialects.md tells of losses is what the encoders do, and nothing is lost that nobody is told of."""

from __future__ import annotations

from itertools import permutations

import pytest

from sidecar.model.topology import ClientDialect
from tests.loss_matrix import IMPLIED, PAGE, SILENT, cells, told
from tests.loss_probes import PROBES


@pytest.mark.parametrize(("client", "provider"), [*permutations(PROBES, 2)])
def test_no_parameter_goes_without_a_trace(client: ClientDialect, provider: ClientDialect) -> None:
    assert [name for name, cell in cells(client, provider) if cell.what == SILENT] == []


def test_what_is_excused_is_there() -> None:
    names = {name for probes in PROBES.values() for name in probes}
    assert {name for _, name in IMPLIED} <= names


def test_the_page_is_in_step() -> None:
    assert PAGE.read_text() == told(), "python -m tests.loss_matrix writes the tables anew"
