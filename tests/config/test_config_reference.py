"""The reference config, the demo, the editor's schema and the documentation say what the schema says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from sidecar.config import PRESETS, Source, Stamp, chain_text, json_schema, load
from sidecar.config.shape import paths
from sidecar.model.settings import AttemptSettings, BreakerSettings, HealthSettings, Settings, StreamSettings, Timeouts
from sidecar.model.topology import Operation, Quirk

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "config/sidecar.yaml").read_text()
DOCS = (ROOT / "docs/configuration.md").read_text()
PROVIDERS = (ROOT / "docs/providers.md").read_text()
KEYS = sorted({key for path in paths() if (key := path.rpartition(".")[2]) != "NAME"})


def test_the_reference_config_loads_and_says_the_defaults(snapshot):
    made = snapshot(REFERENCE, env={"OPENAI_API_KEY": "o", "ANTHROPIC_API_KEY": "a"})
    assert made.warnings == ()
    assert (made.settings, made.timeouts, made.attempts) == (Settings(), Timeouts(), AttemptSettings())
    assert made.stream == StreamSettings()
    openai = made.providers["openai"]
    assert (openai.breaker, openai.health, openai.max_inflight) == (BreakerSettings(), HealthSettings(), 2048)


def test_the_demo_needs_nothing_and_does_what_it_says(snapshot):
    made = snapshot((ROOT / "config/demo.yaml").read_text())
    assert made.warnings == ()
    assert {name: chain_text(route.chain) for name, route in made.routes.items()} == {
        "default": "[alpha/ok, beta/ok]",
        "fragile": "[alpha/down, beta/ok]",
        "split": "[{alpha/ok: 70, beta/ok: 30}]",
    }


def test_the_published_schema_is_in_step():
    published = json.loads((ROOT / "config/sidecar.schema.json").read_text())
    assert published == json_schema(), "write it anew: sidecar schema > config/sidecar.schema.json"


@pytest.mark.parametrize("name", ["sidecar.yaml", "demo.yaml"])
def test_the_schema_accepts_what_the_loader_accepts(name):
    jsonschema.Draft202012Validator.check_schema(json_schema())
    document = yaml.load((ROOT / "config" / name).read_text(), Loader=yaml.BaseLoader)
    document = json.loads(json.dumps(document), object_hook=lambda entry: {k: _core(v) for k, v in entry.items()})
    jsonschema.Draft202012Validator(json_schema()).validate(document)


def _core(value):
    return json.loads(value) if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?|true|false", value) else value


def test_the_schema_refuses_what_the_loader_refuses():
    validator = jsonschema.Draft202012Validator(json_schema())
    wrong = [{"lisen": []}, {"timeouts": {"idle": 30}}, {"routes": {"a": {}}}, {"log": {"level": "INFO"}}]
    wrong += [{"hedge": {"max_extra_load": "x%"}}, {"hedge": "on"}, {"stream": "off"}, {"sse_keepalive": 15}]
    assert all(not validator.is_valid(document) for document in wrong)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_in_the_reference_config_and_in_the_documentation(key):
    assert re.search(rf"(?<![\w-]){key}:", REFERENCE), "missing in config/sidecar.yaml"
    assert f"| `{key}` |" in DOCS, "missing in docs/configuration.md"


def test_the_documentation_gives_every_default_and_description():
    schema = json_schema()
    for section in (schema, *schema["$defs"].values()):
        for key, described in section["properties"].items():
            rows = [row for row in DOCS.splitlines() if row.startswith(f"| `{key}` |")]
            default = described.get("default")
            written = "" if default is None else default if isinstance(default, str) else json.dumps(default)
            assert any(described["description"] in row and written in row for row in rows), (key, default)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_type_is_in_the_documentation_as_it_is(name):
    preset = PRESETS[name]
    (row,) = [row for row in PROVIDERS.splitlines() if row.startswith(f"| `{name}` |")]
    _, spoken, address, key, check, quirks = (cell.strip() for cell in row.strip("|").split("|"))
    assert spoken == ", ".join(f"`{dialect}`" for dialect in preset.dialects)
    assert quirks == ", ".join(f"`{quirk}`" for quirk in sorted(preset.quirks))
    assert check == ("model list" if Operation.MODELS in preset.paths else "connects")
    assert re.findall("`([^`]+)`", key) == list(preset.keys)
    assert ("(optional)" in key) == (bool(preset.keys) and not preset.needs_key)
    known = preset.base_url is not None and name != "embedded"
    shown = ".*".join(map(re.escape, re.split(r"\{\w+\}", preset.base_url or "")))
    assert not known or re.fullmatch(f"`{shown}`", address)


def test_every_quirk_is_in_the_documentation():
    rows = re.findall(r"^\| `([a-z_]+)` \| (?!`)", PROVIDERS, re.MULTILINE)
    assert set(rows) == {quirk.value for quirk in Quirk}


class Anything:
    env = staticmethod(lambda name: "x" if name.isupper() else None)
    file = staticmethod(lambda path: '{"type": "service_account"}')
    credential = file
    stamp = staticmethod(lambda path: Stamp(path, "x"))
    installed = staticmethod(lambda module: True)


def test_the_documentations_examples_load():
    examples = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    assert len(examples) == 2
    made = load([Source("example", examples[0])], Anything())
    assert chain_text(made.routes["default"].chain) == "[openai/gpt-5.4, claude/claude-sonnet-4-6]"


def test_the_examples_of_clouds_load():
    for example in re.findall(r"```yaml\n(.*?)```", PROVIDERS, re.DOTALL):
        assert load([Source("example", example)], Anything()).providers
