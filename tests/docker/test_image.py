"""The Dockerfile, as a linter sees it and as a builder builds it, on a base that is made of this machine's Python."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.docker.builder import ROOT, Builder, Container
from tests.docker.stand_in import make_root

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PATIENCE_S = 20.0

pytestmark = pytest.mark.timeout(600)  # the build fetches packages; a machine that others use, too, is slow at times
CONFIG = """
listen: ["127.0.0.1:{port}", unix:/run/sidecar/sidecar.sock]
providers: {{a: {{type: embedded}}, b: {{type: embedded}}}}
routes: {{default: {{chain: [{provider}/ok]}}}}
"""


# -- as text


def instructions(name: str) -> list[str]:
    """What follows each instruction of that name, lines joined."""
    text = re.sub(r"(?m)^#.*\n", "", DOCKERFILE).replace("\\\n", " ")
    return [" ".join(line.split()[1:]) for line in text.splitlines() if line.split()[:1] == [name]]


def test_hadolint_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [linter, "--no-fail", "--format", "json", "--disable-ignore-pragma", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert json.loads(done.stdout) == []


def test_the_base_is_an_argument_and_both_stages_use_it() -> None:
    assert instructions("ARG") == ["PYTHON_IMAGE=docker.io/library/python:3.13-slim"]
    assert [each.split()[0] for each in instructions("FROM")] == ["${PYTHON_IMAGE}"] * 2


def test_all_that_is_fetched_is_a_wheel_with_a_known_hash() -> None:
    fetches = re.findall(r"pip (?:--python \S+ )?(?:install|wheel|download) [^&]*", " && ".join(instructions("RUN")))
    assert len(fetches) == 4
    for fetch in fetches:
        assert "--no-deps" in fetch or ("--require-hashes" in fetch and "--only-binary :all:" in fetch), fetch
    assert [path.name for path in sorted(ROOT.glob("requirements*.lock")) if path.name in " ".join(fetches)] == [
        "requirements-build.lock",
        "requirements.lock",
    ]


def test_what_is_locked_for_the_build_is_what_is_locked_for_contributors() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^(\S+==\S+)", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("requirements-build.lock") <= pins("requirements-dev.lock")


def test_no_shell_stands_between_the_runtime_and_the_daemon() -> None:
    for name in ("ENTRYPOINT", "CMD"):
        assert all(isinstance(json.loads(each), list) for each in instructions(name)), name
    assert re.search(r'CMD \["sidecar", "health"', instructions("HEALTHCHECK")[0])
    assert instructions("USER")[-1] == "65532:65532"


def test_the_context_is_what_is_named() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert all(list(ROOT.glob(line[1:])) for line in lines if line.startswith("!"))


# -- as an image


class Built:
    """The image: what it says of itself, and its files."""

    def __init__(self, config: dict[str, Any], root: Path) -> None:
        self.config = config
        self.root = root


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Built:
    if not os.environ.get("SIDECAR_BUILD_IMAGE"):
        pytest.skip("an image is built only where SIDECAR_BUILD_IMAGE is set, as .ci/run does: it takes a minute")
    if shutil.which("buildah") is None or shutil.which("nsenter") is None or os.geteuid() != 0:
        pytest.skip("an image is built as root, with buildah, and run with util-linux")
    store = tmp_path_factory.mktemp("images")
    builder = Builder(store)
    try:
        builder.call("mount", builder.call("from", "scratch"))
    except AssertionError as error:
        pytest.skip(f"buildah cannot work here: {error}")
    base = store / "base"
    base.mkdir()
    make_root(base)
    builder.commit(base, "localhost/stand-in")
    shutil.rmtree(base)
    builder.build("localhost/stand-in", "localhost/llm-sidecar")
    return Built(builder.config("localhost/llm-sidecar"), builder.mounted("localhost/llm-sidecar"))


def test_the_image_says_how_it_runs(image: Built) -> None:
    config = image.config
    assert (config["User"], config["StopSignal"]) == ("65532:65532", "SIGTERM")
    assert (config["Entrypoint"], config["Cmd"]) == (["sidecar"], ["serve", "--strict"])
    assert config["Healthcheck"]["Test"] == ["CMD", "sidecar", "health", "--socket", "/run/sidecar/admin.sock"]
    assert "SIDECAR_CONFIG=/etc/sidecar/sidecar.yaml" in config["Env"]
    assert list(config["Volumes"]) == ["/run/sidecar"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_image_holds_what_is_locked_as_byte_code_and_nothing_to_build_with(image: Built) -> None:
    [packages] = (image.root / "opt/llm-sidecar/lib").glob("python3.*/site-packages")
    told = [path.name.removesuffix(".dist-info") for path in packages.glob("*.dist-info")]
    installed = {name.replace("_", "-").lower() for name in told if not name.startswith("llm_sidecar")}
    locked = {
        f"{name}-{version}".replace("_", "-").lower()
        for name, version in re.findall(r"^(\S+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    }
    assert installed
    assert installed <= locked
    for sources in (packages / "sidecar", *(image.root / "usr/local/lib").glob("python3.*/json")):
        assert len(list(sources.rglob("*.py"))) == len(list(sources.rglob("*.pyc")))
    unwanted = [path for name in ("pip", "ensurepip", "hatchling", "tests", ".git") for path in image.root.rglob(name)]
    assert unwanted == []


def test_nothing_but_the_volume_is_the_users_own(image: Built) -> None:
    owned = [path for path in image.root.rglob("*") if path.lstat().st_uid == 65532]
    assert owned == [image.root / "run/sidecar"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int) -> str | None:
    """Who answers a request."""
    body = json.dumps({"model": "x", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    with urlopen(Request(url, body, {"content-type": "application/json"}), timeout=PATIENCE_S) as answer:
        return answer.headers["x-sidecar-target"]


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_container_lives_and_ends_read_only_without_root_as_process_1(image: Built, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "sidecar.yaml").write_text(CONFIG.format(port=port, provider="a"))
    tmp_path.chmod(0o755)  # of root, and read by the image's user
    probe = image.config["Healthcheck"]["Test"][1:]
    with Container(image.root, image.config, tmp_path) as container:
        until(lambda: not container.running or container.answers(probe))
        assert container.running, container.end()[1]
        assert ask(port) == "a/ok"
        status = Path(f"/proc/{container.pid}/status").read_text()
        assert re.search(r"^Uid:\s+65532\s+65532", status, re.MULTILINE)
        assert re.search(r"^NSpid:\s+\d+(\s+\d+)*\s+1$", status, re.MULTILINE)
        assert container.execute("touch", "/opt/x").returncode == 1
        # The directory is mounted, so that an edit is seen, however it was saved.
        (tmp_path / "new").write_text(CONFIG.format(port=port, provider="b"))
        (tmp_path / "new").replace(tmp_path / "sidecar.yaml")
        until(lambda: ask(port) == "b/ok")
        assert container.execute("sidecar", "status").returncode == 0
        os.kill(container.pid, signal.SIGTERM)
        code, said = container.end()
    assert code == 0
    assert [line["event"] for line in map(json.loads, said.splitlines())][-1] == "daemon.stopped"


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        (None, 0o755, "/etc/sidecar/sidecar.yaml: no such file"),
        ("routes: 1", 0o755, "/etc/sidecar/sidecar.yaml:1:"),
        (CONFIG, 0o700, "/etc/sidecar/sidecar.yaml: permission denied"),
    ],
)
def test_a_container_without_a_right_config_says_so_and_ends(
    image: Built, tmp_path: Path, text: str | None, mode: int, told: str
) -> None:
    if text is not None:
        (tmp_path / "sidecar.yaml").write_text(text)
    tmp_path.chmod(mode)
    with Container(image.root, image.config, tmp_path) as container:
        code, said = container.end()
    assert code == 78
    assert told in said
