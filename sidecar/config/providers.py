"""The providers of a config: preset and keys of the file together make a `Provider`."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec import UNSET

from sidecar.config.addresses import AddressError, base_url
from sidecar.config.clouds import cloud_url, paths_of, places_of
from sidecar.config.credentials import auth_of, headers_of
from sidecar.config.overlay import overlay
from sidecar.config.presets import Preset
from sidecar.config.problems import Problems, child, hint
from sidecar.config.references import Lookup, Stamp
from sidecar.config.schema import ConfigKeys, HealthKeys, ProviderKeys
from sidecar.model.settings import BreakerSettings, HealthMode, HealthSettings
from sidecar.model.topology import (
    Dialect,
    ModelFacts,
    Operation,
    Params,
    Provider,
    Quirk,
    Tls,
    TransportName,
)
from sidecar.model.ways import ENDPOINT_OF

__all__ = ["check_bounds", "compile_providers"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*", re.ASCII)


class Known(msgspec.Struct, frozen=True):
    """What every provider is compiled with."""

    presets: Mapping[str, Preset]
    lookup: Lookup
    problems: Problems
    breaker: BreakerSettings
    health: HealthSettings
    config: ConfigKeys


def compile_providers(
    config: ConfigKeys, presets: Mapping[str, Preset], lookup: Lookup, problems: Problems
) -> dict[str, Provider]:
    """The providers that could be made of the config; what is wrong with the others is reported."""
    resilience = config.resilience
    breaker = overlay(BreakerSettings(), UNSET if resilience is UNSET else resilience.breaker)
    check_bounds(problems, "resilience.breaker.open", breaker.open.floor_s, breaker.open.max_s, "floor")
    health = overlay(HealthSettings(), config.health)
    known = Known(presets, lookup, problems, breaker, health, config)
    named = {} if config.providers is UNSET else config.providers
    made = {name: _provider(name, keys, known) for name, keys in named.items()}
    return {name: provider for name, provider in made.items() if provider is not None}


def _provider(name: str, keys: ProviderKeys, known: Known) -> Provider | None:
    path = child("providers", name)
    problems = known.problems
    if not _NAME.fullmatch(name):
        problems.add(path, "a provider's name holds only a-z, 0-9, _, . and -, and starts with a letter or digit")
        return None
    type_ = name if keys.type is UNSET else keys.type
    preset = known.presets.get(type_)
    if preset is None:
        what = 'missing key "type"' if keys.type is UNSET else f'unknown type "{type_}"'
        problems.add(child(path, "type"), what + hint(type_, known.presets))
        return None
    places = places_of(path, keys, preset, known.lookup, problems)
    url = _url(path, name, keys, preset, known, places=places)
    if url is None:
        return None
    paths = paths_of(path, preset, places, problems)
    params = _params(path, keys, preset, problems)
    return Provider(
        name=name,
        type=type_,
        base_url=url,
        dialects=_dialects(path, keys, preset, paths, problems),
        paths=paths,
        auth=auth_of(path, keys, preset, known.lookup, problems, url=url, location=places.get("location")),
        headers=headers_of(path, keys, preset, problems),
        params=params,
        bodies={operation: _with(params, more) for operation, more in preset.bodies.items()},
        families=preset.families,
        model=None if keys.model is UNSET else keys.model,
        models=_models(keys, preset),
        reasoning=preset.reasoning,
        quirks=preset.quirks if keys.quirks is UNSET else frozenset(keys.quirks),
        tls=_tls(path, keys, known),
        transport=_transport(path, keys, preset, problems),
        framing=preset.framing,
        trust_env=keys.trust_env is True,
        insecure=keys.insecure is True,
        max_inflight=_first(keys.max_inflight, known.config.max_inflight, 2048),
        breaker=_breaker(path, keys, known),
        health=_health(path, keys, preset, known),
        options=_options(path, keys, preset, problems),
    )


def _url(
    path: str, name: str, keys: ProviderKeys, preset: Preset, known: Known, *, places: Mapping[str, str]
) -> str | None:
    place, problems = child(path, "base_url"), known.problems
    if preset.transport is TransportName.EMBEDDED:
        if keys.base_url is not UNSET:
            problems.add(place, "an embedded provider has no address; leave base_url out")
        return f"embedded://{name}/v1"  # its own, so that nothing of one provider is laid to another
    text = cloud_url(keys, preset, places, known.lookup)
    if not text:
        instead = [f"${name}" for name in (*preset.url_keys, *preset.places.get("location", ()))]
        otherwise = f"; or set {' or '.join(instead)}" if instead else ""
        problems.add(place, f'missing key "base_url": this type has no address of its own{otherwise}')
        return None
    try:
        return base_url(text, insecure=keys.insecure is True, prefixes=preset.prefixes)
    except AddressError as error:
        problems.add(place, str(error))
        return None


def _dialects(
    path: str, keys: ProviderKeys, preset: Preset, paths: Mapping[Operation, str], problems: Problems
) -> tuple[Dialect, ...]:
    spoken = tuple(dialect for dialect in preset.dialects if ENDPOINT_OF[dialect] in paths)
    if keys.dialects is UNSET:
        return spoken
    place = child(path, "dialects")
    for dialect in keys.dialects:
        if dialect not in spoken:
            problems.add(place, f"this type does not speak {dialect}; it speaks {', '.join(spoken)}")
    if not keys.dialects:
        problems.add(place, f"expected at least one dialect of {', '.join(spoken)}")
    return tuple(dict.fromkeys(keys.dialects))


def _params(path: str, keys: ProviderKeys, preset: Preset, problems: Problems) -> Params:
    quirky = {"stream_options"} if keys.quirks is not UNSET and Quirk.NO_STREAM_OPTIONS in keys.quirks else set()
    unwanted = quirky | set(preset.drop)
    if keys.params is UNSET:
        return Params(drop=frozenset(unwanted))
    given = keys.params
    fixed = {} if given.set is UNSET else given.set
    for name in ("model", "stream", "messages"):
        if name in fixed:
            problems.add(f"{path}.params.set.{name}", f"{name} is the request's own and cannot be set")
    return Params(
        set={name: msgspec.json.encode(value) for name, value in fixed.items()},
        default={
            name: msgspec.json.encode(value)
            for name, value in ({} if given.default is UNSET else given.default).items()
        },
        drop=frozenset(unwanted) | frozenset([] if given.drop is UNSET else given.drop),
    )


def _with(params: Params, more: Params) -> Params:
    """The file's params, and what the type needs; that goes before."""
    return Params({**params.set, **more.set}, params.default, params.drop | more.drop, more.betas)


