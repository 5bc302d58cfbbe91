"""Capture: libraries, warnings and crashes speak in our lines, and are given back as they were."""

import asyncio
import gc
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.model.secret import Secret
from sidecar.observe.capture import Capture
from sidecar.observe.log import DebugLogger


class Heard:
    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.logger = DebugLogger(self.raw.append)
        self.capture = Capture(self.logger)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.raw]


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard = Heard()
    heard.capture.install()
    yield heard
    heard.capture.uninstall()


def test_a_librarys_record_is_one_line(heard: Heard) -> None:
    logging.getLogger("aiohttp.server").error("bad\nrequest %s", "\x1b[31m")
    (told,) = heard.lines
    assert (told["level"], told["event"], told["logger"]) == ("error", "library.logged", "aiohttp.server")
    assert told["message"] == "bad\nrequest \x1b[31m"
    assert heard.raw[0].count(b"\n") == 1


def test_levels_are_ours(heard: Heard) -> None:
    log = logging.getLogger("some.library")
    for level in (logging.DEBUG, logging.INFO, 25, logging.WARNING, logging.CRITICAL, 99):
        log.log(level, "x")
    assert [told["level"] for told in heard.lines] == ["info", "info", "warning", "error", "error"]


def test_a_wrong_format_string_harms_nobody(heard: Heard) -> None:
    heard.capture.install()  # again, for pytest's own handler came later and does not forgive
    logging.getLogger("l").warning("%d files", "many")
    assert "%d files" in heard.lines[0]["message"]


def test_a_traceback_is_one_key_without_locals(heard: Heard) -> None:
    local_key = "sk-" + "a1" * 20
    heard.logger.set_secrets([Secret(local_key)])

    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        raise ValueError("no " + local_key)

    try:
        fail(50)
    except ValueError:
        logging.getLogger("l").exception("failed")
    (told,) = heard.lines
    assert told["traceback"].endswith("ValueError: no ***")
    assert "in fail" in told["traceback"]
    assert local_key not in heard.raw[0].decode()
    assert len(heard.raw[0]) < 4000


def test_warnings_are_lines(heard: Heard) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(False)
        logging.captureWarnings(True)  # inside catch_warnings, which pytest's own handling replaced
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    (told,) = heard.lines
    assert (told["logger"], told["level"]) == ("py.warnings", "warning")
    assert "old thing" in told["message"]


def test_a_flood_of_one_library_is_limited(heard: Heard) -> None:
    for _ in range(1000):
        logging.getLogger("aiohttp.server").error("bad request")
    logging.getLogger("asyncio").error("slow")
    assert len(heard.raw) == 11
    heard.logger.flush()
    assert (heard.lines[-1]["event"], heard.lines[-1]["count"]) == ("log.limited", 990)


def test_a_failing_thread_and_finalizer_are_lines(heard: Heard) -> None:
    thread = threading.Thread(target=lambda: 1 / 0, name="worker")
    thread.start()
    thread.join()

    class Bad:
        def __del__(self) -> None:
            raise RuntimeError("in finalizer")

    Bad()  # gone at once: a collection here would tell of what other tests left behind
    first, second = heard.lines
    assert (first["event"], first["thread"], first["error"]) == (
        "thread.failed",
        "worker",
        "ZeroDivisionError: division by zero",
    )
    assert (second["event"], second["error"]) == ("finalizer.failed", "RuntimeError: in finalizer")


async def test_a_task_nobody_awaited_is_a_line() -> None:
    heard = Heard()
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    heard.capture.install(loop)
    try:

        async def fail() -> None:
            raise KeyError("lost")

        task = asyncio.ensure_future(fail())
        await asyncio.wait([task])
        del task
        gc.collect()
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    finally:
        heard.capture.uninstall()
    told = {line["error"]: line for line in heard.lines}
    assert set(told) == {"KeyError: 'lost'", "ZeroDivisionError: division by zero"}
    assert all(line["event"] == "task.failed" and "Traceback" in line["traceback"] for line in told.values())
    assert loop.get_exception_handler() is before


def test_everything_is_given_back() -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook)
    capture = Capture(DebugLogger())
    capture.install()
    assert sys.excepthook is not before[2]
    capture.uninstall()
    capture.uninstall()
    assert (root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook) == before


def test_a_crash_is_the_last_line_of_a_process() -> None:
    code = """
from sidecar.model.settings import LogSettings
from sidecar.observe.capture import Capture
from sidecar.observe.log import open_log
logger, writer = open_log(LogSettings())
Capture(logger).install()
def fall(key):
    raise ExceptionGroup("group", [ValueError("one"), TypeError("two")])
fall("sk-localvalue1234567890")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=20)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"]) == ("process.crashed", "error")
    assert "TypeError: two" in told["traceback"]
