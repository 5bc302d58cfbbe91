"""From text to snapshot: what the keys come to, and everything that is wrong with them at once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import PRESETS, ConfigErrors, Source, load
from sidecar.config.problems import hint, nearest
from sidecar.model.secret import Secret
from sidecar.model.settings import (
    AutoLimit,
    Balance,
    HealthMode,
    HedgeSettings,
    HoldSettings,
    ListenAuth,
    ListenSettings,
    Rescue,
    Settings,
    StreamMode,
    StreamSettings,
    Wire,
)
from sidecar.model.topology import AuthScheme, ModelFacts, Operation, Price, Tls, TransportName
from sidecar.model.ways import ENDPOINT_OF

HERE = Path(__file__).parent
LOCAL = "providers:\n  a: {type: ollama, model: m}\n  b: {type: vllm}\n"


def chain(text: str) -> str:
    return f"{LOCAL}routes:\n  r:\n    chain: {text}\n"


def test_nothing_given_is_every_default(snapshot):
    made = snapshot("")
    assert made.settings == Settings()
    assert (made.providers, made.routes) == ({}, {})
    assert made.warnings == ("routes: there are none; nothing can be answered",)


def test_sections_whose_content_is_commented_out_are_empty(snapshot):
    assert snapshot("providers:\n  # none yet\nroutes:\nlog:\n").providers == {}


def test_a_chain_of_targets_bare_providers_and_pools(snapshot):
    route = snapshot(chain("[a, b/x/y, {a/p: 70, b/q: 0}]")).routes["r"]
    pools = [[(member.target.key, member.weight) for member in pool.members] for pool in route.chain]
    assert pools == [[("a/m", 1)], [("b/x/y", 1)], [("a/p", 70), ("b/q", 0)]]
    assert [pool.key for pool in route.chain] == ["r[0]", "r[1]", "r[2]"]
    assert all(isinstance(weight, float) for pool in pools for _, weight in pool)


def test_balance_leaves_a_flat_chain_in_its_order_and_says_that_it_does_nothing(snapshot):
    made = snapshot(chain("[a/x, b/y]\n    balance: random\n    sticky: X-Session"))
    assert [pool.balance for pool in made.routes["r"].chain] == [Balance.RANDOM] * 2
    assert [pool.sticky for pool in made.routes["r"].chain] == ["x-session"] * 2
    assert made.warnings == ("routes.r.balance: has no effect: no item of the chain is a map of several targets",)


def test_the_narrower_scope_wins_key_by_key(snapshot):
    made = snapshot(
        """
timeouts: {connect: 1s, first_token: {min: 5s, max: 50s}, idle: 7s}
resilience: {max_attempts: 4, max_inline_wait: 1s, budget: {percent: 10},
  breaker: {consecutive_failures: 9, open: {base: 1s}}}
health: {interval: 10s, fall: 5}
max_inflight: 8
fallback_on: [content_policy]
providers:
  a: {type: ollama, breaker: {open: {factor: 2}}, health: {fall: 6}, max_inflight: 3}
  b: {type: ollama}
routes:
  wide: {chain: [a/x]}
  narrow:
    chain: [a/x]
    timeouts: {connect: 2s, first_token: {max: 60s}}
    attempts: {max_attempts: auto, max_inline_wait: 3s}
    fallback_on: [invalid_request]
"""
    )
    wide, narrow = made.routes["wide"], made.routes["narrow"]
    assert (wide.timeouts, wide.attempts) == (made.timeouts, made.attempts)
    assert (narrow.timeouts.connect_s, narrow.timeouts.idle_s) == (2, 7)
    assert narrow.timeouts.first_token == AutoLimit(min_s=5, max_s=60)
    assert (wide.attempts.max_attempts, narrow.attempts.max_attempts) == (4, None)
    assert (wide.attempts.max_inline_wait_s, narrow.attempts.max_inline_wait_s) == (1, 3)
    assert (narrow.attempts.budget.percent, narrow.attempts.budget.ttl_s) == (10, 10)
    assert (wide.fallback_on, narrow.fallback_on) == ({"content_policy"}, {"invalid_request"})
    a, b = made.providers["a"], made.providers["b"]
    assert (a.breaker.open.base_s, a.breaker.open.factor, a.breaker.consecutive_failures) == (1, 2, 9)
    assert b.breaker.open.factor == 25
    assert (a.health.interval_s, a.health.fall, b.health.fall) == (10, 6, 5)
    assert (a.max_inflight, b.max_inflight) == (3, 8)


def test_how_streams_are_given_is_narrowed_by_a_route_key_by_key(snapshot):
    made = snapshot(
        """
