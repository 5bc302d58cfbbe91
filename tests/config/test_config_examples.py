"""The examples are configs that a daemon takes, without a warning, and show what they say they show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trustme

from sidecar.model.topology import Snapshot
from sidecar.sources.configuration import ConfigurationManager

EXAMPLES = Path(__file__).resolve().parents[2] / "config" / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.iterdir())


def loaded(name: str, tmp_path: Path) -> Snapshot:
    """It, with files where its own would be, and variables with the names that it asks for."""
    text = (EXAMPLES / f"{name}.yaml").read_text()
    for path in sorted(set(re.findall(r"/etc/sidecar/[\w./-]+", text))):
        file = tmp_path / path.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a-secret-of-more-than-sixteen-characters\n")
        file.chmod(0o600)
    authority = trustme.CA()
    for pattern, blob in (
        ("tls/*-ca.pem", authority.cert_pem),
        ("tls/client.pem", authority.issue_cert("client").cert_chain_pems[0]),
        ("tls/client.key", authority.issue_cert("client").private_key_pem),
    ):
        for file in (tmp_path / "etc/sidecar").glob(pattern):
            blob.write_to_path(file)
    path = tmp_path / "sidecar.yaml"
    path.write_text(text.replace("/etc/sidecar/", f"{tmp_path}/etc/sidecar/"))
    environ = {variable: f"key-of-{variable}" for variable in re.findall(r"\$\{([A-Z_]+)\}", text)}
    return ConfigurationManager(str(path), environ=environ).load()


@pytest.mark.parametrize("name", NAMES)
def test_a_daemon_takes_it(name: str, tmp_path: Path) -> None:
    snapshot = loaded(name, tmp_path)
    assert snapshot.warnings == ()
    assert snapshot.routes


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_for_and_editors_know_its_schema(name: str) -> None:
    lines = (EXAMPLES / f"{name}.yaml").read_text().splitlines()
    assert (EXAMPLES / lines[0].partition("$schema=")[2]).resolve().is_file()
    assert sum(line.startswith("# ") for line in lines) > 1


def test_the_documentation_names_all_of_them() -> None:
    page = (EXAMPLES.parents[1] / "docs" / "operations.md").read_text()
    assert [name for name in NAMES if f"config/examples/{name}.yaml" not in page] == []
