"""Addresses as the config writes them: base URLs of providers, and places to listen.

A wrong one is told by the reason alone, never by the text: a URL may hold a password.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

__all__ = ["AddressError", "base_url", "check_listener", "host_of", "is_loopback"]

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?", re.ASCII)
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/%-]*", re.ASCII)


class AddressError(ValueError):
    """An address that cannot be used; the message says why and what would do."""


def base_url(text: str, *, insecure: bool, prefixes: Sequence[str] = ()) -> str:
    """The address without a trailing slash, and without a prefix that the provider's paths carry.

    Raises:
        AddressError: When requests must not, or cannot, be sent there.
    """
    parts = _split(text)
    if parts.scheme not in ("http", "https"):
        raise AddressError("expected an address that starts with https:// or http://")
    if "@" in parts.netloc:
        raise AddressError("an address holds no user or password; use api_key or headers")
    if parts.query or parts.fragment or text.rstrip().endswith(("?", "#")):
        raise AddressError("an address holds no query or fragment")
    if not parts.hostname or not _is_host(parts.hostname):
        raise AddressError("the address names no host")
    if not _PATH.fullmatch(parts.path) or "//" in parts.path or {".", ".."} & set(parts.path.split("/")):
        raise AddressError("the path of the address holds characters or segments that do not belong there")
    if parts.scheme == "http" and not insecure and not _is_loopback(parts.hostname):
        raise AddressError(
            "plain http to another machine shows keys and prompts on the wire; use https, or say insecure: true"
        )
    path = parts.path.rstrip("/")
    path = next((path.removesuffix(prefix) for prefix in prefixes if path.endswith(prefix)), path)
    return f"{parts.scheme}://{parts.netloc}{path}"


def host_of(url: str) -> str | None:
    """The host of an address that `base_url` has seen."""
    return urlsplit(url).hostname


def check_listener(text: str, *, authenticated: bool = False) -> None:
    """See that the text is a place to listen at: `host:port`, or `unix:/path`.

    Args:
        text: As the file has it.
        authenticated: Only who shows a token is answered there, so that other machines may reach it.

    Raises:
        AddressError: When it is neither, or can be reached by those who should not.
    """
    if text.startswith("unix:"):
        if not text.removeprefix("unix:").startswith("/") or "\0" in text:
            raise AddressError("a Unix socket needs an absolute path, such as unix:/run/sidecar/sidecar.sock")
        return
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise AddressError('expected "host:port" or "unix:/path"')
    bare = _bare(host)
    if not bare or not _is_host(bare) or (":" in bare) != (bare != host):
        raise AddressError('expected "host:port" or "unix:/path"; an IPv6 address goes in brackets: "[::1]:4141"')
    if is_loopback(text):
        return
    if not authenticated:
        raise AddressError(
            f"{text} can be reached from other machines, so who may use it must show a token: add "
            "auth: {token_file: /path}; or use 127.0.0.1, [::1] or a Unix socket"
        )
    if not _is_number(bare):
        raise AddressError("the host must be an address of this machine in numbers, such as 10.0.0.5, or 0.0.0.0")


def is_loopback(listener: str) -> bool:
    """Whether only this machine reaches a `host:port`."""
    return _is_loopback(_bare(listener.rpartition(":")[0]))


def _bare(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise AddressError("the address cannot be read; check its host and port") from None
    return parts


def _is_host(host: str) -> bool:
    if _HOST.fullmatch(host):
        return True
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
