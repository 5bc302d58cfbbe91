"""What a cloud's account needs beside a key: where it is, in which version, and credentials that are no key.

A cloud's base URL and paths hold places (`{project}`, `{location}`) that the file fills in, or a variable of the
environment. Who has no key to show signs every request (AWS), or is given a token for an hour at a time (Google,
and Azure where the file says so: there a key is what is usual);
which credentials there are to do that with is the vendor's own library's business, but for those that the
environment or the file holds: a daemon has taken these out of its environment, where that library would look.

Sources (read 2026-11): docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html,
docs.aws.amazon.com/general/latest/gr/bedrock.html; cloud.google.com/vertex-ai/docs/general/locations,
cloud.google.com/docs/authentication/application-default-credentials;
learn.microsoft.com/azure/foundry/openai/api-version-lifecycle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec import UNSET

from sidecar.config.addresses import host_of
from sidecar.config.presets import Preset
from sidecar.config.problems import Problems, child
from sidecar.config.references import Lookup
from sidecar.config.schema import ProviderKeys
from sidecar.config.values import Text
from sidecar.model.secret import Secret
from sidecar.model.topology import Auth, AuthScheme, Operation

__all__ = ["access_of", "cloud_url", "entra_of", "paths_of", "places_of"]

_KEYS = ("api_version", "auth", "project", "location", "credentials", "profile")
_PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?", re.ASCII)
_REGION = re.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.", re.ASCII)
# Where Google's own rule, LOCATION-aiplatform, does not hold.
_GOOGLE_HOSTS: Mapping[str, str] = {
    "global": "aiplatform.googleapis.com",
    "us": "aiplatform.us.rep.googleapis.com",
    "eu": "aiplatform.eu.rep.googleapis.com",
}
_AWS_PAIR = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_AWS_TOKEN = "AWS_SESSION_TOKEN"
_GOOGLE_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
_AZURE_PRINCIPAL = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
_GOOGLE_SECRETS = ("private_key", "client_secret", "refresh_token")


def places_of(path: str, keys: ProviderKeys, preset: Preset, lookup: Lookup, problems: Problems) -> dict[str, str]:
    """The places that are known, by their names; what does not belong there is reported."""
    for name in _KEYS:
        if getattr(keys, name) is not UNSET and name not in preset.takes:
            problems.add(child(path, name), "this type has no use for it; leave it out")
    places: dict[str, str] = {}
    for name in ("project", "location", "api_version"):
        written = getattr(keys, name)
        found = written if written is not UNSET else _from_environment(preset.places.get(name, ()), lookup)
        if found is None or name not in preset.takes:
            continue
        if not _PLACE.fullmatch(found):
            problems.add(child(path, name), "expected letters, digits, and . _ : - between them")
        places[name] = found
    return {**preset.usual, **places}


def _from_environment(variables: tuple[str, ...], lookup: Lookup) -> str | None:
    return next((value for variable in variables if (value := lookup.env(variable))), None)


def cloud_url(keys: ProviderKeys, preset: Preset, places: Mapping[str, str], lookup: Lookup) -> str | None:
    """The address as the file, the environment or the type has it; None when something of it is not known."""
    if keys.base_url is not UNSET:
        return keys.base_url
    if preset.base_url is None:
        return _from_environment(preset.url_keys, lookup)
    if "{" not in preset.base_url:
        return preset.base_url
    location = places.get("location")
    if location is None:
        return None
    google = _GOOGLE_HOSTS.get(location, f"{location}-aiplatform.googleapis.com")
    return preset.base_url.format(location=location, google=google)


def paths_of(path: str, preset: Preset, places: Mapping[str, str], problems: Problems) -> dict[Operation, str]:
    """The paths with their places; `{model}` stays, for that is each request's own."""
    version = places.get("api_version")
    paths = dict(preset.dated if version and _DATE.fullmatch(version) else preset.paths)
    for name in sorted(preset.needs - places.keys()):
        variables = "".join(f" or ${variable}" for variable in preset.places.get(name, ()))
        problems.add(path, f'missing key "{name}"{variables}')
    for operation, written in paths.items():
        for name, place in places.items():
            written = written.replace(f"{{{name}}}", place)  # noqa: PLW2901 - one text in steps
        paths[operation] = written
        if version and "api-version=" not in written and preset.dated:
            paths[operation] = f"{written}?api-version={version}"
    return paths


def access_of(
    path: str, keys: ProviderKeys, preset: Preset, lookup: Lookup, problems: Problems, *, url: str, location: str | None
) -> Auth:
    """How requests are authorised that show no key."""
    assert preset.unkeyed is not None
    _check_library(path, preset, lookup, problems, "without an api_key this type")
    if preset.unkeyed is AuthScheme.GOOGLE_OAUTH:
        return Auth(preset.unkeyed, access=_google_access(path, keys, lookup, problems))
    match = _REGION.search(host_of(url) or "")
    region = match[1] if match else location
    if region is None:
        problems.add(child(path, "location"), 'missing key "location": the address names no region to sign for')
    profile = None if keys.profile is UNSET else keys.profile
    return Auth(preset.unkeyed, access={} if profile else _aws_access(lookup), profile=profile, region=region)


def entra_of(path: str, keys: ProviderKeys, preset: Preset, lookup: Lookup, problems: Problems) -> Auth:
    """How requests are authorised by tokens of Microsoft's: those of the environment's principal, if it names one."""
    if keys.api_key is not UNSET:
        problems.add(child(path, "auth"), "there is an api_key as well; leave one of the two out")
    _check_library(path, preset, lookup, problems, "auth: entra")
    found = {name: Secret(value) for name in _AZURE_PRINCIPAL if (value := lookup.env(name))}
    return Auth(AuthScheme.ENTRA, access=found if len(found) == len(_AZURE_PRINCIPAL) else {})


def _check_library(path: str, preset: Preset, lookup: Lookup, problems: Problems, what: str) -> None:
    if not lookup.installed(preset.module):
        problems.add(path, f"{what} needs the library {preset.module}: pip install llm-sidecar[{preset.extra}]")


def _aws_access(lookup: Lookup) -> dict[str, Secret]:
    found = {name: Secret(value) for name in (*_AWS_PAIR, _AWS_TOKEN) if (value := lookup.env(name))}
    return found if found.keys() >= set(_AWS_PAIR) else {}


def _google_access(path: str, keys: ProviderKeys, lookup: Lookup, problems: Problems) -> dict[str, Secret]:
    text = _google_credentials(path, keys, lookup, problems)
    if text is None:
        return {}
    try:
        fields = msgspec.json.decode(text.encode(), type=dict[str, object])
    except msgspec.DecodeError:
        fields = {}
    if not isinstance(fields.get("type"), str):
        problems.add(child(path, "credentials"), 'expected Google credentials: a JSON object with a "type"')
    inner = {name: Secret(value) for name in _GOOGLE_SECRETS if isinstance(value := fields.get(name), str)}
    return {"credentials": Secret(text), **inner}


def _google_credentials(path: str, keys: ProviderKeys, lookup: Lookup, problems: Problems) -> str | None:
    if isinstance(keys.credentials, Text):
        return keys.credentials.value.reveal() or None
    named = lookup.env(_GOOGLE_FILE)
    if not named:
        return None
    try:
        return lookup.file(named)
    except LookupError as error:
        problems.add(path, f"${_GOOGLE_FILE}: {error.args[0] if error.args else 'not found'}")
        return None
