"""Where the sidecar listens and who is answered there: the keys of `listen`, `admin` and `metrics`, and their rules.

Other machines, and the admin plane over TCP, are for those alone who show a token. What makes sense on a
Unix socket only is refused elsewhere, because a rule that guards nothing would be taken for one that does.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta
from msgspec.structs import replace

from sidecar.config.addresses import AddressError, check_listener, is_loopback
from sidecar.config.overlay import overlay
from sidecar.config.problems import Problems, child, item
from sidecar.config.references import Lookup
from sidecar.config.values import Count, FileMode, Maybe, Section, doc
from sidecar.model import settings
from sidecar.model.secret import Secret
from sidecar.model.settings import ListenAuth, ListenSettings

__all__ = ["AdminKeys", "ListenKeys", "MetricsKeys", "compile_admin", "compile_listens", "compile_metrics", "tokens_of"]

_MIN_TOKEN_CHARS = 16
_OF_A_FILE = ("mode", "group", "owner", "allow_uids")


class AuthKeys(Section, frozen=True):
    """What a client must show, in `Authorization: Bearer`, or where its SDK puts a key."""

    defaults = (settings.ListenAuth,)

    token_file: Annotated[
        str, doc("A file of tokens, one a line; any of them will do. It is watched: tokens rotate without a restart.")
    ]


class ListenKeys(Section, frozen=True):
    """One listener."""

    defaults = (settings.ListenSettings,)

    address: Annotated[str, doc("`host:port` or `unix:/path`. An address that other machines can reach needs `auth`.")]
    mode: Annotated[Maybe[FileMode], doc("Permissions of a Unix socket, in quotes.")] = UNSET
    group: Annotated[Maybe[str], doc("The group that owns a Unix socket.")] = UNSET
    owner: Annotated[Maybe[str], doc("The user who owns a Unix socket, by name; only root can give it away.")] = UNSET
    allow_uids: Annotated[
        Maybe[list[Count]], doc("Uids that are answered on a Unix socket, as the kernel tells them. Default: all.")
    ] = UNSET
    auth: Annotated[Maybe[AuthKeys], doc("Answers only who shows a token; `/healthz` answers everybody.")] = UNSET
    allowed_hosts: Annotated[
        Maybe[list[str]], doc("Host headers that are accepted beside localhost and its addresses.")
    ] = UNSET
    allowed_origins: Annotated[Maybe[list[str]], doc("Web origins whose requests are accepted.")] = UNSET


class AdminKeys(Section, frozen=True):
    """The admin plane's own listener."""

    defaults = (settings.ListenSettings,)

    listen: Annotated[
        str, doc("`unix:/path`, for its owner alone unless `mode` says otherwise; or `host:port`, which needs `auth`.")
    ]
    mode: Annotated[
        Maybe[FileMode],
        Meta(description="Permissions of the socket, in quotes.", extra_json_schema={"default": "0600"}),
    ] = UNSET
    group: Annotated[Maybe[str], doc("The group that owns the socket.")] = UNSET
    owner: Annotated[Maybe[str], doc("The user who owns the socket, by name.")] = UNSET
    allow_uids: Annotated[Maybe[list[Count]], doc("As for `listen`.")] = UNSET
    auth: Annotated[Maybe[AuthKeys], doc("As for `listen`.")] = UNSET
    allowed_hosts: Annotated[Maybe[list[str]], doc("As for `listen`.")] = UNSET
    allowed_origins: Annotated[Maybe[list[str]], doc("As for `listen`.")] = UNSET


class MetricsKeys(Section, frozen=True):
    """A listener of its own for `GET /metrics`, for a Prometheus that cannot reach the admin plane."""

    defaults = (settings.ListenSettings,)

    listen: Annotated[str, doc("As `listen.address`.")]
    mode: Annotated[Maybe[FileMode], doc("As for `listen`.")] = UNSET
    group: Annotated[Maybe[str], doc("As for `listen`.")] = UNSET
    owner: Annotated[Maybe[str], doc("As for `listen`.")] = UNSET
    allow_uids: Annotated[Maybe[list[Count]], doc("As for `listen`.")] = UNSET
    auth: Annotated[Maybe[AuthKeys], doc("As for `listen`.")] = UNSET
    allowed_hosts: Annotated[Maybe[list[str]], doc("As for `listen`.")] = UNSET


