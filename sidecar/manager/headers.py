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

__all__ = ["BODYLESS", "EVENT_STREAM", "ReplyHeaders", "header_lines", "own_headers", "reply_headers"]

_REPEATED_CHARS_MAX = 512  # a client can make up a model of any length, and what was sent is kept for a while
BODYLESS = frozenset({204, 304})  # says the status, so that nothing may follow the head (RFC 9112 section 6.3)
EVENT_STREAM = "text/event-stream; charset=utf-8"
_LOSSES_MAX = 20  # told in a header


class ReplyHeaders(msgspec.Struct, gc=False):
    """The headers of one answer as pairs, kept as HTTP/1.1 writes them down."""

    shared: str  # those that many answers have in common
    own: str

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for line in (self.shared + self.own).split("\r\n")[:-1]:
            name, _, value = line.partition(": ")
            yield name, value


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
    own = own_headers(request_id, upstream or {}, dialect)
    if losses:
        own += f"x-sidecar-losses: {_lost(losses)}\r\n"
    if retry_after_s is not None:
        own += f"retry-after: {math.ceil(retry_after_s)}\r\n"
    if no_retry:
        own += "x-should-retry: false\r\n"
    return ReplyHeaders(repeated(content_type, generation, target, attempts), own)


def own_headers(request_id: str, upstream: Mapping[str, str], dialect: Dialect) -> str:
    """Those of `reply_headers` that an answer has in common with no other, as HTTP/1.1 writes them down."""
    lines = f"x-request-id: {request_id}\r\n"
    if dialect is Dialect.ANTHROPIC_MESSAGES:
        lines += f"request-id: {request_id}\r\n"
    for name, value in upstream.items():
        passes = _passes(name)
        if passes is not None:
            lines += f"{passes}: {_printable(value)}\r\n"
    return lines


@lru_cache(maxsize=256)
def _repeated(content_type: str, generation: int, target: str | None, attempts: str) -> str:
    """What most answers have in common with the one before."""
    headers = [("content-type", _printable(content_type)), ("x-sidecar-generation", str(generation))]
    if target is not None:
        headers.append(("x-sidecar-target", _printable(target)))
    if attempts:
        headers.append(("x-sidecar-attempts", _printable(attempts)))
    return header_lines(headers)


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
