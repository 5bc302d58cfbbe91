"""Images and documents as the dialect writes them in a request.

A document of text is written as text, not as base64. Sound and film it has no words for, nor for files in
another vendor's store.

Source: platform.claude.com/docs/en/build-with-claude/vision, .../pdf-support, .../files (read 2026-11).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sidecar.dialects.anthropic_blocks import DIALECT, cache_field
from sidecar.dialects.losses import changed, dropped
from sidecar.model.blocks import Media, MediaKind
from sidecar.model.hub import Loss

__all__ = ["media_block"]

_TYPES: Mapping[MediaKind, str] = MappingProxyType({MediaKind.IMAGE: "image", MediaKind.DOCUMENT: "document"})
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_STARTS = (("iVBOR", "image/png"), ("/9j/", "image/jpeg"), ("R0lG", "image/gif"), ("UklG", "image/webp"))
_PDF, _TEXT = "application/pdf", "text/plain"
_AS_TEXT = frozenset({"application/json", "application/xml", "application/yaml", "application/x-yaml"})


def media_block(media: Media, path: str, losses: list[Loss], *, own: bool) -> dict[str, Any] | None:
    """The block of a medium without its extra fields; None, and a loss, when there is no such block.

    Args:
        media: What to write.
        path: Where it stands in the request.
        losses: Where is noted what cannot be said.
        own: The client speaks this dialect, so that a file id may be of this vendor.
    """
    kind = _TYPES.get(media.kind)
    if kind is None:
        dropped(losses, path, f"{DIALECT} takes no {media.kind}")
        return None
    if media.file_id is not None and not own:
        dropped(losses, path, "the file is in another vendor's store")
        return None
    source = _source(media, path, losses)
    if source is None:
        return None
    title = {}
    if media.name is not None and media.kind is MediaKind.DOCUMENT:
        title = {"title": media.name}
    elif media.name is not None:
        dropped(losses, f"{path}.name", f"{DIALECT} has no names of images")
    return {"type": kind, "source": source, **title, **cache_field(media.cache)}


def _source(media: Media, path: str, losses: list[Loss]) -> dict[str, Any] | None:
    if media.url is not None:
        return {"type": "url", "url": media.url}
    if media.file_id is not None:
        return {"type": "file", "file_id": media.file_id}
    inline = media.inline or ""
    if media.kind is MediaKind.IMAGE:
        mime = media.mime or next((mime for start, mime in _STARTS if inline.startswith(start)), "image/png")
        known = mime in _IMAGES
    else:
        mime = media.mime or _PDF
        if mime.startswith("text/") or mime in _AS_TEXT:
            return _plain(inline, mime, path, losses)
        known = mime == _PDF
    if not known:
        dropped(losses, path, f"{DIALECT} takes no {media.kind} of type {mime}")
        return None
    return {"type": "base64", "media_type": mime, "data": inline}


def _plain(inline: str, mime: str, path: str, losses: list[Loss]) -> dict[str, Any] | None:
    try:
        text = base64.b64decode(inline).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        dropped(losses, path, f"it is said to be {mime}, and is not UTF-8")
        return None
    if mime != _TEXT:
        changed(losses, path, f"said to be {_TEXT}, for {DIALECT} takes no {mime}")
    return {"type": "text", "media_type": _TEXT, "data": text}
