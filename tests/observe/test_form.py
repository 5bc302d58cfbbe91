"""Forms: the journal gets priorities, people get words, and no output gets control characters."""

import json
import os
import socket

import pytest

from sidecar.model.records import AttemptRecord
from sidecar.model.settings import LogSettings
from sidecar.observe.form import console, form_for, journal
from sidecar.observe.log import DebugLogger, open_log
from sidecar.observe.output import is_journal

LINE = (
    b'{"ts":"2026-01-02T03:04:05.678901Z","level":"warning","event":"attempt","route":"default","generation":7,'
    b'"target":"openai/gpt-5.4","outcome":"failed","kind":"rate_limited","status":429,"duration_s":0.031,'
    b'"error":"slow \\u001b[31mdown\\n"}\n'
)


def test_the_journal_gets_a_priority_for_each_level() -> None:
    assert [journal(level, b"{}\n") for level in ("debug", "info", "warning", "error")] == [
        b"<7>{}\n",
        b"<6>{}\n",
        b"<4>{}\n",
        b"<3>{}\n",
    ]


def test_people_get_one_line_without_control_characters() -> None:
    assert console(colour=False)("warning", LINE) == (
        b"03:04:05.678 warning attempt route=default target=openai/gpt-5.4 outcome=failed kind=rate_limited "
        b'status=429 duration_s=0.031 error="slow \\u001b[31mdown\\n"\n'
    )


def test_people_get_tracebacks_unfolded() -> None:
    line = b'{"ts":"2026-01-02T03:04:05.678901Z","level":"error","event":"a.b","x":[1],"traceback":"T:\\n  f\\u001b"}\n'
    assert console(colour=False)("error", line) == (b"03:04:05.678 error   a.b x=[1]\n    T:\n      f\\u001b\n")


def test_colour_is_for_terminals_and_can_be_refused() -> None:
    leader, follower = os.openpty()
    try:
        for environ, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
            form = form_for("console", follower, environ)
            assert form is not None
            assert (b"\x1b[33m" in form("warning", LINE)) is coloured
    finally:
        os.close(leader)
        os.close(follower)


def test_only_the_very_socket_that_systemd_names_is_the_journal() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        status = os.fstat(ours.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert is_journal(ours.fileno(), environ)
        assert not is_journal(theirs.fileno(), environ)
        assert not is_journal(ours.fileno(), {})
        assert form_for("json", ours.fileno(), environ) is journal
        assert form_for("json", theirs.fileno(), environ) is None
    assert not is_journal(-1, environ)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_log_is_opened_as_the_config_wants_it(tmp_path, form: str) -> None:
    path = tmp_path / "log"
    logger, writer = open_log(LogSettings(level="warning", output=str(path), format=form), {})
    logger.attempt(AttemptRecord(outcome="ok"))
    logger.attempt(AttemptRecord(outcome="failed", target="a/m"))
    logger.flush()
    assert writer.close(5)
    (line,) = path.read_bytes().splitlines()
    told = json.loads(line)["target"] if form == "json" else line.decode().partition("target=")[2].split()[0]
    assert told == "a/m"


def test_a_notice_of_lost_lines_has_the_outputs_form() -> None:
    told = json.loads(DebugLogger().dropped_line(3))
    assert (told["level"], told["event"], told["count"]) == ("warning", "log.dropped", 3)
    assert DebugLogger(form=journal).dropped_line(3).startswith(b'<4>{"ts"')
    assert b"log.dropped count=3" in DebugLogger(form=console(colour=False)).dropped_line(3)
