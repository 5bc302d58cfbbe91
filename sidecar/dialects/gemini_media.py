"""Media in Gemini's parts: `inlineData` holds the bytes, `fileData` says where they are.

A `fileUri` is a URL that anyone may read, or the name of a file in Google's own stores (the Files API, a
bucket), which no other vendor can. The type of what is inline must be said; where the client did not,
it is taken from the address, for Google goes by it.

Base64 may come in the alphabet for URLs and without padding, as the vendor's own SDK writes it; the hub
holds the common alphabet, which is what every other dialect reads.

Source: ai.google.dev/gemini-api/docs/file-input-methods (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sidecar.dialects.gemini_fields import restored, string, wrong
from sidecar.dialects.losses import NOTE, added, changed, dropped, foreign
from sidecar.dialects.media import checked_base64, kind_of
from sidecar.model.blocks import Media, MediaKind
from sidecar.model.hub import Loss
from sidecar.model.topology import Dialect

__all__ = ["decode_file", "decode_inline", "encode_media"]

_OWN = Dialect.GEMINI_GENERATE
_URL_ALPHABET = str.maketrans("-_", "+/")
_STORED = re.compile(r"https://generativelanguage\.googleapis\.com/[^?]*\bfiles/")
_SUFFIX = re.compile(r"\.([A-Za-z0-9]{2,5})(?:[?#].*)?$")
_MIMES: Mapping[str, str] = MappingProxyType(
    {
        "png": "image/png",
        "jpg": "image/jpeg",
        "jpeg": "image/jpeg",
        "gif": "image/gif",
        "webp": "image/webp",
        "heic": "image/heic",
        "mp3": "audio/mp3",
        "wav": "audio/wav",
        "ogg": "audio/ogg",
        "flac": "audio/flac",
        "mp4": "video/mp4",
        "mov": "video/mov",
        "webm": "video/webm",
        "pdf": "application/pdf",
        "txt": "text/plain",
        "html": "text/html",
        "csv": "text/csv",
    }
)
_USUAL: Mapping[MediaKind, str] = MappingProxyType(
    {
        MediaKind.IMAGE: "image/jpeg",
        MediaKind.AUDIO: "audio/mp3",
        MediaKind.VIDEO: "video/mp4",
        MediaKind.DOCUMENT: "application/pdf",
    }
)
_VIDEO_HOSTS = ("https://www.youtube.com/", "https://youtube.com/", "https://youtu.be/")


def decode_inline(blob: Mapping[str, Any], path: str, extra: Mapping[str, Any]) -> Media:
    """The medium of an `inlineData`.

    Args:
        blob: Its value.
        path: Of it.
        extra: What else the part holds.
    """
    mime = _optional(blob, "mimeType", path)
    text = string(blob.get("data"), f"{path}.data").translate(_URL_ALPHABET).rstrip("=")
    data = checked_base64(text + "=" * (-len(text) % 4), f"{path}.data")
    rest = _rest(blob, "inlineData", {"mimeType", "data", "displayName"})
    if data != blob["data"]:
        rest[f"{NOTE}inlineData.data"] = blob["data"]
    return Media(kind_of(mime), mime, inline=data, name=_optional(blob, "displayName", path), extra={**extra, **rest})


def decode_file(blob: Mapping[str, Any], path: str, extra: Mapping[str, Any]) -> Media:
    """The medium of a `fileData`; arguments as for `decode_inline`."""
    mime = _optional(blob, "mimeType", path)
    uri = string(blob.get("fileUri"), f"{path}.fileUri")
    if not uri:
        raise wrong(f"{path}.fileUri", "an address", uri)
    name = _optional(blob, "displayName", path)
    rest = {**extra, **_rest(blob, "fileData", {"mimeType", "fileUri", "displayName"})}
    kind = kind_of(mime or _mime_of(uri))
    if mime is None and uri.startswith(_VIDEO_HOSTS):
        kind = MediaKind.VIDEO
    if uri.startswith(("http://", "https://")) and not _STORED.match(uri):
        return Media(kind, mime, url=uri, name=name, extra=rest)
    return Media(kind, mime, file_id=uri, name=name, extra=rest)


def _optional(blob: Mapping[str, Any], name: str, path: str) -> str | None:
    value = blob.get(name)
    return None if value is None else string(value, f"{path}.{name}")


def _rest(blob: Mapping[str, Any], holder: str, known: set[str]) -> dict[str, Any]:
    return {f"{holder}.{name}": value for name, value in blob.items() if name not in known or value is None}


def _mime_of(address: str) -> str | None:
    suffix = _SUFFIX.search(address)
    return _MIMES.get(suffix[1].lower()) if suffix else None


def encode_media(media: Media, path: str, losses: list[Loss], *, own: bool) -> dict[str, Any] | None:
    """The part that a medium is; None when it cannot be said.

    Args:
        media: What.
        path: Of it.
        losses: Where what cannot be said is noted.
        own: It comes from this dialect.
    """
    if media.file_id is not None and not own:
        dropped(losses, path, f"the file {media.file_id} is in another provider's store")
        return None
    if media.cache is not None:
        dropped(losses, f"{path}.cache_control", "Gemini caches prompts by itself")
    blob: dict[str, Any] = {"mimeType": media.mime} if media.mime is not None else {}
    if media.mime is not None and kind_of(media.mime) is not media.kind:
        changed(losses, path, f"what is {media.mime} is no {media.kind.value} to Gemini")
    if media.name is not None:
        blob["displayName"] = media.name
    address = media.url or media.file_id
    part: dict[str, Any]
    if media.inline is not None:
        part = {"inlineData": {**blob, "data": media.inline}}
    else:
        part = {"fileData": {**blob, "fileUri": address or ""}}
    if own:
        return restored(part, media.extra)
    foreign(losses, media.extra, path, _OWN)
    if media.mime is None:
        holder = part["inlineData" if media.inline is not None else "fileData"]
        holder["mimeType"] = _mime_of(address or media.name or "") or _USUAL[media.kind]
        added(losses, f"{path}.mimeType", f"Gemini must be told the type; {holder['mimeType']} is assumed")
    return part
