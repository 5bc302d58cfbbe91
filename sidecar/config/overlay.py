"""Lays what the file says over what holds without it: the narrower scope wins key by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from sidecar.config.values import P95, Auto, Off, Section
from sidecar.model.settings import AutoLimit

__all__ = ["overlay"]

S = TypeVar("S", bound=msgspec.Struct)


def overlay(base: S, section: Section | Any) -> S:
    """The value with every key that is in the file replaced; maps inside it likewise."""
    if section is UNSET:
        return base
    known = base.__struct_fields__
    changes: Mapping[str, Any] = {
        name: _value(getattr(base, name), given)
        for name in section.__struct_fields__
        if name in known and (given := getattr(section, name)) is not UNSET
    }
    return msgspec.structs.replace(base, **changes) if changes else base


def _value(current: Any, given: Any) -> Any:
    if isinstance(current, AutoLimit):
        return _limit(current, given)
    if isinstance(given, Section):
        return overlay(given.defaults[0]() if current is None else current, given)
    if isinstance(given, list):
        return tuple(given)
    return None if isinstance(given, Auto | Off | P95) else given


def _limit(current: AutoLimit, given: Any) -> AutoLimit:
    learnt = msgspec.structs.replace(current, fixed_s=None)
    if isinstance(given, Auto):
        return learnt
    return overlay(learnt, given) if isinstance(given, Section) else msgspec.structs.replace(current, fixed_s=given)
