"""The watcher against real files, saved as they are in the world; real inotify, or a real lack of it."""

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import uvloop
from watchfiles import main

from sidecar.sources.files import UnreadableError, contents, fingerprint
from sidecar.sources.watch import Watcher
from tests.saves import SAVES, atomic_rename, configmap_swap, vim

SEEN_S = 2.0  # the promise; usually it takes a tenth of it
NEVER_S = 60.0  # a tick this long proves that it was an event


def now(*paths: Path) -> dict[str, str | None]:
    """The fingerprints of paths as they are, as a load would have left them."""
    found: dict[str, str | None] = {}
    for path in paths:
        try:
            found[str(path)] = fingerprint(contents(str(path)))
        except UnreadableError:
            found[str(path)] = None
    return found


def watching(*paths: Path, tick_s: float = NEVER_S, lose: Callable[[Mapping[str, str]], None] = print) -> Watcher:
    known = now(*paths)
    return Watcher(lambda: known, tick_s=tick_s, lose=lose)


async def change(watcher: Watcher, within_s: float = SEEN_S) -> tuple[str, ...]:
    async with asyncio.timeout(within_s):
        return await anext(watcher)


async def assert_silent(watcher: Watcher, for_s: float) -> None:
    with pytest.raises(TimeoutError):
        print(await change(watcher, for_s))


async def armed(watcher: Watcher) -> None:
    """Lets the watcher look around until its watches are made."""
    async with asyncio.timeout(SEEN_S):
        while watcher.blind is not None:
            await assert_silent(watcher, 0.05)


async def save_and_see(save: Callable[[Path, str], None], directory: Path) -> list[float]:
    directory.mkdir()
    path = directory / "sidecar.yaml"
    path.write_text("# the first one, and the longest of them all\n")
    took: list[float] = []
    async with watching(path) as watcher:
        await armed(watcher)
        for number in range(3):
            saving = asyncio.create_task(asyncio.to_thread(save, path, f"drain: {{timeout: {number}s}}\n"))
            started = time.monotonic()
            assert await change(watcher) == (str(path),), f"{save.__name__}, save {number}"
            took.append(time.monotonic() - started)
            await saving
            assert path.read_text().rstrip() == f"drain: {{timeout: {number}s}}"
        await assert_silent(watcher, 0.3)
    return took


