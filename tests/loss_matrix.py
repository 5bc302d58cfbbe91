"""The tables of docs/dialects.md that tell what a translation keeps: every probe, shown to every encoder.

    python -m tests.loss_matrix      writes them anew

What a probe brings about is what differs from its dialect's smallest request: the losses, and the body. A
difference in neither would be a loss that nobody is told of: such a cell is `SILENT`, and a test looks for it,
unless the dialect does by itself what was asked (`IMPLIED`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sidecar.dialects.dialect import Untranslatable
from sidecar.dialects.table import codec, provider_codec
from sidecar.model.hub import How, Loss, Wire
from sidecar.model.topology import ClientDialect, Dialect, ModelFacts, Quirk
from tests.loss_probes import BASES, PROBES

__all__ = ["IMPLIED", "PAGE", "PAIRS", "SILENT", "Cell", "cells", "told"]

PAGE = Path(__file__).parents[1] / "docs" / "dialects.md"
SILENT = "SILENT"
IMPLIED = frozenset(
    {
        (Dialect.OPENAI_CHAT, "`store: false`"),
        (Dialect.ANTHROPIC_MESSAGES, "`store: false`"),
        (Dialect.GEMINI_GENERATE, "`store: false`"),
        (Dialect.BEDROCK_CONVERSE, "`store: false`"),
        (Dialect.GEMINI_GENERATE, "`thinking: adaptive`"),
    }
)
_KEPT, _REFUSED = "kept", "**refused**"
_MARKS = re.compile(r"(<!-- losses: begin -->\n).*(<!-- losses: end -->)", re.DOTALL)
_INDEX = re.compile(r"\[\d+\]")
_FACTS = ModelFacts(reasoning=True)
# A model that takes nearly all that its vendor documents, so that what is told is the dialect's, not the model's.
_WIRES: dict[Dialect, Wire] = {
    Dialect.OPENAI_CHAT: Wire("gpt-5.4", _FACTS, frozenset({Quirk.OPENAI_FIELDS})),
    Dialect.OPENAI_RESPONSES: Wire("gpt-5.4", _FACTS),
    Dialect.ANTHROPIC_MESSAGES: Wire("claude-sonnet-4-6", _FACTS),
    Dialect.GEMINI_GENERATE: Wire("gemini-3-pro-preview", _FACTS),
    Dialect.BEDROCK_CONVERSE: Wire("openai.gpt-oss-120b-1:0", _FACTS),
}
PAIRS = [(client, provider) for client in PROBES for provider in _WIRES if provider is not client]


class Cell(NamedTuple):
    """What became of one probe at one kind of provider."""

    what: str
    notes: tuple[str, ...]  # of what is not just dropped: where, and why


def cells(client: ClientDialect, provider: Dialect) -> Iterator[tuple[str, Cell]]:
    """The probes by their names, in their order."""
    base_body, base_losses = _asked(client, provider, {})
    for name, fields in PROBES[client].items():
        try:
            body, losses = _asked(client, provider, fields)
        except Untranslatable as error:
            yield name, Cell(_REFUSED, (str(error),))
            continue
        cell = _cell([loss for loss in losses if loss not in base_losses], differs=body != base_body)
        implied = cell.what == SILENT and (provider, name) in IMPLIED
        yield name, Cell("as it is anyway", ()) if implied else cell


def _asked(client: ClientDialect, provider: Dialect, fields: object) -> tuple[str, list[Loss]]:
    """What the provider is asked, as text, and what was noted."""
    assert isinstance(fields, dict)
    losses: list[Loss] = []
    request = codec(client).decode_request({**BASES[client], **fields}, "m", stream=False)
    body = provider_codec(provider).encode_request(request, _WIRES[provider], losses)
    return json.dumps(body, sort_keys=True), losses


def _cell(losses: list[Loss], *, differs: bool) -> Cell:
    hows = [how for how in How if any(loss.how is how for loss in losses)]
    if not hows:
        return Cell(_KEPT if differs else SILENT, ())
    notes = tuple(f"`{loss.path}` {loss.how.value}: {loss.reason}" for loss in losses if loss.how is not How.DROPPED)
    return Cell("; ".join(_words(how, losses) for how in hows), notes)


def _words(how: How, losses: list[Loss]) -> str:
    paths = dict.fromkeys(f"`{_INDEX.sub('', loss.path)}`" for loss in losses if loss.how is how)
    return f"{how.value}: {', '.join(paths)}"


def told() -> str:
    """The page with the tables as they are."""
    tables = "\n".join(_table(client) for client in PROBES)
    page, count = _MARKS.subn(lambda found: f"{found[1]}\n{tables}\n{found[2]}", PAGE.read_text())
    assert count == 1, f"{PAGE} has not one pair of marks"
    return page


def _table(client: ClientDialect) -> str:
    others = [provider for asked, provider in PAIRS if asked is client]
    columns = {provider: dict(cells(client, provider)) for provider in others}
    lines = [
        f"### Asked in {client.value}\n",
        f"| | {' | '.join(provider.value for provider in others)} |",
        f"|---|{'---|' * len(others)}",
        *(f"| {name} | {' | '.join(columns[each][name].what for each in others)} |" for name in PROBES[client]),
        "",
    ]
    notes = [
        f"- {provider.value}, {name}: {note}"
        for provider in others
        for name, cell in columns[provider].items()
        for note in cell.notes
    ]
    return "\n".join([*lines, *notes, ""])


if __name__ == "__main__":
    PAGE.write_text(told())
