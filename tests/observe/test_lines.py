"""LineWriter: nothing waits for the output, nothing is lost on a clean exit, what is lost is counted."""

import asyncio
import fcntl
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sidecar.observe.lines import LineWriter


def line(number: int, size: int = 0) -> bytes:
    return b'{"n":%d,"pad":"%b"}\n' % (number, b"x" * size)


def numbers(data: bytes) -> list[int]:
    return [json.loads(text)["n"] for text in data.splitlines() if b'"n"' in text]


def drain(fd: int, over: threading.Event, into: bytearray) -> None:
    """Read until nothing is left after `over`."""
    while True:
        if select.select([fd], [], [], 0.02)[0]:
            into += os.read(fd, 1 << 20)
        elif over.is_set():
            return


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        os.close(fd)


def test_lines_reach_a_file_in_order_without_a_loop(tmp_path: Path) -> None:
    writer = LineWriter(str(tmp_path / "log"))
    for number in range(5000):
        writer.write(line(number))
    assert writer.close(5)
    assert numbers((tmp_path / "log").read_bytes()) == list(range(5000))
    assert writer.dropped == 0


async def test_a_batch_leaves_by_its_timer(tmp_path: Path) -> None:
    writer = LineWriter(str(tmp_path / "log"))
    writer.write(line(1))
    writer.write(line(2))
    assert (tmp_path / "log").read_bytes() == b""
    for _ in range(200):
        await asyncio.sleep(0.01)
        if numbers((tmp_path / "log").read_bytes()) == [1, 2]:
            break
    else:
        pytest.fail("the batch never left")
    writer.close(5)


async def test_a_large_batch_does_not_wait_for_the_timer(tmp_path: Path) -> None:
    writer = LineWriter(str(tmp_path / "log"))
    for number in range(70):
        writer.write(line(number, 1000))
    end = time.monotonic() + 5
    while (tmp_path / "log").stat().st_size < 60_000 and time.monotonic() < end:
        time.sleep(0.005)  # the loop stands still, so that no timer can fire
    assert (tmp_path / "log").stat().st_size >= 60_000
    writer.close(5)


def test_a_loop_that_ended_takes_no_line_with_it(tmp_path: Path) -> None:
    writer = LineWriter(str(tmp_path / "log"))

    async def say(number: int) -> None:
        writer.write(line(number))

    asyncio.run(say(1))
    asyncio.run(say(2))
    writer.write(line(3))
    assert writer.close(5)
    assert numbers((tmp_path / "log").read_bytes()) == [1, 2, 3]


async def test_several_threads_and_the_loop_lose_nothing(tmp_path: Path) -> None:
    writer = LineWriter(str(tmp_path / "log"))

    def say(first: int) -> None:
        for number in range(first, first + 2000):
            writer.write(line(number))

    threads = [threading.Thread(target=say, args=(first,)) for first in (0, 2000, 4000)]
    for thread in threads:
        thread.start()
    say(6000)
    for thread in threads:
        thread.join()
    assert writer.close(5)
    told = numbers((tmp_path / "log").read_bytes())
    assert sorted(told) == list(range(8000))
    for first in (0, 2000, 4000, 6000):
        own = [number for number in told if first <= number < first + 2000]
        assert own == sorted(own)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_full_pipe_blocks_nobody_and_recovers(pipe: tuple[int, int], blocking: bool) -> None:
    read, write = pipe
    os.set_blocking(write, blocking)
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    writer = LineWriter(write)
    slowest = 0.0
    for number in range(50_000):
        began = time.perf_counter()
        writer.write(line(number, 600))
        slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 1.0
    assert writer.dropped > 30_000
    assert not writer.flush(0.01)
    data, over = bytearray(), threading.Event()
    reader = threading.Thread(target=drain, args=(read, over, data))
    reader.start()
    assert writer.flush(10)
    writer.write(line(50_000))
    assert writer.close(10)
    over.set()
    reader.join()
    told = numbers(bytes(data))
    lost = [json.loads(text)["count"] for text in data.splitlines() if b"log.dropped" in text]
    assert told == sorted(told)
    assert told[-1] == 50_000
    assert len(told) + sum(lost) == 50_001
    assert sum(lost) == writer.dropped


def test_what_waits_is_bounded(pipe: tuple[int, int]) -> None:
    read, write = pipe
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    writer = LineWriter(write, max_pending_bytes=200_000)
    for number in range(3000):
        writer.write(line(number, 1000))
    assert 3000 - writer.dropped < 200
    assert not writer.flush(0.01)
    data, over = bytearray(), threading.Event()
    reader = threading.Thread(target=drain, args=(read, over, data))
    reader.start()
    assert writer.close(10)
    over.set()
    reader.join()
    assert len(numbers(bytes(data))) == 3000 - writer.dropped


