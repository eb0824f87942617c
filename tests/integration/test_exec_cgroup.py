"""`rootless exec` and control groups: what joins a container is under its limits, and not let into a paused one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_cgroups import detached, group, take_image
from tests.support.delegation import Delegated, delegated

pytestmark = pytest.mark.as_root
IMAGE = "localhost/busybox"


@pytest.fixture(scope="module")
def cli(busybox_layout: Path) -> Iterator[Delegated]:
    """The program in a delegated tree, with a container called ``box`` that runs."""
    with delegated() as found:
        take_image(found, busybox_layout)
        detached(found, "--name", "box", IMAGE, "sleep", "1000")
        yield found
        found.ok("rm", "-f", "-t", "0", "box")


def processes(directory: Path) -> list[str]:
    """The pids in a control group."""
    return (directory / "cgroup.procs").read_text().split()


def test_it_is_in_the_containers_group(cli: Delegated) -> None:
    """And sees that as the root of its tree, as the container does."""
    first = processes(group(cli, "box"))
    session = cli.popen("exec", "box", "sh", "-c", "echo ready; exec sleep 1001")
    assert session.stdout is not None and session.stdout.readline() == b"ready\n"
    assert len(processes(group(cli, "box"))) == len(first) + 1
    session.terminate()
    session.communicate(timeout=10)
    assert processes(group(cli, "box")) == first
    assert "0::/\n" in cli.ok("exec", "box", "cat", "/proc/self/cgroup")


def test_a_paused_container_is_refused(cli: Delegated) -> None:
    """It would wait, unseen, for the container to be resumed."""
    cli.ok("pause", "box")
    try:
        assert "paused" in cli.fails(255, "exec", "box", "true")
    finally:
        cli.ok("unpause", "box")
    cli.ok("exec", "box", "true")


def test_a_group_that_has_groups_below_takes_no_processes(cli: Delegated) -> None:
    """The container has moved its first process down, as systemd in a container does; what joins follows."""
    detached(cli, "--name", "deep", f"--cgroup-parent={cli.group}/deep", IMAGE, "sleep", "1000")
    own = group(cli, "deep")
    (pid,) = processes(own)
    (own / "below").mkdir()
    shutil.chown(own / "below" / "cgroup.procs", cli.user)
    (own / "below" / "cgroup.procs").write_text(pid)
    for directory in (own.parent.parent, own.parent, own):
        (directory / "cgroup.subtree_control").write_text("+hugetlb")
    with pytest.raises(OSError):
        (own / "cgroup.procs").write_text(pid)
    assert "0::/below\n" in cli.ok("exec", "deep", "cat", "/proc/self/cgroup")
    cli.ok("rm", "-f", "-t", "0", "deep")
