"""Requests as we translate them, judged by the vendors' own OpenAPI documents.

`python -m tests.strict` judges all of them and prints the shares; here it is every third.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.strict.fields import BASE, FIELDS
from tests.strict.judging import MISSING, Asked, judged, requests
from tests.strict.test_fields import having

pytestmark = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")

# What we refuse to ask, for the target could not answer it as it was meant.
REFUSED = (
    r"answers to one request cannot cross dialects",
    r"expected the id of a tool_use",  # the result of a call that is nowhere
)
# Refused by the document, though the vendor takes it.
KNOWN = {"body: Unknown property: serviceTier": "Gemini's flex and priority are newer than the document"}
STEP = 3


async def test_what_we_ask_is_what_the_vendors_documents_allow() -> None:
    verdicts = await judged(requests()[::STEP])
    assert len(verdicts) > 1500
    wrong = [each for each in verdicts if each.wrong is not None]
    odd = [
        each
        for each in wrong
        if each.wrong not in KNOWN and not any(re.search(reason, each.wrong or "") for reason in REFUSED)
    ]
    assert odd == []
    counts = Counter((each.dialect, each.target) for each in verdicts)
    refused = Counter((each.dialect, each.target) for each in wrong)
    assert {pair: refused[pair] for pair, count in counts.items() if refused[pair] > 0.02 * count} == {}


async def test_every_documented_field_is_asked_for_in_a_way_that_the_documents_allow() -> None:
    some = [
        Asked(path, dialect, having(BASE[dialect], path, value)[0], "m", stream=False, bound=None)
        for dialect, fields in FIELDS.items()
        for path, value in fields.items()
    ]
    verdicts = await judged(some)
    assert len(verdicts) > 350
    assert [each for each in verdicts if each.wrong is not None and each.wrong not in KNOWN] == []
