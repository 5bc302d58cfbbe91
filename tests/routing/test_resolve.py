from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.errors import LLMError
from sidecar.model.failures import Kind
from sidecar.model.settings import AttemptSettings, Timeouts
from sidecar.model.topology import Route, Snapshot
from sidecar.routing.resolve import Router
from tests.routing.simulator import chain, pool, provider, snapshot, target


def config(**fields: object) -> Snapshot:
    return snapshot(
        chain(target("openai/gpt-5"), target("local/qwen3"), name="default"),
        chain(target("openai/gpt-5-mini"), name="fast"),
        Route("gpt-*", (pool("gpt-*[0]", target("openai/gpt-*"), target("claude/sonnet")),)),
        chain(target("openai/pinned"), name="gpt-4*"),
        chain(target("claude/*"), name="eu/*"),
        providers=[provider("local", model="qwen3"), provider("claude")],
        timeouts=Timeouts(total_s=77.0),
        attempts=AttemptSettings(max_attempts=5),
    )


def keys(model: str, override: str | None = None) -> list[str]:
    return [one.key for one in Router(config()).resolve(model, override=override).targets]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("fast", ["openai/gpt-5-mini"]),
        ("gpt-5.4", ["openai/gpt-5.4", "claude/sonnet"]),
        ("gpt-4o", ["openai/pinned"]),  # the longer pattern
        ("gpt-", ["openai/gpt-", "claude/sonnet"]),
        ("eu/opus", ["claude/opus"]),
        ("openai/o3", ["openai/o3"]),
        ("claude/a/b", ["claude/a/b"]),
        ("local", ["local/qwen3"]),
        ("whatever", ["openai/gpt-5", "local/qwen3"]),
        ("meta/llama", ["openai/gpt-5", "local/qwen3"]),
        ("claud", ["openai/gpt-5", "local/qwen3"]),  # no segment of a longer name: a model
    ],
)
def test_a_model_means(model: str, expected: list[str]) -> None:
    assert keys(model) == expected


def test_a_strict_name_is_one_target_with_the_top_levels_limits() -> None:
    route = Router(config()).resolve("openai/o3")
    assert (route.strict, route.minted) == (True, True)
    assert (route.timeouts.total_s, route.attempts.max_attempts) == (77.0, 5)


def test_a_strict_name_is_a_target_whatever_route_has_it() -> None:
    router = Router(snapshot(chain(target("openai/gpt-5"), name="*"), providers=[provider("local", model="qwen3")]))
    assert router.resolve("local").name == "*"
    assert [one.key for name in ("local", "local/x") for one in router.strict(name).targets] == [
        "local/qwen3",
        "local/x",
    ]
    with pytest.raises(LLMError, match="providers: openai, local"):
        router.strict("nobody/x")


@pytest.mark.parametrize(
    ("model", "minted"),
    [("openai/gpt-5", False), ("local/qwen3", False), ("local", False), ("local/other", True), ("gpt-5", False)],
)
def test_only_what_the_config_does_not_name_is_minted(model: str, minted: bool) -> None:
    assert Router(config()).resolve(model).minted is minted


def test_a_patterns_pools_keep_their_keys() -> None:
    router = Router(config())
    assert {router.resolve(model).chain[0].key for model in ("gpt-5", "gpt-6")} == {"gpt-*[0]"}


def test_a_route_made_of_text_is_made_once_while_it_is_used() -> None:
    router = Router(config())
    kept, lost = router.resolve("openai/kept"), router.resolve("openai/lost")
    for i in range(998):
        router.resolve(f"openai/{i}")
    assert router.resolve("openai/kept") is kept
    router.resolve("openai/one-more")
    assert router.resolve("openai/kept") is kept
    assert router.resolve("openai/lost") is not lost


def test_an_override_names_an_existing_route() -> None:
    assert keys("gpt-5", "fast") == ["openai/gpt-5-mini"]
    assert keys("gpt-5", "gpt-*") == ["openai/gpt-5", "claude/sonnet"]


@pytest.mark.parametrize(
    ("model", "override", "message"),
    [
        ("opnai/gpt-5", None, r'did you mean "openai/gpt-5"\?'),
        ("cluade/x", None, r'did you mean "claude/x"\?'),
        ("openai", None, "without a default model"),
        ("openai/", None, "without a default model"),
        ("eu/", None, "leaves no model"),
        ("gpt-5", "fsat", 'no route "fsat"; routes: default, fast, .*; providers: openai, local, claude'),
        ("other", "gpt-*", "does not match"),
    ],
)
def test_a_mistake_is_told(model: str, override: str | None, message: str) -> None:
    with pytest.raises(LLMError, match=message) as caught:
        keys(model, override)
    assert caught.value.failure.kind is Kind.NO_ROUTE
    assert caught.value.failure.client_status == 404


def test_without_a_default_the_message_lists_what_exists() -> None:
    router = Router(snapshot(chain(target("openai/gpt-5"), name="fast")))
    with pytest.raises(LLMError, match="routes: fast; providers: openai"):
        router.resolve("whatever")


def test_a_swap_of_neighbours_is_one_slip() -> None:
    router = Router(snapshot(chain(target("bad/m"), name="default")))
    with pytest.raises(LLMError, match='did you mean "bad/m"'):
        router.resolve("bda/m")
    assert router.resolve("abc/m").name == "default"


def test_short_provider_names_are_not_mistaken_for_each_other() -> None:
    router = Router(snapshot(chain(target("eu/m"), name="default")))
    assert router.resolve("us/m").name == "default"


def test_a_message_is_bounded_whatever_the_client_named() -> None:
    router = Router(snapshot(chain(target("openai/gpt-5"), name="fast")))
    with pytest.raises(LLMError) as caught:
        router.resolve("x" * 100_000)
    assert len(str(caught.value)) < 1000


@given(st.text(max_size=30))
def test_any_text_resolves_or_is_told(model: str) -> None:
    router = Router(config())
    try:
        route = router.resolve(model)
    except LLMError as error:
        kind = error.failure.kind
    else:
        kind = None
        assert router.resolve(model) is route
    assert kind in {None, Kind.NO_ROUTE}


@given(st.text("ab/", max_size=6), st.text("ab/", max_size=6), st.text("ab/", max_size=8))
def test_a_pattern_matches_what_its_parts_enclose(prefix: str, suffix: str, model: str) -> None:
    name = f"{prefix}*{suffix}"
    router = Router(snapshot(chain(target("p/x*y"), name=name), chain(target("p/d"), name="default")))
    matches = model.startswith(prefix) and model.endswith(suffix) and len(model) >= len(prefix) + len(suffix)
    if matches:
        middle = model[len(prefix) : len(model) - len(suffix)]
        assert [one.model for one in router.resolve(model).targets] == [f"x{middle}y"]
    elif model:
        assert router.resolve(model).name != name
