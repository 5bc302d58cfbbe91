"""`${NAME}` and its kin: the only way from a config's text to the environment, files and credentials.

    ${NAME}             a variable of the environment; empty counts as not set
    ${NAME:-default}    the same, with what to use otherwise
    ${file:/path}       a file's content without its last newline
    ${credential:name}  a credential the service manager handed over

Text around and several references in one value are fine; `$${` stands for `${`. What a reference gives
is not looked at again, so that a secret may contain `${`.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

import msgspec

__all__ = ["Lookup", "ResolveError", "Resolved", "Stamp", "resolve"]


class Stamp(NamedTuple):
    """A file that somebody else reads later."""

    path: str  # absolute
    fingerprint: str  # of its content; differs when that differs


class Lookup(Protocol):
    """What is outside the text: given by whoever may read it."""

    def env(self, name: str) -> str | None:
        """A variable of the environment, None when it is not set."""

    def file(self, path: str) -> str:
        """A file's text.

        Raises:
            LookupError: With a message for people.
        """

    def credential(self, name: str) -> str:
        """A credential's text.

        Raises:
            LookupError: With a message for people.
        """

    def stamp(self, path: str) -> Stamp:
        """Where a file is and what stands for its content, which need not be text.

        Raises:
            LookupError: When it cannot be read, with a message for people.
        """

    def installed(self, module: str) -> bool:
        """Whether an optional library is there."""


class ResolveError(Exception):
    """A reference that leads nowhere; the message says which and why."""


class Resolved(msgspec.Struct, frozen=True):
    """A text with its references replaced."""

    text: str
    source: str | None = None  # the references, without defaults: safe to show
    parts: tuple[str, ...] = ()  # what each reference gave
    files: tuple[str, ...] = ()


_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def resolve(text: str, lookup: Lookup) -> Resolved:
    """The text with every reference replaced.

    Raises:
        ResolveError: For a reference that is malformed or leads nowhere.
    """
    if "${" not in text:
        return Resolved(text)
    sources: list[str] = []
    parts: list[str] = []
    files: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        if match[1] is None:
            raise ResolveError('"${" without "}"; for the two characters themselves write $${')
        source, value = _follow(match[1], lookup)
        sources.append(f"${{{source}}}")
        parts.append(value)
        if source.startswith("file:"):
            files.append(source.removeprefix("file:"))
        return value

    replaced = _REFERENCE.sub(replace, text)
    return Resolved(replaced, "".join(sources) or None, tuple(parts), tuple(files))


def _follow(reference: str, lookup: Lookup) -> tuple[str, str]:
    """What to show of a reference, and what it gives."""
    kind, colon, rest = reference.partition(":")
    if colon and kind in ("file", "credential"):
        if not rest:
            raise ResolveError(f"${{{reference}}} names nothing; write ${{{kind}:{_EXAMPLES[kind]}}}")
        try:
            value = lookup.file(rest) if kind == "file" else lookup.credential(rest)
        except LookupError as error:
            raise ResolveError(f"${{{reference}}}: {error.args[0] if error.args else 'not found'}") from None
        return reference, value.removesuffix("\n").removesuffix("\r")
    name, fallback, default = reference.partition(":-")
    if not _NAME.fullmatch(name):
        raise ResolveError(
            f"${{{name}}} is no reference; there are ${{NAME}}, ${{NAME:-default}}, "
            "${file:/path} and ${credential:name}"
        )
    found = lookup.env(name)
    if not found and not fallback:
        raise ResolveError(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
    return name, found or default


_EXAMPLES = {"file": "/run/secrets/key", "credential": "name"}
