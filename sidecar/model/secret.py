"""Text that must not be seen: knows a secret's value, and never shows it by accident."""

from __future__ import annotations

__all__ = ["Secret"]


class Secret:
    """One secret text; `reveal()` is the only way to its value, so that a search finds every use."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself: for an outgoing header, and for the redaction of log lines."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        raise TypeError("a Secret is not serialised")
