"""config-linux.md, "Default Filesystems", and the others that a bundle usually mounts."""

from __future__ import annotations

import os

import pytest

from tests.conformance.support import HIDDEN, Box, Cgroup


def test_proc(box: Box) -> None:
    out = box.sh("readlink /proc/self >/dev/null && cat /proc/1/comm; cat /proc/self/mountinfo")
    assert out.splitlines()[0] == "sh"
    assert box.mounts()["/proc"].kind == "proc"
    assert {"nosuid", "nodev", "noexec"} <= box.mounts()["/proc"].options


def test_sysfs(box: Box) -> None:
    assert box.mounts()["/sys"].kind == "sysfs"
    assert "lo" in box.output("ls", "/sys/class/net").split()


def test_sysfs_shows_the_containers_network(box: Box) -> None:
    assert box.output("ls", "/sys/class/net").split() == ["lo"]


def test_devpts(box: Box) -> None:
    found = box.mounts()["/dev/pts"]
    assert found.kind == "devpts" and {"mode=620", "ptmxmode=666"} <= found.super_options
    assert box.sh("ls /dev/pts; readlink /dev/ptmx || stat -c %t,%T /dev/ptmx").split()[0] == "ptmx"


def test_devpts_is_new(box: Box) -> None:
    assert box.output("ls", "/dev/pts") == "ptmx\n"


def test_shm(box: Box) -> None:
    found = box.mounts()["/dev/shm"]
    assert found.kind == "tmpfs" and {"nosuid", "nodev", "noexec"} <= found.options
    assert box.output("stat", "-c", "%a", "/dev/shm") == "1777\n"


def test_mqueue(box: Box) -> None:
    box.mount("/dev/mqueue", "mqueue", *HIDDEN)
    assert box.mounts()["/dev/mqueue"].kind == "mqueue"


def test_cgroup(box: Box, cgroup: Cgroup) -> None:
    box.mount("/sys/fs/cgroup", "cgroup", *HIDDEN, "relatime", "ro")
    found = box.mounts()["/sys/fs/cgroup"]
    assert found.kind == "cgroup2" and "ro" in found.options
    assert str(os.getpid()) not in box.output("cat", "/sys/fs/cgroup/cgroup.procs").split()


def test_cgroup_namespace_begins_at_the_containers_group(box: Box, cgroup: Cgroup) -> None:
    box.mount("/sys/fs/cgroup", "cgroup", *HIDDEN, "ro")
    out = box.sh("grep ^0:: /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs")
    assert out.splitlines()[0] == "0::/" and "1" in out.splitlines()[1:]


def test_overlay(box: Box) -> None:
    for name in ("lower", "upper", "work"):
        (box.home / name).mkdir()
    (box.home / "lower" / "file").write_text("lower\n")
    options = [f"{name}dir={box.home / name}" for name in ("lower", "upper", "work")]
    box.mount("/data", "overlay", *options, *["userxattr"] * (os.getuid() != 0), source="overlay")
    assert box.sh("cat /data/file; echo new >/data/new") == "lower\n"
    assert (box.home / "upper" / "new").read_text() == "new\n"


@pytest.mark.parametrize("kind", ["proc", "sysfs"])
def test_over_a_link(box: Box, kind: str) -> None:
    destination = {"proc": "/proc", "sysfs": "/sys"}[kind]
    box.drop_mount(destination)
    (box.root / destination[1:]).rmdir()
    (box.root / destination[1:]).symlink_to("/tmp")
    box.mount(destination, kind, *HIDDEN)
    box.run()
    assert not os.path.ismount("/tmp/proc") and not os.path.ismount(box.root / "tmp")
