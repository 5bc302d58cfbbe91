"""The kubelet brings new ConfigMaps and Secrets to a running daemon, while requests go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from tests.daemon import RunningDaemon
from tests.fake_provider import FakeProvider
from tests.kubernetes.manifests import config_text
from tests.saves import configmap_swap
from tests.traffic import CLIENTS, traffic

CHAIN = "[openai/gpt-5.4, claude/claude-sonnet-4-6]"
PATIENCE_S = 15.0


class Volumes:
    """What the Pod has mounted: the ConfigMap, and the Secret with a directory of its own."""

    def __init__(self, root: Path) -> None:
        self.config = root / "config" / "sidecar.yaml"
        self.keys = root / "keys"
        self.config.parent.mkdir()
        self.keys.mkdir()

    def key(self, name: str, value: str) -> None:
        """Bring the Secret with another key; its files come and go together."""
        configmap_swap(self.keys / name, value)


def manifest(volumes: Volumes, provider: FakeProvider, run: Path) -> str:
    """The config of the manifest, with the places of this machine, one provider behind both names, and one key."""
    text = config_text("sidecar.yaml").replace("127.0.0.1:4141", "127.0.0.1:0")
    text = text.replace("/run/sidecar-admin/", f"{run}/").replace("/run/sidecar/", f"{run}/")
    for kind in ("openai", "anthropic"):
        text = text.replace(f"type: {kind},", f'type: openai-compatible, base_url: "{provider.base_url}",')
    return text.replace("/etc/sidecar-keys/anthropic", "/etc/sidecar-keys/openai").replace(
        "/etc/sidecar-keys", str(volumes.keys)
    )


async def until(condition: Callable[[], bool], message: str) -> None:
    deadline = monotonic() + PATIENCE_S
    while not condition():
        assert monotonic() < deadline, message
        await asyncio.sleep(0.02)


async def test_config_maps_and_secrets_are_swapped_under_requests(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path)
    async with FakeProvider() as provider:
        daemon = RunningDaemon(tmp_path, None, arguments=["--strict", "--config", str(volumes.config)])
        text = manifest(volumes, provider, daemon.run)
        other = text.replace(CHAIN, "[claude/claude-sonnet-4-6, openai/gpt-5.4]")
        assert other != text
        volumes.key("openai", "key-0-of-the-secret\n")
        configmap_swap(volumes.config, text)
        async with daemon, traffic(daemon) as answers:
            for number in range(1, 4):
                # The ConfigMap: every time, not only the first, for each swap moves the link that is watched.
                wanted = "claude/claude-sonnet-4-6" if number % 2 else "openai/gpt-5.4"
                await asyncio.to_thread(configmap_swap, volumes.config, other if number % 2 else text)
                await until(lambda: answers[-1:] == [(200, wanted)], f"swap {number} of the config is not in force")  # noqa: B023
                # The Secret: the next request shows the new key.
                await asyncio.to_thread(volumes.key, "openai", f"key-{number}-of-the-secret\n")
                shown = f"key-{number}-of-the-secret"
                await until(
                    lambda: shown in str([call.headers for call in provider.calls[-1:]]),  # noqa: B023
                    f"swap {number} of the key is not in force",
                )
            await asyncio.to_thread(configmap_swap, volumes.config, other.replace("openai/gpt-5.4", "opnai/gpt-5.4"))
            [line] = await daemon.wait_log("config.rejected")
            assert f"{volumes.config}:" in line["problems"][0]
            served = len(answers)
            await until(lambda: len(answers) > served + CLIENTS, "no requests are answered after a bad ConfigMap")
        assert {status for status, _ in answers} == {200}
        assert "of-the-secret" not in daemon.stderr
