"""YAML to nodes: core scalars, places, and what hostile text meets. Both of PyYAML's parsers must agree."""

from __future__ import annotations

import math
import sys

import pytest
import yaml

from sidecar.config import tree
from sidecar.config.tree import Entries, Items, Scalar, YamlError, plain_value, read


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def parser(request, monkeypatch):
    if not hasattr(yaml, request.param):
        pytest.skip("PyYAML was built without libyaml")
    monkeypatch.setattr(tree, "_Loader", getattr(yaml, request.param))


def refused(text):
    with pytest.raises(YamlError) as raised:
        read("f.yaml", text)
    return f"{raised.value.place}: {raised.value.message}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("yes", "yes"),
        ("0660", 660),
        ("0o660", 0o660),
        ("0x1F", 31),
        ("1:30", "1:30"),
        ("2024-10-21", "2024-10-21"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("-12", -12),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("1_000", "1_000"),
        ("٣", "٣"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_scalars_follow_the_core_schema(text, value):
    assert plain_value(text) == value
    assert type(plain_value(text)) is type(value)


def test_not_a_number_is_a_float():
    assert math.isnan(plain_value(".nan"))


def test_quotes_make_a_text_and_places_count_from_one():
    root, duplicates = read("f.yaml", "a: 1\nb:\n  - 'x'\n  - y\n")
    assert isinstance(root, Entries)
    assert not duplicates
    (a, one), (_, b) = root.pairs
    assert (a.place, one.place) == (("f.yaml", 1, 1), ("f.yaml", 1, 4))
    assert isinstance(one, Scalar)
    assert one.plain
    assert isinstance(b, Items)
    assert [(node.text, node.plain, node.place.line, node.place.column) for node in b.nodes] == [
        ("x", False, 3, 5),
        ("y", True, 4, 5),
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null"])
def test_an_empty_text_has_no_tree(text):
    assert read("f.yaml", text) == (None, [])


def test_every_duplicate_key_is_told_and_the_first_stays():
    root, duplicates = read("f.yaml", "a: 1\nb: {c: 1, c: 2}\na: 3\n")
    assert [f"{each.place}: {each.message}" for each in duplicates] == [
        'f.yaml:2:11: duplicate key "c"; it is already at line 2',
        'f.yaml:3:1: duplicate key "a"; it is already at line 1',
    ]
    assert root.pairs[0][1].text == "1"


def test_an_alias_stands_for_its_anchor():
    root, _ = read("f.yaml", "a: &x [1]\nb: *x\n")
    assert root.pairs[0][1] == root.pairs[1][1]


QUOTE_STAR = 'a text that starts with * must be quoted, such as "*"'
NO_NAME = "not valid YAML: expected alphabetic or numeric character, but found"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("routes:\n  *: x\n", "2:4", f"{NO_NAME} ':'; {QUOTE_STAR}"),
        ("chain: [*]\n", "1:10", f"{NO_NAME} ']'; {QUOTE_STAR}"),
        ("a: *gpt\n", "1:4", '"*gpt" is YAML\'s alias of an anchor that does not exist; quote it'),
        (
            "listen: [[::1]:4141]\n",
            "1:11",
            "not valid YAML: expected the node content, but found ':'; an address that starts with [ must be quoted, "
            'such as "[::1]:4141"',
        ),
        (
            "a: {b: ${X}}\n",
            "1:9",
            "not valid YAML: expected ',' or '}', but got '{'; quote the reference: \"${NAME}\"",
        ),
        (
            "a: [1\n",
            "2:1",
            "not valid YAML: expected ',' or ']', but got '<stream end>'; the [ at line 1, column 4 is not closed, "
            "or it begins a text, which must be quoted",
        ),
        (
            "\ta: 1\n",
            "1:1",
            "not valid YAML: found character '\\t' that cannot start any token; a tab cannot indent, use spaces",
        ),
        ("a: 1\n---\nb: 2\n", "2:1", "a second document; write everything in one, without ---"),
        ("a: {<<: {b: 1}}\n", "1:5", "merge keys (<<) are not supported; write the keys out"),
        ("a: !!python/name:os.x y\n", "1:4", "tags such as tag:yaml.org,2002:python/name:os.x are not supported"),
        ("[a]: 1\n", "1:1", "a key must be a text; if it starts with [ or {, quote it"),
        ("a: &x [*x]\n", "1:8", '"*x" is YAML\'s alias of an anchor that does not exist; quote it'),
    ],
)
def test_a_refusal_says_where_and_what_to_do(text, place, message):
    assert refused(text) == f"f.yaml:{place}: {message}"


def test_text_that_is_no_text_is_refused():
    assert refused("a: \x00").startswith("f.yaml:1:1: not valid YAML: unacceptable character #x0000")


def test_a_billion_laughs_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "aliases stand for more than 10000 nodes" in refused("\n".join(lines))


def test_depth_is_capped_below_the_interpreters_own_limit():
    assert "nested deeper than 40 levels" in refused("a: " + "[" * 500 + "]" * 500)
    assert sys.getrecursionlimit() > 40 * 3 * 2


def test_size_is_capped():
    assert refused("#" * (tree.MAX_TEXT_CHARS + 1)) == "f.yaml:1:1: the file is larger than 4 MiB"
