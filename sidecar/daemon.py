"""The composition root: builds the rooms, opens the doors, follows the config, and stops in good order.

    1  capture the environment, and what the service manager hands over
    2  load the config; a bad one is exit 78, or gives way to the last good one
    3  open the log
    4  make the manager
    5  bind every listener that was not handed over
    6  serve; `daemon.started`, READY
    7  watch the config, check health, feed the watchdog
    8  on SIGTERM: not ready, STOPPING, close the doors, drain, flush, exit 0

The only file that wires; it decides nothing that a room could decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import msgspec
import uvloop

from sidecar import __version__, notify
from sidecar.manager import LLMManager
from sidecar.manager.status import gauges
from sidecar.model.errors import ConfigurationError
from sidecar.model.settings import ListenSettings
from sidecar.model.topology import Snapshot
from sidecar.notify import Notifier
from sidecar.observe.capture import Capture
from sidecar.observe.form import journal
from sidecar.observe.lag import LoopLag
from sidecar.observe.lines import LineWriter
from sidecar.observe.log import open_log
from sidecar.observe.metrics import Gauge
from sidecar.observe.output import is_journal
from sidecar.reload import Reloader
from sidecar.server import activation
from sidecar.server.activation import NOTHING, Inherited, inherit
from sidecar.server.admin_plane import Daemon as AdminView
from sidecar.server.admin_plane import admin_places, metrics_places
from sidecar.server.door import Hall
from sidecar.server.doors import Doors
from sidecar.server.listen import Listener, bind
from sidecar.server.side_door import SideDoor, fit_for_admin
from sidecar.sources.configuration import ConfigurationManager, Written
from sidecar.sources.last_good import LastGood
from sidecar.sources.places import default_admin_path, make_private_directory
from sidecar.sources.secrecy import keep_secrets
from sidecar.sources.start import Start, start
from sidecar.unread import leave_unread
from sidecar.upstream.factory import prepare

__all__ = ["EXIT_CONFIG", "EXIT_CRASH", "run"]

EXIT_CONFIG = 78  # sysexits.h: EX_CONFIG
EXIT_CRASH = 70  # EX_SOFTWARE
_FLUSH_S = 5.0
_GC_OBJECTS = 10_000  # more are made before the collector looks: requests leave no cycles behind
_SWITCH_S = 0.001  # the loop waits so long for a thread that computes, such as the one that compiles an edit
_FLOOD_REQUESTS = 200  # under way at once
_LARGE_BLOCK_BYTES = 2 << 20
_IN_PART = ("structlog", "watchfiles")  # we format nothing with the one, and run no processes with the other
_LAST_WORDS_S = 2.0  # for error events to reach their clients

_T = TypeVar("_T")


class Service(NamedTuple):
    """What a service manager gives a process to live with; without one, nothing."""

    notifier: Notifier
    inherited: Inherited
    last_good: LastGood | None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Service:
        """What it gave this process, which must be asked once.

        Raises:
            ConfigurationError: When a socket that it handed over cannot be served on.
        """
        pid = os.getpid()
        given = cls(Notifier.of(environ, pid), inherit(environ, pid), LastGood.of(environ))
        notify.forget()
        activation.forget()
        return given

    @property
    def patient(self) -> bool:
        """Whether a start with a wrong config would be tried again and again: better to serve what can be served."""
        return self.last_good is not None or self.inherited != NOTHING


def run(config: str | None, *, strict: bool = False) -> int:
    """Serve until a signal; the exit code of the process.

    Args:
        config: The config's path; None finds it in the usual places.
        strict: Refuse to start with a config that is wrong, whatever else there is.
    """
    for package in _IN_PART:
        leave_unread(package)
    environ = keep_secrets()
    try:
        service = Service.of(environ)
        configuration = ConfigurationManager(config, environ=environ)
        lenient = service.patient and not strict
        began = start(configuration, service.last_good) if lenient else Start(configuration.load())
        configuration.initial = began.snapshot
        log, writer = open_log(began.snapshot.settings.log, environ)
    except (ConfigurationError, OSError) as error:
        _refuse(error, environ)
        return EXIT_CONFIG
    _allow_descriptors()
    sys.setswitchinterval(_SWITCH_S)
    capture = Capture(log)
    capture.install()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            capture.watch(runner.get_loop())
            manager = LLMManager(configuration, debug_logger=log)
            runner.run(Daemon(manager, writer, environ, service, began).serve())
    except ConfigurationError as error:
        log.event("error", "daemon.failed", error=str(error))
        return EXIT_CONFIG
    except Exception:  # noqa: BLE001 - the process's outermost door: the log gets the traceback, then it ends
        sys.excepthook(*sys.exc_info())
        return EXIT_CRASH
    finally:
        log.flush()
        writer.close(_FLUSH_S)
        capture.uninstall()
    return 0


def _refuse(error: Exception, environ: Mapping[str, str]) -> None:
    """Say why there will be no daemon, to whom there is: its log was never opened."""
    for line in f"sidecar: {error}".splitlines():
        text = journal("error", line.encode()).decode() if is_journal(sys.stderr.fileno(), environ) else line
        print(text, file=sys.stderr)  # noqa: T201 - see above


class Daemon:
    """One serving process, from its first listener to its last.

    Args:
        manager: Its heart.
        writer: Of its log.
        environ: Where the default place of the admin socket is looked up.
        service: What the service manager gave.
        began: What the manager begins with.
    """

    def __init__(
        self, manager: LLMManager, writer: LineWriter, environ: Mapping[str, str], service: Service, began: Start
    ) -> None:
        self._manager = manager
        self._service = service
        self._notifier = service.notifier
        self._writer = writer
        self._environ = environ
        self._began = monotonic()
        self._hall = Hall(manager)
        self._doors = Doors(manager, self._hall, service.inherited.data)
        self._reloader = Reloader(manager, self._take_over, around=self._reloading, rejected=began.problems)
        if not began.answers:
            manager.out_of_service = manager.snapshot.warnings[0]
        self._stopping = asyncio.Event()
        self._leaving = asyncio.Event()  # a second signal: now
        self._admin: SideDoor | None = None
        self._metrics: SideDoor | None = None
        self._lag = LoopLag()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serve(self) -> None:
        """Serve until `stop`.

        Raises:
            ConfigurationError: When a listener cannot be bound.
        """
        self._watch_signals()
        manager = self._manager
        manager.metrics.gauges = self._gauges
        try:
            await self._doors.commit(self._doors.prepare(manager.snapshot.settings.listen), linger_s=0)
            async with self._side_doors():
                gc.freeze()  # what start-up made lives on
                gc.set_threshold(_GC_OBJECTS, 20, 20)
                _keep_pages()
                self._say_started()
                self._notifier.ready(self._in_short())
                self._spawn(self._keep_config(manager.configuration.written))
                self._spawn(self._notifier.keep_alive())
                self._spawn(self._reloader.run())
                self._spawn(manager.run_health_checks())
                self._spawn(_give_memory_back(manager))
                self._spawn(_prepare(manager.snapshot))
                self._spawn(self._lag.run())
                await self._stopping.wait()
                await self._drain()
        finally:
            await self._end()
        manager.log.event("info", "daemon.stopped", uptime_s=round(monotonic() - self._began, 3))

    def stop(self) -> None:
        """Begin to drain; asked a second time, leave at once."""
        if self._stopping.is_set():
            self._leaving.set()
        self._stopping.set()

    def status(self) -> dict[str, Any]:
        """What only the daemon knows of the status."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(monotonic() - self._began, 3),
            "draining": self._stopping.is_set(),
            "listen": self._doors.addresses,
            **self._reloader.status(),
        }

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload_by_signal()))

    async def _reload_by_signal(self) -> None:
        self._writer.reopen()  # whoever rotates logs expects it of this signal
        await self._reloader.reload()

    @contextlib.contextmanager
    def _reloading(self) -> Iterator[None]:
        """Tell the service manager of a look at the config; nothing once it knows that we stop."""
        if self._stopping.is_set():
            yield
            return
        self._notifier.reloading()
        try:
            yield
        finally:
            if not self._stopping.is_set():
                self._notifier.ready(self._in_short())
                self._spawn(self._keep_config(self._manager.configuration.written))

    def _in_short(self) -> str:
        """The state in one line, for people who ask the service manager."""
        snapshot, reloader = self._manager.snapshot, self._reloader
        text = f"generation {snapshot.generation}, {len(snapshot.routes)} routes of {snapshot.source}"
        return text if reloader.successful else f"{text}; THE CONFIG ON DISK IS REJECTED: {reloader.rejected[0]}"

    async def _keep_config(self, written: Written | None) -> None:
        """What is in force and came from files is what a later start may fall back to."""
        last_good = self._service.last_good
        if last_good is None or written is None or not self._reloader.successful:
            return
        try:
            await asyncio.to_thread(last_good.keep, written)
        except OSError as error:
            self._manager.log.event("warning", "config.not_kept", error=str(error))

    async def _take_over(self, snapshot: Snapshot) -> None:
        """The transaction of an edit: bind what is new, let the manager take over, then close what went."""
        if self._stopping.is_set():  # a door must not be opened again
            raise ConfigurationError("the daemon is stopping; the next one reads the config")
        change = self._doors.prepare(snapshot.settings.listen)
        try:
            self._manager.adopt(snapshot)
        except BaseException:
            self._doors.abandon(change)
            raise
        self._manager.log.level = snapshot.settings.log.level
        for door, settings in ((self._admin, snapshot.settings.admin), (self._metrics, snapshot.settings.metrics)):
            if door is not None and (waits := door.guard_anew(settings)) is not None:
                self._manager.log.event("warning", "config.warned", warning=waits)
        self._spawn(_prepare(snapshot))
        await self._doors.commit(change, linger_s=snapshot.settings.drain.timeout_s)

    @contextlib.asynccontextmanager
    async def _side_doors(self) -> AsyncIterator[None]:
        manager, settings = self._manager, self._manager.snapshot.settings
        view = AdminView(manager, status=self.status, reload=self._reload, drain=self.stop)
        self._admin = SideDoor(self._admin_listener(settings.admin), manager)
        async with contextlib.AsyncExitStack() as doors:
            await doors.enter_async_context(self._admin.serving(admin_places(view)))
            if settings.metrics is not None:
                self._metrics = SideDoor(bind(settings.metrics), manager)
                await doors.enter_async_context(self._metrics.serving(metrics_places(manager)))
            yield

    def _admin_listener(self, settings: ListenSettings | None) -> Listener:
        inherited = self._service.inherited.admin
        if inherited is None:
            return bind(settings or self._default_admin())
        if settings is not None and settings.address == inherited.settings.address:
            inherited.change(settings)
        return fit_for_admin(inherited)

    def _default_admin(self) -> ListenSettings:
        path = default_admin_path(self._environ)
        make_private_directory(os.path.dirname(path))
        return ListenSettings(f"unix:{path}", mode=0o600)

    async def _reload(self) -> dict[str, Any]:
        # What was read counts as seen: it must take effect, though whoever asked for it may hang up meanwhile.
        result: dict[str, Any] = msgspec.to_builtins(await asyncio.shield(self._spawn(self._reloader.reload())))
        return result

    def _say_started(self) -> None:
        snapshot = self._manager.snapshot
        log = self._manager.log
        log.event(
            "info",
            "daemon.started",
            version=__version__,
            pid=os.getpid(),
            listen=self._doors.addresses,
            admin=self._admin.address if self._admin else None,
            metrics=self._metrics.address if self._metrics else None,
            config=snapshot.source,
            routes=len(snapshot.routes),
            providers=len(snapshot.providers),
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        )
        for warning in snapshot.warnings:
            log.event("warning", "config.warned", warning=warning)
        if self._reloader.rejected:
            log.event("error", "config.rejected", problems=list(self._reloader.rejected), kept=snapshot.generation)

    async def _drain(self) -> None:
        """Not ready, no new connections; requests under way end, or are told at the end of the patience."""
        settings = self._manager.snapshot.settings.drain
        self._manager.draining = True
        self._notifier.stopping(f"draining {len(self._manager.active)} requests")
        self._spawn(self._notifier.keep_extending())
        self._manager.log.event("info", "daemon.draining", in_flight=len(self._manager.active))
        if settings.accept_for_s:
            await self._or_leaving(asyncio.sleep(settings.accept_for_s))
        self._doors.stop_accepting()
        await self._or_leaving(self._doors.drained(settings.timeout_s))
        self._manager.stop_active()
        await self._doors.close(0 if self._leaving.is_set() else _LAST_WORDS_S)

    async def _or_leaving(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this until it is done, or a second signal says: now."""
        task = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(self._leaving.wait())
        try:
            await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
            leaving.cancel()

    async def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._doors.close(0)
        await self._manager.close(0)
        self._notifier.close()

    def _spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """A task that only cancellation should end has ended."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "a task of the daemon failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

    def _gauges(self) -> Iterator[Gauge]:
        yield from gauges(self._manager)
        successful = float(self._reloader.successful)
        yield Gauge(
            "sidecar_config_last_reload_successful", "Whether the config on disk is the one in force.", successful
        )
        yield Gauge("sidecar_loop_lag_seconds", "How late the event loop was at most, of late.", self._lag.recent_s)
        yield Gauge("sidecar_log_dropped_total", "Log lines that could not be written.", self._writer.dropped)


def _allow_descriptors() -> None:
    """As many as the system lets us have: every stream takes two, and the usual 1024 are soon gone."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid even that
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _prepare(snapshot: Snapshot) -> None:
    """Once requests are answered, what the first of them to each provider would wait for; else they wait for it."""
    await asyncio.to_thread(prepare, tuple(snapshot.providers.values()))


def _keep_pages() -> None:
    """Have the C library keep some pages at the end of its heap, which prompts of 100 kB come and go on.

    glibc gives back what is free there beyond twice the largest block that had pages of its own and was freed
    (mallopt(3), M_MMAP_THRESHOLD). While there was none, that is 128 kB, and such a prompt may need fresh pages.
    """
    bytes(_LARGE_BLOCK_BYTES)  # freed at once


async def _give_memory_back(manager: LLMManager, *, look_every_s: float = 0.5) -> None:
    """After a flood of requests, return what they took to the system.

    The C library does not do so by itself: it keeps what is free for the next flood, which a process that
    sits beside an app cannot call its own. A few milliseconds, once a flood.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; musl keeps little anyway
    peak = last = 0
    while True:
        await asyncio.sleep(look_every_s)
        current = len(manager.active)
        peak, last, falling = max(peak, current), current, current < last
        if peak >= _FLOOD_REQUESTS and current <= peak // 2 and not falling:
            peak = current
            gc.collect()
            if trim is not None:
                trim(0)