stream: hold
hold: {events: 3}
rescue: continue
sse_keepalive: 15s
hedge: {after: 800ms}
"""
        + LOCAL
        + """
routes:
  wide: {chain: [a/x]}
  narrow:
    chain: [{a/x: 1, b/y: 1}]
    hold: {time: 1s}
    rescue: off
    sse_keepalive: off
    hedge: {max_extra_load: 10}
  other: {chain: [a/x], stream: buffer, hedge: off}
"""
    )
    wide = StreamSettings(StreamMode.HOLD, HoldSettings(events=3), Rescue.CONTINUE, 15, HedgeSettings(after_s=0.8))
    assert made.stream == made.routes["wide"].stream == wide
    assert made.routes["narrow"].stream == StreamSettings(
        StreamMode.HOLD, HoldSettings(3, 1), Rescue.OFF, None, HedgeSettings(0.8, 10)
    )
    other = made.routes["other"].stream
    assert (other.mode, other.hedge, other.hold) == (StreamMode.BUFFER, None, wide.hold)
    assert made.warnings == ()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("off", None),
        ('"off"', None),
        ("{}", HedgeSettings()),
        ("{after: p95, max_extra_load: 5%}", HedgeSettings()),
        ("{max_extra_load: 2.5%}", HedgeSettings(max_extra_load=2.5)),
        ('{after: 2s, max_extra_load: "0"}', HedgeSettings(2, 0)),
        ("{max_extra_load: 100}", HedgeSettings(max_extra_load=100)),
    ],
)
def test_hedging_is_off_or_a_map(snapshot, written, meant):
    assert snapshot(f"hedge: {written}").stream.hedge == meant


def test_words_are_words_only_where_they_mean_something(snapshot):
    made = snapshot('listen: [{address: "unix:/s", group: auto}]\nlog: {output: "off"}')
    assert made.settings.listen[0].group == "auto"
    assert made.settings.log.output == "off"
    assert snapshot("health: {mode: off}" + "\n" + LOCAL).providers["a"].health.mode is HealthMode.OFF


def test_stream_keys_of_a_route_that_do_nothing_are_warned_of(snapshot):
    made = snapshot(chain("[a/x, b/y]\n    hold: {events: 1}\n    hedge: {}"))
    assert made.warnings == (
        "routes.r.hedge: has no effect: no item of the chain is a map of several targets",
        "routes.r.hold: has no effect without stream: hold; this route has live",
    )


def test_checks_that_cost_tokens_say_how_many(snapshot):
    made = snapshot("health: {mode: completion, completions_per_day: 9}\nproviders: {a: {type: ollama, model: m}}")
    assert made.providers["a"].health.completions_per_day == 9
    assert made.warnings == (
        "providers.a.health: mode: completion costs a token for each check, "
        "at most 9 a day (health.completions_per_day)",
    )


def test_a_limit_is_auto_one_duration_or_bounds(snapshot):
    def made(wide, narrow):
        return snapshot(f"timeouts: {{first_token: {wide}}}\n" + chain(f"[a]\n    timeouts: {{first_token: {narrow}}}"))

    one = made("9s", "auto")
    assert one.timeouts.first_token.fixed_s == 9
    assert one.routes["r"].timeouts.first_token.fixed_s is None
    assert made("9s", "{min: 1s}").routes["r"].timeouts.first_token == AutoLimit(min_s=1)


def test_what_belongs_to_the_daemon(snapshot):
    settings = snapshot(
        """
listen: ["[::1]:4141", {address: "unix:/run/s.sock", mode: "0666", group: app, allowed_hosts: [x.test]}]
admin: {listen: unix:/run/a.sock}
log: {level: debug, output: /var/log/s, format: console}
drain: {timeout: 5m, accept_for: 0s}
limits: {max_body: 1MB, header_timeout: 250ms}
wire: plain
"""
    ).settings
    assert settings.listen == (
        ListenSettings("[::1]:4141"),
        ListenSettings("unix:/run/s.sock", 0o666, "app", allowed_hosts=("x.test",)),
    )
    assert settings.admin == ListenSettings("unix:/run/a.sock", mode=0o600)
    assert (settings.log.level, settings.log.output, settings.log.format) == ("debug", "/var/log/s", "console")
    assert (settings.drain.timeout_s, settings.limits.max_body_bytes, settings.limits.header_timeout_s) == (
        300,
        10**6,
        0.25,
    )
    assert settings.wire is Wire.PLAIN


def test_a_provider_with_everything(snapshot):
    provider = snapshot(
        """
