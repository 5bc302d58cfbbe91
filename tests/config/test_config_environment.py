"""No file: the environment is the config, and the YAML for it holds no value."""

from __future__ import annotations

import pytest

from sidecar.config import PRESETS, ConfigErrors, Source, chain_text, environment_yaml, from_environment, load
from sidecar.model.secret import Secret


def default(snapshot):
    return chain_text(snapshot.routes["default"].chain)


def test_the_keys_that_are_there_make_the_chain_in_a_fixed_order():
    made = from_environment({"MISTRAL_API_KEY": "m", "OPENAI_API_KEY": "o", "ANTHROPIC_API_KEY": "a"})
    assert default(made) == "[openai/gpt-5.4, anthropic/claude-sonnet-4-6, mistral/mistral-large-latest]"
    assert {name: chain_text(route.chain) for name, route in made.routes.items() if name != "default"} == {
        "gpt-*": "[openai/gpt-*]",
        "claude-*": "[anthropic/claude-*]",
    }
    assert (made.source, made.warnings) == ("environment", ())
    assert made.secrets == {Secret("m"), Secret("o"), Secret("a")}


def test_model_and_address_are_each_vendors_own():
    made = from_environment(
        {
            "OPENAI_API_KEY": "o",
            "OPENAI_BASE_URL": "https://proxy.test/v1",
            "OPENAI_MODEL": "mine: [1]",
            "DEEPSEEK_API_KEY": "d",
            "BASE_URL": "https://thief.test",
            "LLM_BASE_URL": "https://thief.test",
        }
    )
    assert made.providers["openai"].base_url == "https://proxy.test/v1"
    assert made.providers["openai"].model == "mine: [1]"
    assert made.providers["deepseek"].base_url == PRESETS["deepseek"].base_url
    assert made.providers["openai"].auth.key == Secret("o")


def test_google_is_geminis_second_name():
    made = from_environment({"GOOGLE_API_KEY": "g"})
    assert made.providers["gemini"].auth.key == Secret("g")
    assert list(made.routes) == ["default", "gemini-*"]


def test_the_order_can_be_said():
    keys = {"OPENAI_API_KEY": "o", "ANTHROPIC_API_KEY": "a", "GROQ_API_KEY": "g"}
    said = from_environment({**keys, "LLM_PROVIDER": "Groq"})
    assert default(said).startswith("[groq/")
    assert len(said.routes["default"].chain) == 3
    listed = from_environment({**keys, "LLM_FALLBACK_CHAIN": " anthropic , openai,deepseek,", "LLM_PROVIDER": "openai"})
    assert default(listed) == "[openai/gpt-5.4, anthropic/claude-sonnet-4-6]"
    assert listed.warnings == ("$LLM_FALLBACK_CHAIN names deepseek, but $DEEPSEEK_API_KEY is not set; it is skipped",)


@pytest.mark.parametrize("variable", ["LLM_PROVIDER", "LLM_FALLBACK_CHAIN"])
def test_an_unknown_vendor_is_an_error(variable):
    with pytest.raises(ConfigErrors) as raised:
        from_environment({"OPENAI_API_KEY": "o", variable: "opnai"})
    assert str(raised.value) == f'environment:1:1: {variable}: unknown provider "opnai"; did you mean "openai"?'


def test_ollama_comes_last_when_it_is_set_or_found():
    key = {"OPENAI_API_KEY": "o"}
    assert default(from_environment({**key, "OLLAMA_MODEL": "q"})) == "[openai/gpt-5.4, ollama/q]"
    assert default(from_environment(key, ollama_models=["q:7b", "r"])) == "[openai/gpt-5.4, ollama/q:7b]"
    assert default(from_environment({}, ollama_models=["q"])) == "[ollama/q]"
    unnamed = from_environment({**key, "OLLAMA_BASE_URL": "http://127.0.0.1:9"})
    assert default(unnamed) == "[openai/gpt-5.4]"
    assert unnamed.warnings == ("ollama is not in the default route: no model is known; set $OLLAMA_MODEL",)


def test_without_any_key_the_embedded_provider_answers():
    made = from_environment({"OPENAI_API_KEY": "", "OPENAI_MODEL": "x", "GITHUB_TOKEN": "t"}, generation=3)
    assert default(made) == "[embedded/ok]"
    assert (made.source, made.generation) == ("embedded", 3)
    assert made.warnings == ("no config and no key: answering from the embedded provider",)


def test_the_file_for_an_environment_does_the_same_and_holds_no_value():
    env = {
        "OPENAI_API_KEY": "sk-canary",
        "OPENAI_BASE_URL": "https://canary.test/v1",
        "OPENAI_MODEL": "canary",
        "OLLAMA_MODEL": "canary",
        "LLM_PROVIDER": "ollama",
    }
    text = environment_yaml(env)
    assert "canary" not in text
    assert 'api_key: "${OPENAI_API_KEY}"' in text

    class Lookup:
        def env(self, name):
            return env.get(name)

        file = credential = None

    loaded, made = load([Source("sidecar.yaml", text)], Lookup()), from_environment(env)
    assert (loaded.providers, loaded.routes) == (made.providers, made.routes)


def test_an_address_that_cannot_be_used_is_told():
    with pytest.raises(ConfigErrors, match=r"providers\.openai\.base_url: an address holds no user or password"):
        from_environment({"OPENAI_API_KEY": "o", "OPENAI_BASE_URL": "https://u:p@h"})