def test_a_blocked_output_is_given_up_at_close(pipe: tuple[int, int]) -> None:
    _, write = pipe
    os.set_blocking(write, False)
    writer = LineWriter(write)
    for number in range(300):
        writer.write(line(number, 1000))
    assert not writer.close(0.01)
    assert writer._thread is not None
    writer._thread.join(10)
    assert not writer._thread.is_alive()
    assert writer.dropped > 200


def test_a_full_disk_is_counted_and_harms_nobody() -> None:
    writer = LineWriter("/dev/full")
    for number in range(100):
        writer.write(line(number))
    assert writer.flush(5)
    assert writer.dropped == 100
    assert writer.close(5)


def test_the_first_write_that_works_again_tells_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    writer = LineWriter(str(path))
    for number in range(100):
        writer.write(line(number))
    assert writer.flush(5)
    path.unlink()
    writer.write(line(100))
    assert writer.close(5)
    first, second = path.read_bytes().splitlines()
    assert json.loads(first) == {"event": "log.dropped", "count": 100}
    assert json.loads(second)["n"] == 100


def test_a_reader_that_left_harms_nobody() -> None:
    read, write = os.pipe()
    os.close(read)
    writer = LineWriter(write)
    writer.write(line(1))
    assert writer.flush(5)
    assert writer.dropped == 1
    assert writer.close(5)
    os.close(write)


def test_a_torn_line_does_not_spoil_the_next(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from sidecar.observe.lines import LineWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
writer = LineWriter(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (25, hard))
for n in range(3):
    writer.write(b'{"n":%d,"pad":""}\\n' % n)
    writer.flush(5)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
writer.write(b'{"n":3,"pad":""}\\n')
writer.close(5)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "log")], check=True, timeout=20)
    whole, torn, notice, last = (tmp_path / "log").read_bytes().splitlines()
    assert json.loads(whole)["n"] == 0
    assert not torn.endswith(b"}")
    assert json.loads(notice) == {"event": "log.dropped", "count": 2}
    assert json.loads(last)["n"] == 3


def test_a_renamed_file_is_noticed_and_a_reopened_one_let_go(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = LineWriter(str(path))
    writer.write(line(1))
    assert writer.flush(5)
    path.rename(tmp_path / "log.1")
    writer.write(line(2))
    assert writer.flush(5)
    path.rename(tmp_path / "log.2")
    writer.reopen()
    assert writer.flush(5)
    assert path.read_bytes() == b""
    writer.write(line(3))
    assert writer.close(5)
    assert [numbers((tmp_path / name).read_bytes()) for name in ("log.1", "log.2", "log")] == [[1], [2], [3]]


def test_a_path_that_cannot_be_opened_keeps_the_file_that_is(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    path = tmp_path / "dir" / "log"
    writer = LineWriter(str(path))
    path.unlink()
    (tmp_path / "dir").rmdir()
    writer.write(line(1))
    assert writer.flush(5)
    assert writer.dropped == 0
    (tmp_path / "dir").mkdir()
    writer.write(line(2))
    assert writer.close(5)
    assert numbers(path.read_bytes()) == [2]


def test_a_wrong_path_is_an_error_of_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LineWriter(str(tmp_path / "none" / "log"))


def test_after_close_lines_are_counted_not_written(tmp_path: Path) -> None:
    writer = LineWriter(str(tmp_path / "log"))
    assert writer.close(5)
    assert writer.close(5)
    writer.write(line(1))
    writer.flush(5)
    assert writer.dropped == 1
    assert (tmp_path / "log").read_bytes() == b""


@pytest.mark.parametrize("ending", ["", "writer.close(5)", "sys.exit(3)", "raise SystemError"])
def test_a_clean_exit_loses_nothing(ending: str) -> None:
    code = f"""
import asyncio, sys
from sidecar.observe.lines import LineWriter
writer = LineWriter("stdout")
async def main():
    for n in range(2000):
        writer.write(b'{{"n":%d}}\\n' % n)
asyncio.new_event_loop().run_until_complete(main())
{ending}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=20)
    assert numbers(done.stdout) == list(range(2000))


def test_an_exit_does_not_wait_for_a_blocked_output_for_long(pipe: tuple[int, int]) -> None:
    code = """
from sidecar.observe.lines import LineWriter
writer = LineWriter("stderr")
for n in range(1000):
    writer.write(b"x" * 1000 + b"\\n")
print("done", writer.close(0.1), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=pipe[1], timeout=20)
    assert done.stdout == b"done False\n"
    assert done.returncode == 0
