"""Durations, sizes, percentages, modes: units are required where they matter, and writing is the inverse of reading."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import units


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30), ("1.5s", 1.5), ("5m", 300), ("1h", 3600), ("0s", 0)]
)
def test_durations(text, seconds):
    assert units.duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "", "s", "-1s", "1 s", "1d", "1S", "1e3s", ".5s", "1s ", "٣s", "infs"])
def test_what_is_no_duration(text):
    assert units.duration(text) is None


@pytest.mark.parametrize(
    ("text", "count"),
    [("64KiB", 65536), ("32MiB", 32 << 20), ("1MB", 10**6), ("1kB", 1000), ("5B", 5), ("1GiB", 1 << 30)],
)
def test_sizes(text, count):
    assert units.size(text) == count


@pytest.mark.parametrize("text", ["64", "1.5MiB", "-1B", "1mb", "1TiB"])
def test_what_is_no_size(text):
    assert units.size(text) is None


@pytest.mark.parametrize(
    ("text", "bits"), [("0660", 0o660), ("600", 0o600), ("0888", None), ("1777", None), ("", None)]
)
def test_modes(text, bits):
    assert units.mode(text) == bits


@pytest.mark.parametrize(("text", "number"), [("5%", 5), ("5", 5), ("2.5%", 2.5), ("0", 0), ("100%", 100)])
def test_percentages(text, number):
    assert units.percent(text) == number


@pytest.mark.parametrize("text", ["", "%", "-1%", "5 %", "5%%", ".5", "1e1", "p95"])
def test_what_is_no_percentage(text):
    assert units.percent(text) is None


@given(st.integers(0, 10**6))
def test_a_percentage_is_read_as_it_was_written(thousandths):
    assert units.percent(units.percent_text(thousandths / 1000)) == thousandths / 1000


@given(st.integers(0, 10**10))
def test_a_duration_is_read_as_it_was_written(microseconds):
    seconds = microseconds / 1e6
    assert units.duration(units.duration_text(seconds)) == pytest.approx(seconds, abs=1e-9)


@given(st.integers(1, 10**12))
def test_a_size_is_read_as_it_was_written(count):
    assert units.size(units.size_text(count)) == count
