"""The headers of an answer to the client: ours, and the provider's that an allow-list lets through.

A failed attempt's headers never reach the client: only those of the attempt that answers are given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from sidecar.model.hub import Loss
from sidecar.model.topology import Dialect

__all__ = ["EVENT_STREAM", "ReplyHeaders", "SharedHeaders", "header_lines", "own_headers", "reply_headers"]

_REPEATED_CHARS_MAX = 512  # a client can make up a model of any length, and what was sent is kept for a while
EVENT_STREAM = "text/event-stream; charset=utf-8"
_LOSSES_MAX = 20  # told in a header


class SharedHeaders(msgspec.Struct, frozen=True):
    """Those that many answers have in common, and the same as HTTP/1.1 writes them down."""

    pairs: tuple[tuple[str, str], ...]
    lines: str


class ReplyHeaders(msgspec.Struct):
    """The headers of one answer, as pairs."""

    shared: SharedHeaders
    own: list[tuple[str, str]]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        yield from self.shared.pairs
        yield from self.own

    @property
    def lines(self) -> str:
        """As HTTP/1.1 writes them down."""
        return self.shared.lines + header_lines(self.own)


def header_lines(headers: Sequence[tuple[str, str]]) -> str:
    """Headers as HTTP/1.1 writes them down."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers])


def reply_headers(
    request_id: str,
    content_type: str,
    attempts: str,
    *,
    generation: int,
    target: str | None = None,
    upstream: Mapping[str, str] | None = None,
    retry_after_s: float | None = None,
    no_retry: bool = False,
    losses: Sequence[Loss] = (),
    dialect: Dialect = Dialect.OPENAI_CHAT,
) -> ReplyHeaders:
    """The headers, content type first.

    Args:
        request_id: Ours, or the client's.
        content_type: Of the body.
        attempts: Each so far, in a line.
        generation: Of the snapshot that served.
        target: The one that answered.
        upstream: The headers of its answer, in lower case.
        retry_after_s: Seconds; sent rounded up.
        no_retry: Tell SDKs not to multiply our attempts by theirs.
        losses: What the translation to the target that answered could not say.
        dialect: Of the client: Anthropic's SDK reads the request's id under a name of its own.
    """
    repeated = _repeated if len(attempts) <= _REPEATED_CHARS_MAX else _repeated.__wrapped__
    headers = own_headers(request_id, upstream or {}, dialect)
    if losses:
        headers.append(("x-sidecar-losses", _lost(losses)))
    if retry_after_s is not None:
        headers.append(("retry-after", str(math.ceil(retry_after_s))))
    if no_retry:
        headers.append(("x-should-retry", "false"))
    return ReplyHeaders(repeated(content_type, generation, target, attempts), headers)


def own_headers(request_id: str, upstream: Mapping[str, str], dialect: Dialect) -> list[tuple[str, str]]:
    """Those of `reply_headers` that an answer has in common with no other."""
    headers = [("x-request-id", request_id)]
    if dialect is Dialect.ANTHROPIC_MESSAGES:
        headers.append(("request-id", request_id))
    for name, value in upstream.items():
        passes = _passes(name)
        if passes is not None:
            headers.append((passes, _printable(value)))
    return headers


@lru_cache(maxsize=256)
def _repeated(content_type: str, generation: int, target: str | None, attempts: str) -> SharedHeaders:
    """What most answers have in common with the one before."""
    headers = [("content-type", _printable(content_type)), ("x-sidecar-generation", str(generation))]
    if target is not None:
        headers.append(("x-sidecar-target", _printable(target)))
    if attempts:
        headers.append(("x-sidecar-attempts", _printable(attempts)))
    return SharedHeaders(tuple(headers), header_lines(headers))


def _lost(losses: Sequence[Loss]) -> str:
    """`logit_bias=dropped,max_tokens=added`; the log tells the reasons."""
    shown = [f"{_printable(loss.path).replace(',', '?')}={loss.how.value}" for loss in losses[:_LOSSES_MAX]]
    more = len(losses) - len(shown)
    return ",".join(shown) + (f",and {more} more" if more else "")


def _printable(text: str) -> str:
    """A text as a header may hold it: a client can put anything into a model's name, a provider into its headers."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)


@lru_cache(maxsize=1024)
def _passes(name: str) -> str | None:
    """The name under which a provider's header goes to the client; None when it does not."""
    if name in ("x-request-id", "request-id"):
        return "x-sidecar-upstream-request-id"
    if name.startswith(("retry-after", "openai-")) or "ratelimit-" in name:
        return name
    return None
