"""Threat 9: a stranger, or a provider, takes all there is. Each assault is played in `tests/limits`.

Here stands what must be bounded; a bound without an assault would be a claim.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sidecar.model.settings import LimitSettings, Timeouts

_LIMITS = Path(__file__).parents[1] / "limits"
ASSAULTS = {
    "header deadline": ("test_slow.py", "test_slowloris"),
    "body deadline": ("test_slow.py", "test_slow_bodies"),
    "slow reader of a stream": ("test_slow.py", "test_a_stream_that_is_never_read_ends_with_the_total_deadline"),
    "slow reader of an answer": ("test_slow.py", "test_a_whole_answer_that_is_never_read_does_not_hold_its_connection"),
    "pipelining": ("test_slow.py", "test_requests_without_end_whose_answers_are_never_read"),
    "max_body": ("test_bombs.py", "test_uploads_without_end"),
    "bombs up": ("test_bombs.py", "test_a_request_that_is_a_bomb_is_never_unpacked"),
    "bombs down": ("test_bombs.py", "test_an_answer_that_is_a_bomb_is_never_unpacked"),
    "floods down": ("test_bombs.py", "test_a_provider_that_never_ends"),
    "names": ("test_bombs.py", "test_long_names_are_not_kept"),
    "idle connections": ("test_crowd.py", "test_ten_thousand_idle_connections"),
    "descriptors": ("test_crowd.py", "test_descriptors_that_run_out"),
    "name servers": ("test_names.py", "test_a_name_server_that_is_silent_for_one_name_holds_up_no_other"),
    "full disks": ("test_surroundings.py", "test_a_full_disk_fails_no_request_and_is_counted"),
    "blocked logs": ("test_surroundings.py", "test_a_reader_of_the_log_who_does_not_read_holds_up_nobody"),
}


@pytest.mark.parametrize("what", ASSAULTS)
def test_09_every_bound_has_its_assault(what: str) -> None:
    file, name = ASSAULTS[what]
    functions = ast.walk(ast.parse((_LIMITS / file).read_text()))
    assert name in {each.name for each in functions if isinstance(each, ast.AsyncFunctionDef)}


def test_09_without_a_word_in_the_config_everything_is_bounded() -> None:
    limits, timeouts = LimitSettings(), Timeouts()
    assert limits.header_timeout_s == 10
    assert limits.body_idle_s == 30
    assert 0 < limits.max_body_bytes <= 64 * 1024 * 1024
    assert 0 < limits.max_header_bytes <= 64 * 1024
    assert 0 < limits.max_connections <= 20_000
    assert 0 < timeouts.total_s < 600
