"""What changed, in few words and without secrets."""

from __future__ import annotations

import pytest

from sidecar.config import diff

OLD = """
providers:
  a: {type: openai-compatible, base_url: "https://a", api_key: "${A}", headers: {authorization: "${A}", x: y}}
  b: {type: ollama, models: {m: {context: 10}}}
  c: {type: ollama}
routes:
  fast: {chain: [a/x]}
  slow: {chain: [{a/x: 1, b/y: 2}], balance: random}
log: {level: info}
"""
NEW = """
providers:
  a: {type: openai-compatible, base_url: "https://z", api_key: "${B}", headers: {authorization: "${B}", x: z}}
  b: {type: ollama, models: {m: {context: 20}, n: {}}, health: {interval: 5s}, params: {set: {user: me}}}
  d: {type: ollama}
routes:
  fast: {chain: [b/y], timeouts: {total: 60s}}
  slow: {chain: [{a/x: 1, b/y: 3}], balance: fastest}
  more: {chain: [b/y]}
log: {level: debug}
limits: {max_body: 1MiB}
"""
ENV = {"A": "old-secret", "B": "new-secret"}


def test_every_change_has_its_line(snapshot):
    found = diff(snapshot(OLD, env=ENV), snapshot(NEW, env=ENV))
    assert found.lines() == [
        "providers.a: base_url https://a -> https://z",
        "providers.a: api_key changed",
        "providers.a: headers.authorization changed",
        "providers.a: headers.x y -> z",
        "providers.b: params.set.user added",
        "providers.b: models.m.context_tokens 10 -> 20",
        "providers.b: models.n added",
        "providers.b: health.interval 30s -> 5s",
        "providers.d: added, ollama at http://127.0.0.1:11434",
        "providers.c: removed",
        "routes.fast: chain [a/x] -> [b/y]",
        "routes.fast: timeouts.total 590s -> 60s",
        "routes.slow: chain [{a/x: 1, b/y: 2}] -> [{a/x: 1, b/y: 3}]",
        "routes.slow: balance random -> fastest",
        "routes.more: added, chain [b/y]",
        "log.level: info -> debug",
        "limits.max_body: 32MiB -> 1MiB",
    ]
    assert (found.providers.added, found.providers.removed, found.providers.changed) == (("d",), ("c",), ("a", "b"))
    assert (found.routes.added, found.routes.removed, found.routes.changed) == (("more",), (), ("fast", "slow"))
    assert found.settings.changed == ("log.level", "limits.max_body")
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("chain", "more", "told"),
    [
        ("{a/x: 1, b/y: 3}", "", "chain [{a/x: 1, b/y: 2}] -> [{a/x: 1, b/y: 3}]"),
        ("{a/x: 1, b/z: 2}", "", "chain [{a/x: 1, b/y: 2}] -> [{a/x: 1, b/z: 2}]"),
        ("{a/x: 1, c/y: 2}", "", "chain [{a/x: 1, b/y: 2}] -> [{a/x: 1, c/y: 2}]"),
        ("{a/x: 1}", "", "chain [{a/x: 1, b/y: 2}] -> [a/x]"),
        ("{a/x: 1, b/y: 2}, c/z", "", "chain [{a/x: 1, b/y: 2}] -> [{a/x: 1, b/y: 2}, c/z]"),
        ("{a/x: 1, b/y: 2}", ", balance: fastest", "balance random -> fastest"),
        ("{a/x: 1, b/y: 2}", ", sticky: x-user", "sticky none -> x-user"),
        ("{a/x: 1, b/y: 2}", ", attempts: {max_attempts: 2}", "attempts.max_attempts none -> 2"),
    ],
)
def test_each_part_of_a_route_that_changed_alone_is_told(snapshot, chain, more, told):
    slow = "slow: {chain: [{a/x: 1, b/y: 2}], balance: random}"
    balance = "" if "balance" in more else ", balance: random"
    text = OLD.replace(slow, f"slow: {{chain: [{chain}]{balance}{more}}}")
    found = diff(snapshot(OLD, env=ENV), snapshot(text, env=ENV))
    assert found.lines() == [f"routes.slow: {told}"]
    assert found.routes.changed == ("slow",)


def test_nothing_changed_is_false(snapshot):
    found = diff(snapshot(OLD, env=ENV), snapshot(OLD + "# a comment\n", env=ENV, generation=2))
    assert not found
    assert found.lines() == []


def test_without_an_old_one_everything_is_new(snapshot):
    found = diff(None, snapshot(OLD, env=ENV))
    assert found.providers.added == ("a", "b", "c")
    assert found.routes.added == ("fast", "slow")


def test_a_rotated_key_file_is_a_change_of_its_provider(snapshot):
    text = 'providers: {a: {type: openai, api_key: "${file:/k}"}}'
    found = diff(snapshot(text, files={"/k": "one"}), snapshot(text, files={"/k": "two"}))
    assert found.lines() == ["providers.a: api_key changed"]


def test_a_renewed_certificate_is_a_change_of_its_provider(snapshot):
    text = "providers: {a: {type: ollama, tls: {ca_file: ca}}}"
    found = diff(snapshot(text, files={"ca": "one"}), snapshot(text, files={"ca": "two"}))
    assert found.lines() == ["providers.a: tls changed"]


def test_how_streams_are_given_is_told_by_the_files_names(snapshot):
    text = "providers: {a: {type: ollama}}\nroutes: {r: {chain: [a/x]}}\n"
    more = "stream: hold\nhold: {time: 1s}\nsse_keepalive: 15s\nhedge: {}\n"
    assert diff(snapshot(text), snapshot(text + more)).lines() == [
        "routes.r: stream live -> hold",
        "routes.r: hold.time 500ms -> 1s",
        "routes.r: sse_keepalive none -> 15s",
        "routes.r: hedge none -> (after_s none, max_extra_load 5.0)",
    ]


def test_a_chain_that_moves_to_another_scope_is_no_change(snapshot):
    wide = "timeouts: {idle: 9s}\n" + OLD
    narrow = OLD.replace("chain: [a/x]", "chain: [a/x], timeouts: {idle: 9s}").replace(
        "balance: random", "balance: random, timeouts: {idle: 9s}"
    )
    assert not diff(snapshot(wide, env=ENV), snapshot(narrow, env=ENV))


def test_listeners_are_told_by_their_addresses_and_no_token_is_shown(snapshot):
    guarded = 'listen: [{address: "127.0.0.1:1", auth: {token_file: /t}}, "unix:/b"]'
    edited = guarded.replace('"unix:/b"', '{address: "unix:/b", mode: "0600"}, "unix:/c"')
    before = snapshot(guarded, files={"/t": "first-token-of-the-app"})
    after = snapshot(edited, files={"/t": "second-token-of-the-app"})
    assert diff(before, after).lines() == [
        "listen.127.0.0.1:1.auth.tokens: changed",
        "listen.unix:/b.mode: 0660 -> 0600",
        "listen.unix:/c: added",
    ]
