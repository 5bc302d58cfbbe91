"""Which config a daemon begins with when what is there is wrong; decides, and changes nothing on disk.

A service that will not start because of a slip in its config takes the app beside it down: worse, where
the service manager has bound its socket, every connection would start it again until the socket is given
up. So a daemon under a service manager begins with the config that was in force last. When there is none,
it begins with nothing: it listens, answers every request with the reason, and follows the file.
"""

from __future__ import annotations

import msgspec

from sidecar.config import ConfigErrors
from sidecar.model.errors import ConfigurationError
from sidecar.model.settings import Settings
from sidecar.model.topology import Snapshot
from sidecar.sources.configuration import ConfigurationManager
from sidecar.sources.last_good import LastGood

__all__ = ["Start", "problems_of", "start"]


class Start(msgspec.Struct, frozen=True):
    """What a daemon begins with."""

    snapshot: Snapshot
    problems: tuple[str, ...] = ()  # of the config that is there, when the snapshot is not its
    answers: bool = True  # False: nothing can be answered before the config is mended


def start(configuration: ConfigurationManager, last_good: LastGood | None) -> Start:
    """What there is to begin with; where nothing else is, nothing.

    Args:
        configuration: Not loaded yet.
        last_good: Where the last good config was kept.
    """
    try:
        return Start(configuration.load())
    except ConfigurationError as error:
        problems = problems_of(error)
    return _recalled(configuration, last_good, problems) or _nothing(problems)


def problems_of(error: ConfigurationError) -> tuple[str, ...]:
    """One text for each thing that is wrong."""
    return tuple(map(str, error.problems)) if isinstance(error, ConfigErrors) else (str(error),)


def _recalled(
    configuration: ConfigurationManager, last_good: LastGood | None, problems: tuple[str, ...]
) -> Start | None:
    kept = last_good.recall() if last_good is not None else None
    if kept is None:
        return None
    try:
        snapshot = configuration.recall(kept.written)
    except ConfigurationError:
        return None
    warning = f"the config is rejected; the last good one, of {kept.at:%Y-%m-%d %H:%M:%S} UTC, goes on: {problems[0]}"
    source = f"last good config of {kept.at:%Y-%m-%dT%H:%M:%SZ}"
    snapshot = msgspec.structs.replace(snapshot, source=source, warnings=(warning, *snapshot.warnings))
    return Start(snapshot, problems)


def _nothing(problems: tuple[str, ...]) -> Start:
    warning = f"the config is rejected, and there is no earlier one; no request is answered: {problems[0]}"
    snapshot = Snapshot(
        generation=1, providers={}, routes={}, settings=Settings(), source="nothing", warnings=(warning,)
    )
    return Start(snapshot, problems, answers=False)
