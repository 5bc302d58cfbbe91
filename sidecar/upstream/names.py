"""Names of headers as text, and which of them nobody will ask for; knows nothing of values.

Names repeat from response to response, so a bounded number of them is decoded once.
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["field_name"]

_NAMES_MAX = 1024
_OF_NO_INTEREST = frozenset(  # of servers, caches and browsers: they are not even decoded
    {
        "alt-svc",
        "cache-control",
        "connection",
        "date",
        "expires",
        "keep-alive",
        "nel",
        "report-to",
        "server",
        "set-cookie",
        "strict-transport-security",
        "vary",
        "via",
        "x-content-type-options",
        "x-envoy-upstream-service-time",
        "x-powered-by",
    }
)


@lru_cache(maxsize=_NAMES_MAX)
def field_name(name: bytes) -> str:
    """The name in lower case; empty for a header that is of no interest here."""
    text = name.decode("latin-1").lower()
    uninteresting = text in _OF_NO_INTEREST or text.startswith(("cf-", "access-control-", "sec-"))
    return "" if uninteresting else text
