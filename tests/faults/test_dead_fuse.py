"""The process of a root file system, fuse-overlayfs, is killed: what its container does is told, the usual commands end
it, it has its files when it is started again, and no mount and no process stays.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.copying import IMAGE, NONE
from tests.support.figures import Tell

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox", "fuse", "fuse-overlayfs")

DRIVER = ("--storage-driver", "fuse-overlayfs")


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t", "0")


def servers(cli: Cli) -> set[int]:
    """The processes of fuse-overlayfs that serve roots of this store; a zombie is none."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"/fuse-overlayfs") and any(os.fsencode(cli.data) in word for word in words):
            found.add(int(path.name))
    return found


def mounts(cli: Cli) -> list[str]:
    """The mounts of fuse-overlayfs in this store, in any mount namespace of the user's processes."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            lines = (path / "mountinfo").read_text().splitlines()
        except OSError:
            continue
        found |= {line for line in lines if " - fuse" in line and str(cli.data) in line}
    return sorted(found)


def kill_server(cli: Cli) -> None:
    (server,) = servers(cli)
    os.kill(server, signal.SIGKILL)
    ended(cli)


def ended(cli: Cli) -> None:
    """Wait until no root of this store is served."""
    deadline = time.monotonic() + 10
    while servers(cli) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert servers(cli) == set()


def test_a_container_whose_root_is_served_no_more(shared_cli: Cli, figure: Tell) -> None:
    shared_cli.ok(*DRIVER, "run", "-d", NONE, "--name", "c", IMAGE, "sleep", "1000")
    shared_cli.ok("exec", "c", "sh", "-c", "echo kept >/written")
    kill_server(shared_cli)

    # It runs as long as its program does; what it has not in memory it cannot read.
    state = json.loads(shared_cli.ok("inspect", "c"))[0]["State"]
    assert state["Status"] == "running" and os.path.exists(f"/proc/{state['Pid']}")
    assert shared_cli.ok("ps", "--format", "{{.Names}} {{.State}}") == "c running\n"
    wrong: list[object] = []
    reaching: list[tuple[str, ...]] = [
        ("exec", "c", "true"), ("exec", "-u", "nobody", "c", "true"), ("exec", "-d", "c", "true"),
        ("cp", "c:/etc/os-release", "-"), ("cp", "-", "c:/srv"),
    ]  # fmt: skip
    for words in reaching:
        told = shared_cli.fails(125, *words)
        if "has ended" not in told or "hint: stop the container and start it again" not in told:
            wrong.append((words, told))
    for command in (("stop", "-t", "1", "c"), ("start", "c")):
        done = shared_cli.run(*command)
        if done.returncode:
            wrong.append((command, done.stderr))
        if command[0] == "stop":
            assert shared_cli.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "c") == "exited 137\n"
            assert mounts(shared_cli) == []
    assert shared_cli.ok("exec", "c", "cat", "/written") == "kept\n"

    kill_server(shared_cli)
    for command in (("restart", "-t", "0", "c"), ("exec", "c", "cat", "/written")):
        done = shared_cli.run(*command)
        if done.returncode:
            wrong.append((command, done.stderr))
    kill_server(shared_cli)
    done = shared_cli.run("rm", "-f", "-t", "0", "c")
    assert (done.returncode, done.stderr) == (0, "")
    assert shared_cli.ok("ps", "-aq") == ""
    assert not os.path.exists(f"/proc/{state['Pid']}")
    assert mounts(shared_cli) == []
    assert wrong == []
    figure("processes and mounts of fuse-overlayfs left after it was killed", "= 0",
           len(servers(shared_cli)) + len(mounts(shared_cli)))  # fmt: skip
    figure("commands that failed or told wrong after fuse-overlayfs was killed", "= 0", len(wrong), of=10)


@pytest.mark.parametrize("flags", [("--rm",), ("--rm", "-i"), ()])
def test_a_container_in_the_foreground(shared_cli: Cli, flags: tuple[str, ...]) -> None:
    """It ends when its program does, with that one's exit code, and is removed."""
    with shared_cli.popen(
        *DRIVER, "run", NONE, "--name", "c", *flags, IMAGE, "sh", "-c", "echo ready; sleep 1; exit 7"
    ) as run:
        assert run.stdout and run.stdout.readline() == b"ready\n"
        if flags == ("--rm",):  # of one with a monitor the container alone has the mount
            assert len(mounts(shared_cli)) == 1
        kill_server(shared_cli)
        # Its own, unless it needs a page of a file that is not in memory: 126, 127, or SIGBUS.
        assert run.wait(timeout=60) in (7, 126, 127, 128 + signal.SIGBUS)
    assert shared_cli.ok("ps", "-aq") == "" if flags else shared_cli.ok("rm", "c") == "c\n"
    assert servers(shared_cli) == set() and mounts(shared_cli) == []


def test_the_server_ends_with_a_killed_caller(shared_cli: Cli) -> None:
    """Who runs a container in the foreground is killed, or the monitor: no process of fuse-overlayfs is orphaned."""
    with shared_cli.popen(*DRIVER, "run", "--rm", NONE, IMAGE, "sh", "-c", "echo ready; sleep 1000") as run:
        assert run.stdout and run.stdout.readline() == b"ready\n"
        assert len(servers(shared_cli)) == 1
        run.kill()
    ended(shared_cli)
    shared_cli.ok(*DRIVER, "run", "-d", NONE, "--name", "c", IMAGE, "sleep", "1000")
    monitor = int(shared_cli.ok("inspect", "--format", "{{.State.ConmonPid}}", "c"))
    os.kill(monitor, signal.SIGKILL)
    ended(shared_cli)
    assert shared_cli.ok("inspect", "--format", "{{.State.Status}}", "c") == "exited\n"
    shared_cli.ok("rm", "c")
    assert mounts(shared_cli) == []
