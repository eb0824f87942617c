"""Containers that take what they can get: memory that is shared, processes, descriptors."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_detached import about, begin, eventually, state
from tests.integration.test_run_flags import IMAGE
from tests.support import programs
from tests.support.cli import Cli

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "busybox"), pytest.mark.timeout(300)]
NONE = "--network=none"
MIB = 1 << 20
FILL = "dd if=/dev/zero of=/dev/shm/x bs=1M 2>/dev/null; stat -c %s /dev/shm/x"


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t", "0")


def shared_memory() -> int:
    """What the machine has of it, MiB."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["Shmem"].split()[0]) >> 10


@pytest.mark.parametrize(
    ("flags", "most"),
    [((), 64), (("--shm-size=10m",), 10), (("--privileged",), 64), (("--ipc=shareable",), 64), (("-u", "1000"), 64)],
)  # fmt: skip
def test_shared_memory_has_a_size_row_93(shared_cli: Cli, flags: tuple[str, ...], most: int) -> None:
    filled = shared_cli.ok("run", "--rm", NONE, *flags, IMAGE, "sh", "-c", FILL)
    assert int(filled) == most * MIB


def test_shared_memory_is_freed_row_93(shared_cli: Cli, tmp_path: Path) -> None:
    """CVE-2024-3056: a container that fills it and is started again and again has no more than once its size, and none
    in the end."""
    size = 400
    before = shared_memory()
    script = f"ls /dev/shm | wc -l >>/seen/files; {FILL} >>/seen/sizes; exit 1"
    volume = ("-v", f"{tmp_path}:/seen")
    flags = ("--restart=on-failure:5", f"--shm-size={size}m", *volume)
    begin(shared_cli, "--name", "loop", *flags, IMAGE, "sh", "-c", script)
    most = 0
    while state(shared_cli, "loop") != "exited" or about(shared_cli, "loop")["RestartCount"] < 5:
        most = max(most, shared_memory() - before)
    assert (tmp_path / "files").read_text().split() == ["0"] * 6
    assert (tmp_path / "sizes").read_text().split() == [str(size * MIB)] * 6
    assert most < 2 * size
    script = f"{FILL}; sleep 1000"
    begin(shared_cli, "--name", "held", f"--shm-size={size}m", *volume, IMAGE, "sh", "-c", script)
    eventually(lambda: shared_memory() - before > size // 2, "it is filled")
    shared_cli.ok("stop", "-t", "0", "held")
    eventually(lambda: shared_memory() - before < size // 2, "it is freed")


def user_namespace(pid: str) -> str:
    """That of a process; nothing when it is gone or somebody else's."""
    try:
        return os.readlink(f"/proc/{pid}/ns/user")
    except OSError:
        return ""


def processes(namespace: str) -> int:
    """How many there are in a user namespace."""
    return sum(name.isdigit() and user_namespace(name) == namespace for name in os.listdir("/proc"))


@pytest.mark.parametrize("flags", [(), ("-u", "1000"), ("--privileged",)])
def test_fork_bomb_row_94(shared_cli: Cli, flags: tuple[str, ...]) -> None:
    """Where no control group counts processes, a limit of the user's does; the host answers, and one kill ends it."""
    bomb = "b() { b | b & }; b; sleep 1000"
    begin(shared_cli, "--name", "bomb", "--pids-limit=100", *flags, IMAGE, "sh", "-c", bomb)
    namespace = user_namespace(str(about(shared_cli, "bomb")["State"]["Pid"]))
    assert namespace
    most = 0
    until = time.monotonic() + 4
    while time.monotonic() < until:
        asked = time.monotonic()
        subprocess.run(["sh", "-c", "true | true"], check=True)
        assert time.monotonic() - asked < 5
        most = max(most, processes(namespace))
    assert 50 < most <= 100
    shared_cli.ok("rm", "-f", "-t", "0", "bomb")
    assert processes(namespace) == 0


def test_no_bomb_goes_unbounded_row_94(shared_cli: Cli) -> None:
    """There is a limit also where none is asked for; one that cannot be had is refused."""
    for flags in ((), ("-u", "1000"), ("--privileged",)):
        assert int(shared_cli.ok("run", "--rm", NONE, *flags, IMAGE, "sh", "-c", "ulimit -u")) <= 2048
    refused = ("run", "--rm", NONE, "--cgroups=disabled", "--pids-limit=100", IMAGE, "true")
    assert "cannot limit what a container uses" in shared_cli.fails(125, *refused)


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("flags", [(), ("--ulimit=nofile=100:100",), ("--privileged",)])
def test_descriptors_are_bounded_row_94(shared_cli: Cli, tmp_path: Path, flags: tuple[str, ...]) -> None:
    programs.build("doors", tmp_path)
    tmp_path.chmod(0o755)
    run = ("run", "--rm", NONE, "-v", f"{tmp_path}:/tools:ro", *flags, IMAGE, "/tools/doors", "descriptors")
    found = programs.answers(shared_cli.ok(*run))
    assert found["more"] == errno.EMFILE
    assert found["count"] <= (97 if flags and "nofile" in flags[0] else 1 << 20)