def _models(keys: ProviderKeys, preset: Preset) -> dict[str, ModelFacts]:
    named = {} if keys.models is UNSET else keys.models
    return {
        name: overlay(ModelFacts(reasoning=name.startswith(preset.reasoning) or None), facts)
        for name, facts in named.items()
    }


def _transport(path: str, keys: ProviderKeys, preset: Preset, problems: Problems) -> TransportName:
    if keys.transport is UNSET:
        if keys.trust_env is True:
            problems.add(child(path, "trust_env"), "only transport: aiohttp goes through proxies; say both")
        return preset.transport
    if preset.transport is TransportName.EMBEDDED:
        problems.add(child(path, "transport"), "an embedded provider has no transport; leave it out")
        return preset.transport
    if keys.trust_env is True and TransportName(keys.transport) is not TransportName.AIOHTTP:
        problems.add(child(path, "trust_env"), "only transport: aiohttp goes through proxies")
    return TransportName(keys.transport)


def _tls(path: str, keys: ProviderKeys, known: Known) -> Tls:
    """The files by their absolute paths, and what stands for their contents."""
    tls = overlay(Tls(), keys.tls)
    if tls.key_file is not None and tls.cert_file is None:
        known.problems.add(f"{path}.tls.key_file", "there is no cert_file that it could be the key of")
    found: dict[str, Stamp] = {}
    for name in ("ca_file", "cert_file", "key_file"):
        written = getattr(tls, name)
        if written is not None:
            try:
                found[name] = known.lookup.stamp(written)
            except LookupError as error:
                known.problems.add(f"{path}.tls.{name}", str(error.args[0] if error.args else "not found"))
    paths = {name: stamp.path for name, stamp in found.items()}
    contents = " ".join(stamp.fingerprint for stamp in found.values())
    return msgspec.structs.replace(tls, **paths, contents=contents)


def _breaker(path: str, keys: ProviderKeys, known: Known) -> BreakerSettings:
    breaker = overlay(known.breaker, keys.breaker)
    if keys.breaker is not UNSET:
        place = child(path, "breaker.open")
        check_bounds(known.problems, place, breaker.open.floor_s, breaker.open.max_s, "floor")
    return breaker


def _health(path: str, keys: ProviderKeys, preset: Preset, known: Known) -> HealthSettings:
    health = overlay(known.health, keys.health)
    if health.mode is HealthMode.COMPLETION:
        _check_completion(path, keys, health, known.problems)
    if health.mode is not HealthMode.MODELS or Operation.MODELS in preset.paths:
        return health
    if isinstance(keys.health, HealthKeys) and keys.health.mode is HealthMode.MODELS:
        known.problems.warn(child(path, "health"), "this type has no free model list; checks only connect (mode: tcp)")
    return msgspec.structs.replace(health, mode=HealthMode.TCP)


def _check_completion(path: str, keys: ProviderKeys, health: HealthSettings, problems: Problems) -> None:
    if not keys.model:
        problems.add(child(path, "model"), 'missing key "model": a health check of mode completion asks it')
    most = f"{health.completions_per_day} a day (health.completions_per_day)"
    problems.warn(child(path, "health"), f"mode: completion costs a token for each check, at most {most}")


def _options(path: str, keys: ProviderKeys, preset: Preset, problems: Problems) -> dict[str, float]:
    if keys.options is UNSET:
        return {}
    if preset.transport is not TransportName.EMBEDDED:
        problems.add(child(path, "options"), "only the type embedded takes options")
    given = {name: getattr(keys.options, name) for name in keys.options.__struct_fields__}
    return {name: value for name, value in given.items() if value is not UNSET}


def check_bounds(problems: Problems, path: str, low: float, high: float, name: str = "min") -> None:
    """Report a range whose ends are the wrong way round."""
    if low > high:
        problems.add(path, f"{name} is more than max: {low:g}s > {high:g}s")


def _first(*values: int | msgspec.UnsetType) -> int:
    return next(value for value in values if isinstance(value, int))
