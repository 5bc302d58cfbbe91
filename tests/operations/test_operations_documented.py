"""docs/operations.md and docs/security.md name commands, keys, files, metrics and alerts that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sidecar.cli.arguments import parse
from sidecar.config import Source, load
from sidecar.config.jsonschema import json_schema
from sidecar.model.failures import Kind
from sidecar.sources.environment import Environment
from sidecar.sources.lookup import SystemLookup

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
SECURITY = (ROOT / "docs" / "security.md").read_text()
UNITS = ROOT / "systemd"


def blocks(language: str) -> list[str]:
    every = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [code for found, code in every if found == language]


def commands() -> Iterator[list[str]]:
    """Every command line, of blocks and of running text."""
    lines = [*"".join(blocks("sh")).splitlines(), *re.findall(r"`([^`\n]+)`", PAGE)]
    lines += [line[2:] for block in blocks("") for line in block.splitlines() if line.startswith("$ ")]
    for line in lines:
        for part in line.split("&&"):
            try:
                yield shlex.split(part)
            except ValueError:  # a text that is no command
                continue


def told(program: str) -> list[list[str]]:
    """The arguments of every use of a program, by whatever path, also inside a container."""
    uses = []
    for words in commands():
        at = [number for number, word in enumerate(words) if word == program or word.endswith(f"/bin/{program}")]
        if at and (at[0] == 0 or words[:2] in (["kubectl", "exec"], ["docker", "exec"])):
            uses.append(words[at[-1] + 1 :])
    return [use for use in uses if use]


@pytest.mark.parametrize("arguments", told("sidecar"), ids=" ".join)
def test_every_command_of_the_sidecar_is_one(arguments: list[str]) -> None:
    assert parse(arguments).function


def test_the_commands_that_a_page_for_operators_needs_are_there() -> None:
    assert {arguments[0] for arguments in told("sidecar")} >= {
        *("check", "drain", "explain", "health", "reload", "reset", "stats", "status", "tail", "weight"),
    }
    assert len(blocks("sh")[0].splitlines()) == 5, "systemd is five commands"


def test_every_path_of_the_repository_exists() -> None:
    linked = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGE)
    assert len(linked) > 10
    assert [path for path in linked if not (ROOT / "docs" / path).exists()] == []
    named = re.findall(r"\bconfig/[\w./-]+", PAGE)
    assert [path for path in named if not (ROOT / path.rstrip(".")).exists()] == []


def test_every_link_into_a_page_has_its_heading() -> None:
    for page, anchor in re.findall(r"\]\(([\w.]*)#([^)]+)\)", PAGE):
        text = (ROOT / "docs" / page).read_text() if page else PAGE
        headings = {
            re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)", text, re.M)
        }
        assert anchor in headings, f"{page}#{anchor}"


def test_every_config_block_is_one_that_a_daemon_takes(tmp_path: Path) -> None:
    (tmp_path / "openai_api_key").write_text("k")
    environ = Environment.capture({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    for text in blocks("yaml"):
        whole = (
            text
            if "providers:" in text
            else f"providers: {{a: {{type: embedded}}}}\nroutes: {{default: {{chain: [a/ok]}}}}\n{text}"
        )
        assert load((Source("sidecar.yaml", whole),), SystemLookup(environ, str(tmp_path))).warnings == ()


def test_every_dotted_key_is_one_of_the_configs() -> None:
    schema = json_schema()
    for name in ("drain.timeout", "drain.accept_for", "auth: {token_file", "allow_uids", "allowed_hosts"):
        assert f"`{name}" in PAGE
    properties = _properties(schema)
    for section, key in set(re.findall(r"`(drain|metrics|admin|resilience|limits)\.(\w+)`", PAGE)):
        assert {section, key} <= properties


def _properties(schema: object) -> set[str]:
    if isinstance(schema, dict):
        own = set(schema.get("properties", {}))
        return own.union(*map(_properties, schema.values()))
    return set().union(*map(_properties, schema)) if isinstance(schema, list) else set()


def test_what_the_page_says_of_the_units_is_in_them() -> None:
    service, sockets = ((UNITS / f"sidecar.{kind}").read_text() for kind in ("service", "socket"))
    for name in ("openai_api_key", "anthropic_api_key", "gemini_api_key"):
        assert f"LoadCredential={name}" in service
        assert f"`{name}`" in PAGE
    assert "ListenStream=/run/sidecar/sidecar.sock" in sockets
    assert "ListenStream=/run/sidecar-%i/sidecar.sock" in (UNITS / "sidecar@.socket").read_text()
    assert "ExecStart=/opt/llm-sidecar/bin/sidecar serve --config /etc/sidecar/sidecar.yaml" in service
    assert "WatchdogSec=30s" in service


def test_the_alerts_of_the_page_are_those_of_the_file() -> None:
    groups = yaml.safe_load((ROOT / "config" / "prometheus" / "alerts.yaml").read_text())["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    assert re.findall(r"^\| `(Sidecar\w+)` \|", PAGE, re.MULTILINE) == alerts


def test_the_status_that_is_shown_names_real_kinds() -> None:
    kinds = re.findall(r"open    (\w+): ", PAGE)
    assert kinds
    assert set(kinds) <= {str(kind) for kind in Kind}


# -- the threat model


def test_the_threat_model_says_of_each_threat_what_is_done_and_what_is_left() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$", SECURITY, re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, 15))
    for number, *_ in rows:
        assert list((ROOT / "tests" / "threats").glob(f"test_{int(number):02}_*.py")), number


def test_the_threat_model_says_who_sees_the_environment() -> None:
    assert "/proc/PID/environ" in SECURITY
