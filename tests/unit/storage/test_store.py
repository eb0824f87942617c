"""Opening a store: what is made, what is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from storage import reserve
from storage.errors import DamagedError, StorageError
from storage.store import Store
from tests.support import storage as support


def opened(path: Path) -> Store:
    with support.store_at(path) as store:
        return store


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_nobody_else_may_enter(tmp_path: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        store = Store.open(str(tmp_path / "data"), str(tmp_path / "run"))
        assert store.caller_umask == umask
        support.add_image(store, "localhost/x:latest")
        container = store.containers.create({}, "x")
        store.volumes.create("v")
    finally:
        os.umask(old)
    layout = store.layout
    for path in [layout.data, layout.run, *layout.directories(), *layout.run_directories(), layout.container(container),
                 layout.volume("v")]:
        assert stat.S_IMODE(os.lstat(path).st_mode) == 0o700, path
    for directory, _, files in os.walk(tmp_path):
        for name in files:
            status = os.lstat(os.path.join(directory, name))
            assert stat.S_ISLNK(status.st_mode) or stat.S_IMODE(status.st_mode) & 0o077 == 0, name


def test_a_lax_directory_is_closed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "run").mkdir(mode=0o755)
    opened(tmp_path)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["data", "run"])
def test_a_directory_that_others_write_is_refused(tmp_path: Path, name: str) -> None:
    opened(tmp_path)
    (tmp_path / name).chmod(0o777)
    with pytest.raises(StorageError, match="others can write") as caught:
        opened(tmp_path)
    assert "chmod 700" in caught.value.hint


def test_a_run_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Somebody else may have made the name in /tmp, pointing to a directory of the user's own."""
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to("mine")
    with pytest.raises(StorageError, match="not a directory"):
        opened(tmp_path)
    assert os.listdir(tmp_path / "mine") == []


def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    other = "/usr" if os.geteuid() else "/proc/self/fd"
    if os.stat(other).st_uid == os.geteuid():
        pytest.skip("needs a directory of another user")
    with pytest.raises(StorageError, match="belongs to uid"):
        Store.open(str(tmp_path / "data"), other)


def test_data_may_be_a_link_to_another_disk(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "data").symlink_to("disk")
    opened(tmp_path)
    assert (tmp_path / "disk" / "FORMAT_VERSION").read_text() == "1\n"


def test_a_directory_with_other_files_does_not_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "thesis.tex").touch()
    with pytest.raises(StorageError, match=r"thesis\.tex"):
        opened(tmp_path)
    assert os.listdir(tmp_path / "data") == ["thesis.tex"]


def test_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "data" / "FORMAT_VERSION").write_text("2\n")
    with pytest.raises(StorageError, match="format 2") as caught:
        opened(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize("content", ["", "\0\0", "x", "-1", "0", "1.0", "²"])
def test_a_damaged_format_version(tmp_path: Path, content: str) -> None:
    opened(tmp_path)
    (tmp_path / "data" / "FORMAT_VERSION").write_text(content)
    with pytest.raises(DamagedError, match="FORMAT_VERSION|format 0"):
        opened(tmp_path)


def test_a_lost_format_version_is_written_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    image = support.add_image(store, "localhost/x:latest")
    (tmp_path / "data" / "FORMAT_VERSION").unlink()
    found = opened(tmp_path).images.find("x")
    assert found is not None
    assert found.id == image.id


@pytest.mark.parametrize(("data", "run"), [("data", "/tmp/x"), ("/tmp/x", "run"), ("", "")])
def test_relative_paths_are_refused(data: str, run: str) -> None:
    with pytest.raises(StorageError, match="absolute"):
        Store.open(data, run)


def test_a_lost_run_directory_is_made_again(tmp_path: Path) -> None:
    layout = opened(tmp_path).layout
    os.rmdir(layout.engine_run)
    opened(tmp_path)
    os.rmdir(layout.engine_run)
    os.rmdir(layout.run_locks)
    os.rmdir(layout.run)
    opened(tmp_path)
    assert os.path.isdir(layout.engine_run)


def test_a_store_whose_making_was_killed_is_finished(tmp_path: Path) -> None:
    number = 1
    while True:
        path = tmp_path / str(number)
        path.mkdir()
        code = support.killed_at(number, lambda path=path: opened(path))  # type: ignore[misc]
        store = opened(path)
        support.add_image(store, "localhost/x:latest")
        if code == support.FINISHED:
            break
        number += 1
    assert number > 10


def test_a_store_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    number = 1
    while True:
        path = tmp_path / str(number)
        path.mkdir()
        code = support.failing_at(number, lambda path=path: opened(path))  # type: ignore[misc]
        assert code in (support.FINISHED, support.REFUSED, support.COPED)
        opened(path)
        if code == support.FINISHED:
            break
        number += 1
    assert number > 20


def test_the_reserve(tmp_path: Path) -> None:
    layout = opened(tmp_path).layout
    assert os.stat(layout.reserve).st_blocks * 512 >= reserve.SIZE
    assert reserve.spend(layout)
    assert not reserve.spend(layout)
    assert reserve.fill(layout)
    assert os.stat(layout.reserve).st_size == reserve.SIZE
