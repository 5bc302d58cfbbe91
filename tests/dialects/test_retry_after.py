"""When to ask again, in every spelling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.dialects.retry_after import retry_after_s

NOW = datetime(2026, 11, 3, 12, 0, 0, tzinfo=UTC)
SOON = NOW + timedelta(seconds=42)
RFC_3339 = "%Y-%m-%dT%H:%M:%SZ"


def wait(headers: dict[str, str], body: bytes = b"", status: int = 429) -> float | None:
    return retry_after_s(status, headers, body, NOW.timestamp())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20", 20),
        ("1.5", 1.5),
        ("20s", 20),
        ("2m", 120),
        (format_datetime(SOON, usegmt=True), 42),
        ("Tuesday, 03-Nov-26 12:00:42 GMT", 42),  # RFC 850, obsolete
        ("Tue Nov  3 12:00:42 2026", 42),  # asctime, obsolete
        (SOON.strftime(RFC_3339), 42),
        (str(int(SOON.timestamp())), 42),
        ("0", 1),
        ("0.01", 1),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 1),
        ("86400", 300),
        ("1e9999", None),
        ("nan", None),
        ("-5", None),
        ("", None),
        ("soon", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert wait({"retry-after": text}) == (None if seconds is None else pytest.approx(seconds))
    assert wait({"retry-after": text}, status=503) == wait({"retry-after": text})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "2500"}, 2.5),
        ({"retry-after-ms": "2500", "retry-after": "30"}, 2.5),
        ({"retry-after-ms": "later", "retry-after": "30"}, 30),
        ({"retry-after-ms": "10"}, 1),
        ({"retry-after": "30", "x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, 30),
    ],
)
def test_the_more_exact_word_counts(headers: dict[str, str], seconds: float) -> None:
    assert wait(headers) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        # OpenAI: spans, one for each dimension; the exhausted one counts.
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-remaining-tokens": "149999",
                "x-ratelimit-reset-requests": "1m30s",
                "x-ratelimit-reset-tokens": "4m0s",
            },
            90,
        ),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 300),
        ({"x-ratelimit-reset-requests": "120ms", "x-ratelimit-reset-tokens": "2m1.5s"}, 121.5),
        ({"x-ratelimit-reset-tokens": "7.66s"}, 7.66),  # Groq
        ({"x-ratelimit-reset-requests": "1h2m"}, 300),
        # Azure: seconds.
        ({"x-ratelimit-reset-requests": "17"}, 17),
        # OpenRouter: milliseconds since 1970.
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(SOON.timestamp() * 1000))}, 42),
        # GitHub: seconds since 1970.
        ({"x-ratelimit-reset": str(int(SOON.timestamp()))}, 42),
        # Anthropic: RFC 3339.
        (
            {
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-requests-reset": (NOW + timedelta(seconds=200)).strftime(RFC_3339),
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": SOON.strftime(RFC_3339),
            },
            42,
        ),
        # Cerebras: seconds with a fraction, a day and a minute.
        ({"x-ratelimit-remaining-tokens-minute": "0", "x-ratelimit-reset-tokens-minute": "33.25"}, 33.25),
        ({"ratelimit-reset": "9"}, 9),
        ({"x-ratelimit-reset-requests": "whenever"}, None),
        ({"x-ratelimit-limit-requests": "60"}, None),
    ],
)
def test_resets_of_a_rate_limit(headers: dict[str, str], seconds: float | None) -> None:
    assert wait(headers) == (None if seconds is None else pytest.approx(seconds))
    assert wait(headers, status=503) is None  # some send them with every answer


@pytest.mark.parametrize(("delay", "seconds"), [("34s", 34), ("34.074824224s", 34.07), ("0s", 1), ("4000s", 300)])
def test_googles_retry_info(delay: str, seconds: float) -> None:
    info = b'{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "%s"}' % delay.encode()
    assert wait({}, b'[{"error": {"code": 429, "details": [' + info + b"]}}]") == pytest.approx(seconds, abs=0.01)
    assert wait({}, info, status=500) is None


def test_nothing_said_is_nothing_known() -> None:
    assert wait({}) is None
    assert wait({"content-type": "application/json"}, b"{}") is None


@given(st.text(), st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens"]))
def test_whatever_is_said_the_wait_is_within_its_bounds(text: str, name: str) -> None:
    found = wait({name: text})
    assert found is None or 1 <= found <= 300


@given(st.dates(), st.times(), st.sampled_from([RFC_3339, "%a, %d %b %Y %H:%M:%S GMT", "%Y-%m-%d %H:%M:%S +1400"]))
def test_any_date_is_within_the_bounds(day: datetime, time: datetime, form: str) -> None:
    found = wait({"retry-after": f"{day}T{time}Z"})
    assert found is None or 1 <= found <= 300
    found = wait({"retry-after": datetime.combine(day, time).strftime(form)})
    assert found is None or 1 <= found <= 300
