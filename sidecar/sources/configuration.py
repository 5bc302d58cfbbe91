"""A snapshot on demand: finds the config, reads and loads it; knows where, and leaves what to `config`.

A manager outlives its snapshots. It looks for the config once: what was found stays the place, so that
a file that is missing for a moment is an error and not another config. Without any, each load makes a
snapshot of the environment. What the last load read is remembered by fingerprint, whether the load
succeeded or not: that is what the watcher compares with.

Loading blocks on files for as long as they take; callers in an event loop do it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Self

from msgspec.structs import replace

from sidecar.config import PRESETS, Preset, Source, from_environment, load
from sidecar.model.errors import ConfigurationError
from sidecar.model.topology import Snapshot, TransportName
from sidecar.sources import files
from sidecar.sources.environment import Environment
from sidecar.sources.lookup import SystemLookup
from sidecar.sources.ollama import find_ollama
from sidecar.sources.places import Place, find, named

__all__ = ["ConfigurationManager", "Written"]


class Written(NamedTuple):
    """A config's texts as they are written, references unresolved."""

    sources: tuple[Source, ...]
    directory: str  # what relative paths in them are relative to


class ConfigurationManager:
    """Where a config comes from; gives a new snapshot of it at each `load`.

    Args:
        path: The config file, or a directory of `*.yaml`; None looks in the usual places.
        environ: What `${NAME}` stands for; None is a copy of the process's environment as it is now.
        presets: What is known of provider types; None is all that are built in.
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        presets: Mapping[str, Preset] | None = None,
    ) -> None:
        self._explicit = path
        self._environment = Environment.capture(os.environ if environ is None else environ)
        self._presets = PRESETS if presets is None else presets
        self._text: str | None = None
        self._place: Place | None = None
        self._fingerprints: Mapping[str, str | None] = {}
        self._written: Written | None = None
        self.initial: Snapshot | None = None  # what a manager begins with; None: what `load` gives

    @classmethod
    def from_text(cls, yaml: str, *, environ: Mapping[str, str] | None = None) -> Self:
        """A manager of a config that is in no file; its relative paths are relative to the current directory."""
        manager = cls(environ=environ)
        manager._text = yaml
        return manager

    @property
    def path(self) -> str | None:
        """The config's file or directory; None before the first load, and when there is none."""
        return self._place.path if self._place else None

    def watched(self) -> tuple[str, ...]:
        """Every path whose change is a reason to load again: the config's, and those of keys and certificates."""
        return tuple(self._fingerprints)

    def fingerprints(self) -> Mapping[str, str | None]:
        """The watched paths with what the last load found there; None for what it could not read."""
        return MappingProxyType(self._fingerprints)

    @property
    def written(self) -> Written | None:
        """The texts of the last load that succeeded; None before, and when there are none."""
        return self._written

    def load(self, generation: int = 1) -> Snapshot:
        """The snapshot of what is there now.

        Raises:
            ConfigurationError: It cannot be read, or is not right; the message says where and what would be.
        """
        if self._text is not None:
            source = Source("config", self._text)
            return self._load_sources((source,), os.getcwd(), generation, found={})
        self._place = self._place or self._find()
        if self._place is None:
            return self._load_environment(generation)
        return self._load_place(self._place, generation)

    def recall(self, written: Written, generation: int = 1) -> Snapshot:
        """The snapshot of texts that were there once; what a `load` has just read and rejected stays watched.

        Raises:
            ConfigurationError: They are not right any more: a key may have gone.
        """
        return self._load_sources(written.sources, written.directory, generation, found=self._fingerprints)

    def _find(self) -> Place | None:
        try:
            return find(self._explicit, self._environment)
        except ConfigurationError:
            if (place := named(self._explicit, self._environment)) is not None:
                self._fingerprints = {place.path: None}  # its coming is news
            raise

    def _load_place(self, place: Place, generation: int) -> Snapshot:
        found: dict[str, str | None] = {place.path: None}
        try:
            contents = files.contents(place.path)
            found[place.path] = files.fingerprint(contents)
            sources = files.read(place.path, contents)
        except files.UnreadableError as error:
            self._fingerprints = found
            raise ConfigurationError(str(error)) from error
        snapshot = self._load_sources(sources, place.directory, generation, found=found)
        return replace(
            snapshot,
            source=place.path,
            files=(*(source.name for source in sources), *snapshot.files),
            warnings=(*snapshot.warnings, *files.config_warnings(place.path)),
        )

    def _load_sources(
        self, sources: Sequence[Source], directory: str, generation: int, *, found: Mapping[str, str | None]
    ) -> Snapshot:
        lookup = SystemLookup(self._environment, directory)
        try:
            snapshot = load(sources, lookup, generation=generation, presets=self._presets)
        finally:
            self._fingerprints = {**found, **lookup.fingerprints}
        self._written = Written(tuple(sources), directory)
        return replace(
            snapshot,
            source="text",
            digest=files.digest(sources, lookup.fingerprints),
            files=tuple(lookup.fingerprints),
            warnings=(*snapshot.warnings, *_key_warnings(snapshot, lookup.keys)),
        )

    def _load_environment(self, generation: int) -> Snapshot:
        """Looks for a local Ollama only when nothing but the embedded provider would answer."""
        snapshot = from_environment(self._environment, generation=generation)
        alone = all(provider.transport is TransportName.EMBEDDED for provider in snapshot.providers.values())
        if alone and (ollama := find_ollama(self._environment)):
            environment = Environment.capture({**self._environment, "OLLAMA_BASE_URL": ollama.base_url})
            snapshot = from_environment(environment, generation=generation, ollama_models=ollama.models)
        # The environment was captured once, so that only what was found can differ between two loads.
        facts = [(name, f"{one.base_url} {one.model}".encode()) for name, one in snapshot.providers.items()]
        return replace(snapshot, digest=files.fingerprint(facts))


def _key_warnings(snapshot: Snapshot, keys: Iterable[str]) -> Iterator[str]:
    tls_keys = (provider.tls.key_file for provider in snapshot.providers.values())
    for path in dict.fromkeys((*keys, *filter(None, tls_keys))):
        if warning := files.key_warning(path):
            yield warning
