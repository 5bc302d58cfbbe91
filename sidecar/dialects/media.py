"""Media as they are written: `data:` URLs and base64, with what each kind may be.

Source: RFC 2397 (data URLs).
"""

from __future__ import annotations

import base64
import binascii
import re

from sidecar.model.blocks import Media, MediaKind
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure, Kind

__all__ = ["checked_base64", "data_url", "kind_of", "media_of_url"]

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[^;,]*)*)(;base64)?,", re.ASCII)
_KINDS = {"image": MediaKind.IMAGE, "audio": MediaKind.AUDIO, "video": MediaKind.VIDEO}


def kind_of(mime: str | None) -> MediaKind:
    """What a medium of this type is; a document when it is nothing to look at or hear."""
    return _KINDS.get((mime or "").partition("/")[0], MediaKind.DOCUMENT)


def media_of_url(url: str, path: str, kind: MediaKind | None = None) -> Media:
    """The medium at a URL; what a `data:` URL holds is inline.

    Raises:
        ValidationError: When it is a `data:` URL without valid base64.
    """
    match = _DATA_URL.match(url)
    if match is None:
        if url.startswith("data:"):
            raise _wrong(path, "must be a data URL such as data:image/png;base64,...")
        return Media(kind or MediaKind.IMAGE, url=url)
    if match[3] is None:
        raise _wrong(path, "must be base64: data:TYPE;base64,...")
    mime = match[1] or "text/plain"
    return Media(kind or kind_of(mime), mime, inline=checked_base64(url[match.end() :], path))


def checked_base64(text: str, path: str) -> str:
    """The text, if it is base64.

    Raises:
        ValidationError: When it is not.
    """
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(path, "is not valid base64") from None
    return text


def data_url(media: Media) -> str | None:
    """Its URL, as a `data:` URL if it is inline; None when it has neither."""
    if media.inline is not None:
        return f"data:{media.mime or 'application/octet-stream'};base64,{media.inline}"
    return media.url


def _wrong(path: str, words: str) -> ValidationError:
    return ValidationError(failure=Failure(Kind.INVALID_REQUEST, f"{path} {words}", param=path))
