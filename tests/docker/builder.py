"""buildah as a builder that keeps everything in one directory, and a container as the kernel knows it.

A container here is what any runtime makes: the image's files, read-only; its user, without any capability;
its environment and nothing else; its command as process 1 of its own. The network is this machine's.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Builder", "Container"]

ROOT = Path(__file__).resolve().parents[2]
_BUILD_S = 400.0  # packages are fetched meanwhile
_CALL_S = 60.0


class Builder:
    """One store of images, below a directory."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._policy = store / "policy.json"
        self._policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        (store / "registries.conf").write_text("unqualified-search-registries = []\n")
        (store / "containers.conf").touch()
        (store / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{store}/graph"\nrunroot = "{store}/run"\n'
        )

    def call(self, *arguments: str, timeout_s: float = _CALL_S) -> str:
        """What buildah says.

        Raises:
            AssertionError: It failed; what it said is in it.
        """
        names = {name: str(self._store / file) for name, file in _CONFS.items()}
        done = subprocess.run(
            ["buildah", *arguments],
            env={**os.environ, **names, "BUILDAH_ISOLATION": "chroot"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"buildah {arguments[0]}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout.strip()

    def commit(self, root: Path, name: str) -> None:
        """Make an image of a directory."""
        container = self.call("from", "scratch")
        self.call("add", "--quiet", container, str(root), "/")
        self.call(
            "commit", "--quiet", "--disable-compression", "--signature-policy", str(self._policy), container, name
        )

    def build(self, base: str, name: str) -> None:
        """Make an image of the Dockerfile, on that base."""
        options = ["--signature-policy", str(self._policy), "--pull-never", "--layers=false", "--network", "host"]
        options += ["--format", "docker", "--disable-compression", "--build-arg", f"PYTHON_IMAGE={base}", "--tag", name]
        self.call("build", *options, str(ROOT), timeout_s=_BUILD_S)

    def config(self, name: str) -> dict[str, Any]:
        """What an image says of how to run it."""
        config: dict[str, Any] = json.loads(self.call("inspect", "--type", "image", name))["Docker"]["config"]
        return config

    def mounted(self, name: str) -> Path:
        """The files of an image."""
        container = self.call("from", "--pull-never", "--signature-policy", str(self._policy), name)
        return Path(self.call("mount", container))


_CONFS = {
    "CONTAINERS_STORAGE_CONF": "storage.conf",
    "CONTAINERS_REGISTRIES_CONF": "registries.conf",
    "CONTAINERS_CONF": "containers.conf",
}

_RUN = """
mount --make-rprivate / && mount --bind {root} {root} && mount -o remount,bind,ro {root}
mount --bind {config} {root}/etc/sidecar && mount -o remount,bind,ro {root}/etc/sidecar
mount -t tmpfs -o uid={uid},gid={uid},mode=0755 tmpfs {root}/run/sidecar && mount -t proc proc {root}/proc
exec env -i {environment} chroot --userspec={uid}:{uid} --groups= {root} {command}
"""


class Container:
    """A running container; gone after the `with`.

    Args:
        root: The image's files.
        image: Its config.
        directory: What is mounted where the sidecar's config is.
        command: Instead of the image's own.
    """

    def __init__(
        self, root: Path, image: Mapping[str, Any], directory: Path, command: Sequence[str] | None = None
    ) -> None:
        self._uid = image["User"].partition(":")[0]
        self._environment = [*image["Env"], "HOME=/"]
        script = _RUN.format(
            root=shlex.quote(str(root)),
            config=shlex.quote(str(directory)),
            uid=self._uid,
            environment=shlex.join(self._environment),
            command=shlex.join([*image["Entrypoint"], *(command or image["Cmd"])]),
        )
        shell = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", script]
        self._process = subprocess.Popen(shell, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running and (one := self.pid):
            os.kill(one, signal.SIGKILL)  # `--kill-child` does not outlive the change of the user
        self._process.kill()
        self._process.communicate(timeout=_CALL_S)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of its process 1, as this machine counts; 0 before there is one."""
        one = self._process.pid
        return int(Path(f"/proc/{one}/task/{one}/children").read_text() or 0)

    def answers(self, probe: Sequence[str]) -> bool:
        """Whether it has begun, and the probe finds it well."""
        return self.pid > 0 and self.execute(*probe).returncode == 0

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as a runtime does for a probe."""
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--root", "--wd"]
        user = ["--setuid", self._uid, "--setgid", self._uid]
        return subprocess.run(
            [*enter, *user, *command],
            env=dict(each.split("=", 1) for each in self._environment),
            capture_output=True,
            text=True,
            timeout=_CALL_S,
            check=False,
        )

    def end(self) -> tuple[int, str]:
        """Wait for its end; the exit code and all it said."""
        said, _ = self._process.communicate(timeout=_CALL_S)
        return self._process.returncode, said
