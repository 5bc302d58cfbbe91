"""Threat 3: a client steers our key to where it should not go, or slips one of its own in."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fake_provider import FakeProvider
from tests.server.house import House, config, open_house
from tests.server.raw import RawClient, head, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

_SENT = {"host", "content-type", "authorization", "accept", "accept-encoding", "content-length"}
_MAY_PASS = {"user-agent", "idempotency-key", "openai-beta", "anthropic-version", "anthropic-beta"}
_NAMES = st.sampled_from(
    ["Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie", "Forwarded", "X-Forwarded-For",
     "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override",
     "Proxy-Authorization", "Proxy-Connection", "Via", "Connection", "Te", "Trailer", "Keep-Alive", "X-Base-Url",
     "Helicone-Target-Url", "OpenAI-Organization", "OpenAI-Project", "OpenAI-Beta", "User-Agent", "Accept",
     "Accept-Encoding", "Referer", "X-Amz-Security-Token", "X-Stainless-Lang", "Traceparent", "X-Sidecar-Anything"]
)  # fmt: skip
_FIELDS = st.sampled_from(
    ["api_base", "base_url", "api_key", "api_version", "organization", "extra_headers", "headers", "url", "endpoint",
     "provider", "deployment", "azure_endpoint", "custom_llm_provider", "proxy", "http_client", "default_headers"]
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trap() -> AsyncIterator[socket.socket]:
    """Where a steered request would go: nobody may ever connect."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(fake: FakeProvider) -> AsyncIterator[House]:
    async with open_house(config(fake.base_url)) as opened:
        yield opened


def _strange(trap: socket.socket) -> list[str]:
    port = trap.getsockname()[1]
    return [f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/v1", f"127.0.0.1:{port}", "sk-of-the-client", "close"]


async def test_03_no_header_and_no_field_changes_where_a_request_goes_or_with_which_key(
    house: House, fake: FakeProvider, trap: socket.socket
) -> None:
    strange = st.sampled_from(_strange(trap))
    cases: list[tuple[dict[str, str], dict[str, object]]] = []

    @settings(max_examples=40, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.dictionaries(_NAMES, strange, max_size=8),
        st.dictionaries(_FIELDS, st.one_of(strange, st.dictionaries(_NAMES, strange, max_size=2)), max_size=4),
    )
    def collect(headers: dict[str, str], fields: dict[str, object]) -> None:
        cases.append((headers, fields))

    collect()
    for headers, fields in cases:
        before = len(fake.requests)
        body = json.dumps({"model": "default", "messages": [], **fields}).encode()
        reply = await house.once("unix", post(body, *headers.items()))
        assert reply.status == 200, reply.body
        [sent] = fake.requests[before:]
        assert sent.path == "/v1/chat/completions"
        assert sent.headers["host"] == f"127.0.0.1:{fake.port}"
        assert sent.headers["authorization"] == "Bearer k-fake"
        assert set(sent.headers) - _SENT <= _MAY_PASS, sent.headers
        assert "sk-of-the-client" not in {v for k, v in sent.headers.items() if k not in _MAY_PASS}
    _nobody_came(trap)


async def test_03_no_target_of_a_request_leads_elsewhere(house: House, fake: FakeProvider, trap: socket.socket) -> None:
    """Absolute targets, user information, and paths that a proxy might take apart."""
    there, before = f"127.0.0.1:{trap.getsockname()[1]}", len(fake.requests)
    json_body = (("Content-Type", "application/json"), ("Content-Length", "0"))
    for target in (
        f"http://{there}/v1/chat/completions",
        f"http://localhost@{there}/v1/chat/completions",
        f"//{there}/v1/chat/completions",
        f"/{there}/v1/chat/completions",
        f"/v1/chat/completions@{there}",
        f"/http://{there}/v1/chat/completions",
        f"/\\{there}/v1/chat/completions",
        f"/v1/chat/completions/../../{there}",
        f"/providers/http://{there}/v1/chat/completions",
        f"/providers/fake@{there}/v1/chat/completions",
        f"{there}",
    ):
        for method in ("POST", "GET", "CONNECT"):
            async with await RawClient.to(house.socket) as client:
                assert (await client.ask(head(method, target, *json_body))).status in (400, 404, 405)
    assert len(fake.requests) == before
    _nobody_came(trap)


async def test_03_no_model_s_name_leads_elsewhere(house: House, fake: FakeProvider, trap: socket.socket) -> None:
    there = f"127.0.0.1:{trap.getsockname()[1]}"
    names = (f"../../{there}", f"http://{there}/m", f"m?base_url={there}", f"{there}#", "a\r\nHost: x")
    for model in (f"fake/{name}" for name in names):
        before = len(fake.requests)
        reply = await house.once("unix", post(json.dumps({"model": model, "messages": []}).encode()))
        assert reply.status == 200
        [sent] = fake.requests[before:]
        assert (sent.path, sent.headers["host"]) == ("/v1/chat/completions", f"127.0.0.1:{fake.port}")
    _nobody_came(trap)


def _nobody_came(trap: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        trap.accept()
