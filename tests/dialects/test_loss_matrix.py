"""What docs/dialects.md tells of losses is what the encoders do, and nothing is lost that nobody is told of."""

from __future__ import annotations

import pytest

from sidecar.model.topology import ClientDialect, Dialect
from tests.loss_matrix import IMPLIED, PAGE, PAIRS, SILENT, cells, told
from tests.loss_probes import PROBES


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_no_parameter_goes_without_a_trace(client: ClientDialect, provider: Dialect) -> None:
    assert [name for name, cell in cells(client, provider) if cell.what == SILENT] == []


def test_what_is_excused_is_there() -> None:
    names = {name for probes in PROBES.values() for name in probes}
    assert {name for _, name in IMPLIED} <= names


def test_the_page_is_in_step() -> None:
    assert PAGE.read_text() == told(), "python -m tests.loss_matrix writes the tables anew"
