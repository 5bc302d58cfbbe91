"""What a provider is shown: its key and its headers, and which of them are secret.

The key in a type's environment variable belongs to that vendor. It is taken without being asked for
only when requests go to the vendor's own host; for any other address the file has to name the key.
"""

from __future__ import annotations

import re

from msgspec import UNSET

from sidecar.config.addresses import host_of
from sidecar.config.clouds import access_of, entra_of
from sidecar.config.presets import Preset
from sidecar.config.problems import Problems, child
from sidecar.config.references import Lookup
from sidecar.config.schema import ProviderKeys
from sidecar.config.values import Text
from sidecar.model.secret import Secret
from sidecar.model.topology import Auth, AuthScheme

__all__ = ["HEADER_NAME", "auth_of", "headers_of"]

HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_TRANSPORTS_OWN = frozenset(
    {
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "accept",
        "accept-encoding",
    }
)
_SECRET_HEADER = re.compile(r"authorization|cookie|.*(key|token|secret|password)")


def auth_of(
    path: str, keys: ProviderKeys, preset: Preset, lookup: Lookup, problems: Problems, *, url: str, location: str | None
) -> Auth:
    """The provider's key: the file's, else that of the type's environment variable, else what does without."""
    if keys.auth is not UNSET and "auth" in preset.takes:
        return entra_of(path, keys, preset, lookup, problems)
    auth = _keyed(path, keys, preset, lookup, problems, url=url)
    if auth.key is not None or preset.unkeyed is None:
        return auth
    return access_of(path, keys, preset, lookup, problems, url=url, location=location)


def _keyed(path: str, keys: ProviderKeys, preset: Preset, lookup: Lookup, problems: Problems, *, url: str) -> Auth:
    if isinstance(keys.api_key, Text):
        source = keys.api_key.source
        _check_value(child(path, "api_key"), keys.api_key.value, problems)
        if keys.api_key.value.reveal():
            scheme = AuthScheme.BEARER if preset.scheme is AuthScheme.NONE else preset.scheme
            return Auth(scheme, keys.api_key.value, source or "api_key")
        return _keyless(path, preset, source, f"api_key is empty{f' ({source})' if source else ''}", problems)
    for variable in preset.keys:
        value = lookup.env(variable)
        reference = f"${{{variable}}}"
        if value and _is_home(url, preset, lookup):
            _check_value(path, Secret(value), problems)
            return Auth(preset.scheme, Secret(value), reference)
        if value:
            reason = f"${variable} is for another host; if this one may have it, write api_key: {reference}"
            return _keyless(path, preset, reference, f"no api_key, and {reason}", problems)
    reference = f"${{{preset.keys[0]}}}" if preset.keys else ""
    missing = " or ".join(f"${variable}" for variable in preset.keys)
    return _keyless(path, preset, reference or None, f"no api_key and {missing} is not set", problems)


def _is_home(url: str, preset: Preset, lookup: Lookup) -> bool:
    """Whether the address is the vendor's; a type that needs no key is a server of one's own anywhere."""
    host = host_of(url) or ""
    if preset.home:
        beside = [host_of(said) for variable in preset.url_keys if (said := lookup.env(variable))]
        return host.endswith(preset.home) or host in beside
    return not preset.needs_key or preset.base_url is None or host == host_of(preset.base_url)


def _keyless(path: str, preset: Preset, source: str | None, reason: str, problems: Problems) -> Auth:
    if not preset.needs_key or preset.unkeyed is not None:
        return Auth(AuthScheme.NONE, None, source)
    problems.warn(path, f"{reason}; its targets are skipped")
    return Auth(preset.scheme, None, source)


def headers_of(path: str, keys: ProviderKeys, preset: Preset, problems: Problems) -> dict[str, str | Secret]:
    """The headers of every request, by their names in lower case."""
    headers: dict[str, str | Secret] = {name.lower(): value for name, value in preset.headers.items()}
    seen: set[str] = set()
    for name, text in ({} if keys.headers is UNSET else keys.headers).items():
        place = child(child(path, "headers"), name)
        lower = name.lower()
        if not HEADER_NAME.fullmatch(name):
            problems.add(place, "this is no header's name")
        elif lower in _TRANSPORTS_OWN:
            problems.add(place, f"{lower} belongs to the connection or the body and cannot be set")
        elif lower in seen:
            problems.add(place, f"{lower} is given twice; capitals make no difference")
        seen.add(lower)
        _check_value(place, text.value, problems)
        secret = text.source is not None or _SECRET_HEADER.fullmatch(lower)
        headers[lower] = text.value if secret else text.value.reveal()
    return headers


def _check_value(path: str, value: Secret, problems: Problems) -> None:
    """Report what no header can carry; the value is not shown."""
    text = value.reveal()
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        problems.add(path, "holds a line break or control character, which no header can carry")
    elif any(ord(char) > 255 for char in text):
        problems.add(path, "holds a character outside of Latin-1, which no header can carry")
