"""Text for people: durations, and nothing that a terminal would obey."""

import io
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.cli.terminal import count, cut, paint, printable, span, unbreakable


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "0.0 ms"),
        (0.00042, "0.4 ms"),
        (0.0123, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (1.23, "1.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1m 0s"),
        (252, "4m 12s"),
        (3599.6, "1h 0m"),
        (7320, "2h 2m"),
        (90000, "1d 1h"),
    ],
)
def test_spans_are_short_and_round_up_into_the_next_unit(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


def test_counts() -> None:
    assert [count(0, "target"), count(1, "target"), count(1200, "target")] == ["0 targets", "1 target", "1,200 targets"]


@settings(deadline=None, max_examples=60)
@given(st.text())
def test_nothing_printable_moves_the_cursor(text: str) -> None:
    shown = printable(text)
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert printable(shown) == shown


def test_control_characters_are_shown() -> None:
    assert printable("a\x1b[31mb\x07\u202e") == r"a\x1b[31mb\x07\u202e"


@settings(deadline=None, max_examples=60)
@given(st.text(), st.integers(min_value=4, max_value=40))
def test_a_cut_text_is_one_line_that_fits(text: str, limit: int) -> None:
    assert len(cut(text, limit)) <= limit
    assert "\n" not in cut(text, limit)


def test_a_pipe_gets_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    assert paint("x", "red") == "x"


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("name", "value", "coloured"), [("NO_COLOR", "", True), ("NO_COLOR", "1", False), ("TERM", "dumb", False)]
)
def test_a_terminal_gets_colour_unless_it_says_no(
    name: str, value: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", _Terminal(io.BytesIO(), "utf-8"))
    assert (paint("x", "red") != "x") is coloured


def test_what_an_encoding_lacks_is_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    unbreakable()
    stream.write("é")
    stream.flush()
    assert written.getvalue() == b"\\xe9"