async def test_every_way_of_saving_is_seen_by_events_alone_and_reported_once(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(save_and_see(save, tmp_path / save.__name__)) for save in SAVES]
    took = sorted(seconds for task in tasks for seconds in task.result())
    assert took[len(took) // 2] < 1.0


async def test_every_way_can_follow_any_other(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    directory.mkdir()
    path = directory / "sidecar.yaml"
    path.write_text("-" * 40)
    async with watching(path) as watcher:
        for number, save in enumerate(reversed(SAVES)):
            saving = asyncio.create_task(asyncio.to_thread(save, path, f"log: {{level: {number:04}}}\n"))
            assert await change(watcher) == (str(path),), save.__name__
            await saving


async def test_touch_chmod_and_other_files_are_no_change(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text("a\n")
    async with watching(path, tick_s=0.1) as watcher:
        await armed(watcher)
        disturbances: tuple[Callable[[], Any], ...] = (
            lambda: os.utime(path),
            lambda: path.chmod(0o600),
            lambda: (tmp_path / "notes.txt").write_text("x"),
            lambda: vim(tmp_path / "notes.txt", "y"),
            lambda: atomic_rename(path, "a\n"),
        )
        for disturb in disturbances:
            disturb()
            await assert_silent(watcher, 0.15)
        await assert_silent(watcher, 0.3)
        path.write_text("b\n")
        assert await change(watcher) == (str(path),)


async def test_half_written_states_are_not_reported(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text("whole: 1\n")

    def write_slowly() -> None:
        with open(path, "w") as file:
            for piece in ("whole", ": ", "2", "\n") * 3:
                file.write(piece)
                file.flush()
                time.sleep(0.05)

    async with watching(path) as watcher:
        await armed(watcher)
        writing = asyncio.create_task(asyncio.to_thread(write_slowly))
        assert await change(watcher) == (str(path),)
        assert writing.done()
        await writing
        await assert_silent(watcher, 0.3)


async def test_a_content_that_came_back_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text("a")
    async with watching(path) as watcher:
        await armed(watcher)
        silent = asyncio.create_task(assert_silent(watcher, 0.6))
        await asyncio.sleep(0.1)
        path.write_text("b")
        await asyncio.sleep(0.05)
        path.write_text("a")
        await silent


async def test_an_edit_between_the_load_and_the_first_look_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text("a")
    watcher = watching(path)
    path.write_text("b")
    async with watcher:
        assert await change(watcher) == (str(path),)


async def test_a_directory_config_changes_with_files_added_edited_renamed_and_removed(tmp_path: Path) -> None:
    directory = tmp_path / "conf.d"
    directory.mkdir()
    (directory / "10-providers.yaml").write_text("a")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    linked = elsewhere / "linked.yaml"
    linked.write_text("linked")
    steps: tuple[Callable[[], Any], ...] = (
        lambda: (directory / "20-routes.yaml").write_text("b"),
        lambda: atomic_rename(directory / "20-routes.yaml", "c"),
        lambda: (directory / "20-routes.yaml").rename(directory / "05-routes.yaml"),
        lambda: (directory / "30-linked.yaml").symlink_to(linked),
        lambda: (directory / "05-routes.yaml").unlink(),
    )
    async with watching(directory) as watcher:
        await armed(watcher)
        for step in steps:
            step()
            assert await change(watcher) == (str(directory),)
        for hidden in (".10-providers.yaml.swp", ".hidden.yaml", "README", "10-providers.yaml~", "#10-providers.yaml#"):
            (directory / hidden).write_text("x")
        await assert_silent(watcher, 0.3)
        linked.write_text("edited where it is")
        assert await change(watcher) == (str(directory),)


async def test_a_mounted_configmap_directory(tmp_path: Path) -> None:
    directory = tmp_path / "mounted"
    directory.mkdir()
    path = directory / "sidecar.yaml"
    configmap_swap(path, "first")
    async with watching(directory) as watcher:
        await armed(watcher)
        for number in range(3):
            configmap_swap(path, f"swap {number}")
            assert await change(watcher) == (str(directory),)


async def test_key_files_are_watched_and_named(tmp_path: Path) -> None:
    path, key = tmp_path / "sidecar.yaml", tmp_path / "keys" / "openai"
    key.parent.mkdir()
    path.write_text("a")
    key.write_text("sk-1")
    async with watching(path, key) as watcher:
        await armed(watcher)
        atomic_rename(key, "sk-2")
        assert await change(watcher) == (str(key),)
        path.write_text("b")
        key.write_text("sk-3")
        assert await change(watcher) == (str(path), str(key))


async def test_a_file_that_goes_is_told_of_and_hides_no_other_change(tmp_path: Path) -> None:
    path, key, other = tmp_path / "sidecar.yaml", tmp_path / "key", tmp_path / "never there"
    path.write_text("a")
    key.write_text("sk-1")
    told: list[Mapping[str, str]] = []
    async with watching(path, key, other, lose=told.append) as watcher:
        await armed(watcher)
        key.unlink()
        await assert_silent(watcher, 0.5)
        assert [set(lost) for lost in told] == [{str(key)}]
        assert "No such file" in told[0][str(key)]
        path.write_text("b")
        assert await change(watcher) == (str(path),)
        assert len(told) == 1
        key.write_text("sk-1")
        await assert_silent(watcher, 0.5)
        assert told[1:] == [{}]
        key.write_text("sk-2")
        assert await change(watcher) == (str(key),)


async def test_a_file_that_is_gone_for_a_moment_is_not_told_of(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text("a")
    known, told = now(path), list[Mapping[str, str]]()
    async with Watcher(lambda: known, tick_s=NEVER_S, settle_s=1.0, lose=told.append) as watcher:
        await armed(watcher)
        path.unlink()
        await assert_silent(watcher, 0.3)
        path.write_text("a")
        await assert_silent(watcher, 2.5)
    assert not told


async def test_a_file_that_was_missing_at_the_load_is_seen_to_appear(tmp_path: Path) -> None:
    key = tmp_path / "key"
    async with watching(key) as watcher:
        await armed(watcher)
        key.write_text("sk-1")
        assert await change(watcher) == (str(key),)


async def test_what_is_watched_follows_the_last_load(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a")
    two.write_text("a")
    known: Mapping[str, str | None] = now(one)
    async with Watcher(lambda: known, tick_s=NEVER_S) as watcher:
        await armed(watcher)
        one.write_text("b")
        assert await change(watcher) == (str(one),)
        known = now(two)
        one.write_text("c")
        await assert_silent(watcher, 0.3)
        two.write_text("b")
        assert await change(watcher) == (str(two),)


async def test_a_directory_that_is_made_again_is_watched_again(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "sidecar.yaml"
    path.parent.mkdir()
    path.write_text("a")
    async with watching(path, tick_s=0.2) as watcher:
        await armed(watcher)
        shutil.rmtree(path.parent)
        await assert_silent(watcher, 0.5)
        assert watcher.blind is not None
        path.parent.mkdir()
        path.write_text("b")
        assert await change(watcher) == (str(path),)
        await armed(watcher)


async def test_a_directory_replaced_in_one_breath_is_watched_by_events_again(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "sidecar.yaml"
    path.parent.mkdir()
    path.write_text("a")
    async with watching(path) as watcher:
        for text in ("b", "c"):
            await armed(watcher)
            shutil.rmtree(path.parent)  # a file system may give the same inode again
            path.parent.mkdir()
            path.write_text(text)
            assert await change(watcher) == (str(path),)
        path.write_text("d")
        assert await change(watcher) == (str(path),)


async def test_without_inotify_ticks_go_on_and_watches_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = cycle((OSError(28, "No space left on device"), RuntimeError("Too many open files")))

    def refuse(*_: object, **__: object) -> Iterator[set[Any]]:
        raise next(refusals)

    path = tmp_path / "sidecar.yaml"
    path.write_text("a" * 20)
    seen = set()
    async with watching(path, tick_s=0.1) as watcher:
        with monkeypatch.context() as patch:
            patch.setattr(main, "watch", refuse)
            for number, save in enumerate(SAVES):
                saving = asyncio.create_task(asyncio.to_thread(save, path, f"{number}".ljust(20)))
                assert await change(watcher) == (str(path),), save.__name__
                await saving
                seen.add(watcher.blind)
            assert seen == {"[Errno 28] No space left on device", "Too many open files"}
        await armed(watcher)


async def test_an_error_while_watching_falls_back_to_ticks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_soon(*_: object, **__: object) -> Iterator[set[Any]]:
        yield set()
        raise RuntimeError("error in underlying watcher")

    path = tmp_path / "sidecar.yaml"
    path.write_text("a")
    monkeypatch.setattr(main, "watch", break_soon)
    async with watching(path, tick_s=0.1) as watcher:
        await assert_silent(watcher, 0.2)
        assert watcher.blind == "error in underlying watcher"
        path.write_text("b")
        assert await change(watcher) == (str(path),)


async def test_a_busy_directory_costs_a_look_for_each_settling_time(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text("a")
    looks = 0

    def known() -> Mapping[str, str | None]:
        nonlocal looks
        looks += 1
        return first

    async def make_noise() -> None:
        while True:
            (tmp_path / "noise").write_text("x")
            await asyncio.sleep(0.002)

    first = now(path)
    async with Watcher(known, tick_s=NEVER_S) as watcher:
        await armed(watcher)
        noise = asyncio.create_task(make_noise())
        looks = 0
        await assert_silent(watcher, 1.0)
        assert 2 <= looks <= 12
        path.write_text("b")
        assert await change(watcher) == (str(path),)
        noise.cancel()


async def test_cancelling_leaves_no_thread_and_no_task_behind(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text("a")

    async def reload_forever() -> None:
        async with watching(path) as watcher:
            async for _ in watcher:
                pass

    def mine() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "sidecar-watch"]

    tasks = asyncio.all_tasks()
    task = asyncio.create_task(reload_forever())
    async with asyncio.timeout(SEEN_S):
        while not mine():
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert mine() == []
    assert asyncio.all_tasks() == tasks


def test_a_loop_that_closes_first_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text("a")

    async def abandon() -> Watcher:
        watcher = await watching(path).__aenter__()
        await armed(watcher)
        return watcher

    watcher = asyncio.run(abandon())
    path.write_text("b")
    deadline = time.monotonic() + SEEN_S
    while any(thread.name == "sidecar-watch" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert watcher.blind is not None


def test_uvloop_sees_the_same(tmp_path: Path) -> None:
    uvloop.run(save_and_see(atomic_rename, tmp_path / "uvloop"))
