"""Secrets: a planted key is in no line, however it is spelled."""

import base64
import json
import re
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sidecar.model.records import AttemptRecord, RequestRecord
from sidecar.model.secret import Secret
from sidecar.observe.log import DebugLogger
from sidecar.observe.redact import Redactor

CANARY = 'ca"na\\ry/ké+1234567890='

SPELLINGS = {
    "raw": CANARY,
    "json": json.dumps(CANARY),
    "json utf-8": json.dumps(CANARY, ensure_ascii=False),
    "json twice": json.dumps(json.dumps(CANARY)),
    "json slash": json.dumps(CANARY).replace("/", "\\/"),
    "url": quote(CANARY, safe=""),
    "url path": quote(CANARY),
    "url query": quote_plus(CANARY),
    "url lower": re.sub("%..", lambda escape: escape[0].lower(), quote(CANARY, safe="")),
    **{
        f"base64 after {before} before {after}": base64.b64encode(
            b"user:admin"[:before] + CANARY.encode() + b"tail"[:after]
        ).decode()
        for before in range(4)
        for after in range(3)
    },
    "base64 url": base64.urlsafe_b64encode(CANARY.encode()).decode(),
}


def shows(text: str, secret: str, least: int = 12) -> bool:
    """Whether a telling piece of the secret's spelling is still there."""
    return any(secret[at : at + least] in text for at in range(len(secret) - least + 1))


def planted() -> tuple[DebugLogger, list[bytes]]:
    lines: list[bytes] = []
    logger = DebugLogger(lines.append)
    logger.set_secrets([Secret(CANARY), Secret("short")])
    return logger, lines


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_the_canary_is_in_no_line(spelling: str) -> None:
    logger, lines = planted()
    text = f"upstream said: {spelling} is wrong"
    logger.attempt(AttemptRecord(outcome="failed", error=text))
    logger.request(RequestRecord(outcome="failed", error=text))
    logger.event("error", "config.rejected", message=text, nested=[{"deep": text}], error=ValueError(text))
    assert len(lines) == 3
    for line in lines:
        told: dict[str, Any] = json.loads(line)
        for said in (told.get("error", ""), told.get("message", ""), json.dumps(told.get("nested"))):
            assert not shows(said, spelling.strip('"'))
            assert "***" in said or said in ("", "null")


def test_short_values_would_blank_out_words() -> None:
    logger, lines = planted()
    logger.event("info", "config.applied", message="a short one")
    assert json.loads(lines[0])["message"] == "a short one"


def test_a_key_among_the_keys_of_a_mapping_is_found() -> None:
    logger, lines = planted()
    logger.event("info", "config.applied", headers={f"x {CANARY}": 1})
    assert json.loads(lines[0])["headers"] == {"x ***": 1}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("key sk-proj-abcdefghijklmnop_-123 bad", "key *** bad"),
        ("Incorrect: sk-ant-api03-AAAAbbbbCCCC1234.", "Incorrect: ***."),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "***"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("authorization%3A%20bearer%20abcdefgh", "authorization%3A%20bearer%20***"),
        ('{"x-api-key": "0123456789abcdef"}', '{"x-api-key": "***"}'),
        ('{\\"api_key\\":\\"0123456789abcdef\\"}', '{\\"api_key\\":\\"***\\"}'),
        ("https://h/p?api_key=0123456789&x=1", "https://h/p?api_key=***&x=1"),
        ("/v1beta/models/m:generateContent?alt=sse&key=0123#x", "/v1beta/models/m:generateContent?alt=sse&key=***#x"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def", "***"),
        ("the task-force asked for a sk-8 board", "the task-force asked for a sk-8 board"),
        ("connect to 127.0.0.1:11434 refused", "connect to 127.0.0.1:11434 refused"),
        ("unknown target openai/gpt-5.4-mini", "unknown target openai/gpt-5.4-mini"),
    ],
)
def test_what_looks_like_a_key(text: str, wanted: str) -> None:
    assert Redactor().text(text, 500) == wanted


def test_a_replaced_key_stays_secret_for_one_more_change() -> None:
    redactor = Redactor()
    for known, hidden in (("old-key", "old-key"), ("new-key", "old-key"), ("new-key", "old-key"), ("third", "new-key")):
        redactor.set_secrets([Secret(known)])
        assert redactor.text(f"a {hidden} b", 500) == "a *** b"
    assert redactor.text("a old-key b", 500) == "a old-key b"


def test_a_key_inside_a_longer_one_leaves_nothing_of_it() -> None:
    redactor = Redactor()
    redactor.set_secrets([Secret("inside"), Secret("long-inside-key")])
    assert redactor.text("x long-inside-key y", 500) == "x *** y"


@given(st.text(min_size=6, max_size=60), st.text(max_size=40), st.integers(0, 20_000), st.integers(1, 2000))
def test_a_cap_never_cuts_a_key_open(key: str, before: str, padding: int, cap: int) -> None:
    assume(len(set(key)) > 3)
    assume("*" not in key)
    assume("…" not in key)
    redactor = Redactor()
    redactor.set_secrets([Secret(key)])
    text = redactor.text(before + " " * padding + key + " tail", cap)
    assert key not in text
    assert len(text) <= cap


def test_a_text_of_keys_alone_is_not_cut_open_where_reading_ends() -> None:
    redactor = Redactor()
    key = "".join(chr(ord("a") + n % 26) + str(n) for n in range(70))
    redactor.set_secrets([Secret(key)])
    assert "a0b1c2" not in redactor.text((key + " ") * 500, 500)
