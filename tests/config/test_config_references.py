"""References: where values come from, what is secret, and what a wrong one says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.references import resolve
from sidecar.model.secret import Secret

PROVIDER = "providers:\n  p: {{type: openai-compatible, base_url: 'https://h/v1', {}}}\n"


def test_every_kind_of_reference(snapshot):
    text = PROVIDER.format(
        'api_key: "${KEY}", headers: {a: "x ${file:/k} y", b: "${credential:c}", d: "${NOPE:-none}", e: "$${KEY}"}'
    )
    made = snapshot(text, env={"KEY": "k1"}, files={"/k": "k2\n"}, credentials={"c": "k3\r\n"})
    provider = made.providers["p"]
    assert provider.auth.key == Secret("k1")
    assert provider.auth.source == "${KEY}"
    assert provider.headers["a"] == Secret("x k2 y")
    assert provider.headers["b"] == Secret("k3")
    assert provider.headers["d"] == Secret("none")
    assert provider.headers["e"] == "${KEY}"
    assert made.files == ("/k",)
    assert {Secret("k1"), Secret("k2"), Secret("x k2 y"), Secret("k3")} <= made.secrets


def test_a_literal_key_and_telling_headers_are_secret_too(snapshot):
    made = snapshot(PROVIDER.format("api_key: sk-1, headers: {X-Api-Key: sk-2, x-team: red}"))
    assert made.secrets == {Secret("sk-1"), Secret("sk-2")}
    assert made.providers["p"].auth.source == "api_key"
    assert made.providers["p"].headers == {"x-api-key": Secret("sk-2"), "x-team": "red"}
    assert "sk-" not in repr(made)


def test_an_empty_key_means_no_key(snapshot):
    made = snapshot(PROVIDER.format('api_key: "${KEY:-}"'))
    assert made.providers["p"].auth.key is None
    assert made.secrets == frozenset()


def test_numbers_and_switches_may_be_references(snapshot):
    made = snapshot(PROVIDER.format('max_inflight: "${N}", insecure: "${B}"'), env={"N": "7", "B": "true"})
    assert made.providers["p"].max_inflight == 7
    assert made.providers["p"].insecure is True


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("${NOPE}", "the environment variable NOPE is not set; set it, or write ${NOPE:-default}"),
        ("${EMPTY}", "the environment variable EMPTY is not set; set it, or write ${EMPTY:-default}"),
        ("${file:/nope}", "${file:/nope}: no such file"),
        ("${credential:nope}", "${credential:nope}: no such credential"),
        ("${file:}", "${file:} names nothing; write ${file:/run/secrets/key}"),
        (
            "${env:X}",
            "${env:X} is no reference; there are ${NAME}, ${NAME:-default}, ${file:/path} and ${credential:name}",
        ),
        ("${", '"${" without "}"; for the two characters themselves write $${'),
    ],
)
def test_an_unresolved_reference_is_told_with_its_place(problems, reference, message):
    text = PROVIDER.format(f'api_key: "{reference}"')
    assert problems(text, env={"EMPTY": ""}) == [f"sidecar.yaml:2:67: providers.p.api_key: {message}"]


def test_what_a_reference_gave_is_in_no_message(problems):
    text = PROVIDER.format('max_inflight: "${S}", api_key: "a\\nb"')
    assert problems(text, env={"S": "hunter2"}) == [
        'sidecar.yaml:2:72: providers.p.max_inflight: expected a whole number, at least 1, found "${S}"',
        "sidecar.yaml:2:89: providers.p.api_key: holds a line break or control character, which no header can carry",
    ]
    url = 'providers:\n  p: {type: openai-compatible, base_url: "http://u:${S}@h/"}\n'
    assert "hunter2" not in "".join(problems(url, env={"S": "hunter2"}))


class Nowhere:
    def env(self, name):
        return f"${{{name}}}"

    file = credential = env


@given(st.text(alphabet="ab$ ").filter(lambda text: "${" not in text))
def test_a_text_without_references_stays_as_it_is(text):
    assert resolve(text, Nowhere()).text == text


def test_what_a_reference_gives_is_not_looked_at_again():
    assert resolve("${A}", Nowhere()).text == "${A}"
