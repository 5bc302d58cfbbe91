"""The table at the end of the run: every client against every provider."""

from __future__ import annotations

import re

import pytest

_CASE = re.compile(r"test_matrix\.py::test_(\w+)\[(\w+)-(\w+?)(?:-(\w+))?\]")
_MARKS = {"passed": "ok", "failed": "FAILED", "error": "ERROR", "skipped": "skipped"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    table: dict[tuple[str, str], dict[str, str]] = {}
    cases: list[str] = []
    for outcome, mark in _MARKS.items():
        for report in terminalreporter.stats.get(outcome, []):
            found = _CASE.search(report.nodeid)
            if found is None:
                continue
            case = " ".join(filter(None, (found[1], found[4])))
            cases += [] if case in cases else [case]
            table.setdefault((found[2], found[3]), {})[case] = mark
    if not table:
        return
    terminalreporter.section("client dialect -> provider dialect")
    terminalreporter.write_line(f"{'':24}" + "".join(f"{case:>18}" for case in cases))
    for (client, provider), row in sorted(table.items()):
        marks = "".join(f"{row.get(case, '-'):>18}" for case in cases)
        terminalreporter.write_line(f"{f'{client} -> {provider}':24}{marks}")
