"""The confinement of the process that unpacks layers."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless.linux import landlock
from rootless.security import confine

pytestmark = [pytest.mark.needs("seccomp", "libseccomp")]


def confined(directory: Path, body: Callable[[int], object]) -> str:
    """What ``body`` ends with in a confined process: '' or the error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer = "died"
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            confine.unpacker(fd)
            body(fd)
            answer = ""
        except BaseException as error:
            answer = repr(error)
        finally:
            os.write(writing, answer.encode())
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as file:
        answer = file.read()
    os.waitpid(child, 0)
    return answer


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    confine.prepare_unpacker()


def make_a_tree(fd: int) -> None:
    """Everything that unpacking does."""
    os.mkdir("d", dir_fd=fd)
    file = os.open("d/f", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=fd)
    os.write(file, b"text")
    os.fchmod(file, 0o4755)
    os.utime(file, (1, 1))
    os.close(file)
    os.symlink("/etc", "l", dir_fd=fd)
    os.link("d/f", "g", src_dir_fd=fd, dst_dir_fd=fd)
    os.mkfifo("p", dir_fd=fd)
    os.rename("g", "d/h", src_dir_fd=fd, dst_dir_fd=fd)
    os.unlink("p", dir_fd=fd)
    worker = threading.Thread(target=lambda: None)
    worker.start()
    worker.join()


def test_unpacking_works(tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()
    assert confined(tmp_path / "layer", make_a_tree) == ""
    assert sorted(path.name for path in (tmp_path / "layer").iterdir()) == ["d", "l"]


def fork(_: int) -> None:
    if os.fork() == 0:
        os._exit(0)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda fd: socket.socket(),
        lambda fd: socket.socketpair(),
        lambda fd: os.execv("/bin/true", ["true"]),
        lambda fd: os.kill(os.getppid(), 0),
        lambda fd: os.memfd_create("x"),
        fork,
    ],
)
def test_the_way_out_is_shut(tmp_path: Path, attempt: Callable[[int], object]) -> None:
    assert confined(tmp_path, attempt).startswith("PermissionError")


@pytest.mark.needs("landlock")
def test_files_elsewhere_are_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()
    canary = tmp_path / "canary"
    canary.write_text("x")
    inside = tmp_path / "layer"
    assert landlock.version() >= 1
    assert "PermissionError" in confined(inside, lambda fd: os.open(canary, os.O_RDONLY))
    assert "PermissionError" in confined(inside, lambda fd: os.open(tmp_path / "new", os.O_CREAT | os.O_WRONLY))
    assert "PermissionError" in confined(inside, lambda fd: os.unlink(canary))
    assert confined(inside, lambda fd: os.link(canary, "c", dst_dir_fd=fd)) != ""
    assert canary.read_text() == "x"
