"""DebugLogger: what happened, as one JSON object a line, to an output, a memory and a live feed.

Knows which line is said at which level and what may not be in it; knows nothing of descriptors. There
are two ways in. Records of attempts and requests are encoded directly, because there is one for every
call. Everything else is an event named `thing.happened` and goes through structlog processors; an
event below the level is dropped before anything is made of it, structlog itself is imported by the
first one. Redaction is the last thing done to values before they are spelled; of a record only its
free text, `error`, is scanned, all else in it is numbers and names.

`level` is about the output only: the memory and the feed get every attempt and request.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from sidecar.model.records import AttemptRecord, Outcome, RequestRecord
from sidecar.model.secret import Secret
from sidecar.model.settings import LogSettings
from sidecar.observe.encode import LineEncoder, head, plain
from sidecar.observe.feed import Subscription
from sidecar.observe.form import Form, form_for
from sidecar.observe.lines import LineWriter
from sidecar.observe.redact import Redactor
from sidecar.observe.window import Window

if TYPE_CHECKING:
    from structlog import BoundLogger

__all__ = ["LEVELS", "DebugLogger", "open_log"]

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_RECENT = 256
_ERROR_CHARS = 500
_TEXT_CHARS = 3000
_WINDOW_S = 1.0
_WINDOW_NS = 1_000_000_000
_SKIPPED = Outcome.SKIPPED.value  # as plain text: an enum's member costs more to look up than to compare
_UNWELL = {Outcome.FAILED.value: "warning", Outcome.TRUNCATED.value: "warning"}
_Begin = tuple[str, int, bytes]  # level, its rank, what the line starts with
_ATTEMPT, _REQUEST = (
    {level: (level, LEVELS[level], head(level, event)) for level in ("info", "warning")}
    for event in ("attempt", "request")
)
_INFO = LEVELS["info"]
_SERVED_STARTS = _ATTEMPT["info"][2], _REQUEST["info"][2]
_ATTEMPT_STARTS: dict[str | None, _Begin] = {
    outcome.value: _ATTEMPT[_UNWELL.get(outcome, "info")] for outcome in Outcome
}
_REQUEST_STARTS: dict[str | None, _Begin] = {
    outcome.value: _REQUEST[_UNWELL.get(outcome, "info")] for outcome in Outcome
}


class DebugLogger:
    """One log, for as long as a manager or the daemon lives.

    Records and subscriptions belong to the event loop's thread; `event` may be called from any.

    Args:
        write: Takes each finished line, newline included, and must not block; None writes nowhere.
        level: The least level that is written: debug, info, warning or error.
        form: How a line looks at the output; None leaves it JSON.
        clock_ns: Wall clock, nanoseconds since 1970.
    """

    def __init__(
        self,
        write: Callable[[bytes], None] | None = None,
        *,
        level: str = "info",
        form: Form | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._write = write
        self._form = form
        self._clock_ns = clock_ns
        self._encoder = LineEncoder(clock_ns)
        self._redactor = Redactor()
        # The same as `hidden` for what a provider calls something; whoever fills in a record with that asks for it.
        self.name = self._redactor.name
        self._recent: deque[bytes] = deque(maxlen=_RECENT)
        self._subscriptions: tuple[Subscription, ...] = ()
        self._window = Window()
        self._window_began_ns = 0
        self._window_timer: asyncio.TimerHandle | None = None
        self._events: BoundLogger | None = None
        self.level = level

    @property
    def level(self) -> str:
        """The least level that is written; may be set at any time."""
        return self._level

    @level.setter
    def level(self, level: str) -> None:
        self._rank = LEVELS[level]
        self._level = level

    def set_secrets(self, secrets: Iterable[Secret]) -> None:
        """The values that no line may show from now on, beside those of the call before."""
        self._redactor.set_secrets(secrets)

    def hidden(self, text: str) -> str:
        """A text of any length without the secrets that are known; for what is told beside the log."""
        return self._redactor.known(text)

    def attempt(self, record: AttemptRecord) -> None:
        """One try at a target, or one that was passed over: of those, at most one a second and reason."""
        outcome = record.outcome
        if outcome == _SKIPPED and not self._admits(record):
            return
        self._record(_ATTEMPT_STARTS.get(outcome, _ATTEMPT["info"]), record)

    def request(self, record: RequestRecord) -> None:
        """What a client asked for and what it got."""
        self._record(_REQUEST_STARTS.get(record.outcome, _REQUEST["info"]), record)

    def served(self, attempt: AttemptRecord, request: RequestRecord) -> None:
        """A request that its only attempt served well, when both are over: their lines, of the same moment."""
        self._put(self._encoder.pair(_SERVED_STARTS, attempt, request), "info", _INFO)

    def event(self, level: str, name: str, /, **keys: object) -> None:
        """Anything else: `event("info", "config.applied", generation=2)`.

        Args:
            level: debug, info, warning or error.
            name: `thing.happened`.
            keys: Values in the order they shall stand; anything that is no JSON becomes text.
        """
        if LEVELS[level] >= self._rank:
            getattr(self._bound(), level)(name, **keys)

    def limited(self, key: str) -> bool:
        """Whether a line of this kind must be left out, because a second has seen ten of them.

        How many were left out is told by a `log.limited` line when the second is over.
        """
        self._enter_window()
        return self._window.limited(key)

    def recent(self, n: int = _RECENT) -> list[bytes]:
        """The last lines of attempts and requests, the newest last; 256 are kept."""
        lines = list(self._recent)
        return lines[max(0, len(lines) - n) :]

    def subscribe(self) -> Subscription:
        """Follow all lines from now on; must be called on the event loop that reads."""
        subscription = Subscription(self._unsubscribe)
        self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def flush(self) -> None:
        """Say what was held back to be counted; the last thing before the writer is closed."""
        self._roll()

    def dropped_line(self, count: int) -> bytes:
        """The line that stands where others are missing, in the form of the output."""
        line = self._dropped_json(count)
        return line if self._form is None else self._form("warning", line)

    def _record(self, begin: _Begin, record: AttemptRecord | RequestRecord) -> None:
        level, rank, start = begin
        if record.error is not None:
            record = msgspec.structs.replace(record, error=self._clean_error(record.error))
        self._put((self._encoder.line(start, record),), level, rank)

    def _put(self, lines: Sequence[bytes], level: str, rank: int) -> None:
        self._recent.extend(lines)
        if self._subscriptions:
            self._publish(lines)
        write = self._write
        if rank >= self._rank and write is not None:
            for line in lines:
                write(line if self._form is None else self._form(level, line))

    def _clean_error(self, error: str) -> str:
        return self._redactor.text(error, _ERROR_CHARS)

    def _clean_text(self, text: str) -> str:
        return self._redactor.text(text, _TEXT_CHARS)

    def _publish(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            for subscription in self._subscriptions:
                subscription.offer(line, self._dropped_json)

    def _unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions = tuple(other for other in self._subscriptions if other is not subscription)

    def _dropped_json(self, count: int) -> bytes:
        return self._encoder.line(head("warning", "log.dropped"), {"count": count})

    # General events: structlog binds, the processors below clean and spell.

    def _bound(self) -> BoundLogger:
        if self._events is None:
            self._events = _bound_logger()(_Spelled(self._say), [self._clean, self._spell], {})
        return self._events

    def _clean(self, _: Any, __: str, keys: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        name = keys.pop("event")
        cleaned = {key: plain(value, self._clean_text) for key, value in keys.items() if value is not None}
        return {"event": name, **cleaned}

    def _spell(self, _: Any, level: str, keys: MutableMapping[str, Any]) -> tuple[tuple[str, bytes], dict[str, Any]]:
        start = head(level, keys.pop("event"))
        return (level, self._encoder.line(start, keys)), {}

    def _say(self, level: str, line: bytes) -> None:
        if self._subscriptions:
            self._publish((line,))
        if self._write is not None:
            self._write(line if self._form is None else self._form(level, line))

    # The window: a timer ends it where a loop runs, the next comer where none does.

    def _admits(self, record: AttemptRecord) -> bool:
        self._enter_window()
        return self._window.admits(record)

    def _enter_window(self) -> None:
        now_ns = self._clock_ns()
        if not 0 <= now_ns - self._window_began_ns < _WINDOW_NS:
            self._roll()
            self._window_began_ns = now_ns
        if self._window_timer is None:
            self._arm()

    def _arm(self) -> None:
        try:
            self._window_timer = asyncio.get_running_loop().call_later(_WINDOW_S, self._roll)
        except RuntimeError:
            self._window_timer = None

    def _roll(self) -> None:
        if self._window_timer is not None:
            self._window_timer.cancel()
            self._window_timer = None
        held, missing = self._window.roll()
        for record, count in held:
            self._record(_ATTEMPT["info"], msgspec.structs.replace(record, count=count))
        for key, count in missing:
            self.event("warning", "log.limited", key=key, count=count)
        if not self._window.empty:
            self._window_began_ns = self._clock_ns()
            self._arm()


def _bound_logger() -> type[BoundLogger]:
    """The logger of structlog, imported at first use, and by a daemon alone: the whole library is 5 % of a start."""
    from structlog._generic import BoundLogger  # noqa: PLC0415 - see above; `structlog.BoundLogger` brings the rest

    return BoundLogger


class _Spelled:
    """The end of the chain: structlog calls the method named as the level with what `_spell` gave."""

    def __init__(self, say: Callable[[str, bytes], None]) -> None:
        self.debug = self.info = self.warning = self.error = say


def open_log(settings: LogSettings, environ: Mapping[str, str] = os.environ) -> tuple[DebugLogger, LineWriter]:
    """The log of a process as the config wants it: the logger, and the writer it writes to.

    On the way out: `logger.flush()`, then `writer.close(timeout_s)`.

    Raises:
        OSError: When the log's file cannot be opened.
    """
    writer = LineWriter(settings.output)
    form = form_for(settings.format, writer.fileno(), environ)
    logger = DebugLogger(writer.write, level=settings.level, form=form)
    writer.notice = logger.dropped_line
    return logger, writer
