"""Texts to a `Snapshot`: read, merge, decode, compile; everything that is wrong is told at once.

Later steps run on what the earlier ones could make out, so that a slip in one line does not hide the
slip in the next. Only a snapshot without a single problem is given away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET

from sidecar.config.decode import Decoder
from sidecar.config.listeners import compile_admin, compile_listens, compile_metrics, tokens_of
from sidecar.config.overlay import overlay
from sidecar.config.presets import PRESETS, Preset
from sidecar.config.problems import Place, Problems, child
from sidecar.config.providers import compile_providers
from sidecar.config.references import Lookup
from sidecar.config.routes import compile_attempts, compile_routes, compile_stream, compile_timeouts
from sidecar.config.schema import ConfigKeys
from sidecar.config.tree import Entries, Node, Scalar, YamlError, read
from sidecar.model.secret import Secret
from sidecar.model.settings import DrainSettings, LimitSettings, LogSettings, OnLoss, Settings, Wire
from sidecar.model.topology import Provider, Snapshot

__all__ = ["Source", "load"]

_UNITED = ("providers", "routes")  # the maps that several files may add to


class Source(msgspec.Struct, frozen=True):
    """One file's text, under the name that messages show."""

    name: str
    text: str


def load(
    sources: Sequence[Source], lookup: Lookup, *, generation: int = 1, presets: Mapping[str, Preset] = PRESETS
) -> Snapshot:
    """The snapshot that the texts describe together.

    Args:
        sources: In the order in which they are merged.
        lookup: The environment, files and credentials that references may name.
        generation: The snapshot's number.
        presets: What `type` can stand for.

    Raises:
        ConfigErrors: With every problem of every text.
    """
    problems = Problems()
    decoder = Decoder(problems, lookup)
    config = decoder.config(_merged(sources, problems))
    timeouts = compile_timeouts(config, problems)
    attempts = compile_attempts(config)
    stream = compile_stream(config)
    providers = compile_providers(config, presets, lookup, problems)
    routes = compile_routes(config, providers, problems, timeouts=timeouts, attempts=attempts, stream=stream)
    settings = _settings(config, lookup, problems)
    if not routes and not providers:
        problems.warn("routes", "there are none; nothing can be answered")
    problems.check([source.name for source in sources])
    return Snapshot(
        generation=generation,
        providers=providers,
        routes=routes,
        settings=settings,
        timeouts=timeouts,
        attempts=attempts,
        stream=stream,
        on_loss=OnLoss.ALLOW if config.on_loss is UNSET else config.on_loss,
        source=", ".join(source.name for source in sources),
        digest=_digest(sources),
        warnings=tuple(problems.warnings),
        secrets=frozenset(decoder.secrets) | _secrets(providers) | _tokens(settings),
        files=tuple(decoder.files),
    )


def _merged(sources: Sequence[Source], problems: Problems) -> Entries:
    """One tree of all texts: providers and routes are united, any other key is in one file only."""
    whole: dict[str, tuple[Scalar, Node]] = {}
    for source in sources:
        for key, value in _pairs(source, problems):
            before = whole.get(key.text)
            if before is None or (key.text in _UNITED and _is_empty(before[1])):
                whole[key.text] = (key, value)
            elif key.text in _UNITED and isinstance(value, Entries) and isinstance(before[1], Entries):
                whole[key.text] = (before[0], _united(key.text, before[1], value, problems))
            elif key.text not in _UNITED or not _is_empty(value):
                message = f'"{key.text}" is already at {before[0].place}; it can be in one file only'
                problems.add(key.text, message, key.place)
    name = sources[0].name if sources else "config"
    return Entries(Place(name, 1, 1), tuple(whole.values()))


def _pairs(source: Source, problems: Problems) -> tuple[tuple[Scalar, Node], ...]:
    try:
        root, duplicates = read(source.name, source.text)
    except YamlError as error:
        problems.add("", error.message, error.place)
        return ()
    for duplicate in duplicates:
        problems.add("", duplicate.message, duplicate.place)
    if root is None:
        return ()
    if isinstance(root, Entries):
        return root.pairs
    problems.add("", "expected a map such as `routes:`, found something else", root.place)
    return ()


def _is_empty(node: Node) -> bool:
    """Whether a key stands there without a value: all that it held is commented out."""
    return isinstance(node, Scalar) and node.plain and not node.text


def _united(path: str, first: Entries, second: Entries, problems: Problems) -> Entries:
    places = {key.text: key.place for key, _ in first.pairs}
    added: list[tuple[Scalar, Node]] = []
    for key, value in second.pairs:
        if key.text in places:
            problems.add(child(path, key.text), f"already defined at {places[key.text]}", key.place)
        else:
            added.append((key, value))
    return Entries(first.place, (*first.pairs, *added))


def _settings(config: ConfigKeys, lookup: Lookup, problems: Problems) -> Settings:
    settings = Settings(
        admin=None if config.admin is UNSET else compile_admin(config.admin, lookup, problems),
        metrics=None if config.metrics is UNSET else compile_metrics(config.metrics, lookup, problems),
        log=overlay(LogSettings(), config.log),
        drain=overlay(DrainSettings(), config.drain),
        limits=overlay(LimitSettings(), config.limits),
        wire=Wire.DIRECT if config.wire is UNSET else config.wire,
    )
    if config.listen is UNSET:
        return settings
    return msgspec.structs.replace(settings, listen=compile_listens(config.listen, lookup, problems))


def _tokens(settings: Settings) -> frozenset[Secret]:
    listeners = (*settings.listen, settings.admin, settings.metrics)
    return frozenset(token for listener in listeners for token in tokens_of(listener))


def _secrets(providers: Mapping[str, Provider]) -> frozenset[Secret]:
    keys = [provider.auth.key for provider in providers.values()]
    values = [value for provider in providers.values() for value in provider.headers.values()]
    accesses = [value for provider in providers.values() for value in provider.auth.access.values()]
    return frozenset(secret for secret in (*keys, *values, *accesses) if isinstance(secret, Secret) and secret.reveal())


def _digest(sources: Sequence[Source]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        for text in (source.name, source.text):
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()
