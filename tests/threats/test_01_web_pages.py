"""Threat 1: a web page in a browser of this machine reaches a port on localhost.

Every way of asking is written down byte by byte in `tests/server/test_refused.py`; here a browser tries them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider, ok
from tests.threats.browser import CHROMIUM, looked_at

_CONFIG = """
admin: {{listen: "unix:@RUN@/admin.sock"}}
metrics: {{listen: "127.0.0.1:0"}}
providers:
  fake: {{type: openai-compatible, base_url: "{url}", api_key: k-fake}}
routes: {{default: {{chain: [fake/precious-model]}}}}
health: {{mode: "off"}}
"""
_UNREAD = re.compile(r"opaque|loaded opaque|blocked.*|sent true|nothing")  # what a page knows of what it may not read
_TRIES = 19


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)")
async def test_01_a_page_in_a_real_browser_reads_nothing_and_causes_no_call(tmp_path: Path) -> None:
    async with FakeProvider() as fake:
        fake.script(ok("fine"))
        async with RunningDaemon(tmp_path, _CONFIG.format(url=fake.base_url)) as daemon:
            metrics = int((await daemon.wait_log("daemon.started"))[0]["metrics"].rpartition(":")[2])
            async with looked_at(daemon.port, [metrics]) as (site, naive):
                refused = await daemon.wait_log("request.refused")
                assert (await daemon.chat())[0] == 200
        assert len(fake.requests) == 1, "a page has caused a call"
    foreign, rebound = site.results(rebound=False), site.results(rebound=True)
    assert (len(foreign), len(rebound)) == (4 * _TRIES, _TRIES)
    for each in foreign:
        assert _UNREAD.fullmatch(each["result"]) or each["target"].endswith(f":{naive.port}"), each
    for each in rebound:  # the browser lets it read, for it believes that it talks to the page's own server
        assert _UNREAD.fullmatch(each["result"]) or "is not served here" in each["result"], each
    assert sum("421 " in each["result"] for each in rebound) > 5
    assert {line["status"] for line in refused} <= {403, 415, 421}
    assert naive.asked.count("prompt") >= 4, "the browser did not attack"  # a server that trusts everybody was used
