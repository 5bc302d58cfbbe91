"""The manifests of config/kubernetes as values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

__all__ = ["DIRECTORY", "MANIFESTS", "config_text", "documents", "pod", "sidecar"]

DIRECTORY = Path(__file__).resolve().parents[2] / "config" / "kubernetes"
MANIFESTS = ("sidecar.yaml", "classic.yaml")


def documents(name: str) -> list[dict[str, Any]]:
    """What is in a file."""
    return list(yaml.safe_load_all((DIRECTORY / name).read_text()))


def config_text(name: str) -> str:
    """The sidecar's config in it."""
    [text] = [each["data"]["sidecar.yaml"] for each in documents(name) if each["kind"] == "ConfigMap"]
    return str(text)


def pod(name: str) -> dict[str, Any]:
    """The spec of its Pods."""
    [spec] = [each["spec"]["template"]["spec"] for each in documents(name) if each["kind"] == "Deployment"]
    return dict(spec)


def sidecar(name: str) -> dict[str, Any]:
    """The sidecar's container."""
    [container] = [each for each in _containers(pod(name)) if each["name"] == "sidecar"]
    return container


def _containers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from spec.get("initContainers", [])
    yield from spec["containers"]
