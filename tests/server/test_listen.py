"""Addresses are taken carefully: nobody's socket is stolen, nobody else's file is removed."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from sidecar.model.errors import ConfigurationError
from sidecar.model.settings import ListenSettings
from sidecar.server.listen import bind


def unix(path: Path, **options: object) -> ListenSettings:
    return ListenSettings(f"unix:{path}", **options)  # type: ignore[arg-type]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
@pytest.mark.parametrize("mode", [0o660, 0o600, 0o666])
def test_a_sockets_mode_is_what_was_asked_for_whatever_the_umask(run: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        listener = bind(unix(run / "s", mode=mode))
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert mode_of(run / "s") == mode
    listener.close()


def test_a_socket_is_0660_unless_told_otherwise(run: Path) -> None:
    listener = bind(unix(run / "s"))
    assert mode_of(run / "s") == 0o660
    listener.close()
    assert not (run / "s").exists()
    listener.close()


def test_a_socket_that_is_served_is_not_taken(run: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(run / "s"))
        other.listen()
        inode = (run / "s").stat().st_ino
        with pytest.raises(ConfigurationError, match="served by a running process"):
            bind(unix(run / "s"))
        assert (run / "s").stat().st_ino == inode


def test_a_path_is_taken_once_within_a_process_too(run: Path) -> None:
    first = bind(unix(run / "s"))
    with pytest.raises(ConfigurationError, match="served by a running process"):
        bind(unix(run / "s"))
    first.close()
    bind(unix(run / "s")).close()


def test_a_stale_socket_is_taken_over(run: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(run / "s"))
    assert (run / "s").exists()
    listener = bind(unix(run / "s"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(run / "s"))
    listener.close()


def test_what_is_no_socket_is_left_alone(run: Path) -> None:
    (run / "file").write_text("precious")
    (run / "directory").mkdir()
    (run / "link").symlink_to(run / "file")
    for name in ("file", "directory", "link"):
        with pytest.raises(ConfigurationError, match="is not a socket"):
            bind(unix(run / name))
    assert (run / "file").read_text() == "precious"
    assert (run / "link").is_symlink()


def test_a_lock_that_is_a_link_is_not_followed(run: Path) -> None:
    (run / "s.lock").symlink_to(run / "elsewhere")
    with pytest.raises(ConfigurationError, match="cannot use"):
        bind(unix(run / "s"))
    assert not (run / "elsewhere").exists()


def test_only_our_own_inode_is_unlinked(run: Path) -> None:
    listener = bind(unix(run / "s"))
    (run / "s").unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(run / "s"))
        listener.close()
        assert (run / "s").exists()


def test_a_path_that_is_too_long_is_told_so(run: Path) -> None:
    with pytest.raises(ConfigurationError, match="107 bytes"):
        bind(unix(run / ("x" * 110)))


def test_missing_directories_are_made(run: Path) -> None:
    listener = bind(unix(run / "a" / "b" / "s"))
    assert mode_of(run / "a") & 0o022 == 0
    listener.close()


@pytest.mark.parametrize("key", ["group", "owner"])
def test_an_unknown_group_or_owner_leaves_nothing_behind(run: Path, key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no (group|user) 'nosuchname'"):
        bind(unix(run / "s", **{key: "nosuchname"}))
    assert not list(run.iterdir())
    bind(unix(run / "s")).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_socket_is_given_to_its_owner_and_group(run: Path) -> None:
    listener = bind(unix(run / "s", mode=0o640, owner="nobody", group="daemon"))
    found = (run / "s").stat()
    assert (found.st_uid, found.st_gid) == (pwd.getpwnam("nobody").pw_uid, grp.getgrnam("daemon").gr_gid)
    assert mode_of(run / "s") == 0o640
    listener.close()


def test_nobody_can_connect_before_the_mode_is_set(run: Path) -> None:
    """The file is seen by a watcher in every state that it has: none is wider than the mode that was asked for."""
    seen: set[int] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            with suppress(FileNotFoundError):
                seen.add(mode_of(run / "s"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = os.umask(0)
    try:
        for _ in range(100):
            bind(unix(run / "s", mode=0o600)).close()
    finally:
        os.umask(before)
        over.set()
        watcher.join()
    assert seen <= {0o600}


def test_the_lock_goes_with_the_listener_and_leaves_nothing(run: Path) -> None:
    listener = bind(unix(run / "s"))
    assert (run / "s.lock").exists()
    listener.close()
    assert not list(run.iterdir())


def test_a_lock_that_somebody_else_made_meanwhile_stays(run: Path) -> None:
    listener = bind(unix(run / "s"))
    (run / "s.lock").unlink()
    (run / "s.lock").write_text("another's")
    listener.close()
    assert (run / "s.lock").read_text() == "another's"


def test_of_many_who_bind_at_once_and_let_go_never_two_hold_a_path(run: Path) -> None:
    """Removing a lock's file invites a race: who has locked the old file must not think that it is the one."""
    holders = 0
    most = 0
    won = 0
    counting = threading.Lock()

    def contend() -> None:
        nonlocal holders, most, won
        for _ in range(60):
            try:
                listener = bind(unix(run / "s"))
            except ConfigurationError:
                continue
            with counting:
                holders, won = holders + 1, won + 1
                most = max(most, holders)
            time.sleep(0)
            with counting:
                holders -= 1
            listener.close()

    threads = [threading.Thread(target=contend) for _ in range(4)]
    before = os.umask(0o077)  # it is the whole process's: threads that bind at once leave anything behind
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.umask(before)
    assert most == 1
    assert won > 10
    assert not list(run.iterdir())


def test_mode_can_change_while_it_listens(run: Path) -> None:
    listener = bind(unix(run / "s"))
    listener.change(unix(run / "s", mode=0o600))
    assert mode_of(run / "s") == 0o600
    with pytest.raises(ConfigurationError, match="no group"):
        listener.change(unix(run / "s", mode=0o666, group="nosuchgroup"))
    assert mode_of(run / "s") == 0o600
    assert listener.settings.mode == 0o600
    listener.close()


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[2001:db8::1]:0"])
def test_an_address_that_others_reach_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="other machines"):
        bind(ListenSettings(address))


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "127.0.0.2:0", "[::1]:0"])
def test_loopback_is_bound_and_told_with_its_port(address: str) -> None:
    listener = bind(ListenSettings(address))
    assert listener.port > 0
    assert listener.address.endswith(f":{listener.port}")
    assert ("[" in listener.address) == ("[" in address)
    told = listener.address
    listener.close()
    assert listener.address == told


def test_a_port_in_use_is_told_so() -> None:
    first = bind(ListenSettings("127.0.0.1:0"))
    with pytest.raises(ConfigurationError, match="another process listens there"):
        bind(ListenSettings(f"127.0.0.1:{first.port}"))
    first.close()
    bind(ListenSettings(f"127.0.0.1:{first.port}")).close()
