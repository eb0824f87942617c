"""What a container can do to the host's control groups and devices: nothing."""

from __future__ import annotations

import os

import pytest

from tests.uml.inside.session import IMAGE, Session, cgroup, until

RUN = ("run", "--rm", "--network", "none")
POWERS = ("--security-opt", "seccomp=unconfined", "--cap-add", "all")
OPEN = (*POWERS, "--security-opt", "apparmor=unconfined")
MANAGER = f"user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service"


@pytest.mark.parametrize("mode", ["private", "host"])
def test_tree_cannot_be_changed_row_53(rootless: Session, mode: str) -> None:
    """security row 53 (CVE-2023-25809): with a namespace and without, also for who has every capability."""
    attempts = (
        "echo 0 >cgroup.procs", "mkdir made", "echo 1 >cgroup.freeze", "echo max >pids.max",
        f"echo 0 >{MANAGER}/cgroup.procs", "mount -o remount,rw /sys/fs/cgroup",
    )  # fmt: skip
    script = "cd /sys/fs/cgroup\n" + "\n".join(f"({each}) && echo '{each}'" for each in attempts)
    limits = ("--pids-limit", "77", f"--cgroupns={mode}")
    for powers in ((), POWERS):
        done = rootless.run(*RUN, *limits, *powers, IMAGE, "sh", "-c", script)
        assert done.stdout == "", f"done by the container: {done.stdout}"


def test_own_group_of_a_privileged_container_row_53(rootless: Session) -> None:
    """security row 53: what --privileged can write to is its own part of the tree, and there not its own limits."""
    script = "cd /sys/fs/cgroup; mkdir below && echo made; echo max >pids.max; cat pids.max; echo 0 >../cgroup.procs"
    flags = ("--name", "own", "--privileged", "--pids-limit", "77", "--network", "none")
    rootless.ok("run", "--detach", *flags, IMAGE, "sh", "-c", f"{script}; exec sleep 1000")
    group = cgroup(rootless, "own")
    until(lambda: "77\n" in rootless.ok("logs", "own"), "the script is over")
    assert (group / "pids.max").read_text() == "77\n"
    assert rootless.ok("logs", "own").startswith("made\n") and (group / "below").is_dir()
    assert cgroup(rootless, "own") == group


def test_no_release_agent_row_54(rootless: Session) -> None:
    """security row 54 (CVE-2022-0492): version 1 is not mounted in a nested user namespace, where it could be set."""
    mounts = ("mount -t cgroup -o memory x /mnt && echo one", "mount -t cgroup2 x /mnt && cat /mnt/release_agent")
    script = "; ".join(mounts)
    nested = f"unshare --user --map-root-user --mount --cgroup sh -c '{script}'"
    for powers in ((), OPEN, ("--nested",), ("--privileged",)):
        done = rootless.run(*RUN, *powers, "--tmpfs", "/mnt", "--rootfs", "/:O", "sh", "-c", f"{script}; {nested}")
        assert done.stdout == "", (powers, done.stdout)


def test_devices_of_the_host_row_54(rootless: Session) -> None:
    """security row 54: no node can be made, and one that is there for another purpose cannot be opened."""
    script = (
        "mknod /dev/mem c 1 1 && echo made; mknod /x c 1 1 && echo made; mknod /y b 98 0 && echo made;"
        "cat /dev/mem /x /y; head -c 1 /dev/ubda"
    )
    for powers in ((), OPEN, ("--privileged",)):
        done = rootless.run(*RUN, *powers, IMAGE, "sh", "-c", script)
        assert done.stdout == "", (powers, done.stdout)
