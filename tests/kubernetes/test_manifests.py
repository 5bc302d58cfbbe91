"""The manifests are what Kubernetes takes, and what a sidecar needs; a schema alone would miss most of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sidecar import __version__
from sidecar.cli.arguments import parse
from sidecar.config import Source, load
from sidecar.model.topology import Snapshot
from sidecar.sources.environment import Environment
from sidecar.sources.lookup import SystemLookup
from tests.kubernetes.manifests import DIRECTORY, MANIFESTS, config_text, documents, pod, sidecar

VERSIONS = ("1.29", "1.33", "1.35", "1.36", "1.37")
OLDER = ("1.25", "1.28")  # which know no native sidecars
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
SPARE_S = 5.0  # for a process to end after its drain


def loaded(name: str, tmp_path: Path, text: str | None = None) -> Snapshot:
    """Its config, with keys where they are mounted."""
    for key in ("openai", "anthropic", "metrics-token"):
        (tmp_path / key).write_text(f"secret-{key}")
        (tmp_path / key).chmod(0o600)
    text = (text or config_text(name)).replace("/etc/sidecar-keys", str(tmp_path))
    environ = Environment.capture({"POD_IP": "10.1.2.3"})
    return load((Source("sidecar.yaml", text),), SystemLookup(environ, str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "version"),
    [
        *((name, version) for name in (*MANIFESTS, "secret.yaml") for version in VERSIONS),
        *(("classic.yaml", version) for version in OLDER),
    ],
)
def test_kubernetes_understands_every_field(name: str, version: str) -> None:
    for document in documents(name):
        assert kubernetes_validate.validate(document, version, strict=True) == version


def test_the_schemas_would_find_a_slip() -> None:
    [config_map, deployment] = documents("sidecar.yaml")
    deployment["spec"]["template"]["spec"]["initContainers"][0]["restartpolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**config_map, "date": {}}, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_config_is_one_that_the_sidecar_takes(name: str, tmp_path: Path) -> None:
    snapshot = loaded(name, tmp_path)
    assert not snapshot.warnings
    assert snapshot.providers.keys() == {"openai", "claude"}
    assert documents("secret.yaml")[0]["stringData"].keys() == {
        Path(file).name for file in snapshot.files if str(tmp_path) in file
    }


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_listener_for_prometheus_is_right_once_it_is_wanted(name: str, tmp_path: Path) -> None:
    snapshot = loaded(name, tmp_path, config_text(name).replace("# metrics:", "metrics:"))
    assert snapshot.settings.metrics is not None
    assert snapshot.settings.metrics.allowed_hosts == ("10.1.2.3",)


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_pod_is_restricted(name: str) -> None:
    """What the Pod Security Standard of that name asks for, and a read-only root for what is ours."""
    spec = pod(name)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
    own = sidecar(name)["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    user = re.findall(r"^USER (\d+):(\d+)$", (DIRECTORY.parents[1] / "Dockerfile").read_text(), re.MULTILINE)
    assert user == [(str(own["runAsUser"]), str(own["runAsGroup"]))]
    assert spec["securityContext"]["fsGroup"] == own["runAsGroup"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_only_memory_is_limited(name: str) -> None:
    resources = sidecar(name)["resources"]
    assert resources["limits"].keys() == {"memory"}
    assert resources["requests"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize("name", MANIFESTS)
def test_what_is_edited_is_mounted_as_a_directory(name: str) -> None:
    mounts = sidecar(name)["volumeMounts"]
    assert all("subPath" not in mount and "subPathExpr" not in mount for mount in mounts)
    volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
    assert volumes.keys() == {mount["name"] for mount in mounts}
    assert volumes["config"]["configMap"]["name"] == documents(name)[0]["metadata"]["name"]
    assert volumes["keys"]["secret"]["secretName"] == documents("secret.yaml")[0]["metadata"]["name"]
    assert volumes["keys"]["secret"]["defaultMode"] == 0o440
    assert {volumes[each]["emptyDir"]["medium"] for each in ("sockets", "admin")} == {"Memory"}


@pytest.mark.parametrize("name", MANIFESTS)
def test_sockets_are_where_containers_meet_and_the_admin_plane_is_not(name: str, tmp_path: Path) -> None:
    settings = loaded(name, tmp_path).settings
    assert settings.admin is not None
    places = {mount["mountPath"] for mount in sidecar(name)["volumeMounts"]}
    addresses = [each.address for each in (*settings.listen, settings.admin) if each.address.startswith("unix:")]
    assert all(str(Path(each.removeprefix("unix:")).parent) in places for each in addresses)
    [app] = [each for each in pod(name)["containers"] if each["name"] == "app"]
    shared = {mount["mountPath"] for mount in app["volumeMounts"]}
    assert shared == {"/run/sidecar"}
    assert not settings.admin.address.startswith("unix:/run/sidecar/")
    [url] = [each["value"] for each in app["env"] if each["name"] == "OPENAI_BASE_URL"]
    assert url == f"http://{settings.listen[0].address}/v1"


@pytest.mark.parametrize("name", MANIFESTS)
def test_probes_are_commands_that_exist_and_ask_the_socket_that_is_configured(name: str, tmp_path: Path) -> None:
    admin = loaded(name, tmp_path).settings.admin
    assert admin is not None
    container = sidecar(name)
    for probe in PROBES:
        program, *arguments = container[probe]["exec"]["command"]
        args = parse(arguments)
        assert (program, f"unix:{args.socket}") == ("sidecar", admin.address)
        assert container[probe]["timeoutSeconds"] > 1, "a process must start meanwhile"
    [told] = [each["value"] for each in container["env"] if each["name"] == "SIDECAR_ADMIN"]
    assert f"unix:{told}" == admin.address
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 30


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_daemon_is_strict_and_its_config_is_named(name: str) -> None:
    args = parse(sidecar(name)["args"])
    assert args.strict
    mounts = {mount["name"]: mount["mountPath"] for mount in sidecar(name)["volumeMounts"]}
    assert args.config == f"{mounts['config']}/sidecar.yaml"


@pytest.mark.parametrize("name", MANIFESTS)
def test_there_is_time_for_the_drain(name: str, tmp_path: Path) -> None:
    drain = loaded(name, tmp_path).settings.drain
    grace_s = pod(name)["terminationGracePeriodSeconds"]
    assert grace_s >= drain.timeout_s + drain.accept_for_s + SPARE_S
    assert (drain.accept_for_s > 0) == (name == "classic.yaml")


def test_the_native_sidecar_begins_before_the_app_and_the_classic_one_beside_it() -> None:
    native = pod("sidecar.yaml")
    assert [(each["name"], each["restartPolicy"]) for each in native["initContainers"]] == [("sidecar", "Always")]
    assert [each["name"] for each in native["containers"]] == ["app"]
    assert "initContainers" not in pod("classic.yaml")


def test_the_two_differ_in_nothing_else() -> None:
    native, classic = sidecar("sidecar.yaml"), sidecar("classic.yaml")
    assert {key: value for key, value in native.items() if key != "restartPolicy"} == classic
    assert pod("sidecar.yaml")["volumes"] == pod("classic.yaml")["volumes"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_image_is_that_of_this_version(name: str) -> None:
    assert sidecar(name)["image"] == f"llm-sidecar:{__version__}"
    [image] = documents("kustomization.yaml")[0]["images"]
    assert (image["name"], image["newTag"]) == ("llm-sidecar", __version__)


def test_kustomize_makes_the_same_of_it() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        ["kubectl", "kustomize", str(DIRECTORY)], capture_output=True, text=True, timeout=60, check=True
    )

    def by_kind(every: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {each["kind"]: each for each in every}

    assert by_kind(list(yaml.safe_load_all(done.stdout))) == by_kind(documents("sidecar.yaml"))
