"""The house keeps its own rules: what no single test of a room would notice being broken."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "sidecar").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LOCKS = ("requirements.lock", "requirements-dev.lock")

AIOHTTP_FROM, AIOHTTP_BELOW = (3, 14, 3), (3, 15)
LINES_MAX = 500

SKIPS = {"skip", "skipif", "xfail", "importorskip"}
POSITIONAL = {"pytest.skip", "pytest.xfail", "pytest.mark.skip"}  # their first argument is the reason


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# -- skipped tests


def unexplained(source: str) -> Iterator[int]:
    """The lines that skip a test, or expect it to fail, without saying why."""
    if not any(name in source for name in SKIPS):
        return
    tree = ast.parse(source)
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "pytest":
            # A bare name would escape the rest of this check.
            yield from (node.lineno for alias in node.names if alias.name in SKIPS)
        if not isinstance(node, ast.Attribute) or node.attr not in SKIPS:
            continue
        name = ast.unparse(node)
        if not name.startswith("pytest."):
            continue
        call = called.get(id(node))
        if call is None or not _has_reason(name, call):
            yield node.lineno


def _has_reason(name: str, call: ast.Call) -> bool:
    reasons = [keyword.value for keyword in call.keywords if keyword.arg == "reason"]
    if name in POSITIONAL:
        reasons += call.args[:1]
    return any(not isinstance(reason, ast.Constant) or str(reason.value or "").strip() for reason in reasons)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("@pytest.mark.skip\ndef test(): ...", [1]),
        ("x = 1\npytest.skip()", [2]),
        ("pytest.skip('')", [1]),
        ("pytest.mark.skipif(linux)", [1]),
        ("pytest.mark.xfail(strict=True)", [1]),
        ("pytest.importorskip('x')", [1]),
        ("from pytest import skip", [1]),
        ("pytest.skip('needs root')", []),
        ("pytest.mark.skipif(linux, reason='no inotify')", []),
        ("pytest.mark.xfail(reason=why)", []),
        ("record.skip()", []),
    ],
)
def test_the_check_for_skips_finds_them(source: str, lines: list[int]) -> None:
    assert list(unexplained(source)) == lines


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_no_test_is_skipped_without_a_reason(path: Path) -> None:
    assert list(unexplained(path.read_text())) == []


# -- sources


def blocking_sleeps(source: str) -> Iterator[int]:
    """The lines that would stop the event loop: time.sleep, also under another name."""
    if "sleep" not in source:
        return
    tree = ast.parse(source)
    modules = {"time"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname for alias in node.names if alias.name == "time" and alias.asname}
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (node.lineno for alias in node.names if alias.name == "sleep")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "sleep" and ast.unparse(node.value) in modules:
            yield node.lineno


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import time\ntime.sleep(1)", [2]),
        ("import time as clock\nclock.sleep(1)", [2]),
        ("from time import monotonic, sleep", [1]),
        ("import asyncio\nasyncio.sleep(1)", []),
        ("# time.sleep(1)", []),
    ],
)
def test_the_check_for_blocking_sleeps_finds_them(source: str, lines: list[int]) -> None:
    assert list(blocking_sleeps(source)) == lines


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_source_blocks_the_loop_by_sleeping(path: Path) -> None:
    assert list(blocking_sleeps(path.read_text())) == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_says_what_it_knows(path: Path) -> None:
    assert (ast.get_docstring(ast.parse(path.read_text())) or "").strip()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_module_outgrows_its_room(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES_MAX


def test_imports_go_down_only() -> None:
    tool = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# -- dependencies


def pins(lock: str) -> dict[str, list[str]]:
    """Every requirement line of a lock file (what stands before its options), with its hashes."""
    found: dict[str, list[str]] = {}
    joined = re.sub(r"\\\n", " ", lock)
    for line in joined.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            requirement, _, options = line.partition(" --")
            found[requirement.strip()] = re.findall(r"hash=(sha256:[0-9a-f]{64})\b", options)
    return found


def name_and_version(requirement: str) -> tuple[str, str]:
    """`name==1.2 ; marker` as its two parts; a requirement that pins nothing has no version."""
    pinned, _, _ = requirement.partition(";")
    name, _, version = pinned.strip().partition("==")
    return re.sub(r"[-_.]+", "-", name).lower(), version


def release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_the_reader_of_locks_sees_what_is_missing() -> None:
    digest = "a" * 64
    lock = f"one==1.0 \\\n    --hash=sha256:{digest} \\\n    --hash=sha256:{digest}\n    # via x\ntwo>=2\nthree==3\n"
    assert {name: len(hashes) for name, hashes in pins(lock).items()} == {"one==1.0": 2, "two>=2": 0, "three==3": 0}
    assert name_and_version("Two_x==2 ; sys_platform == 'win32'") == ("two-x", "2")
    assert name_and_version("two>=2")[1] == ""


@pytest.mark.parametrize("name", [*LOCKS, "requirements-build.lock"])
def test_every_pin_of_a_lock_file_has_its_hashes(name: str) -> None:
    found = pins((ROOT / name).read_text())
    assert len(found) > 5
    assert [requirement for requirement, hashes in found.items() if not hashes] == []
    assert [requirement for requirement in found if not name_and_version(requirement)[1]] == []


def dependencies() -> list[str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


@pytest.mark.parametrize("name", LOCKS)
def test_every_dependency_is_locked(name: str) -> None:
    locked = {name_and_version(requirement)[0] for requirement in pins((ROOT / name).read_text())}
    declared = {re.split(r"[^A-Za-z0-9._-]", dependency)[0].lower() for dependency in dependencies()}
    assert declared - locked == set()


def test_aiohttp_stays_within_the_minor_version_the_server_leans_on() -> None:
    (declared,) = [dependency for dependency in dependencies() if dependency.startswith("aiohttp")]
    bounds = dict(re.findall(r"(>=|<)([\d.]+)", declared))
    assert release(bounds[">="]) >= AIOHTTP_FROM
    assert release(bounds["<"]) <= AIOHTTP_BELOW
    for name in LOCKS:
        locked = dict(map(name_and_version, pins((ROOT / name).read_text())))
        assert AIOHTTP_FROM <= release(locked["aiohttp"]) < AIOHTTP_BELOW


# -- documentation


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_the_readme_names_the_first_commands(command: str) -> None:
    assert command in (ROOT / "README.md").read_text()
