"""Atomic files, locks, trees and work directories."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from storage import atomic, locks, trees
from storage.errors import NotFoundError, StorageError
from storage.layout import Layout
from storage.locks import Lock
from storage.work import WorkDirectory
from tests.support import storage as support


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    with support.store_at(tmp_path) as store:
        return store.layout


def test_write_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"", b"one", b"x" * 5_000_000):
        atomic.write(str(path), data)
        assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_write_has_its_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "file"
    old = os.umask(umask)
    try:
        atomic.write(str(path), b"", mode=0o644)
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        if umask != 0o777:
            atomic.write(str(path), b"")
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(old)


def test_write_replaces_a_link_and_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("same")
    (tmp_path / "link").symlink_to("target")
    atomic.write(str(tmp_path / "link"), b"new")
    assert (tmp_path / "target").read_text() == "same"
    assert not (tmp_path / "link").is_symlink()


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(StorageError):
        atomic.write(str(tmp_path / "directory"), b"new")
    with pytest.raises(StorageError):
        atomic.write(str(tmp_path / "missing" / "file"), b"new")
    assert os.listdir(tmp_path) == ["directory"]


@pytest.mark.parametrize("durable", [True, False])
def test_a_write_killed_anywhere_leaves_old_or_new(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    number = 1
    while support.killed_at(number, lambda: atomic.write(str(path), b"new", durable=durable)) != support.FINISHED:
        assert path.read_text() in ("old", "new")
        number += 1
    assert number > 2
    assert path.read_text() == "new"


def test_locks_exclude(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with Lock(path):
        assert not Lock(path).acquire(wait=False)
        assert not Lock(path).acquire(wait=False, shared=True)
        assert locks.is_held(path)
    assert not locks.is_held(path)
    with locks.shared(path):
        other = Lock(path)
        assert other.acquire(wait=False, shared=True)
        other.release()
        assert not other.acquire(wait=False)


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")

    def hold() -> None:
        Lock(path).acquire()
        os._exit(0)

    support.in_child(hold)
    assert Lock(path).acquire(wait=False)


def test_a_lock_on_what_is_gone(tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    lock = Lock(str(directory), create=False)
    lock.acquire()
    directory.rmdir()
    lock.release()
    with pytest.raises(NotFoundError):
        lock.acquire()
    assert not directory.exists()


def test_a_lock_that_was_waited_for_is_the_one_that_is_there(tmp_path: Path) -> None:
    """Who waits while the file is replaced must not end up holding a file that nobody else will ever see."""
    path = tmp_path / "lock"
    first = Lock(str(path))
    first.acquire()
    ready, told = os.pipe()

    def wait() -> None:
        os.write(told, b"x")
        with Lock(str(path)):
            assert locks.is_held(str(path))

    pid = os.fork()
    if pid == 0:
        first.release()  # only this copy of the descriptor
        os._exit(support.in_child(wait))
    os.read(ready, 1)
    time.sleep(0.1)
    path.unlink()
    path.touch()
    first.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == support.FINISHED


def test_delete_of_a_deep_tree(tmp_path: Path) -> None:
    """Deeper than PATH_MAX, than the recursion limit and than the number of open files."""
    top = tmp_path / "top"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for number in range(3000):
        os.mkdir("d" * 20, dir_fd=fd)
        if number % 100 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        inner = os.open("d" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    assert trees.delete(str(top))
    assert os.listdir(tmp_path) == []


def test_delete_follows_no_links_and_needs_no_rights(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("same")
    top = tmp_path / "top"
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / "link").symlink_to(canary)
    (top / "a" / "link").symlink_to(canary)
    (top / "a" / "b" / "link").symlink_to("/")
    os.mkfifo(top / "a" / "fifo")
    for directory in (top / "a" / "b" / "c", top / "a" / "b", top / "a"):
        directory.chmod(0)
    assert trees.delete(str(top))
    assert (canary / "file").read_text() == "same"
    assert not top.exists()


def test_delete_of_nothing_and_of_a_file(tmp_path: Path) -> None:
    assert trees.delete(str(tmp_path / "missing"))
    (tmp_path / "file").touch()
    assert trees.delete(str(tmp_path / "file"))
    assert os.listdir(tmp_path) == []


def test_trash_vanishes_at_once(layout: Layout, tmp_path: Path) -> None:
    path = Path(layout.volumes, "x")
    path.mkdir()
    (path / "file").touch()
    trash = trees.to_trash(layout, str(path))
    assert not path.exists()
    assert Path(trash, "file").exists()
    assert trees.empty(trash)
    with pytest.raises(NotFoundError):
        trees.to_trash(layout, str(path))
    helped: list[str] = []
    (tmp_path / "deleted").touch()
    assert trees.empty(str(tmp_path / "deleted"), helped.append)
    assert helped == []


def test_work_directories(layout: Layout) -> None:
    with WorkDirectory(layout) as work:
        Path(work.path, "file").touch()
        assert locks.is_held(work.path)
        path = work.path
    assert not os.path.exists(path)
    with WorkDirectory(layout) as work:
        Path(work.path, "file").touch()
        work.publish(layout.volume("x"))
    assert os.listdir(layout.volume("x")) == ["file"]
    assert os.listdir(layout.tmp) == []
