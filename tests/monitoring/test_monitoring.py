"""The alerts and the dashboard ask for what a running daemon really shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from sidecar.model.failures import Kind
from sidecar.model.records import Outcome
from tests.daemon import RunningDaemon

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "config" / "prometheus" / "alerts.yaml"
DASHBOARD = json.loads((ROOT / "config" / "grafana" / "sidecar.json").read_text())
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]

PROMETHEUS_OWN = {"up": {"job", "instance"}}  # of every target that is scraped
TARGET_LABELS = {"job", "instance"}
METRIC = re.compile(r"\b((?:sidecar|gen_ai)_\w+|up)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\bby \(([^)]*)\)")
VALUES = {"outcome": set(Outcome), "kind": {*Kind, ""}, "error_type": {*Kind, ""}}

CONFIG = """
metrics: {listen: "127.0.0.1:0"}
providers:
  a:
    type: embedded
    models: {ok: {price: {input: 1, output: 1}}}
routes:
  default: {chain: [a/ok]}
  broken: {chain: [a/down]}
health: {interval: 1h}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shown(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, set[str]]]:
    """Every sample that a daemon shows after some requests, with its labels; also those that have had no reason yet."""
    async with RunningDaemon(tmp_path_factory.mktemp("daemon"), CONFIG) as daemon:
        for model in ("default", "broken"):
            await daemon.chat(model)
            await daemon.chat(model, stream=True)
        await daemon.admin("POST", "/health-check")
        _, text = await daemon.admin("GET", "/metrics")
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    yield labels


def expressions() -> Iterator[str]:
    """Every query of the alerts and of the dashboard, a variable's and an annotation's included."""
    yield from (rule["expr"] for rule in RULES)
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    yield from (each["expr"] for each in DASHBOARD["annotations"]["list"])
    yield from (each["definition"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query")


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@pytest.mark.asyncio(loop_scope="module")
async def test_every_metric_and_label_is_one_that_a_daemon_shows(shown: dict[str, set[str]]) -> None:
    asked = 0
    for expression in expressions():
        for name, matchers in METRIC.findall(GROUPING.sub("", expression)):
            labels = PROMETHEUS_OWN.get(name) or shown.get(name)
            assert labels is not None, f"no {name} in {sorted(shown)}"
            asked += 1
            for label, _, _ in MATCHER.findall(matchers):
                assert label in labels | TARGET_LABELS, f"{name} has no {label}"
    assert asked > 40


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_grouped_by_is_a_label_of_what_is_grouped(shown: dict[str, set[str]]) -> None:
    for expression in expressions():
        named = {name for name, _ in METRIC.findall(GROUPING.sub("", expression))}
        there = TARGET_LABELS.union(*(shown.get(name, set()) for name in named))
        there |= set(re.findall(r'label_replace\([^"]*(?:"[^"]*"[^"]*)*?\), "(\w+)"', expression))
        for grouping in GROUPING.findall(expression):
            assert {label.strip() for label in grouping.split(",")} <= there, expression


def test_every_outcome_and_kind_is_one_that_there_is() -> None:
    found = 0
    for expression in expressions():
        for label, _, values in MATCHER.findall(expression):
            if label in VALUES:
                found += 1
                assert set(values.split("|")) <= VALUES[label], f"{label}={values}"
    assert found > 10


def test_the_state_that_alerts_is_the_one_that_the_dashboard_calls_open() -> None:
    [breakers] = [panel for panel in panels() if panel["type"] == "state-timeline"]
    [mapping] = breakers["fieldConfig"]["defaults"]["mappings"]
    texts = {number: value["text"] for number, value in mapping["options"].items()}
    assert texts == {"0": "closed", "1": "slow start", "2": "half open", "3": "open"}
    [rule] = [rule for rule in RULES if rule["alert"] == "SidecarTargetOpen"]
    assert rule["expr"].endswith("== 3")


def test_an_alert_says_what_is_wrong_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 8
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert all(rule["annotations"][key].strip() for key in ("summary", "description"))


def test_every_panel_asks_for_something_and_has_a_place_of_its_own() -> None:
    assert len(panels()) > 12
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len({panel["title"] for panel in panels()}) == len(panels())
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in panels():
        assert panel["targets"]
        assert all(target["expr"].strip() for target in panel["targets"])
        assert panel["datasource"]["uid"] == "${datasource}"


def test_the_dashboard_uses_no_variable_that_it_does_not_have() -> None:
    has = {variable["name"] for variable in DASHBOARD["templating"]["list"]} | {"__rate_interval", "__all"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) == has


# -- by Prometheus' own tool


def promtool(directory: Path, *arguments: str) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run([program, *arguments], cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_alerts(tmp_path: Path) -> None:
    assert f"{len(RULES)} rules found" in promtool(tmp_path, "check", "rules", str(ALERTS))


def test_prometheus_takes_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    rules = [
        {"record": f"query:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(expressions)
    ]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool(tmp_path, "check", "rules", "queries.yaml")


def test_each_alert_fires_in_its_trouble_and_none_without(tmp_path: Path) -> None:
    played = Path(__file__).with_name("alerts_test.yaml")
    for path in (ALERTS, played):
        shutil.copy(path, tmp_path)
    assert "SUCCESS" in promtool(tmp_path, "test", "rules", played.name)
    assert all(rule["alert"] in played.read_text() for rule in RULES)
