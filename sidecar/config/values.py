"""What stands behind a key of the file: the types of values, with their units and limits, and the map of keys.

A type's unit is a note on it (`kind`) that the decoder, the messages and the editor's schema read.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, UnsetType

from sidecar.model.secret import Secret

__all__ = [
    "P95",
    "Amount",
    "AtLeastOne",
    "Auto",
    "Count",
    "Duration",
    "FileMode",
    "Maybe",
    "Off",
    "Percent",
    "Positive",
    "SecretText",
    "Section",
    "Share",
    "Size",
    "Text",
    "Weight",
    "doc",
]

T = TypeVar("T")
Maybe: TypeAlias = T | UnsetType

_UNITS = ("_s", "_bytes", "_tokens")


def _key(field: str) -> str:
    return next((field.removesuffix(unit) for unit in _UNITS if field.endswith(unit)), field)


def doc(text: str) -> Meta:
    """The description of a key."""
    return Meta(description=text)


def _kind(name: str) -> Meta:
    return Meta(extra={"kind": name})


class Text(msgspec.Struct, frozen=True):
    """A text that may be secret: a key or a header's value."""

    value: Secret
    source: str | None  # the references it came from, such as "${OPENAI_API_KEY}"


class Auto(StrEnum):
    """The word for a limit that is found rather than given; None in the compiled values."""

    AUTO = "auto"


class Off(StrEnum):
    """The word for what is not done; None in the compiled values."""

    OFF = "off"


class P95(StrEnum):
    """The word for a target's own 95th percentile; None in the compiled values."""

    P95 = "p95"


Duration = Annotated[float, _kind("duration"), Meta(ge=0)]
Positive = Annotated[float, _kind("duration"), Meta(gt=0)]
Size = Annotated[int, _kind("size"), Meta(gt=0)]
FileMode = Annotated[int, _kind("mode")]
SecretText = Annotated[Text, _kind("text")]
Count = Annotated[int, Meta(ge=0)]
AtLeastOne = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Percent = Annotated[float, _kind("percent"), Meta(ge=0, le=100)]
Weight = Annotated[float, Meta(ge=0)]


class Section(msgspec.Struct, frozen=True, kw_only=True, rename=_key, forbid_unknown_fields=True):
    """A map of the file with known keys."""

    defaults: ClassVar[tuple[type[msgspec.Struct], ...]] = ()
