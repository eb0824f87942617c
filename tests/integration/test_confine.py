"""The confinement of the processes that unpack layers and that speak with registries."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless.linux import landlock
from rootless.security import confine
from tests.support import hosts
from tests.support.cli import Cli
from tests.support.fixtures import require
from tests.support.registry import Registry

pytestmark = [pytest.mark.needs("seccomp", "libseccomp")]


def confined(
    directory: Path, body: Callable[[int], object], how: Callable[[int], object] = confine.unpacker
) -> str:
    """What ``body`` ends with in a process that is confined to ``directory``: '' or the error."""

    def confined_body() -> None:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        how(fd)
        body(fd)

    return in_a_child(confined_body)


def in_a_child(body: Callable[[], object]) -> str:
    """What ``body`` ends with in a process of its own: '' or the error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer = "died"
        try:
            body()
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


def as_downloader(fd: int) -> None:
    """The confinement of the registry client, to the directory ``fd``."""
    confine.downloader([os.readlink(f"/proc/self/fd/{fd}")])


@pytest.mark.needs("landlock")
def test_the_registry_client_changes_nothing_elsewhere(tmp_path: Path) -> None:
    """It writes, renames and removes in its own directories, reads what it needs, and connects."""
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    canary = tmp_path / "canary"
    canary.write_text("x")
    inside = tmp_path / "blobs"

    def work(fd: int) -> None:
        file = os.open("part", os.O_CREAT | os.O_RDWR, 0o600, dir_fd=fd)
        os.write(file, b"text")
        os.ftruncate(file, 2)
        os.rename("part", "sha256/whole", src_dir_fd=fd, dst_dir_fd=fd)
        canary.read_text()
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname()).close()

    assert confined(inside, work, as_downloader) == ""
    assert (inside / "sha256" / "whole").read_bytes() == b"te"
    for attempt in (
        lambda fd: canary.write_text("y"),
        lambda fd: os.open(canary, os.O_WRONLY),
        lambda fd: os.truncate(canary, 0),
        lambda fd: canary.unlink(),
        lambda fd: os.rename(canary, "x", dst_dir_fd=fd),
        lambda fd: (tmp_path / "new").mkdir(),
        lambda fd: (tmp_path / "link").symlink_to("x"),
    ):
        # Through a thread that is made afterwards, as downloads are.
        def threaded(fd: int, attempt: Callable[[int], object] = attempt) -> None:
            errors: list[BaseException] = []

            def run() -> None:
                try:
                    attempt(fd)
                except OSError as error:
                    errors.append(error)

            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
            if errors:
                raise errors[0]

        answer = confined(inside, threaded, as_downloader)
        assert answer.startswith(("PermissionError", "OSError(18")), answer
    assert canary.read_text() == "x"


@pytest.mark.needs("landlock", "strace", "busybox")
def test_a_pull_is_confined(cli: Cli, registry: Registry, busybox_layout: Path, tmp_path: Path) -> None:
    """In the real pull the process that connects to the registry, and those that unpack, are so before they begin."""
    require("userns")
    name = registry.push(busybox_layout, "confined")
    trace = tmp_path / "trace"
    # A traced set-user-ID helper has no power: on a host without a range none is needed.
    poor = hosts.prefix(tmp_path / "host", files={"/etc/subuid": "", "/etc/subgid": ""})
    strace = [shutil.which("strace") or "", "-f", "-e", "trace=landlock_restrict_self,seccomp,connect,mkdirat"]
    command = [*poor, *strace, "-o", str(trace), *cli.command("pull", "--quiet", "--tls-verify=false", name)]
    done = subprocess.run(command, env=cli.environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [line.split(None, 1) for line in trace.read_text().splitlines()]
    restricted = ((at, pid) for at, (pid, call) in enumerate(lines) if "landlock_restrict" in call and "= 0" in call)
    confined_at = {pid: at for at, pid in restricted}
    # Addresses of IPv4 have 16 bytes; what is in them a process that nobody may look into does not show.
    connected_at = [at for at, (_, call) in enumerate(lines) if call.startswith("connect(") and ", 16)" in call]
    filtered = {pid for pid, call in lines if "seccomp" in call and "filter=" in call and "= 0" in call}
    # The threads of a download are made after the process was confined; whoever has a filter unpacks.
    assert min(confined_at.values()) < min(connected_at)
    assert filtered and filtered <= set(confined_at) and set(confined_at) - filtered