def compile_listens(entries: list[str | ListenKeys], lookup: Lookup, problems: Problems) -> tuple[ListenSettings, ...]:
    """The listeners of the data plane."""
    if not entries:
        problems.add("listen", "expected at least one address")
    found: list[ListenSettings] = []
    for index, entry in enumerate(entries):
        path = item("listen", index)
        keys = ListenKeys(address=entry) if isinstance(entry, str) else entry
        place = path if isinstance(entry, str) else child(path, "address")
        if any(keys.address == other.address for other in found):
            problems.add(path, f"{keys.address} is listed twice")
        found.append(_listener(ListenSettings(keys.address), keys, lookup, problems, path=path, place=place))
    return tuple(found)


def compile_admin(keys: AdminKeys, lookup: Lookup, problems: Problems) -> ListenSettings:
    """The admin plane's listener."""
    base = ListenSettings(keys.listen, mode=0o600)
    compiled = _listener(base, keys, lookup, problems, path="admin", place="admin.listen")
    if not _is_unix(keys.listen) and is_loopback(keys.listen) and compiled.auth is None:
        problems.add("admin.listen", "every process of this machine can reach it: add auth, or use unix:/path")
    return compiled


def compile_metrics(keys: MetricsKeys, lookup: Lookup, problems: Problems) -> ListenSettings:
    """The listener of `/metrics` alone."""
    return _listener(ListenSettings(keys.listen), keys, lookup, problems, path="metrics", place="metrics.listen")


def tokens_of(settings: ListenSettings | None) -> tuple[Secret, ...]:
    """What a listener's clients may show."""
    return settings.auth.tokens if settings is not None and settings.auth is not None else ()


def _listener(
    base: ListenSettings,
    keys: ListenKeys | AdminKeys | MetricsKeys,
    lookup: Lookup,
    problems: Problems,
    *,
    path: str,
    place: str,
) -> ListenSettings:
    try:
        check_listener(base.address, authenticated=keys.auth is not UNSET)
    except AddressError as error:
        problems.add(place, str(error))
    if not _is_unix(base.address):
        for name in _OF_A_FILE:
            if getattr(keys, name) is not UNSET:
                problems.add(child(path, name), "only a Unix socket has it; remove it, or listen at unix:/path")
    if keys.allow_uids == []:
        problems.add(child(path, "allow_uids"), "names nobody; name those who may ask, or leave it out for all")
    compiled = overlay(base, keys)
    if compiled.auth is None:
        return compiled
    return replace(compiled, auth=_with_tokens(compiled.auth, child(path, "auth.token_file"), lookup, problems))


def _with_tokens(auth: ListenAuth, path: str, lookup: Lookup, problems: Problems) -> ListenAuth:
    """The same with what the file holds; a line that is empty or begins with # is none. No token is ever shown."""
    try:
        text = lookup.file(auth.token_file)
    except LookupError as error:
        problems.add(path, str(error.args[0] if error.args else "not found"))
        return auth
    lines = enumerate(map(str.strip, text.split("\n")), 1)
    tokens = {number: line for number, line in lines if line and not line.startswith("#")}
    if not tokens:
        problems.add(path, f"{auth.token_file} holds no token; write one a line")
    for number, token in tokens.items():
        if not (token.isascii() and token.isprintable()) or " " in token:
            problems.add(path, f"{auth.token_file}:{number}: a token is printable ASCII without spaces")
        elif len(token) < _MIN_TOKEN_CHARS:
            problems.warn(
                path, f"{auth.token_file}:{number}: shorter than {_MIN_TOKEN_CHARS} characters, easy to guess"
            )
    return replace(auth, tokens=tuple(dict.fromkeys(map(Secret, tokens.values()))))


def _is_unix(address: str) -> bool:
    return address.startswith("unix:")