providers:
  main:
    type: openai
    base_url: https://proxy.test/v1/
    api_key: k
    dialects: [openai-chat]
    headers: {OpenAI-Organization: org}
    params: {set: {store: false, n: [1, null, {a: off}]}, default: {temperature: 0.5}, drop: [user]}
    model: m
    models:
      m: {context: 1000, max_output: 10, tools: true, images: false, reasoning: true, price: {input: 1.5}}
      gpt-5-x: {tools: true}
    transport: aiohttp
    trust_env: true
    tls: {ca_file: ca.pem}
""",
        files={"ca.pem": "CA"},
    ).providers["main"]
    assert (provider.base_url, provider.model, provider.transport) == (
        "https://proxy.test/v1",
        "m",
        TransportName.AIOHTTP,
    )
    assert (provider.auth.scheme, provider.auth.key) == (AuthScheme.BEARER, Secret("k"))
    assert provider.params.set == {"store": b"false", "n": b'[1,null,{"a":"off"}]'}
    assert (provider.params.default, provider.params.drop) == ({"temperature": b"0.5"}, {"user"})
    assert provider.facts("m") == ModelFacts(1000, 10, True, False, True, Price(1.5, 0.0))
    assert provider.facts("gpt-5-x") == ModelFacts(tools=True, reasoning=True)
    assert provider.facts("o3-mini") == ModelFacts(reasoning=True)
    assert provider.facts("gpt-4.1") == ModelFacts()
    assert provider.tls == Tls("/conf/ca.pem", contents="CA")
    assert provider.trust_env


def test_a_providers_name_may_be_its_type(snapshot):
    assert snapshot("providers: {ollama: {}}").providers["ollama"].type == "ollama"


def test_the_key_comes_from_the_types_variable_for_the_vendors_own_host_only(snapshot):
    env = {"OPENAI_API_KEY": "k"}
    home = snapshot("providers: {openai: {}}", env=env)
    assert home.providers["openai"].auth.key == Secret("k")
    assert home.providers["openai"].auth.source == "${OPENAI_API_KEY}"
    assert home.secrets == {Secret("k")}
    away = snapshot("providers: {openai: {base_url: 'https://other.test/v1'}}", env=env)
    assert away.providers["openai"].auth.key is None
    assert away.secrets == frozenset()
    assert away.warnings == (
        "providers.openai: no api_key, and $OPENAI_API_KEY is for another host; if this one may have it, write "
        "api_key: ${OPENAI_API_KEY}; its targets are skipped",
    )


def test_a_missing_key_is_a_warning(snapshot):
    made = snapshot("providers: {openai: {}, gemini: {}, ollama: {}, vllm: {}}")
    assert made.warnings == (
        "providers.openai: no api_key and $OPENAI_API_KEY is not set; its targets are skipped",
        "providers.gemini: no api_key and $GEMINI_API_KEY or $GOOGLE_API_KEY is not set; its targets are skipped",
    )
    assert (made.providers["openai"].auth.scheme, made.providers["openai"].auth.key) == (AuthScheme.BEARER, None)
    assert made.providers["ollama"].auth.scheme is AuthScheme.NONE


def test_a_server_of_ones_own_may_have_a_key(snapshot):
    auth = (
        snapshot("providers: {vllm: {base_url: 'https://gpu.test/v1'}}", env={"VLLM_API_KEY": "k"})
        .providers["vllm"]
        .auth
    )
    assert (auth.scheme, auth.key) == (AuthScheme.BEARER, Secret("k"))


@pytest.mark.parametrize(
    ("type_", "url", "whole"),
    [
        ("ollama", "http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1/chat/completions"),
        ("ollama", "http://[::1]:11434/", "http://[::1]:11434/v1/chat/completions"),
        ("anthropic", "https://api.anthropic.com/v1/", "https://api.anthropic.com/v1/messages"),
        ("gemini", "https://g.test/v1beta/openai/", "https://g.test/v1beta/models/{model}:generateContent"),
        ("gemini", "https://g.test", "https://g.test/v1beta/models/{model}:generateContent"),
        ("openai", "https://g.test:8443/x/v1", "https://g.test:8443/x/v1/chat/completions"),
    ],
)
def test_a_base_url_is_taken_with_and_without_what_the_paths_carry(snapshot, type_, url, whole):
    provider = snapshot(f"providers: {{p: {{type: {type_}, base_url: '{url}', api_key: k}}}}").providers["p"]
    assert provider.base_url + provider.paths[ENDPOINT_OF[provider.dialects[0]]] == whole


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://h", "starts with https://"),
        ("h/v1", "starts with https://"),
        ("https://u:hunter2@h", "no user or password"),
        ("https://h?x=1", "no query or fragment"),
        ("https://h#", "no query or fragment"),
        ("https://", "names no host"),
        ("https://h:99999", "check its host and port"),
        ("https://a b", "names no host"),
        ("https://h/../x", "path"),
        ("https://h//x", "path"),
        ("http://example.com", "use https"),
        ("http://127.0.0.1.example.com", "use https"),
        ("http://169.254.169.254", "use https"),
    ],
)
def test_addresses_that_are_refused(problems, url, reason):
    (told,) = problems(f"providers: {{p: {{type: openai-compatible, base_url: '{url}'}}}}")
    assert told.startswith("sidecar.yaml:1:52: providers.p.base_url: ")
    assert reason in told
    assert "hunter2" not in told


@pytest.mark.parametrize("url", ["http://127.0.0.9", "http://localhost:1", "http://[::1]", "https://example.com"])
def test_plain_http_stays_on_this_machine(snapshot, url):
    assert snapshot(f"providers: {{p: {{type: openai-compatible, base_url: '{url}'}}}}").providers["p"].base_url == url


def test_insecure_says_otherwise(snapshot):
    made = snapshot("providers: {p: {type: openai-compatible, base_url: 'http://h.test', insecure: true}}")
    assert made.providers["p"].base_url == "http://h.test"


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_makes_a_provider(snapshot, name):
    preset = PRESETS[name]
    url = ", base_url: 'https://h.test/v1'" if preset.base_url is None else ""
    places = "".join(f", {key}: here" for key in preset.needs | preset.places.keys())
    provider = snapshot(f"providers: {{p: {{type: {name}{url}{places}}}}}").providers["p"]
    for dialect in provider.dialects:
        assert provider.paths[ENDPOINT_OF[dialect]].startswith("/")
    assert not provider.base_url.endswith("/")
    assert (provider.health.mode is HealthMode.MODELS) == (Operation.MODELS in provider.paths)


def test_two_embedded_providers_share_no_address(snapshot):
    providers = snapshot("providers: {a: {type: embedded}, b: {type: embedded, options: {first_token_s: 1}}}").providers
    assert providers["a"].base_url != providers["b"].base_url
    assert providers["a"].transport is TransportName.EMBEDDED
    assert providers["b"].options == {"first_token_s": 1}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        *(
            (f"{name}: x", f"{name.lower()} belongs to the connection or the body and cannot be set")
            for name in (
                "Host",
                "Content-Length",
                "Transfer-Encoding",
                "Connection",
                "Upgrade",
                "TE",
                "Trailer",
                "Expect",
            )
        ),
        ('x-a: "sec\\rret"', "holds a line break or control character, which no header can carry"),
        ('x-a: "sec\\nret"', "holds a line break or control character, which no header can carry"),
        ('x-a: "sec\\0ret"', "holds a line break or control character, which no header can carry"),
        ('x-a: "secr\u20act"', "holds a character outside of Latin-1, which no header can carry"),
        ('"x a": secret', "this is no header's name"),
    ],
)
def test_headers_that_are_refused(problems, header, reason):
    (told,) = problems("providers:\n  a:\n    type: ollama\n    headers: {" + header + "}")
    name = header.rpartition(": ")[0].strip('"')
    assert told == f"sidecar.yaml:4:{15 + header.rindex(': ') + 2}: providers.a.headers.{name}: {reason}"


def test_headers_hold_latin_1_and_each_once(snapshot, problems):
    assert snapshot("providers: {a: {type: ollama, headers: {x-a: café}}}").providers["a"].headers == {"x-a": "café"}
    (told,) = problems("providers: {a: {type: ollama, headers: {x-a: 1a, X-A: 2a}}}")
    assert told.endswith("providers.a.headers.X-A: x-a is given twice; capitals make no difference")


@pytest.mark.parametrize("given", ["providers: {openai: {}}", 'providers: {openai: {api_key: "${OPENAI_API_KEY}"}}'])
@pytest.mark.parametrize("key", ["sk\nsecret", "sk-s€cret"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(problems, given, key):
    (told,) = problems(given, env={"OPENAI_API_KEY": key})
    assert "which no header can carry" in told
    assert "cret" not in told


@pytest.mark.parametrize("address", ["0.0.0.0:4141", "[::]:4141", "192.168.0.7:4141", "example.com:80"])
def test_only_this_machine_is_listened_to(problems, address):
    (told,) = problems(f'listen: [{{address: "{address}"}}]')
    assert told == (
        f"sidecar.yaml:1:20: listen[0].address: {address} can be reached from other machines, so who may use it must "
        "show a token: add auth: {token_file: /path}; or use 127.0.0.1, [::1] or a Unix socket"
    )
    (told,) = problems(f'metrics: {{listen: "{address}"}}')
    assert "must show a token" in told


TOKENS = {"/t": "# of the app\nfirst-token-of-the-app\n\n  second-token-of-the-app  \n"}


def test_other_machines_may_use_what_asks_for_a_token(snapshot):
    made = snapshot('listen: [{address: "0.0.0.0:4141", auth: {token_file: /t}}]', files=TOKENS)
    tokens = (Secret("first-token-of-the-app"), Secret("second-token-of-the-app"))
    assert made.settings.listen[0].auth == ListenAuth("/t", tokens)
    assert made.secrets == frozenset(tokens)
    assert made.warnings == ("routes: there are none; nothing can be answered",)
    assert snapshot('admin: {listen: "127.0.0.1:1", auth: {token_file: /t}}', files=TOKENS).settings.admin.auth
    assert snapshot('metrics: {listen: "10.1.1.1:1", auth: {token_file: /t}}', files=TOKENS).settings.metrics.auth


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n# none\n", "/t holds no token"),
        ("a token with-spaces", "/t:1: a token is printable ASCII without spaces"),
        ("good-enough-token\n\x00-is-no-token-at-all", "/t:2: a token is printable ASCII without spaces"),
        (None, "no such file"),
    ],
)
def test_tokens_that_are_none(problems, text, said):
    config = 'listen: [{address: "127.0.0.1:4141", auth: {token_file: /t}}]'
    (told,) = problems(config, files={} if text is None else {"/t": text})
    assert told.startswith("sidecar.yaml:1:")
    assert "listen[0].auth.token_file" in told
    assert said in told
    assert "spaces-" not in told


def test_a_token_that_is_easy_to_guess_is_warned_of_and_not_shown(snapshot):
    made = snapshot('listen: [{address: "127.0.0.1:4141", auth: {token_file: /t}}]', files={"/t": "hunter2"})
    assert any("/t:1: shorter than 16 characters" in warning for warning in made.warnings)
    assert not any("hunter2" in warning for warning in made.warnings)


@pytest.mark.parametrize("key", ["mode: '0600'", "group: app", "owner: app", "allow_uids: [0]"])
def test_what_only_a_unix_socket_has_is_refused_elsewhere(problems, key):
    (told,) = problems(f'listen: [{{address: "127.0.0.1:1", {key}}}]')
    assert f"listen[0].{key.partition(':')[0]}: only a Unix socket has it" in told


def test_the_admin_plane_over_tcp_asks_for_a_token(problems):
    (told,) = problems('admin: {listen: "127.0.0.1:1"}')
    assert "admin.listen: every process of this machine can reach it: add auth, or use unix:/path" in told


def test_nobody_is_not_a_list_of_uids(problems, snapshot):
    (told,) = problems("listen: [{address: unix:/s, allow_uids: []}]")
    assert "names nobody" in told
    made = snapshot("listen: [{address: unix:/s, allow_uids: [0, 1000], owner: app}]")
    assert (made.settings.listen[0].allow_uids, made.settings.listen[0].owner) == ((0, 1000), "app")


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.8.8.8:1", "[::1]:4141", "localhost:4141", "unix:/s"])
def test_places_of_this_machine(snapshot, address):
    assert snapshot(f'listen: ["{address}"]').settings.listen == (ListenSettings(address),)


def test_a_certificate_is_part_of_its_provider(snapshot):
    text = "providers: {a: {type: ollama, tls: {ca_file: ca, cert_file: c, key_file: k}}}"
    files = {"ca": "1", "c": "2", "k": "3"}
    tls = snapshot(text, files=files).providers["a"].tls
    assert tls == Tls("/conf/ca", "/conf/c", "/conf/k", "1 2 3")
    assert snapshot(text, files={**files, "c": "new"}).providers["a"].tls != tls


def test_certificates_that_cannot_be(problems):
    assert problems("providers:\n  a: {type: ollama, tls: {ca_file: gone, key_file: k}}\n", files={"k": ""}) == [
        "sidecar.yaml:2:36: providers.a.tls.ca_file: no such file",
        "sidecar.yaml:2:52: providers.a.tls.key_file: there is no cert_file that it could be the key of",
    ]


def test_everything_that_is_wrong_is_told_at_once_with_its_place(problems):
    told = problems((HERE / "wrong.yaml").read_text())
    assert set(told) == {f"sidecar.yaml:{line}" for line in (HERE / "wrong.txt").read_text().splitlines()}
    lines = [int(line.split(":")[1]) for line in told]
    assert lines == sorted(lines)


def test_several_files_are_united(snapshot):
    made = snapshot(
        "providers: {a: {type: ollama}}\nlog: {level: debug}\n",
        "providers: {b: {type: vllm}}\nroutes: {r: {chain: [a/x]}}\n",
        "routes: {s: {chain: [b/x]}}\nproviders: # none\n",
    )
    assert (list(made.providers), list(made.routes)) == (["a", "b"], ["r", "s"])
    assert made.source == "1.yaml, 2.yaml, 3.yaml"
    assert list(snapshot("routes:\n", "providers: {a: {type: ollama}}\nroutes: {r: {chain: [a/x]}}\n").routes) == ["r"]


def test_a_name_defined_twice_names_both_places(problems):
    assert problems(
        "providers:\n  a: {type: ollama}\nlog: {}\n",
        "routes: {r: {chain: [q/x]}}\nproviders:\n  a: {type: ollama}\nlog: {}\n",
    ) == [
        '2.yaml:1:22: routes.r.chain[0]: unknown target "q/x": there is no provider "q"; known: a',
        "2.yaml:3:3: providers.a: already defined at 1.yaml:2:3",
        '2.yaml:4:1: log: "log" is already at 1.yaml:3:1; it can be in one file only',
    ]


def test_one_broken_file_does_not_hide_the_others_problems(problems):
    told = problems("a: [\n", "lisen: []\n")
    assert [line[:7] for line in told] == ["1.yaml:", "2.yaml:"]


def test_the_digest_is_that_of_the_texts(snapshot):
    assert snapshot("log: {}").digest != snapshot("log: {} ").digest
    assert snapshot("log: {}", generation=7).digest == snapshot("log: {}").digest
    assert snapshot("log: {}", generation=7).generation == 7


def test_a_thousand_routes_share_one_provider_value(snapshot):
    text = LOCAL + "routes:\n" + "".join(f"  r{n}: {{chain: [{{a/x: 1, b/y: {n}}}, b/z]}}\n" for n in range(1000))
    made = snapshot(text)
    assert len(made.routes) == 1000
    assert all(target.provider is made.providers[target.provider.name] for target in made.routes["r999"].targets)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("opnai", "openai"), ("OPENAI", "openai"), ("oepnai", "openai"), ("groq", None), ("xax", "xai"), ("open", None)],
)
def test_what_was_probably_meant(word, meant):
    assert nearest(word, ["openai", "mistral", "xai"]) == meant


def test_a_hint_shows_some_of_many():
    assert hint("zzz", [f"name{n}" for n in range(20)]).endswith("and 8 more")
    assert hint("zzz", []) == ""


class Empty:
    def env(self, name):
        return None

    def file(self, path):
        raise LookupError("none")

    credential = stamp = file


SCRAPS = st.sampled_from(
    [
        "providers:",
        "routes:",
        "\n",
        "  ",
        "a",
        ": ",
        "[",
        "]",
        "{",
        "}",
        "*",
        "&x ",
        "*x",
        "${A}",
        "- ",
        "chain",
        "1",
        "'",
    ]
)


@given(st.lists(SCRAPS, max_size=30).map("".join) | st.text(max_size=60))
def test_any_text_gives_a_snapshot_or_places(text):
    found = ()
    try:
        load([Source("f", text)], Empty())
    except ConfigErrors as error:
        found = error.problems
    assert all(problem.file == "f" and problem.line > 0 and problem.column > 0 for problem in found)


def test_a_snapshot_holds_values_only(snapshot):
    made = snapshot(chain("[a]"))
    assert msgspec.structs.replace(made) == made
    assert made == snapshot(chain("[a]"))
