"""Why a request, or a whole connection, is not let in: told to the client in its dialect, and to the log.

One line of the log for each, until a second has seen too many of them. What a client sent is never
trusted to be text: a path may hold any bytes, a query a key.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.dialects.table import errors
from sidecar.manager import LLMManager
from sidecar.manager.headers import reply_headers
from sidecar.model.failures import Failure, Kind
from sidecar.model.topology import ClientDialect, Dialect

__all__ = ["Refusals", "refused"]

_PATH_CHARS = 200


def refused(status: int, message: str, code: str | None = None) -> Failure:
    """The failure of a request that is not right in itself."""
    text = message.encode("utf-8", "backslashreplace").decode()
    return Failure(Kind.INVALID_REQUEST, text, status=status, code=code)


class Refusals:
    """Says no for a manager's doors; lives as long as they.

    Args:
        manager: Whose log and generation they are.
    """

    def __init__(self, manager: LLMManager) -> None:
        self._manager = manager

    def told(
        self,
        failure: Failure,
        request_id: str,
        *,
        method: str | None = None,
        path: str | None = None,
        peer_uid: int | None = None,
        dialect: ClientDialect = Dialect.OPENAI_CHAT,
        extra: Sequence[tuple[str, str]] = (),
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """The status, headers and body of the answer; writes the line.

        Args:
            failure: Why; also the status.
            request_id: Ours, or the client's.
            method: None when the head could not be read.
            path: The same; without its query.
            peer_uid: Of a Unix socket.
            dialect: That the client is told in.
            extra: More headers.
        """
        status = failure.client_status
        log = self._manager.log
        if not log.limited("request.refused"):
            log.event(
                "warning",
                "request.refused",
                request_id=request_id,
                method=method,
                path=path[:_PATH_CHARS] if path else path,
                peer_uid=peer_uid,
                status=status,
                error=failure.message,
            )
        body, content_type = errors(dialect).encode_failure(failure)
        headers = reply_headers(
            request_id,
            content_type,
            "",
            generation=self._manager.snapshot.generation,
            retry_after_s=failure.retry_after_s,
            dialect=dialect,
        )
        return status, [*headers, *extra], body
