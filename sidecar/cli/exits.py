"""How a command ends: the exit codes that scripts can use, and the error that carries one."""

from __future__ import annotations

__all__ = ["CONFIG", "NO", "OK", "UNREACHABLE", "Failed"]

OK = 0
NO = 1  # the answer is no: not ready, refused, unknown
UNREACHABLE = 69  # sysexits.h EX_UNAVAILABLE: no daemon answers
CONFIG = 78  # sysexits.h EX_CONFIG


class Failed(Exception):  # noqa: N818 - the end of a command, not a mistake of ours
    """The command ends here, with a code and a message for people."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
