"""Who may speak at a door, judged by the request's head alone, before anything is routed.

A web page in the user's browser can reach localhost: by a form, by fetch, by a name that it rebinds to
127.0.0.1. None of these can forge the Host header, hide its Origin, or send `application/json` without
a preflight that never gets an answer. So on TCP: the Host must be ours, an Origin must be allow-listed,
Sec-Fetch-Site must not tell of another site, and a POST must say that it is JSON. No CORS header is ever
sent. A Unix socket cannot be reached by a page; there the form of the request is judged, and who asks.

Who must show a token puts it where SDKs put a key: their only secret is then ours. Tokens are compared by
their digests, every one of them each time, so that the time taken tells nothing of any.

Sources: fetch.spec.whatwg.org (CORS-safelisted requests), w3.org/TR/fetch-metadata (read 2026-11).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256
from urllib.parse import unquote_plus

import msgspec
from multidict import CIMultiDictProxy

__all__ = ["Guard", "Refusal"]

_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_SAME_SITE = frozenset({"none", "same-origin"})
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
_FOR_EVERYBODY = "/healthz"  # says only that the daemon turns
_TOKEN_HEADERS = ("X-Api-Key", "X-Goog-Api-Key", "Api-Key")
_BEARER = "bearer "
_PASSED = "/providers/"
_OF_FORMS = frozenset({"text/plain", "application/x-www-form-urlencoded"})


class Refusal(msgspec.Struct, frozen=True):
    """Why a request is not let in, and the status that says so."""

    status: int
    message: str
    code: str | None = None  # the dialect's own word for it


class Guard:
    """The door of one listener; lives as long as it.

    Args:
        tcp: The listener is reached by TCP, so by any page in a browser.
        port: Of a TCP listener.
        allowed_hosts: More names (with or without a port) under which it may be addressed.
        allowed_origins: Origins whose pages may use it, such as `http://localhost:3000`.
        allow_uids: Of a Unix socket: who may ask; None is everybody.
        tokens: One of them must be shown; none: nothing must.
    """

    def __init__(
        self,
        *,
        tcp: bool,
        port: int = 0,
        allowed_hosts: Iterable[str] = (),
        allowed_origins: Iterable[str] = (),
        allow_uids: Collection[int] | None = None,
        tokens: Iterable[str] = (),
    ) -> None:
        self._tcp = tcp
        self._port = port
        self._hosts = _hosts(port, allowed_hosts) if tcp else frozenset()
        self._origins = frozenset(origin.lower() for origin in allowed_origins)
        self._uids = None if allow_uids is None else frozenset(allow_uids)
        self._tokens = tuple(sha256(token.encode()).digest() for token in tokens)

    def judge(
        self, method: str, target: str, headers: CIMultiDictProxy[str], peer_uid: int | None = None
    ) -> Refusal | None:
        """None when the request may come in.

        Args:
            method: As sent.
            target: The request target, as sent.
            headers: Of the request.
            peer_uid: Who is at the other end of a Unix socket.
        """
        if self._uids is not None and peer_uid not in self._uids:
            return Refusal(403, f"uid {peer_uid} may not use this socket; name it in allow_uids")
        if not target.startswith("/"):
            return Refusal(400, f"the request target must be a path that starts with /, not {target[:80]!r}")
        if self._tcp and (refusal := self._from_a_page(headers)) is not None:
            return refusal
        if self._tokens and target != _FOR_EVERYBODY and not self._knows(headers, target):
            message = "a token of this listener is needed, as `Authorization: Bearer TOKEN` or as your SDK's API key"
            return Refusal(401, message, "invalid_api_key")
        if method in _BODY_METHODS and not (_is_json(headers.get("Content-Type", "")) or _is_passed(target, headers)):
            found = headers.get("Content-Type")
            return Refusal(415, f"content-type must be application/json, not {found[:80] if found else 'missing'}")
        return None

    def _from_a_page(self, headers: CIMultiDictProxy[str]) -> Refusal | None:
        hosts = headers.getall("Host", ())
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            found = ", ".join(hosts)[:80] if hosts else "none"
            ours = f"localhost:{self._port}"
            return Refusal(421, f"host {found!r} is not served here; use {ours}, or name it in allowed_hosts")
        origin = headers.get("Origin")
        if origin is not None and origin.lower() not in self._origins:
            return Refusal(403, f"origin {origin[:80]!r} may not use this listener; name it in allowed_origins")
        site = headers.get("Sec-Fetch-Site")
        if site is not None and site not in _SAME_SITE and origin is None:
            return Refusal(403, f"a request from another site (sec-fetch-site: {site[:20]}) is not answered")
        return None

    def _knows(self, headers: CIMultiDictProxy[str], target: str) -> bool:
        """Whether one of our tokens is shown."""
        known = False
        for shown in _shown(headers, target):
            digest = sha256(shown.encode("utf-8", "surrogateescape")).digest()
            for token in self._tokens:
                known |= hmac.compare_digest(digest, token)
        return known


def _is_passed(target: str, headers: CIMultiDictProxy[str]) -> bool:
    """Whether it goes to a provider as it is, where files are: those are no JSON, and a cancellation has no body.

    A form of another site could send multipart, too; by its Origin it is known.
    """
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    bodiless = not kind and headers.get("Content-Length", "0") == "0" and "Transfer-Encoding" not in headers
    return target.startswith(_PASSED) and (bodiless or (bool(kind) and kind not in _OF_FORMS))


def _shown(headers: CIMultiDictProxy[str], target: str) -> Iterator[str]:
    """What may be a token: an SDK may also fill a place that we did not ask for."""
    authorization = headers.get("Authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        yield authorization[len(_BEARER) :].strip()
    for name in _TOKEN_HEADERS:
        if name in headers:
            yield headers[name]
    path, _, query = target.partition("?")
    if path.startswith("/v1beta/") or (path.startswith("/v1/models/") and ":" in path):
        # The first clients of Gemini's API know no other place; ours is looked at, and goes no further.
        yield from (unquote_plus(pair[4:]) for pair in query.split("&") if pair.startswith("key="))


def _hosts(port: int, allowed: Iterable[str]) -> frozenset[str]:
    """Every exact Host header that is ours; the port may be left out only where it is HTTP's own."""
    hosts = {f"{name}:{port}" for name in _LOCAL_NAMES}
    if port == 80:
        hosts |= set(_LOCAL_NAMES)
    for entry in allowed:
        name = _bracketed(entry.lower())
        hosts |= {name} if _has_port(name) else {name, f"{name}:{port}"}
    return frozenset(hosts)


def _bracketed(name: str) -> str:
    try:
        return f"[{name}]" if ipaddress.ip_address(name).version == 6 else name
    except ValueError:
        return name


def _has_port(name: str) -> bool:
    return name.rpartition("]")[2].count(":") == 1


def _is_json(content_type: str) -> bool:
    return content_type == "application/json" or content_type.partition(";")[0].strip().lower() == "application/json"
