"""A manager of a config that is in no file, with everything it says; cleaned up whatever happens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from sidecar import ConfigurationManager, DebugLogger, LLMManager
from tests.fake_provider import FakeProvider

__all__ = ["HI", "Managed", "listed"]

HI = [{"role": "user", "content": "Hi"}]


class Managed:
    """Lives as long as its `async with`.

    Args:
        config: YAML text.
        environ: What `${NAME}` stands for.
    """

    def __init__(self, config: str, *, environ: Mapping[str, str] | None = None) -> None:
        self._lines: list[bytes] = []
        self._environ = environ or {}
        configuration = ConfigurationManager.from_text(config, environ=self._environ)
        self.manager = LLMManager(configuration, DebugLogger(self._lines.append, level="debug"))

    async def __aenter__(self) -> Managed:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.manager.cleanup()
        assert not self.manager.active

    @property
    def log_text(self) -> str:
        """All that it has written so far."""
        return b"".join(self._lines).decode()

    def forget(self) -> None:
        """Forget what it has said, so that its memory does not count."""
        self._lines.clear()

    def lines(self, event: str, **keys: object) -> list[dict[str, Any]]:
        """Its log lines of one event, with these values."""
        said = [json.loads(line) for line in self._lines]
        return [line for line in said if line["event"] == event and all(line.get(k) == v for k, v in keys.items())]

    def adopt(self, config: str) -> None:
        """Let another text take over, as an edit of the file does."""
        self.manager.adopt(ConfigurationManager.from_text(config, environ=self._environ).load())


def listed(**fakes: FakeProvider) -> str:
    """The `providers:` of a config: these, with the model `m`, a key of their own, and no retries to wait for."""
    lines = [
        f'  {name}: {{type: openai-compatible, base_url: "{fake.base_url}", api_key: key-of-{name}, model: m}}'
        for name, fake in fakes.items()
    ]
    return "\n".join(["resilience: {same_target_retries: 0}", "providers:", *lines, ""])
